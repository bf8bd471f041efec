"""Where the time of requests goes, over real sockets: each stage shows its own delay."""

import contextlib
import threading

import pytest
import zmq
from slow_stages import STAGES, Delays, SlowStages, slow_stages

from frontend_launch.sampling import Sampler
from loadgen.load.target import Outcome
from loadgen.targets import clipper

DELAY_NS = 20_000_000


@pytest.fixture(autouse=True)
def all_timed(monkeypatch):
    """At any rate, so that sums are of all requests."""
    monkeypatch.setattr(Sampler, "pick", lambda self, count, now_ns: range(count))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    with slow_stages(tmp_path_factory.mktemp("stages")) as slow:
        yield slow


@pytest.mark.parametrize("rate_rps", [50.0, None], ids=["open", "closed"])
def test_the_stages_of_a_run_add_up_to_its_latencies(deployment, rate_rps):
    """To the nanosecond."""
    record = deployment.run(30, rate_rps)
    histograms = record.stages.histograms
    assert set(histograms) == set(STAGES)
    assert record.stages.timed == record.stages.requests == record.latency.total == 30
    assert sum(histogram.sum_ns for histogram in histograms.values()) == record.latency.sum_ns


@pytest.mark.parametrize("slowed", STAGES)
def test_a_delay_shows_in_its_own_stage(deployment, slowed):
    """In most requests, and in the quickest of them nowhere else."""
    setattr(deployment.delays, slowed, DELAY_NS / 1e9)
    try:
        histograms = deployment.run(10, 25.0).stages.histograms
    finally:
        setattr(deployment.delays, slowed, 0.0)
    median_ns = histograms[slowed].percentile_ns(50)
    assert median_ns is not None
    assert median_ns >= 0.9 * DELAY_NS
    assert [name for name in STAGES if histograms[name].min_ns >= 0.9 * DELAY_NS] in ([slowed], [])


def test_with_two_clocks_both_ways_are_one_stage(deployment, monkeypatch):
    """No time of one is compared with a time of the other."""
    monkeypatch.setattr(clipper, "clock_id", lambda: b"of another machine")
    record = deployment.run(10, 50.0)
    known = {"schedule_lag", "client_queue", "frontend_queue", "rpc", "model", "network", "client_reading"}
    assert set(record.stages.histograms) == known
    assert sum(histogram.sum_ns for histogram in record.stages.histograms.values()) == record.latency.sum_ns


@contextlib.contextmanager
def frontend_of_2017():
    """Ports of one that hands out client ids and answers with what it was asked, in four frames."""
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        kinds = (zmq.ROUTER, zmq.ROUTER, zmq.PAIR, zmq.PAIR)
        request, response, told, stop = (stack.enter_context(context.socket(kind)) for kind in kinds)
        for socket in (request, response, told, stop):
            socket.setsockopt(zmq.LINGER, 0)
        ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (request, response)]
        told.bind("inproc://stop")
        stop.connect("inproc://stop")
        thread = threading.Thread(target=answer, args=(request, response, stop))
        thread.start()
        try:
            yield ports
        finally:
            told.send(b"")
            thread.join()


def answer(request, response, stop):
    poller = zmq.Poller()
    for socket in (request, response, stop):
        poller.register(socket, zmq.POLLIN)
    client = b""
    while stop not in (ready := dict(poller.poll())):
        if response in ready:
            client, _, _ = response.recv_multipart()
            response.send_multipart([client, b"", bytes(4)])
        if request in ready:
            _, _, _, number, _, data_type, _, payload = request.recv_multipart()
            response.send_multipart([client, b"", number, data_type, payload])


def test_a_frontend_of_2017_says_nothing():
    """What the client knows by itself is there, and the rest is one stage."""
    with frontend_of_2017() as ports:
        record = SlowStages(Delays(), *ports).run(15, 50.0)
    assert record.outcomes[Outcome.COMPLETED] == 15
    assert list(record.stages.histograms) == ["schedule_lag", "client_queue", "server"]
    assert sum(histogram.sum_ns for histogram in record.stages.histograms.values()) == record.latency.sum_ns
