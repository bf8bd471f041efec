"""The readings of an external server over the measured part: its statistics and metrics."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import replace
from typing import Any

from typing_extensions import override

from frontend_launch import http_client
from loadgen.errors import ClientLimitError, TargetError, without_secrets
from loadgen.judging.evidence import Evidence, of_client
from loadgen.load.record import Record
from loadgen.load.runner import Phase
from loadgen.plan import Plan
from loadgen.results.sections import Measurements, ServerStatistics, StageTime, StageTimes
from loadgen.servers.server import Readings
from loadgen.targets.oip.admin import NotOfferedError, OipAdmin, admin_at
from loadgen.targets.oip.model import OipModel
from loadgen.targets.oip.statistics import Statistics, read
from loadgen.targets.remote import Remote

log = logging.getLogger(__name__)

METRICS_TIMEOUT_S = 5.0
WHOLE_SHARE = 0.9
"""Statistics that cover a smaller share of the client's answers do not cover all addresses."""

MOST_METRICS_BYTES = 1 << 24
"""Largest page of metrics; a larger one is left out."""

MOST_METRICS = 5000
"""Samples of a server's metrics that are kept."""

USUAL_METRICS = {"triton": ":8002/metrics", "mlserver": ":8082/metrics"}
"""Where servers have their Prometheus metrics unless told otherwise, by the name that they give themselves."""


class RemoteReadings(Readings):
    """The server's statistics and metrics over the measured part.

    Args:
        remote: the model.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._model = remote if isinstance(remote, OipModel) else None
        self._server: OipAdmin | None = None
        self._before: Statistics | None = None
        self._before_ns = self._elapsed_ns = 0
        self._metrics_before: str | None = None
        self._metrics_after: str | None = None
        self.statistics: Statistics | None = None
        self.notes: list[str] = []
        self.lost: str | None = None

    @override
    async def __aenter__(self) -> RemoteReadings:
        if self._model is not None:
            self._server = admin_at(self._model.options.address, self._model.options.access)
        return self

    @override
    async def __aexit__(self, *error: Any) -> None:
        if self._server is not None:
            await self._server.close()

    @override
    async def on_phase(self, phase: Phase) -> None:
        if phase is Phase.MEASURED_BEGINS:
            self._before, self._before_ns = await self._statistics(), time.monotonic_ns()
            self._metrics_before = await self._prometheus()
        else:
            await self._end()

    async def _end(self) -> None:
        """The last readings, and whether the server still answers."""
        after, self._elapsed_ns = await self._statistics(), time.monotonic_ns() - self._before_ns
        if after is not None:
            if self._before is None:
                self._note("the server's statistics are left out: they could not be read when the measured part began")
            elif after.follows(self._before):
                self.statistics = after.since(self._before)
            else:
                self._note("the server began its statistics anew, so it was started again: they are left out")
        self._metrics_after = await self._prometheus()
        if (self._metrics_after is None) != (self._metrics_before is None):
            self._note("the server's metrics are left out: they could be read once only")
        try:
            await self._remote.check_available()
        except ClientLimitError as error:
            self._note(f"whether the server was still there at the end is not known: {error}")
        except TargetError as error:
            self.lost = f"the server was gone at the end: {error}"

    def _metrics(self) -> dict[str, list[float | None]] | None:
        """Read the metrics; this takes too long while requests are in flight."""
        if self._metrics_before is None or self._metrics_after is None:
            return None
        try:
            (first, lost), (last, malformed) = samples(self._metrics_before), samples(self._metrics_after)
        except ValueError as error:
            self._note(f"the server's metrics cannot be read: {error}")
            return None
        if example := (malformed or lost)[:1]:
            count = max(len(lost), len(malformed))
            lines = f"{count} malformed lines, which are" if count > 1 else "a malformed line, which is"
            self._note(f"the server's metrics have {lines} left out: {example[0].strip()[:80]!r}{', …' * (count > 1)}")
        absent = math.nan if lost else 0.0  # it may have stood in a malformed line
        return {name: [_finite(first.get(name, absent)), _finite(value)] for name, value in sorted(last.items())}

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

    async def _prometheus(self) -> str | None:
        """The unparsed exposition."""
        url = self._metrics_url()
        if url is None:
            return None
        try:
            async with asyncio.timeout(METRICS_TIMEOUT_S):
                answer = await http_client.get(url, {}, MOST_METRICS_BYTES)
            if answer.status != 200:
                raise ValueError(f"answered with {answer.status}")
            return answer.body.decode(errors="replace")
        except http_client.TooLongError:
            reason = f"more than {MOST_METRICS_BYTES >> 20} MiB"
        except (OSError, ValueError) as error:
            reason = str(error).replace(url, without_secrets(url)) or type(error).__name__
        if self._remote.options.metrics_url is not None:
            self._note(f"--metrics-url {without_secrets(url)} cannot be read: {reason}")
        return None

    def _metrics_url(self) -> str | None:
        options = self._remote.options
        if options.metrics_url is not None or self._model is None:
            return options.metrics_url
        place = None if options.address.unix_socket else USUAL_METRICS.get(self._model.server.name)
        host = f"[{options.address.host}]" if ":" in options.address.host else options.address.host
        return None if place is None else f"http://{host}{place}"

    def _note(self, text: str) -> None:
        text = self._remote.options.access.concealed(text)
        if text not in self.notes:
            self.notes.append(text)
            log.warning("%s", text)

    @override
    def evidence(self, record: Record, plan: Plan) -> Evidence:
        self._check_addresses(record)
        rows = plan.config.serve.batch_size
        evidence = replace(of_client(record, rows, plan.window, plan.load.timeout_s), rows=rows)
        if self._model is None or self.statistics is None or self.statistics.executions == 0:
            return evidence
        return of_statistics(evidence, self.statistics, self._model, max(1, self._elapsed_ns))

    def _check_addresses(self, record: Record) -> None:
        """Leave out statistics of only one of several addresses: they miss the answers of the others."""
        used = sum(count > 0 for count in record.addresses.values())
        statistics = self.statistics
        if used < 2 or statistics is None:
            return
        if statistics.succeeded.count + statistics.failed.count < WHOLE_SHARE * record.replies:
            self._note(f"the server's statistics are left out: they are those of one of {used} addresses")
            self.statistics = None

    @property
    @override
    def measurements(self) -> Measurements:
        metrics, statistics = self._metrics(), self.statistics
        if self._model is None or statistics is None:
            return Measurements(server_metrics=metrics)
        key = f"{self._model.model.name}:{self._model.options.address.version or 'default'}"
        return Measurements(
            stages={key: stage_times(statistics)},
            server_statistics=counts(statistics),
            server_metrics=metrics,
        )


def of_statistics(evidence: Evidence, statistics: Statistics, model: OipModel, elapsed_ns: int) -> Evidence:
    """Adds a server's statistics to the evidence: how busy its instances were, and the size of batches.

    Args:
        evidence: of the client.
        statistics: of the measured part only.
        model: for its instances and largest batch; 1 where the server does not give them.
        elapsed_ns: between the two readings, at least 1.
    """
    instances = model.model.instances or 1
    max_batch = max(1, model.model.max_batch or 1)
    full = sum(value.count for size, value in statistics.batches.items() if size >= max_batch)
    executions = sum(value.count for value in statistics.batches.values())
    busy = statistics.busy_ns / (instances * elapsed_ns) if statistics.batches else None
    queue = statistics.stages["queue"]
    return replace(
        evidence,
        max_batch=max_batch,
        instances=model.model.instances,
        busy_share=busy,
        in_flight_share=busy,
        batches=statistics.executions,
        mean_batch=statistics.mean_batch,
        full_batch_share=full / executions if executions else None,
        queued_mean=queue.ns / elapsed_ns,
        answers={**evidence.answers, "server": statistics.succeeded.count + statistics.failed.count},
    )


def stage_times(statistics: Statistics) -> StageTimes:
    """The server's stages in the form of the project's frontend; a server reports means only."""
    return StageTimes(
        batch_sizes={str(size): value.count for size, value in sorted(statistics.batches.items())},
        **{
            name: StageTime(value.count, {"mean": value.mean_ms})
            for name, value in statistics.stages.items()
            if value.count
        },
    )


def counts(statistics: Statistics) -> ServerStatistics:
    """The counts for the results."""
    return ServerStatistics(
        succeeded=statistics.succeeded.count,
        failed=statistics.failed.count,
        inferences=statistics.rows,
        executions=statistics.executions,
        mean_batch=statistics.mean_batch,
        request_mean_ms=statistics.succeeded.mean_ms,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def samples(text: str) -> tuple[dict[str, float], list[str]]:
    """The samples of a Prometheus exposition by name and labels, and its malformed lines.

    Names of counters end in ``_total``.

    Raises:
        ValueError: it has no sample, but malformed lines.
    """
    try:
        return _parsed(text), []
    except ValueError as error:
        problem = error
    good, malformed = list[str](), list[str]()
    for line in text.split("\n"):
        try:
            _parsed(line)
            good.append(line)
        except ValueError:
            malformed.append(line)
    found = _parsed("\n".join(good))
    if not found:
        raise problem
    return found, malformed


def _parsed(text: str) -> dict[str, float]:
    """The samples of a Prometheus exposition, see `samples`.

    Raises:
        ValueError: it has a malformed line.
    """
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - where there is one

    found: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = float(sample.value)
                if len(found) >= MOST_METRICS:
                    return found
    except Exception as error:  # the library raises whatever its steps do, `IndexError` for one
        raise ValueError(f"not a Prometheus exposition: {error}") from None
    return found
