"""Runs one job: sends inputs to a target within a window or by a schedule; job in, record out."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from frontend_launch.quantities import plural
from loadgen.load.dispatcher import Dispatcher, prepare
from loadgen.load.ending import Ending
from loadgen.load.job import Job
from loadgen.load.record import Interval, Record
from loadgen.load.sleeper import Sleeper
from loadgen.load.target import NO_REPLIES, Delivers, Replies, Single, Target, Waits
from model_containers.units import NS_PER_S

log = logging.getLogger(__name__)

YIELD_EVERY_NS = 500_000
"""Time after which timers and signals get their turn while there is always more to send or to read."""


class Phase(enum.Enum):
    """Moments of a run at which hooks act; the value names them."""

    MEASURED_BEGINS = "when the measured part began"
    MEASURED_ENDS = "when the measured part ended"


async def _ignore(_: Phase) -> None:
    pass


def log_line(interval: Interval) -> None:
    """Log an interval as the original did; lost requests count as slower than its p99, and not in its mean."""
    lost = f", lost: {interval.lost}" if interval.lost else ""
    if interval.completed:
        p99_s = "among lost requests" if interval.p99_s is None else _six_digits(interval.p99_s)
        mean_s, throughput_rps = _six_digits(interval.mean_s), _six_digits(interval.throughput_rps)
        log.info("p99: %s, mean: %s, thruput: %s%s", p99_s, mean_s, throughput_rps, lost)
    else:
        waiting = plural(round(interval.in_flight), "request")
        log.info("nothing completed in %.1f s, %s in flight%s", interval.duration_s, waiting, lost)


def _six_digits(value: float | None) -> float | None:
    """A value that prints with at most six significant digits, without separators, as programs read this line."""
    return None if value is None else float(f"{value:.6g}")


def is_interval_line(record: logging.LogRecord) -> bool:
    """Whether `log_line` logged a record."""
    return record.name == __name__ and record.funcName == log_line.__name__


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks of a run. What `on_phase` and `on_interval` raise does not end it.

    Attributes:
        on_phase: awaited when the measured part begins, beside the run after a warm-up and before the first request
            without one; and when it ends, while answers are still received.
        on_interval: called with each logging interval when it is over.
        begin: awaited when the server has been reached; says when the run begins, monotonic clock. None for at once.
        stop_sending: set it to end the run early; outstanding requests are still waited for.
        notes: which hooks failed; the record has them too.
    """

    on_phase: Callable[[Phase], Coroutine[Any, Any, None]] = _ignore
    on_interval: Callable[[Interval], None] = log_line
    begin: Callable[[], Awaitable[int]] | None = None
    stop_sending: asyncio.Event = field(default_factory=asyncio.Event)
    notes: list[str] = field(default_factory=list)

    async def tell(self, phase: Phase) -> None:
        """Await `on_phase`; a failure becomes a note."""
        try:
            await self.on_phase(phase)
        except Exception as error:  # a failed hook does not invalidate the measurement
            self._failed(f"a reading {phase.value}", error)

    def report(self, interval: Interval) -> None:
        """Call `on_interval`; a failure becomes a note."""
        try:
            self.on_interval(interval)
        except Exception as error:  # likewise
            self._failed("an action after a logging interval", error)

    def _failed(self, what: str, error: Exception) -> None:
        log.debug("%s failed", what, exc_info=error)
        note = f"{what} failed: {type(error).__name__}: {error}"
        if note not in self.notes:
            self.notes.append(note)
            log.error("%s", note)


async def run(job: Job, stop: asyncio.Event | None = None, hooks: Hooks | None = None) -> Record:
    """Run a job to its end, or until `stop` is set, and return what was measured up to there.

    Args:
        job: what to do.
        stop: set it to end the run early, for instance because the server is lost.
        hooks: its callbacks.

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
                await hooks.tell(Phase.MEASURED_BEGINS)
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
            await self._drain(self._beside(Phase.MEASURED_ENDS))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        record = self._core.finish()
        record.notes += self._hooks.notes
        if isinstance(self._target, Delivers):
            delivery = self._target.delivery
            record.resent = delivery.resent
            record.addresses.update(delivery.addresses)
            record.notes += delivery.notes
        return record

    async def _send_and_receive(self) -> None:
        """Do turn after turn until the run is over."""
        core, target = self._core, self._target
        wait = target.wait if isinstance(target, Waits) else None
        replies: Replies | Single = NO_REPLIES
        yielded_ns = time.monotonic_ns()
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
                self._mark()
                self._hooks.report(turn.interval)
            if turn.read_ns > now_ns:
                await self._sleeper.sleep_until(min(turn.read_ns, turn.wake_ns))
                yielded_ns = time.monotonic_ns()
            if turn.near and wait is not None:
                if now_ns - yielded_ns > YIELD_EVERY_NS:
                    await asyncio.sleep(0)
                    yielded_ns = now_ns
                replies = wait()
                if isinstance(replies, Single) or len(replies.ids):
                    continue
            replies = target.drain()
            if turn.wake_ns > now_ns and not len(replies.ids):
                target.notify(self._sleeper.wake)
                await self._sleeper.sleep_until(turn.wake_ns)
                yielded_ns = time.monotonic_ns()
                replies = target.drain()
            elif now_ns - yielded_ns > YIELD_EVERY_NS:
                await asyncio.sleep(0)
                yielded_ns = now_ns
        if core.record.measured_from_ns:
            core.record.clients[0].cpu_ns += time.process_time_ns()
        if turn.interval is not None:
            self._hooks.report(turn.interval)

    def _mark(self) -> None:
        """Add the CPU time to the mark of the interval that has just ended."""
        use = self._core.record.clients[0]
        if use.marks[-1].cpu_ns is None:  # later ones are not kept
            use.marks[-1] = use.marks[-1]._replace(cpu_ns=use.cpu_ns + time.process_time_ns())

    def _begin_measured(self) -> None:
        self._core.record.clients[0].cpu_ns = -time.process_time_ns()
        if self._job.warmup_s:
            self._beside(Phase.MEASURED_BEGINS)

    def _beside(self, phase: Phase) -> asyncio.Task[None]:
        task = asyncio.create_task(self._hooks.tell(phase), name=phase.value)
        self._tasks.append(task)
        return task

    async def _drain(self, told: asyncio.Task[None]) -> None:
        """Receive while the hooks act, and wait a limited time for outstanding requests.

        Args:
            told: has ended when the hooks have acted.
        """
        core, target = self._core, self._target
        told.add_done_callback(lambda _: self._sleeper.wake())
        replies, now_ns = NO_REPLIES, time.monotonic_ns()
        until_ns, yielded_ns = now_ns + round(self._job.drain_s * NS_PER_S), 0
        while True:
            drained, wake_ns = core.drain(now_ns, replies, until_ns)
            if told.done() and (drained or self._stop.is_set()):
                if not drained and core.record.ended.as_asked:
                    core.record.ended = Ending.STOPPED
                break
            replies = target.drain()
            if not len(replies.ids):
                target.notify(self._sleeper.wake)
                await self._sleeper.sleep_until(wake_ns)
                yielded_ns = time.monotonic_ns()
            elif now_ns - yielded_ns > YIELD_EVERY_NS:
                await asyncio.sleep(0)
                yielded_ns = now_ns
            now_ns = time.monotonic_ns()
        replies = target.drain()  # what arrived before the end was known
        core.drain(time.monotonic_ns(), replies, until_ns)
