"""Machines to plan on."""

from __future__ import annotations

from frontend_launch.launch.topology import Topology, describe

BIG = describe("cpus=0-31,gpus=0-1")


def machine(cores: int, gpus: int = 0) -> Topology:
    """A machine with this number of cores and GPUs, which a plan takes for the one that it is made on."""
    return Topology(tuple(range(cores)), tuple(range(gpus)), "here")
