"""Fills the record of a run, in total and per logging interval.

Pure: told the time, never reads it. A record is picklable, and records of several processes merge.
"""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from frontend_launch.histogram import LatencyHistogram
from frontend_launch.sampling import Sampler
from loadgen.load.in_flight import Lost, Settled, SettledOne, settled_of
from loadgen.load.parts import PlannedParts
from loadgen.load.record import LEAST_PAUSE_NS, MAX_INTERVALS, MAX_PAUSES, Interval, Mark, Offered, Record
from loadgen.load.requests_log import RequestsLog
from loadgen.load.stage_timings import StageTimings, TimedRequest
from loadgen.load.tally import Tally
from loadgen.load.target import Outcome, Replies
from model_containers.units import NS_PER_S

HIGHEST_TIME_NS = 2**63 - 1
MAX_TIMES = 20_000
"""Bursts of the measured part whose times are kept, to compare the gaps between them with those of the plan."""

TIMER_NS = 300_000
SAME_SHARE = 0.25
SHORTEST = 2
"""Gaps that differ by less, in time or as a share of the mean gap, count as the same: timers are late, and processes
that share a core wait for each other. Mean gaps below twice a timer's lateness are not compared."""

OVERDUE = 2
"""A request outstanding at the end of a closed loop is lost if it waited longer than the slowest answer by this factor.

A little longer proves nothing: where latencies rise, the oldest request in flight is always the slowest.
"""

_MOST_WAITING, MOST_WAITING_NS = 64, 100_000_000
"""Replies that come one by one are recorded together, at most this many and those of at most this time: a call of numpy
costs the same for one as for a hundred."""

_LOST = (Outcome.DEFAULTED, Outcome.FAILED, Outcome.TIMED_OUT)
_OUTCOMES = tuple(Outcome)
"""By their codes, without the cost of asking the enumeration for each reading."""


class Recorder:
    """Fills a record while a run is under way; outside the measured part only outcomes are counted.

    Args:
        log: gets a row for each request that has ended.
        tally: counts how requests of the measured part end; None where nothing needs it.

    Attributes:
        record: what was recorded so far.
        measuring: the measured part is under way.
    """

    def __init__(self, log: RequestsLog | None = None, tally: Tally | None = None) -> None:
        self.record = Record(tally=tally)
        self._tally = tally
        self._cut_ended = np.zeros(0 if tally is None else len(tally.totals), dtype=np.int64)
        self.measuring = False
        self._waiting: list[tuple[int, int, SettledOne]] = []
        """Ids of good answers, when they came, and what `InFlight.settle_one` said."""
        self._log = log
        if log is not None:
            self.record.requests.append(log)
        self._interval = LatencyHistogram()
        self._sampler = Sampler()
        self._told, self._untimed = False, 0
        """Whether the server times requests, and answers that were measured since the last timed one."""
        self._started_ns = self._until_ns = self._cut_ns = self._cut_in_flight_ns = 0
        self._cut_lost = self._cut_sent = self._cut_gaps_ns = 0
        self._heard_ns = 0
        """When the last answer came."""

    def begin_measured(self, now_ns: int, until_ns: int | None) -> None:
        """The measured part begins; answers after `until_ns` will not belong to it.

        Args:
            now_ns: its beginning, monotonic clock.
            until_ns: its end, monotonic clock; None for none, as in a run that ends by count.
        """
        self.record_waiting()
        self.measuring = True
        self._started_ns = self._cut_ns = self._heard_ns = self.record.measured_from_ns = now_ns
        self._until_ns = HIGHEST_TIME_NS if until_ns is None else until_ns
        self._cut_lost = self._ended_without_answer

    def planned(self, count: int) -> None:
        """The number of requests planned for the measured part; None without a plan."""

    def end_measured(self, now_ns: int) -> None:
        """The measured part is over."""
        self.record_waiting()
        self._heard(now_ns, now_ns)
        self.measuring = False
        self.record.measured_ns = now_ns - self._started_ns

    def sent(self, count: int, now_ns: int, planned_ns: np.ndarray | None = None) -> None:
        """Count requests that were sent now, with their planned times if there is a plan.

        Args:
            count: how many.
            now_ns: monotonic clock.
            planned_ns: int64 ``(count,)``, ascending; None without a plan.
        """
        self.record.sent += count
        if self.measuring:
            self.record.measured_sent += count

    def ended(self, outcome: Outcome, lost: Lost, now_ns: int) -> None:
        """Count requests that ended without a reply.

        Args:
            outcome: of all of them.
            lost: which.
            now_ns: monotonic clock.
        """
        self.record_waiting()
        self.record.outcomes[outcome] += len(lost.ids)
        count = self._lost(lost, now_ns)
        if self._tally is not None:
            self._tally.lost(outcome, count, now_ns - self._begun_ns)
        if outcome is Outcome.TIMED_OUT:
            self.record.timed_out += count
        if self._log is not None:
            self._log.lost(lost, outcome)

    def _lost(self, lost: Lost, now_ns: int) -> int:
        """How many requests without a reply are lost ones of the measured part."""
        record = self.record
        if self.measuring:
            count = len(lost.ids)
        elif record.measured_ns:  # over: what waited for less might have been answered like any other
            count = int(np.count_nonzero(now_ns - lost.sent_ns > OVERDUE * record.latency.max_ns))
        else:
            count = 0
        record.unanswered += count
        return count

    def missed(self, from_ns: int, until_ns: int) -> None:
        """The client did not run.

        Args:
            from_ns: since then, monotonic clock.
            until_ns: until then.
        """
        if until_ns - from_ns < LEAST_PAUSE_NS:
            return
        self.record_waiting()
        self._heard(from_ns, until_ns)  # what came meanwhile is not known
        if len(self.record.pauses) < MAX_PAUSES:
            self.record.pauses.append((from_ns, until_ns))

    def read_late(self, ids: np.ndarray) -> None:
        """Good answers were read later than they arrived, since the client did not run: int64 ids of their requests."""
        self.record.upper_bounds += len(ids)
        if self._log is not None:
            self._log.read_late(ids)

    def compared(self, agrees: bool) -> None:
        """Count an answer that was compared with the right one."""
        self.record.compared += 1
        self.record.mismatched += not agrees

    def replied_one(self, request_id: int, done_ns: int, settled: SettledOne) -> None:
        """Record a good answer, sooner or later: what else is recorded finds it recorded.

        Args:
            request_id: that was answered.
            done_ns: when, monotonic clock.
            settled: what `InFlight.settle_one` said of it.
        """
        waiting = self._waiting
        if waiting and (len(waiting) == _MOST_WAITING or done_ns - waiting[0][1] > MOST_WAITING_NS):
            self._record_replies()
        waiting.append((request_id, done_ns, settled))

    def record_waiting(self) -> None:
        """Record what waits to be recorded together."""
        self._record_replies()

    def _record_replies(self) -> None:
        if self._waiting:
            ids, done_ns, settled = zip(*self._waiting, strict=True)
            self._waiting.clear()
            outcomes = np.zeros(len(ids), dtype=np.uint8)
            replies = Replies(np.array(ids, dtype=np.int64), np.array(done_ns, dtype=np.int64), outcomes, ())
            self._replied(replies, settled_of(settled))

    def replied(self, replies: Replies, settled: Settled) -> None:
        """Record replies to requests that were outstanding.

        Args:
            replies: in the order of arrival.
            settled: what `InFlight.settle` said of them, one for each reply.
        """
        self._record_replies()
        self._replied(replies, settled)

    def _replied(self, replies: Replies, settled: Settled) -> None:
        ids, done_ns, outcomes = replies.ids, replies.done_ns, replies.outcomes
        known, planned_ns, sent_ns, _ = settled
        if replies.reasons:
            failed = np.flatnonzero(outcomes == Outcome.FAILED).tolist()
            why = zip(failed, replies.reasons, strict=True)
            self.record.failed((reason for place, reason in why if known[place]), replies.groups)
        if self.measuring:
            self.record.replies += len(ids)
        if np.count_nonzero(known) < len(known):
            ids, done_ns, outcomes = ids[known], done_ns[known], outcomes[known]
            planned_ns, sent_ns = planned_ns[known], sent_ns[known]
        if self._log is not None:
            self._log.replied(ids, planned_ns, sent_ns, done_ns, outcomes)
        if np.count_nonzero(outcomes):  # the code of completed is 0
            for outcome, count in zip(_OUTCOMES, np.bincount(outcomes).tolist(), strict=False):
                self.record.outcomes[outcome] += count
            completed = outcomes == Outcome.COMPLETED
            self._refused(outcomes[~completed], planned_ns[~completed], done_ns[~completed])
            planned_ns, sent_ns, done_ns = planned_ns[completed], sent_ns[completed], done_ns[completed]
        else:
            self.record.outcomes[Outcome.COMPLETED] += len(outcomes)
        if len(done_ns):
            self._heard(int(done_ns[0]), int(done_ns[-1]))
            self._untimed += self._measure(planned_ns, sent_ns, done_ns)
        if replies.timed or not self._told:
            self._time(replies, settled)

    def _heard(self, first_ns: int, last_ns: int) -> None:
        """Answers came, or what comes from now on is another thing.

        Args:
            first_ns: when the first came, monotonic clock.
            last_ns: when the last came.
        """
        if self.measuring:
            self.record.silent(self._heard_ns, min(first_ns, self._until_ns))
            self._heard_ns = last_ns

    def finish(self) -> None:
        """No more replies come: the last timed request stands for those after it too."""
        self.record_waiting()
        self.record.stages.stand_for(self._untimed)
        self._untimed = 0

    def _measure(self, planned_ns: np.ndarray, sent_ns: np.ndarray, done_ns: np.ndarray) -> int:
        """Record those good answers, in the order of their arrival, that belong to the measured part.

        Returns:
            How many have a measured latency.
        """
        if not self.measuring:
            return 0
        inside = _between(done_ns, self._started_ns, self._until_ns)
        done_ns, latency_ns = done_ns[inside], (done_ns - planned_ns)[inside]
        if len(done_ns):
            self._interval.record(latency_ns)
            self.record.batches.record(latency_ns, done_ns, self._started_ns)
            if self._tally is not None:
                self._tally.completed_at(latency_ns, done_ns - self._begun_ns)
        return len(done_ns)

    @property
    def _begun_ns(self) -> int:
        """When the measured part began."""
        return self._started_ns

    def _refused(self, outcomes: np.ndarray, planned_ns: np.ndarray, done_ns: np.ndarray) -> None:
        """Count those replies without a good answer that belong to the measured part; all of one length."""
        if self.measuring:
            within = (done_ns >= self._started_ns) & (done_ns < self._until_ns)
            self.record.unanswered += int(np.count_nonzero(within))
            self._count_refused(outcomes[within], done_ns[within])

    def _count_refused(self, outcomes: np.ndarray, done_ns: np.ndarray) -> None:
        if self._tally is not None and len(outcomes):
            for outcome, count in enumerate(np.bincount(outcomes).tolist()):
                self._tally.lost(outcome, count, int(done_ns[0]) - self._begun_ns)

    def _ended_since_cut(self) -> tuple[int, ...]:
        """What the tally counted in the present interval."""
        if self._tally is None:
            return ()
        totals, before = self._tally.totals.copy(), self._cut_ended
        self._cut_ended = totals
        return tuple((totals - before).tolist())

    def _time(self, replies: Replies, settled: Settled) -> None:
        """Record where the time of some measured answers went: those that the server has timed, if it ever does so."""
        if replies.timed and not self._told:
            self._untimed += self.record.stages.requests
            self._told, self.record.stages = True, StageTimings()
        server = {each.place: each[1:] for each in replies.timed}
        places = server or self._sampler.pick(len(replies.ids), int(replies.done_ns[-1]))
        if not places:
            return
        measured = settled.known & (replies.outcomes == Outcome.COMPLETED)
        measured &= self._measures(settled.planned_ns, replies.done_ns)
        counts = np.cumsum(measured)
        # Those of these replies after the last timed one wait for the next.
        stood_for = int(counts[-1]) - self._untimed
        for place in places:
            if measured[place]:
                weight, stood_for = int(counts[place]) - stood_for, int(counts[place])
                planned_ns, done_ns = int(settled.planned_ns[place]), int(replies.done_ns[place])
                sending = self._sending(int(settled.sent_ns[place]), int(settled.taking_ns[place]))
                self.record.stages.record(TimedRequest(planned_ns, *sending, done_ns, *server.get(place, ())), weight)
        self._untimed = int(counts[-1]) - stood_for

    def _measures(self, planned_ns: np.ndarray, done_ns: np.ndarray) -> np.ndarray | bool:
        """Which good answers belong to the measured latencies."""
        return self.measuring and (self._started_ns <= done_ns) & (done_ns < self._until_ns)

    def _sending(self, sent_ns: int, taking_ns: int) -> tuple[int, int]:
        """When sending began and ended: a closed loop counts from its beginning."""
        return sent_ns, sent_ns + taking_ns

    def _closed(self, histogram: LatencyHistogram) -> None:
        """An interval was closed."""
        self.record.latency.add(histogram)

    @property
    def _ended_without_answer(self) -> int:
        """Requests so far."""
        return sum(self.record.outcomes[outcome] for outcome in _LOST)

    def cut(self, now_ns: int) -> Interval | None:
        """Close the present interval and begin the next; None when it would have no length."""
        if not self.measuring or now_ns <= self._cut_ns:
            return None
        self.record_waiting()
        histogram, self._interval = self._interval, LatencyHistogram()
        in_flight_ns, gaps_ns = self.record.clients[0].in_flight_ns, self.record.clients[0].gaps_ns
        lost, sent = self._ended_without_answer, self.record.measured_sent
        interval = Interval.of(
            histogram,
            end_s=(now_ns - self._started_ns) / NS_PER_S,
            duration_s=(now_ns - self._cut_ns) / NS_PER_S,
            in_flight=(in_flight_ns - self._cut_in_flight_ns) / (now_ns - self._cut_ns),
            ended=self._ended_since_cut(),
            lost=lost - self._cut_lost,
            sent=sent - self._cut_sent,
            gaps_s=(gaps_ns - self._cut_gaps_ns) / NS_PER_S,
        )
        self._cut_ns, self._cut_in_flight_ns, self._cut_lost = now_ns, in_flight_ns, lost
        self._cut_sent, self._cut_gaps_ns = sent, gaps_ns
        self._closed(histogram)
        if len(self.record.intervals) < MAX_INTERVALS:
            self.record.intervals.append(interval)
            counted = self.record
            mark = Mark(counted.measured_sent, counted.unanswered, counted.timed_out, in_flight_ns)
            counted.clients[0].marks.append(mark)
        return interval


class ScheduleRecorder(Recorder):
    """Fills the record of a run whose schedule says when to send.

    Latencies count from the planned time. They are those of all requests that were planned for the measured part,
    whenever they were answered: so slow answers are not left out.

    Args:
        from_ns: when the measured part begins, by the plan.
        until_ns: when it ends.
        log: gets a row for each request that has ended.
        tally: counts how requests of the measured part end; None where nothing needs it.
        parts: gets what becomes of the requests of each logging interval.
    """

    def __init__(
        self,
        from_ns: int,
        until_ns: int,
        log: RequestsLog | None = None,
        tally: Tally | None = None,
        parts: PlannedParts | None = None,
    ) -> None:
        super().__init__(log, tally)
        self.record.parts = self._parts = parts
        self._from_ns, self._to_ns = from_ns, until_ns
        self.record.offered = self._offered = Offered()
        self._sends: list[tuple[np.ndarray, int]] = []
        """The latest calls of `sent`, which are counted together."""
        self._bursts = 0
        self._times: list[tuple[np.ndarray, np.ndarray]] = []
        """When the first requests of the measured part were planned, and sent."""

    @override
    def planned(self, count: int) -> None:
        self._offered.planned = count

    @override
    def end_measured(self, now_ns: int) -> None:
        """A run that ends before its plan does has measured until then."""
        super().end_measured(now_ns)
        self._to_ns = min(self._to_ns, now_ns)
        if sum(len(planned_ns) for planned_ns, _ in self._times) > 1:
            planned = np.diff(np.concatenate([planned_ns for planned_ns, _ in self._times]))
            real = np.diff(np.concatenate([sent_ns for _, sent_ns in self._times]))
            mean_ns = float(planned.mean())
            if mean_ns >= SHORTEST * TIMER_NS:
                self._offered.gap_distance = distance(planned, real, max(TIMER_NS, SAME_SHARE * mean_ns))

    @override
    def sent(self, count: int, now_ns: int, planned_ns: np.ndarray | None = None) -> None:
        assert planned_ns is not None
        self.record.sent += count
        self._sends.append((planned_ns, now_ns))
        if len(self._sends) == _MOST_WAITING:
            self._count_sends()

    @override
    def record_waiting(self) -> None:
        self._count_sends()
        super().record_waiting()

    def _count_sends(self) -> None:
        if not self._sends:
            return
        planned_ns = np.concatenate([planned_ns for planned_ns, _ in self._sends])
        sent_ns = np.repeat([sent_ns for _, sent_ns in self._sends], [len(planned_ns) for planned_ns, _ in self._sends])
        inside = planned_ns >= self._from_ns
        planned_ns, sent_ns = planned_ns[inside], sent_ns[inside]
        self.record.measured_sent += len(planned_ns)
        self._offered.lag.record(sent_ns - planned_ns)
        if self._parts is not None and len(planned_ns):
            self._parts.sent(planned_ns - self._from_ns, sent_ns - planned_ns)
        if self._bursts < MAX_TIMES:
            self._times.append((planned_ns, sent_ns))
        self._bursts += len(self._sends)
        self._sends.clear()

    @override
    def _measure(self, planned_ns: np.ndarray, sent_ns: np.ndarray, done_ns: np.ndarray) -> int:
        latency_ns, service_ns = done_ns - planned_ns, done_ns - sent_ns
        arrived_ns = latency_ns[_between(done_ns, self._from_ns, self._to_ns)]
        # Two sets: throughput and the interval's line are of what arrived in the measured part, the latencies below are
        # of what was planned for it. The second is not cut off at its end, or the slowest answers would be missing.
        self._offered.arrived += len(arrived_ns)
        if self.measuring:
            self._interval.record(arrived_ns)
        counted = planned_ns >= self._from_ns
        answered = int(np.count_nonzero(counted))
        if answered < len(counted):
            latency_ns, service_ns, done_ns = latency_ns[counted], service_ns[counted], done_ns[counted]
            planned_ns = planned_ns[counted]
        self._offered.answered += answered
        self.record.latency.record(latency_ns)
        if answered:
            self.record.batches.record(latency_ns, done_ns, self._from_ns)
            if self._parts is not None:
                self._parts.answered(planned_ns - self._from_ns, latency_ns, service_ns)
            if self._tally is not None:
                self._tally.completed_at(latency_ns, done_ns - self._from_ns)
        self._offered.service.record(service_ns)
        return answered

    @override
    def ended(self, outcome: Outcome, lost: Lost, now_ns: int) -> None:
        super().ended(outcome, lost, now_ns)
        if self._parts is not None and outcome is Outcome.TIMED_OUT:
            self._parts.lost(lost.planned_ns[lost.planned_ns >= self._from_ns] - self._from_ns)

    @override
    def _lost(self, lost: Lost, now_ns: int) -> int:
        """All that were planned for the measured part, whenever they ended; the plan says how many there were."""
        return int(np.count_nonzero(lost.planned_ns >= self._from_ns))

    @property
    @override
    def _begun_ns(self) -> int:
        return self._from_ns

    @override
    def _refused(self, outcomes: np.ndarray, planned_ns: np.ndarray, done_ns: np.ndarray) -> None:
        """Likewise; the tally counts them."""
        within = planned_ns >= self._from_ns
        self._count_refused(outcomes[within], done_ns[within])

    @override
    def _measures(self, planned_ns: np.ndarray, done_ns: np.ndarray) -> np.ndarray | bool:
        return planned_ns >= self._from_ns

    @override
    def _sending(self, sent_ns: int, taking_ns: int) -> tuple[int, int]:
        return sent_ns - taking_ns, sent_ns

    @override
    def _closed(self, histogram: LatencyHistogram) -> None:
        """An interval is for its line only; the measured part is recorded as answers come."""


def distance(planned: np.ndarray, real: np.ndarray, resolution: float) -> float:
    """The largest difference between two distributions of one size: Kolmogorov's, blind to shifts within a resolution.

    Args:
        planned: int64 ``(count,)``, at least one.
        real: likewise.
        resolution: a value that is shifted by less, in the unit of the values, counts as the same.

    Returns:
        0 to 1.
    """
    count = len(planned)
    ranks = np.arange(1, count + 1)
    one, other = np.sort(planned), np.sort(real)
    ahead = (ranks - np.searchsorted(other, one + resolution, side="right")).max()
    behind = (ranks - np.searchsorted(one, other + resolution, side="right")).max()
    return float(max(0, ahead, behind) / count)


def _between(times_ns: np.ndarray, from_ns: int, until_ns: int) -> slice | np.ndarray:
    """Which of these times, ascending and at least one, are in a period; mostly all are."""
    if times_ns[0] >= from_ns and times_ns[-1] < until_ns:
        return _ALL
    inside: np.ndarray = (times_ns >= from_ns) & (times_ns < until_ns)
    return inside


_ALL = slice(None)
