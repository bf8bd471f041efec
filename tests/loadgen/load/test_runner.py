"""One run against a target in memory: what is sent, what is counted, and what ends it."""

import asyncio
import logging
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import uvloop
from virtual_time import VirtualTime

from frontend_launch.histogram import rank
from loadgen.judging import slo
from loadgen.judging.evidence import of_client
from loadgen.load import runner
from loadgen.load.answers import AnswerCheck
from loadgen.load.arrivals import Renewal
from loadgen.load.dispatcher import BURST
from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.load.record import Interval, Record
from loadgen.load.runner import Hooks, Phase, run
from loadgen.load.summary import PERCENTILES, summarise
from loadgen.load.target import NO_REPLIES, Outcome, Replies, Single
from model_containers.model import TensorSpec

INPUTS = SeededInputs(TensorSpec((4,), "float32"), None, 3, 0)


@dataclass(frozen=True)
class FakeSpec:
    """A server in memory: answers what `reply` makes of each id, `per_drain` at a time."""

    per_drain: int = 100
    mute: bool = False
    fate: tuple[Outcome, ...] = (Outcome.COMPLETED,)
    strays: tuple[int, ...] = ()
    answers: int = 1 << 30
    wrong: tuple[int, ...] = ()
    last: ClassVar["FakeTarget"]
    """The target that was made last."""

    def make(self):
        target = FakeTarget(self)
        FakeSpec.last = target
        return target


class FakeTarget:
    def __init__(self, spec):
        self.outputs = dict.fromkeys(spec.wrong, b"\0\0\x80\x7f")
        self.spec, self.waiting, self.sent, self.closed, self.most, self.done = spec, [], [], False, 0, 0
        self.now_ns = 0

    async def open(self, pool):
        assert len(pool) == INPUTS.count

    def send(self, first_id, count, now_ns):
        self.sent.append((first_id, count))
        self.waiting += range(first_id, first_id + count)
        self.most = max(self.most, len(self.waiting))
        self.now_ns = now_ns

    def drain(self):
        spec = self.spec
        count = 0 if spec.mute else min(spec.per_drain, spec.answers - self.done)
        ids, self.waiting = self.waiting[:count], self.waiting[count:]
        self.done += len(ids)
        fates = [spec.fate[number % len(spec.fate)] for number in ids]
        if ids:
            ids, fates = [*ids, *spec.strays], [*fates, *[Outcome.COMPLETED] * len(spec.strays)]
        outputs = [self.outputs.get(number, np.float32(number % INPUTS.count).tobytes()) for number in ids]
        done_ns = np.full(len(ids), self.now_ns + 5000)
        return Replies(np.array(ids, np.int64), done_ns, np.array(fates, np.uint8), outputs)

    def notify(self, wake):
        asyncio.get_running_loop().call_later(0.001, wake)

    async def close(self):
        self.closed = True


@dataclass(frozen=True)
class WaitingSpec(FakeSpec):
    """One that is waited for without the loop, and answers every second time only then."""

    waited: ClassVar["WaitingTarget"]
    """As `last`."""

    def make(self):
        WaitingSpec.waited = WaitingTarget(self)
        return WaitingSpec.waited


class WaitingTarget(FakeTarget):
    waits = 0

    def wait(self):
        self.waits += 1
        if self.waits % 2:
            return NO_REPLIES
        (number,) = self.drain().ids.tolist()
        return Single(number, self.now_ns + 5000)


def job(spec, **changes):
    base = Job(
        target=spec,
        inputs=INPUTS,
        window=50,
        duration_s=None,
        requests=None,
        warmup_s=0.0,
        timeout_s=None,
        stall_s=60.0,
        first_answer_s=None,
        log_every_s=10.0,
        drain_s=0.0,
    )
    return replace(base, **changes)


def ran(spec, **changes):
    return uvloop.run(run(job(spec, **changes)))


def adds_up(record):
    return record.sent == sum(record.outcomes.values())


def test_requests_are_sent_and_counted_to_the_last():
    """Stopping by count sends exactly that number, with consecutive ids, and waits for all answers."""
    record = ran(FakeSpec(), requests=1234)
    assert (record.sent, record.outcomes[Outcome.COMPLETED], record.ended) == (1234, 1234, "requests")
    ids = [number for first, count in FakeSpec.last.sent for number in range(first, first + count)]
    assert ids == list(range(1234))
    assert FakeSpec.last.closed
    assert record.latency.total == 1234


def test_never_more_in_flight_than_the_window():
    """And the window is used."""
    ran(FakeSpec(per_drain=7), requests=1000, window=20)
    assert FakeSpec.last.most == 20


def test_one_reply_is_waited_for_without_the_loop():
    """Which has its turns meanwhile; where none comes in the time of a wait, the loop waits as ever."""
    turns = []

    async def scenario():
        asyncio.get_running_loop().call_soon(again)
        return await run(job(WaitingSpec(), window=1, requests=200))

    def again():
        turns.append(WaitingSpec.waited.done)
        asyncio.get_running_loop().call_later(0.0001, again)

    record = uvloop.run(scenario())
    assert (record.sent, record.outcomes[Outcome.COMPLETED], record.latency.total) == (200, 200, 200)
    assert WaitingSpec.waited.waits > 100
    assert len(set(turns)) > 1


def test_stopping_by_time_abandons_what_is_outstanding():
    """Every request has one outcome; some have no answer, however busy the machine is."""
    record = ran(FakeSpec(per_drain=7, answers=70), duration_s=0.05)
    assert record.ended == "duration"
    assert adds_up(record)
    assert record.measured_ns == 50_000_000
    assert record.outcomes[Outcome.ABANDONED] > 0


def test_outcomes_late_and_unexpected_are_counted_apart():
    """Only completed answers have latencies."""
    fate = (Outcome.COMPLETED, Outcome.DEFAULTED, Outcome.FAILED)
    record = ran(FakeSpec(fate=fate, strays=(0, 10**6), per_drain=30), requests=30)
    assert [record.outcomes[outcome] for outcome in fate] == [10, 10, 10]
    assert (record.late, record.unexpected) == (1, 1)
    assert record.latency.total == 10
    assert adds_up(record)


def test_no_answer_for_the_stall_time_ends_the_run():
    """As failed, with the counts kept."""
    record = ran(FakeSpec(answers=10), duration_s=60.0, stall_s=0.05)
    assert record.ended == "stalled"
    assert record.outcomes[Outcome.COMPLETED] == 10
    assert adds_up(record)


def test_requests_that_time_out_are_no_answers():
    """A server that never answers has stalled, however often the requests of the window time out and are replaced."""
    record = ran(FakeSpec(answers=10), duration_s=60.0, stall_s=0.2, timeout_s=0.02)
    assert record.ended == "stalled"
    assert record.outcomes[Outcome.TIMED_OUT] > INPUTS.count


def test_no_first_answer_in_time_is_told_apart():
    """A server that never answers is another fault than one that stops."""
    assert ran(FakeSpec(mute=True), duration_s=60.0, first_answer_s=0.05).ended == "no_answer"


def test_requests_time_out():
    """And make room for others."""
    record = ran(FakeSpec(mute=True), duration_s=0.2, timeout_s=0.02)
    assert record.outcomes[Outcome.TIMED_OUT] >= 50
    assert record.sent > 50
    assert adds_up(record)


def test_the_measured_part_comes_after_the_warm_up():
    """Requests before it count, and are not measured."""
    record = ran(FakeSpec(per_drain=1), duration_s=0.03, warmup_s=0.03)
    assert 0 < record.latency.total < record.outcomes[Outcome.COMPLETED]
    assert record.measured_sent < record.sent


def test_stop_ends_it_early_and_phases_are_told():
    """What was measured by then is in the record."""

    async def stopped():
        stop, phases = asyncio.Event(), []

        async def on_phase(phase):
            phases.append(phase)
            if phase is Phase.MEASURED_BEGINS:
                stop.set()

        return await run(job(FakeSpec(), duration_s=60.0), stop, Hooks(on_phase)), phases

    record, phases = uvloop.run(stopped())
    assert record.ended == "stopped"
    assert phases == [Phase.MEASURED_BEGINS, Phase.MEASURED_ENDS]
    assert adds_up(record)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("warmup_s", [0.0, 0.02])
def test_what_fails_beside_a_run_costs_nothing_of_it(phase, warmup_s, caplog):
    """The record is kept and says so, once for each cause."""

    async def fail(now):
        if now is phase:
            raise IndexError("string index out of range")

    def fail_too(interval):
        raise RuntimeError("no disk")

    hooks = Hooks(fail, fail_too)
    record = uvloop.run(run(job(FakeSpec(), warmup_s=warmup_s, duration_s=0.05, log_every_s=0.01), hooks=hooks))
    assert record.ended == "duration"
    assert adds_up(record)
    assert record.latency.total > 0
    notes = {
        f"a reading {phase.value} failed: IndexError: string index out of range",
        "an action after a logging interval failed: RuntimeError: no disk",
    }
    assert set(record.notes) == notes == {row.getMessage() for row in caplog.records if row.levelno == logging.ERROR}
    assert len(record.notes) == 2


def test_stop_while_answers_are_waited_for_is_told():
    """What was sent and has no answer by then is not waited for."""

    async def stopped():
        stop = asyncio.Event()

        async def on_phase(phase):
            if phase is Phase.MEASURED_ENDS:
                stop.set()

        spec = FakeSpec(answers=10)
        return await run(job(spec, duration_s=0.01, drain_s=60.0), stop, Hooks(on_phase))

    record = uvloop.run(stopped())
    assert record.ended == "stopped"
    assert record.left_behind == record.outcomes[Outcome.ABANDONED] > 0
    assert adds_up(record)


def test_stop_when_all_is_answered_changes_nothing():
    """Such as while the server's own numbers are read."""

    async def stopped():
        stop = asyncio.Event()

        async def on_phase(phase):
            if phase is Phase.MEASURED_ENDS:
                stop.set()

        return await run(job(FakeSpec(), requests=100, drain_s=60.0), stop, Hooks(on_phase))

    assert uvloop.run(stopped()).ended == "requests"


def test_left_behind_is_what_no_drain_brings_back():
    """A server that runs on is given time to answer."""
    record = ran(FakeSpec(answers=20), duration_s=0.02, drain_s=0.05)
    assert record.left_behind == record.outcomes[Outcome.ABANDONED] == record.sent - 20


def test_the_periodic_line_has_the_seeds_form(caplog):
    """Seconds, seconds, requests a second; three whole intervals and the rest."""
    caplog.set_level(logging.INFO)
    ran(FakeSpec(), duration_s=1.0, log_every_s=0.3)
    lines = [record.getMessage() for record in caplog.records if record.name == "loadgen.load.runner"]
    assert len(lines) == 4
    for line in lines:
        assert re.fullmatch(r"p99: [0-9.e-]+, mean: [0-9.e-]+, thruput: [0-9.]+", line)


def test_a_line_says_when_nothing_completed(caplog):
    """Instead of numbers that there are not."""
    caplog.set_level(logging.INFO)
    ran(FakeSpec(mute=True), duration_s=0.02)
    assert [record.getMessage() for record in caplog.records] == ["nothing completed in 0.0 s, 50 requests in flight"]


def test_the_line_of_an_interval_says_what_was_lost(caplog):
    """Its p99 counts that as slower, and may fall among it."""
    caplog.set_level(logging.INFO)
    for lost, p99_s in ((0, 0.02), (1, 0.03), (9, None)):
        runner.log_line(Interval(1.0, 1.0, 200, p99_s, 0.01, 1.0, None, lost))
    assert [record.getMessage() for record in caplog.records] == [
        "p99: 0.02, mean: 0.01, thruput: 200.0",
        "p99: 0.03, mean: 0.01, thruput: 200.0, lost: 1",
        "p99: among lost requests, mean: 0.01, thruput: 200.0, lost: 9",
    ]
    caplog.clear()
    runner.log_line(Interval(1.0, 1.0, 0, None, None, 1.0, None, 9))
    assert caplog.messages == ["nothing completed in 1.0 s, 1 request in flight, lost: 9"]


def test_the_line_of_an_interval_has_six_digits(caplog):
    """Without separators: programs read it."""
    caplog.set_level(logging.INFO)
    runner.log_line(Interval(1.0, 3.0, 60_274, 0.012345678901, 0.0123456489, 1.0, None))
    runner.log_line(Interval(1.0, 1.0, 1_234_567, 12.3456789, 7.1, 1.0, None))
    assert [record.getMessage() for record in caplog.records] == [
        "p99: 0.0123457, mean: 0.0123456, thruput: 20091.3",
        "p99: 12.3457, mean: 7.1, thruput: 1234570.0",
    ]


def test_job_and_record_can_be_pickled():
    """So that another process can run the one and send the other back."""
    again = pickle.loads(pickle.dumps(job(FakeSpec(), requests=10)))
    record = pickle.loads(pickle.dumps(uvloop.run(run(again))))
    assert isinstance(record, Record)
    assert record.sent == 10


def test_answers_are_compared_with_the_right_ones():
    """Every second answer, by the input it belongs to; one that is wrong is counted and still completed."""
    check = AnswerCheck(2, np.array([[0.0], [1.0], [2.0]]), "float32", 0.0)
    record = uvloop.run(run(job(FakeSpec(wrong=(4, 5)), requests=30, check=check)))
    assert (record.compared, record.mismatched, record.outcomes[Outcome.COMPLETED]) == (15, 1, 30)


@pytest.fixture
def clock(monkeypatch):
    """The time of the test's run, which does not pass while it waits."""
    clock = VirtualTime()
    monkeypatch.setattr(runner, "time", clock)
    monkeypatch.setattr(runner, "Sleeper", clock.sleeper)
    return clock


@dataclass(frozen=True)
class ClockedSpec:
    """A server that answers at once, but for a pause of its own, and those requests that it swallows."""

    clock: VirtualTime
    pause_s: tuple[float, float] = (0.0, 0.0)
    swallow_every: int = 0

    def make(self):
        return ClockedTarget(self)


class ClockedTarget:
    def __init__(self, spec):
        self.spec, self.waiting, self.began_ns = spec, [], None
        self.wake: Callable[[], object] | None = None

    async def open(self, pool):
        pass

    def send(self, first_id, count, now_ns):
        self.began_ns = self.began_ns or now_ns
        every = self.spec.swallow_every
        self.waiting += [number for number in range(first_id, first_id + count) if not every or number % every]

    def drain(self):
        now_ns = self.spec.clock.monotonic_ns()
        begin_ns, end_ns = (self.began_ns + round(at_s * 1e9) if self.began_ns else 0 for at_s in self.spec.pause_s)
        ids, self.waiting = ([], self.waiting) if begin_ns <= now_ns < end_ns else (self.waiting, [])
        replies = np.array(ids, np.int64), np.full(len(ids), now_ns), np.zeros(len(ids), np.uint8)
        return Replies(*replies, [bytes(4)] * len(ids))

    def notify(self, wake):
        if self.wake is None:
            self.spec.clock.call_later(0.002, self.on_time)
        self.wake = wake

    def on_time(self):
        wake, self.wake = self.wake, None
        assert wake is not None
        wake()

    async def close(self):
        pass


def offered(spec, rate_rps, duration_s, **changes):
    arrivals = Renewal(rate_rps, duration_s, 0.0, 0)
    return ran(spec, arrivals=arrivals, window=10**6, **{"timeout_s": 0.4, "drain_s": 5.0, **changes})


def known(values):
    """Those percentiles that are known."""
    return {name: value for name, value in values.items() if value is not None}


def test_a_schedule_sends_what_was_planned_and_no_more(clock):
    """Whatever the window, warm-up apart."""
    record = offered(ClockedSpec(clock), 400, 0.5, warmup_s=0.25)
    assert record.ended == "schedule"
    assert (record.sent, record.measured_sent, record.offered.planned, record.offered.answered) == (300, 200, 200, 200)
    assert (record.latency.total, record.offered.lag.total, record.offered.service.total) == (200, 200, 200)
    assert record.measured_ns == 500_000_000
    assert adds_up(record)


def test_a_pause_of_the_server_is_in_the_latencies_of_all_who_came_in_it(clock):
    """Of 200 a second for 20 s, 4000, those of a pause of 2 s, 400, wait for its end: 2000 ms, 1995 ms, … 5 ms.

    The slowest 1% are forty, 2000 ms to 1805 ms, so p99 is the next, 1800 ms; all of it up to 5 ms less, as the pause
    begins between two requests. A client that waited for answers before it sent would have sent one request in the
    pause, and found a p99 of nothing at all.
    """
    summary = summarise(offered(ClockedSpec(clock, pause_s=(5.0, 7.0)), 200, 20.0, timeout_s=5.0))
    poll_ms = 3  # the server looks for requests each 2 ms; the lower bounds are exact to the histogram's 3 digits
    latency_ms, service_ms = known(summary.latency_ms), known(summary.service_ms)
    assert 1794 <= latency_ms["p99"] <= 1800 + poll_ms
    assert 1993 <= latency_ms["max"] <= 2000 + poll_ms
    assert latency_ms["p50"] <= poll_ms
    assert 1794 <= service_ms["p99"] <= 1800 + poll_ms  # they were sent on time, and the server had them


def test_what_is_never_answered_is_slower_than_any_answer(clock):
    """2% swallowed: p95 is a number, p99 is not, but has a bound, and a threshold on it is crossed."""
    record = offered(ClockedSpec(clock, swallow_every=50), 400, 1.0)
    summary = summarise(record, 0.4)
    assert (record.outcomes[Outcome.TIMED_OUT], record.outcomes[Outcome.COMPLETED]) == (8, 392)
    assert summary.latency_ms["p95"] is not None
    assert summary.latency_ms["p99"] is summary.latency_ms["max"] is summary.latency_ms["mean"] is None
    assert summary.lost == 8
    assert summary.latency_above_ms is not None
    assert {name: summary.latency_above_ms[name] for name in ("p99", "p99.9", "max")} == dict.fromkeys(
        ("p99", "p99.9", "max"), 400
    )
    assert 8 <= summary.latency_above_ms["mean"] <= 8 + 3  # 8 of 400 waited 400 ms, the rest 3 ms at most
    assert slo.crossed(slo.parse("p99>300ms")[0], summary)[0]
    assert slo.crossed(slo.parse("p99<300ms")[0], summary)[0] is False
    assert slo.crossed(slo.parse("p99<1s")[0], summary)[0] is None
    assert not slo.crossed(slo.parse("p95>300ms")[0], summary)[0]
    assert adds_up(record)


@pytest.mark.parametrize(("timeout_s", "known_ms"), [(0.4, 400.0), (None, None)])
def test_what_a_closed_loop_gets_no_answer_to_is_slower_than_any_answer(clock, timeout_s, known_ms):
    """One of 200 swallowed, whether or not they time out: p99 is a number, p99.9 is not."""
    spec = ClockedSpec(clock, swallow_every=200)
    record = ran(spec, window=100, duration_s=3.0, timeout_s=timeout_s, drain_s=1.0)
    summary = summarise(record, timeout_s)
    assert record.ended == "duration"
    assert record.lost == record.outcomes[Outcome.TIMED_OUT] + record.outcomes[Outcome.ABANDONED]
    assert record.sent // 200 - 1 <= record.lost <= record.sent // 200 + 1
    assert summary.latency_ms["p99"] is not None
    assert summary.latency_ms["p99.9"] is summary.latency_ms["max"] is summary.latency_ms["mean"] is None
    assert summary.latency_above_ms is not None
    assert summary.latency_above_ms["p99.9"] == (known_ms or record.latency.max_ns / 1e6)
    assert of_client(record, 1, 100).latency_p99_ms == summary.latency_ms["p99"]


@pytest.mark.parametrize(("timeout_s", "least_ms"), [(0.4, 400.0), (None, None)])
def test_a_client_is_compared_with_what_a_p99_among_lost_requests_is_at_least(clock, timeout_s, least_ms):
    """A lag of some milliseconds is no reason where requests wait for much longer in vain."""
    record = ran(ClockedSpec(clock, swallow_every=20), window=100, duration_s=3.0, timeout_s=timeout_s, drain_s=1.0)
    assert summarise(record, timeout_s).latency_ms["p99"] is None
    assert of_client(record, 1, 100, timeout_s).latency_p99_ms == (least_ms or record.latency.max_ns / 1e6)


def test_too_much_in_flight_ends_the_run():
    """Rather than thinning the load."""
    record = ran(FakeSpec(mute=True), arrivals=Renewal(1000.0, 5.0, 0.0, 0), window=50)
    assert record.ended == "overrun"
    assert 51 <= record.sent <= 51 + BURST
    assert adds_up(record)


def test_a_schedule_that_is_stopped_counts_what_was_planned_until_then(clock):
    """What was never sent does not count as unanswered."""

    async def stopped():
        stop = asyncio.Event()
        clock.call_later(0.2, stop.set)
        return await run(job(ClockedSpec(clock), arrivals=Renewal(500.0, 60.0, 0.0, 0), window=10**6), stop)

    record = uvloop.run(stopped())
    assert record.ended == "stopped"
    assert 89 <= record.offered.planned <= 91  # in 200 ms, less the 20 ms before the first
    assert record.offered.planned <= record.sent + BURST
    assert summarise(record).latency_ms["p50"] is not None


@pytest.mark.no_cover  # thousands of turns in virtual time
@pytest.mark.parametrize(
    ("clockwork", "ends_s"),
    [({"arrivals": Renewal(400.0, 1.0, 0.0, 0), "window": 10**6}, 1.0), ({"duration_s": 0.1}, 0.1)],
)
@pytest.mark.parametrize("drain_s", [0.0, 5.0])
def test_answers_are_received_while_others_act_at_the_end(clock, clockwork, ends_s, drain_s):
    """Readings of four seconds make no answer later, and none time out that comes within the timeout."""

    async def ended():
        read = asyncio.Event()

        async def on_phase(phase):
            if phase is Phase.MEASURED_ENDS:
                clock.call_later(4.0, read.set)
                await read.wait()

        spec = ClockedSpec(clock, pause_s=(0.9 * ends_s, 0.9 * ends_s + 0.4))
        async with asyncio.timeout(60):
            return await run(job(spec, timeout_s=1.0, drain_s=drain_s, **clockwork), hooks=Hooks(on_phase))

    record = uvloop.run(ended())
    assert record.ended in ("schedule", "duration")
    assert record.outcomes[Outcome.COMPLETED] == record.sent
    assert record.latency.max_ns <= 410 * 1_000_000
    assert record.left_behind == (0 if drain_s else None)
    assert record.pauses == []


def test_rows_of_requests_are_kept(clock):
    """One for each, with the times of the histograms."""
    record = offered(ClockedSpec(clock, swallow_every=50), 400, 0.5, keep_requests=True)
    table = record.requests[0].table(inputs=INPUTS.count)
    assert table["id"].tolist() == list(range(200))
    done = table["outcome"] == Outcome.COMPLETED
    assert int((table["done_ns"] - table["planned_ns"])[done].max()) == record.latency.max_ns
    assert int((table["sent_ns"] - table["planned_ns"]).max()) == record.offered.lag.max_ns


@pytest.mark.parametrize("swallow_every", [0, 50, 1000])
def test_rows_of_requests_have_the_percentiles_of_the_summary(clock, swallow_every):
    """By the same ranks, with those that were not answered as the slowest."""
    record = offered(ClockedSpec(clock, (0.1, 0.3), swallow_every), 400, 1.0, keep_requests=True)
    table = record.requests[0].table(inputs=INPUTS.count)
    latency_ms = np.where(table["outcome"] == Outcome.COMPLETED, (table["done_ns"] - table["planned_ns"]) / 1e6, np.inf)
    summary = summarise(record)
    for percentile in PERCENTILES:
        expected = np.sort(latency_ms)[rank(percentile, len(latency_ms)) - 1]
        found = summary.latency_ms[f"p{percentile:g}"]
        assert found == (None if np.isinf(expected) else pytest.approx(expected, rel=1e-3, abs=1e-3))
