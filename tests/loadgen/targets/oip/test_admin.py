"""What a server says of itself, over gRPC."""

import asyncio
import socket

import grpc
import grpc.aio
import pytest

from loadgen.cli.console import worded
from loadgen.errors import ConfigError, MisfitError, TargetError, UnreachableError
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.oip.admin import NotOfferedError, describe
from loadgen.targets.oip.tensors import Tensor

METADATA = pb.ModelMetadataResponse(name="m", platform="test")
METADATA.inputs.add(name="IN", datatype="FP32", shape=[-1, 4])
METADATA.outputs.add(name="OUT", datatype="FP32", shape=[-1, 2])


async def described(inputs=(), **answers):
    """Ask a server that answers these methods, with a status or a message, and no others."""

    def handler(answer):
        async def behave(_request, context):
            if isinstance(answer, grpc.StatusCode):
                await context.abort(answer)
            return answer

        return grpc.unary_unary_rpc_method_handler(
            behave, response_serializer=lambda message: message.SerializeToString()
        )

    server = grpc.aio.server()
    handlers = {method: handler(answer) for method, answer in answers.items()}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        return await describe(parse_address(f"oip+grpc://127.0.0.1:{port}/m"), Access(), inputs)
    finally:
        await server.stop(None)


ABOUT = {"ServerMetadata": pb.ServerMetadataResponse(name="test", version="1"), "ModelMetadata": METADATA}


@pytest.mark.parametrize("more", [{}, {"ModelConfig": pb.ModelConfigResponse()}], ids=["not offered", "empty"])
def test_a_server_without_configurations(more):
    """Of its models is loaded all the same; how many instances there are is not known."""
    about, model = asyncio.run(described(**ABOUT, **more))
    assert (about.name, model.name) == ("test", "m")
    assert (model.max_batch, model.instances) == (None, None)


def test_a_server_without_the_model():
    """Is refused, by what it said."""
    with pytest.raises(TargetError, match="ModelMetadata"):
        asyncio.run(described(ServerMetadata=ABOUT["ServerMetadata"]))


def test_a_server_that_takes_calls_and_answers_none():
    """It has not answered, whatever gRPC calls that."""
    with pytest.raises(UnreachableError, match=r"/m: no answer within 10 s; is a server running there\?$"):
        asyncio.run(described(ServerMetadata=grpc.StatusCode.DEADLINE_EXCEEDED))


def test_a_server_that_is_down_over_grpc():
    """In words of a reader, not in those of the library."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"oip+grpc://127.0.0.1:{closed.getsockname()[1]}/m"
        with pytest.raises(UnreachableError) as down:
            asyncio.run(describe(parse_address(url), Access()))
    assert str(down.value) == (
        f"{url}: cannot be reached: Connection refused; start the server, or correct the address"
    )


async def described_over_http(answer, path="m"):
    """Ask a server that answers everything with these bytes."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return await describe(parse_address(f"oip+http://127.0.0.1:{port}/{path}"), Access())


@pytest.mark.parametrize("status", [b"301 Moved", b"307 Temporary Redirect"])
def test_a_server_that_is_elsewhere(status):
    """Requests would not go there, whatever questions do."""
    answer = b"HTTP/1.1 %s\r\nLocation: https://other/v2\r\nContent-Length: 0\r\n\r\n" % status
    with pytest.raises(MisfitError, match=r"/v2: redirects to https://other/v2; use that for target") as refused:
        asyncio.run(described_over_http(answer))
    assert worded(refused.value).endswith("use that for --target")


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (b"401 Unauthorized", MisfitError, "/v2: answered with 401: Unauthorized"),
        (b"403 Forbidden", MisfitError, "/v2: answered with 403: Forbidden"),
        (b"404 Not Found", NotOfferedError, "404: Not Found; any other HTTP server is loaded with http://"),
    ],
)
def test_a_server_that_does_not_tell(status, error, text):
    """Waiting gives no rights; a server that still starts may not know its own paths yet."""
    answer = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status
    with pytest.raises(error, match=text):
        asyncio.run(described_over_http(answer))


DECOUPLED = pb.ModelConfigResponse(config={"name": "m", "model_transaction_policy": {"decoupled": True}})
SEQUENCES = pb.ModelConfigResponse(config={"name": "m", "sequence_batching": {}})


@pytest.mark.parametrize(("config", "reason"), [(DECOUPLED, "m is decoupled"), (SEQUENCES, "m takes sequences")])
def test_models_that_cannot_be_loaded(config, reason):
    """Are refused before any load."""
    with pytest.raises(ConfigError, match=f"/m: {reason} .*; name another model"):
        asyncio.run(described(**ABOUT, ModelConfig=config))


def test_inputs_that_a_request_may_leave_out():
    """The configuration tells them, also where the inputs are written by hand."""
    config = pb.ModelConfigResponse(config={"name": "m", "input": [{"name": "IN"}, {"name": "B", "optional": True}]})
    for inputs in ((), (Tensor("A", "FP32", (-1, 4)),)):
        _, model = asyncio.run(described(inputs=inputs, **ABOUT, ModelConfig=config))
        assert model.optional == ("B",)


def test_inputs_that_are_written_by_hand():
    """The server need not say anything of itself or the model then."""
    inputs = (Tensor("A", "FP32", (-1, 4)),)
    for answers in ({}, {"ServerMetadata": ABOUT["ServerMetadata"]}, ABOUT):
        _, model = asyncio.run(described(inputs=inputs, **answers))
        assert model.inputs == inputs
