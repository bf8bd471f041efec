"""What counts as measured, and what is only counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.histogram import LatencyHistogram
from loadgen.load import recorder as recorder_module
from loadgen.load.ending import Ending
from loadgen.load.in_flight import Lost, Settled
from loadgen.load.record import MAX_SILENCES, ClientUse, Interval, Offered, Record
from loadgen.load.recorder import MAX_TIMES, Recorder, ScheduleRecorder, distance
from loadgen.load.requests_log import NOT_DONE, RequestsLog
from loadgen.load.tally import Tally
from loadgen.load.target import Outcome, Replies, TimedReply
from model_containers.units import NS_PER_S


def replies(*rows):
    """Rows of outcome, planned time, done time and, where it is another, sent time."""
    outcomes, planned, done = (np.array(column, np.int64) for column in zip(*(row[:3] for row in rows), strict=True))
    sent = np.array([row[-1] if len(row) > 3 else row[1] for row in rows], np.int64)
    known = np.ones(len(rows), bool)
    answers = Replies(np.arange(len(rows)), done, outcomes.astype(np.uint8), [b""] * len(rows))
    return answers, Settled(known, planned, sent, np.zeros(len(rows), np.int64))


def test_only_answers_that_arrive_in_the_measured_part_are_measured():
    """Warm-up, defaults, failures and what comes after the end are counted, not measured."""
    recorder = Recorder()
    recorder.replied(*replies((Outcome.COMPLETED, 0, 50)))
    recorder.begin_measured(100, until_ns=200)
    recorder.replied(
        *replies(
            (Outcome.COMPLETED, 0, 99),
            (Outcome.COMPLETED, 90, 100),
            (Outcome.DEFAULTED, 110, 120),
            (Outcome.FAILED, 110, 130),
            (Outcome.COMPLETED, 150, 199),
            (Outcome.COMPLETED, 150, 200),
        )
    )
    recorder.cut(200)
    recorder.end_measured(200)
    record = recorder.record
    assert record.latency.total == 2
    assert (record.latency.min_ns, record.latency.max_ns) == (10, 49)
    assert record.outcomes[Outcome.COMPLETED] == 5
    assert record.outcomes[Outcome.DEFAULTED] == record.outcomes[Outcome.FAILED] == 1


def lost(*sent_ns):
    """Requests without an answer, sent as they were planned."""
    times = np.array(sent_ns, np.int64)
    return Lost(np.arange(len(times)), times, times)


def test_requests_of_the_measured_part_without_a_good_answer_are_lost():
    """Of a closed loop: those that end in it so. Of those that are outstanding at its end nothing is known yet."""
    recorder = Recorder()
    recorder.ended(Outcome.TIMED_OUT, lost(10), 50)
    recorder.begin_measured(100, until_ns=200)
    recorder.replied(*replies(*[(Outcome.COMPLETED, 110, 150)] * 2, (Outcome.DEFAULTED, 90, 120)))
    recorder.replied(*replies((Outcome.FAILED, 0, 99), (Outcome.FAILED, 90, 199), (Outcome.FAILED, 90, 200)))
    recorder.ended(Outcome.TIMED_OUT, lost(120, 130), 199)
    recorder.cut(200)
    recorder.end_measured(200)
    recorder.replied(*replies((Outcome.FAILED, 150, 210), (Outcome.COMPLETED, 150, 300)))
    assert (recorder.record.lost, recorder.record.timed_out) == (4, 2)


def test_what_waits_in_vain_for_twice_the_slowest_answer_is_lost():
    """Others that are outstanding at the end might have been answered like any."""
    recorder = Recorder()
    recorder.begin_measured(100, until_ns=200)
    recorder.replied(*replies((Outcome.COMPLETED, 110, 150)))
    recorder.cut(200)
    recorder.end_measured(200)
    recorder.ended(Outcome.TIMED_OUT, lost(110), 191)
    recorder.ended(Outcome.ABANDONED, lost(118, 119, 120, 199), 200)
    recorder.ended(Outcome.ABANDONED, lost(), 200)
    assert (recorder.record.lost, recorder.record.timed_out) == (3, 1)


def test_what_a_plan_has_for_the_measured_part_is_lost_without_a_good_answer():
    """Whenever it ends."""
    recorder = ScheduleRecorder(100, 200)
    recorder.begin_measured(100, 200)
    recorder.planned(5)
    recorder.end_measured(200)
    recorder.replied(*replies((Outcome.COMPLETED, 110, 300), (Outcome.DEFAULTED, 120, 130), (Outcome.FAILED, 125, 130)))
    recorder.ended(Outcome.TIMED_OUT, lost(90, 130), 400)
    recorder.ended(Outcome.ABANDONED, lost(140), 400)
    assert (recorder.record.lost, recorder.record.timed_out) == (4, 1)


def test_reasons_are_counted_of_requests_that_failed():
    """Not of those that had timed out before the server said why it would not answer them."""
    answers, settled = replies(*[(Outcome.FAILED, 0, 5), (Outcome.COMPLETED, 0, 5)] * 2)
    settled.known[2:] = False
    recorder = Recorder()
    recorder.replied(answers._replace(reasons=("busy", "too late")), settled)
    assert recorder.record.failures == {"busy": 1}
    assert recorder.record.outcomes[Outcome.FAILED] == recorder.record.outcomes[Outcome.COMPLETED] == 1


def timed(answers, *places):
    """The same, of which the server has timed some."""
    return answers._replace(timed=[TimedReply(place, 0, 0, 10, 5, 1) for place in places])


def test_timed_answers_stand_for_those_between_them():
    """All good answers of the measured part; the client's own times give way to the server's."""
    recorder = Recorder()
    rows = [(Outcome.COMPLETED, 200, 300), (Outcome.COMPLETED, 200, 300), (Outcome.FAILED, 200, 300)]
    answers, settled = replies(*rows)
    recorder.replied(answers, settled)
    recorder.begin_measured(100, until_ns=1000)
    recorder.replied(answers, settled)
    assert recorder.record.stages.timed == 2
    recorder.replied(timed(answers, 0, 1, 2), settled)
    recorder.replied(answers, settled)
    recorder.replied(timed(answers, 1), settled)
    settled.known[1] = False
    recorder.replied(timed(answers, 1), settled)
    recorder.cut(1000)
    recorder.end_measured(1000)
    recorder.replied(timed(answers, 0), settled)
    stages = recorder.record.stages
    # The first stands for the two before the server's first times too, the second for itself, the third for two more.
    assert (stages.timed, stages.requests) == (3, 3 + 1 + 4)
    recorder.finish()
    assert stages.requests == recorder.record.latency.total == 9
    assert "frontend_queue" in stages.histograms
    assert {histogram.total for histogram in stages.histograms.values()} == {9}


answered = st.tuples(st.sampled_from([Outcome.COMPLETED, Outcome.FAILED]), st.booleans(), st.booleans())


@given(st.lists(st.lists(answered, min_size=1, max_size=8), max_size=12), st.booleans(), st.integers(0, 12))
def test_timed_answers_stand_for_all_measured_ones(batches, schedule, warm_up):
    """Whatever failed, was settled before, came in the warm-up or after the end, and whichever were timed."""
    recorder = ScheduleRecorder(100, 1000) if schedule else Recorder()
    for number, batch in enumerate(batches):
        if number == warm_up:
            recorder.begin_measured(100, until_ns=1000)
        answers, settled = replies(*((outcome, 40 + 20 * number, 50 + 20 * number) for outcome, *_ in batch))
        settled.known[:] = [known for _, known, _ in batch]
        recorder.replied(timed(answers, *(place for place, row in enumerate(batch) if row[2])), settled)
    recorder.cut(1000)
    recorder.end_measured(1000)
    recorder.finish()
    stages = recorder.record.stages
    assert stages.requests == recorder.record.latency.total
    if stages.timed:
        assert stages.histograms["client_queue"].total == stages.requests


def test_pauses_of_several_clients_are_those_of_any():
    """A moment in which two of them did not run counts once."""
    record = Record(pauses=[(10, 20), (50, 60)])
    record.merge(Record(pauses=[(1, 2), (12, 15), (18, 30), (40, 50), (70, 80)]))
    assert record.pauses == [(1, 2), (10, 30), (40, 60), (70, 80)]


def test_silences_are_the_times_without_answers():
    """From the begin of the measured part to its end, but for those in which the client did not run."""
    recorder, second = Recorder(), NS_PER_S
    recorder.begin_measured(second, until_ns=10 * second)
    recorder.replied(*replies((Outcome.COMPLETED, 0, 2 * second), (Outcome.COMPLETED, 0, 2 * second + 5)))
    recorder.replied(*replies((Outcome.FAILED, 0, 3 * second)))
    recorder.missed(4 * second, 4 * second + 9)
    recorder.missed(5 * second, 6 * second)
    recorder.replied(*replies((Outcome.COMPLETED, 0, 13 * second // 2)))
    recorder.replied(*replies((Outcome.COMPLETED, 0, 11 * second)))
    recorder.end_measured(10 * second)
    assert recorder.record.silences == [
        (second, 2 * second),
        (2 * second + 5, 5 * second),
        (13 * second // 2, 10 * second),
    ]


def test_silences_of_several_clients_are_those_of_all():
    """Only a moment without an answer to any of them counts, and only long ones."""
    second = NS_PER_S
    record = Record(silences=[(0, 3 * second), (4 * second, 9 * second)])
    record.merge(Record(silences=[(second, 5 * second), (6 * second, 7 * second), (8 * second, 17 * second // 2)]))
    assert record.silences == [(second, 3 * second), (4 * second, 5 * second), (6 * second, 7 * second)]
    record.merge(Record())
    assert record.silences == []


def test_of_many_silences_the_longest_are_kept():
    """Those of a slow server do not hide one at the end."""
    record = Record()
    for number in range(MAX_SILENCES):
        record.silent(number * NS_PER_S, (number + 1) * NS_PER_S)
    record.silent(0, 5 * NS_PER_S)
    assert len(record.silences) == MAX_SILENCES
    assert (0, 5 * NS_PER_S) in record.silences


def test_a_schedule_s_stages_are_of_what_was_planned_for_the_measured_part():
    """From the planned time; whenever it is answered."""
    recorder = ScheduleRecorder(1_000, 2_000)
    answers, settled = replies((Outcome.COMPLETED, 900, 1500, 990), (Outcome.COMPLETED, 1100, 9000, 1500))
    settled.taking_ns[:] = 300
    recorder.begin_measured(1_000, 2_000)
    recorder.end_measured(2_000)
    recorder.replied(answers, settled)
    histograms = recorder.record.stages.histograms
    assert {name: histogram.sum_ns for name, histogram in histograms.items()} == {
        "schedule_lag": 100,
        "client_queue": 300,
        "server": 7500,
    }


def test_intervals_add_up_to_the_whole():
    """Each answer is in exactly one interval."""
    recorder = Recorder()
    recorder.begin_measured(0, until_ns=None)
    for done in range(10, 100, 10):
        recorder.replied(*replies((Outcome.COMPLETED, 0, done)))
        recorder.cut(done)
    assert recorder.cut(90) is None
    assert sum(interval.completed for interval in recorder.record.intervals) == recorder.record.latency.total == 9


def test_an_interval_has_what_was_sent_and_when_the_client_did_not_run():
    """Of this interval alone; of two clients the sum, and the longer gaps."""
    recorder = Recorder()
    recorder.begin_measured(0, until_ns=None)
    recorder.sent(3, 10)
    recorder.record.clients[0].add_gap(20, 20_000_000)
    first = recorder.cut(100)
    recorder.sent(5, 110)
    second = recorder.cut(200)
    assert first is not None
    assert second is not None
    assert (first.sent, first.gaps_s, second.sent, second.gaps_s) == (3, 0.02, 5, 0.0)
    both = Interval.merged([first, second])
    assert (both.sent, both.gaps_s) == (8, 0.02)


def test_records_of_two_clients_merge():
    """Counts add, the longer measured part counts."""
    one = Record(sent=3, measured_ns=10, left_behind=1, resent=2)
    other = Record(sent=4, measured_ns=12, left_behind=None, resent=1)
    one.outcomes[Outcome.COMPLETED], other.outcomes[Outcome.COMPLETED] = 3, 4
    one.merge(other)
    assert (one.sent, one.measured_ns, one.left_behind, one.outcomes[Outcome.COMPLETED]) == (7, 12, 1, 7)
    assert len(one.clients) == 2
    assert one.resent == 3


@given(st.lists(st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 1)), max_size=30), min_size=4, max_size=4))
def test_four_records_merge_into_what_one_would_have_been(clients):
    """Bucket for bucket, of the whole and of each interval."""

    def recorded(*latencies):
        recorder = Recorder()
        recorder.begin_measured(0, None)
        for number in (0, 1):
            rows = [(Outcome.COMPLETED, 0, ns) for ns, interval in latencies if interval == number]
            if rows:
                recorder.replied(*replies(*rows))
            recorder.record.clients[0].in_flight_ns += 10 * len(rows)
            recorder.cut(10 * (number + 1))
        recorder.end_measured(20)
        return recorder.record

    whole = recorded(*(row for rows in clients for row in rows))
    merged = recorded(*clients[0])
    for rows in clients[1:]:
        merged.merge(recorded(*rows))
    assert np.array_equal(merged.latency.counts, whole.latency.counts)
    assert merged.latency.sum_ns == whole.latency.sum_ns
    for one, other in zip(merged.intervals, whole.intervals, strict=True):
        assert (one.completed, one.in_flight, one.duration_s) == (other.completed, other.in_flight, other.duration_s)
        counts = [LatencyHistogram.decode(row.histogram).counts for row in (one, other) if row.histogram]
        assert all(np.array_equal(row, counts[0]) for row in counts)


def test_an_ending_that_was_not_asked_for_is_kept():
    """Whichever of the records has it."""
    for one, other in ((Ending.SCHEDULE, Ending.OVERRUN), (Ending.OVERRUN, Ending.SCHEDULE)):
        record = Record(ended=one)
        record.merge(Record(ended=other))
        assert record.ended is Ending.OVERRUN


@pytest.mark.parametrize("count", [0, 1, 5])
def test_sent_requests_count_as_measured_only_in_the_measured_part(count):
    """Sending before the measured part is warm-up."""
    recorder = Recorder()
    recorder.sent(2, 0)
    recorder.begin_measured(0, None)
    recorder.sent(count, 0)
    assert (recorder.record.sent, recorder.record.measured_sent) == (2 + count, count)


def test_what_was_planned_for_the_measured_part_is_measured_whenever_it_is_answered():
    """Latency counts from the plan, service from the sending; warm-up counts for the throughput only."""
    recorder = ScheduleRecorder(1_000_000, 2_000_000)
    recorder.planned(3)
    recorder.sent(2, 995_000, np.array([980_000, 990_000]))
    recorder.begin_measured(1_000_000, 2_000_000)
    recorder.sent(3, 1_600_000, np.array([1_000_000, 1_500_000, 1_600_000]))
    recorder.replied(*replies((Outcome.COMPLETED, 990_000, 1_700_000, 995_000)))
    recorder.replied(*replies((Outcome.COMPLETED, 1_000_000, 1_800_000, 1_600_000)))
    recorder.cut(2_000_000)
    recorder.end_measured(2_000_000)
    recorder.replied(*replies((Outcome.COMPLETED, 1_500_000, 3_000_000, 1_600_000)))
    recorder.replied(*replies((Outcome.FAILED, 1_600_000, 3_000_000, 1_600_000)))
    record, offered = recorder.record, recorder.record.offered
    assert offered is not None
    assert (record.latency.total, record.latency.min_ns, record.latency.max_ns) == (2, 800_000, 1_500_000)
    assert (offered.service.min_ns, offered.service.max_ns) == (200_000, 1_400_000)
    assert (offered.lag.total, offered.lag.min_ns, offered.lag.max_ns) == (3, 0, 600_000)
    assert (offered.planned, offered.answered, offered.arrived) == (3, 2, 2)
    assert (record.sent, record.measured_sent) == (5, 3)
    assert [interval.completed for interval in record.intervals] == [2]


def test_a_schedule_that_is_given_up_was_measured_until_then():
    """Answers that arrive later are not of its throughput, though the plan went on."""
    recorder = ScheduleRecorder(1_000_000, 9_000_000)
    recorder.begin_measured(1_000_000, 9_000_000)
    recorder.sent(2, 1_000_000, np.array([1_000_000, 1_000_000]))
    recorder.replied(*replies((Outcome.COMPLETED, 1_000_000, 1_400_000)))
    recorder.end_measured(1_500_000)
    recorder.replied(*replies((Outcome.COMPLETED, 1_000_000, 1_600_000)))
    assert recorder.record.offered is not None
    assert recorder.record.offered.arrived == 1
    assert recorder.record.latency.total == 2


def test_shares_of_a_schedule_merge():
    """As if one client had sent them all."""

    def offered(numbers):
        service, lag = LatencyHistogram(), LatencyHistogram()
        lag.record(np.array(numbers))
        return Offered(len(numbers), len(numbers), 1, service, lag)

    one, other = Record(offered=offered([5_000, 7_000])), Record(offered=offered([900_000]))
    one.merge(other)
    assert one.offered is not None
    assert (one.offered.planned, one.offered.answered, one.offered.arrived) == (3, 3, 2)
    assert np.array_equal(one.offered.lag.counts, offered([5_000, 7_000, 900_000]).lag.counts)


def test_a_log_has_a_row_for_each_request_that_ended():
    """Answered or not, in the order of the ids."""
    log = RequestsLog()
    recorder = Recorder(log)
    recorder.replied(*replies((Outcome.COMPLETED, 10, 30), (Outcome.FAILED, 20, 25)))
    recorder.ended(Outcome.TIMED_OUT, Lost(*np.array([[2], [30], [31]])), 40)
    table = log.table(inputs=2)
    assert table["id"].tolist() == [0, 1, 2]
    assert table["input"].tolist() == [0, 1, 0]
    assert table["sent_ns"].tolist() == [10, 20, 31]
    assert table["done_ns"].tolist() == [30, 25, NOT_DONE]
    assert table["outcome"].tolist() == [Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMED_OUT]


VALUES = st.lists(st.integers(0, 1000), min_size=1, max_size=50)


@given(VALUES, st.integers(0, 50), st.data())
def test_the_distance_of_distributions(values, resolution, data):
    """None between equals or what is shifted within the resolution; all of it beyond; the same both ways."""
    one = np.array(values)
    shifts = data.draw(st.lists(st.integers(-resolution, resolution), min_size=len(one), max_size=len(one)))
    assert distance(one, one, resolution) == 0
    assert distance(one, one + np.array(shifts), resolution) == 0
    assert distance(one, one + 2000 + resolution, resolution) == distance(one + 2000 + resolution, one, resolution) == 1


def test_the_distance_is_that_of_kolmogorov():
    """Where there is no resolution: of 4 values one is elsewhere."""
    assert distance(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9]), 0) == 0.25
    assert distance(np.array([1, 2, 3, 4]), np.array([0, 0, 0, 0]), 0) == 1.0


def schedule_sent(planned_ns, sent_ns):
    """What became of a schedule whose requests were sent at these times."""
    recorder = ScheduleRecorder(0, 10**12)
    recorder.begin_measured(0, until_ns=10**12)
    for planned, sent in zip(planned_ns, sent_ns, strict=True):
        recorder.sent(1, sent, np.array([planned]))
    recorder.end_measured(10**12)
    assert recorder.record.offered is not None
    return recorder.record.offered


def test_a_schedule_that_is_kept_has_no_distance():
    """Each request a little late; bursts of what should have been spread have one."""
    planned = [number * 1_000_000 for number in range(100)]
    assert schedule_sent(planned, [time + 90_000 for time in planned]).gap_distance == 0
    in_tens = [time // 10_000_000 * 10_000_000 + 10_000_000 for time in planned]
    assert schedule_sent(planned, in_tens).gap_distance == pytest.approx(90 / 99)
    assert schedule_sent(planned[:1], planned[:1]).gap_distance is None
    assert schedule_sent([time // 2 for time in planned], in_tens).gap_distance is None, "too short for timers"


def test_the_times_of_a_long_run_are_bounded():
    """The first ones are enough."""
    recorder = ScheduleRecorder(0, 10**12)
    for burst in range(2 * MAX_TIMES):
        recorder.sent(1, burst, np.array([burst]))
    kept = sum(len(planned) for planned, _ in recorder._times)
    assert MAX_TIMES <= kept < MAX_TIMES + recorder_module._MOST_WAITING


@given(st.lists(st.integers(1, 10**9), max_size=40), st.integers(0, 10**9))
def test_what_gaps_are_longer_than_what_covers_each(gaps, covered):
    """Small ones make up for nothing."""
    use = ClientUse()
    for at, gap in enumerate(gaps):
        use.add_gap(at, gap)
    assert use.uncovered_ns(covered) == sum(gap - covered for gap in gaps if gap > covered)
    assert (use.gaps, use.gaps_ns, use.longest_gap_ns) == (len(gaps), sum(gaps), max(gaps, default=0))
    assert not gaps or gaps[use.longest_gap_at_ns] == use.longest_gap_ns


def test_batches_hold_what_the_latencies_hold():
    """In both loops, by when the answers arrived."""
    window, schedule = Recorder(), ScheduleRecorder(100, 200)
    for recorder in (window, schedule):
        recorder.begin_measured(100, until_ns=NS_PER_S)
        recorder.replied(*replies((Outcome.COMPLETED, 90, 99), (Outcome.COMPLETED, 90, 100)))
        recorder.replied(*replies((Outcome.COMPLETED, 150, NS_PER_S - 1), (Outcome.COMPLETED, 150, NS_PER_S)))
        recorder.cut(NS_PER_S)
        recorder.end_measured(NS_PER_S)
        counts, sums_ns = recorder.record.batches.within(0, NS_PER_S)
        assert counts.sum() == recorder.record.latency.total == 2
        assert sums_ns.sum() == recorder.record.latency.sum_ns


@pytest.mark.parametrize("schedule", [False, True])
def test_a_tally_counts_the_requests_of_the_measured_part_once_each(schedule):
    """Those that are slow, those that took half as long, and those that were lost; intervals say what is new."""
    tally = Tally([100])
    recorder = ScheduleRecorder(1000, 2000, tally=tally) if schedule else Recorder(tally=tally)
    before = [(Outcome.COMPLETED, 900, 990), (Outcome.FAILED, 900, 990)]
    recorder.replied(*replies(*before))
    recorder.begin_measured(1000, until_ns=2000)
    recorder.replied(*replies((Outcome.COMPLETED, 1000, 1049), (Outcome.COMPLETED, 1000, 1050)))
    first = recorder.cut(1500)
    rows = [(Outcome.COMPLETED, 1500, 1599), (Outcome.COMPLETED, 1500, 1600), (Outcome.FAILED, 1500, 1600)]
    recorder.replied(*replies(*rows))
    recorder.ended(Outcome.TIMED_OUT, lost(1500), 1700)
    last = recorder.cut(2000)
    recorder.planned(6)
    recorder.end_measured(2000)
    assert first is not None
    assert last is not None
    assert first.ended == (2, 0, 0, 0, 0, 0, 1)
    assert last.ended == (2, 0, 1, 1, 0, 1, 2)
    assert tally.totals.tolist() == [4, 0, 1, 1, 0, 1, 3]
    assert recorder.record.latency.total + recorder.record.lost == tally.totals[: len(Outcome)].sum()


@pytest.mark.parametrize(("good", "bad", "known"), [(99, 1, True), (98, 2, False), (0, 2, False)])
def test_the_p99_of_an_interval_counts_lost_requests_as_slower(good, bad, known):
    """Those that ended in it without a good answer; of two clients together, too."""
    recorder = Recorder()
    recorder.ended(Outcome.TIMED_OUT, lost(10), 50)
    recorder.begin_measured(100, until_ns=300)
    recorder.replied(*replies(*[(Outcome.COMPLETED, 110, 150)] * good, *[(Outcome.FAILED, 110, 160)] * (bad - 1)))
    recorder.ended(Outcome.TIMED_OUT, lost(110), 190)
    first, second = recorder.cut(200), recorder.cut(250)
    assert first is not None
    assert second is not None
    assert (first.completed, first.lost, second.lost) == (good, bad, 0)
    assert (first.p99_s is not None) == known
    both = Interval.merged([first, first])
    assert (both.lost, both.p99_s is not None) == (2 * bad, known)
