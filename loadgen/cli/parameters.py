"""The groups of options that verbs share: what to bring up, with what to load it, and what is done with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from frontend_launch.launch.runtimes import RUNTIMES
from frontend_launch.launch.topology import describe
from loadgen.cli import console, help_format
from loadgen.cli.groups import Settings, panel
from loadgen.cli.help_format import one_of
from loadgen.config import Client, Inputs, Output, Patience
from loadgen.errors import ConfigError, without_secrets
from loadgen.judging.slo import parse as parse_conditions
from loadgen.load.arrivals import KINDS, Renewal, kind_of, parse_arrivals
from loadgen.load.drawing import parse_ranges
from loadgen.load.image_layout import LAYOUTS, METHODS
from loadgen.parsing import (
    parse_duration,
    parse_duration_or_zero,
    parse_gpus,
    parse_int_list,
    parse_shape,
)
from loadgen.results.files import try_directory
from model_containers.data_types import DataType

Runtime = Annotated[
    str,
    typer.Option(
        help="Run as processes, as containers, or on the nodes of a cluster (also ray://HOST:PORT, ray:local).",
        rich_help_panel=help_format.PLACEMENT,
        **one_of(RUNTIMES),
    ),
]


def arrivals_cv(text: str) -> float:
    """The coefficient of variation of arrivals whose rate is said elsewhere: of poisson, constant or gamma:cv=2."""
    kind = KINDS.get(kind_of(text))
    if kind is not None and kind.has_rates:
        raise ConfigError(f"--arrivals {text}: its rate is varied already; use poisson, constant or gamma:cv=2")
    schedule = console.parsed("--arrivals", lambda one: parse_arrivals(one, 1.0, 1.0, 0, 1.0), text)
    assert isinstance(schedule, Renewal)
    return schedule.cv


# What to bring up ------------------------------------------------------------------------------------------


A_MODEL = "name one that `loadgen models` lists"
"""The remedy where no model is named."""

AN_APPLICATION = ", or an application with --app, and the shape of its inputs with --input-shape"
"""What else does with ``--connect``."""


@panel(help_format.MODEL)
def model(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "--model_name",
            "-m",
            metavar="NAME",
            help="A name of `loadgen models`, FILE.py:NAME, package.module:NAME, or onnx:FILE.  [required to deploy]",
            rich_help_panel=help_format.COMMON,
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="seeded|imagenet|FILE", help="Weights of vgg or inception.")
    ] = "seeded",
    xla: Annotated[bool, typer.Option("--xla", help="Compile vgg or inception with XLA.")] = False,
    input_type: Annotated[
        str | None,
        typer.Option(
            help="Data type of inputs; bytes are pixels, strings are base64 of JPEG.  [default: the model's]",
            **one_of(each.canonical for each in DataType),
        ),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(
            metavar="SHAPE",
            help="Shape of one input, where a model takes several: 299x299x3; with --target NAME:4x4,…, or "
            "NAME:FP32:4x4,… in place of what the server says.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the inputs and of seeded weights.")] = 0,
) -> Settings:
    """Which model."""
    elsewhere = context.params.get("target") is not None
    anything = context.params.get("connect") is not None and context.params.get("app") is not None
    if model is None and not elsewhere and not anything:
        connected = context.params.get("connect") is not None
        raise ConfigError(f"--model: missing; {A_MODEL}{AN_APPLICATION if connected else ''}")
    if model is not None and not model.strip():
        raise ConfigError(f"--model {model!r}: blank; {A_MODEL}")
    if model is not None and "://" in model:
        remedy = f"use --target {without_secrets(model)}" if "target" in context.params else A_MODEL
        raise ConfigError(f"--model {without_secrets(model)}: a URL; {remedy}")
    if model is not None and model.startswith("-"):
        raise ConfigError(f"--model {model}: not a model; {A_MODEL}")
    return {
        "model": model or "",
        "weights": weights,
        "xla": xla,
        "input_type": input_type,
        "input_shape": None if elsewhere else console.optional("--input-shape", parse_shape, input_shape),
        "seed": seed,
    }


@panel(help_format.COMMON)
def size(
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            "--batch_sizes",
            "-b",
            metavar="N",
            help="Largest batch of a replica; with --target rows of a request.  [default: 2, with --target 1]",
        ),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(
            "--replicas",
            "--num_replicas",
            "-r",
            metavar="N",
            help="Replicas to start.  [default: one per GPU named, else 1]",
        ),
    ] = None,
    cpus_per_replica: Annotated[
        str | None,
        typer.Option(
            "--cpus-per-replica",
            "--cpus_per_replica_nums",
            "-p",
            metavar="N",
            help="Cores of each replica.  [default: the model's]",
        ),
    ] = None,
) -> Settings:
    """How large a deployment."""
    sizes = {
        "replicas": console.optional("--replicas", _one_number, replicas),
        "cpus_per_replica": console.optional("--cpus-per-replica", _one_number, cpus_per_replica),
    }
    batches = console.optional("--batch-size", _one_number, batch_size)
    return sizes if batches is None else {"batch_size": batches, **sizes}


def _one_number(text: str) -> int:
    if re.fullmatch("-?[0-9]{1,18}", text):
        return int(text)
    if len(numbers := parse_int_list(text)) > 1:
        raise ConfigError(f"{text!r}: several numbers; name one, or use loadgen sweep, which measures each")
    return numbers[0]


@panel(help_format.PLACEMENT)
def placement(
    cpus: Annotated[
        str | None,
        typer.Option(
            "--cpus",
            "--model_cpus",
            "-c",
            metavar="CORES",
            help="Cores for replicas: 0 1, or 0,1, or 20-27.",
            rich_help_panel=help_format.COMMON,
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            "--model_gpus",
            "-g",
            metavar="GPUS",
            help="GPUs, one per replica as far as they go; none forces the CPU.  [default: the model's that exist]",
            rich_help_panel=help_format.COMMON,
        ),
    ] = None,
    frontends: Annotated[
        int, typer.Option(metavar="N", help="Query frontends, each with its share of the replicas and of the load.")
    ] = 1,
    frontends_cpus: Annotated[
        str | None,
        typer.Option(metavar="CORES", help="With --runtime process: cores of frontends.  [default: planned]"),
    ] = None,
    redis_cpus: Annotated[
        str | None, typer.Option(metavar="CORES", help="With --runtime docker: cores of Redis.  [default: planned]")
    ] = None,
    management_cpus: Annotated[
        str | None,
        typer.Option(
            metavar="CORES", help="With --runtime docker: cores of the management frontend.  [default: planned]"
        ),
    ] = None,
    query_cpus: Annotated[
        str | None,
        typer.Option(metavar="CORES", help="With --runtime docker: cores of the query frontend.  [default: planned]"),
    ] = None,
    allow_overlap: Annotated[bool, typer.Option("--allow-overlap", help="Let named cores overlap.")] = False,
    image: Annotated[
        str, typer.Option(metavar="IMAGE", help="With --runtime docker: image of the replicas.  [default: the model's]")
    ] = "",
    restart_replicas: Annotated[
        bool, typer.Option("--restart-replicas", help="Replace a replica that dies or hangs, on its cores.")
    ] = False,
    ready_timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Time limit for replicas to load and warm up.")
    ] = "3m",
) -> Settings:
    """Where it runs, and how it is brought up."""
    infrastructure = {
        "frontends": frontends_cpus,
        "redis": redis_cpus,
        "management": management_cpus,
        "query": query_cpus,
    }
    return {
        "cpus": console.optional("--cpus", parse_int_list, cpus),
        "gpus": console.optional("--gpus", parse_gpus, gpus),
        "frontends": frontends,
        "infrastructure_cpus": {
            role: console.parsed(f"--{role}-cpus", parse_int_list, text)
            for role, text in infrastructure.items()
            if text is not None
        },
        "allow_overlap": allow_overlap,
        "image": image,
        "restart_replicas": restart_replicas,
        "ready_timeout_s": console.parsed("--ready-timeout", parse_duration, ready_timeout),
    }


# What to load it with --------------------------------------------------------------------------------------


@panel(help_format.INPUTS)
def inputs(
    input_: Annotated[
        Path | None,
        typer.Option(
            "--input", metavar="FILE|DIR", help="Inputs: arrays, images, txt, json, jsonl, csv.  [default: drawn]"
        ),
    ] = None,
    inputs: Annotated[
        int | None, typer.Option(metavar="N", help="Distinct inputs to send.  [default: 32, or all files]")
    ] = None,
    input_range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH", help="Draw numbers from LOW to below HIGH; NAME:LOW:HIGH,… for several inputs."
        ),
    ] = None,
    input_dtype: Annotated[
        str | None,
        typer.Option(metavar="DTYPE", help="With http+json: type of drawn numbers, such as int64.  [default: float32]"),
    ] = None,
    input_layout: Annotated[
        str | None,
        typer.Option(help="Position of the channels of images.  [default: by the model's shape]", **one_of(LAYOUTS)),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(help="Resize images to the model's size.", **one_of(METHODS)),
    ] = None,
    allow_nan: Annotated[bool, typer.Option("--allow-nan", help="Accept NaN in files.")] = False,
    verify: Annotated[
        int | None, typer.Option(metavar="N", help="Compare every Nth answer with the correct one.")
    ] = None,
) -> Settings:
    """What to send."""
    ranges = console.optional("--input-range", parse_ranges, input_range)
    layout = next((known for known in LAYOUTS if known.lower() == (input_layout or "").lower()), input_layout)
    sent = Inputs(input_, inputs, ranges or {}, input_dtype, layout, resize, allow_nan)
    return {"inputs": sent, "verify": verify}


@panel(help_format.CLIENT)
def client(
    context: typer.Context,
    log_every: Annotated[
        str,
        typer.Option(metavar="TIME", help="Time between two lines of the log.", rich_help_panel=help_format.RESULTS),
    ] = "3s",
    results_dir: Annotated[
        str, typer.Option(metavar="DIR", help="Directory for the results.", rich_help_panel=help_format.RESULTS)
    ] = "results",
    client_cpus: Annotated[
        str | None, typer.Option(metavar="CORES", help="Cores for the client.  [default: planned]")
    ] = None,
    clients: Annotated[
        int,
        typer.Option(
            "--clients",
            "--num_clients",
            "-n",
            metavar="N",
            help="Client processes, each with its share of the work.",
        ),
    ] = 1,
    requests_log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a row for each request, npz or csv.", rich_help_panel=help_format.RESULTS
        ),
    ] = None,
    no_ceiling: Annotated[
        bool, typer.Option("--no-ceiling", help="Skip the measurement of the client's own ceiling, which takes 2 s.")
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(metavar="CLUSTER", help="Run the clients on a cluster: ray, ray://HOST:PORT or ray:local."),
    ] = None,
) -> Settings:
    """The client."""
    results = directory(results_dir)
    if context.params.get("dry_run") and not context.params.get("topology"):  # those are of another machine
        try_directory(results)
    return {
        "output": Output(results, requests_log, console.parsed("--log-every", parse_duration, log_every)),
        "client": Client(
            clients, console.optional("--client-cpus", parse_int_list, client_cpus), not no_ceiling, workers
        ),
    }


def directory(text: str) -> Path:
    """The directory that ``--results-dir`` names."""
    if not text.strip() or "\0" in text:  # the working directory is a point
        raise ConfigError(f"--results-dir {text!r}: not a directory; name one, such as results or .")
    return Path(text)


@panel(help_format.VALIDITY)
def ending(
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Exit with code 8 if it comes true: 'p99>300ms', 'failed>0'."),
    ] = None,
    until_steady: Annotated[
        bool,
        typer.Option("--until-steady", help="End once throughput and p99 are steady, and report the steady time only."),
    ] = False,
    abort_on_fail: Annotated[
        bool,
        typer.Option("--abort-on-fail", help="End early once a condition of --fail-if is certain to come true."),
    ] = False,
) -> Settings:
    """What makes a run fail, and when it may end early."""
    conditions = [each for text in fail_if or () for each in console.parsed("--fail-if", parse_conditions, text)]
    return {"fail_if": tuple(conditions), "until_steady": until_steady, "abort_on_fail": abort_on_fail}


@panel(help_format.VALIDITY)
def validity(
    allow_invalid: Annotated[bool, typer.Option("--allow-invalid", help="Accept invalid runs, and go on.")] = False,
) -> Settings:
    """What becomes of invalid runs."""
    return {"allow_invalid": allow_invalid}


@panel(help_format.LOAD)
def window(
    max_in_flight: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Most requests in flight.  [default: 10000, with --target 64; no more than 1 GiB]"
        ),
    ] = None,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="Timeout of a request.  [default: none]")] = None,
    stall: Annotated[
        str, typer.Option(metavar="TIME", help="Time without an answer after which the run fails.")
    ] = "60s",
    drain: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Wait for outstanding requests at the end.  [default: 5s with --connect and --target, else none]",
        ),
    ] = None,
) -> Settings:
    """How much at once, and for how long to wait."""
    return _patience(max_in_flight, timeout, stall, drain)


@panel(help_format.LOAD)
def patience(
    max_in_flight: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Requests in flight at which the run ends as failed.  [default: 1000000, with --target 20000]",
        ),
    ] = None,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Timeout of a request, from its planned time.")] = "60s",
    stall: Annotated[
        str, typer.Option(metavar="TIME", help="Time without an answer after which the run fails.")
    ] = "60s",
    drain: Annotated[
        str, typer.Option(metavar="TIME", help="Wait for outstanding requests after the last one.")
    ] = "10s",
) -> Settings:
    """How long to wait, where a schedule says when to send."""
    return _patience(max_in_flight, timeout, stall, drain)


def _patience(max_in_flight: int | None, timeout: str | None, stall: str, drain: str | None) -> Settings:
    return {
        "max_in_flight": max_in_flight,
        "patience": Patience(
            timeout_s=console.optional("--timeout", parse_duration, timeout),
            stall_s=console.parsed("--stall", parse_duration, stall),
            drain_s=console.optional("--drain", parse_duration_or_zero, drain),
        ),
    }


# What is done with it --------------------------------------------------------------------------------------


@panel(help_format.COMMON)
def planning(
    topology: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MACHINE",
            help="With --dry-run: plan for another machine: cpus=0-31,gpus=0-1,smt=2,numa=2; "
            "repeatable, for the nodes of a cluster.",
            rich_help_panel=help_format.PLACEMENT,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print plan and placement, start nothing.")] = False,
) -> Settings:
    """Only a plan, for this machine or another."""
    if not topology:
        return {"dry_run": dry_run}
    if not dry_run:
        text = f"--topology {topology[0]}: describes another machine, on which nothing can run; add --dry-run"
        raise ConfigError(text)
    machines = tuple(describe(text) for text in topology)
    return {"dry_run": dry_run, "topology": machines[0] if len(machines) == 1 else machines}
