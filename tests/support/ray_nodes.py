"""A Ray cluster of three nodes on this machine, with tiny object stores."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

STORE_BYTES = 80 << 20
CLIENTS = "loadgen.load.client_process"
"""Module of a client process."""


class Part(NamedTuple):
    """A process that an actor supervises.

    Attributes:
        words: of its command line.
        actor: the process of the actor.
        raylet: the process that manages the node.
    """

    words: list[str]
    actor: int
    raylet: int


class Nodes:
    """A cluster of three nodes."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster  # behind an extra

        port = _free_port()
        head = {
            "num_cpus": 3,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            "ray_client_server_port": port,
        }
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # Ray leaves its logs open
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._others = [self._cluster.add_node(num_cpus=3, object_store_memory=STORE_BYTES) for _ in range(2)]
        self.address = self._cluster.address
        self.client_server = f"ray://127.0.0.1:{port}"

    def raylets(self) -> set[int]:
        """The processes that manage the nodes."""
        nodes = (self._cluster.head_node, *self._others)
        return {_raylet(node) for node in nodes}

    def others(self) -> set[int]:
        """The same but that of the first node, where runs are started."""
        return {_raylet(node) for node in self._others}

    def add(self, environment: Mapping[str, str]) -> None:
        """One more node.

        Args:
            environment: variables of its processes.
        """
        variables = dict(environment)
        self._others.append(self._cluster.add_node(num_cpus=3, object_store_memory=STORE_BYTES, env_vars=variables))

    def kill_head(self, *names: str) -> None:
        """Processes of the head; the other nodes stay until they miss it.

        Args:
            *names: of the processes, as Ray has them; without any, those of the cluster and of its first node.
        """
        for name in names or ("gcs_server", "raylet"):
            os.kill(self._cluster.head_node.all_processes[name][0].process.pid, signal.SIGKILL)

    def kill_raylet(self, pid: int = 0) -> None:
        """Of one of the others, which no later run has any more.

        Args:
            pid: of its raylet; 0 for that of the last node.
        """
        pids = [_raylet(node) for node in self._others]
        place = pids.index(pid) if pid else -1
        del self._others[place]
        os.kill(pids[place], signal.SIGKILL)

    def connections(self) -> int:
        """How often a program has connected to it."""
        from ray._raylet import GcsClient  # behind an extra

        return len(GcsClient(address=self.address).get_all_job_info())

    def parts(self) -> dict[int, Part]:
        """The processes of deployments and the clients on it, by their numbers."""
        raylets, found = self.raylets(), {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                words = (path / "cmdline").read_text(errors="replace").split("\0")
                actor = _parent(int(path.name))
                raylet = _parent(actor)
                if ("serve" in words or CLIENTS in words) and raylet in raylets:
                    found[int(path.name)] = Part(words, actor, raylet)
        return found

    def shutdown(self) -> None:
        self._cluster.shutdown()


class Head(NamedTuple):
    """A cluster of one node, which wants a token.

    Attributes:
        address: of the cluster.
        client_server: the same by its client server.
        directory: the value of RAY_TMPDIR with which Ray finds it on this machine.
    """

    address: str
    client_server: str
    directory: str


@contextmanager
def head_with_token(token: str) -> Iterator[Head]:
    """A cluster of one node that lets in who has the token, while the context lasts."""
    port, client_server = _free_port(), _free_port()
    with tempfile.TemporaryDirectory() as directory:
        options = [f"--port={port}", f"--ray-client-server-port={client_server}", "--include-dashboard=false"]
        options += ["--num-cpus=1", f"--object-store-memory={STORE_BYTES}", f"--temp-dir={directory}/ray"]
        command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", *options]
        environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as head:
            assert head.stdout is not None
            try:
                assert any(b"Ray runtime started" in line for line in head.stdout), "it ended"
                yield Head(f"127.0.0.1:{port}", f"ray://127.0.0.1:{client_server}", directory)
            finally:
                head.terminate()  # it ends the processes of the cluster
                head.communicate()


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def _parent(pid: int) -> int:
    """The number of the process that started a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        return int(probe.getsockname()[1])


def own_address() -> str:
    """An address of this machine that is no loopback address, as other machines would use it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
