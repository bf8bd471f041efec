"""What the user asks of an experiment, and the refusals of requests that contradict themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

from frontend_launch.launch.runtimes import RUNTIMES
from frontend_launch.launch.topology import Topology
from frontend_launch.ports import Ports
from loadgen.errors import ConfigError
from loadgen.judging.slo import Condition
from loadgen.load import requests_log
from loadgen.load.arrivals import Arrivals
from loadgen.targets.remote import TargetOptions

MAX_BATCH = 65_536
MAX_PORT = 65_535
MAX_CLIENTS = 256
WARMUP_S = 1.0
TIMEOUT_S = 60.0
DRAIN_S = 5.0
SCHEDULE_DRAIN_S = 10.0


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
