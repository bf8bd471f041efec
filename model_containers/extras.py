"""The extras of the package: what each brings, and how to install it; imports none of it."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

MODULES = {
    "tensorflow": ("tensorflow", "keras"),
    "lightgbm": ("lightgbm",),
    "sklearn": ("sklearn", "skops"),
    "onnx": ("onnxruntime",),
    "docker": ("aiodocker", "packaging"),
    "redis": ("redis",),
    "oip": ("grpc", "google.protobuf", "hpack", "httptools"),
    "gpu": ("pynvml",),
    "ray": ("ray", "grpc"),
    "peers": ("mlperf_loadgen",),
}
"""The modules that an extra brings; a framework's extra has the name that descriptions of models give it."""


def missing(extra: str) -> tuple[str, ...]:
    """The modules of an extra that are not installed; none where there is no such extra.

    Args:
        extra: one of `MODULES`, or the name of a framework.
    """
    return tuple(name for name in MODULES.get(extra, ()) if not _installed(name))


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):  # not even the package that it is part of; one without a specification
        return False


def remedy(extra: str) -> str:
    """How to install an extra: from the clone that this is, or with the wheel.

    Args:
        extra: its name.
    """
    clone = Path(__file__).resolve().parents[1]
    if (clone / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{clone}[{extra}]')}"
    return f"pip install 'WHEEL[{extra}]', where WHEEL is the file that loadgen was installed from"
