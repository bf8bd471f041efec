"""The messages from a measurement to its live process. Pure.

They are pickled, which is safe here: a message goes only from a process to a child that it started.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from frontend_launch.launch.placement import Assignment
from loadgen.judging.slo import Condition
from loadgen.load.record import Interval


@dataclass(frozen=True, slots=True)
class Waits:
    """The measurement waits for something before load can begin.

    Attributes:
        what: such as ``2 replicas to load``.
        at_ns: since when, monotonic clock, as all times here.
    """

    what: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """A run is about to begin.

    Attributes:
        title: what is measured, such as ``elastic-net r1-c1-b8``.
        load: in a few words.
        warmup_s: time before the measured part.
        measured_s: length of the measured part; None where a number of requests ends it.
        requests: that number; None where time ends the run.
        open_loop: a schedule says when to send.
        conditions: that have to hold.
        assignments: who runs where.
        readings: the file of the sampler; empty without one.
    """

    title: str
    load: str
    warmup_s: float
    measured_s: float | None
    requests: int | None = None
    open_loop: bool = False
    conditions: tuple[Condition, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    readings: str = ""


@dataclass(frozen=True, slots=True)
class LoadBegins:
    """The first request is sent, of the warm-up where there is one."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class IntervalDone:
    """A logging interval is over.

    Attributes:
        interval: as the periodic line has it.
        dropped: messages until now that the live process was too slow for.
    """

    interval: Interval
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class RunEnds:
    """The run is over."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a measurement of several runs is.

    Attributes:
        unit: of the runs, such as ``cells``.
        done: how many are done.
        total: of how many; None where that is not known.
        now: the one under way.
        left_s: time left, at `at_ns`; None where it is not known.
        at_ns: when this was known.
        at_most: the time left is a bound.
    """

    unit: str
    done: int
    total: int | None
    now: str
    left_s: float | None
    at_ns: int
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log, to be shown above the view."""

    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing follows: the live process ends, and leaves the terminal as it was."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message.

    Attributes:
        command: the verb.
        tags: of the measurement.
    """

    command: str
    tags: dict[str, str] = field(default_factory=dict)


Message: TypeAlias = Begin | Waits | RunPlanned | LoadBegins | IntervalDone | RunEnds | Progress | LogLine | Closed
