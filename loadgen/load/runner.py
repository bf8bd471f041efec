"""Runs one job: sends inputs to a target within a window or by a schedule; job in, record out."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from loadgen.load.dispatcher import Dispatcher, prepare
from loadgen.load.ending import Ending
from loadgen.load.job import Job
from loadgen.load.record import Interval, Record
from loadgen.load.sleeper import Sleeper
from loadgen.load.target import NO_REPLIES, Target
from model_containers.units import NS_PER_S

log = logging.getLogger(__name__)

YIELD_EVERY_NS = 500_000
"""Time after which timers and signals get their turn while there is always more to send or to read."""


class Phase(enum.Enum):
    """Moments of a run at which others want to act."""

    MEASURED_BEGINS = enum.auto()
    MEASURED_ENDS = enum.auto()


async def _ignore(_: Phase) -> None:
    pass


def log_line(interval: Interval) -> None:
    """Log what an interval came to, as the original did."""
    if interval.completed:
        log.info("p99: %s, mean: %s, thruput: %s", interval.p99_s, interval.mean_s, interval.throughput_rps)
    else:
        log.info("nothing completed in %.1f s, %.0f requests in flight", interval.duration_s, interval.in_flight)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What others do while a run is under way.

    Attributes:
        on_phase: awaited when the measured part begins, beside the run after a warm-up and before the first request
            without one; and before the target is closed when it ends.
        on_interval: called with each logging interval when it is over.
        begin: awaited when the server has been reached; says when the run begins, monotonic clock. None for at once.
        stop_sending: set it to end the run early; outstanding requests are still waited for.
    """

    on_phase: Callable[[Phase], Coroutine[Any, Any, None]] = _ignore
    on_interval: Callable[[Interval], None] = log_line
    begin: Callable[[], Awaitable[int]] | None = None
    stop_sending: asyncio.Event = field(default_factory=asyncio.Event)


async def run(job: Job, stop: asyncio.Event | None = None, hooks: Hooks | None = None) -> Record:
    """Run a job to its end, or until `stop` is set, and return what was measured up to there.

    Args:
        job: what to do.
        stop: set it to end the run early, for instance because the server is lost.
        hooks: what others do meanwhile.

    Raises:
        TargetError: the server cannot be reached.
    """
    hooks = hooks or Hooks()
    pool = job.inputs.make()
    target = job.target.make()
    with Sleeper() as sleeper:
        try:
            await target.open(pool)
            if not job.warmup_s:
                await hooks.on_phase(Phase.MEASURED_BEGINS)
            start = prepare(job)
            begins_ns = time.monotonic_ns() if hooks.begin is None else await hooks.begin()
            core = start(begins_ns)
            await sleeper.sleep_until(begins_ns)
            return await _Runner(job, core, target, sleeper, stop or asyncio.Event(), hooks).run()
        finally:
            await target.close()


class _Runner:
    """The shell around a dispatcher: reads the clock, sends, receives, sleeps, and calls hooks."""

    def __init__(
        self, job: Job, core: Dispatcher, target: Target, sleeper: Sleeper, stop: asyncio.Event, hooks: Hooks
    ) -> None:
        self._job, self._core, self._target, self._sleeper = job, core, target, sleeper
        self._stop, self._hooks = stop, hooks
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> Record:
        """Warm up, measure, stop sending, count what is left."""
        try:
            await self._send_and_receive()
            await self._hooks.on_phase(Phase.MEASURED_ENDS)
            if self._job.drain_s:
                await self._drain()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for task in self._tasks:  # what was measured is worth no less
                if not task.cancelled() and (error := task.exception()) is not None:
                    log.error("%s: %r", task.get_name(), error)
        return self._core.finish()

    async def _send_and_receive(self) -> None:
        """Do turn after turn until the run is over."""
        core, target = self._core, self._target
        replies, yielded_ns = NO_REPLIES, time.monotonic_ns()
        while True:
            if self._stop.is_set():
                core.stop(Ending.STOPPED)
            elif self._hooks.stop_sending.is_set():
                core.stop(Ending.ENOUGH)
            now_ns = time.monotonic_ns()
            turn = core.turn(now_ns, replies)
            if turn.measured:
                self._begin_measured()
            if turn.ended is not None:
                break
            if turn.send:
                target.send(turn.first_id, turn.send, now_ns)
                core.sent(turn.send, time.monotonic_ns())
            if turn.interval is not None:
                self._hooks.on_interval(turn.interval)
            replies = target.drain()
            if turn.wake_ns > now_ns and not len(replies.ids):
                target.notify(self._sleeper.wake)
                await self._sleeper.sleep_until(turn.wake_ns)
                yielded_ns = time.monotonic_ns()
            elif now_ns - yielded_ns > YIELD_EVERY_NS:
                await asyncio.sleep(0)
                yielded_ns = now_ns
        if core.record.measured_from_ns:
            core.record.clients[0].cpu_ns += time.process_time_ns()
        if turn.interval is not None:
            self._hooks.on_interval(turn.interval)

    def _begin_measured(self) -> None:
        self._core.record.clients[0].cpu_ns = -time.process_time_ns()
        if self._job.warmup_s:
            beside = self._hooks.on_phase(Phase.MEASURED_BEGINS)
            self._tasks.append(asyncio.create_task(beside, name="measured part begins"))

    async def _drain(self) -> None:
        """Wait for outstanding requests, but not for long; those that remain are left behind."""
        replies, now_ns = NO_REPLIES, time.monotonic_ns()
        until_ns = now_ns + round(self._job.drain_s * NS_PER_S)
        while (wake_ns := self._core.drain(now_ns, replies, until_ns)) is not None and not self._stop.is_set():
            replies = self._target.drain()
            if not len(replies.ids):
                self._target.notify(self._sleeper.wake)
                await self._sleeper.sleep_until(wake_ns)
            now_ns = time.monotonic_ns()
