"""A frontend that runs already: its verdicts, its absence, and what is left behind."""

import asyncio
import contextlib
import multiprocessing
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import program
import pytest
import uvloop
import zmq
from program import invalid, undisturbed

from frontend_launch.admin import AdminClient
from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, Output, Patience, Saturate
from loadgen.errors import ConfigError, TargetError
from loadgen.experiments.experiment import run_experiment
from loadgen.plan import prepare
from loadgen.served import Frontend
from model_containers.data_types import DataType
from model_containers.model import TensorSpec
from model_containers.server import serve
from model_containers.settings import Settings


class SlowModel:
    """Sleeps for a fixed service time per batch."""

    name = "slow"
    input = TensorSpec(None, "float32")
    output = TensorSpec((1,), "float32")

    def __init__(self, service_s):
        self._service_s = service_s

    def predict(self, batch):
        time.sleep(self._service_s)
        return np.zeros((len(batch), 1), np.float32)


@pytest.fixture(scope="module")
def frontends():
    """Both frontends as a process, as `loadgen` starts them."""
    with program.frontends() as ports:
        yield ports


async def register(ports, name, batch_size):
    async with AdminClient(f"http://127.0.0.1:{ports.admin}") as admin:
        await admin.register_application(name, DataType.FLOATS, "TIMEOUT", 500_000)
        await admin.register_model(name, "1", DataType.FLOATS, batch_size=batch_size)
        await admin.link_model(name, name)


@contextlib.contextmanager
def slow_model(ports, version, batch_size, service_s, reply_times=True):
    """An application of one slow replica."""
    name = f"slow{version}"

    async def until_registered():
        async with AdminClient(f"http://127.0.0.1:{ports.admin}") as admin, asyncio.timeout(30):
            while not await admin.replicas(name, "1"):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)

    uvloop.run(register(ports, name, batch_size))
    context = multiprocessing.get_context("fork")
    settings = Settings(name=name, port=ports.replica, reply_times=reply_times)
    process = context.Process(target=serve, args=(SlowModel(service_s), settings))
    process.start()
    try:
        uvloop.run(until_registered())
        yield name
    finally:
        process.terminate()
        process.join(10)
        assert process.exitcode == 0


def config(ports, tmp_path, application, **changes):
    return ExperimentConfig(
        serve=Frontend("noop", host="127.0.0.1", application=application, batch_size=4, ports=ports),
        load=Saturate(**{"duration_s": 2.0, "warmup_s": 0.5, **changes}),
        client=Client(ceiling=False),
        patience=Patience(drain_s=0.5),
        output=Output(tmp_path, log_every_s=1.0),
    )


def measured(ports, tmp_path, application, **changes):
    """A run that no other process disturbed."""
    return undisturbed(
        tmp_path, lambda at: uvloop.run(run_experiment(config(ports, at, application, **changes))), invalid
    )


@pytest.mark.serial
def test_a_slow_model_behind_a_deep_window_is_saturated(frontends, tmp_path):
    """Busy replicas, full batches, and the reader is told what is left behind."""
    with slow_model(frontends, 1, 4, 0.1) as name:
        results = measured(frontends, tmp_path, name, max_in_flight=400)
    assert (results.verdict.saturated, results.verdict.limit) == ("yes", "replicas")
    assert results.verdict.evidence.busy_share is not None
    assert results.verdict.evidence.busy_share > 0.95
    assert results.summary.left_behind == results.summary.abandoned > 0
    assert (results.ended, results.error) == ("duration", None)
    (node,) = results.node_configs
    assert (node.name, node.slo, node.num_replicas, node.batch_size, node.runtime) == (name, 500_000, 1, 4, None)


@pytest.mark.serial
def test_a_window_smaller_than_the_batch_is_the_loads_limit(frontends, tmp_path):
    """Two requests in flight cannot fill a batch of four."""
    with slow_model(frontends, 2, 4, 0.0) as name:
        results = measured(frontends, tmp_path, name, max_in_flight=2)
    assert (results.verdict.saturated, results.verdict.limit) == ("no", "load")


@pytest.mark.serial
def test_a_replica_that_does_not_report_its_times_is_saturated_too(frontends, tmp_path):
    """As one of 2017 does not: the frontend sees when a batch is in flight."""
    with slow_model(frontends, 3, 4, 0.01, reply_times=False) as name:
        results = measured(frontends, tmp_path, name, max_in_flight=50, duration_s=1.0)
    assert (results.verdict.saturated, results.verdict.limit) == ("yes", "replicas")
    assert results.verdict.evidence.busy_share is None
    assert results.summary.completed > 0


def test_an_application_without_a_model_takes_any_answer(frontends, tmp_path):
    """The frontend says what it takes; with the wrong model each failed request says what came."""
    with slow_model(frontends, 15, 4, 0.001) as name:
        of_any = Frontend(host="127.0.0.1", application=name, input_shape=(8,), ports=frontends)
        with_model = config(frontends, tmp_path, name, duration_s=0.5, warmup_s=0.0)
        results = uvloop.run(run_experiment(replace(with_model, serve=of_any)))
        assert (results.model.name, results.summary.failed) == (name, 0)
        assert results.summary.completed > 0
        with pytest.raises(ConfigError, match="the shape of its inputs is not known"):
            uvloop.run(prepare(replace(with_model, serve=replace(of_any, input_shape=None))))
        with pytest.raises(ConfigError, match=r"application 'nowhere': .* has none of that name"):
            uvloop.run(prepare(replace(with_model, serve=replace(of_any, application="nowhere"))))


def test_an_unreachable_metrics_port_is_a_note_and_the_run_goes_on(frontends, tmp_path):
    """So is an unreachable management frontend."""
    with slow_model(frontends, 4, 4, 0.001) as name, zmq.Context() as context, context.socket(zmq.PAIR) as closed:
        port = closed.bind_to_random_port("tcp://127.0.0.1")
        closed.unbind(f"tcp://127.0.0.1:{port}")
        ports = Ports(frontends.request, frontends.response, frontends.replica, port, port)
        results = uvloop.run(run_experiment(config(ports, tmp_path, name, duration_s=0.5, max_in_flight=20)))
    assert results.clipper_metrics is None
    assert any("--metrics-port" in note for note in results.notes)
    assert any("--admin-port" in note for note in results.notes)
    assert results.summary.completed > 0
    assert results.verdict.saturated == "undecided"


def test_defaults_are_no_completions(frontends, tmp_path):
    """An application without a replica answers with its default output."""
    uvloop.run(register(frontends, "nobody", 2))
    results = uvloop.run(run_experiment(config(frontends, tmp_path, "nobody", duration_s=None, requests=100)))
    assert (results.summary.defaulted, results.summary.completed) == (100, 0)
    assert results.summary.latency_ms["p99"] is None


def test_an_application_that_is_not_there_is_one_line(frontends, tmp_path):
    """It names the option."""
    with pytest.raises(ConfigError, match=r"application 'missing': 127.0.0.1 has none.*with application"):
        uvloop.run(run_experiment(config(frontends, tmp_path, "missing")))


def test_no_answer_to_the_first_request_ends_the_run(frontends, tmp_path, monkeypatch):
    """With the likely causes: here, a replica that never answers."""
    monkeypatch.setattr("loadgen.plan.FIRST_ANSWER_S", 0.3)

    async def register():
        async with AdminClient(f"http://127.0.0.1:{frontends.admin}") as admin:
            await admin.register_application("silent", DataType.FLOATS, "", 1)
            await admin.register_model("silent", "1", DataType.FLOATS, batch_size=1)
            await admin.link_model("silent", "silent")

    uvloop.run(register())
    with zmq.Context() as context, context.socket(zmq.DEALER) as replica:
        from model_containers.wire import Metadata, encode_heartbeat, encode_metadata

        replica.connect(f"tcp://127.0.0.1:{frontends.replica}")
        replica.send_multipart(encode_heartbeat())
        replica.recv_multipart()
        replica.send_multipart(encode_metadata(Metadata("silent", "1", DataType.FLOATS)))
        replica.send_multipart(encode_heartbeat())
        replica.recv_multipart()
        results = uvloop.run(run_experiment(config(frontends, tmp_path, "silent")))
        replica.setsockopt(zmq.LINGER, 0)
    assert results.ended == "no_answer"
    assert results.error is not None
    assert "'silent'" in results.error
    assert results.path is not None
    assert results.path.exists()


def test_nobody_there_is_one_line(tmp_path):
    """At once."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as closed:
        port = closed.bind_to_random_port("tcp://127.0.0.1")
        closed.unbind(f"tcp://127.0.0.1:{port}")
    with pytest.raises(TargetError, match="Connection refused; check that a query frontend"):
        uvloop.run(run_experiment(config(Ports(port, port, port, port, port), tmp_path, "x")))


MEMORY = """
import asyncio, resource, sys, uvloop
from pathlib import Path
from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, Inputs, Output, Patience, Saturate
from loadgen.served import Frontend
from loadgen.experiments.experiment import run_experiment
from loadgen.plan import prepare
ports, application, window, directory = sys.argv[1:]
ports = Ports(*map(int, ports.split(",")))
frontend = Frontend("noop", host="127.0.0.1", application=application, input_shape=(299, 299, 3), ports=ports)
config = ExperimentConfig(frontend, Saturate(4.0, max_in_flight=int(window)), inputs=Inputs(count=4),
                          client=Client(ceiling=False), patience=Patience(drain_s=0.1), output=Output(Path(directory)))
results = uvloop.run(run_experiment(config))
assert results.summary.abandoned >= 0.9 * int(window), results.summary
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_client_memory_does_not_grow_with_requests_in_flight(frontends, tmp_path):
    """2000 images in flight, 2 GB of them, take at most 50 MB more than 20."""
    ports = [frontends.request, frontends.response, frontends.replica, frontends.metrics, frontends.admin]
    peaks = {}
    with slow_model(frontends, 6, 1, 0.2) as name:
        for window in (20, 2000):
            command = [sys.executable, "-c", MEMORY, ",".join(map(str, ports)), name, str(window), str(tmp_path)]
            run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert run.returncode == 0, run.stderr
            peaks[window] = int(run.stdout.splitlines()[-1])
    assert peaks[2000] - peaks[20] < 50e6
