"""The ways to start clients, and what workers elsewhere can reach."""

import asyncio
import re
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import uvloop
from cluster_of_tests import CLIPPER, answering, seats

from frontend_launch.launch.cluster import ClusterTopology, Node
from frontend_launch.launch.placement import Assignment
from frontend_launch.launch.topology import Topology, describe
from loadgen.config import Client, ExperimentConfig
from loadgen.errors import ConfigError, FieldError
from loadgen.load.runner import Hooks
from loadgen.plan import survey
from loadgen.served import Deploy, External
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.balanced import BalancedSpec
from loadgen.targets.http1 import HttpSpec
from loadgen.targets.http_answers import AnyAnswers
from loadgen.targets.oip.grpc_target import OipGrpcSpec
from loadgen.workers import clusters, supervisor
from loadgen.workers.leader import leading
from loadgen.workers.messages import Identity
from loadgen.workers.reach import only_here
from loadgen.workers.supervisor import cores_of
from model_containers.extras import remedy

HERE = Assignment("here", "client", (0,), None, shared=True)


@pytest.mark.parametrize("text", ["ray", "ray:local", "ray://10.0.0.1:10001", "ray://head.example:10001"])
def test_a_cluster_is_named(text):
    """In any of three ways; the clients on this machine are one then, which leads."""
    assert (Client(4, workers=text).here, Client(4).here) == (1, 4)


@pytest.mark.parametrize("text", ["", "Ray", "ray:", "ray://", "ray://host", "ray://host:port", "dask", "ray:remote"])
def test_what_names_no_cluster_is_refused(text):
    """With the value and what to write."""
    with pytest.raises(FieldError, match="workers"):
        Client(4, workers=text)


def test_without_the_extra_one_line_names_it(monkeypatch):
    """Before anything is started."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    serve = External.at("oip+grpc://127.0.0.1:1/model")
    with pytest.raises(ConfigError, match=re.escape(f"workers ray: needs ray, grpc; {remedy('ray')}")):
        asyncio.run(survey(ExperimentConfig(serve, client=Client(2, workers="ray"))))


def test_a_broken_installation_is_one_line(monkeypatch):
    """Which names what is missing."""
    monkeypatch.setitem(sys.modules, "loadgen.workers.ray_cluster", None)
    with pytest.raises(ConfigError, match=rf"workers ray:local: needs .*; {re.escape(remedy('ray'))}"):
        clusters.workers_of("ray:local")


def test_senders_of_a_cluster_lead_its_workers(monkeypatch):
    """With the cores of replicas and frontends, beside which no worker is wanted."""
    served = (replace(HERE, role="frontends", node="a"), replace(HERE, role="replica-0", node="a", cores=(7,)))
    asked = []

    class Started:
        def __init__(self, *arguments):
            asked.append(arguments)

        async def __aenter__(self):
            return seats(2, 1)

        async def __aexit__(self, *error):
            pass

    module = ModuleType("fake")
    module.workers = Started  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake", module)
    monkeypatch.setitem(clusters.CLUSTERS, "ray", "fake")

    async def scenario():
        async with answering() as (_, job), clusters.senders(Client(2, workers="ray"), HERE, served) as senders:
            return (await senders.run(job, asyncio.Event(), Hooks())).sent

    assert uvloop.run(scenario()) == 300
    assert asked == [("ray", 2, {"a": (*HERE.cores, 7)})]


NODE = Topology((0, 1), (), "a (1)")
IN_WORDS = replace(describe("cpus=0-3"), node="node-0")


@pytest.mark.parametrize(
    ("workers", "topology", "cluster", "expected"),
    [
        (None, NODE, None, {}),
        ("ray", NODE, None, {"a (1)": 2, "b (2)": 1}),
        ("ray", NODE, ClusterTopology((NODE,)), {"a (1)": 2, "b (2)": 1}),
        ("ray", IN_WORDS, None, {}),
        ("ray", IN_WORDS, ClusterTopology((IN_WORDS,)), {"node-0": 3}),
    ],
    ids=["here", "clients only", "with replicas", "one machine in words", "nodes in words"],
)
def test_a_plan_says_where_clients_go(monkeypatch, workers, topology, cluster, expected):
    """By the nodes that a cluster has, or those in words."""

    async def nodes(cluster):
        return {"a (1)": Node("1", "a", "1", 4), "b (2)": Node("2", "b", "2", 2)}

    module = ModuleType("fake")
    module.nodes = nodes  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake", module)
    monkeypatch.setitem(clusters.CLUSTERS, "ray", "fake")
    known = asyncio.run(survey(ExperimentConfig(Deploy("noop", topology=IN_WORDS))))
    context = replace(known, topology=topology, cluster=cluster)
    assert asyncio.run(clusters.planned(Client(3, workers=workers), context, ())) == expected


def test_senders_of_this_machine_are_its_clients():
    """Without workers nothing is elsewhere."""

    async def scenario():
        async with clusters.senders(Client(), HERE, ()) as senders:
            return senders.workers, senders.elsewhere

    assert uvloop.run(scenario()) == (None, ())


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (CLIPPER, None),
        (replace(CLIPPER, request_address="tcp://127.0.0.1:4456"), "tcp://127.0.0.1:4456"),
        (replace(CLIPPER, request_address="tcp://[::1]:4456"), "tcp://[::1]:4456"),
        (replace(CLIPPER, request_address="ipc:///run/x"), "ipc:///run/x"),
        (BalancedSpec((CLIPPER, replace(CLIPPER, request_address="ipc:///run/x"))), "ipc:///run/x"),
        (HttpSpec(parse_address("http://10.0.0.1/"), Access(), AnyAnswers(), 4), None),
        (OipGrpcSpec(parse_address("oip+grpc://localhost:1/m"), Access(), ()), "oip+grpc://localhost:1/m"),
    ],
    ids=["network", "loopback", "version 6", "socket file", "one of several", "http", "localhost"],
)
def test_an_address_of_this_machine_only_is_found(target, found):
    """Workers elsewhere would reach something else there, or nothing."""
    assert only_here(target) == found


def test_a_server_that_workers_elsewhere_cannot_reach_is_refused(monkeypatch):
    """With the address, the worker and what to do."""
    elsewhere = Identity("away", supervisor.identity().version, "another boot")

    async def identity(self):
        return elsewhere

    monkeypatch.setattr(supervisor.Supervisor, "identity", identity)

    async def scenario():
        async with answering() as (_, job), leading("ray", seats(1, 1)) as led:
            await led.run(job, asyncio.Event(), Hooks())

    with pytest.raises(
        ConfigError, match=r"workers ray: worker-0 on node-0 \(10.0.0.0\) cannot reach http://127.0.0.1"
    ):
        uvloop.run(scenario())


def test_clients_keep_off_the_cores_of_replicas():
    """As long as there are others."""
    machine = describe("cpus=0-3")
    assert [row.cores for row in cores_of(machine, "worker-0", (0,), 2, (1, 3))] == [(0,), (2,)]
    assert [row.cores for row in cores_of(machine, "worker-0", (0,), 2, (1, 2, 3))] == [(0,), (1,)]


@pytest.mark.parametrize(
    ("machine", "clients", "cpus", "cores"),
    [
        (describe("cpus=0-3"), (0,), 2, [(0,), (1,)]),
        (describe("cpus=0-3"), (1, 4), 3, [(0,), (1,), (2,)]),
        (describe("cpus=0-3"), (0, 1, 2), 2, [(0,), (1,), (1,), (1,)]),
        (describe("cpus=5"), (0, 1), 1, [(5,), (5,), (5,)]),
    ],
    ids=["one client", "two clients", "too few cores", "one core"],
)
def test_a_worker_keeps_the_first_core(machine: Topology, clients, cpus, cores):
    """For itself and the cluster's processes; its clients have the next ones, as many as were reserved."""
    own, *rows = cores_of(machine, "worker-3", clients, cpus)
    assert [own.cores, *(row.cores for row in rows)] == cores
    assert [own.role, *(row.role for row in rows)] == ["worker-3", *(f"client-{number}" for number in clients)]
    assert own.shared is (len(machine.cores) == 1)
    assert all(row.shared is (len({row.cores for row in rows}) < len(rows) or own.shared) for row in rows)
