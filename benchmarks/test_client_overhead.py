"""The client's own cost per request: send, receive and record, against a frontend that does nothing.

The figure to read is the client's CPU time per request, `cpu_us_per_request` in the table's extra info, since the
wall time is also the peer's; compare it only with others of the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import uvloop

from loadgen.inputs import SeededInputs
from loadgen.runner import Job, run
from loadgen.targets.clipper import ClipperSpec
from model_containers.model import TensorSpec
from model_containers.wire import DataType

SHAPES = {"8 B": (2,), "8 KB": (2048,), "299x299x3": (299, 299, 3)}


@pytest.fixture(scope="module")
def peer():
    """The null peer's ports."""
    script = str(Path(__file__).with_name("null_peer.py"))
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    yield json.loads(process.stdout.readline())
    process.kill()
    process.wait(10)
    process.stdout.close()


@pytest.mark.parametrize("window", [1, 100, 1000])
@pytest.mark.parametrize("payload", SHAPES)
def test_client(benchmark, peer, payload, window):
    """One run of so many requests."""
    requests = 2000 if payload == "299x299x3" else 20_000
    addresses = (f"tcp://127.0.0.1:{peer[name]}" for name in ("request", "response"))
    spec = ClipperSpec(*addresses, "null", DataType.FLOATS, 4, b"")
    inputs = SeededInputs(TensorSpec(SHAPES[payload], "float32"), None, 4, 0)
    job = Job(spec, inputs, window, None, requests, 0.0, None, 60.0, None, 3600.0, 0.0)
    cpu_ns = []

    def once():
        began_ns = time.process_time_ns()
        record = uvloop.run(run(job))
        cpu_ns.append(time.process_time_ns() - began_ns)
        assert record.latency.total == requests

    benchmark.pedantic(once, rounds=3, warmup_rounds=1)
    benchmark.extra_info["cpu_us_per_request"] = round(min(cpu_ns) / requests / 1000, 2)
