"""What a null server answers in place of an external server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from loadgen.load.inputs import InputSource
from loadgen.load.target import TargetSpec
from loadgen.servers.null_server import NullAnswer
from loadgen.targets.http1 import HttpSpec, TensorAnswers
from loadgen.targets.http_answers import AnyAnswers, JsonAnswers
from loadgen.targets.oip.grpc_target import OipGrpcSpec
from loadgen.targets.oip.messages import grpc_answer, http_answer, prefixed
from loadgen.targets.oip.requests import RequestInputs
from loadgen.targets.oip.tensors import HEADER_LENGTH

MOST_ITEMS = 1000
"""The longest list in an answer in JSON, which must have the element that a path names."""


def answer_of(spec: TargetSpec, inputs: InputSource) -> NullAnswer | None:
    """The answers of a null server in place of a server; None for a server behind TLS, which null servers lack.

    Args:
        spec: how the server is reached.
        inputs: what is sent to it.
    """
    match spec:
        case OipGrpcSpec(address) if not address.tls:
            return NullAnswer("http2", prefixed(grpc_answer(spec.outputs)))
        case HttpSpec(address, answers=TensorAnswers(outputs)) if not address.tls:
            binary = isinstance(inputs, RequestInputs) and inputs.binary
            body, json_bytes = http_answer(outputs, binary=binary)
            return NullAnswer("http1", _http(body, {} if json_bytes is None else {HEADER_LENGTH: json_bytes}))
        case HttpSpec(address, answers=JsonAnswers(path)) if not address.tls:
            return NullAnswer("http1", _http(json.dumps(_with(path)).encode(), {}))
        case HttpSpec(address, answers=AnyAnswers()) if not address.tls:
            return NullAnswer("http1", _http(b"", {}))
    return None


def spec_at(spec: TargetSpec, port: int) -> TargetSpec:
    """The target of the same client at a null server.

    Args:
        spec: of one that `answer_of` knows.
        port: of the null server, on this machine.
    """
    assert isinstance(spec, OipGrpcSpec | HttpSpec)
    return replace(
        spec, address=replace(spec.address, text="the null server", host="127.0.0.1", port=port, unix_socket="")
    )


def _http(body: bytes, headers: Mapping[str, int]) -> bytes:
    fields = {"content-type": "application/json", "content-length": len(body), **headers}
    return "".join(["HTTP/1.1 200 OK\r\n", *(f"{k}: {v}\r\n" for k, v in fields.items()), "\r\n"]).encode() + body


def _with(path: Sequence[str | int]) -> Any:
    """The smallest JSON with a value at a path."""
    if not path:
        return ""
    step, *rest = path
    if isinstance(step, str):
        return {step: _with(rest)}
    return [_with(rest)] * min(step + 1, MOST_ITEMS)
