"""Values of a configuration that make no sense are refused where they are written, by the names of their fields."""

import math
from pathlib import Path

import pytest

from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, Inputs, OpenLoop, Output, Patience, Saturate
from loadgen.errors import ConfigError, FieldError
from loadgen.experiments.capacity import CapacityConfig
from loadgen.experiments.search import Limits
from loadgen.experiments.sweep import SweepConfig
from loadgen.judging.slo import parse
from loadgen.load.arrivals import Ramp, Renewal
from loadgen.served import Deploy, External, Frontend
from loadgen.targets.access import Access

OPEN_LOOP = OpenLoop(Renewal(10.0, 1.0, 0.0, 0))
BASE = ExperimentConfig(Deploy("noop"))
SLO = tuple(parse("p99<1s"))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Saturate(duration_s=-1.0), "duration_s -1: not positive"),
        (lambda: Saturate(duration_s=math.inf), "duration_s inf: not finite; use a number above 0"),
        (lambda: Saturate(requests=0), "requests 0: not positive"),
        (lambda: Saturate(warmup_s=math.nan), "warmup_s nan: not finite"),
        (lambda: Saturate(warmup_s=-1.0), "warmup_s -1: must not be negative"),
        (
            lambda: Saturate(duration_s=3.0, requests=5),
            "requests 5: stops by count and duration_s 3 by time; leave one of them out",
        ),
        (lambda: OpenLoop(OPEN_LOOP.arrivals, max_in_flight=0), "max_in_flight 0: not positive"),
        (lambda: Saturate(duration_s=1e30), "duration_s 1e.30: too large; use at most 315360000"),
        (lambda: Saturate(max_in_flight=10**12), "max_in_flight 1000000000000: too large; use at most 10000000"),
        (
            lambda: OpenLoop(Renewal(1e6, 1.0, 0.0, 0), warmup_s=3.6e5),
            "warmup_s 360000 and constant 1,000,000 requests/s for 1 s: "
            "360,000,000,000 requests exceed 36,000,000; shorten it",
        ),
        (
            lambda: OpenLoop(Renewal(1e6, 3600.0, 1.0, 0)),
            "warmup_s 1 and poisson .* exceed 36,000,000; shorten the",
        ),
        (lambda: SweepConfig(BASE, repeat=10**5), "repeat 100000 and 1 cell are more than 20,000 measurements"),
        (lambda: OpenLoop(Renewal(math.nan, 1.0, 0.0, 0)), "rate_rps nan: not finite"),
        (lambda: OpenLoop(Renewal(1.0, -1.0, 0.0, 0)), "duration_s -1: not positive"),
        (lambda: OpenLoop(Renewal(1.0, 1.0, 0.0, -1)), "seed -1: must not be negative"),
        (lambda: OpenLoop(Ramp(1.0, math.inf, 1.0)), "to_rps inf: not finite"),
        (lambda: Patience(drain_s=-1.0), "drain_s -1: must not be negative; use 0 or more"),
        (lambda: Patience(timeout_s=math.inf), "timeout_s inf: not finite"),
        (lambda: Output(log_every_s=math.nan), "log_every_s nan: not finite"),
        (lambda: Client(0), "processes 0: not positive"),
        (lambda: Client(300), "processes 300: too many; use at most 256"),
        (lambda: Client(cpus=(-1,)), "cpus -1: must not be negative"),
        (lambda: Inputs(count=0), "count 0: not positive"),
        (lambda: Inputs(Path("x"), layout="CHW"), "layout CHW: unknown; choose NCHW or NHWC"),
        (lambda: Inputs(Path("x"), resize="best"), "resize best: unknown; choose nearest or box"),
        (lambda: Inputs(resize="box"), "resize box: applies to images of path; name them"),
        (lambda: Inputs(dtype="floaty"), "dtype floaty: unknown; choose float32, float64, int8"),
        (lambda: Deploy("noop", ready_timeout_s=0.0), "ready_timeout_s 0: not positive"),
        (lambda: Deploy("noop", replicas=0), "replicas 0: not positive; use 1 or more"),
        (lambda: Deploy("noop", runtime="podman"), "runtime podman: unknown; choose process, docker, ray"),
        (lambda: Deploy("noop", image="x"), "image x: needs runtime docker"),
        (lambda: Deploy("noop", ports=Ports(request=99_999)), "request 99999: not a port; use 0, or 1 to 65535"),
        (lambda: Deploy("noop", ports=Ports(admin=-1)), "admin -1: not a port"),
        (
            lambda: Deploy("noop", ports=Ports(metrics=4000, admin=4000)),
            "metrics and admin: both 4000; choose different ones",
        ),
        (lambda: Frontend("noop", host="h", ports=Ports(request=0)), "request 0: not a port; use 1 to 65535"),
        (lambda: Frontend(host="h"), "model '': missing; name it, or what application asks"),
        (
            lambda: Frontend(host="h", application="a", verify=1),
            "verify 1: no reference answers are known; name model",
        ),
        (lambda: Deploy("noop", batch_size=0), "batch_size 0: not positive"),
        (lambda: Deploy("noop", batch_size=1 << 20), "batch_size 1048576: too large"),
        (lambda: External.at("oip+grpc://h:1/m", batch_size=0), "batch_size 0: not positive"),
        (
            lambda: External.at("oip+grpc://h:1/m", metrics_url="nonsense"),
            "metrics_url nonsense: not a URL; write it as http://HOST:PORT/metrics",
        ),
        (lambda: External.at("nonsense"), "target nonsense: has no scheme; write http://nonsense, or oip"),
        (lambda: ExperimentConfig(Deploy("noop"), seed=-1), "seed -1: must not be negative"),
        (lambda: SweepConfig(BASE, batch_sizes=(2, 0)), "batch_sizes 0: not positive"),
        (lambda: SweepConfig(BASE, batch_sizes=(1 << 20,)), "batch_sizes 1048576: too large; use at most 65536"),
        (lambda: SweepConfig(BASE, rates_rps=(math.inf,)), "rates_rps inf: not finite"),
        (lambda: SweepConfig(BASE, cv=math.nan), "cv nan: not finite"),
        (lambda: SweepConfig(BASE, repeat=0), "repeat 0: not positive"),
        (lambda: SweepConfig(BASE, anchor_every=0), "anchor_every 0: not positive"),
        (lambda: CapacityConfig(BASE, ()), r"conditions \(\): empty; name one at least"),
        (lambda: CapacityConfig(BASE, SLO, cv=-1.0), "cv -1: must not be negative"),
        (lambda: CapacityConfig(BASE, SLO, start_rps=math.nan), "start_rps nan: not finite"),
        (lambda: CapacityConfig(BASE, SLO, start_rps=1e7), r"start_rps 10000000: out of bounds; use 0.01 to 119601"),
        (lambda: Limits(tolerance=0.0), "tolerance 0: out of bounds; use 0.1% to 50%"),
        (lambda: Limits(tolerance=math.nan), "tolerance nan: not finite"),
        (lambda: Limits(duration_s=math.inf), "duration_s inf: not finite; use a number above 0"),
        (lambda: Limits(probes=0), "probes 0: not positive"),
        (
            lambda: ExperimentConfig(Deploy("noop"), Saturate(requests=4), client=Client(5)),
            "processes 5: more than requests 4; use at most 4",
        ),
    ],
)
def test_what_makes_no_sense_cannot_be_written(make, text):
    """The error names the field and the value, and says what to do, in one line."""
    with pytest.raises(FieldError, match=f"^{text}") as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Access(certificate=Path("x")), "certificate and key: belong together; give both"),
        (
            lambda: External.at("http+json://h:1/m", access=Access(ca=Path("x"))),
            "ca: needs TLS; leave it out, or use https+json://h:1/m",
        ),
    ],
)
def test_values_that_contradict_each_other_cannot_be_written(make, text):
    """The error names the fields."""
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        (Saturate, {"duration_s": "5"}, "duration_s 5: not a number"),
        (Saturate, {"requests": 1.5}, "requests 1.5: not a whole number"),
        (Saturate, {"requests": (5,)}, r"requests \(5,\): not a whole number"),
        (Saturate, {"max_in_flight": math.nan}, "max_in_flight nan: not a whole number"),
        (OpenLoop, {"arrivals": 100.0}, "arrivals 100.0: of type float; use Arrivals"),
        (Patience, {"stall_s": None}, "stall_s None: not a number"),
        (Output, {"results_dir": "results"}, "results_dir 'results': of type str; use Path"),
        (Client, {"processes": True}, "processes True: not a whole number"),
        (Client, {"cpus": [0]}, r"cpus \[0\]: of type list; use a tuple"),
        (Inputs, {"path": "x"}, "path 'x': of type str; use Path"),
        (Deploy, {"model": None}, "model None: of type NoneType; use str"),
        (Deploy, {"model": "noop", "gpus": "none"}, "gpus 'none': of type str; use a tuple"),
        (Deploy, {"model": "noop", "ports": 4456}, "ports 4456: of type int; use Ports"),
        (Deploy, {"model": "noop", "ports": Ports(request=0.5)}, "request 0.5: not a port"),  # type: ignore[arg-type]
        (Deploy, {"model": "noop", "infrastructure_cpus": 0}, "infrastructure_cpus 0: of type int; use Mapping"),
        (Frontend, {"model": "noop", "host": None}, "host None: of type NoneType; use str"),
        (External, {"target": "oip+grpc://h:1/m"}, "target 'oip.grpc://h:1/m': of type str; use TargetOptions"),
        (External.at, {"url": "oip+grpc://h:1/m", "connections": 1.5}, "connections 1.5: not a whole number"),
        (ExperimentConfig, {"serve": "noop"}, "serve 'noop': of type str; use Deploy, Frontend or External"),
        (ExperimentConfig, {"serve": None}, "serve None: of type NoneType"),
        (
            ExperimentConfig,
            {"serve": Deploy("noop"), "load": 5.0},
            "load 5.0: of type float; use Saturate or OpenLoop",
        ),
        (ExperimentConfig, {"serve": Deploy("noop"), "fail_if": ("p99>1s",)}, "fail_if 'p99>1s': of type str"),
        (SweepConfig, {"base": "noop"}, "base 'noop': of type str; use ExperimentConfig"),
        (SweepConfig, {"base": BASE, "replicas": 2}, "replicas 2: of type int; use a tuple"),
        (SweepConfig, {"base": BASE, "in_flight": (1.5,)}, "in_flight 1.5: not a whole number"),
        (CapacityConfig, {"base": "noop", "conditions": SLO}, "base 'noop': of type str; use ExperimentConfig"),
        (
            CapacityConfig,
            {"base": BASE, "conditions": ("p99<1s",)},
            "conditions 'p99<1s': of type str; use Condition",
        ),
        (CapacityConfig, {"base": BASE, "conditions": SLO, "limits": 0.05}, "limits 0.05: of type float; use Limits"),
        (Limits, {"probes": 1.5}, "probes 1.5: not a whole number"),
    ],
)
def test_a_value_of_another_type_cannot_be_written(kind, fields, text):
    """Type checkers say so too, but not everybody has one."""
    with pytest.raises(FieldError, match=f"^{text}") as error:
        kind(**fields)
    assert "\n" not in str(error.value)


def test_clients_and_replicas_have_one_cluster():
    """Ray connects a program to one."""
    serve = Deploy("noop", runtime="ray")
    assert ExperimentConfig(serve, client=Client(workers="ray")).cluster == "ray"
    assert ExperimentConfig(Deploy("noop"), client=Client(workers="ray:local")).cluster == "ray:local"
    assert ExperimentConfig(Deploy("noop")).cluster is None
    with pytest.raises(ConfigError, match="workers ray:local: another cluster than runtime ray; name the same one"):
        ExperimentConfig(serve, client=Client(workers="ray:local"))
