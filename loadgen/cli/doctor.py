"""``loadgen doctor``: what works on this machine, and the remedy for what does not."""

from __future__ import annotations

import asyncio
import ctypes.util
import os
import resource
from dataclasses import dataclass

import typer

from frontend_launch.errors import LaunchError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.engine import engine_version
from frontend_launch.launch.topology import discover
from loadgen.results.environment import cpu_model, versions
from model_containers import extras

WITHOUT = {
    "tensorflow": "vgg and inception cannot be served",
    "lightgbm": "lgbm cannot be served",
    "sklearn": "kernel-svm, kpca-svm and elastic-net cannot be served",
    "onnx": "ONNX files cannot be served",
    "oip": "--target cannot be used",
    "docker": "--runtime docker cannot be used",
    "redis": "frontends cannot share their configuration through Redis",
    "gpu": "GPUs are not watched",
    "ray": "clients cannot run on a Ray cluster (--workers)",
    "peers": "benchmarks have no other load generator to compare with",
}
"""What does not work without an extra."""

MIN_CORES = 2
MIN_OPEN_FILES = 1024


@dataclass(frozen=True, slots=True)
class Fitness:
    """Whether this machine is fit in one respect.

    Attributes:
        name: what was looked at.
        ok: it is as it should be.
        found: what is there.
        remedy: what to do about it; empty when there is nothing to do.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""


def examine() -> list[Fitness]:
    """Look at cores, limits, extras, libraries, the Docker engine and GPUs."""
    of_extras = [_extra(name, without) for name, without in WITHOUT.items()]
    return [_cores(), _memory(), _open_files(), _packages(), *of_extras, _libgomp(), _docker(), _gpus()]


def _cores() -> Fitness:
    topology = discover()
    usable = len(topology.cores)
    found = f"{usable} of {os.cpu_count()} usable ({core_ranges(topology.cores)}), {cpu_model()}"
    if topology.note:
        found += f"; {topology.note}"
    remedy = "" if usable >= MIN_CORES else "client and frontends will share the replica's core: give it a second one"
    return Fitness("cores", usable >= MIN_CORES, found, remedy)


def _memory() -> Fitness:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    ok = total >= 4 << 30
    return Fitness("memory", ok, f"{total / 2**30:.1f} GiB", "" if ok else "lower --max-in-flight and --inputs")


def _open_files() -> Fitness:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ok = soft >= MIN_OPEN_FILES or soft == resource.RLIM_INFINITY
    return Fitness("open files", ok, f"limit {soft}", "" if ok else f"ulimit -n {MIN_OPEN_FILES}")


def _packages() -> Fitness:
    return Fitness("packages", True, ", ".join(f"{name} {version}" for name, version in versions().items()))


def _extra(name: str, without: str) -> Fitness:
    missing = extras.missing(name)
    if not missing:
        return Fitness(f"extra {name}", True, ", ".join(extras.MODULES[name]))
    found = f"not installed: {', '.join(missing)}"
    return Fitness(f"extra {name}", False, found, f"without it {without}: {extras.remedy(name)}")


def _libgomp() -> Fitness:
    library = ctypes.util.find_library("gomp")
    return Fitness(
        "libgomp", library is not None, library or "not found", "" if library else "apt-get install libgomp1"
    )


def _docker() -> Fitness:
    try:
        return Fitness("docker", True, f"engine {asyncio.run(engine_version())}")
    except LaunchError as error:
        found, _, remedy = str(error).rpartition("; ")
        return Fitness("docker", False, found, f"{remedy}, or use --runtime process")


def _gpus() -> Fitness:
    gpus = discover().gpus
    found = f"{len(gpus)} ({core_ranges(gpus)})" if gpus else "none"
    return Fitness("gpus", bool(gpus), found, "" if gpus else "models run on the CPU (--gpus none)")


def doctor() -> None:
    """Show what works on this machine, and the remedy for the rest."""
    checks = examine()
    width = max(len(check.name) for check in checks)
    for check in checks:
        typer.echo(f"{'ok' if check.ok else '--'}  {check.name.ljust(width)}  {check.found}")
        if check.remedy:
            typer.echo(f"    {' ' * width}  -> {check.remedy}")
