"""The interface of what is measured: a server that is up, and its readings."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from frontend_launch.launch.deployment import Deployment
from loadgen.judging.evidence import Evidence
from loadgen.load.inputs import InputSource
from loadgen.load.record import Record
from loadgen.load.runner import Phase
from loadgen.load.target import TargetSpec
from loadgen.plan import Plan
from loadgen.results.sections import Measurements, NodeConfig


class Readings(Protocol):
    """A server's own readings of the measured part; a reading that fails becomes a note.

    Attributes:
        notes: what could not be read.
        lost: one line where the server was gone at the end.
    """

    notes: list[str]
    lost: str | None

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: Any) -> None: ...

    async def on_phase(self, phase: Phase) -> None:
        """Take the reading that belongs to a moment of the run."""
        ...

    def evidence(self, record: Record, plan: Plan) -> Evidence:
        """The evidence for a verdict.

        Args:
            record: of all clients together.
            plan: what was asked for.
        """
        ...

    @property
    def measurements(self) -> Measurements:
        """The server's own part of the results."""
        ...


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server that is up, as loadgen knows it.

    Attributes:
        deployment: the deployment that this program started; None for an external server.
        notes: for the reader of the results.
        metrics_addresses: ``host:port`` of each query frontend, where its queues can be watched.
        transport: how client and replicas reach the query frontend, as far as it is known: ``tcp`` or ``ipc``.
        no_answer_hint: what to check when the first request gets no answer.
        proxied: requests go through the Docker engine's proxy process.
        token: for the frontends' metrics; empty for none.
        node: what a query frontend that ran already says of the model it serves; None for others.
    """

    deployment: Deployment | None = None
    notes: tuple[str, ...] = ()
    metrics_addresses: tuple[str, ...] = ()
    transport: Mapping[str, str] | None = None
    no_answer_hint: str = ""
    proxied: bool = False
    token: str = field(default="", repr=False)
    node: NodeConfig | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """What to send to a server, and how.

    Attributes:
        inputs: what to send.
        target: the server and how to speak to it.
        connections: of each client, at most; None where the protocol fixes them.
    """

    inputs: InputSource
    target: TargetSpec
    connections: int | None = None


class Server(Protocol):
    """A server that is up."""

    __slots__ = ()

    @property
    def facts(self) -> ServerFacts:
        """What is known of it."""
        ...

    def load(self, plan: Plan, keep_outputs: bool) -> AbstractAsyncContextManager[Workload]:
        """The workload, while the context lasts.

        Args:
            plan: says what to send.
            keep_outputs: the target returns the bytes of answers, so that they can be compared.

        Raises:
            TargetError: the server refuses.
        """
        ...

    def readings(self) -> Readings:
        """Readings of one run, not yet begun."""
        ...

    async def keep_logs(self, directory: Path) -> None:
        """Copy the logs of what this program started."""
        ...
