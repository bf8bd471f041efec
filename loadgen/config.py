"""What an experiment shall do, and what that comes to on a machine: options in, plan out, nothing started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from frontend_launch.launch.placement import Placement, PlacementRequest, plan
from frontend_launch.launch.topology import Topology, core_ranges, discover
from frontend_launch.models import ModelInfo, describe
from frontend_launch.ports import Ports
from loadgen.errors import ConfigError
from loadgen.inputs import SeededInputs

MAX_WINDOW = 10_000
WINDOW_BYTES = 1 << 30
"""By default so many requests may be in flight, and so many bytes of them."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A frontend that already runs.

    Attributes:
        host: where.
        ports: its ports; the replicas' is not used.
        application: the application to ask; None for the model's name.
        drain_s: after the run, wait so long for what is outstanding.
    """

    host: str
    ports: Ports = field(default_factory=Ports)
    application: str | None = None
    drain_s: float = 5.0


@dataclass(frozen=True, slots=True)
class SaturateConfig:
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
        client_cpus: cores for this process; None leaves the choice to the planner.
        topology: the machine; None means this one.
        timeout_s: patience for one reply; None for any.
        stall_s: time without a completion after which the run has failed.
        max_in_flight: None means the smaller of 10 000 and 1 GiB of payloads, at least 4 full batches a replica.
        input_shape: of one input, for a model that takes any.
        inputs: how many distinct inputs are sent.
        weights: ``seeded``, ``imagenet`` or a file.
        seed: of inputs and weights.
        log_every_s: length of a logging interval.
        results_dir: where the results go.
        ports: ports of the frontends that are started.
        connection: use a frontend that already runs, and start nothing.
        ready_timeout_s: patience for replicas to load and warm up.
    """

    model: str
    duration_s: float = 120.0
    requests: int | None = None
    warmup_s: float | None = None
    batch_size: int = 2
    replicas: int | None = None
    cpus: tuple[int, ...] | None = None
    cpus_per_replica: int | None = None
    gpus: tuple[int, ...] | None = None
    client_cpus: tuple[int, ...] | None = None
    topology: Topology | None = None
    timeout_s: float | None = None
    stall_s: float = 60.0
    max_in_flight: int | None = None
    input_shape: tuple[int, ...] | None = None
    inputs: int = 32
    weights: str = "seeded"
    seed: int = 0
    log_every_s: float = 3.0
    results_dir: Path = Path("results")
    ports: Ports = field(default_factory=Ports)
    connection: Connection | None = None
    ready_timeout_s: float = 180.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration comes to on a machine.

    Attributes:
        config: the configuration.
        model: what its model says of itself.
        inputs: what will be sent.
        window: most requests in flight.
        placement: where everything runs.
    """

    config: SaturateConfig
    model: ModelInfo
    inputs: SeededInputs
    window: int
    placement: Placement


async def prepare(config: SaturateConfig) -> Plan:
    """Work out a configuration without starting anything.

    Raises:
        ConfigError: it contradicts itself or the model.
        PlacementError: the machine does not have what it asks for.
        DescribeError: there is no such model.
    """
    _check(config)
    model = await describe(config.model, replica_options(config))
    shape = model.input_shape or config.input_shape or (1,)
    inputs = SeededInputs(shape, model.input_dtype, config.inputs, config.seed)
    topology = config.topology or discover()
    request = _placement_request(config, model, topology)
    window = config.max_in_flight or default_window(inputs.payload_bytes, config.batch_size * max(1, request.replicas))
    return Plan(config, model, inputs, window, plan(topology, request))


def default_window(payload_bytes: int, places: int) -> int:
    """Most requests in flight: enough to keep `places` in batches full four times over, at most 1 GiB otherwise."""
    return max(4 * places, min(MAX_WINDOW, WINDOW_BYTES // payload_bytes))


def _check(config: SaturateConfig) -> None:
    positive = {
        "--duration": config.duration_s,
        "--batch-size": config.batch_size,
        "--log-every": config.log_every_s,
        "--stall": config.stall_s,
        "--inputs": config.inputs,
        "--requests": config.requests,
        "--replicas": config.replicas,
        "--timeout": config.timeout_s,
        "--max-in-flight": config.max_in_flight,
        "--cpus-per-replica": config.cpus_per_replica,
    }
    for option, value in positive.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{option} {value:g} is not positive")
    if config.warmup_s is not None and config.warmup_s < 0:
        raise ConfigError(f"--warmup {config.warmup_s:g} is negative")


def replica_options(config: SaturateConfig) -> list[str]:
    """Flags of the replica runtime that this configuration comes to."""
    options = ["--weights", config.weights, "--seed", str(config.seed)]
    if config.input_shape is not None:
        options += ["--input-shape", "x".join(map(str, config.input_shape))]
    return options


def _placement_request(config: SaturateConfig, model: ModelInfo, topology: Topology) -> PlacementRequest:
    if config.connection is not None:
        return PlacementRequest(replicas=0, client_cpus=config.client_cpus, frontends=False)
    gpus = config.gpus
    if gpus is None:
        gpus = tuple(gpu for gpu in model.gpus if gpu in topology.gpus)
    elif gpus and not model.gpu_capable:
        raise ConfigError(f"--gpus {core_ranges(gpus)}: {model.name} has no GPU code; leave the option out")
    return PlacementRequest(
        replicas=config.replicas or max(1, len(config.gpus or ())),
        cpus_per_replica=config.cpus_per_replica or model.cpus_per_replica,
        cpus=config.cpus,
        gpus=gpus,
        client_cpus=config.client_cpus,
    )
