"""A model on an external server as what is measured."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from multiprocessing import shared_memory
from pathlib import Path

from typing_extensions import override

from loadgen.errors import ClientLimitError, ConfigError, TargetError
from loadgen.load import open_files
from loadgen.load.inputs import InputSource, MadeInputs
from loadgen.load.job import Job
from loadgen.load.runner import Hooks, run
from loadgen.load.target import TargetSpec
from loadgen.plan import Plan, request_options
from loadgen.servers.connections import choose_connections
from loadgen.servers.remote_readings import RemoteReadings
from loadgen.servers.server import Server, ServerFacts, Workload
from loadgen.targets.addresses import resolve
from loadgen.targets.oip.admin import admin_at
from loadgen.targets.oip.model import OipModel
from loadgen.targets.remote import Remote
from model_containers.units import NS_PER_S

log = logging.getLogger(__name__)

TRIAL_S, TRIAL_WINDOW = 0.2, 64

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has it


@dataclass(slots=True)
class RemoteServer(Server):
    """A server that is up, with one model on it.

    Attributes:
        remote: the model.
        found: numbers of connections that sufficed, by requests in flight and bytes of each.
        told: lines that were logged.
    """

    remote: Remote
    found: dict[tuple[int, int], int] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    @property
    @override
    def facts(self) -> ServerFacts:
        return ServerFacts(no_answer_hint=f"is {self.remote.options.address.text} ready to answer?")

    @contextlib.asynccontextmanager
    @override
    async def load(self, plan: Plan, keep_outputs: bool) -> AsyncIterator[Workload]:
        async with contextlib.AsyncExitStack() as stack:
            inputs = plan.inputs
            if self.remote.options.shared_memory:
                inputs = await stack.enter_async_context(self._in_shared_memory(plan))
            connections = await self._connections(plan, inputs)
            target = self.remote.spec(plan.config.serve.batch_size, connections, plan.load.timeout_s)
            yield Workload(inputs, target, connections)

    async def _connections(self, plan: Plan, inputs: InputSource) -> int:
        """The number of connections of each client: the configured number, or one that suffices.

        Raises:
            ClientLimitError: a client cannot open that many files.
        """
        fit = open_files.raise_limit() - open_files.MARGIN
        asked = self.remote.options.connections
        wanted = asked or await self._choose_connections(plan, inputs)
        if wanted <= fit:
            return wanted
        text = f"a client wants {wanted:,} connections, and its limit of open files allows {fit:,}"
        remedy = "raise the limit (ulimit -Hn), or use more client processes"
        if fit < 1:
            reason = f"the limit of open files leaves a client no connection (it needs {open_files.MARGIN} for itself)"
            raise ClientLimitError(f"{reason}; raise the limit (ulimit -Hn)")
        if asked is not None or plan.load.arrivals is None:
            raise ClientLimitError(f"{text}; use {{TargetOptions.connections}} {fit}, {remedy}")
        self._tell(f"{text}, which it uses; {remedy}", logging.WARNING)
        return fit

    def _tell(self, text: str, level: int = logging.INFO) -> None:
        """Log a line once, however many runs it is of.

        Args:
            text: the line.
            level: of the log.
        """
        if text not in self.told:
            self.told.add(text)
            log.log(level, "%s", text)

    async def _choose_connections(self, plan: Plan, inputs: InputSource) -> int:
        """The number of connections that suffices, which is logged unless one request is in flight.

        Over HTTP/1.1 a connection carries one request, so each request in flight has one. Over gRPC a connection
        carries many. Short trials compare one with several, except under a schedule or with a number of requests.
        Each address of the server's name has at least one.
        """
        if not self.remote.options.address.protocol.multiplexed:
            most = plan.load.most_connections
            if most > 1:
                self._tell(f"connections: {most:,} at most, one per request in flight; use --connections N for fewer")
            return most
        address = self.remote.options.address
        try:
            addresses = 1 if address.unix_socket else len(await resolve(address.host, address.port))
        except OSError:  # which connecting will say
            addresses = 1
        return max(addresses, await self._enough_connections(plan, inputs))

    async def _enough_connections(self, plan: Plan, inputs: InputSource) -> int:
        """The same over gRPC, whatever the number of addresses."""
        if plan.load.duration_s is None:
            self._tell("connections: 1, which carries many requests; --connections N says more")
            return 1
        window = min(plan.window, TRIAL_WINDOW)
        key = window, inputs.payload_bytes
        if key not in self.found:
            self.found[key] = await self._try_connections(plan, MadeInputs(inputs, inputs.make()), window)
        return self.found[key]

    async def _try_connections(self, plan: Plan, inputs: InputSource, window: int) -> int:
        async def rate_rps(count: int, in_flight: int) -> float:
            spec = self.remote.spec(plan.config.serve.batch_size, count, plan.load.timeout_s)
            return await _trial(spec, inputs, in_flight)

        found, how = await choose_connections(rate_rps, window, inputs.payload_bytes)
        log.info("connections: %d, %s; --connections N says another number", found, how)
        return found

    @contextlib.asynccontextmanager
    async def _in_shared_memory(self, plan: Plan) -> AsyncIterator[InputSource]:
        """The inputs in a region that the server knows."""
        remote, options = self.remote, self.remote.options
        assert isinstance(remote, OipModel)
        wanted = request_options(plan.config)
        contents = b"".join(content for each in remote.contents(wanted).each() for _, content in each)
        name = f"loadgen-{os.getpid()}-{id(plan):x}"
        with shared(name, contents):
            server = admin_at(options.address, options.access)
            try:
                await server.register_shared_memory(name, f"/{name}", len(contents))
                try:
                    yield remote.inputs(wanted, name)
                finally:
                    try:
                        await server.unregister_shared_memory(name)
                    except TargetError as error:
                        log.warning("the server still has the shared memory %s: %s", name, error)
            finally:
                await server.close()

    @override
    def readings(self) -> RemoteReadings:
        return RemoteReadings(self.remote)

    @override
    async def keep_logs(self, directory: Path) -> None:
        """Does nothing: an external server keeps its own logs."""


@contextlib.contextmanager
def shared(name: str, contents: bytes) -> Iterator[None]:
    """POSIX shared memory with these contents, while the context lasts.

    Args:
        name: without the leading slash; not in use yet.
        contents: copied; empty contents make a region of one byte.

    Raises:
        ConfigError: the machine has too little shared memory.
    """
    size_bytes = max(1, len(contents))
    with contextlib.ExitStack() as stack:
        try:
            memory = shared_memory.SharedMemory(name, create=True, size=size_bytes)
            stack.callback(memory.unlink)
            stack.callback(memory.close)
            with open(SHARED_MEMORY / name, "r+b") as file:  # without room for it, writing would end the process
                os.posix_fallocate(file.fileno(), 0, size_bytes)
        except OSError as error:
            problem = f"{size_bytes} bytes cannot be had in {SHARED_MEMORY} ({error.strerror})"
            remedy = "use less {Inputs.count} or {External.batch_size}, or leave it out"
            raise ConfigError(f"{{TargetOptions.shared_memory}}: {problem}; {remedy}") from None
        memoryview(memory.buf or b"")[: len(contents)] = contents
        yield


async def _trial(spec: TargetSpec, inputs: InputSource, window: int) -> float:
    """Answers a second in a very short run."""
    job = Job(
        target=spec,
        inputs=inputs,
        window=window,
        duration_s=TRIAL_S,
        requests=None,
        warmup_s=0.05,
        timeout_s=None,
        stall_s=10.0,
        first_answer_s=10.0,
        log_every_s=10.0,
        drain_s=5.0,
    )
    record = await run(job, hooks=Hooks(on_interval=lambda _: None))
    return record.latency.total / (record.measured_ns / NS_PER_S) if record.measured_ns else 0.0
