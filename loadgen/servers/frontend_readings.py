"""The readings of a query frontend over the measured part: counters, stages and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from typing_extensions import override

from frontend_launch import stages
from frontend_launch.counters import Counters
from frontend_launch.errors import AdminError
from frontend_launch.launch.deployment import Deployment
from frontend_launch.metrics_client import MetricsClient
from frontend_launch.stages import Stages
from loadgen.judging.evidence import Evidence, of_client, of_frontends, of_metrics
from loadgen.load.record import Record
from loadgen.load.runner import Phase
from loadgen.plan import Plan
from loadgen.results.document import stage_tables
from loadgen.results.sections import Measurements
from loadgen.servers.server import Readings
from loadgen.targets.client_limits import limit_in
from loadgen.targets.clipper import refuses

log = logging.getLogger(__name__)
T = TypeVar("T")


class FrontendReadings(Readings):
    """The frontends' counters and stages over the measured part, and their metrics.

    Args:
        application: the application that is asked.
        metrics_addresses: ``host:port`` of each frontend.
        deployment: whose frontends they are; None for external ones.
        token: for their metrics; empty for none.
        addresses: of external ones, where they answer requests.
    """

    def __init__(
        self,
        application: str,
        metrics_addresses: Sequence[str],
        deployment: Deployment | None,
        token: str = "",
        addresses: Sequence[str] = (),
    ) -> None:
        self._application, self._deployment, self._addresses = application, deployment, addresses
        self._clients = [MetricsClient(f"http://{address}", token) for address in metrics_addresses]
        self._stack = contextlib.AsyncExitStack()
        self._first: list[tuple[Counters, dict[str, Stages]] | None] = []
        self._metrics: list[dict[str, Any]] = []
        self._counters: list[Counters] = []
        self._stages: dict[str, Stages] | None = None
        self.notes: list[str] = []
        self.lost: str | None = None

    @override
    async def __aenter__(self) -> FrontendReadings:
        for client in self._clients:
            await self._stack.enter_async_context(client)
        return self

    @override
    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()

    @override
    async def on_phase(self, phase: Phase) -> None:
        if phase is Phase.MEASURED_BEGINS:
            self._first = await self._of_each(_counted)
            return
        last = await self._of_each(_counted)
        pairs = [(later, first) for later, first in zip(last, self._first, strict=False) if later and first]
        if any(not later.continues(first) for (later, _), (first, _) in pairs):
            text = "a query frontend was restarted in the measured part: the counters of the frontends are left out"
            self.notes.append(text)
            log.warning("%s", text)
        elif pairs:
            self._counters = [later.since(first) for (later, _), (first, _) in pairs]
            self._stages = stages.merged(stages.since(later, first) for (_, later), (_, first) in pairs)
        self._metrics = [one for one in await self._of_each(MetricsClient.metrics) if one is not None]
        if self._silent(last) and limit_in(self.notes[-1]) is None:
            self.lost = f"a frontend did not answer any more at the end: {self.notes[-1]}"
        for address in self._addresses if self.lost is None else ():
            if await refuses(address):
                self.lost = f"the frontend was gone at the end: {address}: {os.strerror(errno.ECONNREFUSED)}"

    def _silent(self, last: Sequence[object]) -> bool:
        """Whether a frontend did not answer at the end that has counters, as all of a deployment have."""
        if self._deployment is None:
            return any(first and not later for later, first in zip(last, self._first, strict=False))
        return self._deployment.failure is None and None in last

    async def _of_each(self, reading: Callable[[MetricsClient], Awaitable[T]]) -> list[T | None]:
        """A reading of each frontend, at the same time; None for one that cannot be read, which is a note."""
        found: list[T | None] = []
        for one in await asyncio.gather(*map(reading, self._clients), return_exceptions=True):
            if isinstance(one, AdminError):
                if str(one) not in self.notes:
                    self.notes.append(str(one))
                    log.warning("%s", one)
                found.append(None)
            elif isinstance(one, BaseException):
                raise one
            else:
                found.append(one)
        return found

    @override
    def evidence(self, record: Record, plan: Plan) -> Evidence:
        client = of_client(record, plan.config.serve.batch_size, plan.window, plan.load.timeout_s)
        if not self._counters and len(self._metrics) == 1:
            return of_metrics(client, self._metrics[0], self._application)
        return of_frontends(client, self._counters, self._stages or {}, self._application)

    @property
    @override
    def measurements(self) -> Measurements:
        return Measurements(
            clipper_metrics=_one_after_the_other(self._metrics) if self._metrics else None,
            frontend_counters=Counters.merged(self._counters) if self._counters else None,
            stages=None if self._stages is None else stage_tables(self._stages),
        )


async def _counted(client: MetricsClient) -> tuple[Counters, dict[str, Stages]]:
    return await client.counters(), await client.stages()


def _one_after_the_other(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """The metrics in the form of 2017, with the rows of all frontends; those of a single frontend unchanged."""
    return {kind: [row for one in metrics for row in one[kind]] for kind in metrics[0]}
