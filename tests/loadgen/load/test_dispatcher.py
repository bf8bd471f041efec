"""The core of a run in virtual time: every request ends once, at its planned time or within its window."""

import heapq
import itertools
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend_launch.running_time import LATE_NS
from loadgen.load import dispatcher
from loadgen.load.arrivals import Renewal, Steps
from loadgen.load.dispatcher import _FAR_REPLIES, BURST, LEAD_NS, MAX_WAIT_NS, NEAR_NS, Turn, prepare
from loadgen.load.ending import Ending
from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.load.reading_pace import LEAST_IN_FLIGHT
from loadgen.load.record import Record
from loadgen.load.target import Outcome, Replies, Single
from model_containers.model import TensorSpec

MS = 1_000_000
START_NS = 10**9
SEND_NS = 2_000
"""What it takes the target to take the requests of a turn."""
LOOK_NS = 1_000
"""From one turn to the next, where it does not sleep."""


@dataclass(frozen=True)
class Fate:
    """What the server does with a request: its answers, some time after it was sent."""

    delays_ns: tuple[int, ...] = (MS,)
    outcome: Outcome = Outcome.COMPLETED


MUTE = Fate(())
ANSWERED = st.builds(Fate, st.tuples(st.integers(0, 40 * MS)), st.sampled_from(list(Outcome)[:3]))
FATES = st.lists(
    ANSWERED | st.builds(Fate, st.lists(st.integers(0, 80 * MS), max_size=3).map(tuple)), min_size=1, max_size=8
)
PAUSES_FIRST = Steps(((0.0, 3.0), (10.0, 1.0), (0.0, 2.0), (10.0, 1.0)))
PAUSES = st.lists(st.sampled_from([0, 0, 0, MS, 30 * MS]), min_size=1, max_size=6)


def job(**changes):
    base = Job(
        target=cast(Any, None),
        inputs=SeededInputs(TensorSpec((1,), "float32"), None, 3, 0),
        window=5,
        duration_s=None,
        requests=None,
        warmup_s=0.0,
        timeout_s=None,
        stall_s=60.0,
        first_answer_s=None,
        log_every_s=0.01,
        drain_s=0.0,
        keep_requests=True,
    )
    return replace(base, **changes)


@dataclass
class Seen:
    """What a run did."""

    record: Record
    turns: list[tuple[int, Turn]]
    most: int
    replied: dict[int, tuple[int, Outcome]]
    """The first answer to each request that was handed over: at which turn, and what."""

    @property
    def rows(self):
        """A row for each request."""
        return self.record.requests[0].table(inputs=3)


def driven(
    job, fates=(Fate(),), pauses=(0,), stop_ns=None, told=Ending.STOPPED, frozen_ns=(0, 0), more=False, single=False
):
    """A run from its start to its end, by a shell that has pauses of its own, and does not run for a time."""
    now_ns, order = START_NS, itertools.count()
    answers: list[tuple[int, int, int, Outcome]] = []
    seen = Seen(Record(), [], 0, {})
    core = prepare(job)(now_ns)
    pause = itertools.cycle(pauses)
    while True:
        ready = []
        while answers and answers[0][0] <= now_ns:
            ready.append(heapq.heappop(answers))
        if stop_ns is not None and now_ns >= START_NS + stop_ns:
            core.stop(told)
        if single and [outcome for *_, outcome in ready] == [Outcome.COMPLETED]:
            turn = core.turn(now_ns, Single(ready[0][2], ready[0][0]))
        else:
            turn = core.turn(now_ns, replies(ready)._replace(more=more))
        for done_ns, _, number, outcome in ready:
            seen.replied.setdefault(number, (done_ns, outcome))
        seen.turns.append((now_ns, turn))
        if turn.ended is not None:
            seen.record = core.finish()
            return seen
        if turn.send:
            for number in range(turn.first_id, turn.first_id + turn.send):
                fate = fates[number % len(fates)]
                for delay_ns in fate.delays_ns:
                    heapq.heappush(answers, (now_ns + SEND_NS + delay_ns, next(order), number, fate.outcome))
            now_ns = thawed(now_ns + SEND_NS + next(pause), frozen_ns)
            core.sent(turn.send, now_ns)
        seen.most = max(seen.most, core.outstanding)
        next_ns = answers[0][0] if answers else turn.wake_ns
        next_ns = min(turn.wake_ns, max(turn.read_ns, next_ns))
        now_ns = thawed(max(now_ns + LOOK_NS, next_ns), frozen_ns)


def thawed(now_ns, frozen_ns):
    """When a shell runs that would run now."""
    from_ns, until_ns = (START_NS + ns for ns in frozen_ns)
    return until_ns if from_ns <= now_ns < until_ns else now_ns


def replies(ready):
    columns = [list(column) for column in zip(*ready, strict=True)] or [[], [], [], []]
    done_ns, _, ids, outcomes = columns
    done, outcome = np.array(done_ns, np.int64), np.array(outcomes, np.uint8)
    return Replies(np.array(ids, np.int64), done, outcome, [b""] * len(ready))


def adds_up(seen):
    """Each request ended as exactly one outcome, and the counts are those of the rows."""
    rows, record = seen.rows, seen.record
    assert rows["id"].tolist() == list(range(record.sent))
    counts = np.bincount(rows["outcome"], minlength=len(Outcome)).tolist()
    assert counts == [record.outcomes[outcome] for outcome in Outcome]
    for number, outcome in zip(rows["id"].tolist(), rows["outcome"].tolist(), strict=True):
        if outcome in (Outcome.COMPLETED, Outcome.DEFAULTED, Outcome.FAILED):
            assert seen.replied[number][1] == outcome
    return sum(counts) == record.sent


@given(FATES, PAUSES, st.integers(1, 20), st.integers(1, 200), st.sampled_from([None, 0.02]))
def test_a_closed_loop_sends_so_many_and_never_more_than_its_window(fates, pauses, window, requests, timeout_s):
    """Whatever the server does, and however late the turns are."""
    seen = driven(job(window=window, requests=requests, timeout_s=timeout_s, stall_s=0.1), fates, pauses)
    assert adds_up(seen)
    assert seen.most <= window
    assert seen.record.sent <= requests
    if seen.record.ended is Ending.REQUESTS:
        assert seen.record.sent == requests
        assert seen.record.outcomes[Outcome.ABANDONED] == 0
    else:
        assert seen.record.ended is Ending.STALLED


TOGETHER = [Fate((delay_ms * MS,)) for delay_ms in (20, 21, 23, 30)]


@pytest.mark.parametrize(
    ("changes", "together"),
    [
        ({"window": LEAST_IN_FLIGHT}, True),
        ({"window": LEAST_IN_FLIGHT - 1}, False),
        ({"window": 1000, "requests": LEAST_IN_FLIGHT - 1, "duration_s": None}, False),
        ({"window": 10_000, "arrivals": Renewal(5000.0, 0.2, 1.0, 1)}, False),
    ],
    ids=["large window", "small window", "few in flight", "open loop"],
)
def test_a_large_window_has_its_replies_read_together(changes, together):
    """Within a hundredth of the median latency, which is said; in any other run each is read as it comes."""
    seen = driven(job(**{"duration_s": 0.2, **changes}), TOGETHER)
    waits_ns = [turn.read_ns - at_ns for at_ns, turn in seen.turns if turn.read_ns > at_ns]
    assert bool(waits_ns) == together
    assert adds_up(seen)
    if together:
        assert not any(
            turn.read_ns > at_ns
            for at_ns, turn in driven(job(**{"duration_s": 0.2, **changes}), TOGETHER, more=True).turns
        )
        assert 0.2 * MS < max(waits_ns) <= seen.record.reading_ns <= 0.31 * MS
    else:
        assert seen.record.reading_ns == 0


@settings(max_examples=30)  # each has some thousand turns
@given(FATES, PAUSES, st.integers(1, 20), st.floats(0.0, 0.05), st.floats(0.01, 0.1))
def test_a_closed_loop_measures_for_its_time(fates, pauses, window, warmup_s, duration_s):
    """From the first turn after the warm-up on; each answer is in one interval."""
    seen = driven(job(window=window, warmup_s=warmup_s, duration_s=duration_s), fates, pauses)
    record = seen.record
    assert adds_up(seen)
    assert record.ended is Ending.DURATION
    assert record.measured_ns == round(duration_s * 1e9)
    (began_ns,) = (at_ns for at_ns, turn in seen.turns if turn.measured)
    assert began_ns == record.measured_from_ns
    assert seen.turns[-1][0] >= began_ns + record.measured_ns
    intervals = [turn.interval for _, turn in seen.turns if turn.interval is not None]
    assert intervals == record.intervals
    assert sum(interval.completed for interval in intervals) == record.latency.total
    assert sum(interval.duration_s for interval in intervals) == pytest.approx(duration_s, abs=0.031)


@given(FATES, PAUSES, st.floats(50, 5000), st.floats(0.0, 0.02), st.sampled_from([None, 0.02]))
def test_an_open_loop_never_waits_for_replies(fates, pauses, rate_rps, warmup_s, timeout_s):
    """Each turn sends all that is due, up to a burst; late requests keep their planned time."""
    arrivals = Renewal(rate_rps, 0.05, 1.0, 3)
    planned_ns = arrivals.times_ns(warmup_s) + START_NS + LEAD_NS + round(warmup_s * 1e9)
    changes = {"arrivals": arrivals, "window": 10**6, "warmup_s": warmup_s, "timeout_s": timeout_s}
    seen = driven(job(**changes), fates, pauses)
    assert adds_up(seen)
    assert seen.record.ended is Ending.SCHEDULE
    for now_ns, turn in seen.turns[:-1]:
        due = int((planned_ns <= now_ns).sum()) - turn.first_id
        assert turn.send == min(due, BURST)
        left_ns = planned_ns[turn.first_id + turn.send :]
        assert not len(left_ns) or turn.wake_ns <= max(now_ns, left_ns[0])
    rows, offered = seen.rows, seen.record.offered
    assert rows["planned_ns"].tolist() == planned_ns.tolist()
    assert (rows["sent_ns"] >= planned_ns + SEND_NS).all()
    assert offered is not None
    assert offered.planned == offered.lag.total == int((planned_ns >= START_NS + LEAD_NS + round(warmup_s * 1e9)).sum())


def test_an_open_loop_without_pauses_sends_at_the_planned_times():
    """Though no reply ever comes: a turn begins at each, and only sending takes time."""
    seen = driven(job(arrivals=Renewal(100.0, 1.0, 0.0, 0), window=10**6), (MUTE,))
    assert seen.record.sent == 100
    assert (seen.rows["sent_ns"] - seen.rows["planned_ns"]).tolist() == [SEND_NS] * 100


def test_lag_counts_from_the_plan_to_the_moment_at_which_the_target_has_taken_a_request():
    """Also where the sender paused before."""
    seen = driven(job(arrivals=Renewal(1000.0, 0.1, 0.0, 0), window=10**6), pauses=(0, 0, 5 * MS))
    offered = seen.record.offered
    assert offered is not None
    lag_ns = seen.rows["sent_ns"] - seen.rows["planned_ns"]
    assert (offered.lag.min_ns, offered.lag.max_ns) == (int(lag_ns.min()), int(lag_ns.max()))
    assert offered.lag.max_ns >= 5 * MS


@pytest.mark.parametrize(
    ("changes", "fate", "ended", "after_s"),
    [
        ({"duration_s": 9.0, "stall_s": 0.5}, MUTE, Ending.STALLED, 0.5),
        ({"duration_s": 9.0, "stall_s": 0.5, "first_answer_s": 2.0}, MUTE, Ending.NO_ANSWER, 2.0),
        ({"duration_s": 9.0, "stall_s": 0.5, "first_answer_s": 2.0}, Fate(), Ending.DURATION, 9.0),
        ({"duration_s": 9.0, "stall_s": 0.5, "timeout_s": 0.1}, MUTE, Ending.STALLED, 0.5),
        ({"arrivals": PAUSES_FIRST, "first_answer_s": 2.0, "window": 99}, Fate(), Ending.SCHEDULE, 7.0),
        ({"arrivals": PAUSES_FIRST, "first_answer_s": 2.0, "window": 99}, MUTE, Ending.NO_ANSWER, 5.0),
        ({"arrivals": PAUSES_FIRST, "stall_s": 0.5, "window": 99}, Fate(), Ending.SCHEDULE, 7.0),
        ({"arrivals": Renewal(100.0, 9.0, 0.0, 0), "window": 49}, MUTE, Ending.OVERRUN, 0.5),
        ({"arrivals": Renewal(100.0, 9.0, 0.0, 0), "stall_s": 0.5, "window": 99}, MUTE, Ending.STALLED, 0.5),
    ],
    ids=lambda value: value.name if isinstance(value, Ending) else "",
)
def test_what_ends_a_run(changes, fate, ended, after_s):
    """And when, as far as it is looked at."""
    seen = driven(job(**changes), (fate,))
    assert seen.record.ended is ended
    passed_s = (seen.turns[-1][0] - START_NS) / 1e9
    assert after_s <= passed_s <= after_s + 0.15
    assert adds_up(seen)


def test_too_many_unanswered_requests_end_a_run(monkeypatch):
    """Though none of them is in flight any more."""
    monkeypatch.setattr(dispatcher, "MAX_UNANSWERED", 100)
    seen = driven(job(duration_s=9.0, timeout_s=0.1), (MUTE,))
    assert seen.record.ended is Ending.OVERRUN
    assert 100 < seen.record.outcomes[Outcome.TIMED_OUT] <= 105


def test_what_a_client_could_not_send_is_counted():
    """It was due at the end of the run; a client that keeps up leaves nothing."""
    # Ten milliseconds for each turn of up to 64 requests, of 50 000 a second.
    seen = driven(job(arrivals=Renewal(50_000.0, 9.0, 0.0, 0), window=2000), (MUTE,), pauses=(10 * MS,))
    offered = seen.record.offered
    assert seen.record.ended is Ending.OVERRUN
    assert offered is not None
    due = int((Renewal(50_000.0, 9.0, 0.0, 0).times_ns(0.0) <= seen.turns[-1][0] - START_NS - LEAD_NS).sum())
    assert seen.record.sent + offered.unsent == due
    assert offered.unsent > 5 * seen.record.sent
    prompt = driven(job(arrivals=Renewal(500.0, 1.0, 0.0, 0), window=10**6)).record.offered
    assert prompt is not None
    assert prompt.unsent == 0


@pytest.mark.parametrize("told", [Ending.STOPPED, Ending.ENOUGH])
@given(st.integers(0, 200 * MS))
def test_a_schedule_that_is_stopped_counts_what_was_planned_until_then(told, stop_ns):
    """With what was sent, where the run ends because it measured enough."""
    seen = driven(job(arrivals=Renewal(500.0, 9.0, 0.0, 0), window=10**6), stop_ns=stop_ns, told=told)
    record = seen.record
    assert record.ended is told
    assert record.offered is not None
    assert seen.turns[-1][1].send == 0
    assert adds_up(seen)
    if told is Ending.ENOUGH:
        assert record.offered.planned == record.measured_sent
    else:
        assert record.measured_sent <= record.offered.planned <= record.measured_sent + 1


def test_intervals_end_at_absolute_times():
    """A late turn does not move the next; the last ends with the measured part."""
    seen = driven(job(duration_s=0.1, log_every_s=0.03), pauses=(0, 7 * MS))
    ends_s = [interval.end_s for interval in seen.record.intervals]
    assert ends_s == pytest.approx([0.03, 0.06, 0.09, 0.1], abs=0.0071)
    assert all(end_s >= due_s for end_s, due_s in zip(ends_s, [0.03, 0.06, 0.09, 0.1], strict=True))
    assert ends_s[-1] == 0.1


@settings(max_examples=60)  # each has some thousand turns
@given(
    st.lists(st.builds(Fate, st.tuples(st.integers(1, 60).map(MS.__mul__))), min_size=1, max_size=8),
    st.sampled_from([{"duration_s": 0.6}, {"arrivals": Renewal(400.0, 0.6, 1.0, 3), "window": 10**6}]),
    st.integers(0, 9000).map((MS // 10).__mul__),
    st.integers(0, 5000).map((MS // 10).__mul__),
)
def test_a_client_that_does_not_run_has_a_gap(fates, loop, from_ns, for_ns):
    """One, as long as it did not run in the measured part, less up to a wait."""
    until_ns = from_ns + for_ns
    record = driven(job(**loop, warmup_s=0.1), fates, frozen_ns=(from_ns, until_ns)).record
    began_ns = record.measured_from_ns - START_NS
    first_ns, last_ns = max(from_ns, began_ns), min(until_ns, began_ns + record.measured_ns)
    frozen_ns, turn_ns = max(0, last_ns - first_ns), SEND_NS + LOOK_NS
    (use,) = record.clients
    assert use.gaps_ns == use.longest_gap_ns <= frozen_ns + turn_ns
    if frozen_ns <= LATE_NS - turn_ns:
        assert (use.gaps, use.gaps_ns) == (0, 0)
    elif frozen_ns > LATE_NS + MAX_WAIT_NS:
        assert use.gaps == 1
        assert use.gaps_ns >= frozen_ns - MAX_WAIT_NS
        assert -turn_ns <= use.longest_gap_at_ns - (first_ns - began_ns) <= MAX_WAIT_NS


@pytest.mark.parametrize(
    "loop", [{"duration_s": 1.0}, {"arrivals": Renewal(1000.0, 1.0, 0.0, 0), "window": 10**6}], ids=["closed", "open"]
)
def test_gaps_add_up(loop):
    """A pause of a tenth of a millisecond does not count; the longest is told apart, and when it was."""
    pauses = [MS // 10] * 100
    pauses[40], pauses[70] = 60 * MS, 300 * MS
    record = driven(job(**loop), (Fate((4 * MS,)),), pauses).record
    (use,) = record.clients
    assert use.gaps >= 2
    assert 300 * MS - MAX_WAIT_NS <= use.longest_gap_ns <= 300 * MS + SEND_NS + LOOK_NS
    assert use.longest_gap_ns < use.gaps_ns <= record.measured_ns
    steady = driven(job(**loop), (Fate((4 * MS,)),), [MS // 10]).record
    assert (steady.clients[0].gaps, steady.clients[0].longest_gap_at_ns) == (0, 0)


def test_the_gaps_of_several_clients_stay_apart():
    """Which of them did not run is known."""
    one, other = Record(), Record()
    one.clients[0].add_gap(5 * MS, 30 * MS)
    one.clients[0].add_gap(95 * MS, 20 * MS)
    one.merge(other)
    found = [(use.gaps, use.gaps_ns, use.longest_gap_ns, use.longest_gap_at_ns) for use in one.clients]
    assert found == [(2, 50 * MS, 30 * MS, 5 * MS), (0, 0, 0, 0)]


@given(st.integers(0, 10 * MS), st.integers(1, 19 * MS), st.integers(0, 9 * MS), st.sampled_from(["turn", "drain"]))
def test_an_answer_within_the_timeout_is_completed_however_late_it_is_looked_at(looked_ns, done_ns, late_ns, where):
    """It lies in the target from when it came; one that did not come times out when the target was seen empty."""
    core = prepare(job(requests=10, window=2, timeout_s=0.02, drain_s=1.0, log_every_s=10.0))(START_NS)
    core.turn(START_NS, replies([]))
    core.sent(2, START_NS)
    looks_ns = [min(looked_ns, done_ns - 1), 20 * MS + 1, 20 * MS + 1 + late_ns, 30 * MS + late_ns, 40 * MS + late_ns]
    answer = (START_NS + done_ns, 0, 0, Outcome.COMPLETED)
    if where == "drain":
        core.stop(Ending.STOPPED)
        core.turn(START_NS, replies([]))
    for number, look_ns in enumerate(looks_ns):
        found = replies([answer] if number == 2 else [])
        if where == "drain":
            core.drain(START_NS + look_ns, found, START_NS + 10**9)
        elif core.turn(START_NS + look_ns, found).send:
            core.sent(1, START_NS + look_ns)
    outcomes = core.finish().outcomes
    assert (outcomes[Outcome.COMPLETED], outcomes[Outcome.TIMED_OUT]) == (1, 1)


def test_outstanding_requests_are_waited_for_after_the_run():
    """Until the last has an answer, or time is up; what remains is left behind."""
    core = prepare(job(requests=3, window=3, drain_s=1.0))(START_NS)
    assert core.turn(START_NS, replies([])).send == 3
    core.sent(3, START_NS)
    core.stop(Ending.STOPPED)
    assert core.turn(START_NS + MS, replies([])).ended is Ending.STOPPED
    until_ns = START_NS + 20 * MS
    answer = (START_NS + 2 * MS, 0, 1, Outcome.COMPLETED)
    assert core.drain(START_NS + 2 * MS, replies([answer]), until_ns) == (False, until_ns)
    assert core.drain(until_ns, replies([]), until_ns)[0]
    record = core.finish()
    assert (record.left_behind, record.outcomes[Outcome.COMPLETED], record.outcomes[Outcome.ABANDONED]) == (2, 1, 2)


def told_by(record):
    """All that a record says, in values that compare; where time went is told by a sample, which may be another."""
    offered, parts = record.offered, record.parts
    return {
        "counts": (record.sent, record.outcomes, record.late, record.unexpected, record.replies, record.measured_sent),
        "lost": (record.unanswered, record.timed_out, record.left_behind, record.upper_bounds, record.failures),
        "times": (record.measured_from_ns, record.measured_ns, record.pauses, record.silences, record.ended),
        "latency": histogram_of(record.latency),
        "batches": tuple(map(np.ndarray.tolist, record.batches.within(0, 2**62))),
        "intervals": record.intervals,
        "clients": record.clients,
        "rows": {name: column.tolist() for name, column in record.requests[0].table(inputs=3).items()},
        "timed": record.stages.requests,
        "offered": offered
        and [offered.planned, offered.answered, offered.arrived, offered.unsent, offered.gap_distance],
        "of the plan": offered and [histogram_of(each) for each in (offered.lag, offered.service)],
        "parts": parts and [histogram_of(each.since(0)) for each in (parts.latency, parts.service, parts.lag)],
        "parts that timed out": parts and parts.timed_out,
        "tally": (record.tally.totals.tolist(), record.tally.within(0, 2**62).tolist()),
    }


def histogram_of(histogram):
    packed = histogram.packed()
    return (packed.places.tolist(), packed.counts.tolist(), packed.sum_ns, packed.min_ns, packed.max_ns)


@given(
    fates=FATES,
    pauses=PAUSES,
    window=st.integers(1, 12),
    warmup_ms=st.sampled_from([0, 10]),
    open_loop=st.booleans(),
    frozen_ms=st.sampled_from([(0, 0), (30, 50)]),
)
@settings(max_examples=10)
def test_replies_that_come_one_by_one_are_recorded_as_those_that_come_together(
    fates, pauses, window, warmup_ms, open_loop, frozen_ms
):
    """To the nanosecond, in closed loops and open ones, with requests that are lost and a client that is stopped."""
    wanted = job(
        window=1000 if open_loop else window,
        duration_s=0.06,
        warmup_s=warmup_ms / 1000,
        timeout_s=0.02,
        log_every_s=0.03,
        tally_ns=(MS, 20 * MS),
        until_steady=True,
        arrivals=Renewal(300.0 * window, 0.06, cv=1.0, seed=window) if open_loop else None,
    )
    frozen_ns = (frozen_ms[0] * MS, frozen_ms[1] * MS)
    told = []
    for few, single in ((dispatcher._FEW, False), (dispatcher._FEW, True), (0, False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dispatcher, "_FEW", few)
            told.append(told_by(driven(wanted, fates, pauses, frozen_ns=frozen_ns, single=single).record))
    assert told[0] == told[1] == told[2]


SOON, SLOW = Fate((NEAR_NS // 2,)), Fate((2 * NEAR_NS,))


@pytest.mark.parametrize(
    ("changes", "fates", "near"),
    [
        ({"window": 1}, [SOON], True),
        ({"window": 1}, [SOON, *[SLOW] * 9], False),
        ({"window": 1, "near": False}, [SOON], False),
        ({"window": 2}, [SOON], False),
        ({"window": 1}, [SLOW], False),
        ({"window": 100, "arrivals": Renewal(500.0, 0.2, 1.0, 1)}, [SOON], False),
    ],
    ids=["one in flight", "mostly slow", "not wanted", "two in flight", "slow", "open loop"],
)
@pytest.mark.parametrize("single", [True, False])
def test_a_reply_is_waited_for_without_the_loop_where_it_comes_soon(changes, fates, near, single):
    """In a closed loop with one request in flight; never over a moment at which something is due."""
    seen = driven(job(**{"duration_s": 0.2, **changes}), fates, single=single)
    assert any(turn.near for _, turn in seen.turns) == near
    assert all(turn.wake_ns - at_ns > 2 * MS for at_ns, turn in seen.turns if turn.near)
    assert adds_up(seen)


def test_a_slow_reply_has_the_next_ones_waited_for_with_the_loop():
    """Others have their turns then."""
    seen = driven(job(window=1, requests=200, log_every_s=10.0), [*[SOON] * 60, SLOW, *[SOON] * 139])
    near = [turn.near for _, turn in seen.turns if turn.send]
    assert near[:60] == [False] * _FAR_REPLIES + [True] * (60 - _FAR_REPLIES)
    assert near[61 : 63 + _FAR_REPLIES] == [*[False] * _FAR_REPLIES, True, True]
