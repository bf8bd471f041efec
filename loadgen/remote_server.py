"""A model on somebody else's server as what is measured; see `loadgen.serving.Server`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import aiohttp

from loadgen.config import Plan
from loadgen.connections import enough
from loadgen.errors import ConfigError, TargetError
from loadgen.evidence import client_evidence
from loadgen.inputs import InputSource, Pool
from loadgen.oip.asking import NotOfferedError, Server, server_at
from loadgen.oip.statistics import Statistics, read
from loadgen.recorder import Record
from loadgen.remotes.oip_model import OipModel
from loadgen.remotes.remote import MOST_CONNECTIONS, Asked, Remote
from loadgen.results import Measurements
from loadgen.runner import Hooks, Job, Phase, run
from loadgen.targets.target import TargetSpec
from loadgen.verdict import Evidence

log = logging.getLogger(__name__)

METRICS_TIMEOUT_S = 5.0
MOST_METRICS = 5000
"""Samples of a server's metrics that are kept."""

USUAL_METRICS = {"triton": ":8002/metrics", "mlserver": ":8082/metrics"}
"""Where servers have their Prometheus metrics unless told otherwise, by the name that they give themselves."""

TRIAL_S, TRIAL_WINDOW = 0.2, 64

ENDING_S = 2.0
"""Patience for a server's last word when the user has ended the run."""


@dataclass(slots=True)
class RemoteServer:
    """See `loadgen.serving.Server`.

    Attributes:
        remote: the model.
        notes: what the reader of results should know.
        connections: see `Server`.
        found: connections that were found to be enough, by requests in flight and bytes of each.
    """

    remote: Remote
    notes: tuple[str, ...] = ()
    connections: int | None = None
    found: dict[tuple[int, int], int] = field(default_factory=dict)
    deployment: None = field(default=None, init=False)
    metrics_addresses: tuple[str, ...] = field(default=(), init=False)
    transport: None = field(default=None, init=False)
    proxied: bool = field(default=False, init=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def silence(self) -> str:
        """See `Server`."""
        return f"is {self.remote.options.address.text} ready to answer?"

    @contextlib.asynccontextmanager
    async def load(
        self, plan: Plan, keep_outputs: bool, stop: asyncio.Event
    ) -> AsyncIterator[tuple[InputSource, TargetSpec]]:
        """See `Server`."""
        config, self._stop = plan.config, stop
        async with contextlib.AsyncExitStack() as stack:
            inputs = plan.inputs
            if self.remote.options.shared_memory:
                inputs = await stack.enter_async_context(self._in_shared_memory(plan))
            self.connections = self.remote.options.connections or await self._enough(plan, inputs)
            yield inputs, self.remote.spec(config.batch_size, self.connections, config.timeout_or_default_s)

    async def _enough(self, plan: Plan, inputs: InputSource) -> int:
        """How many connections are enough; said in the log.

        Over HTTP/1.1 a connection carries one request, so there are as many as requests in flight. Over gRPC one
        carries many, and whether as many as several do is tried, unless the user said how much to send or when.
        """
        config = plan.config
        if self.remote.options.address.protocol != "grpc":
            most = MOST_CONNECTIONS if config.arrivals is not None else -(-plan.window // config.clients)
            log.info("connections: %d at most, one for each request in flight; --connections N says fewer", most)
            return most
        if config.arrivals is not None or config.requests is not None:
            log.info("connections: 1, which carries many requests; --connections N says more")
            return 1
        window = min(plan.window, TRIAL_WINDOW)
        key = window, inputs.payload_bytes
        if key not in self.found:
            self.found[key] = await self._try(plan, _Made(inputs, inputs.make()), window)
        return self.found[key]

    async def _try(self, plan: Plan, inputs: InputSource, window: int) -> int:
        async def rate_rps(count: int, in_flight: int) -> float:
            spec = self.remote.spec(plan.config.batch_size, count, plan.config.timeout_or_default_s)
            return await _trial(spec, inputs, in_flight, self._stop)

        found, how = await enough(rate_rps, window, inputs.payload_bytes)
        log.info("connections: %d, %s; --connections N says another number", found, how)
        return found

    @contextlib.asynccontextmanager
    async def _in_shared_memory(self, plan: Plan) -> AsyncIterator[InputSource]:
        """The inputs in a region that the server knows."""
        remote, options = self.remote, self.remote.options
        assert isinstance(remote, OipModel)
        config = plan.config
        asked = Asked(config.batch_size, config.input, config.inputs, config.seed)
        contents = b"".join(content for each in remote.contents(asked).each() for content in each)
        name = f"loadgen-{os.getpid()}-{id(plan):x}"
        try:
            memory = shared_memory.SharedMemory(name, create=True, size=max(1, len(contents)))
        except OSError as error:
            raise ConfigError(f"--shared-memory: {len(contents)} bytes cannot be had: {error.strerror}") from None
        server = server_at(options.address, options.access)
        try:
            memoryview(memory.buf or b"")[: len(contents)] = contents
            await server.share(name, f"/{name}", len(contents))
            try:
                yield remote.inputs(asked, name)
            finally:
                try:
                    await server.unshare(name)
                except TargetError as error:
                    log.warning("the server still has the shared memory %s: %s", name, error)
        finally:
            await server.close()
            memory.close()
            memory.unlink()

    @property
    def stopped(self) -> bool:
        """Whether the user has ended the run."""
        return self._stop.is_set()

    def readings(self) -> RemoteReadings:
        """See `Server`."""
        return RemoteReadings(self)

    async def keep_logs(self, directory: Path) -> None:
        """They are not ours."""


@dataclass(frozen=True, slots=True)
class _Made:
    """Inputs that are made once for many short runs, which would take longer to make than to send."""

    source: InputSource
    pool: Pool

    @property
    def text(self) -> str:
        return self.source.text

    @property
    def payload_bytes(self) -> int:
        return self.source.payload_bytes

    def make(self) -> Pool:
        return self.pool


async def _trial(spec: TargetSpec, inputs: InputSource, window: int, stop: asyncio.Event) -> float:
    """Requests that were answered in a second of a very short run."""
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
    record = await run(job, stop, Hooks(on_interval=lambda _: None))
    return record.latency.total / (record.measured_ns / 1e9) if record.measured_ns else 0.0


class RemoteReadings:
    """See `loadgen.serving.Readings`: the server's statistics and metrics over the measured part."""

    def __init__(self, whose: RemoteServer) -> None:
        self._whose, self._remote = whose, whose.remote
        self._model = self._remote if isinstance(self._remote, OipModel) else None
        self._server: Server | None = None
        self._before: Statistics | None = None
        self._before_ns = self._elapsed_ns = 0
        self._metrics_before: dict[str, float] = {}
        self._metrics: dict[str, list[float]] | None = None
        self.statistics: Statistics | None = None
        self.notes: list[str] = []
        self.lost: str | None = None

    async def __aenter__(self) -> RemoteReadings:
        if self._model is not None:
            self._server = server_at(self._model.options.address, self._model.options.access)
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self._server is not None:
            await self._server.close()

    async def on_phase(self, phase: Phase) -> None:
        """See `Readings`."""
        if phase is Phase.MEASURED_BEGINS:
            self._before, self._before_ns = await self._statistics(), time.monotonic_ns()
            self._metrics_before = await self._prometheus()
            return
        try:
            async with asyncio.timeout(ENDING_S if self._whose.stopped else None):
                await self._end()
        except TimeoutError:
            self._note(f"the server's own numbers are left out: no answer within {ENDING_S:.0f} s")

    async def _end(self) -> None:
        """The last readings, and whether the server is still there."""
        after, self._elapsed_ns = await self._statistics(), time.monotonic_ns() - self._before_ns
        if self._before is not None and after is not None:
            if after.follows(self._before):
                self.statistics = after.since(self._before)
            else:
                self._note("the server began its statistics anew, so it was started again: they are left out")
        if metrics := await self._prometheus():
            self._metrics = {
                name: [self._metrics_before.get(name, 0.0), value] for name, value in sorted(metrics.items())
            }
        try:
            await self._remote.still_there()
        except TargetError as error:
            self.lost = f"the server was gone at the end: {error}"

    async def _statistics(self) -> Statistics | None:
        if self._server is None or self._model is None:
            return None
        try:
            return read(await self._server.statistics(), self._model.model.name)
        except NotOfferedError:
            return None
        except TargetError as error:
            self._note(f"the server's statistics cannot be read: {error}")
            return None

    async def _prometheus(self) -> dict[str, float]:
        url = self._metrics_url()
        if url is None:
            return {}
        try:
            timeout = aiohttp.ClientTimeout(total=METRICS_TIMEOUT_S)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
                if response.status != 200:
                    raise ValueError(f"answered with {response.status}")
                return samples(await response.text())
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            if self._remote.options.metrics_url is not None:
                self._note(f"--metrics-url {url} cannot be read: {error or type(error).__name__}")
            return {}

    def _metrics_url(self) -> str | None:
        options = self._remote.options
        if options.metrics_url is not None or self._model is None:
            return options.metrics_url
        place = USUAL_METRICS.get(self._model.server.name)
        host = f"[{options.address.host}]" if ":" in options.address.host else options.address.host
        return None if place is None else f"http://{host}{place}"

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            log.warning("%s", text)

    def evidence(self, record: Record, plan: Plan) -> Evidence:
        """See `Readings`."""
        evidence = replace(client_evidence(record, plan.config.batch_size, plan.window), rows=plan.config.batch_size)
        if self._model is None or self.statistics is None or self.statistics.executions == 0:
            return evidence
        return of_statistics(evidence, self.statistics, self._model, max(1, self._elapsed_ns))

    @property
    def measurements(self) -> Measurements:
        """See `Readings`."""
        if self._model is None:
            return Measurements(server_metrics=self._metrics)
        key = f"{self._model.model.name}:{self._model.options.address.version or 'default'}"
        statistics = self.statistics
        if statistics is None:
            return Measurements(server_metrics=self._metrics)
        return Measurements(
            stages={key: stage_table(statistics)},
            server_statistics=document(statistics),
            server_metrics=self._metrics,
        )


def of_statistics(evidence: Evidence, statistics: Statistics, model: OipModel, elapsed_ns: int) -> Evidence:
    """What a server's statistics add to the evidence: how busy its instances were, and with which batches."""
    instances = model.model.instances or 1
    max_batch = max(1, model.model.max_batch or 1)
    full = sum(value.count for size, value in statistics.batches.items() if size >= max_batch)
    executions = sum(value.count for value in statistics.batches.values())
    busy = statistics.busy_ns / (instances * elapsed_ns) if statistics.batches else None
    queue = statistics.stages["queue"]
    return replace(
        evidence,
        max_batch=max_batch,
        replicas=instances if model.model.instances is not None else None,
        busy_share=busy,
        in_flight_share=busy,
        batches=statistics.executions,
        mean_batch=statistics.mean_batch,
        full_batch_share=full / executions if executions else None,
        queued_mean=queue.ns / elapsed_ns,
    )


def stage_table(statistics: Statistics) -> Mapping[str, Any]:
    """The server's stages, as the results have those of our own frontend; means are all that it tells."""
    return {
        **{
            name: {"count": value.count, "time_ms": {"mean": value.mean_ms}}
            for name, value in statistics.stages.items()
            if value.count
        },
        "batch_sizes": {str(size): value.count for size, value in sorted(statistics.batches.items())},
    }


def document(statistics: Statistics) -> Mapping[str, Any]:
    """The counts for the results."""
    return {
        "succeeded": statistics.succeeded.count,
        "failed": statistics.failed.count,
        "inferences": statistics.rows,
        "executions": statistics.executions,
        "mean_batch": statistics.mean_batch,
        "request_mean_ms": statistics.succeeded.mean_ms,
    }


def samples(text: str) -> dict[str, float]:
    """The samples of a Prometheus exposition, by name and labels; names of counters end in ``_total``.

    Raises:
        ValueError: it is none.
    """
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - where there is one

    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = float(sample.value)
            if len(found) >= MOST_METRICS:
                return found
    return found
