"""Runs one job: sends inputs to a target within a window or by a schedule; job in, record out."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loadgen.load.answers import AnswerCheck
from loadgen.load.ending import Ending
from loadgen.load.in_flight import InFlight
from loadgen.load.job import Job
from loadgen.load.pace import Pace, Schedule, Window
from loadgen.load.record import Interval, Record
from loadgen.load.recorder import Recorder, ScheduleRecorder
from loadgen.load.requests_log import RequestsLog
from loadgen.load.sleeper import Sleeper
from loadgen.load.target import Outcome, Replies, Target
from model_containers.units import NS_PER_S

log = logging.getLogger(__name__)

BURST = 64
"""Requests sent before replies are looked for again."""

MAX_WAIT_NS = 100_000_000
"""The longest sleep: after it the run looks at its deadlines again."""

LEAD_NS = 20_000_000
"""From the start of a run to the first planned request, so that what is done once is done."""

MAX_UNANSWERED = 1_000_000
"""Timed-out requests that may be unanswered before the run ends: a server that does not read leaves them in memory."""

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
            begins_ns = None if hooks.begin is None else await hooks.begin()
            return await _Run(job, target, sleeper, stop or asyncio.Event(), hooks, begins_ns).to_its_end()
        finally:
            await target.close()


class _Run:
    """The state of one run; `to_its_end` is its story."""

    def __init__(
        self, job: Job, target: Target, sleeper: Sleeper, stop: asyncio.Event, hooks: Hooks, begins_ns: int | None
    ) -> None:
        self._job, self._target, self._sleeper, self._stop, self._hooks = job, target, sleeper, stop, hooks
        log = RequestsLog() if job.keep_requests else None
        warmup_ns = round(job.warmup_s * NS_PER_S)
        if job.arrivals is None:
            self._pace: Pace = Window(job.window, job.requests)
            self._recorder = Recorder(log)
            self._in_flight = InFlight(job.window)
            self._now_ns = self._started_ns = begins_ns or time.monotonic_ns()
            self._measured_from_ns, self._ends_ns = self._started_ns + warmup_ns, None
        else:
            times_ns = job.arrivals.times_ns(job.warmup_s)[job.client :: job.clients]
            self._in_flight = InFlight(min(job.window, len(times_ns)), planned=True)
            self._now_ns = self._started_ns = begins_ns or time.monotonic_ns()
            self._measured_from_ns = self._started_ns + LEAD_NS + warmup_ns
            self._ends_ns = self._measured_from_ns + round(job.arrivals.duration_s * NS_PER_S)
            self._pace = Schedule(times_ns + self._measured_from_ns, self._ends_ns, job.window)
            self._recorder = ScheduleRecorder(self._measured_from_ns, self._ends_ns, log)
        self._answered = False
        self._quiet_since_ns = self._idle_since_ns = self._started_ns
        self._next_expiry_ns = self._started_ns
        self._tasks: list[asyncio.Task[None]] = []

    async def to_its_end(self) -> Record:
        """Warm up, measure, stop sending, count what is left."""
        await self._sleeper.sleep_until(self._started_ns)
        try:
            ended = await self._stream()
            self._end_measured(ended)
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
        record = self._recorder.record
        record.ended = ended
        record.late, record.unexpected = self._in_flight.late, self._in_flight.unexpected
        self._recorder.ended(Outcome.ABANDONED, self._in_flight.give_up())
        return record

    async def _stream(self) -> Ending:
        """Send and read until something ends the run; returns what did."""
        pace, in_flight = self._pace, self._in_flight
        yielded_ns = self._now_ns
        while True:
            self._look_at_the_clock()
            if (ended := self._over()) is not None:
                return ended
            due = pace.due(self._now_ns, in_flight.sent, in_flight.outstanding)
            if due:
                self._send(min(due, BURST))
            # Reading takes time, in which more may have become due: the pace is asked again, or the sleep would make it
            # late.
            if not self._read() and due <= BURST and not pace.due(self._now_ns, in_flight.sent, in_flight.outstanding):
                await self._sleep()
                yielded_ns = self._now_ns
            elif self._now_ns - yielded_ns > YIELD_EVERY_NS:
                await asyncio.sleep(0)
                yielded_ns = self._now_ns

    def _send(self, count: int) -> None:
        """Send the next requests; with a plan, the time at which they were sent is when ZeroMQ had taken them all."""
        in_flight, now_ns = self._in_flight, self._now_ns
        # A stall is a time without the answers that are owed. None was owed while nothing was in flight, so that time
        # is taken out by moving the beginning.
        if not in_flight.outstanding:
            self._quiet_since_ns += now_ns - self._idle_since_ns
        planned_ns = self._pace.planned_ns(in_flight.sent, count)
        self._target.send(in_flight.sent, count, now_ns)
        if planned_ns is not None:
            now_ns = time.monotonic_ns()
        in_flight.send(count, now_ns, planned_ns)
        self._recorder.sent(count, now_ns, planned_ns)

    def _look_at_the_clock(self) -> None:
        """Take the time of this turn, and account for the turn before it."""
        if self._recorder.measuring:
            self._account()
        else:
            self._now_ns = time.monotonic_ns()
            if self._now_ns >= self._measured_from_ns:
                self._begin_measured()
        self._expire()

    def _account(self) -> None:
        """Count what was in flight until now."""
        before_ns, self._now_ns = self._now_ns, time.monotonic_ns()
        held_ns = min(self._now_ns, self._ends_ns or self._now_ns) - before_ns
        self._recorder.record.clients[0].in_flight_ns += self._in_flight.outstanding * max(0, held_ns)

    def _expire(self) -> None:
        """Give up on requests whose time is over."""
        if self._job.timeout_s is not None and self._now_ns >= self._next_expiry_ns:
            expired = self._in_flight.expire(self._now_ns - round(self._job.timeout_s * NS_PER_S))
            self._recorder.ended(Outcome.TIMED_OUT, expired)
            if len(expired.ids):
                self._idle_since_ns = self._now_ns
            self._next_expiry_ns = self._now_ns + NS_PER_S // 100

    def _over(self) -> Ending | None:
        job, now_ns = self._job, self._now_ns
        if self._stop.is_set():
            return Ending.STOPPED
        if self._hooks.stop_sending.is_set():
            return Ending.ENOUGH
        if job.arrivals is None and self._ends_ns is not None and now_ns >= self._ends_ns:
            return Ending.DURATION
        if (why := self._pace.over(now_ns, self._in_flight.sent, self._in_flight.outstanding)) is not None:
            return why
        # A timed-out request no longer counts as in flight, so nothing else bounds those that no reply comes for.
        if self._recorder.record.outcomes[Outcome.TIMED_OUT] - self._in_flight.late > MAX_UNANSWERED:
            return Ending.OVERRUN
        if not self._answered and job.first_answer_s is not None:
            return Ending.NO_ANSWER if now_ns - self._started_ns > job.first_answer_s * NS_PER_S else None
        if self._in_flight.outstanding and now_ns - self._quiet_since_ns > job.stall_s * NS_PER_S:
            return Ending.STALLED
        return None

    def _read(self) -> bool:
        """Take in the replies that are there; False when there were none."""
        replies = self._target.drain()
        if not len(replies.ids):
            return False
        settled = self._in_flight.settle(replies.ids)
        self._recorder.replied(replies, settled)
        if self._job.check is not None:
            self._compare(self._job.check, replies, settled.known)
        if settled.known.any():
            self._answered = True
            self._quiet_since_ns = self._idle_since_ns = self._now_ns
        elif (replies.ids >= 0).any():  # late, but whoever answers has not stalled
            self._quiet_since_ns = self._now_ns
        return True

    def _compare(self, check: AnswerCheck, replies: Replies, known: np.ndarray) -> None:
        """Compare the answers that the check concerns with the right ones."""
        concerned = known & (replies.outcomes == Outcome.COMPLETED) & check.concerns(replies.ids)
        for index in np.flatnonzero(concerned).tolist():
            self._recorder.compared(check.agrees(int(replies.ids[index]), replies.outputs[index]))

    async def _sleep(self) -> None:
        """Nothing to send and nothing to read: sleep until there is, or until the next deadline."""
        deadlines_ns = [self._now_ns + MAX_WAIT_NS]
        if (next_ns := self._pace.next_ns(self._in_flight.sent)) is not None:
            deadlines_ns.append(next_ns)
        if self._ends_ns is not None and self._ends_ns > self._now_ns:
            deadlines_ns.append(self._ends_ns)
        if not self._recorder.measuring:
            deadlines_ns.append(self._measured_from_ns)
        self._target.notify(self._sleeper.wake)
        await self._sleeper.sleep_until(min(deadlines_ns))

    def _begin_measured(self) -> None:
        began_ns = self._now_ns if self._job.arrivals is None else self._measured_from_ns
        if self._job.duration_s is not None and self._job.arrivals is None:
            self._ends_ns = began_ns + round(self._job.duration_s * NS_PER_S)
        self._recorder.begin_measured(began_ns, self._ends_ns)
        client = self._recorder.record.clients[0]
        client.cpu_ns = -time.process_time_ns()
        self._tasks.append(asyncio.create_task(self._log_lines(began_ns), name="periodic line"))
        if self._job.warmup_s:
            beside = self._hooks.on_phase(Phase.MEASURED_BEGINS)
            self._tasks.append(asyncio.create_task(beside, name="measured part begins"))

    def _end_measured(self, ended: Ending) -> None:
        if not self._recorder.measuring:
            return
        ends_ns = min(time.monotonic_ns(), self._ends_ns or self._now_ns)
        next_ns = self._pace.next_ns(self._in_flight.sent)
        if ended is Ending.ENOUGH and next_ns is not None:
            # Whoever has seen enough takes what was sent: what became due since the last turn is not part of it.
            ends_ns = min(ends_ns, next_ns)
        self._recorder.planned(self._pace.between(self._measured_from_ns, ends_ns))
        client = self._recorder.record.clients[0]
        client.cpu_ns += time.process_time_ns()
        self._log_interval(ends_ns)
        self._recorder.end_measured(ends_ns)

    async def _log_lines(self, began_ns: int) -> None:
        """Log a line per interval, at absolute times; the last line is the end's own."""
        every_ns = round(self._job.log_every_s * NS_PER_S)
        due_ns = began_ns + every_ns
        while self._ends_ns is None or due_ns + every_ns // 10 < self._ends_ns:
            await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / NS_PER_S)
            if self._recorder.measuring:
                self._account()
                self._log_interval(self._now_ns)
            due_ns += every_ns

    def _log_interval(self, now_ns: int) -> None:
        interval = self._recorder.cut(now_ns)
        if interval is not None:
            self._hooks.on_interval(interval)

    async def _drain(self) -> None:
        """Wait for what is outstanding, but not for long; what then remains is left behind."""
        until_ns = time.monotonic_ns() + round(self._job.drain_s * NS_PER_S)
        while self._in_flight.outstanding and not self._stop.is_set():
            self._now_ns = time.monotonic_ns()
            if self._now_ns >= until_ns:
                break
            self._expire()
            if not self._read():
                self._target.notify(self._sleeper.wake)
                await self._sleeper.sleep_until(min(self._now_ns + MAX_WAIT_NS, until_ns))
        self._recorder.record.left_behind = self._in_flight.outstanding
