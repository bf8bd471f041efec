"""Reads the metadata of a server and of a model, over gRPC or HTTP alike; pure.

Source: https://github.com/kserve/open-inference-protocol, "Server Metadata" and "Model Metadata"; Triton's extension
"model configuration" for what is known of batches and instances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadgen.errors import TargetError
from loadgen.targets.oip.tensors import Tensor, check_datatype


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """A server.

    Attributes:
        name: such as ``triton``.
        version: its own.
        extensions: of the protocol, such as ``statistics``.
    """

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A model.

    Attributes:
        name: its own.
        platform: what runs it.
        inputs: all that a request carries.
        outputs: all that an answer carries.
        max_batch: most rows in a batch of the server; 0 where it does not batch; None where unknown.
        instances: how many there are of it; None where the server does not say.
        optional: names of inputs that a request may leave out.
    """

    name: str
    platform: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int | None = None
    instances: int | None = None
    optional: tuple[str, ...] = ()

    @property
    def batched(self) -> bool:
        """Whether the first dimension of its inputs is the batch: the server says so, or all of them leave it open."""
        if self.max_batch is not None:
            return self.max_batch > 0
        return bool(self.inputs) and all(tensor.shape[:1] == (-1,) for tensor in self.inputs)


def server_metadata(document: Mapping[str, Any]) -> ServerMetadata:
    """Read the JSON of ``/v2``.

    Raises:
        TargetError: it is not server metadata.
    """
    name, version, extensions = document.get("name"), document.get("version", ""), document.get("extensions") or []
    if not isinstance(name, str) or not isinstance(version, str) or not isinstance(extensions, list):
        raise TargetError("what it says of itself is not server metadata of the Open Inference Protocol")
    return ServerMetadata(name, version, tuple(map(str, extensions)))


def model_metadata(
    document: Mapping[str, Any], inputs: tuple[Tensor, ...] = (), *, trusted: bool = False
) -> ModelMetadata:
    """Read the JSON of ``/v2/models/MODEL``; numbers may be strings, as protocol buffers write them in JSON.

    Args:
        document: the JSON.
        inputs: in place of those that it names; none for those.
        trusted: answers are not looked at, so that it does not matter which outputs it names.

    Raises:
        TargetError: it is not model metadata.
        ConfigError: a tensor is of no datatype of the protocol.
    """
    try:
        name, platform = str(document["name"]), str(document.get("platform") or "")
        inputs = inputs or _tensors(document.get("inputs"))
        outputs = () if trusted else _tensors(document.get("outputs"))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise TargetError("what it says of the model is not model metadata of the Open Inference Protocol") from None
    for tensor in (*inputs, *outputs):
        check_datatype(tensor)
    return ModelMetadata(name, platform, inputs, outputs)


def _tensors(rows: Sequence[Mapping[str, Any]] | None) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(str(row["name"]), str(row["datatype"]), tuple(map(int, row.get("shape") or ()))) for row in rows or ()
    )


def unsupported(document: Mapping[str, Any]) -> str | None:
    """Why a model cannot be loaded, by the JSON of ``/v2/models/MODEL/config``; None where it can.

    Args:
        document: the JSON.
    """
    policy = document.get("model_transaction_policy")
    if isinstance(policy, Mapping) and policy.get("decoupled") is True:
        return "is decoupled (model_transaction_policy): a request may have any number of answers, here it has one"
    if document.get("sequence_batching") is not None:
        return "takes sequences (sequence_batching): its requests belong together, here each stands by itself"
    return None


def optional_inputs(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of optional inputs, by the same JSON.

    Args:
        document: the JSON.
    """
    rows = document.get("input")
    named = [row for row in rows if isinstance(row, Mapping) and "name" in row] if isinstance(rows, list) else []
    return tuple(str(row["name"]) for row in named if row.get("optional") is True)


def model_config(document: Mapping[str, Any]) -> tuple[int, int]:
    """The largest batch and the instances of the JSON of ``/v2/models/MODEL/config``.

    Raises:
        TargetError: it is not a model configuration.
    """
    try:
        groups = document.get("instance_group") or []
        instances = sum(int(group.get("count", 1)) * max(1, len(group.get("gpus") or ())) for group in groups)
        return int(document.get("max_batch_size", 0)), max(1, instances)
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise TargetError("what it says of the model's configuration cannot be understood") from None
