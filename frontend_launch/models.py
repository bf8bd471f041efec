"""Asks a model about itself without importing it: ``python -m model_containers VERB MODEL``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from frontend_launch import scratch
from frontend_launch.errors import DescribeError
from frontend_launch.tasks import create_process, kill, to_completion
from model_containers.errors import ModelError
from model_containers.model import Description

_WARNING = re.compile(r"(?:.+:\d+: )?\w*Warning: ")
"""A warning of Python's, which it may print behind the error when it ends."""

DESCRIBE_TIMEOUT_S = 60.0
"""A model of one's own may import its framework before it can say what it is."""


async def catalogue() -> list[str]:
    """The names in the catalogue, in the order in which it is listed.

    Raises:
        DescribeError: it cannot be had.
    """
    row = await _ask("catalogue", DESCRIBE_TIMEOUT_S)
    names: list[str] = row["names"]
    return names


async def describe(model: str, options: Sequence[str] = ()) -> Description:
    """Ask a model about itself.

    Args:
        model: its name in the catalogue, ``package.module:factory``, ``file.py:factory`` or ``onnx:FILE``.
        options: flags of the replica runtime that change the answer, such as ``--input-shape 8x8``.

    Raises:
        DescribeError: there is no such model, or it does not say.
    """
    row = await _ask("describe", DESCRIBE_TIMEOUT_S, model, *options)
    try:
        return Description.from_row(row)
    except ModelError as error:
        raise DescribeError(str(error)) from None


async def verify(model: str, timeout_s: float, options: Sequence[str] = ()) -> dict[str, Any]:
    """Load a model, run batches, and check its answers.

    Args:
        model: as ``--model`` names it.
        timeout_s: patience for all of it.
        options: flags of the replica runtime.

    Returns:
        ``ok``, and the ``checks``: each with ``name``, ``ok`` and ``detail``.

    Raises:
        DescribeError: it cannot be loaded, or not in time.
    """
    report: dict[str, Any] = await _ask("verify", timeout_s, model, *options)
    return report


async def reference(
    model: str,
    inputs: np.ndarray,
    options: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float,
) -> np.ndarray:
    """A model's answers to inputs that are given to it one by one.

    Args:
        model: as for `describe`.
        inputs: ``(n, *shape)`` of the model's dtype; for strings ``(n,)`` of numpy's ``S``.
        options: flags of the replica runtime.
        environment: variables added to ours.
        timeout_s: patience for loading and answering.

    Returns:
        float64 ``(n, *output.shape)``; texts as ``(n,)`` of `bytes` objects.

    Raises:
        DescribeError: it cannot be loaded, or not in time.
    """
    with scratch.directory() as directory:
        path = directory / "inputs.npy"
        np.save(path, inputs, allow_pickle=False)
        row = await _ask("reference", timeout_s, model, "--input", str(path), *options, environment=environment)
    outputs = row["outputs"]
    if not all(isinstance(output, str) for output in outputs):
        return np.array(outputs, dtype=np.float64)
    texts = np.empty(len(outputs), dtype=object)
    texts[:] = [text.encode() for text in outputs]
    return texts


async def _ask(verb: str, timeout_s: float, *arguments: str, environment: Mapping[str, str] | None = None) -> Any:
    """Run a verb of the replica runtime and read the JSON that it prints."""
    process = await create_process(
        sys.executable,
        *("-P", "-m", "model_containers", verb, *arguments),  # it finds a model in the working directory itself
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        start_new_session=True,  # Ctrl-C is for us, who end it
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise DescribeError(f"no answer to {' '.join([verb, *arguments])} within {timeout_s:.0f} s") from None
    finally:
        await to_completion(kill(process))
    try:
        return json.loads(out)
    except ValueError:
        silent = f"{arguments[0] if arguments else verb} ended with exit code {process.returncode} and said nothing"
        raise DescribeError(reason(err) or silent) from None


def reason(err: bytes) -> str:
    """The last line of standard error that is not a warning; empty where all are."""
    lines = err.decode(errors="replace").strip().splitlines()
    return next((line for line in reversed(lines) if not _WARNING.match(line)), "")
