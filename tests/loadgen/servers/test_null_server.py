"""The null server answers each protocol as the client wants it."""

import asyncio
import os
import subprocess
import sys

import pytest
from program import alive, until
from typing_extensions import override

from loadgen.load.inputs import Pool, SeededInputs, request_pool
from loadgen.load.job import Job
from loadgen.load.runner import run
from loadgen.load.target import Outcome, TargetSpec
from loadgen.servers.null_process import null_answer, null_server
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.balanced import BalancedSpec
from loadgen.targets.clipper import ClipperSpec
from loadgen.targets.http1 import HttpSpec, TensorAnswers
from loadgen.targets.http_answers import AnyAnswers, JsonAnswers
from loadgen.targets.oip.grpc_target import OipGrpcSpec
from loadgen.targets.oip.requests import RequestInputs, SeededContents
from loadgen.targets.oip.tensors import Tensor
from model_containers.data_types import DataType
from model_containers.model import TensorSpec

OUTPUTS = (Tensor("numbers", "FP32", (1, -1, 3)), Tensor("words", "BYTES", (2,)), Tensor("half", "FP16", (1,)))
LARGE = (Tensor("numbers", "FP32", (1, 50_000)),)


def clipper(over: str, output_bytes: int | None = 4, kind: DataType = DataType.FLOATS) -> ClipperSpec:
    return ClipperSpec(f"{over}://x", f"{over}://y", "any", kind, output_bytes, b"", keep_outputs=False)


def oip(protocol: str, outputs: tuple[Tensor, ...], elements: int, *, binary: bool = True):
    """A target of the Open Inference Protocol with its requests."""
    address = parse_address(f"oip+{protocol}://127.0.0.1:1/model")
    contents = SeededContents((Tensor("x", "FP32", (elements,)),), 3, 0)
    inputs = RequestInputs(contents, address, Access(), outputs, binary)
    if protocol == "grpc":
        return OipGrpcSpec(address, Access(), outputs, connections=2), inputs
    return HttpSpec(address, Access(), TensorAnswers(outputs), connections=4), inputs


def floats(elements: int) -> SeededInputs:
    return SeededInputs(TensorSpec((elements,), "float32"), None, 3, 0)


class Json(SeededInputs):
    """Whole requests of JSON."""

    @override
    def make(self) -> Pool:
        return request_pool([b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"], "tests")


CASES = {
    "clipper over ipc": lambda: (clipper("ipc"), floats(2)),
    "clipper over tcp": lambda: (clipper("tcp"), floats(2)),
    "clipper, large": lambda: (clipper("ipc", 200_000), floats(50_000)),
    "clipper, text": lambda: (clipper("tcp", None, DataType.STRINGS), floats(2)),
    "two frontends": lambda: (BalancedSpec((clipper("ipc"), clipper("ipc"))), floats(2)),
    "grpc": lambda: oip("grpc", OUTPUTS, 8),
    "grpc, large": lambda: oip("grpc", LARGE, 300_000),
    "http": lambda: oip("http", OUTPUTS, 8),
    "http, large": lambda: oip("http", LARGE, 300_000),
    "http without binary tensors": lambda: oip("http", OUTPUTS[:2], 8, binary=False),
    "json": lambda: (
        HttpSpec(parse_address("http+json://127.0.0.1:1/x"), Access(), JsonAnswers(("choices", 2, "text")), 2),
        Json(TensorSpec((1,), "float32"), None, 1, 0),
    ),
    "any http": lambda: (any_http(head=False), Json(TensorSpec((1,), "float32"), None, 1, 0)),
    "head": lambda: (any_http(head=True), Json(TensorSpec((1,), "float32"), None, 1, 0)),
}


def any_http(*, head):
    return HttpSpec(parse_address("http://127.0.0.1/x"), Access(), AnyAnswers(), 2, head=head)


def job(spec: TargetSpec, inputs, requests: int = 300) -> Job:
    return Job(spec, inputs, 16, None, requests, 0.0, None, 10.0, None, 3600.0, 5.0)


async def answered(spec: TargetSpec, inputs) -> dict[Outcome, int]:
    answer = null_answer(spec, inputs)
    assert answer is not None
    async with null_server(answer, ()) as server:
        record = await run(job(server.instead_of(spec), inputs))
    assert not record.failures
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    return record.outcomes


@pytest.mark.parametrize("name", CASES)
def test_every_request_is_answered_as_it_should_be(name):
    """And the process is gone afterwards."""
    spec, inputs = CASES[name]()
    outcomes = asyncio.run(answered(spec, inputs))
    assert outcomes.pop(Outcome.COMPLETED) == 300
    assert not any(outcomes.values())


PARENT = """
import asyncio
from loadgen.servers.null_process import null_server
from loadgen.servers.null_server import NullAnswer

async def main():
    async with null_server(NullAnswer("http1", b""), ()) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_it_ends_with_its_parent():
    """Even where that is killed."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    until(lambda: not alive(pid))
