"""The runner's interface to a server: open, send, drain, close."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from loadgen.load.inputs import Pool
from model_containers.data_types import Buffer


class Outcome(enum.IntEnum):
    """How a request ended; final once reached."""

    COMPLETED = 0
    """A decodable reply of the model's output type and size."""
    DEFAULTED = 1
    """The application's default output."""
    FAILED = 2
    """Any other reply."""
    TIMED_OUT = 3
    """No reply within the timeout."""
    ABANDONED = 4
    """Still outstanding at the end of the run."""

    @property
    def words(self) -> str:
        """The name for a reader."""
        return self.name.lower().replace("_", " ")


class TimedReply(NamedTuple):
    """Where the server says that the time of one reply went; nanoseconds.

    Attributes:
        place: which of the replies it is.
        unread_ns: a time before which the reply was not there to be read, monotonic clock.
        arrived_ns: when the server read the request, by the same clock; 0 where the server has another one.
        queue_ns: in the server's queue.
        rpc_ns: between the server's front and the model, both ways.
        model_ns: in the model call; -1 where it is not known, and part of `rpc_ns`.
    """

    place: int
    unread_ns: int
    arrived_ns: int
    queue_ns: int
    rpc_ns: int
    model_ns: int


class Replies(NamedTuple):
    """What arrived since the last look, in the order of arrival; all of one length.

    Attributes:
        ids: int64, the requests that were answered; -1 for a message that answers none.
        done_ns: int64, ascending, when each reply was read, monotonic clock.
        outcomes: uint8, `Outcome` of each: completed, defaulted or failed.
        outputs: the answers' bytes; empty where the target was told not to keep them.
        reasons: of those that failed why, in order; empty where the server gives none. Few are distinct.
        timed: of some of them, where the time went; ascending. Empty where the server does not say.
        groups: of new reasons that are one text: what they are counted under once another text of the group comes.
        more: others may be there already.
    """

    ids: np.ndarray
    done_ns: np.ndarray
    outcomes: np.ndarray
    outputs: Sequence[Buffer]
    reasons: Sequence[str] = ()
    timed: Sequence[TimedReply] = ()
    groups: Mapping[str, str] = {}
    more: bool = False


NO_REPLIES = Replies(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8), ())


class Single(NamedTuple):
    """One good answer, which nothing needs to be known of but when it came.

    Attributes:
        request_id: that was answered.
        done_ns: when it was read, monotonic clock.
    """

    request_id: int
    done_ns: int

    def together(self) -> Replies:
        """The same as replies."""
        ids, done_ns = np.array([self.request_id]), np.array([self.done_ns])
        return Replies(ids, done_ns, np.array([Outcome.COMPLETED], np.uint8), ())


class Delivery(NamedTuple):
    """How requests reached the server, beside what became of them.

    Attributes:
        resent: how often a request was sent once more, since the server had closed its connection before any of
            the answer came.
        addresses: requests by the address that they were sent to, where the server's name has several.
        notes: what the reader should know of the connections.
    """

    resent: int = 0
    addresses: Mapping[str, int] = {}
    notes: Sequence[str] = ()


class Target(Protocol):
    """A connection to a server that answers requests; ids are chosen by the caller and count up from 0."""

    async def open(self, pool: Pool) -> None:
        """Connect and prepare to send the pool's inputs; request `i` carries input `i` modulo their number.

        Raises:
            TargetError: the server cannot be reached or does not answer as it should.
        """
        ...

    def send(self, first_id: int, count: int, now_ns: int) -> None:
        """Send requests `first_id` to `first_id + count - 1` without waiting.

        Args:
            first_id: continues those sent before.
            count: at least 1.
            now_ns: monotonic clock.
        """
        ...

    def drain(self) -> Replies:
        """Hand out the replies that are there, without waiting; a bounded number of them."""
        ...

    def notify(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, from the event loop, as soon as replies may be there.

        Asked for after a `drain` that found none, whenever the caller is going to sleep; asking again before the call
        came changes nothing.
        """
        ...

    async def close(self) -> None:
        """Disconnect; what is outstanding is left behind."""
        ...


@runtime_checkable
class Delivers(Protocol):
    """A target that knows how its requests reached the server."""

    @property
    def delivery(self) -> Delivery:
        """Of the requests so far."""
        ...


@runtime_checkable
class Waits(Protocol):
    """A target that can wait for a reply without the event loop."""

    def wait(self) -> Replies | Single:
        """Hand out replies as `drain` does; where there are none, wait a millisecond for the first.

        A good answer is handed out by itself where no other reply is owed, and outputs are not kept.
        """
        ...


class TargetSpec(Protocol):
    """How to reach a server: picklable, so that another process or machine can do it."""

    __slots__ = ()

    def make(self) -> Target:
        """Make the target, not yet open."""
        ...
