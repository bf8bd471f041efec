"""One deployment: frontends and replicas up, registered and warm on the way in, all of it gone on the way out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from frontend_launch.admin import AdminClient
from frontend_launch.errors import LaunchError
from frontend_launch.launch.placement import Assignment, Placement, difference
from frontend_launch.launch.process import Command, Process, affinity, start
from frontend_launch.ports import Ports
from model_containers.model import Description

log = logging.getLogger(__name__)

MODEL_VERSION = "1"
DEFAULT_OUTPUT = "TIMEOUT"
LATENCY_SLO_MICROS = 500_000
"""What the original's driver registers; the objective orders the queue and has no other effect."""

FRONTENDS_TIMEOUT_S = 30.0
TELL_EVERY_S = 5.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a query frontend and its management frontend are reached."""

    host: str
    ports: Ports


@dataclass(frozen=True, slots=True)
class DeploymentConfig:
    """What to bring up.

    Attributes:
        model: what the replicas serve.
        model_name: its name in the catalogue.
        placement: where everything runs.
        max_batch: the largest batch a replica is given.
        ports: ports to bind.
        replica_options: further flags of the replica runtime.
        ready_timeout_s: patience for the replicas to load, warm up and register.
    """

    model: Description
    model_name: str
    placement: Placement
    max_batch: int
    ports: Ports = field(default_factory=Ports)
    replica_options: tuple[str, ...] = ()
    ready_timeout_s: float = 180.0


def model_environment(model: Description, assignment: Assignment) -> dict[str, str]:
    """The variables that make a model compute where it is placed."""
    return {
        "CLIPPER_INPUT_TYPE": model.input.data_type.canonical,
        "LOADGEN_THREADS": str(len(assignment.cores)),
        "LOADGEN_GPU": "0" if assignment.gpu is None else "1",
        # A replica sees its own GPU and no other.
        "CUDA_VISIBLE_DEVICES": "" if assignment.gpu is None else str(assignment.gpu),
    }


class Deployment:
    """Use as an async context manager; everything binds to 127.0.0.1.

    Attributes:
        endpoints: where the frontends are reached.
        processes: by role.
        failed: set when the deployment can serve no more: the frontends died, or the last replica.
        failure: why.
        log_directory: the logs of all processes; gone with the deployment.

    Raises:
        LaunchError: something cannot be started, or is not ready in time; nothing is left behind.
        AdminError: the management frontend refuses the registration.
    """

    def __init__(self, config: DeploymentConfig) -> None:
        self.endpoints: list[Endpoint] = []
        self.processes: dict[str, Process] = {}
        self.failed = asyncio.Event()
        self.failure: LaunchError | None = None
        self._config = config
        self._stack = contextlib.AsyncExitStack()
        self._stopping = False

    async def __aenter__(self) -> Deployment:
        async with contextlib.AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="loadgen-"))
            self.log_directory = Path(directory)
            stack.push_async_callback(self._stop)
            endpoint = await self._start_frontends()
            admin_url = f"http://{endpoint.host}:{endpoint.ports.admin}"
            admin = await stack.enter_async_context(AdminClient(admin_url))
            await self._register(admin)
            for assignment in self._config.placement.replicas:
                await self._start_replica(assignment, endpoint)
            await self._until_ready(admin)
            self._check_placement()
            self.endpoints.append(endpoint)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def log_tails(self) -> str:
        """The end of each process's log."""
        tails = ((role, process.log_tail()) for role, process in self.processes.items())
        return "\n".join(f"--- {role}\n{tail}" for role, tail in tails if tail)

    async def _start_frontends(self) -> Endpoint:
        ports = self._config.ports
        arguments = ["-m", "frontend_launch", "serve"]
        for name in ("request", "response", "replica", "metrics", "admin"):
            arguments += [f"--{name}-port", str(getattr(ports, name))]
        command = Command("frontends", arguments, self._config.placement["frontends"].cores)
        process = await self._start(command, read_stdout=True)
        try:
            bound = json.loads(await asyncio.wait_for(process.stdout.readline(), FRONTENDS_TIMEOUT_S))
        except TimeoutError:
            text = f"the frontends said nothing within {FRONTENDS_TIMEOUT_S:.0f} s"
            raise LaunchError(text, process.log_tail()) from None
        except ValueError:  # they ended without a line of JSON; the last of their log is one clear line
            raise LaunchError(process.log_tail(lines=1) or "the frontends ended at once") from None
        return Endpoint("127.0.0.1", Ports(**bound))

    async def _start_replica(self, assignment: Assignment, endpoint: Endpoint) -> None:
        config = self._config
        log_file = self.log_directory / f"{assignment.role}.log"
        arguments = ["-m", "model_containers", "serve", config.model_name, *config.replica_options]
        environment = {
            "CLIPPER_MODEL_NAME": config.model.name,
            "CLIPPER_MODEL_VERSION": MODEL_VERSION,
            "CLIPPER_IP": endpoint.host,
            "CLIPPER_PORT": str(endpoint.ports.replica),
            "LOADGEN_REPLY_TIMES": "1",
            "LOADGEN_MAX_BATCH": str(config.max_batch),
            "LOADGEN_LOG_FILE": str(log_file),
            **model_environment(config.model, assignment),
        }
        await self._start(Command(assignment.role, arguments, assignment.cores, environment))

    async def _start(self, command: Command, *, read_stdout: bool = False) -> Process:
        process = await start(command, self.log_directory, read_stdout=read_stdout)
        self.processes[process.role] = process
        process.exited.add_done_callback(lambda _: self._exited(process))
        return process

    async def _register(self, admin: AdminClient) -> None:
        """Through REST, in every runtime: the application, the model with its batch size, their link."""
        model, config = self._config.model, self._config
        input_type = model.input.data_type
        await admin.register_application(model.name, input_type, DEFAULT_OUTPUT, LATENCY_SLO_MICROS)
        await admin.register_model(model.name, MODEL_VERSION, input_type, batch_size=config.max_batch)
        await admin.link_model(model.name, model.name)

    async def _until_ready(self, admin: AdminClient) -> None:
        """Wait until every replica has registered, which it does when it is loaded and warm."""
        wanted = len(self._config.placement.replicas)
        began_s = told_s = time.monotonic()
        while (ready := len(await admin.replicas(self._config.model.name, MODEL_VERSION))) < wanted:
            now_s = time.monotonic()
            gone = [process for process in self.processes.values() if process.exited.done()]
            if gone:
                text = f"{gone[0].role} ended with exit code {gone[0].exited.result()} before it was ready"
                raise LaunchError(text, gone[0].log_tail())
            if now_s - began_s > self._config.ready_timeout_s:
                text = f"{ready} of {wanted} replicas ready within {self._config.ready_timeout_s:.0f} s"
                raise LaunchError(text, self.log_tails())
            if now_s - told_s >= TELL_EVERY_S:
                log.info("%d of %d replicas ready after %.0f s", ready, wanted, now_s - began_s)
                told_s = now_s
            await asyncio.sleep(POLL_S)
        log.info("%d of %d replicas ready after %.1f s", wanted, wanted, time.monotonic() - began_s)

    def _check_placement(self) -> None:
        """Compare the plan with what the kernel says.

        Raises:
            LaunchError: they differ.
        """
        pids = {"client": os.getpid(), **{role: process.pid for role, process in self.processes.items()}}
        observed = {role: affinity(pid) for role, pid in pids.items()}
        differences = difference(self._config.placement, observed)
        if differences:
            raise LaunchError("the kernel does not run the plan: " + "; ".join(differences))

    def _exited(self, process: Process) -> None:
        """A process ended: expected while stopping, else it is said, and the last replica or the frontends fail us."""
        if self._stopping:
            return
        code = process.exited.result()
        left = sum(not p.exited.done() for role, p in self.processes.items() if role.startswith("replica"))
        if process.role == "frontends":
            self._fail(LaunchError(f"the frontends ended with exit code {code}", process.log_tail()))
        elif left == 0:
            self._fail(
                LaunchError(f"{process.role}, the last replica, ended with exit code {code}", process.log_tail())
            )
        else:
            log.warning("%s ended with exit code %s; %d replicas go on", process.role, code, left)

    def _fail(self, failure: LaunchError) -> None:
        if self.failure is None:
            if failure.log_tail:
                log.error("%s; the end of its log:\n%s", failure, failure.log_tail)
            self.failure = failure
            self.failed.set()

    async def _stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*(process.stop() for process in reversed(self.processes.values())))
