"""Records the machine and the software of a measurement."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from frontend_launch.integers import core_ranges
from loadgen.constraints import Count

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


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine and the software that a result was measured with.

    Attributes:
        python: the version of Python.
        platform: kernel and architecture.
        packages: versions by package.
        cpu_model: the processor's name.
        cores: logical cores of the machine.
        usable_cores: those that this process may use.
        memory_bytes: memory of the machine.
        variables: environment variables that steer BLAS, OpenMP and TensorFlow.
        git_commit: the commit of the checkout, with ``+`` where it was changed; None outside one.
        frequency_governors: cores, such as ``0-2,5``, by the governor of their frequency; empty where the kernel has
            none, as in most virtual machines.
    """

    python: str
    platform: str
    packages: Mapping[str, str]
    cpu_model: str
    cores: Count
    usable_cores: list[Count]
    memory_bytes: Count
    variables: Mapping[str, str]
    git_commit: str | None
    frequency_governors: Mapping[str, str] = field(default_factory=dict)


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


def environment() -> Environment:
    """Versions, CPU model, cores, memory, the variables that steer BLAS, OpenMP and TensorFlow, commit, governors."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=versions(),
        cpu_model=cpu_model(),
        cores=os.cpu_count() or 0,
        usable_cores=sorted(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        variables={k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLE_PREFIXES)},
        git_commit=git_commit(),
        frequency_governors=frequency_governors(),
    )


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


def frequency_governors(cpus: Path = Path("/sys/devices/system/cpu")) -> dict[str, str]:
    """Cores by the governor of their frequency, as the kernel says.

    Args:
        cpus: the kernel's folder of cores.
    """
    found: dict[str, list[int]] = {}
    for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"):
        with contextlib.suppress(OSError):  # of a core that was taken off
            governor = path.read_text().strip()
            found.setdefault(governor, []).append(int(path.parents[1].name.removeprefix("cpu")))
    return {governor: core_ranges(cores) for governor, cores in sorted(found.items())}


def git_commit() -> str | None:
    """The commit of the checkout that this code runs from, with ``+`` when it was changed; None outside one."""
    top = Path(__file__).parents[2]
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
