"""Options that say what to bring up, for the verbs that do: `saturate` and `up`."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen.cli import console
from loadgen.options import parse_int_list

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="A name that `loadgen models` lists, package.module:factory, or onnx:FILE."),
]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", help="Largest batch a replica is given.")]
Replicas = Annotated[
    int | None, typer.Option("--replicas", "-r", help="Replicas to start.  [default: one per GPU named, else 1]")
]
Cpus = Annotated[
    str | None, typer.Option("--cpus", "-c", metavar="CORES", help="Cores for replicas: 0 1, or 0,1, or 20-27.")
]
CpusPerReplica = Annotated[
    int | None, typer.Option("--cpus-per-replica", "-p", help="Cores of each replica.  [default: the model's]")
]
Gpus = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        "-g",
        metavar="GPUS",
        help="GPUs, one per replica while they last; none forces the CPU.  [default: the model's that exist]",
    ),
]
FrontendsCpus = Annotated[
    str | None,
    typer.Option(metavar="CORES", help="With --runtime process: cores of frontends.  [default: planned]"),
]
RedisCpus = Annotated[
    str | None, typer.Option(metavar="CORES", help="With --runtime docker: cores of Redis.  [default: planned]")
]
ManagementCpus = Annotated[
    str | None,
    typer.Option(metavar="CORES", help="With --runtime docker: cores of the management frontend.  [default: planned]"),
]
QueryCpus = Annotated[
    str | None,
    typer.Option(metavar="CORES", help="With --runtime docker: cores of the query frontend.  [default: planned]"),
]
AllowOverlap = Annotated[bool, typer.Option("--allow-overlap", help="Let cores that were named collide.")]
Image = Annotated[str, typer.Option(help="With --runtime docker: image of the replicas.  [default: the model's]")]
Weights = Annotated[str, typer.Option(help="seeded, imagenet, or a file.")]
Xla = Annotated[bool, typer.Option("--xla", help="Compile vgg or inception with XLA.")]
InputType = Annotated[
    str | None,
    typer.Option(metavar="TYPE", help="floats, bytes (pixels), or strings (base64 of JPEG).  [default: the model's]"),
]
InputShape = Annotated[
    str | None, typer.Option(metavar="SHAPE", help="Shape of one input, where a model takes several: 299x299x3.")
]
Seed = Annotated[int, typer.Option(help="Seed of the inputs and of seeded weights.")]
ReadyTimeout = Annotated[str, typer.Option(metavar="TIME", help="Patience for replicas to load and warm up.")]
RequestPort = Annotated[int, typer.Option(help="Frontend's port for requests; 0 takes any free one.")]
ResponsePort = Annotated[int, typer.Option(help="Frontend's port for responses.")]
ReplicaPort = Annotated[int, typer.Option(help="Frontend's port for replicas.")]
MetricsPort = Annotated[int, typer.Option(help="Frontend's port for metrics.")]
AdminPort = Annotated[int, typer.Option(help="Management frontend's port.")]
RedisPort = Annotated[int, typer.Option(help="With --runtime docker: port of Redis.")]


def infrastructure_cpus(**texts: str | None) -> dict[str, tuple[int, ...]]:
    """Cores by role, for those roles whose option was given; a keyword for each.

    Raises:
        ConfigError: one of them is no list of cores.
    """
    return {
        role: console.parsed(f"--{role}-cpus", parse_int_list, text) for role, text in texts.items() if text is not None
    }
