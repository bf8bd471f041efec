"""A server is reached directly, whatever proxies the environment names: a proxy would be measured with it."""

import asyncio
import contextlib
import json
import socket

import grpc
import grpc.aio
import pytest
import uvloop

from loadgen.load.job import Job
from loadgen.load.runner import Hooks, run
from loadgen.load.target import Outcome
from loadgen.servers.remote_readings import RemoteReadings
from loadgen.targets.address import parse_address
from loadgen.targets.discover import discover_remote
from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.remote import RequestOptions, TargetOptions

TENSOR = {"name": "IN", "datatype": "FP32", "shape": [2]}
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
METRICS = "# TYPE a gauge\na 1\n"


@pytest.fixture
def proxies(monkeypatch):
    """A port that each variable names, in both spellings, and to which no client may connect."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for name in VARIABLES:
            for spelled in (name, name.upper()):
                monkeypatch.setenv(spelled, f"http://127.0.0.1:{listening.getsockname()[1]}")
        for name in ("no_proxy", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        yield
        listening.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection, _ = listening.accept()
            connection.close()
            pytest.fail("something went through the proxy")


async def used(address, **options):
    """Ask a server about itself, read its metrics, and load it."""
    remote = await discover_remote(TargetOptions(parse_address(address), **options))
    await remote.check_available()
    async with RemoteReadings(remote) as readings:
        assert options.get("metrics_url") is None or await readings._prometheus() == METRICS
    inputs = remote.inputs(RequestOptions(1, None, 1, 0))
    job = Job(remote.spec(1, 1, None), inputs, 1, None, 3, 0.0, None, 5.0, None, 1.0, 0.0)
    record = await run(job, hooks=Hooks(on_interval=lambda _: None))
    assert record.failures == {}
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 3


async def over_http(scheme, path, **options):
    """The same of a server that answers everything with what each of the questions wants."""
    answer = {"name": "m", "versions": [], "platform": "p", "extensions": [], "inputs": [TENSOR]}
    body = json.dumps({**answer, "outputs": [{**TENSOR, "data": [1.0, 2.0]}], "model_name": "m"}).encode()

    async def serve(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
                said = METRICS.encode() if head.startswith(b"GET /metrics") else body
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await used(f"{scheme}://{address}/{path}", metrics_url=f"http://{address}/metrics", **options)


async def over_grpc():
    """The same of a server of gRPC's own library."""
    about = pb.ModelMetadataResponse(name="m", platform="test")
    about.inputs.add(**TENSOR)
    answers = {
        "ServerMetadata": pb.ServerMetadataResponse(name="test", version="1"),
        "ModelMetadata": about,
        "ModelInfer": pb.ModelInferResponse(model_name="m"),
    }

    def handler(answer):
        async def behave(_request, _context):
            return answer

        return grpc.unary_unary_rpc_method_handler(behave, response_serializer=type(answer).SerializeToString)

    server = grpc.aio.server()
    handlers = {method: handler(answer) for method, answer in answers.items()}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await used(f"oip+grpc://127.0.0.1:{port}/m")
    finally:
        await server.stop(None)


@pytest.mark.usefixtures("proxies")
@pytest.mark.parametrize(
    ("scheme", "path", "options"), [("oip+http", "m", {}), ("http+json", "", {"body": '"$input"'})]
)
def test_http_never_goes_through_a_proxy(scheme, path, options):
    """Neither questions nor metrics nor load."""
    uvloop.run(over_http(scheme, path, **options))


@pytest.mark.usefixtures("proxies")
def test_grpc_never_goes_through_a_proxy():
    """Neither questions, which its own library asks, nor load."""
    asyncio.run(over_grpc())
