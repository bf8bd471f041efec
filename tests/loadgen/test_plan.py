"""What a configuration comes to on a machine, before anything is started."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frontend_launch.errors import DescribeError, PlacementError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.cluster import ClusterTopology
from frontend_launch.launch.topology import describe
from loadgen.config import Client, ExperimentConfig, Inputs, OpenLoop, Saturate
from loadgen.errors import ConfigError, FieldError
from loadgen.experiments.experiment import run_experiment
from loadgen.load.arrivals import Renewal
from loadgen.load.inputs import MadeInputs, SeededInputs
from loadgen.plan import PlanContext, default_window, plan_on, prepare, survey
from loadgen.report.plan_text import plan_text
from loadgen.served import Deploy, External
from model_containers.model import Description, TensorSpec

MACHINE = describe("cpus=0-31,gpus=0-1")
OPEN_LOOP = OpenLoop(Renewal(10.0, 1.0, 0.0, 0))
EXTERNAL = External.at("http+json://127.0.0.1:9/x", body='{"prompt": "$input"}')
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


def test_several_machines_are_those_of_a_cluster():
    """Which are named by their place, the first with the client."""
    nodes = (describe("cpus=0-3"), describe("cpus=0-7"))
    with pytest.raises(ConfigError, match="topology cpus=0-7: a second machine needs a cluster; add runtime ray"):
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
