"""The core of a run: which requests to send now, what replies mean, and when it is over.

Pure: told the time, never reads it. `loadgen.load.runner` reads the clock, sends, receives and sleeps as it says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from frontend_launch.running_time import LATE_NS, RunningTime
from loadgen.load.ending import Ending
from loadgen.load.in_flight import InFlight, Settled
from loadgen.load.job import Job
from loadgen.load.pace import NEVER_NS, Pace, Schedule, Window
from loadgen.load.parts import PlannedParts
from loadgen.load.reading_pace import LEAST_IN_FLIGHT, ReadingPace
from loadgen.load.record import Interval, Record
from loadgen.load.recorder import Recorder, ScheduleRecorder
from loadgen.load.requests_log import RequestsLog
from loadgen.load.tally import Tally
from loadgen.load.target import NO_REPLIES, Outcome, Replies, Single
from model_containers.units import NS_PER_S

BURST = 64
"""Most requests of one turn."""

MAX_WAIT_NS = 20_000_000
"""The longest time between two turns, after which deadlines are looked at again.

A client that did not run is seen by the turn that it missed, so a gap is found shorter by up to this.
"""

_FEW = 8
"""Fewer replies are cheaper settled one by one than with numpy."""

NEAR_NS = 500_000
"""With one request in flight, the client waits without the event loop for replies that take less than this."""

_FAR_REPLIES = 20
"""After a reply that took longer, the client waits for this number of replies with the event loop."""

LEAD_NS = 20_000_000
"""From the start of a run to the first planned request, so that what is done once is done."""

MAX_UNANSWERED = 1_000_000
"""Timed-out requests that may be unanswered before the run ends: a server that does not read leaves them in memory."""

LONGEST_CATCH_UP_NS = 100_000_000
"""The longest time in which a client that did not run reads the replies that arrived meanwhile."""

MOST_CATCH_UPS = 4
"""A client that is late this often in a row is slow, not stopped: deadlines apply to it."""

_EXPIRE_EVERY_NS = NS_PER_S // 100


class Turn(NamedTuple):
    """What is to be done in a turn of the run, in this order.

    Attributes:
        measured: the measured part begins with this turn.
        ended: why the run is over; nothing is sent then.
        first_id: the first request to send.
        send: how many; `Dispatcher.sent` is called when the target has taken them.
        interval: the logging interval that ends with this turn.
        wake_ns: when the next turn is due where no reply comes before; not after now for at once.
        read_ns: replies are not read before; a time that has passed for at once.
        near: one request is in flight, its reply is expected within `NEAR_NS`, and nothing else is due soon.
    """

    measured: bool
    ended: Ending | None
    first_id: int
    send: int
    interval: Interval | None
    wake_ns: int
    read_ns: int = 0
    near: bool = False


class _CatchUp(NamedTuple):
    """The client did not run, and has yet to read what has arrived; until then no deadline is judged.

    Attributes:
        from_ns: since when it did not run.
        resumed_ns: when it ran again.
        until_ns: from then on, nothing to read means that all was read.
        times: how often it did not run since it last had read all.
    """

    from_ns: int
    resumed_ns: int
    until_ns: int
    times: int


class Dispatcher:
    """One run, turn by turn; made by `prepare`.

    Args:
        job: what to do.
        pace: when to send: a closed or an open loop.
        in_flight: keeps the outstanding requests.
        recorder: of the same loop.
        started_ns: now.

    Attributes:
        record: what happened so far.
    """

    def __init__(self, job: Job, pace: Pace, in_flight: InFlight, recorder: Recorder, started_ns: int) -> None:
        self._check, self._pace, self._in_flight, self._recorder = job.check, pace, in_flight, recorder
        self.record = recorder.record
        self._stall_ns = round(job.stall_s * NS_PER_S)
        self._timeout_ns = 0 if job.timeout_s is None else round(job.timeout_s * NS_PER_S)
        self._next_expiry_ns = NEVER_NS if job.timeout_s is None else started_ns
        # Without a patience of its own the first answer is like any other.
        self._awaits_first = job.first_answer_s is not None
        self._first_answer_ns = round((job.first_answer_s or 0.0) * NS_PER_S)
        self._first_by_ns = NEVER_NS  # until something was sent
        self._interval_ns = round(job.log_every_s * NS_PER_S)
        self._cut_ns = NEVER_NS
        self._deadline_ns = pace.measured_from_ns
        self._now_ns = self._quiet_since_ns = self._idle_since_ns = self._due_ns = started_ns
        self._latest: Replies | Single = NO_REPLIES
        self._before_ns = self._seen_ns = self._resumed_ns = started_ns
        self._gap_ns = (started_ns, started_ns)
        self._running = RunningTime()
        self._catch_up: _CatchUp | None = None
        self._unread = 0
        together = job.arrivals is None and job.window >= LEAST_IN_FLIGHT
        self._reading, self._read_ns = (ReadingPace() if together else None), 0
        self._singly = self._reading is None and self._check is None
        self._may_be_near, self._far = job.near and job.arrivals is None, _FAR_REPLIES
        self._waits, self._missed_ns = job.drain_s > 0, 0
        self._ended: Ending | None = None

    @property
    def outstanding(self) -> int:
        """Requests without an outcome."""
        return self._in_flight.outstanding

    def stop(self, ended: Ending) -> None:
        """End the run with the next turn.

        Args:
            ended: why.
        """
        self._ended = ended

    def turn(self, now_ns: int, replies: Replies | Single) -> Turn:
        """Take in replies, and say what to do now.

        Args:
            now_ns: monotonic clock.
            replies: those that came since the last turn.
        """
        if isinstance(replies, Single):
            self._receive_single(now_ns, replies)
        else:
            self._receive(now_ns, replies)
        measured, interval = False, None
        if self._recorder.measuring:
            self._account(now_ns)
            if now_ns >= self._cut_ns:
                interval = self._cut(now_ns)
        else:
            self._now_ns = now_ns
            if now_ns >= self._pace.measured_from_ns and self._catch_up is None:
                measured = True
                self._begin_measured(now_ns)
        if now_ns - self._due_ns > LATE_NS:
            self._late(now_ns)
        if now_ns >= self._next_expiry_ns and self._catch_up is None:
            self._expire(now_ns)
        sent = self._in_flight.sent
        ended = self._over(now_ns)
        if ended is not None and self._catch_up is not None and self._ended is None:
            self._due_ns = wake_ns = max(now_ns, self._catch_up.until_ns)
            return Turn(measured, None, sent, 0, interval, wake_ns)
        if ended is not None:
            self._due_ns = now_ns
            last = self._end_measured(now_ns, ended)
            self.record.ended = ended
            if self.record.offered is not None:
                self.record.offered.unsent = self._pace.due(now_ns, sent, self._in_flight.outstanding)
            return Turn(measured, ended, sent, 0, interval or last, now_ns)
        due = self._pace.due(now_ns, sent, self._in_flight.outstanding)
        if due > BURST:
            self._due_ns = now_ns
            return Turn(measured, None, sent, BURST, interval, now_ns)
        deadline_ns = self._deadline_ns if self._catch_up is None else max(self._deadline_ns, self._catch_up.until_ns)
        wake_ns = min(now_ns + MAX_WAIT_NS, deadline_ns, self._pace.next_ns(sent + due))
        self._due_ns = max(now_ns, wake_ns)
        outstanding = self._in_flight.outstanding + due
        read_ns = self._read_ns if outstanding >= LEAST_IN_FLIGHT else 0
        near = outstanding == 1 and self._may_be_near and not self._far and wake_ns - now_ns > 4 * NEAR_NS
        return Turn(measured, None, sent, due, interval, wake_ns, read_ns, near)

    def sent(self, count: int, now_ns: int) -> None:
        """The requests of the last turn were sent.

        Args:
            count: how many.
            now_ns: when the target had taken them all, monotonic clock.
        """
        in_flight = self._in_flight
        # A stall is a time without the answers that are owed. None was owed while nothing was in flight, so that time
        # is taken out by moving the beginning.
        if not in_flight.outstanding:
            self._quiet_since_ns += self._now_ns - self._idle_since_ns
            if not in_flight.sent:
                self._first_by_ns = self._now_ns + self._first_answer_ns
        sent_ns, planned_ns = self._pace.times(in_flight.sent, count, self._now_ns, now_ns)
        in_flight.send(count, sent_ns, planned_ns, now_ns - self._now_ns)
        self._recorder.sent(count, sent_ns, planned_ns)

    def drain(self, now_ns: int, replies: Replies, until_ns: int) -> tuple[bool, int]:
        """Take in replies after the run is over.

        Args:
            now_ns: monotonic clock.
            replies: those that came since the last call.
            until_ns: when to stop waiting.

        Returns:
            Whether there is nothing more to wait for, and when to look again where no reply comes before.
        """
        self._missed_ns += self._receive(now_ns, replies)
        if now_ns >= self._next_expiry_ns and self._catch_up is None:
            self._expire(now_ns)
        ends_ns = until_ns + self._missed_ns if self._catch_up is None else self._catch_up.until_ns
        self._due_ns = min(now_ns + MAX_WAIT_NS, ends_ns) if ends_ns > now_ns else now_ns + MAX_WAIT_NS
        drained = not self._in_flight.outstanding or (now_ns >= ends_ns and self._catch_up is None)
        return drained, self._due_ns

    def finish(self) -> Record:
        """Abandon outstanding requests; returns the record of the run."""
        if self._waits:
            self.record.left_behind = self._in_flight.outstanding
        self.record.late, self.record.unexpected = self._in_flight.late, self._in_flight.unexpected
        self._recorder.ended(Outcome.ABANDONED, self._in_flight.abandon(), self._seen_ns)
        self._recorder.finish()
        return self.record

    def _receive_single(self, now_ns: int, reply: Single) -> None:
        """Take in one reply as `_receive` does."""
        if not self._singly or self._catch_up is not None or now_ns - self._due_ns > LATE_NS:
            self._receive(now_ns, reply.together())
            return
        self._latest, self._before_ns, self._seen_ns = reply, self._seen_ns, now_ns
        if self._settle_one(*reply):
            self._awaits_first = False
            self._quiet_since_ns = self._idle_since_ns = now_ns
        elif reply.request_id >= 0:
            self._quiet_since_ns = now_ns

    def _receive(self, now_ns: int, replies: Replies) -> int:
        """Take in replies, and know whether more may have arrived; returns the time in which the client did not run."""
        self._latest, self._before_ns, self._seen_ns = replies, self._seen_ns, now_ns
        missed_ns = now_ns - self._due_ns
        if missed_ns <= LATE_NS and self._catch_up is None:  # as nearly always
            if len(replies.ids):
                self._settle(now_ns, replies)
            return 0
        if missed_ns > LATE_NS:
            self._resume(now_ns, missed_ns)
        if len(replies.ids):
            self._settle(now_ns, replies)
        if missed_ns > LATE_NS:
            return missed_ns
        self._unread -= len(replies.ids)
        if self._catch_up is not None and (
            self._unread <= 0 or (not len(replies.ids) and now_ns >= self._catch_up.until_ns)
        ):
            self._catch_up = None
        return 0

    def _resume(self, now_ns: int, missed_ns: int) -> None:
        """The client did not run when this turn was due: that time counts for no deadline."""
        self._resumed_ns = now_ns
        self._running.missed(self._due_ns, now_ns)
        self._recorder.missed(self._due_ns, now_ns)
        self._first_by_ns += missed_ns
        if not self._in_flight.outstanding:
            return
        self._quiet_since_ns += missed_ns
        self._unread = self._in_flight.outstanding
        from_ns, times = (self._due_ns, 0) if self._catch_up is None else (self._catch_up.from_ns, self._catch_up.times)
        until_ns = now_ns + min(missed_ns, LONGEST_CATCH_UP_NS)
        self._catch_up = None if times == MOST_CATCH_UPS else _CatchUp(from_ns, now_ns, until_ns, times + 1)

    def _settle(self, now_ns: int, replies: Replies) -> None:
        outstanding = self._in_flight.outstanding
        if len(replies.ids) >= _FEW or not self._settle_few(replies):
            self._settle_together(now_ns, replies)
        if self._in_flight.outstanding < outstanding:
            self._awaits_first = False
            self._quiet_since_ns = self._idle_since_ns = now_ns
        elif (replies.ids >= 0).any():  # late, but a server that answers has not stalled
            self._quiet_since_ns = now_ns

    def _settle_few(self, replies: Replies) -> bool:
        """Settle replies one by one, which are then recorded with others; whether there is no more to do with them."""
        if not self._singly or self._catch_up is not None or replies.reasons or replies.timed:
            return False
        if any(replies.outcomes.tolist()):  # the code of completed is 0
            return False
        for request_id, done_ns in zip(replies.ids.tolist(), replies.done_ns.tolist(), strict=True):
            self._settle_one(request_id, done_ns)
        return True

    def _settle_one(self, request_id: int, done_ns: int) -> bool:
        """Settle a good answer, which is recorded with others; whether its request was outstanding."""
        settled = self._in_flight.settle_one(request_id)
        self._recorder.replied_one(request_id, done_ns, settled)
        if done_ns - settled[2] > NEAR_NS:
            self._far = _FAR_REPLIES
        elif self._far:
            self._far -= 1
        return settled[0]

    def _settle_together(self, now_ns: int, replies: Replies) -> None:
        outstanding = self._in_flight.outstanding
        settled = self._in_flight.settle(replies.ids)
        self._recorder.replied(replies, settled)
        if self._reading is not None and outstanding >= LEAST_IN_FLIGHT:
            middle = len(replies.ids) // 2
            if settled.known[middle]:
                latency_ns = int(replies.done_ns[middle] - settled.sent_ns[middle])
                read_ns = self._reading.next_ns(now_ns, latency_ns)
                self._read_ns = now_ns if replies.more else read_ns
        if self._catch_up is not None:
            self._recorder.read_late(replies.ids[_read_late(replies, settled, self._catch_up)])
        if self._check is not None:
            concerned = settled.known & (replies.outcomes == Outcome.COMPLETED) & self._check.selects(replies.ids)
            for index in np.flatnonzero(concerned).tolist():
                self._recorder.compared(self._check.agrees(int(replies.ids[index]), replies.outputs[index]))

    def _account(self, now_ns: int) -> None:
        """Count what was in flight since the last turn."""
        held_ns = min(now_ns, self._pace.ends_ns) - self._now_ns
        self._now_ns = now_ns
        if held_ns > 0:
            self.record.clients[0].in_flight_ns += self._in_flight.outstanding * held_ns

    def _late(self, now_ns: int) -> None:
        """The client did not run when this turn was due."""
        self._gap_ns = (self._due_ns, now_ns)
        if self._recorder.measuring:
            self._count_gap()

    def _count_gap(self) -> None:
        """Of the last gap, the time in the measured part counts."""
        from_ns = self._pace.measured_from_ns
        due_ns = max(self._gap_ns[0], from_ns)
        gap_ns = min(self._gap_ns[1], self._pace.ends_ns) - due_ns
        if gap_ns > LATE_NS:
            self.record.clients[0].add_gap(due_ns - from_ns, gap_ns)

    def _expire(self, now_ns: int) -> None:
        """Time out requests whose time was over when all replies were known."""
        # All replies are known up to the last one; without one, up to the last turn.
        latest, read_ns = self._latest, self._before_ns
        if isinstance(latest, Single):
            read_ns = latest.done_ns
        elif len(latest.ids):
            read_ns = int(latest.done_ns[-1])
        read_ns = max(read_ns, self._resumed_ns)
        expired = self._in_flight.expire(self._running.before_ns(read_ns, self._timeout_ns))
        self._recorder.ended(Outcome.TIMED_OUT, expired, now_ns)
        if len(expired.ids):
            self._idle_since_ns = now_ns
        self._next_expiry_ns = now_ns + _EXPIRE_EVERY_NS
        # A timed-out request no longer counts as in flight, so nothing else bounds those that no reply comes for.
        unanswered = self.record.outcomes[Outcome.TIMED_OUT] - self._in_flight.late
        if unanswered > MAX_UNANSWERED and self._ended is None:
            self._ended = Ending.OVERRUN

    def _over(self, now_ns: int) -> Ending | None:
        if self._ended is not None:
            return self._ended
        in_flight = self._in_flight
        if (ended := self._pace.over(now_ns, in_flight.sent, in_flight.outstanding)) is not None:
            return ended
        if self._awaits_first:
            return Ending.NO_ANSWER if now_ns > self._first_by_ns else None
        if in_flight.outstanding and now_ns - self._quiet_since_ns > self._stall_ns:
            return Ending.STALLED
        return None

    def _begin_measured(self, now_ns: int) -> None:
        pace = self._pace
        pace.begin_measured(now_ns)
        self._recorder.begin_measured(pace.measured_from_ns, pace.ends_ns)
        self._count_gap()
        self._next_cut(pace.measured_from_ns)
        if self._reading is not None:
            self._reading.begin_measured()

    def _cut(self, now_ns: int) -> Interval | None:
        interval = self._recorder.cut(min(now_ns, self._pace.ends_ns))
        self._next_cut(self._cut_ns)
        return interval

    def _next_cut(self, last_ns: int) -> None:
        """Intervals end at absolute times; the last one ends with the measured part, and may be a little longer."""
        ends_ns, next_ns = self._pace.ends_ns, last_ns + self._interval_ns
        self._cut_ns = next_ns if next_ns + self._interval_ns // 10 < ends_ns else NEVER_NS
        self._deadline_ns = min(ends_ns, self._cut_ns)

    def _end_measured(self, now_ns: int, ended: Ending) -> Interval | None:
        recorder, pace = self._recorder, self._pace
        if not recorder.measuring:
            return None
        ends_ns = min(now_ns, pace.ends_ns)
        if ended is Ending.ENOUGH:
            # Only what was sent counts: requests that became due since the last turn are not part of it.
            ends_ns = min(ends_ns, pace.next_ns(self._in_flight.sent))
        recorder.planned(pace.between(pace.measured_from_ns, ends_ns))
        last = recorder.cut(ends_ns)
        recorder.end_measured(ends_ns)
        if self._reading is not None:
            self.record.reading_ns = self._reading.longest_ns
        return last


def _read_late(replies: Replies, settled: Settled, catch_up: _CatchUp) -> np.ndarray:
    """Which replies are good answers that may have arrived while the client did not run, and were read when it did."""
    answered = settled.known & (replies.outcomes == Outcome.COMPLETED)
    late: np.ndarray = answered & (settled.sent_ns <= catch_up.resumed_ns)
    late &= replies.done_ns > catch_up.from_ns + LATE_NS
    return late


def prepare(job: Job) -> Callable[[int], Dispatcher]:
    """Do what takes time, so that a run can start at once.

    Args:
        job: what to do.

    Returns:
        Starts the run, at a time of the monotonic clock.
    """
    log = RequestsLog() if job.keep_requests else None
    tally = None if job.tally_ns is None else Tally(job.tally_ns)
    warmup_ns = round(job.warmup_s * NS_PER_S)
    arrivals = job.arrivals
    if arrivals is None:
        window = InFlight(job.window)
        duration_ns = None if job.duration_s is None else round(job.duration_s * NS_PER_S)

        def closed(started_ns: int) -> Dispatcher:
            pace = Window(job.window, job.requests, started_ns + warmup_ns, duration_ns)
            return Dispatcher(job, pace, window, Recorder(log, tally), started_ns)

        return closed
    times_ns = arrivals.times_ns(job.warmup_s)[job.client :: job.clients]
    planned = InFlight(min(job.window, len(times_ns)), planned=True)
    length_ns = round(arrivals.duration_s * NS_PER_S)

    def opened(started_ns: int) -> Dispatcher:
        from_ns = started_ns + LEAD_NS + warmup_ns
        pace = Schedule(times_ns + from_ns, from_ns, from_ns + length_ns, job.window)
        parts = PlannedParts(round(job.log_every_s * NS_PER_S)) if job.until_steady else None
        recorder = ScheduleRecorder(from_ns, from_ns + length_ns, log, tally, parts)
        return Dispatcher(job, pace, planned, recorder, started_ns)

    return opened
