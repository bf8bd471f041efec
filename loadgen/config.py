"""The configuration of an experiment: the server, its load, and further values; nothing is started.

What is served is one of `Deploy`, `Frontend` and `External`; the load is one of `Saturate` and `OpenLoop`::

    ExperimentConfig(Deploy("noop"), Saturate(duration_s=5))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from frontend_launch.quantities import exact, number
from loadgen.checks import finite, instance, whole, words
from loadgen.constraints import MAX_DURATION_S
from loadgen.errors import ConfigError, FieldError
from loadgen.feed.options import Live
from loadgen.judging.slo import Condition, check_direction
from loadgen.load import requests_log
from loadgen.load.arrivals import MAX_REQUESTS, Arrivals
from loadgen.load.drawing import DTYPES, Range
from loadgen.load.image_layout import LAYOUTS, METHODS, ImageOptions
from loadgen.parsing import check_tag
from loadgen.served import Deploy, External, Frontend, Served, check_cluster

MAX_CLIENTS = 256
MAX_SEED = (1 << 32) - 1
"""The largest that all frameworks take."""

MAX_IN_FLIGHT = 10_000_000
"""Most requests of a run: the client keeps about 2 GB for them."""

DURATION_S = 120.0
WARMUP_S = 1.0

# The load --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Saturate:
    """A window of requests in flight that is always full; it ends by time or by count.

    Attributes:
        duration_s: length of the measured part; None means 120 s, or no end by time where `requests` is given.
        requests: stop after this number of requests instead.
        max_in_flight: the window; None means the smaller of 10 000 and 1 GiB of payloads, at least 4 full batches a
            replica; for an external server 64 or more.
        warmup_s: time before the measured part; None means 1 s, or none when stopping by count.

    Raises:
        FieldError: both ends are given, or a value makes no sense.
    """

    duration_s: float | None = None
    requests: int | None = None
    max_in_flight: int | None = None
    warmup_s: float | None = None

    def __post_init__(self) -> None:
        finite(self, "duration_s", most=MAX_DURATION_S)
        finite(self, "warmup_s", zero=True, most=MAX_DURATION_S)
        whole(self, "requests")
        whole(self, "max_in_flight", most=MAX_IN_FLIGHT)
        if self.duration_s is not None and self.requests is not None:
            problem = f"stops by count and {{Saturate.duration_s}} {exact(self.duration_s)} by time"
            raise FieldError("Saturate.requests", self.requests, problem, "leave one of them out")

    @property
    def expected_s(self) -> float:
        """About how long the measured part takes."""
        return DURATION_S if self.duration_s is None else self.duration_s


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests on a schedule that does not wait for answers.

    Attributes:
        arrivals: when to send; its duration is that of the measured part.
        max_in_flight: requests in flight at which the run ends; None means a million, 20 000 for an external server.
        warmup_s: time before the measured part.
    """

    arrivals: Arrivals
    max_in_flight: int | None = None
    warmup_s: float = WARMUP_S

    def __post_init__(self) -> None:
        instance(self, "arrivals", of=(Arrivals,))
        whole(self, "max_in_flight", most=MAX_IN_FLIGHT)
        finite(self, "warmup_s", zero=True, most=MAX_DURATION_S)
        measured, warmup = self.arrivals.mean_rps * self.expected_s, self.arrivals.initial_rps * self.warmup_s
        if measured + warmup > MAX_REQUESTS:
            requests = number(measured + warmup, 3)
            problem = f"{{value}} and {self.arrivals.shown} for {exact(self.expected_s)} s: {requests} requests"
            remedy = "shorten the run" if measured > MAX_REQUESTS else "shorten it"
            raise FieldError("OpenLoop.warmup_s", self.warmup_s, f"{problem} exceed {MAX_REQUESTS:,}", remedy)

    @property
    def expected_s(self) -> float:
        """About how long the measured part takes."""
        return self.arrivals.duration_s


Load = Saturate | OpenLoop


def scheduled(load: Load, arrivals: Arrivals) -> OpenLoop:
    """A schedule in place of a load, with its warm-up and its bound on requests in flight."""
    return OpenLoop(arrivals, load.max_in_flight, WARMUP_S if load.warmup_s is None else load.warmup_s)


# The rest --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is sent.

    Attributes:
        path: a file or directory of inputs; None draws them.
        count: how many distinct inputs are sent; None means 32 that are drawn, or all of the files.
        ranges: of numbers that are drawn, each the first number and the one above the last, by the input's name; the
            empty name stands for the only input.
        dtype: of numbers that are drawn for ``http+json``, which does not say what it takes; None for float32.
        layout: where the model has the channels of an image, ``NCHW`` or ``NHWC``; None to see it by the model's shape.
        resize: the method by which images are resized to the model's height and width; None for not at all.
        allow_nan: floats of files may be no numbers.
    """

    path: Path | None = None
    count: int | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    dtype: str | None = None
    layout: str | None = None
    resize: str | None = None
    allow_nan: bool = False

    @property
    def image_options(self) -> ImageOptions:
        """What is done with images."""
        return ImageOptions(self.layout, self.resize)

    def __post_init__(self) -> None:
        instance(self, "path", of=(Path,))
        for name, choices in (("layout", LAYOUTS), ("resize", METHODS)):
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise FieldError(f"Inputs.{name}", value, "is unknown", f"choose {' or '.join(choices)}")
            if value is not None and self.path is None:
                raise FieldError(f"Inputs.{name}", value, "applies to images of {Inputs.path}", "name them")
        if self.allow_nan and self.path is None:
            raise ConfigError("{Inputs.allow_nan}: applies to numbers of {Inputs.path}; name it")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise FieldError("Inputs.dtype", self.dtype, "is unknown", f"choose {', '.join(DTYPES)}")
        instance(self, "ranges", of=(Mapping,))
        whole(self, "count")
        if self.ranges and self.path is not None:
            raise ConfigError("{Inputs.ranges}: applies to drawn numbers, not to those of {Inputs.path}; leave one out")


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends.

    Attributes:
        processes: client processes; with 1 it is this one that sends.
        cpus: cores for them; None leaves the choice to the planner.
        ceiling: measure what they can do by themselves, against a null server, before the run.
        workers: the cluster on whose nodes they run: ``ray``, ``ray://HOST:PORT`` or ``ray:local``; None for this
            machine.
    """

    processes: int = 1
    cpus: tuple[int, ...] | None = None
    ceiling: bool = True
    workers: str | None = None

    @property
    def here(self) -> int:
        """Client processes on this machine; with workers elsewhere one, which leads."""
        return self.processes if self.workers is None else 1

    def __post_init__(self) -> None:
        words(self, "workers")
        if self.workers is not None:
            check_cluster("Client.workers", self.workers)
        whole(self, "processes")
        whole(self, "cpus", least=0, each=True)
        if self.processes > MAX_CLIENTS:
            raise FieldError("Client.processes", self.processes, "too many", f"use at most {MAX_CLIENTS}")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait.

    Attributes:
        timeout_s: for one reply; None for any, or 60 s from the planned time in an open loop.
        stall_s: time without a completion after which the run has failed.
        drain_s: after the run, for outstanding requests; 0 does not wait. None waits 10 s in an open loop. In a closed
            loop it waits 5 s for a server that runs already, and not at all for a deployment of the run.
    """

    timeout_s: float | None = None
    stall_s: float = 60.0
    drain_s: float | None = None

    def __post_init__(self) -> None:
        finite(self, "timeout_s", "stall_s", most=MAX_DURATION_S)
        finite(self, "drain_s", zero=True, most=MAX_DURATION_S)


@dataclass(frozen=True, slots=True)
class Output:
    """What is written.

    Attributes:
        results_dir: where the results go.
        requests_log: file for a row per request, npz or csv.
        log_every_s: length of a logging interval.
    """

    results_dir: Path = Path("results")
    requests_log: Path | None = None
    log_every_s: float = 3.0

    def __post_init__(self) -> None:
        instance(self, "results_dir", "requests_log", of=(Path,))
        finite(self, "log_every_s", most=MAX_DURATION_S)
        if self.requests_log is not None:
            requests_log.check(self.requests_log)


@dataclass(frozen=True, slots=True)
class ExperimentConfig:
    """The configuration of an experiment; the defaults are those of the command line.

    Attributes:
        serve: what is served.
        load: the load on it.
        inputs: what is sent.
        client: who sends.
        patience: how long to wait.
        output: what is written.
        seed: of inputs and weights.
        until_steady: end the run early once throughput and p99 are shown not to change.
        fail_if: conditions that must stay false.
        abort_on_fail: end the run as soon as a condition is certain to be true at its end.
        allow_invalid: accept an invalid run.
        live: what is shown during the run.
        tags: names and values that results, reports and metrics carry.
    """

    serve: Served
    load: Load = field(default_factory=Saturate)
    inputs: Inputs = field(default_factory=Inputs)
    client: Client = field(default_factory=Client)
    patience: Patience = field(default_factory=Patience)
    output: Output = field(default_factory=Output)
    seed: int = 0
    until_steady: bool = False
    fail_if: tuple[Condition, ...] = ()
    allow_invalid: bool = False
    abort_on_fail: bool = False
    live: Live = field(default_factory=Live)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def cluster(self) -> str | None:
        """The cluster on whose nodes replicas or clients run; None where all run on this machine."""
        if isinstance(self.serve, Deploy) and self.serve.on_cluster:
            return self.serve.runtime
        return self.client.workers

    def __post_init__(self) -> None:
        instance(self, "tags", of=(Mapping,))
        for name, value in self.tags.items():
            check_tag(name, value)
        instance(self, "live", of=(Live,))
        instance(self, "serve", of=(Deploy, Frontend, External))
        instance(self, "load", of=(Saturate, OpenLoop))
        instance(self, "inputs", of=(Inputs,))
        instance(self, "client", of=(Client,))
        if self.client.workers not in (None, self.cluster):
            problem = f"another cluster than {{Deploy.runtime}} {self.cluster}"
            raise FieldError("Client.workers", self.client.workers, problem, "name the same one")
        instance(self, "patience", of=(Patience,))
        instance(self, "output", of=(Output,))
        instance(self, "fail_if", of=(Condition,), each=True)
        check_direction("ExperimentConfig.fail_if", self.fail_if, objective=False)
        whole(self, "seed", least=0, most=MAX_SEED)
        if self.abort_on_fail and not self.fail_if:
            problem = "has no condition that could end the run"
            raise FieldError(
                "ExperimentConfig.abort_on_fail", True, problem, "name one with {ExperimentConfig.fail_if}"
            )
        clients, load = self.client.processes, self.load
        shares = {"max_in_flight": load.max_in_flight}
        if isinstance(load, Saturate):
            shares = {"requests": load.requests, **shares}
        for name, share in shares.items():
            if share is not None and clients > share:
                problem = f"is more than {{{type(load).__name__}.{name}}} {share}"
                raise FieldError("Client.processes", clients, problem, f"use at most {share}")
