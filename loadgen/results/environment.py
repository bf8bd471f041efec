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
from loadgen.errors import without_secret_members, without_secrets

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
VARIABLES = frozenset(
    (
        *("OMP_DYNAMIC", "OMP_MAX_ACTIVE_LEVELS", "OMP_NUM_THREADS", "OMP_PLACES", "OMP_PROC_BIND", "OMP_SCHEDULE"),
        *("OMP_STACKSIZE", "OMP_THREAD_LIMIT", "OMP_WAIT_POLICY"),
        *("GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT", "KMP_AFFINITY", "KMP_BLOCKTIME", "KMP_HW_SUBSET", "KMP_LIBRARY"),
        *("MKL_CBWR", "MKL_DOMAIN_NUM_THREADS", "MKL_DYNAMIC", "MKL_ENABLE_INSTRUCTIONS", "MKL_NUM_THREADS"),
        *("MKL_THREADING_LAYER", "BLIS_NUM_THREADS", "OPENBLAS_CORETYPE", "OPENBLAS_MAIN_FREE"),
        *("OPENBLAS_NUM_THREADS", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "MALLOC_ARENA_MAX"),
        *("TF_CPP_MIN_LOG_LEVEL", "TF_CUDNN_USE_AUTOTUNE", "TF_DETERMINISTIC_OPS", "TF_ENABLE_ONEDNN_OPTS"),
        *("TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR", "TF_GPU_THREAD_COUNT", "TF_GPU_THREAD_MODE"),
        *("TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_USE_LEGACY_KERAS", "TF_XLA_FLAGS", "XLA_FLAGS"),
        *("CUDA_CACHE_DISABLE", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING"),
        *("CUDA_MODULE_LOADING", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE"),
        *("LOADGEN_CACHE", "LOADGEN_GPU", "LOADGEN_INPUT_SHAPE", "LOADGEN_MAX_BATCH", "LOADGEN_SEED"),
        *("LOADGEN_THREADS", "LOADGEN_WEIGHTS", "LOADGEN_XLA"),
    )
)
"""Environment variables that change what is measured; others are not recorded, since they may be secrets."""

SECRET_OPTIONS = ("--header",)
"""Options whose values are not recorded, since results are kept and shown."""


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
    """The command line without possible secrets: of a header only its name, or its file, is kept."""
    words = list(sys.argv)
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in SECRET_OPTIONS and equals:
            words[at] = f"{flag}={_name_of(value)}"
        elif flag in SECRET_OPTIONS and at + 1 < len(words):
            words[at + 1] = _name_of(words[at + 1])
    return [without_secret_members(without_secrets(word) if "://" in word else word) for word in words]


def _name_of(header: str) -> str:
    return header if header.startswith("@") else f"{header.partition(':')[0]}: …"


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
        variables={name: os.environ[name] for name in sorted(VARIABLES & os.environ.keys())},
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
