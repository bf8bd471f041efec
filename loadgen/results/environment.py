"""Records the machine and the software of a measurement."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    "loadgen",
    "aiodocker",
    "aiohttp",
    "grpcio",
    "hdrhistogram",
    "httptools",
    "keras",
    "lightgbm",
    "numpy",
    "pyzmq",
    "scikit-learn",
    "tensorflow",
    "tensorflow-cpu",
    "typer",
    "uvloop",
)
_VARIABLE_PREFIXES = ("OMP_", "MKL_", "OPENBLAS_", "BLIS_", "KMP_", "GOMP_", "TF_", "XLA_", "CUDA_", "LOADGEN_")


SECRET_OPTIONS = ("--header",)
"""Options whose value is not for files that are kept and shown."""


def command() -> list[str]:
    """The command line, without what may be a secret: of a header its name stays."""
    words = list(sys.argv)
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in SECRET_OPTIONS and equals:
            words[at] = f"{flag}={value.partition(':')[0]}: …"
        elif flag in SECRET_OPTIONS and at + 1 < len(words):
            words[at + 1] = f"{words[at + 1].partition(':')[0]}: …"
    return words


def environment() -> dict[str, Any]:
    """Versions, CPU model, cores, memory, the variables that steer BLAS, OpenMP and TensorFlow, git commit."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions(),
        "cpu_model": cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": sorted(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLE_PREFIXES)},
        "git_commit": git_commit(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that matter, those that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def cpu_model() -> str:
    """The processor's name, as the kernel says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def git_commit() -> str | None:
    """The commit of the checkout that this code runs from, with ``+`` when it was changed; None outside one."""
    top = Path(__file__).parents[1]
    if not (top / ".git").exists():
        return None
    try:
        commit = _git(top, "rev-parse", "HEAD")
        return commit + ("+" if _git(top, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(top: Path, *arguments: str) -> str:
    command = ["git", "-C", str(top), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
