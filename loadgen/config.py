"""What an experiment shall do, and what that comes to on a machine: options in, plan out, nothing started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path

from frontend_launch.launch.placement import CONTAINERS, FRONTENDS, Placement, PlacementRequest, plan, several
from frontend_launch.launch.topology import Topology, core_ranges, discover
from frontend_launch.models import describe
from frontend_launch.ports import Ports
from loadgen.errors import ConfigError
from loadgen.judging.slo import Condition
from loadgen.load import requests_log
from loadgen.load.arrivals import Arrivals
from loadgen.load.inputs import FileInputs, InputSource, SeededInputs
from loadgen.targets.discover import look
from loadgen.targets.remote import Asked, Remote, TargetOptions
from model_containers.model import Description

MAX_BATCH = 65_536
MAX_PORT = 65_535
MAX_CLIENTS = 256
MAX_WINDOW = 10_000
MAX_OUTSTANDING = 1_000_000
"""With a schedule: requests in flight at which a run is given up, about 1 GB of what ZeroMQ keeps for each."""

MAX_REMOTE_OUTSTANDING = 20_000
"""The same where each request is a stream or waits for a connection, about 20 KB of what those keep."""

REMOTE_WINDOW = 64
"""Requests in flight at somebody else's server, or four times what it says that it computes at once."""

SEEDED_INPUTS = 32
RUNTIMES = ("process", "docker")
WARMUP_S = 1.0
TIMEOUT_S = 60.0
DRAIN_S = 5.0
SCHEDULE_DRAIN_S = 10.0
WINDOW_BYTES = 1 << 30
"""By default so many requests may be in flight, and so many bytes of them."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A frontend that already runs.

    Attributes:
        host: where.
        application: the application to ask; None for the model's name.
    """

    host: str
    application: str | None = None


@dataclass(frozen=True, slots=True)
class ExperimentConfig:
    """What `saturate` shall do; the defaults are those of the command line.

    Attributes:
        model: its name in the catalogue.
        duration_s: length of the measured part; without meaning when `requests` is given.
        requests: stop after so many requests instead.
        warmup_s: time before the measured part; None means 1 s, or none when stopping by count.
        batch_size: largest batch a replica is given.
        replicas: how many; None means one per GPU, else 1.
        cpus: cores for replicas; None leaves the choice to the planner.
        cpus_per_replica: None means the model's default.
        gpus: None means the model's defaults that exist; empty forces the CPU.
        client_cpus: cores for the client; None leaves the choice to the planner.
        clients: client processes; with 1 it is this one that sends.
        until_steady: end the run before its time when throughput and p99 do not change any more.
        topology: the machine; None means this one.
        arrivals: when to send; None for as soon as there is room in flight. Its duration is that of the measured part.
        timeout_s: patience for one reply; None for any, or 60 s from the planned time where there is one.
        stall_s: time without a completion after which the run has failed.
        max_in_flight: None means the smaller of 10 000 and 1 GiB of payloads, at least 4 full batches a replica; with
            arrivals, a million, at which the run is given up.
        input: a file or directory of inputs; None draws them.
        input_type: what inputs are made of, as the wire names it; None for the model's usual type.
        input_shape: of one input, for a model that takes several.
        inputs: how many distinct inputs are sent; None means 32 that are drawn, or all of the files.
        verify: compare every so many-th answer with the right one; None to believe them.
        weights: ``seeded``, ``imagenet`` or a file.
        xla: compile the model with XLA.
        seed: of inputs and weights.
        log_every_s: length of a logging interval.
        results_dir: where the results go.
        ports: ports of the frontends, whether they are started or run already.
        drain_s: after the run, wait so long for what is outstanding; 0 means not at all, None 5 s for a frontend that
            runs already, 10 s with arrivals, else not at all.
        requests_log: file for a row per request, npz or csv.
        fail_if: conditions that are not to come true.
        connection: use a frontend that already runs, and start nothing.
        target: use a model on somebody else's server, and start nothing; `model` is then without meaning.
        ready_timeout_s: patience for replicas to load and warm up.
        runtime: ``process``, or ``docker`` for containers.
        image: of the replicas' containers; empty for the model's.
        infrastructure_cpus: cores for what is started beside the replicas, by role; the planner chooses the others.
        allow_overlap: whether cores that are named here may overlap; otherwise that is refused.
        frontends: query frontends, each with its share of the replicas and of the load.
    """

    model: str
    duration_s: float = 120.0
    requests: int | None = None
    warmup_s: float | None = None
    arrivals: Arrivals | None = None
    batch_size: int = 2
    replicas: int | None = None
    cpus: tuple[int, ...] | None = None
    cpus_per_replica: int | None = None
    gpus: tuple[int, ...] | None = None
    client_cpus: tuple[int, ...] | None = None
    clients: int = 1
    until_steady: bool = False
    topology: Topology | None = None
    timeout_s: float | None = None
    stall_s: float = 60.0
    drain_s: float | None = None
    requests_log: Path | None = None
    fail_if: tuple[Condition, ...] = ()
    max_in_flight: int | None = None
    input: Path | None = None
    input_type: str | None = None
    input_shape: tuple[int, ...] | None = None
    inputs: int | None = None
    verify: int | None = None
    weights: str = "seeded"
    xla: bool = False
    seed: int = 0
    log_every_s: float = 3.0
    results_dir: Path = Path("results")
    ports: Ports = field(default_factory=Ports)
    connection: Connection | None = None
    target: TargetOptions | None = None
    ready_timeout_s: float = 180.0
    runtime: str = "process"
    image: str = ""
    infrastructure_cpus: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    allow_overlap: bool = False
    frontends: int = 1

    @property
    def starts(self) -> bool:
        """Whether a deployment of our own is started."""
        return self.connection is None and self.target is None

    @property
    def timeout_or_default_s(self) -> float | None:
        """Patience for one reply."""
        return TIMEOUT_S if self.timeout_s is None and self.arrivals is not None else self.timeout_s

    @property
    def drain_or_default_s(self) -> float:
        """Patience for what is outstanding at the end; none for what goes down with our own deployment."""
        if self.drain_s is not None:
            return self.drain_s
        return SCHEDULE_DRAIN_S if self.arrivals is not None else 0.0 if self.starts else DRAIN_S

    @property
    def warmup_or_default_s(self) -> float:
        """Time before the measured part."""
        if self.warmup_s is not None:
            return self.warmup_s
        return WARMUP_S if self.requests is None else 0.0


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
        remote = await look(config.target)
        return Ground(remote.description, remote.inputs(_asked(config)), config.topology or discover(), remote)
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
    inputs = ground.inputs if remote is None else remote.inputs(_asked(config))
    window = config.max_in_flight or max(_usual_window(config, inputs, request.replicas, remote), config.clients)
    most = None if remote is None or config.arrivals is not None else remote.options.most_in_flight(config.clients)
    if most is not None and most < window:
        window = most
        notes += (f"{most} requests in flight at most: over HTTP a connection carries one at a time (--connections)",)
    placement = plan(ground.topology, request)
    notes += tuple(f"allowed overlap: {line}" for line in placement.overlaps)
    return Plan(config, ground.model, inputs, window, placement, request.cpus_per_replica, notes, remote)


def _asked(config: ExperimentConfig) -> Asked:
    return Asked(config.batch_size, config.input, config.inputs, config.seed)


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
    return SeededInputs(spec, model.pixels, config.inputs or SEEDED_INPUTS, config.seed)


def default_window(payload_bytes: int, places: int) -> int:
    """Most requests in flight: enough to keep `places` in batches full four times over, at most 1 GiB otherwise.

    Args:
        payload_bytes: of one request, at least 1.
        places: requests that the server computes at once.
    """
    return max(4 * places, min(MAX_WINDOW, WINDOW_BYTES // payload_bytes))


def check(config: ExperimentConfig) -> None:
    """Refuse what makes no sense whatever the model and the machine.

    Raises:
        ConfigError: something does not.
    """
    positive = {
        "--duration": config.duration_s,
        "--batch-size": config.batch_size,
        "--log-every": config.log_every_s,
        "--stall": config.stall_s,
        "--inputs": config.inputs,
        "--requests": config.requests,
        "--verify": config.verify,
        "--replicas": config.replicas,
        "--timeout": config.timeout_s,
        "--ready-timeout": config.ready_timeout_s,
        "--max-in-flight": config.max_in_flight,
        "--cpus-per-replica": config.cpus_per_replica,
        "--clients": config.clients,
        "--frontends": config.frontends,
    }
    for option, value in positive.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{option} {value:g} is not positive")
    if config.batch_size > MAX_BATCH:
        raise ConfigError(f"--batch-size {config.batch_size} is too large: at most {MAX_BATCH}")
    if config.clients > MAX_CLIENTS:
        raise ConfigError(f"--clients {config.clients} are too many: use at most {MAX_CLIENTS}")
    shares = {"--requests": config.requests, "--max-in-flight": config.max_in_flight}
    for option, value in shares.items():
        if value is not None and config.clients > value:
            raise ConfigError(f"--clients {config.clients} is more than {option} {value}: use at most {value}")
    _check_ports(config.ports, config.starts)
    if config.runtime not in RUNTIMES:
        raise ConfigError(f"--runtime {config.runtime} is none: choose {' or '.join(RUNTIMES)}")
    if config.requests_log is not None:
        requests_log.check(config.requests_log)
    if config.image and config.runtime != "docker":
        raise ConfigError(f"--image {config.image} means nothing without --runtime docker")
    for option, value in (("--warmup", config.warmup_s), ("--drain", config.drain_s)):
        if value is not None and not value >= 0:
            raise ConfigError(f"{option} {value:g} is negative")


def _check_ports(ports: Ports, ours: bool) -> None:
    """Refuse numbers that are no ports; 0, which is any free one, only means something where we bind them."""
    numbers = asdict(ports)
    for name, number in numbers.items():
        if not (0 if ours else 1) <= number <= MAX_PORT and (ours or name not in ("replica", "redis")):
            raise ConfigError(f"--{name}-port {number} is no port: {'0, or ' if ours else ''}1 to {MAX_PORT}")
    for first, second in combinations(numbers, 2):
        if ours and numbers[first] and numbers[first] == numbers[second]:
            raise ConfigError(f"--{first}-port and --{second}-port are both {numbers[first]}: choose different ones")


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
        infrastructure=several(CONTAINERS if config.runtime == "docker" else FRONTENDS, config.frontends),
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
