"""A Ray cluster in three network namespaces with an address each; one node's frames leave 5 ms later. Needs root."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from network import ip, namespaces, process

HEAD, NEAR, FAR = "10.77.21.1", "10.77.21.2", "10.77.21.3"
PORT = 6379
DELAY_S = 0.005
STORE_BYTES = 80 << 20
SUPPORT = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(SUPPORT.parents[1]), str(SUPPORT)]),
    "RAY_ADDRESS": f"{HEAD}:{PORT}",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
PIPED: dict[str, Any] = {"env": ENVIRONMENT, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
SERVER = f"""
import sys
from cluster_of_tests import counting_server
with counting_server("{HEAD}") as server:
    print(server.url, flush=True)
    sys.stdin.read()
    print(server.requests, flush=True)
"""


class NetworkedCluster:
    """A head that runs nothing, and two nodes.

    Args:
        names: of the namespaces, by address.
        links: of the nodes' interfaces.
    """

    def __init__(self, names: Mapping[str, str], links: Mapping[str, str]) -> None:
        self._names, self._links = names, links

    def command(self, address: str, *words: str) -> list[str]:
        """A command at an address."""
        return ["ip", "netns", "exec", self._names[address], *words]

    def sent_bytes(self, address: str) -> int:
        """That left a node by its interface."""
        text = ip("-n", self._names[address], "-s", "-j", "link", "show", "dev", self._links[address])
        return int(json.loads(text)[0]["stats64"]["tx"]["bytes"])

    @contextlib.contextmanager
    def server(self) -> Iterator[tuple[str, list[int]]]:
        """A server at the head; gives its URL, and at the end the number of its requests."""
        counted: list[int] = []
        words = self.command(HEAD, sys.executable, "-c", SERVER)
        with process(words, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
            assert started.stdout is not None
            yield started.stdout.readline().strip(), counted
            text, _ = started.communicate(timeout=30)
            counted.append(int(text))


@contextlib.contextmanager
def networked_cluster(directory: Path) -> Iterator[NetworkedCluster]:
    """The cluster, while the context lasts; skips the test where no namespaces or devices can be made.

    Args:
        directory: for Ray's files, with a short name: sockets are in it.
    """
    if os.geteuid() != 0 or not os.access("/dev/net/tun", os.W_OK):
        pytest.skip("network namespaces and TAP devices need root and /dev/net/tun")
    near, far, hubs = f"lgn{os.getpid()}", f"lgf{os.getpid()}", (f"lgm{os.getpid()}", f"lgg{os.getpid()}")
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(namespaces("head", "near", "far"))
        names = dict(zip((HEAD, NEAR, FAR), made, strict=True))
        ip("link", "add", near, "netns", names[NEAR], "type", "veth", "peer", "name", hubs[0], "netns", names[HEAD])
        words = [sys.executable, str(SUPPORT / "delayed_link.py"), far, hubs[1], str(DELAY_S)]
        link = stack.enter_context(process(words, **PIPED))
        assert link.stdout is not None
        assert link.stdout.readline() == "ready\n"
        ip("link", "set", far, "netns", names[FAR])
        ip("link", "set", hubs[1], "netns", names[HEAD])
        ip("-n", names[HEAD], "link", "add", "hub", "type", "bridge")
        for hub in hubs:
            ip("-n", names[HEAD], "link", "set", hub, "master", "hub")
            ip("-n", names[HEAD], "link", "set", hub, "up")
        for address, device in ((HEAD, "hub"), (NEAR, near), (FAR, far)):
            ip("-n", names[address], "addr", "add", f"{address}/24", "dev", device)
            ip("-n", names[address], "link", "set", device, "up")
        cluster = NetworkedCluster(names, {NEAR: near, FAR: far})
        for address in (HEAD, NEAR, FAR):
            joined = ["--address", f"{HEAD}:{PORT}", "--num-cpus", "2"]
            if address == HEAD:
                joined = ["--head", "--port", str(PORT), "--num-cpus", "0", "--include-dashboard", "false"]
                joined += ["--temp-dir", str(directory)]
            ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--node-ip-address", address]
            ray += ["--object-store-memory", str(STORE_BYTES), *joined]
            node = stack.enter_context(process(cluster.command(address, *ray), **PIPED))
            assert node.stdout is not None
            log = ""
            while "Ray runtime started" not in log:
                line = node.stdout.readline()
                assert line, log
                log += line
        yield cluster
