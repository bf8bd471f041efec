"""The registry of target specs, and of all other types that a job for another machine is made of, by name. Pure.

A job crosses machines as text: a type that is not in the registry neither leaves nor enters.
"""

from __future__ import annotations

import pkgutil
from typing import Any

TYPES = {
    "job": "loadgen.load.job:Job",
    # Targets, and what their answers should be.
    "clipper": "loadgen.targets.clipper:ClipperSpec",
    "balanced": "loadgen.targets.balanced:BalancedSpec",
    "http": "loadgen.targets.http1:HttpSpec",
    "oip-grpc": "loadgen.targets.oip.grpc_target:OipGrpcSpec",
    "any-answers": "loadgen.targets.http_answers:AnyAnswers",
    "json-answers": "loadgen.targets.http_answers:JsonAnswers",
    "tensor-answers": "loadgen.targets.http1:TensorAnswers",
    "address": "loadgen.targets.address:Address",
    "wire-protocol": "loadgen.targets.address:WireProtocol",
    "access": "loadgen.targets.access:Access",
    "credentials": "model_containers.credentials:Credentials",
    "tensor": "loadgen.targets.oip.tensors:Tensor",
    # Inputs.
    "seeded-inputs": "loadgen.load.inputs:SeededInputs",
    "file-inputs": "loadgen.load.input_files:FileInputs",
    "endpoint-inputs": "loadgen.targets.http_endpoint:EndpointInputs",
    "request-inputs": "loadgen.targets.oip.requests:RequestInputs",
    "seeded-contents": "loadgen.targets.oip.requests:SeededContents",
    "file-contents": "loadgen.targets.oip.requests:FileContents",
    "tensor-spec": "model_containers.model:TensorSpec",
    "image-options": "loadgen.load.image_layout:ImageOptions",
    "target-options": "loadgen.targets.remote:TargetOptions",
    "request-options": "loadgen.targets.remote:RequestOptions",
    "no-body": "loadgen.targets.bodies:NoBody",
    "json-body": "loadgen.targets.bodies:JsonBody",
    "text-body": "loadgen.targets.bodies:TextBody",
    "whole-body": "loadgen.targets.bodies:WholeBody",
    "form-body": "loadgen.targets.bodies:FormBody",
    "part": "loadgen.targets.bodies:Part",
    # Schedules, and the check of answers.
    "renewal": "loadgen.load.arrivals:Renewal",
    "ramp": "loadgen.load.arrivals:Ramp",
    "steps": "loadgen.load.arrivals:Steps",
    "trace": "loadgen.load.arrivals:Trace",
    "answer-check": "loadgen.load.answers:AnswerCheck",
}
"""``MODULE:CLASS`` of frozen dataclasses, imported when a job has one, since some are behind an extra."""

_NAMES = {place: name for name, place in TYPES.items()}


def name_of(found: type) -> str | None:
    """The name of a type; None for one that is not registered."""
    return _NAMES.get(f"{found.__module__}:{found.__qualname__}")


def type_of(name: str) -> Any:
    """The type of a name.

    Raises:
        KeyError: the name is unknown.
    """
    return pkgutil.resolve_name(TYPES[name])
