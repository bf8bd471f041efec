"""What is served: a deployment that is started for the run, a frontend that runs, or an external server."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Self

from frontend_launch.integers import core_ranges
from frontend_launch.launch.runtimes import CLUSTER, RUNTIMES, known
from frontend_launch.launch.topology import Topology
from frontend_launch.ports import FRONTEND_PORTS, MAX_PORT, Ports, is_loopback
from loadgen.checks import finite, host, instance, whole, words
from loadgen.constraints import MAX_DURATION_S
from loadgen.errors import ConfigError, FieldError
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.remote import TargetOptions

MAX_BATCH = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedModel:
    """A model that the replica runtime knows, behind query frontends.

    Attributes:
        model: its name in the catalogue, ``package.module:factory`` or ``onnx:FILE``.
        batch_size: largest batch that a replica is given.
        weights: ``seeded``, ``imagenet`` or a file.
        xla: compile the model with XLA.
        input_type: what inputs are made of, as the wire names it; None for the model's usual type.
        input_shape: of one input, for a model that takes several.
        verify: compare one answer in this many with the right one; None to compare none.
        ports: ports of the frontends.
        ready_timeout_s: patience for the model to load and warm up.
    """

    model: str = field(kw_only=False)
    batch_size: int = 2
    weights: str = "seeded"
    xla: bool = False
    input_type: str | None = None
    input_shape: tuple[int, ...] | None = None
    verify: int | None = None
    ports: Ports = field(default_factory=Ports)
    ready_timeout_s: float = 180.0

    def __post_init__(self) -> None:
        words(self, *(() if isinstance(self, Frontend) and not self.model else ("model",)), "weights", "input_type")
        instance(self, "ports", of=(Ports,))
        whole(self, "verify")
        whole(self, "input_shape", each=True)
        whole(self, "batch_size", most=MAX_BATCH)
        finite(self, "ready_timeout_s", most=MAX_DURATION_S)
        _check_ports(self.ports, isinstance(self, Deploy))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy(CataloguedModel):
    """A deployment that is started for the run.

    Attributes:
        replicas: how many; None means one per GPU, else 1.
        cpus_per_replica: None means the model's default.
        cpus: cores for replicas; None leaves the choice to the planner.
        gpus: None means the model's defaults that exist; empty forces the CPU.
        frontends: query frontends, each with its share of the replicas and of the load.
        infrastructure_cpus: cores for what is started beside the replicas, by role; the planner chooses the others.
        allow_overlap: whether cores that are named here may overlap; otherwise that is refused.
        topology: the machine, or several: the nodes of a cluster, the first with the client; None means what there is.
        runtime: ``process``, ``docker`` for containers, or a cluster: ``ray``, ``ray://HOST:PORT``, ``ray:local``.
        image: of the replicas' containers; empty for the model's.
        restart_replicas: replace a replica that died or hangs.
        publish_address: of this machine, IPv4, on which the frontends' ports are bound or published.
        local_token: have credentials on loopback too, so that other users of this machine are not served.
        insecure: have none beyond loopback, for peers of 2017.
        named_ports: names of the ports that must be free. If one of the other ports is in use, all others are replaced
            by free ports.
    """

    replicas: int | None = None
    cpus_per_replica: int | None = None
    cpus: tuple[int, ...] | None = None
    gpus: tuple[int, ...] | None = None
    frontends: int = 1
    infrastructure_cpus: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    allow_overlap: bool = False
    topology: Topology | tuple[Topology, ...] | None = None
    runtime: str = "process"
    image: str = ""
    restart_replicas: bool = False
    publish_address: str = "127.0.0.1"
    local_token: bool = False
    insecure: bool = False
    named_ports: tuple[str, ...] = ()

    @property
    def wants_credentials(self) -> bool:
        """Whether the frontends serve only peers that have the credentials of the deployment."""
        local = is_loopback(self.publish_address) and not self.on_cluster
        return self.local_token or not (self.insecure or local)

    @property
    def machines(self) -> tuple[Topology, ...]:
        """Those of `topology`."""
        match self.topology:
            case None:
                return ()
            case Topology() as machine:
                return (machine,)
            case machines:
                return machines

    @property
    def described(self) -> bool:
        """Whether machines are in words: all that comes of it is a plan."""
        return any(machine.words for machine in self.machines)

    def check_not_described(self) -> None:
        """Refuse a machine in words, on which nothing can run."""
        if self.described:
            raise ConfigError("{Deploy.topology}: describes a machine, on which nothing can run; leave it out")

    @property
    def on_cluster(self) -> bool:
        """Whether replicas and frontends run on the nodes of a cluster."""
        return CLUSTER.fullmatch(self.runtime) is not None

    def __post_init__(self) -> None:
        CataloguedModel.__post_init__(self)
        whole(self, "replicas", "cpus_per_replica", "frontends")
        whole(self, "cpus", "gpus", least=0, each=True)
        instance(self, "infrastructure_cpus", of=(Mapping,))
        instance(self, "topology", of=(Topology, tuple))
        if self.image != "":
            words(self, "image")
        if self.insecure and self.local_token:
            raise FieldError("Deploy.insecure", True, "contradicts {Deploy.local_token}", "leave one of them out")
        if unknown := next((name for name in self.named_ports if name not in FRONTEND_PORTS), None):
            raise ConfigError(f"named_ports {unknown}: unknown; choose from {', '.join(FRONTEND_PORTS)}")
        if not _is_ipv4(self.publish_address):
            problem, remedy = "is not an IPv4 address", "use one of this machine's, such as 0.0.0.0 for all"
            raise FieldError("Deploy.publish_address", self.publish_address, problem, remedy)
        if self.runtime.partition(":")[0] == "ray":
            check_cluster("Deploy.runtime", self.runtime)
        if not known(self.runtime):
            raise FieldError("Deploy.runtime", self.runtime, "is unknown", f"choose {', '.join(RUNTIMES)}")
        if self.ports.redis is not None and self.runtime != "docker":
            problem, remedy = "needs {Deploy.runtime} docker", "add that, or leave it out"
            raise FieldError("Ports.redis", self.ports.redis, problem, remedy)
        if self.image and self.runtime != "docker":
            raise FieldError("Deploy.image", self.image, "needs {Deploy.runtime} docker", "add that, or leave it out")
        if self.on_cluster:
            self._check_cluster()
        elif len(self.machines) > 1:
            second, remedy = self.machines[1], "add {Deploy.runtime} ray, or describe one machine"
            raise FieldError("Deploy.topology", second.words or second.node, "a second machine needs a cluster", remedy)

    def _check_cluster(self) -> None:
        """Refuse what means one machine."""
        one = {name: cores for name, cores in self.infrastructure_cpus.items() if cores}
        if self.cpus is not None:
            problem = f"names cores of one machine, and {{Deploy.runtime}} {self.runtime} plans each node"
            raise FieldError("Deploy.cpus", core_ranges(self.cpus), problem, "use {Deploy.cpus_per_replica}")
        if one:
            role, cores = next(iter(one.items()))
            raise ConfigError(
                f"--{role}-cpus {core_ranges(cores)}: names cores of one machine, "
                f"and {{Deploy.runtime}} {self.runtime} plans each node; leave it out"
            )
        if self.publish_address != "127.0.0.1":
            problem = f"frontends of {{Deploy.runtime}} {self.runtime} listen on the address of their node"
            raise FieldError("Deploy.publish_address", self.publish_address, f"{{value}}: {problem}", "leave it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontend(CataloguedModel):
    """A frontend that already runs.

    Attributes:
        model: see `CataloguedModel`; empty to take any answer of `application`.
        host: where.
        application: the application to ask; None for the model's name.
        credentials: the file with those of its deployment; None where it wants none.
    """

    model: str = field(default="", kw_only=False)
    host: str
    application: str | None = None
    credentials: Path | None = None

    def __post_init__(self) -> None:
        CataloguedModel.__post_init__(self)
        host(self, "host")
        words(self, "application")
        if not self.model and not self.application:
            raise FieldError("Frontend.model", "''", "is missing", "name it, or what {Frontend.application} asks")
        if not self.model and self.verify is not None:
            raise FieldError("Frontend.verify", self.verify, "no reference answers are known", "name {Frontend.model}")


@dataclass(frozen=True, slots=True)
class External:
    """A model on an external server.

    Attributes:
        target: where it is, and how it is asked.
        batch_size: rows of a request.
    """

    target: TargetOptions
    batch_size: int = 1

    def __post_init__(self) -> None:
        instance(self, "target", of=(TargetOptions,))
        whole(self, "batch_size", most=MAX_BATCH)

    @classmethod
    def at(
        cls,
        url: str,
        *,
        batch_size: int = 1,
        access: Access | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        connections: int | None = None,
        shared_memory: bool = False,
        body: str | None = None,
        answer: str | None = None,
        metrics_url: str | None = None,
        method: str | None = None,
        content_type: str | None = None,
        form: tuple[str, ...] = (),
        datatypes: Mapping[str, str] | None = None,
        parameters: Mapping[str, bool | int | float | str] | None = None,
        trust_answers: bool = False,
        unix_socket: Path | None = None,
        tls_server_name: str | None = None,
        wait_ready_s: float | None = None,
    ) -> Self:
        """The model at an address such as ``oip+grpc://host:8001/model``.

        Args:
            url: the address.
            batch_size: see `External`.
            access: see `TargetOptions`, as for all that follow; None for a server that wants nothing.
            shapes: None for those that the server says.
            connections: None to find out.
            shared_memory: inputs lie in shared memory.
            body: the template of a request, for a server that takes JSON.
            answer: where the answer is in the response of such a server.
            metrics_url: None for where such a server usually has them.
            method: None for POST with something to send, and GET without.
            content_type: of the body; None to see it by the body.
            form: the fields of a form in place of a body.
            datatypes: None for those that the server says.
            parameters: of each request of the Open Inference Protocol.
            trust_answers: any answer that is not an error is good.
            unix_socket: that is connected to in place of host and port.
            tls_server_name: by which the server's certificate is checked in place of the host.
            wait_ready_s: patience for the server and the model to be ready; None for none.

        Raises:
            ConfigError: it is no such address, or a value makes no sense.
        """
        options = TargetOptions(
            parse_address(url, unix_socket, tls_server_name),
            access=access or Access(),
            shapes=shapes or {},
            connections=connections,
            shared_memory=shared_memory,
            body=body,
            answer=answer,
            metrics_url=metrics_url,
            method=method,
            content_type=content_type,
            form=form,
            datatypes=datatypes or {},
            parameters=parameters or {},
            trust_answers=trust_answers,
            wait_ready_s=wait_ready_s,
        )
        return cls(options, batch_size)

    @property
    def model(self) -> str:
        """Its name on the server."""
        return self.target.address.model


Served = Deploy | Frontend | External


def _is_ipv4(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(ipaddress.IPv4Address(text))
    except ValueError:
        return False


def check_cluster(field: str, cluster: str) -> None:
    """Refuse what is not the name of a cluster.

    Args:
        field: that names it, with its class.
        cluster: its name.

    Raises:
        FieldError: it names no cluster, or its address has no port.
    """
    found = CLUSTER.fullmatch(cluster)
    if found is None:
        raise FieldError(field, cluster, "names no cluster", "use ray, ray://HOST:PORT or ray:local")
    if found["port"] is not None and not 0 < int(found["port"]) <= MAX_PORT:
        raise FieldError(field, cluster, "has no port", f"use 1 to {MAX_PORT}")


def _check_ports(ports: Ports, ours: bool) -> None:
    """Refuse numbers that are not ports; 0, for any free port, applies only to ports that loadgen binds."""
    named = {name: port for name, port in asdict(ports).items() if (name, port) != ("redis", None)}
    for name, port in named.items():
        if not (isinstance(port, int) and (0 if ours else 1) <= port <= MAX_PORT) and (
            ours or name not in ("replica", "redis")
        ):
            raise FieldError(f"Ports.{name}", port, "is not a port", f"use {'0, or ' if ours else ''}1 to {MAX_PORT}")
    for first, second in combinations(named, 2):
        if ours and named[first] and named[first] == named[second]:
            problem = f"and {{Ports.{second}}}: both {{value}}"
            raise FieldError(f"Ports.{first}", named[first], problem, "choose different ones")
