"""The ways to start a deployment."""

import asyncio
import contextlib
import pkgutil
from typing import Any

import pytest

from frontend_launch.launch.launcher import Launcher
from frontend_launch.launch.process import unix_sockets_pay
from frontend_launch.launch.runtimes import RUNTIMES, Runtime, known, runtime_of


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_runtime_names_a_launcher(name):
    """A name that does not resolve would be found by the first user only."""
    if name == "ray":
        pytest.importorskip("ray")
    assert Launcher in pkgutil.resolve_name(RUNTIMES[name].launcher_class).__mro__


@pytest.mark.parametrize(
    ("input_bytes", "max_batch", "pay"),
    [
        (8, 1, True),
        (8192, 1, True),
        (4096, 31, True),
        (4096, 32, False),
        (65_536, 32, False),
        (262_143, 1, False),
        (262_144, 1, True),
        (1_072_812, 32, True),
    ],
)
def test_where_processes_use_unix_sockets(input_bytes, max_batch, pay):
    """Batches below 128 KiB, and inputs from 256 KiB."""
    assert unix_sockets_pay(input_bytes, max_batch) == pay


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("process", True),
        ("docker", True),
        ("ray", True),
        ("ray:local", True),
        ("ray://10.0.0.1:10001", True),
        ("ray:", False),
        ("ray://10.0.0.1", False),
        ("docker:local", False),
        ("", False),
    ],
)
def test_the_name_of_a_runtime_may_have_a_cluster(name, valid):
    """A runtime of one machine has none."""
    assert known(name) == valid
    assert not valid or runtime_of(name) is RUNTIMES[name.partition(":")[0]]


async def survey(name):
    return f"nodes of {name}"


@contextlib.asynccontextmanager
async def connection(name):
    yield f"connected to {name}"


async def in_context(connected):
    async with connected as found:
        return found


def test_a_runtime_of_a_cluster_surveys_it_and_connects_to_it():
    """By the functions that it names, which get the name of the cluster."""
    runtime = Runtime((), "", f"{__name__}:survey", f"{__name__}:connection")
    found: Any = asyncio.run(runtime.cluster("ray:local"))
    assert found == "nodes of ray:local"
    assert asyncio.run(in_context(runtime.connected("ray:local"))) == "connected to ray:local"


def test_a_runtime_of_this_machine_has_no_cluster():
    """And nothing to connect to."""
    runtime = RUNTIMES["process"]
    assert asyncio.run(runtime.cluster("process")) is None
    assert asyncio.run(in_context(runtime.connected("process"))) is None
