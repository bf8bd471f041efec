"""Several servers as one target: each request goes to the one with the fewest outstanding requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from loadgen.load.inputs import Pool
from loadgen.load.target import NO_REPLIES, Replies, Target, TargetSpec, TimedReply


@dataclass(frozen=True, slots=True)
class BalancedSpec(TargetSpec):
    """The servers, two or more, of a target that reads replies, and so takes their time, when it is drained.

    Attributes:
        specs: one each.
    """

    specs: tuple[TargetSpec, ...]

    @override
    def make(self) -> BalancedTarget:
        """Make the target, not yet open."""
        return BalancedTarget([spec.make() for spec in self.specs])


class BalancedTarget(Target):
    """Sends to several servers; see `BalancedSpec`.

    What a server has to do is what was sent to it and is not answered. A request that is never answered counts for
    good: a server that loses requests gets fewer.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self._outstanding = [0] * len(targets)
        self._turn = 0
        self._wake: Callable[[], None] | None = None

    @override
    async def open(self, pool: Pool) -> None:
        """Connect to all.

        Raises:
            TargetError: one cannot be reached.
        """
        for target in self._targets:
            await target.open(pool)

    @override
    def send(self, first_id: int, count: int, now_ns: int) -> None:
        """Send each server a run of consecutive requests, as many as it takes to have as much to do as the others."""
        shares = level(self._outstanding, count, self._turn)
        self._turn = (self._turn + count) % len(shares)
        for number, share in enumerate(shares):
            if share:
                self._targets[number].send(first_id, share, now_ns)
                self._outstanding[number] += share
                first_id += share

    @override
    def drain(self) -> Replies:
        """Read the replies of all, one server after the other, so that their times ascend."""
        found: list[Replies] = []
        timed: list[TimedReply] = []
        for number, target in enumerate(self._targets):
            replies = target.drain()
            if len(replies.ids):
                self._outstanding[number] -= int(np.count_nonzero(replies.ids >= 0))
                before = sum(len(other.ids) for other in found)
                timed += [each._replace(place=each.place + before) for each in replies.timed]
                found.append(replies)
        if len(found) < 2:
            return found[0] if found else NO_REPLIES
        return Replies(
            np.concatenate([replies.ids for replies in found]),
            np.concatenate([replies.done_ns for replies in found]),
            np.concatenate([replies.outcomes for replies in found]),
            [output for replies in found for output in replies.outputs],
            [reason for replies in found for reason in replies.reasons],
            timed,
            {new: group for replies in found for new, group in replies.groups.items()},
            any(replies.more for replies in found),
        )

    @override
    def notify(self, wake: Callable[[], None]) -> None:
        """Call `wake` when a reply of any is there."""
        self._wake = wake
        for target in self._targets:
            target.notify(self._on_reply)

    def _on_reply(self) -> None:
        """The first target with a reply wakes the caller; later calls have no effect."""
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake()

    @override
    async def close(self) -> None:
        """Disconnect from all."""
        await asyncio.gather(*(target.close() for target in self._targets))


def level(outstanding: Sequence[int], count: int, turn: int = 0) -> list[int]:
    """How many of `count` requests to send to each server, so that all have as much to do as can be.

    Those that have least are filled up to the one that has next to least, and so on; no server loses any.

    Args:
        outstanding: what each has to do.
        count: how many to send.
        turn: whose turn it is among those that have the same to do.
    """
    servers = range(len(outstanding))
    ascending = sorted(servers, key=lambda number: (outstanding[number], (number - turn) % len(outstanding)))
    below = len(ascending)
    # Those that get some have less than the level at which all is spent; the others are above it.
    while sum(outstanding[ascending[below - 1]] - outstanding[number] for number in ascending[:below]) > count:
        below -= 1
    whole = count + sum(outstanding[number] for number in ascending[:below])
    shares = [0] * len(outstanding)
    for place, number in enumerate(ascending[:below]):
        shares[number] = whole // below + (place < whole % below) - outstanding[number]
    return shares
