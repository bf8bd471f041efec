"""The interface of what is measured: a server that is up, and its readings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, Self

from frontend_launch.launch.deployment import Deployment
from loadgen.judging.verdict import Evidence
from loadgen.load.inputs import InputSource
from loadgen.load.record import Record
from loadgen.load.runner import Phase
from loadgen.load.target import TargetSpec
from loadgen.plan import Plan
from loadgen.results.document import Measurements


class Readings(Protocol):
    """What a server itself tells of the measured part; what cannot be read is a note.

    Attributes:
        notes: what could not be read.
        lost: one line where the server was not there any more at the end.
    """

    notes: list[str]
    lost: str | None

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: Any) -> None: ...

    async def on_phase(self, phase: Phase) -> None:
        """Take the reading that belongs to a moment of the run."""
        ...

    def evidence(self, record: Record, plan: Plan) -> Evidence:
        """What a verdict can rest on.

        Args:
            record: of all clients together.
            plan: what was asked for.
        """
        ...

    @property
    def measurements(self) -> Measurements:
        """The server's own part of the results."""
        ...


class Server(Protocol):
    """A server that is up."""

    __slots__ = ()

    @property
    def deployment(self) -> Deployment | None:
        """Ours; None where it is somebody else's."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of results should know of it."""
        ...

    @property
    def metrics_addresses(self) -> tuple[str, ...]:
        """``host:port`` of each query frontend, where its queues can be watched."""
        ...

    @property
    def transport(self) -> Mapping[str, str] | None:
        """How client and replicas reach the query frontend, as far as it is known: ``tcp`` or ``ipc``."""
        ...

    @property
    def silence(self) -> str:
        """What to look at when not even the first request is answered."""
        ...

    @property
    def proxied(self) -> bool:
        """Whether requests go through the Docker engine's proxy process."""
        ...

    @property
    def connections(self) -> int | None:
        """Connections of each client, at most, since `load`; None where that is no choice."""
        ...

    def load(
        self, plan: Plan, keep_outputs: bool, stop: asyncio.Event
    ) -> AbstractAsyncContextManager[tuple[InputSource, TargetSpec]]:
        """What to send and how, while the context lasts; finding out how ends early when `stop` is set.

        Args:
            plan: says what to send.
            keep_outputs: the target hands answers' bytes on, so that they can be compared.
            stop: set it to end the trial of connections early.

        Raises:
            TargetError: the server refuses.
        """
        ...

    def readings(self) -> Readings:
        """Readings of one run, not yet begun."""
        ...

    async def keep_logs(self, directory: Path) -> None:
        """Copy the logs of what we started."""
        ...
