"""Rows of workers, and that their records merge exactly."""

import numpy as np
import pytest
from cluster_of_tests import job
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.histogram import LatencyHistogram
from loadgen.load.arrivals import Renewal
from loadgen.load.client_messages import Finished, decode, encode
from loadgen.load.in_flight import Lost
from loadgen.load.record import ClientUse, Interval, Offered, Record
from loadgen.load.requests_log import NOT_DONE, RequestsLog
from loadgen.load.target import Outcome
from loadgen.workers.clocks import ClockOffset
from loadgen.workers.rows import ClientRun, WorkerRun, late_ns, workers_use

SAMPLES = st.lists(st.tuples(st.integers(1, 10**11), st.integers(0, 5 * 10**9)), min_size=1, max_size=200)
"""Latencies, and when the answers came since the measured part began."""


def recorded(samples, begun_ns=0):
    """The record of a client that got these answers."""
    record = Record(sent=len(samples), measured_from_ns=begun_ns or 1, measured_ns=5 * 10**9)
    record.outcomes[Outcome.COMPLETED] = len(samples)
    for latency_ns, done_ns in sorted(samples, key=lambda sample: sample[1]):
        latencies = np.array([latency_ns])
        record.latency.record(latencies)
        record.batches.record(latencies, np.array([begun_ns + done_ns]), begun_ns)
    record.intervals = [Interval.of(histogram(samples), 5.0, 5.0, 1.0)]
    return record


def histogram(samples):
    found = LatencyHistogram()
    found.record(np.array([latency_ns for latency_ns, _ in samples], dtype=np.int64))
    return found


@given(SAMPLES, st.integers(1, 3), st.data())
def test_merged_records_of_workers_are_the_single_one(samples, workers, data):
    """Bucket for bucket, of one, two and three workers with clocks of their own, as they cross machines."""
    shares = [samples[number::workers] for number in range(workers)]
    offsets_ns = [data.draw(st.integers(-(10**15), 10**15)) for _ in shares]
    whole, merged = recorded(samples), None
    for share, offset_ns in zip(shares, offsets_ns, strict=True):
        record = decode(encode(Finished(recorded(share, 10**16 + offset_ns)))).record
        record.shift(-offset_ns)
        if merged is None:
            merged = record
        else:
            merged.merge(record)
    assert merged is not None
    assert merged.measured_from_ns == 10**16
    assert np.array_equal(merged.latency.counts, whole.latency.counts)
    assert (merged.latency.total, merged.latency.sum_ns) == (whole.latency.total, whole.latency.sum_ns)
    assert merged.latency.encode() == whole.latency.encode()
    assert (merged.sent, merged.outcomes) == (whole.sent, whole.outcomes)
    for one, other in zip(merged.batches.within(0, 5 * 10**9), whole.batches.within(0, 5 * 10**9), strict=True):
        assert np.array_equal(one, other)
    (one,), (other,) = merged.intervals, whole.intervals
    assert (one.histogram, one.completed) == (other.histogram, other.completed)


def test_a_record_moves_to_another_clock():
    """Moments do, also those of rows; latencies and a missing answer do not."""
    log = RequestsLog()
    one = np.array([5], dtype=np.int64)
    log.replied(one, one * 10, one * 20, one * 30, np.array([0], dtype=np.uint8))
    log.lost(Lost(one + 1, one * 10, one * 20), Outcome.TIMED_OUT)
    record = recorded([(7, 8)], 100)
    record.pauses, record.silences, record.requests = [(1, 2)], [(3, 4)], [log]
    record.shift(1000)
    assert (record.measured_from_ns, record.pauses, record.silences) == (1100, [(1001, 1002)], [(1003, 1004)])
    assert record.latency.max_ns == 7
    table = log.table(1)
    assert table["planned_ns"].tolist() == [1050, 1050]
    assert table["sent_ns"].tolist() == [1100, 1100]
    assert table["done_ns"].tolist() == [1150, NOT_DONE]


def test_a_record_without_a_measured_part_stays_without():
    """0 says that it never began."""
    record = Record()
    record.shift(5)
    assert record.measured_from_ns == 0


CLOSED, OPEN = job(warmup_s=0.5), job(arrivals=Renewal(100.0, 5.0, 1.0, 3))


@pytest.mark.parametrize(
    ("share", "told_ns", "record", "found_ns"),
    [
        (CLOSED, 0, Record(measured_from_ns=1_500_000_300), 300),
        (CLOSED, 700, Record(measured_from_ns=1_500_000_300), 700),
        (CLOSED, 700, Record(), 700),
        (CLOSED, 700, None, 700),
        (OPEN, 0, Record(measured_from_ns=9_000_000_000), 0),
    ],
    ids=["first request", "told late", "never measured", "lost", "planned"],
)
def test_how_late_a_client_began(share, told_ns, record, found_ns):
    """By its first request where a window says when to send, and by when it was told."""
    assert late_ns(share, 10**9, told_ns, record) == found_ns


def client(role, record=None, late=0, lost="", share=CLOSED):
    return ClientRun(role, share, record, late, lost)


def worker(name, *clients, error_ns=1_000_000):
    return WorkerRun(name, f"node-of-{name}", "10.0.0.1", ClockOffset(9, error_ns), clients)


def test_rows_have_what_each_worker_did():
    """Of all its clients together; the skew is between workers."""
    used = recorded([(10**6, 5), (3 * 10**6, 6)])
    used.clients = [ClientUse(cpu_ns=10**9)]
    found = workers_use(
        "ray",
        [
            worker("worker-0", client("client-0", used, 3_000_000), client("client-2", recorded([(5 * 10**6, 7)]), 0)),
            worker("worker-1", client("client-1", recorded([(10**6, 5)]), 1_000_000), error_ns=500_000),
        ],
    )
    first, second = found.workers
    assert (first.clients, first.sent, first.completed, first.cpu_share) == (["client-0", "client-2"], 3, 3, 0.2)
    assert first.throughput_rps == pytest.approx(0.6)
    assert first.latency_ms["mean"] == pytest.approx(3.0)
    assert (first.start_late_ms, second.start_late_ms) == (3.0, 1.0)
    assert (found.start_skew_ms, found.start_skew_error_ms, found.faults) == (2.0, 1.5, [])


def test_what_ended_the_run_comes_first():
    """Before what is wrong with other workers; a client that was stopped may still hand in what it measured."""
    late, stopped = recorded([(10**6, 5)]), recorded([(10**6, 5)])
    found = workers_use(
        "ray",
        [
            worker("worker-0", client("client-0", late, 4_970_000_000)),
            worker("worker-1", client("client-1", stopped, 0, "client-1 was stopped by a signal or a debugger")),
        ],
    )
    assert found.ended_by == "worker-1 on node-of-worker-1: client-1 was stopped by a signal or a debugger"
    assert found.faults == [
        found.ended_by,
        "worker-0 on node-of-worker-0: client-0 began 4,970 ms after the agreed start",
    ]


def test_faults_name_the_worker():
    """One that is lost, one that is late, and one that did not send on time."""
    behind = recorded([(10**6, 5)])
    behind.offered = Offered(planned=2, answered=1, unsent=9)
    found = workers_use(
        "ray",
        [
            worker("worker-0", client("client-0", None, None, "client-0 ended early, with exit code -9")),
            worker("worker-1", client("client-1", recorded([(10**6, 5)]), 60_000_000)),
            worker("worker-2", client("client-2", behind, 0, share=OPEN)),
            worker("worker-3", client("client-3", None, None)),
        ],
    )
    assert found.faults == [
        "worker-0 on node-of-worker-0: client-0 ended early, with exit code -9",
        "worker-1 on node-of-worker-1: client-1 began 60 ms after the agreed start",
        "worker-2 on node-of-worker-2: client-2: client on time: "
        "the client had sent 1 of 10 due requests when the run ended",
        "worker-3 on node-of-worker-3: client-3 was lost",
    ]
    assert (found.start_skew_ms, found.start_skew_error_ms) == (None, None)
    assert [row.throughput_rps for row in found.workers[::3]] == [0.0, 0.0]
