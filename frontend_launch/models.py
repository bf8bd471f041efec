"""Asks a model about itself without importing it: ``python -m model_containers describe MODEL``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from frontend_launch.errors import DescribeError
from model_containers.wire import DataType

DESCRIBE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a deployment and its client need to know of a model.

    Attributes:
        name: the model's name, also of its application.
        framework: the library that computes it.
        weights: the weights it is loaded with.
        image: the container image that carries it.
        input_shape: of one query; None where any shape will do.
        input_dtype: numpy dtype of one query.
        output_shape: of one answer.
        output_type: the wire type of an answer.
        output_bytes: the size of an answer.
        cpus_per_replica: default cores of a replica.
        gpus: default GPUs.
        gpu_capable: it has GPU code.
    """

    name: str
    framework: str
    weights: str
    image: str
    input_shape: tuple[int, ...] | None
    input_dtype: str
    output_shape: tuple[int, ...]
    output_type: DataType
    output_bytes: int
    cpus_per_replica: int
    gpus: tuple[int, ...]
    gpu_capable: bool


async def describe(model: str, options: Sequence[str] = ()) -> ModelInfo:
    """Ask a model about itself.

    Args:
        model: its name in the catalogue.
        options: flags of the replica runtime that change the answer, such as ``--input-shape 8x8``.

    Raises:
        DescribeError: there is no such model, or it does not say.
    """
    command = [sys.executable, "-m", "model_containers", "describe", model, *options]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), DESCRIBE_TIMEOUT_S)
    except TimeoutError:
        raise DescribeError(f"model {model!r} did not describe itself within {DESCRIBE_TIMEOUT_S:.0f} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode != 0:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise DescribeError(last[0])
    return parse(out)


def parse(text: str | bytes) -> ModelInfo:
    """Read the JSON of a description.

    Raises:
        DescribeError: it is not one.
    """
    try:
        row = json.loads(text)
        shape = row["input"]["shape"]
        return ModelInfo(
            name=row["name"],
            framework=row["framework"],
            weights=row["weights"],
            image=row["image"],
            input_shape=None if shape is None else tuple(shape),
            input_dtype=row["input"]["dtype"],
            output_shape=tuple(row["output"]["shape"]),
            output_type=DataType.parse(row["output"]["type"]),
            output_bytes=row["output"]["nbytes"],
            cpus_per_replica=row["cpus_per_replica"],
            gpus=tuple(row["gpus"]),
            gpu_capable=bool(row["gpus"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DescribeError(f"a model's description cannot be read: {error!r}") from None
