"""The null server in place of a server: its answers, its process, and the target that sends to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from frontend_launch import scratch
from frontend_launch.children import Command, start
from frontend_launch.errors import LaunchError
from loadgen.load.inputs import InputSource
from loadgen.load.target import TargetSpec
from loadgen.servers.null_server import NullAnswer
from loadgen.targets.balanced import BalancedSpec
from loadgen.targets.clipper import ClipperSpec
from model_containers import credentials
from model_containers.credentials import VARIABLE, Credentials
from model_containers.data_types import DataType


@dataclass(frozen=True, slots=True)
class NullServer:
    """A null server that is up.

    Attributes:
        pid: its process.
        addresses: where it listens, as it said.
        credentials: for clients; None for none.
    """

    pid: int
    addresses: Mapping[str, Any]
    credentials: Credentials | None = None

    def instead_of(self, spec: TargetSpec) -> TargetSpec:
        """The target of the same client with this server in place of its own."""
        match spec:
            case BalancedSpec(specs):
                return BalancedSpec(tuple(map(self.instead_of, specs)))
            case ClipperSpec():
                request, response = self.addresses["request"], self.addresses["response"]
                return replace(spec, request_address=request, response_address=response, credentials=self.credentials)
            case _:
                from loadgen.servers import null_remote  # noqa: PLC0415 - behind an extra

                return null_remote.spec_at(spec, self.addresses["port"])


def null_answer(spec: TargetSpec, inputs: InputSource) -> NullAnswer | None:
    """What a null server answers in place of a server; None for one behind TLS, which no null server speaks.

    Args:
        spec: how the server is reached.
        inputs: what is sent to it.
    """
    match spec:
        case BalancedSpec(specs):
            return null_answer(specs[0], inputs)
        case ClipperSpec():
            local = spec.request_address.startswith("ipc:")
            output_type = DataType.FLOATS if spec.output_type is None else spec.output_type
            output = bytes(spec.output_bytes or output_type.element_bytes)
            own = None if spec.credentials is None else credentials.make()
            return NullAnswer("clipper-ipc" if local else "clipper-tcp", output, int(output_type), own)
        case _:
            from loadgen.servers import null_remote  # noqa: PLC0415 - behind an extra

            return null_remote.answer_of(spec, inputs)


@contextlib.asynccontextmanager
async def null_server(answer: NullAnswer, cores: tuple[int, ...]) -> AsyncIterator[NullServer]:
    """A null server on some cores, while the context lasts; it ends with this process too.

    Args:
        answer: its configuration.
        cores: where it runs.

    Raises:
        LaunchError: it cannot be started.
    """
    with scratch.directory() as directory:
        path = directory / "answer"
        path.write_bytes(answer.answer)
        arguments = ["-m", "loadgen.servers.null_server", answer.protocol, str(path), str(answer.output_type)]
        wanted = {VARIABLE: "" if answer.credentials is None else answer.credentials.to_json()}
        process = await start(Command("null-server", arguments, cores, wanted), directory, read_stdout=True)
        try:
            line = await process.stdout.readline()
            if not line:
                raise LaunchError("the null server did not start", await process.log_tail())
            yield NullServer(process.pid, json.loads(line), answer.credentials)
        finally:
            await process.stop()
