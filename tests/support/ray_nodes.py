"""A Ray cluster of three nodes on this machine, with tiny object stores."""

from __future__ import annotations

import os
import signal
import socket
import warnings

STORE_BYTES = 80 << 20


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
        return {node.all_processes["raylet"][0].process.pid for node in nodes}

    def kill_raylet(self) -> None:
        """Of the last node, which no later run has any more."""
        os.kill(self._others.pop().all_processes["raylet"][0].process.pid, signal.SIGKILL)

    def shutdown(self) -> None:
        self._cluster.shutdown()


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
