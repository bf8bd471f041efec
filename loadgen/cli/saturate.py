"""``loadgen saturate``: as much load as the deployment takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.cli import console, exit_codes, parameters
from loadgen.errors import ConfigError
from loadgen.options import parse_duration, parse_gpus, parse_int_list, parse_shape

if TYPE_CHECKING:
    from frontend_launch.launch.topology import Topology
    from loadgen.config import SaturateConfig

DEPLOYMENT_OPTIONS = (
    "replicas",
    "cpus",
    "cpus_per_replica",
    "gpus",
    "runtime",
    "frontends_cpus",
    "redis_cpus",
    "management_cpus",
    "query_cpus",
    "allow_overlap",
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
    model: parameters.Model,
    duration: Annotated[
        str, typer.Option("--duration", "-d", metavar="TIME", help="Length of the measured part: 120, 120s or 2m.")
    ] = "120s",
    warmup: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time before the measured part.  [default: 1s; 0 with --requests]"),
    ] = None,
    requests: Annotated[int | None, typer.Option(help="Send so many requests instead of stopping by time.")] = None,
    batch_size: parameters.BatchSize = 2,
    replicas: parameters.Replicas = None,
    cpus: parameters.Cpus = None,
    cpus_per_replica: parameters.CpusPerReplica = None,
    gpus: parameters.Gpus = None,
    frontends_cpus: parameters.FrontendsCpus = None,
    redis_cpus: parameters.RedisCpus = None,
    management_cpus: parameters.ManagementCpus = None,
    query_cpus: parameters.QueryCpus = None,
    allow_overlap: parameters.AllowOverlap = False,
    runtime: Annotated[str, typer.Option(help="Run as processes, or as containers: process, docker.")] = "process",
    image: parameters.Image = "",
    weights: parameters.Weights = "seeded",
    xla: parameters.Xla = False,
    input_: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE|DIR", help="Inputs to send: npy, npz, JPEG, PNG, txt.  [default: drawn]"),
    ] = None,
    input_type: parameters.InputType = None,
    input_shape: parameters.InputShape = None,
    inputs: Annotated[int | None, typer.Option(help="Distinct inputs to send.  [default: 32, or all files]")] = None,
    verify: Annotated[
        int | None, typer.Option(metavar="N", help="Compare every Nth answer with the right one.")
    ] = None,
    seed: parameters.Seed = 0,
    max_in_flight: Annotated[
        int | None, typer.Option(help="Most requests in flight.  [default: 10000, or what fits in 1 GiB]")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Patience for one reply.  [default: without end]")
    ] = None,
    stall: Annotated[
        str, typer.Option(metavar="TIME", help="Time without any completion after which the run has failed.")
    ] = "60s",
    ready_timeout: parameters.ReadyTimeout = "3m",
    log_every: Annotated[str, typer.Option(metavar="TIME", help="Time between two lines of the log.")] = "3s",
    results_dir: Annotated[Path, typer.Option(help="Directory for the results.")] = Path("results"),
    client_cpus: Annotated[
        str | None, typer.Option(metavar="CORES", help="Cores for this process.  [default: planned]")
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option(metavar="MACHINE", help="Another machine to plan for: cpus=0-31,gpus=0-1,smt=2,numa=2."),
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
    request_port: parameters.RequestPort = 4456,
    response_port: parameters.ResponsePort = 4455,
    replica_port: parameters.ReplicaPort = 7000,
    metrics_port: parameters.MetricsPort = 1337,
    admin_port: parameters.AdminPort = 1338,
    redis_port: parameters.RedisPort = 6380,
) -> None:
    """Load a deployment as much as it takes, and say what limits it."""
    with console.one_line_errors():
        _refuse_contradictions(context, connect)
        from frontend_launch.ports import Ports  # noqa: PLC0415 - `--help` does without
        from loadgen.config import Connection, SaturateConfig  # noqa: PLC0415

        ports = Ports(request_port, response_port, replica_port, metrics_port, admin_port, redis_port)
        config = SaturateConfig(
            model=model,
            duration_s=console.parsed("--duration", parse_duration, duration),
            requests=requests,
            warmup_s=0.0 if warmup == "0" else console.optional("--warmup", parse_duration, warmup),
            batch_size=batch_size,
            replicas=replicas,
            cpus=console.optional("--cpus", parse_int_list, cpus),
            cpus_per_replica=cpus_per_replica,
            gpus=console.optional("--gpus", parse_gpus, gpus),
            infrastructure_cpus=parameters.infrastructure_cpus(
                frontends=frontends_cpus, redis=redis_cpus, management=management_cpus, query=query_cpus
            ),
            allow_overlap=allow_overlap,
            client_cpus=console.optional("--client-cpus", parse_int_list, client_cpus),
            topology=_topology(topology, dry_run),
            timeout_s=console.optional("--timeout", parse_duration, timeout),
            stall_s=console.parsed("--stall", parse_duration, stall),
            max_in_flight=max_in_flight,
            input_shape=console.optional("--input-shape", parse_shape, input_shape),
            input=input_,
            input_type=input_type,
            inputs=inputs,
            verify=verify,
            weights=weights,
            xla=xla,
            seed=seed,
            log_every_s=console.parsed("--log-every", parse_duration, log_every),
            results_dir=results_dir,
            runtime=runtime,
            image=image,
            ready_timeout_s=console.parsed("--ready-timeout", parse_duration, ready_timeout),
            ports=ports,
            connection=None
            if connect is None
            else Connection(connect, ports, app, console.parsed("--drain", parse_duration, drain)),
        )
    if dry_run:
        _show_plan(config)
    else:
        _run(config)


def _refuse_contradictions(context: typer.Context, connect: str | None) -> None:
    """Options that say what to start, with `--connect`; or the other way round."""
    unfit = CONNECTION_OPTIONS if connect is None else DEPLOYMENT_OPTIONS
    given = [name for name in unfit if _was_given(context, name)]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        if connect is None:
            raise ConfigError(f"{flags} only means something with --connect: leave it out, or add --connect HOST")
        raise ConfigError(f"{flags} says what to start, --connect starts nothing: leave one of them out")
    if _was_given(context, "requests") and _was_given(context, "duration"):
        raise ConfigError("--requests stops by count and --duration by time: leave one of them out")


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
    raise typer.Exit(
        exit_codes.of_signal(received)
        if received
        else exit_codes.of_ending(results.ended, wrong, results.summary.completed)
    )
