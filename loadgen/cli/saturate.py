"""``loadgen saturate``: as much load as the deployment takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from loadgen.cli import console, exit_codes
from loadgen.errors import ConfigError
from loadgen.options import parse_duration, parse_gpus, parse_int_list, parse_shape

if TYPE_CHECKING:
    from frontend_launch.launch.topology import Topology
    from loadgen.config import SaturateConfig

T = TypeVar("T")

DEPLOYMENT_OPTIONS = (
    "replicas",
    "cpus",
    "cpus_per_replica",
    "gpus",
    "runtime",
    "image",
    "redis_port",
    "weights",
    "replica_port",
    "ready_timeout",
    "topology",
)
"""Options that say what to start, refused where nothing is started."""

CONNECTION_OPTIONS = ("app", "drain")
"""Options that only mean something where nothing is started."""


def saturate(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="A name that `loadgen models` lists, package.module:factory, or onnx:FILE."),
    ],
    duration: Annotated[
        str, typer.Option("--duration", "-d", metavar="TIME", help="Length of the measured part: 120, 120s or 2m.")
    ] = "120s",
    warmup: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time before the measured part.  [default: 1s; 0 with --requests]"),
    ] = None,
    requests: Annotated[int | None, typer.Option(help="Send so many requests instead of stopping by time.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Largest batch a replica is given.")] = 2,
    replicas: Annotated[
        int | None, typer.Option("--replicas", "-r", help="Replicas to start.  [default: one per GPU named, else 1]")
    ] = None,
    cpus: Annotated[
        str | None, typer.Option("--cpus", "-c", metavar="CORES", help="Cores for replicas: 0 1, or 0,1, or 20-27.")
    ] = None,
    cpus_per_replica: Annotated[
        int | None, typer.Option("--cpus-per-replica", "-p", help="Cores of each replica.  [default: the model's]")
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            "-g",
            metavar="GPUS",
            help="GPUs, one per replica while they last; none forces the CPU.  [default: the model's that exist]",
        ),
    ] = None,
    runtime: Annotated[str, typer.Option(help="Run as processes, or as containers: process, docker.")] = "process",
    image: Annotated[
        str, typer.Option(help="With --runtime docker: image of the replicas.  [default: the model's]")
    ] = "",
    weights: Annotated[str, typer.Option(help="seeded, imagenet, or a file.")] = "seeded",
    xla: Annotated[bool, typer.Option("--xla", help="Compile vgg or inception with XLA.")] = False,
    input_: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE|DIR", help="Inputs to send: npy, npz, JPEG, PNG.  [default: drawn]"),
    ] = None,
    input_type: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", help="floats, bytes (pixels) or strings (base64 of JPEG).  [default: the model's]"
        ),
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(metavar="SHAPE", help="Shape of one input, where a model takes several: 299x299x3.")
    ] = None,
    inputs: Annotated[int | None, typer.Option(help="Distinct inputs to send.  [default: 32, or all files]")] = None,
    verify: Annotated[
        int | None, typer.Option(metavar="N", help="Compare every Nth answer with the right one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the inputs and of seeded weights.")] = 0,
    max_in_flight: Annotated[
        int | None, typer.Option(help="Most requests in flight.  [default: 10000, or what fits in 1 GiB]")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Patience for one reply.  [default: without end]")
    ] = None,
    stall: Annotated[
        str, typer.Option(metavar="TIME", help="Time without any completion after which the run has failed.")
    ] = "60s",
    ready_timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Patience for replicas to load and warm up.")
    ] = "3m",
    log_every: Annotated[str, typer.Option(metavar="TIME", help="Time between two lines of the log.")] = "3s",
    results_dir: Annotated[Path, typer.Option(help="Directory for the results.")] = Path("results"),
    client_cpus: Annotated[
        str | None, typer.Option(metavar="CORES", help="Cores for this process.  [default: planned]")
    ] = None,
    topology: Annotated[
        str | None, typer.Option(metavar="MACHINE", help="Another machine to plan for: cpus=0-31,gpus=0-1.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print plan and placement, start nothing.")] = False,
    connect: Annotated[
        str | None, typer.Option(metavar="HOST", help="Load a frontend that already runs there; start nothing.")
    ] = None,
    app: Annotated[
        str | None, typer.Option(help="With --connect: the application to ask.  [default: the model's name]")
    ] = None,
    drain: Annotated[
        str, typer.Option(metavar="TIME", help="With --connect: patience for outstanding requests at the end.")
    ] = "5s",
    request_port: Annotated[int, typer.Option(help="Frontend's port for requests; 0 takes any free one.")] = 4456,
    response_port: Annotated[int, typer.Option(help="Frontend's port for responses.")] = 4455,
    replica_port: Annotated[int, typer.Option(help="Frontend's port for replicas.")] = 7000,
    metrics_port: Annotated[int, typer.Option(help="Frontend's port for metrics.")] = 1337,
    admin_port: Annotated[int, typer.Option(help="Management frontend's port.")] = 1338,
    redis_port: Annotated[int, typer.Option(help="With --runtime docker: port of Redis.")] = 6380,
) -> None:
    """Load a deployment as much as it takes, and say what limits it."""
    with console.one_line_errors():
        _refuse_contradictions(context, connect)
        from frontend_launch.ports import Ports  # noqa: PLC0415 - `--help` does without
        from loadgen.config import Connection, SaturateConfig  # noqa: PLC0415

        ports = Ports(request_port, response_port, replica_port, metrics_port, admin_port, redis_port)
        config = SaturateConfig(
            model=model,
            duration_s=_parsed("--duration", parse_duration, duration),
            requests=requests,
            warmup_s=0.0 if warmup == "0" else _optional("--warmup", parse_duration, warmup),
            batch_size=batch_size,
            replicas=replicas,
            cpus=_optional("--cpus", parse_int_list, cpus),
            cpus_per_replica=cpus_per_replica,
            gpus=_optional("--gpus", parse_gpus, gpus),
            client_cpus=_optional("--client-cpus", parse_int_list, client_cpus),
            topology=_topology(topology, dry_run),
            timeout_s=_optional("--timeout", parse_duration, timeout),
            stall_s=_parsed("--stall", parse_duration, stall),
            max_in_flight=max_in_flight,
            input_shape=_optional("--input-shape", parse_shape, input_shape),
            input=input_,
            input_type=input_type,
            inputs=inputs,
            verify=verify,
            weights=weights,
            xla=xla,
            seed=seed,
            log_every_s=_parsed("--log-every", parse_duration, log_every),
            results_dir=results_dir,
            runtime=runtime,
            image=image,
            ready_timeout_s=_parsed("--ready-timeout", parse_duration, ready_timeout),
            ports=ports,
            connection=None
            if connect is None
            else Connection(connect, ports, app, _parsed("--drain", parse_duration, drain)),
        )
    if dry_run:
        _show_plan(config)
    else:
        _run(config)


def _optional(option: str, parse: Callable[[str], T], text: str | None) -> T | None:
    return None if text is None else _parsed(option, parse, text)


def _parsed(option: str, parse: Callable[[str], T], text: str) -> T:
    """Read an option's text; an error names the option."""
    try:
        return parse(text)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from None


def _refuse_contradictions(context: typer.Context, connect: str | None) -> None:
    """Options that say what to start, with `--connect`; or the other way round."""
    unfit = CONNECTION_OPTIONS if connect is None else DEPLOYMENT_OPTIONS
    given = [name for name in unfit if _was_given(context, name)]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        reason = (
            "only means something with --connect" if connect is None else "says what to start, --connect starts nothing"
        )
        raise ConfigError(f"{flags} {reason}: leave one of them out")


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _topology(text: str | None, dry_run: bool) -> Topology | None:
    if text is None:
        return None
    if not dry_run:
        raise ConfigError(f"--topology {text} describes another machine, on which nothing can run: add --dry-run")
    from frontend_launch.launch.topology import describe  # noqa: PLC0415

    return describe(text)


def _show_plan(config: SaturateConfig) -> None:
    from loadgen.config import prepare  # noqa: PLC0415
    from loadgen.report import placement_text, plan_text  # noqa: PLC0415

    plan, _ = console.run(lambda _: prepare(config))
    typer.echo(plan_text(plan))
    typer.echo(placement_text(plan.placement))


def _run(config: SaturateConfig) -> None:
    from loadgen.experiment import saturate  # noqa: PLC0415
    from loadgen.report import results_text  # noqa: PLC0415

    console.set_up_logging()
    results, received = console.run(lambda stop: saturate(config, stop))
    typer.echo(results_text(results))
    if results.error is not None:
        console.fail(results.error)
    typer.echo(f"Saved results to {results.path}")
    wrong = results.answers["mismatched"] if results.answers else 0
    raise typer.Exit(exit_codes.of_signal(received) if received else exit_codes.of_ending(results.ended, wrong))
