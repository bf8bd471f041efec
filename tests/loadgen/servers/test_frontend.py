"""What a frontend that runs already says of the model it serves."""

import asyncio
import socket

import pytest
from aiohttp import web

from frontend_launch.frontends.management import make_app
from frontend_launch.frontends.store import MemoryStore
from frontend_launch.ports import Ports
from frontend_launch.records import Application, ModelVersion, ReplicaRecord
from loadgen.results.sections import NodeConfig
from loadgen.served import Frontend
from loadgen.servers.frontend import connect
from model_containers.data_types import DataType
from model_containers.model import Description, TensorSpec

MODEL = Description(
    name="own",
    framework="none",
    input=TensorSpec((4,), "float32"),
    output=TensorSpec((1,), "float32"),
    takes=("floats",),
)


async def described(store, link=True):
    """The node of an application `app`, whose model `net` has versions 1 and 2, the second current."""
    await store.add_application(Application("app", DataType.DOUBLES, "none", 20_000))
    for version, image in (("1", "old"), ("2", "NO_CONTAINER")):
        await store.add_model(ModelVersion("net", version, DataType.DOUBLES, ("",), image, "x", 8))
    await store.set_current_version("net", "2")
    if link:
        await store.link_model("app", "net")
    for number in range(3):
        await store.add_replica(ReplicaRecord("net", "2", number, number, DataType.DOUBLES))
    runner = web.AppRunner(make_app(store), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports = Ports(1, 1, 1, 1, runner.addresses[0][1])
        server = await connect(Frontend("noop", host="127.0.0.1", application="app", ports=ports), MODEL)
    finally:
        await runner.cleanup()
    assert server.default_output == b"none"
    return server.facts.node


@pytest.mark.parametrize(
    ("link", "node"),
    [
        (True, NodeConfig("net", "doubles", "", [], 0, 20_000, 3, [], 0, runtime=None)),
        (False, NodeConfig("own", "doubles", "", [], 0, 20_000, 0, [], 0, runtime=None)),
    ],
)
def test_the_node_of_a_frontend_that_runs_already(link, node):
    """Its objective, its model and its replicas, where it is linked; what it does not say is empty or 0."""
    assert asyncio.run(described(MemoryStore(), link)) == node


def test_the_node_of_a_frontend_without_management():
    """Only what the user named is known."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ports = Ports(1, 1, 1, 1, closed.getsockname()[1])
        server = asyncio.run(connect(Frontend("noop", host="127.0.0.1", ports=ports), MODEL))
    assert server.facts.node == NodeConfig("own", "floats", "", [], 0, 0, 0, [], 0, runtime=None)
    assert server.notes
