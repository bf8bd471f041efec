"""Why a run ended. Pure."""

from __future__ import annotations

import enum


class Ending(enum.StrEnum):
    """Why a run ended; the value is what results files hold."""

    DURATION = "duration"
    """The measured part lasted as long as was asked."""
    REQUESTS = "requests"
    """As many requests as were asked for were sent and have an outcome."""
    SCHEDULE = "schedule"
    """The schedule was sent to its end."""
    STEADY = "steady"
    """Throughput and latency were shown not to change any more."""
    DECIDED = "decided"
    """A condition was decided, whatever would have followed."""
    CUT_SHORT = "cut_short"
    """The backlog of a probe grew beyond hope."""
    ENOUGH = "enough"
    """A client was told to stop sending; the one that told it says why."""
    OVERRUN = "overrun"
    """More requests were without an answer than memory is meant for."""
    STALLED = "stalled"
    """No request in flight was answered for too long."""
    NO_ANSWER = "no_answer"
    """The first request was not answered in time."""
    CLIENT_LOST = "client_lost"
    """A client process exited or fell silent."""
    SERVER_LOST = "server_lost"
    """The server was lost."""
    STOPPED = "stopped"
    """A client was told to stop at once; the one that told it says why."""
    INTERRUPTED = "interrupted"
    """The user ended the run."""

    @property
    def of_a_client(self) -> bool:
        """Only the record of a client has it; results say why the client was told."""
        return self in (Ending.ENOUGH, Ending.STOPPED)

    @property
    def broke_off(self) -> bool:
        """The run could not go on, so that what it measured is no valid measurement; an interrupted one could."""
        return not self.as_asked and self not in (Ending.STOPPED, Ending.INTERRUPTED)

    @property
    def as_asked(self) -> bool:
        """The run measured all that it was to measure; otherwise results have an error and a code other than 0."""
        match self:
            case (
                Ending.DURATION
                | Ending.REQUESTS
                | Ending.SCHEDULE
                | Ending.STEADY
                | Ending.CUT_SHORT
                | Ending.DECIDED
                | Ending.ENOUGH
            ):
                return True
            case (
                Ending.OVERRUN
                | Ending.STALLED
                | Ending.NO_ANSWER
                | Ending.CLIENT_LOST
                | Ending.SERVER_LOST
                | Ending.STOPPED
                | Ending.INTERRUPTED
            ):
                return False
