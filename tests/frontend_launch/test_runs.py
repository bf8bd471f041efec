"""Containers of loadgen and of others, as the engine shows them."""

import asyncio
import copy
from types import SimpleNamespace
from typing import Any

import pytest

runs = pytest.importorskip("frontend_launch.launch.runs", reason="aiodocker is not installed: make install")

SHOWN: dict[str, Any] = {
    "Name": "/frontend",
    "Config": {"Labels": {}, "Image": "image"},
    "HostConfig": {"CpusetCpus": ""},
    "State": {"Status": "running", "StartedAt": "0001-01-01T00:00:00Z"},
    "NetworkSettings": {"Ports": {"1337/tcp": None, "4456/tcp": [{"HostIp": "", "HostPort": "4456"}]}},
}


@pytest.mark.parametrize(
    ("address", "port", "found"),
    [("127.0.0.1", 4456, True), ("0.0.0.0", 4456, True), ("192.168.1.2", 4456, False), ("127.0.0.1", 7000, False)],
)
def test_what_publishes_a_port_of_this_machine(address, port, found):
    """On the addresses that localhost reaches: another frontend may listen there, beside a published one."""
    shown = copy.deepcopy(SHOWN)
    shown["NetworkSettings"]["Ports"]["4456/tcp"][0]["HostIp"] = address

    async def show():
        return shown

    async def listed(filters):
        return [SimpleNamespace(show=show)]

    docker = SimpleNamespace(containers=SimpleNamespace(list=listed))
    container = asyncio.run(runs.publishing(docker, port))
    assert (container is not None and container.name == "frontend") is found
