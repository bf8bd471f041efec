"""Resolves a configuration on a machine: model, inputs, window and placement; starts nothing."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace

from frontend_launch.errors import DescribeError
from frontend_launch.integers import core_ranges
from frontend_launch.launch.cluster import ClusterTopology, described, plan_over
from frontend_launch.launch.placement import Placement
from frontend_launch.launch.placement_request import PlacementRequest, with_frontends
from frontend_launch.launch.planner import plan
from frontend_launch.launch.runtimes import runtime_of
from frontend_launch.launch.topology import Topology, discover
from frontend_launch.models import describe
from frontend_launch.quantities import exact, plural
from loadgen.config import WARMUP_S, ExperimentConfig, Load, OpenLoop, Output, Saturate
from loadgen.errors import ConfigError, FieldError
from loadgen.load.arrivals import Arrivals, Renewal
from loadgen.load.drawing import check_ranges
from loadgen.load.input_files import FileInputs, shapes_in
from loadgen.load.inputs import DRAWN_INPUTS, InputSource, SeededInputs
from loadgen.model_defaults import defaults_on, model_defaults
from loadgen.prerequisites import check_extras, check_framework
from loadgen.served import CataloguedModel, Deploy, External, Frontend
from loadgen.targets.application import describe_application
from loadgen.targets.discover import discover_remote
from loadgen.targets.remote import MOST_CONNECTIONS, Remote, RequestOptions
from model_containers.model import Description

MAX_WINDOW = 10_000
MAX_OUTSTANDING = 1_000_000
"""Under a schedule, the requests in flight at which a run ends; ZeroMQ holds about 1 GB for them."""

MAX_REMOTE_OUTSTANDING = 20_000
"""The same where each request is a stream or waits for a connection, which holds about 20 KB a request."""

REMOTE_WINDOW = 64
"""Requests in flight at an external server, or four times the number that it reports to compute at once."""

WINDOW_BYTES = 1 << 30
"""Most bytes of the payloads in flight by default."""


_KNOWN_DTYPE = "means nothing for a model that says what it takes"

FIRST_ANSWER_S = 10.0
"""Timeout for the first answer of a server that runs already."""

TIMEOUT_S = 60.0
DRAIN_S = 5.0
SCHEDULE_DRAIN_S = 10.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A resolved load: the values that a run needs, for any kind of load.

    Attributes:
        text: the load in a few words.
        until: what ends it, in words.
        window: most requests in flight.
        warmup_s: time before the measured part.
        timeout_s: patience for one reply; None for any.
        drain_s: patience for outstanding requests at the end.
        first_answer_s: patience for the first answer; None for any.
        expected_s: about how long it takes, with its warm-up.
        most_connections: of a client, where each carries one request at a time.
        duration_s: length of the measured part; None where something else ends it.
        requests: number of requests that ends it; None where something else does.
        arrivals: when to send; None for as soon as the window has a place.
    """

    text: str
    until: str
    window: int
    warmup_s: float
    timeout_s: float | None
    drain_s: float
    first_answer_s: float | None
    expected_s: float
    most_connections: int
    duration_s: float | None = None
    requests: int | None = None
    arrivals: Arrivals | None = None

    @property
    def expected_requests(self) -> int | None:
        """About how many requests the run sends, its warm-up included; None where its answers say."""
        if self.arrivals is None:
            return self.requests
        return round(self.arrivals.mean_rps * self.arrivals.duration_s + self.arrivals.initial_rps * self.warmup_s)

    @property
    def most_requests(self) -> int | None:
        """Most requests of the run, with a negligible chance of more; None where only time ends it."""
        if self.arrivals is None:
            return self.requests
        expected = self.arrivals.mean_rps * self.arrivals.duration_s + self.arrivals.initial_rps * self.warmup_s
        spread = self.arrivals.cv if isinstance(self.arrivals, Renewal) else 0.0
        return math.ceil(expected + 6 * max(1.0, spread) * math.sqrt(expected)) + 16


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration, resolved on a machine.

    Attributes:
        config: the configuration.
        model: the model's description.
        inputs: what will be sent.
        load: how it will be sent.
        placement: where everything runs.
        cpus_per_replica: cores of each replica that has no GPU.
        notes: where this machine made the plan depart from the model's defaults.
        remote: the model on an external server; None where it is in the catalogue.
        spare_cores: cores of the machine that no process of the plan has.
    """

    config: ExperimentConfig
    model: Description
    inputs: InputSource
    load: LoadPlan
    placement: Placement
    cpus_per_replica: int
    notes: tuple[str, ...] = ()
    remote: Remote | None = None
    spare_cores: tuple[int, ...] = ()

    @property
    def window(self) -> int:
        """Most requests in flight."""
        return self.load.window

    def with_load(self, load: Load) -> Plan:
        """The same deployment under another load."""
        config = replace(self.config, load=load)
        planned, _ = _load_plan(config, self.inputs, len(self.placement.replicas), self.remote)
        return replace(self, config=config, load=planned)

    def with_seed(self, seed: int) -> Plan:
        """The same deployment, weights included, with arrivals and inputs drawn from another seed."""
        config, inputs = self.config, self.inputs
        if self.remote is not None:
            inputs = self.remote.inputs(replace(request_options(config), seed=seed))
        elif isinstance(inputs, SeededInputs):
            inputs = replace(inputs, seed=seed)
        match config.load:
            case OpenLoop(Renewal() as arrivals):
                load: Load = replace(config.load, arrivals=replace(arrivals, seed=seed))
            case load:
                pass
        return replace(self, inputs=inputs).with_load(load)

    def with_output(self, output: Output) -> Plan:
        """The same run with its results elsewhere."""
        return replace(self, config=replace(self.config, output=output))


@dataclass(frozen=True, slots=True)
class PlanContext:
    """What a plan depends on, the same for all sizes of a deployment.

    Attributes:
        model: the model's description.
        inputs: what will be sent.
        topology: the machine.
        remote: the model on an external server; then `inputs` are those of the batch size that was surveyed.
        input_shape: of one input, as its file has it, where model and user leave it open.
        cluster: whose nodes have replicas and frontends; None where this machine has them.
    """

    model: Description
    inputs: InputSource
    topology: Topology
    remote: Remote | None = None
    input_shape: tuple[int, ...] | None = None
    cluster: ClusterTopology | None = None

    @property
    def where(self) -> str:
        """What has room for replicas, in words."""
        return "this machine" if self.cluster is None else "the cluster"

    @property
    def machines(self) -> tuple[Topology, ...]:
        """Those that may have replicas."""
        return (self.topology,) if self.cluster is None else self.cluster.nodes


async def survey(config: ExperimentConfig) -> PlanContext:
    """Gather what a plan depends on.

    Raises:
        ConfigError: the inputs are not what the model takes.
        DescribeError: there is no such model.
        TargetError: the external server cannot be reached, or has no such model.
    """
    check_extras(config)
    match config.serve:
        case External(target):
            remote = await discover_remote(target)
            return PlanContext(remote.description, remote.inputs(request_options(config)), discover(), remote)
        case Frontend(model="", application=str(name)) as serve:
            known = (serve.input_type, serve.input_shape, serve.credentials)
            model = await describe_application(serve.host, serve.ports, name, *known)
            return PlanContext(model, _inputs(config, model), discover())
        case CataloguedModel() as serve:
            try:
                model, shape = await _described(serve, config)
                check_framework(serve, model)
            except DescribeError as error:
                raise _of_option(serve.model, error) from None
            inputs = _inputs(config, model)
            topology, cluster = await _machines(serve)
            return PlanContext(model, inputs, topology, input_shape=shape, cluster=cluster)


def _of_option(name: str, error: DescribeError) -> DescribeError:
    """The error, with the option where the name of a model begins it.

    Args:
        name: of the model.
        error: of its description.
    """
    return DescribeError(f"--model {error}") if str(error).startswith(f"{name}: ") else error


async def _machines(serve: CataloguedModel) -> tuple[Topology, ClusterTopology | None]:
    """The client's machine, and the nodes of the cluster where replicas are on one: those in words, or what there is.

    Raises:
        LaunchError: the cluster does not answer.
    """
    if not isinstance(serve, Deploy):
        return discover(), None
    if not serve.on_cluster:
        return next(iter(serve.machines), None) or discover(), None
    if serve.machines:
        return serve.machines[0], described(serve.machines)
    return discover(), await runtime_of(serve.runtime).cluster(serve.runtime)


async def _described(serve: CataloguedModel, config: ExperimentConfig) -> tuple[Description, tuple[int, ...] | None]:
    """A model's description, with the shape of the input file where the model leaves the shape open."""
    try:
        model = await describe(serve.model, replica_options(serve, config.seed))
        shape = _only_shape(model, config)
        if shape is None:
            return model, None
        return await describe(serve.model, replica_options(replace(serve, input_shape=shape), config.seed)), shape
    except DescribeError:
        if serve.input_shape is not None or config.inputs.path is None:
            raise
        for shape in shapes_in(config.inputs.path):
            with contextlib.suppress(DescribeError):
                return await describe(
                    serve.model, replica_options(replace(serve, input_shape=shape), config.seed)
                ), shape
        raise


def _only_shape(model: Description, config: ExperimentConfig) -> tuple[int, ...] | None:
    """The shape that all inputs from files have, for a model whose file leaves their length open; None where several.

    Raises:
        ConfigError: they have more dimensions than one, or cannot be read.
    """
    if model.input.shape is not None or not model.input_names or config.inputs.path is None:
        return None
    shapes = {array.shape for array in _inputs(config, model).make().arrays}
    deep = next((shape for shape in shapes if len(shape) > 1), None)
    if deep is not None:
        text = "x".join(map(str, deep))
        raise ConfigError(f"{config.inputs.path}: holds inputs of {text}, the model takes one dimension; flatten them")
    return shapes.pop() if len(shapes) == 1 else None


def plan_on(config: ExperimentConfig, context: PlanContext) -> Plan:
    """Work out a configuration.

    Args:
        config: what is asked for.
        context: the machine and the model that it is worked out for.

    Raises:
        ConfigError: it contradicts itself or the model.
        PlacementError: the machine does not have what it asks for.
    """
    if context.input_shape is not None and isinstance(config.serve, CataloguedModel):
        config = replace(config, serve=replace(config.serve, input_shape=context.input_shape))
    topology, cluster = context.topology.reaching(_named_cores(config)), context.cluster
    request, notes = _placement_request(config, context.model, topology, cluster)
    if topology is not context.topology and config.client.cpus is None:
        request, note = _where_it_was_put(request, context.topology.cores)
        notes = (*notes, note)
    inputs = context.inputs if context.remote is None else context.remote.inputs(request_options(config))
    load, limits = _load_plan(config, inputs, request.replicas, context.remote)
    if cluster is None:
        placement = plan(topology, request)
    else:
        placement = plan_over(cluster.here(topology), cluster.nodes, request)
    overlaps = tuple(f"allowed overlap: {line}" for line in placement.overlaps)
    if config.client.workers is not None:
        placement = placement.coordinated()
    chosen = filter(None, (context.model.note, inputs.note))
    notes = (*chosen, *notes, *limits, *overlaps)
    used = {core for row in placement.here for core in row.cores}
    spare = tuple(core for core in topology.cores if core not in used)
    return Plan(config, context.model, inputs, load, placement, request.cpus_per_replica, notes, context.remote, spare)


def request_options(config: ExperimentConfig) -> RequestOptions:
    """What requests to an external server carry."""
    inputs = config.inputs
    return RequestOptions(
        config.serve.batch_size,
        inputs.path,
        inputs.count,
        config.seed,
        ranges=inputs.ranges,
        dtype=inputs.dtype,
        image_options=inputs.image_options,
        allow_nan=inputs.allow_nan,
    )


def _load_plan(
    config: ExperimentConfig, inputs: InputSource, replicas: int, remote: Remote | None
) -> tuple[LoadPlan, tuple[str, ...]]:
    """The resolved load, and a note where connections limit it."""
    load, patience, clients = config.load, config.patience, config.client.processes
    usual, outstanding, most = _windows(config, inputs, replicas, remote)
    starts = isinstance(config.serve, Deploy)
    first_answer_s = None if starts else FIRST_ANSWER_S
    notes: tuple[str, ...] = ()
    match load:
        case OpenLoop(arrivals):
            planned = LoadPlan(
                text=f"{arrivals.shown} for {exact(arrivals.duration_s)} s",
                until=f"{exact(arrivals.duration_s)} s",
                window=load.max_in_flight or max(outstanding, clients),
                warmup_s=load.warmup_s,
                timeout_s=_or_default(patience.timeout_s, TIMEOUT_S),
                drain_s=_or_default(patience.drain_s, SCHEDULE_DRAIN_S),
                first_answer_s=first_answer_s,
                expected_s=load.warmup_s + load.expected_s,
                most_connections=MOST_CONNECTIONS,
                arrivals=arrivals,
            )
        case Saturate(requests=requests):
            window = load.max_in_flight or max(usual, clients)
            if most is not None and most < window:
                window = most
                why = "over HTTP a connection carries one at a time (--connections)"
                notes = (f"{plural(most, 'request')} in flight at most: {why}",)
            duration_s = load.expected_s if requests is None else None
            warmup_s = _or_default(load.warmup_s, WARMUP_S if requests is None else 0.0)
            planned = LoadPlan(
                text=f"at most {plural(window, 'request')} in flight",
                until=f"{exact(load.expected_s)} s" if requests is None else plural(requests, "request"),
                window=window,
                warmup_s=warmup_s,
                timeout_s=patience.timeout_s,
                drain_s=_or_default(patience.drain_s, 0.0 if starts else DRAIN_S),
                first_answer_s=first_answer_s,
                expected_s=warmup_s + load.expected_s,
                most_connections=-(-window // clients),
                duration_s=duration_s,
                requests=requests,
            )
    return planned, notes


def _or_default(value: float | None, usual: float) -> float:
    return usual if value is None else value


def _windows(
    config: ExperimentConfig, inputs: InputSource, replicas: int, remote: Remote | None
) -> tuple[int, int, int | None]:
    """Usual requests in flight, those at which an open loop ends, and those that connections carry, None for any."""
    if remote is None:
        return default_window(inputs.payload_bytes, config.serve.batch_size * max(1, replicas)), MAX_OUTSTANDING, None
    places = -(-remote.places // config.serve.batch_size)
    most = min(MAX_REMOTE_OUTSTANDING, max(1, WINDOW_BYTES // inputs.payload_bytes))
    usual = min(most, max(REMOTE_WINDOW, 4 * places))
    return usual, MAX_REMOTE_OUTSTANDING, remote.options.most_in_flight(config.client.processes)


async def prepare(config: ExperimentConfig) -> Plan:
    """Work out a configuration without starting anything.

    Raises:
        ConfigError: it contradicts itself or the model.
        PlacementError: the machine does not have what it asks for.
        DescribeError: there is no such model.
    """
    return plan_on(config, await survey(config))


def _inputs(config: ExperimentConfig, model: Description) -> InputSource:
    spec = model.input
    if config.inputs.path is not None:
        inputs = config.inputs
        return FileInputs(
            config.inputs.path,
            spec,
            model.pixels,
            inputs.count,
            image_options=inputs.image_options,
            allow_nan=inputs.allow_nan,
            names=model.input_names,
        ).checked()
    if spec.shape is None:
        if isinstance(config.serve, Frontend) and not config.serve.model:
            raise ConfigError(
                f"{{Frontend.application}} {model.name}: the shape of its inputs is not known; "
                "name it with {Frontend.input_shape}, or take them from files with {Inputs.path}"
            )
        if model.input_names:  # of a file; a model without takes what it gets
            raise ConfigError(
                f"{model.name}: takes inputs of any length; "
                "name one with {Deploy.input_shape}, or take them from files with {Inputs.path}"
            )
        spec = replace(spec, shape=(1,))
    if config.inputs.dtype is not None:
        raise FieldError("Inputs.dtype", config.inputs.dtype, _KNOWN_DTYPE, "leave it out, or use {Deploy.input_type}")
    name = model.input_names[0] if len(model.input_names) == 1 else ""
    check_ranges(config.inputs.ranges, {name: spec.dtype})
    bounds = config.inputs.ranges.get(name, config.inputs.ranges.get(""))
    return SeededInputs(spec, model.pixels, config.inputs.count or DRAWN_INPUTS, config.seed, bounds)


def default_window(payload_bytes: int, places: int) -> int:
    """Most requests in flight: enough to keep `places` in batches full four times over, at most 1 GiB otherwise.

    Args:
        payload_bytes: of one request, at least 1.
        places: requests that the server computes at once.
    """
    return max(4 * places, min(MAX_WINDOW, WINDOW_BYTES // payload_bytes))


def replica_options(serve: CataloguedModel, seed: int) -> list[str]:
    """Flags of the replica runtime for a model.

    Args:
        serve: the model.
        seed: of seeded weights.
    """
    options = ["--weights", serve.weights, "--seed", str(seed)]
    if serve.input_shape is not None:
        options += ["--input-shape", "x".join(map(str, serve.input_shape))]
    if serve.input_type is not None:
        options += ["--input-type", serve.input_type]
    if serve.xla:
        options += ["--xla", "1"]
    return options


def _placement_request(
    config: ExperimentConfig, model: Description, topology: Topology, cluster: ClusterTopology | None
) -> tuple[PlacementRequest, tuple[str, ...]]:
    """The request to the planner: the user's values, else the model's defaults as far as the machine has them.

    Args:
        config: what is asked for.
        model: what is served.
        topology: this machine.
        cluster: whose nodes have the replicas; None where this machine has them.
    """
    serve, client = config.serve, config.client
    if not isinstance(serve, Deploy):
        return PlacementRequest(replicas=0, client_cpus=client.cpus, infrastructure=(), clients=client.here), ()
    if serve.gpus and not model.gpu_capable:
        problem = f"{{value}}: {model.name} has no GPU code"
        raise FieldError("Deploy.gpus", core_ranges(serve.gpus), problem, "leave it out")
    if model.max_batch is not None and serve.batch_size > model.max_batch:
        problem = f"{{value}}: {model.name} takes batches of at most {model.max_batch}"
        raise FieldError(
            "Deploy.batch_size", serve.batch_size, problem, f"take {{Deploy.batch_size}} {model.max_batch}"
        )
    replicas = serve.replicas or max(1, len(serve.gpus or ()))
    if serve.frontends > replicas:
        problem = f"{{value}}: each needs a replica, and {{Deploy.replicas}} is {replicas}"
        raise FieldError("Deploy.frontends", serve.frontends, problem, "change one of them")
    if cluster is None:
        defaults = model_defaults(model, topology, replicas, serve.cpus, serve.cpus_per_replica, serve.gpus)
    else:
        defaults = defaults_on(cluster, model, replicas, serve)
    others_named = bool(client.cpus or serve.infrastructure_cpus)
    request = PlacementRequest(
        replicas=replicas,
        cpus_per_replica=defaults.cpus_per_replica,
        cpus=serve.cpus or (None if others_named else defaults.cpus),
        gpus=defaults.gpus,
        client_cpus=client.cpus,
        clients=client.here,
        infrastructure=with_frontends(runtime_of(serve.runtime).infrastructure, serve.frontends),
        infrastructure_cpus=serve.infrastructure_cpus,
        allow_overlap=serve.allow_overlap,
    )
    added = request.gpus[:replicas] if serve.gpus is None else ()
    if not added:
        return request, defaults.notes
    gpus, uses, them = ("GPU", "is", "it") if len(added) == 1 else ("GPUs", "are", "them")
    option = "--gpus none (--model_gpus none)"
    note = f"{gpus} {core_ranges(added)}, {model.name}'s default, {uses} used; {option} leaves {them} out"
    return request, (note, *defaults.notes)


def default_cpus_per_replica(config: ExperimentConfig, context: PlanContext, replicas: int) -> int:
    """The cores of each replica where the user does not say."""
    serve = config.serve
    if not isinstance(serve, Deploy):
        return 1
    if context.cluster is not None:
        return defaults_on(context.cluster, context.model, replicas, serve).cpus_per_replica
    topology = context.topology.reaching(_named_cores(config))
    return model_defaults(
        context.model, topology, replicas, serve.cpus, serve.cpus_per_replica, serve.gpus
    ).cpus_per_replica


def _named_cores(config: ExperimentConfig) -> set[int]:
    """The cores that the user named, for whatever process."""
    serve, named = config.serve, set(config.client.cpus or ())
    return named.union(serve.cpus or (), *serve.infrastructure_cpus.values()) if isinstance(serve, Deploy) else named


def _where_it_was_put(request: PlacementRequest, affinity: tuple[int, ...]) -> tuple[PlacementRequest, str]:
    """The request with the client on the cores where loadgen was started, and a note that it stays there.

    Args:
        request: with cores beyond them, named for others.
        affinity: the cores where loadgen was started.
    """
    taken = {*(request.cpus or ()), *request.named_for_others}
    cores = tuple(core for core in affinity if core not in taken) or affinity
    note = f"the client keeps cores {core_ranges(cores)}, where loadgen was started (taskset, numactl)"
    return replace(request, client_cpus=cores, client_named_by="the affinity of loadgen"), note
