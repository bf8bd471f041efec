"""What a configuration comes to, before anything is started."""

import asyncio
import math
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frontend_launch.errors import DescribeError, PlacementError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.cluster import ClusterTopology
from frontend_launch.launch.topology import describe
from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, Inputs, OpenLoop, Output, Patience, Saturate
from loadgen.errors import ConfigError, FieldError
from loadgen.experiments.capacity import CapacityConfig
from loadgen.experiments.experiment import run_experiment
from loadgen.experiments.search import Limits
from loadgen.experiments.sweep import SweepConfig, prepare_sweep
from loadgen.judging.slo import parse
from loadgen.load.arrivals import Ramp, Renewal
from loadgen.load.inputs import MadeInputs, SeededInputs
from loadgen.plan import PlanContext, default_window, plan_on, prepare, survey
from loadgen.report.text import plan_text
from loadgen.served import Deploy, External, Frontend
from loadgen.targets.access import Access
from model_containers.model import Description, TensorSpec

MACHINE = describe("cpus=0-31,gpus=0-1")
OPEN_LOOP = OpenLoop(Renewal(10.0, 1.0, 0.0, 0))
EXTERNAL = External.at("http+json://127.0.0.1:9/x", body='{"prompt": "$input"}')
BASE = ExperimentConfig(Deploy("noop"))
SLO = tuple(parse("p99<1s"))
IMAGE_BYTES = 299 * 299 * 3 * 4


@pytest.mark.parametrize(
    ("payload_bytes", "places", "window"),
    [
        pytest.param(4, 2, 10_000, id="small payloads: ten thousand"),
        pytest.param(IMAGE_BYTES, 2, 1000, id="images: what fits in 1 GiB"),
        pytest.param(IMAGE_BYTES, 512, 2048, id="many places in batches: four times as many"),
        pytest.param(1 << 40, 1, 4, id="huge payloads: still four batches"),
    ],
)
def test_default_window(payload_bytes, places, window):
    """Deep enough for full batches, no deeper than memory likes."""
    assert default_window(payload_bytes, places) == window


def planned(*, deploy=None, **changes):
    """The plan of Inception on a machine, with changes of what is deployed and of the rest."""
    serve = replace(Deploy("inception", topology=MACHINE), **(deploy or {}))
    return asyncio.run(prepare(replace(ExperimentConfig(serve), **changes)))


@pytest.mark.parametrize(
    ("changes", "gpus"),
    [
        pytest.param({}, [0], id="the model's own GPU where it exists"),
        pytest.param({"gpus": ()}, [None], id="none forces the CPU"),
        pytest.param({"gpus": (1, 0)}, [1, 0], id="a replica for each GPU named"),
        pytest.param({"gpus": (0,), "replicas": 3}, [0, None, None], id="further replicas on cores"),
        pytest.param({"topology": describe("cpus=0-3")}, [None], id="no GPU on the machine"),
    ],
)
def test_replicas_and_gpus(changes, gpus):
    """Named or the model's defaults."""
    assert [row.gpu for row in planned(deploy=changes).placement.replicas] == gpus


@pytest.mark.parametrize(
    ("changes", "cores"),
    [
        pytest.param({}, ["6,7"], id="the model's cores"),
        pytest.param({"replicas": 4, "gpus": (0, 1)}, ["30,31", "28,29", "6,7", "14,15"], id="GPU replicas need none"),
        pytest.param(
            {"replicas": 4, "gpus": (0, 1), "cpus": (20, 21, 22, 23)},
            ["30,31", "28,29", "20,21", "22,23"],
            id="nor of the cores that the user named",
        ),
        pytest.param({"replicas": 3}, ["26,27", "28,29", "30,31"], id="more than the model's cores"),
        pytest.param({"cpus_per_replica": 8}, ["24-31"], id="larger than the model's cores"),
        pytest.param({"infrastructure_cpus": {"query": (6, 7)}}, ["30,31"], id="the query frontend is named instead"),
    ],
)
def test_the_cores_of_replicas(changes, cores):
    """Named or the model's defaults, charged to replicas without a GPU only."""
    changes = {"model": "vgg", "gpus": (), "runtime": "docker", **changes}
    assert [core_ranges(row.cores) for row in planned(deploy=changes).placement.replicas] == cores


@pytest.mark.parametrize(
    ("runtime", "roles"),
    [
        pytest.param("process", ["client", "frontends", "replica-0"], id="processes"),
        pytest.param("docker", ["client", "redis", "management", "query", "replica-0"], id="containers"),
    ],
)
def test_roles(runtime, roles):
    """What is placed depends on the runtime."""
    assert [row.role for row in planned(deploy={"runtime": runtime}).placement.assignments] == roles


def test_an_allowed_overlap_is_noted():
    """It is refused otherwise."""
    deploy, client = {"gpus": (), "cpus": (1, 2)}, Client(cpus=(2, 3))
    with pytest.raises(PlacementError, match="both name core 2"):
        planned(deploy=deploy, client=client)
    notes = planned(deploy={**deploy, "allow_overlap": True}, client=client).notes
    assert "allowed overlap: --cpus and --client-cpus both name core 2" in notes


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"model": "resnet"}, DescribeError, "resnet"),
        ({"gpus": (5,)}, PlacementError, "5"),
        ({"model": "noop", "gpus": (0,)}, FieldError, "gpus 0: noop has no GPU code"),
        ({"frontends": 2}, FieldError, "frontends 2: each needs a replica, and replicas is 1; change one of them"),
        ({"input_shape": (2, 2)}, DescribeError, "--input-shape"),
        ({"model": "noop", "weights": "x.h5"}, DescribeError, "noop has no weights"),
    ],
)
def test_what_cannot_be_planned(changes, error, text):
    """One line each, with the field or the option, and the value."""
    with pytest.raises(error, match=text):
        planned(deploy=changes)


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
        (lambda: Inputs(Path("x"), layout="CHW"), "layout CHW: no layout; choose NCHW or NHWC"),
        (lambda: Inputs(Path("x"), resize="best"), "resize best: no resize; choose nearest or box"),
        (lambda: Inputs(resize="box"), "resize box: applies to images of path; name them"),
        (lambda: Inputs(dtype="floaty"), "dtype floaty: no dtype; choose float32, float64, int8"),
        (lambda: Deploy("noop", ready_timeout_s=0.0), "ready_timeout_s 0: not positive"),
        (lambda: Deploy("noop", replicas=0), "replicas 0: not positive; use 1 or more"),
        (lambda: Deploy("noop", runtime="podman"), "runtime podman: no runtime; choose process, docker, ray"),
        (lambda: Deploy("noop", image="x"), "image x: needs runtime docker"),
        (lambda: Deploy("noop", ports=Ports(request=99_999)), "request 99999: no port; use 0, or 1 to 65535"),
        (lambda: Deploy("noop", ports=Ports(admin=-1)), "admin -1: no port"),
        (
            lambda: Deploy("noop", ports=Ports(metrics=4000, admin=4000)),
            "metrics and admin: both 4000; choose different ones",
        ),
        (lambda: Frontend("noop", host="h", ports=Ports(request=0)), "request 0: no port; use 1 to 65535"),
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
    ("serve", "given", "expected"),
    [
        pytest.param(Deploy("noop", topology=MACHINE), (), [2], id="our default"),
        pytest.param(Deploy("noop", topology=MACHINE, batch_size=8), (), [8], id="that of the base"),
        pytest.param(Deploy("noop", topology=MACHINE, batch_size=8), (1, 4), [1, 4], id="those of the sweep"),
        pytest.param(EXTERNAL, (), [1], id="an external server's default"),
    ],
)
def test_the_batches_of_a_sweep(serve, given, expected):
    """Without any, the one of a single run."""
    plan = asyncio.run(prepare_sweep(SweepConfig(ExperimentConfig(serve), batch_sizes=given)))
    assert [each.config.serve.batch_size for each in plan.plans.values()] == expected
    assert [cell.batch_size for cell in plan.plans] == expected


def test_combinations_that_cannot_be_placed():
    """All are named; the others are measured on request, and none at all is the reason of one."""
    base = ExperimentConfig(Deploy("noop", topology=describe("cpus=0-3")))
    config = SweepConfig(base, replicas=(1, 9, 4), cpus_per_replica=(1, 2))
    with pytest.raises(PlacementError, match=r"^3 of 6 combinations") as refused:
        asyncio.run(prepare_sweep(config))
    assert str(refused.value).endswith("\nmeasure the others with skip_impossible")
    plan = asyncio.run(prepare_sweep(config, skip_impossible=True))
    assert [cell.size.name for cell in plan.plans] == ["r1-c1", "r1-c2", "r4-c1"]
    assert {measurement.cell for measurement in plan.order} == set(plan.plans)
    listed = f"{refused.value}".rpartition("\n")[0]
    assert str(plan.refusal) == listed
    with pytest.raises(PlacementError, match=r"^9 replicas of 1 core need 9 cores"):
        asyncio.run(prepare_sweep(SweepConfig(base, replicas=(9,)), skip_impossible=True))
    assert asyncio.run(prepare_sweep(SweepConfig(base))).refusal is None


@pytest.mark.parametrize(
    ("gpus", "replicas", "note"),
    [
        (None, 1, "GPU 0, inception's default, is used; --gpus none (--model_gpus none) leaves it out"),
        ((), 1, None),
        ((0,), 1, None),
    ],
)
def test_a_gpu_that_nobody_named(gpus, replicas, note):
    """Is said, and how to leave it out."""
    notes = planned(deploy={"gpus": gpus, "replicas": replicas}).notes
    assert [line for line in notes if line.startswith("GPU")] == ([note] if note else [])


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
        (Deploy, {"model": "noop", "ports": Ports(request=0.5)}, "request 0.5: no port"),  # type: ignore[arg-type]
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


def test_an_error_can_be_sent_to_another_process():
    """With all that it has."""
    error = FieldError("Saturate.duration_s", -1.0, "is not positive", "leave it out")
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
    assert str(error) == "duration_s -1: not positive; leave it out"


@pytest.mark.parametrize(
    ("serve", "load", "expected"),
    [
        pytest.param(Deploy("noop"), Saturate(), (10_000, 1.0, None, 0.0), id="our window"),
        pytest.param(Deploy("noop"), Saturate(requests=5), (10_000, 0.0, None, 0.0), id="by count"),
        pytest.param(Deploy("noop"), OPEN_LOOP, (1_000_000, 1.0, 60.0, 10.0), id="our open loop"),
        pytest.param(EXTERNAL, Saturate(), (64, 1.0, None, 5.0), id="an external server's window"),
        pytest.param(EXTERNAL, OPEN_LOOP, (20_000, 1.0, 60.0, 10.0), id="an external server's open loop"),
    ],
)
def test_what_a_load_comes_to(serve, load, expected):
    """The same whether it is planned at once or put in the place of another."""
    for first in (Saturate(), OPEN_LOOP):
        plan = asyncio.run(prepare(ExperimentConfig(serve, first))).with_load(load)
        assert (plan.window, plan.load.warmup_s, plan.load.timeout_s, plan.load.drain_s) == expected
        assert plan.load == asyncio.run(prepare(ExperimentConfig(serve, load))).load


def test_inputs_are_drawn_in_a_range():
    """Which the text says; of a model that says what it takes, no dtype."""
    config = ExperimentConfig(Deploy("noop", input_type="ints", input_shape=(4,)), inputs=Inputs(ranges={"": (5, 7)}))
    plan = asyncio.run(prepare(config))
    assert plan.inputs.text == "32 seeded inputs 4 int32 in 5:7"
    assert {number for array in plan.inputs.make().arrays for number in array.tolist()} == {5, 6}
    with pytest.raises(FieldError, match=r"ranges 0\.5:1: the input is of int32; write whole numbers"):
        asyncio.run(prepare(replace(config, inputs=Inputs(ranges={"": (0.5, 1)}))))
    with pytest.raises(FieldError, match="dtype int64: means nothing for a model that says what it takes"):
        asyncio.run(prepare(replace(config, inputs=Inputs(dtype="int64"))))


def test_the_range_of_an_input_by_its_name(monkeypatch):
    """As of a model on an external server."""
    spec = TensorSpec((4,), "float32")
    described = Description(
        name="m", framework="onnx:m.onnx", input=spec, output=spec, takes=("floats",), input_names=("x",)
    )

    async def described_once(name, options):
        return described

    monkeypatch.setattr("loadgen.plan.describe", described_once)
    for name in ("x", ""):
        config = ExperimentConfig(Deploy("m.onnx", topology=MACHINE), inputs=Inputs(ranges={name: (-3, -2)}))
        drawn = np.stack(asyncio.run(prepare(config)).inputs.make().arrays)
        assert -3 <= drawn.min() <= drawn.max() < -2
    with pytest.raises(FieldError, match="y:-3:-2: the model has no input 'y'; name one of x"):
        asyncio.run(prepare(replace(config, inputs=Inputs(ranges={"y": (-3, -2)}))))


def test_a_shape_that_the_file_has_need_not_be_said(tmp_path, monkeypatch):
    """Where the model leaves it open; the replica hears of it."""
    asked = []

    async def free(name, options):
        asked.append(options)
        if "--input-shape" not in options or options[-1] != "3":
            raise DescribeError("say which with --input-shape")
        spec = TensorSpec((3,), "float32")
        return Description(name="m", framework="onnx:m.onnx", input=spec, output=spec, takes=("floats",))

    monkeypatch.setattr("loadgen.plan.describe", free)
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.float32))
    config = ExperimentConfig(Deploy("m.onnx", topology=MACHINE), inputs=Inputs(tmp_path / "x.npy"))
    plan = asyncio.run(prepare(config))
    assert isinstance(plan.config.serve, Deploy)
    assert (plan.config.serve.input_shape, len(plan.inputs.make()), len(asked)) == ((3,), 2, 2)
    for inputs in (Inputs(), Inputs(Path(__file__))):
        with pytest.raises(DescribeError, match="say which with --input-shape"):
            asyncio.run(prepare(replace(config, inputs=inputs)))


def test_inputs_of_any_length_come_from_a_file(tmp_path, monkeypatch):
    """Of one length, that is the model's; of several, each is sent as it is. Drawn ones want a length."""

    async def described(name, options):
        shape = (int(options[-1]),) if "--input-shape" in options else None
        spec, names = TensorSpec(shape, "float32"), ("x",)
        return Description(
            name="m", framework="onnx:m.onnx", input=spec, output=spec, takes=("floats",), input_names=names
        )

    monkeypatch.setattr("loadgen.plan.describe", described)
    config = ExperimentConfig(Deploy("m.onnx", topology=MACHINE))

    def lengths(inputs):
        plan = asyncio.run(prepare(replace(config, inputs=inputs)))
        assert isinstance(plan.config.serve, Deploy)
        return plan.config.serve.input_shape, [len(array) for array in plan.inputs.make().arrays]

    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.float32))
    np.savez(tmp_path / "y.npz", a=np.zeros(4), b=np.zeros(5))
    (tmp_path / "z.json").write_text("[[[1, 2], [3, 4]]]")
    assert lengths(Inputs(tmp_path / "x.npy")) == ((3,), [3, 3])
    assert lengths(Inputs(tmp_path / "y.npz")) == (None, [4, 5])
    with pytest.raises(ConfigError, match=r"z\.json: holds inputs of 2x2, the model takes one dimension; flatten them"):
        lengths(Inputs(tmp_path / "z.json"))
    with pytest.raises(ConfigError, match="m: takes inputs of any length; name one with"):
        lengths(Inputs())


def test_what_a_model_says_of_itself():
    """A fixed batch size bounds the plan's, and its note is one of the plan's."""
    spec = TensorSpec((4,), "float32")
    model = Description(
        name="m",
        framework="onnx:m.onnx",
        input=spec,
        output=spec,
        takes=("floats",),
        max_batch=2,
        note="answers with y",
    )
    context = PlanContext(model, SeededInputs(spec, None, 4, 0), MACHINE)
    assert "answers with y" in plan_on(ExperimentConfig(Deploy("m.onnx", batch_size=2)), context).notes
    with pytest.raises(FieldError, match="3: m takes batches of at most 2"):
        plan_on(ExperimentConfig(Deploy("m.onnx", batch_size=3)), context)


def test_what_inputs_say_of_themselves():
    """Is one of the plan's notes, also where they are made before."""

    class Noted(SeededInputs):
        note = "optional inputs: B is left out"

    spec = TensorSpec((4,), "float32")
    model = Description(name="m", framework="none", input=spec, output=spec, takes=("floats",))
    noted = Noted(spec, None, 4, 0)
    context = PlanContext(model, MadeInputs(noted, noted.make()), MACHINE)
    assert Noted.note in plan_on(ExperimentConfig(Deploy("m")), context).notes
    assert (
        "" not in plan_on(ExperimentConfig(Deploy("m")), replace(context, inputs=SeededInputs(spec, None, 4, 0))).notes
    )


@pytest.mark.parametrize(
    ("affinity", "deploy", "client", "expected"),
    [
        pytest.param("24-27", {"cpus": (20, 21)}, None, ["24-27", "0-3", "20"], id="replicas elsewhere"),
        pytest.param("24-27", {}, None, ["26", "24,25", "27"], id="nothing named: all of it within"),
        pytest.param("24-27", {"cpus": (24, 23)}, None, ["25-27", "0-3", "24"], id="a core of it is named"),
        pytest.param("1", {"cpus": (0,)}, None, ["1*", "1*", "0"], id="two cores"),
        pytest.param("24-27", {"infrastructure_cpus": {"frontends": (2,)}}, None, ["24-27", "2", "31"], id="frontends"),
        pytest.param("24-27", {"cpus": (25,)}, (5, 6), ["5,6", "0-3", "25"], id="the client is named too"),
    ],
)
def test_a_client_that_was_put_somewhere(affinity, deploy, client, expected):
    """It stays there; replicas are where they are named."""
    machine = describe("cpus=0-1" if affinity == "1" else "cpus=0-31")
    machine = replace(describe(f"cpus={affinity}"), beyond=machine)
    config = ExperimentConfig(Deploy("noop", topology=machine, **deploy), client=Client(cpus=client))
    plan = asyncio.run(prepare(config))
    assert [core_ranges(a.cores) + "*" * a.shared for a in plan.placement.assignments] == expected
    stays = f"the client keeps cores {expected[0].strip('*')}, where loadgen was started (taskset, numactl)"
    assert (stays in plan.notes) is (client is None and deploy != {})


def test_cores_named_for_replicas_where_the_client_was_put():
    """Are refused as those that are named for both."""
    machine = replace(describe("cpus=1"), beyond=describe("cpus=0-1"))
    config = ExperimentConfig(Deploy("noop", topology=machine, cpus=(1, 0)))
    with pytest.raises(PlacementError, match=r"^--cpus and the affinity of loadgen both name core 1; name different"):
        asyncio.run(prepare(config))


@pytest.mark.parametrize(("xla", "weights"), [(False, "seeded:0"), (True, "seeded:0, XLA")])
def test_a_plan_as_text(xla, weights):
    """What will run, for how long, with how much in flight."""
    text = plan_text(planned(load=Saturate(30.0), deploy={"gpus": (0, 1), "xla": xla}))
    assert text == (
        f"inception (tensorflow, weights {weights}), 2 replicas, batches up to 2, for 30 s\n"
        "32 seeded inputs 299x299x3 float32, at most 1,000 in flight (1,023 MiB)"
    )


@pytest.mark.parametrize(
    ("exposed", "wanted"),
    [
        pytest.param({}, False, id="loopback"),
        pytest.param({"local_token": True}, True, id="loopback, no other user"),
        pytest.param({"publish_address": "127.0.0.2"}, False, id="another loopback"),
        pytest.param({"publish_address": "0.0.0.0"}, True, id="all addresses"),
        pytest.param({"publish_address": "10.1.2.3"}, True, id="one address"),
        pytest.param({"publish_address": "10.1.2.3", "insecure": True}, False, id="for peers of 2017"),
    ],
)
def test_who_is_served(exposed, wanted):
    """Everybody on loopback, and beyond it only who has the credentials, unless the opposite is asked."""
    assert Deploy("noop", **exposed).wants_credentials is wanted


@pytest.mark.parametrize(
    ("exposed", "said"),
    [
        ({"publish_address": "gpu-box"}, "publish_address gpu-box: no IPv4 address; use one of this machine's"),
        ({"publish_address": "::"}, "publish_address ::: no IPv4 address"),
        ({"insecure": True, "local_token": True}, "insecure True: contradicts local_token; leave one of them out"),
    ],
)
def test_who_cannot_be_served(exposed, said):
    """In one line."""
    with pytest.raises(FieldError, match=f"^{re.escape(said)}"):
        Deploy("noop", **exposed)


@pytest.mark.parametrize("names", ["request", ("redis",), ("nothing",)])
def test_named_ports_are_those_that_could_give_way(names):
    """The name of another is a mistake."""
    with pytest.raises(ConfigError, match=r"unknown.* choose from request, response, replica, metrics, admin"):
        Deploy("noop", named_ports=names)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"cpus": (0, 1)},
            "cpus 0,1: names cores of one machine, and runtime ray plans each node; use cpus_per_replica",
        ),
        ({"infrastructure_cpus": {"frontends": (0,)}}, "--frontends-cpus 0: names cores of one machine"),
        (
            {"publish_address": "0.0.0.0"},
            "publish_address 0.0.0.0: frontends of runtime ray listen on the address of their",
        ),
    ],
)
def test_what_means_one_machine_is_refused_on_a_cluster(changes, text):
    """Each node is planned by itself."""
    with pytest.raises(ConfigError) as error:
        Deploy("noop", runtime="ray", **changes)
    assert text in str(error.value)


def test_several_machines_are_those_of_a_cluster():
    """Which are named by their place, the first with the client."""
    nodes = (describe("cpus=0-3"), describe("cpus=0-7"))
    with pytest.raises(ConfigError, match="topology 2 machines: need a cluster; add runtime ray, or describe one"):
        Deploy("noop", topology=nodes)
    config = ExperimentConfig(Deploy("noop", runtime="ray", replicas=2, topology=nodes))
    plan = plan_on(config, asyncio.run(survey(config)))
    rows = [(row.node, row.role) for row in plan.placement.assignments]
    assert rows == [
        ("node-0", "client"),
        ("node-1", "frontends"),
        ("node-1", "replica-0"),
        ("node-0", "replica-1"),
    ]
    with pytest.raises(ConfigError, match="describes a machine, on which nothing can run"):
        asyncio.run(run_experiment(config))


def test_clients_and_replicas_have_one_cluster():
    """Ray connects a program to one."""
    serve = Deploy("noop", runtime="ray")
    assert ExperimentConfig(serve, client=Client(workers="ray")).cluster == "ray"
    assert ExperimentConfig(Deploy("noop"), client=Client(workers="ray:local")).cluster == "ray:local"
    assert ExperimentConfig(Deploy("noop")).cluster is None
    with pytest.raises(ConfigError, match="workers ray:local: another cluster than runtime ray; name the same one"):
        ExperimentConfig(serve, client=Client(workers="ray:local"))


def test_frontends_on_a_cluster_want_credentials():
    """Unless the user does without."""
    assert Deploy("noop", runtime="ray").wants_credentials
    assert not Deploy("noop", runtime="ray://10.0.0.1:10001", insecure=True).wants_credentials
    assert not Deploy("noop").wants_credentials


def test_a_plan_over_a_cluster():
    """Replicas get as many cores as the largest node has for its share of them; cores here are not theirs."""
    config = ExperimentConfig(Deploy("vgg", replicas=2, runtime="ray", gpus=()))
    plain = asyncio.run(survey(ExperimentConfig(Deploy("vgg", gpus=(), topology=describe("cpus=0-1")))))
    nodes = tuple(replace(describe("cpus=0-3"), node=name) for name in "ab")
    plan = plan_on(config, replace(plain, cluster=ClusterTopology(nodes)))
    assert [(row.node, row.role) for row in plan.placement.assignments] == [
        ("described", "client"),
        ("a", "frontends"),
        ("a", "replica-0"),
        ("b", "replica-1"),
    ]
    assert plan.placement.here == (plan.placement["client"],)
    led = plan_on(replace(config, client=Client(2, workers="ray")), replace(plain, cluster=ClusterTopology(nodes)))
    assert led.placement.own == replace(plan.placement.own, role="coordinator")
    assert led.placement.started == plan.placement.started == plan.placement.assignments[1:]
    assert plan.cpus_per_replica == len(plan.placement["replica-0"].cores) > 1
