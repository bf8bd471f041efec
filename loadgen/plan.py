"""Resolves a configuration on a machine: model, inputs, window and placement; starts nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from frontend_launch.integers import core_ranges
from frontend_launch.launch.placement import Placement, PlacementRequest, plan, several
from frontend_launch.launch.runtimes import RUNTIMES
from frontend_launch.launch.topology import Topology, discover
from frontend_launch.models import describe
from loadgen.config import ExperimentConfig, check
from loadgen.errors import ConfigError
from loadgen.load.inputs import DRAWN_INPUTS, FileInputs, InputSource, SeededInputs
from loadgen.targets.discover import discover_remote
from loadgen.targets.remote import Remote, RequestOptions
from model_containers.model import Description

MAX_WINDOW = 10_000
MAX_OUTSTANDING = 1_000_000
"""With a schedule: requests in flight at which a run is given up, about 1 GB of what ZeroMQ keeps for each."""

MAX_REMOTE_OUTSTANDING = 20_000
"""The same where each request is a stream or waits for a connection, about 20 KB of what those keep."""

REMOTE_WINDOW = 64
"""Requests in flight at somebody else's server, or four times what it says that it computes at once."""

WINDOW_BYTES = 1 << 30
"""By default so many requests may be in flight, and so many bytes of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration comes to on a machine.

    Attributes:
        config: the configuration.
        model: what its model says of itself.
        inputs: what will be sent.
        window: most requests in flight.
        placement: where everything runs.
        cpus_per_replica: cores of each replica that has no GPU.
        notes: where this machine made the plan depart from the model's defaults.
        remote: the model on somebody else's server; None where it is one of ours, or behind a query frontend.
    """

    config: ExperimentConfig
    model: Description
    inputs: InputSource
    window: int
    placement: Placement
    cpus_per_replica: int
    notes: tuple[str, ...] = ()
    remote: Remote | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """What a plan stands on, the same for all sizes of a deployment.

    Attributes:
        model: what the model says of itself.
        inputs: what will be sent.
        topology: the machine.
        remote: the model on somebody else's server; then `inputs` are those of the batch size that was surveyed.
    """

    model: Description
    inputs: InputSource
    topology: Topology
    remote: Remote | None = None


async def survey(config: ExperimentConfig) -> Ground:
    """Find out what a plan stands on.

    Raises:
        ConfigError: the inputs are not what the model takes.
        DescribeError: there is no such model.
        TargetError: somebody else's server cannot be reached, or has no such model.
    """
    if config.target is not None:
        if config.verify is not None:
            raise ConfigError(f"--verify {config.verify}: nobody knows what --target should answer: leave it out")
        remote = await discover_remote(config.target)
        return Ground(
            remote.description, remote.inputs(_request_options(config)), config.topology or discover(), remote
        )
    model = await describe(config.model, replica_options(config))
    return Ground(model, _inputs(config, model), config.topology or discover())


def plan_on(config: ExperimentConfig, ground: Ground) -> Plan:
    """Work out a configuration.

    Args:
        config: what is asked for.
        ground: the machine and the model that it is worked out for.

    Raises:
        ConfigError: it contradicts itself or the model.
        PlacementError: the machine does not have what it asks for.
    """
    check(config)
    request, notes = _placement_request(config, ground.model, ground.topology)
    remote = ground.remote
    inputs = ground.inputs if remote is None else remote.inputs(_request_options(config))
    window = config.max_in_flight or max(_usual_window(config, inputs, request.replicas, remote), config.clients)
    most = None if remote is None or config.arrivals is not None else remote.options.most_in_flight(config.clients)
    if most is not None and most < window:
        window = most
        notes += (f"{most} requests in flight at most: over HTTP a connection carries one at a time (--connections)",)
    placement = plan(ground.topology, request)
    notes += tuple(f"allowed overlap: {line}" for line in placement.overlaps)
    return Plan(config, ground.model, inputs, window, placement, request.cpus_per_replica, notes, remote)


def _request_options(config: ExperimentConfig) -> RequestOptions:
    return RequestOptions(config.batch_size, config.input, config.inputs, config.seed)


def _usual_window(config: ExperimentConfig, inputs: InputSource, replicas: int, remote: Remote | None) -> int:
    """Most requests in flight where the user does not say."""
    if config.arrivals is not None:
        return MAX_OUTSTANDING if remote is None else MAX_REMOTE_OUTSTANDING
    if remote is None:
        return default_window(inputs.payload_bytes, config.batch_size * max(1, replicas))
    places = -(-remote.places // config.batch_size)
    most = min(MAX_REMOTE_OUTSTANDING, max(1, WINDOW_BYTES // inputs.payload_bytes))
    return min(most, max(REMOTE_WINDOW, 4 * places))


async def prepare(config: ExperimentConfig) -> Plan:
    """Work out a configuration without starting anything.

    Raises:
        ConfigError: it contradicts itself or the model.
        PlacementError: the machine does not have what it asks for.
        DescribeError: there is no such model.
    """
    check(config)
    return plan_on(config, await survey(config))


def _inputs(config: ExperimentConfig, model: Description) -> InputSource:
    spec = model.input
    if config.input is not None:
        return FileInputs(config.input, spec, model.pixels, config.inputs).looked_at()
    if spec.shape is None:
        spec = replace(spec, shape=(1,))
    return SeededInputs(spec, model.pixels, config.inputs or DRAWN_INPUTS, config.seed)


def default_window(payload_bytes: int, places: int) -> int:
    """Most requests in flight: enough to keep `places` in batches full four times over, at most 1 GiB otherwise.

    Args:
        payload_bytes: of one request, at least 1.
        places: requests that the server computes at once.
    """
    return max(4 * places, min(MAX_WINDOW, WINDOW_BYTES // payload_bytes))


def replica_options(config: ExperimentConfig) -> list[str]:
    """Flags of the replica runtime that this configuration comes to."""
    options = ["--weights", config.weights, "--seed", str(config.seed)]
    if config.input_shape is not None:
        options += ["--input-shape", "x".join(map(str, config.input_shape))]
    if config.input_type is not None:
        options += ["--input-type", config.input_type]
    if config.xla:
        options += ["--xla", "1"]
    return options


def _placement_request(
    config: ExperimentConfig, model: Description, topology: Topology
) -> tuple[PlacementRequest, tuple[str, ...]]:
    """What to ask of the planner: what the user said, else the model's defaults as far as the machine has them."""
    if not config.starts:
        request = PlacementRequest(
            replicas=0, client_cpus=config.client_cpus, infrastructure=(), clients=config.clients
        )
        return request, ()
    if config.gpus and not model.gpu_capable:
        raise ConfigError(f"--gpus {core_ranges(config.gpus)}: {model.name} has no GPU code; leave the option out")
    replicas = config.replicas or max(1, len(config.gpus or ()))
    if config.frontends > replicas:
        raise ConfigError(
            f"--frontends {config.frontends}: each needs a replica, and --replicas is {replicas}: change one of them"
        )
    defaults = model_defaults(model, topology, replicas, config.cpus, config.cpus_per_replica, config.gpus)
    others_named = bool(config.client_cpus or config.infrastructure_cpus)
    request = PlacementRequest(
        replicas=replicas,
        cpus_per_replica=defaults.cpus_per_replica,
        cpus=config.cpus or (None if others_named else defaults.cpus),
        gpus=defaults.gpus,
        client_cpus=config.client_cpus,
        clients=config.clients,
        infrastructure=several(RUNTIMES[config.runtime].infrastructure, config.frontends),
        infrastructure_cpus=config.infrastructure_cpus,
        allow_overlap=config.allow_overlap,
    )
    return request, defaults.notes


@dataclass(frozen=True, slots=True)
class ModelDefaults:
    """Where a model's replicas run on a machine when the user does not say.

    Attributes:
        cpus: the cores of all replicas; None leaves them to the planner.
        cpus_per_replica: of each.
        gpus: the model's that exist.
        notes: a line for each of the model's own defaults that the machine does not have.
    """

    cpus: tuple[int, ...] | None
    cpus_per_replica: int
    gpus: tuple[int, ...]
    notes: tuple[str, ...]


def model_defaults(
    model: Description,
    topology: Topology,
    replicas: int = 1,
    cpus: tuple[int, ...] | None = None,
    cpus_per_replica: int | None = None,
    gpus: tuple[int, ...] | None = None,
) -> ModelDefaults:
    """A model's defaults, as far as a machine has room for them.

    Args:
        model: the model.
        topology: the machine.
        replicas: how many are to run.
        cpus: the cores of those that get no GPU, if the user said.
        cpus_per_replica: the cores of each, if the user said.
        gpus: if the user said.
    """
    notes = []
    if gpus is None:
        gpus = tuple(gpu for gpu in model.gpus if gpu in topology.gpus)
        if gpus != model.gpus:
            notes.append(f"{model.name}'s default GPU {core_ranges(model.gpus)}: not here")
    on_cpus = replicas - min(replicas, len(gpus))
    # Client and frontends want one core at least, unless the user says what the replicas take.
    room = (len(topology.cores) - (cpus is None)) // replicas
    if cpus is not None and on_cpus:
        room = min(len(cpus) // on_cpus, room)
    each = cpus_per_replica or max(1, min(model.cpus_per_replica, room))
    if each < model.cpus_per_replica and cpus_per_replica is None:
        notes.insert(0, f"{model.name}'s default {model.cpus_per_replica} cores per replica: there is room for {each}")
    if cpus is None and model.cpus:
        if set(model.cpus) <= set(topology.cores) and on_cpus * each <= len(model.cpus):
            cpus = model.cpus
        else:
            notes.append(
                f"{model.name}'s default cores {core_ranges(model.cpus)}: not here, or too few; others are planned"
            )
    return ModelDefaults(cpus, each, gpus, tuple(notes))
