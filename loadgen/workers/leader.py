"""Leads the clients of workers on several machines as those of one: they share a job, and begin together.

Each worker has a connection that passes orders on in order and asks for news all the time. A worker that does not
answer for `SILENCE_S` counts as lost, and its clients with it. Moments that a client tells are moved to this clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, assert_never

from typing_extensions import override

from frontend_launch.errors import LaunchError
from frontend_launch.launch.placement import Assignment
from frontend_launch.patience import Alarm, patience
from frontend_launch.tasks import gather_all
from loadgen.errors import ConfigError
from loadgen.load.client_messages import (
    Begin,
    Continue,
    Failed,
    Finished,
    FromClient,
    FromRunning,
    Logged,
    Start,
    Stop,
    StopSending,
    ToRunning,
    decode,
)
from loadgen.load.clients import Link, Senders, SharedRun, split
from loadgen.load.job import Job
from loadgen.load.record import Record
from loadgen.load.runner import Hooks
from loadgen.load.worker_use import WorkersUse
from loadgen.workers import job_text
from loadgen.workers.clocks import ClockOffset, Exchange, agreed_start, estimate
from loadgen.workers.messages import START_TIMEOUT_S, News, Order, Started, What, Worker, WorkerLostError, whole
from loadgen.workers.reach import only_here
from loadgen.workers.rows import ClientRun, WorkerRun, late_ns, workers_use
from loadgen.workers.spread import Seat
from loadgen.workers.supervisor import identity

log = logging.getLogger(__name__)

T = TypeVar("T")

SILENCE_S = 10.0
"""Patience for an answer of a worker."""

ASK_S = 1.0
"""A worker without news answers after this time."""

CLOSE_TIMEOUT_S = 1.0
"""Patience for a worker to end its clients; the end of its own process ends them anyway."""

KILL_TIMEOUT_S = 10.0
"""Patience for the cluster to end the process of a worker that does not do so."""

EXCHANGES = 20
"""Readings of a worker's clock, of which the one with the least round trip counts."""


class Connection:
    """The connection to a worker that has started its clients.

    Args:
        name: of the worker in the run.
        seat: its node, and the numbers of its clients.
        worker: that is called.
        network: the machine and network that it runs in.
        started: its processes.
    """

    def __init__(self, name: str, seat: Seat, worker: Worker, network: str, started: Started) -> None:
        self.name, self.seat, self.network, self.started = name, seat, network, started
        self.exchanges: list[Exchange] = []
        self._worker = worker
        self._orders: asyncio.Queue[Order] = asyncio.Queue()
        self.links = {number: WorkerLink(f"client-{number}", number, self) for number in seat.clients}

    @property
    def label(self) -> str:
        """Name and node."""
        return f"{self.name} on {self.seat.node.name} ({self.seat.node.address})"

    @property
    def offset(self) -> ClockOffset:
        """The worker's clock minus this one."""
        return estimate(self.exchanges)

    async def read_clock(self) -> None:
        """Find the offset of the worker's clock.

        Raises:
            LaunchError: it does not answer.
        """
        exchanges = []
        for _ in range(EXCHANGES):
            sent_ns = time.monotonic_ns()
            try:
                read_ns = await self.call(self._worker.clock())
            except WorkerLostError as error:
                raise LaunchError(f"{self.label}: {error}") from None
            exchanges.append(Exchange(sent_ns, read_ns, time.monotonic_ns()))
        self.exchanges = exchanges

    async def call(self, work: Awaitable[T]) -> T:
        """The answer of the worker.

        Raises:
            WorkerLostError: it is lost, or does not answer in time.
        """
        try:
            async with patience(SILENCE_S):
                return await work
        except TimeoutError:
            raise WorkerLostError(f"no answer for {SILENCE_S:g} s") from None
        except WorkerLostError as error:
            raise WorkerLostError(f"lost: {error}") from None

    def order(self, order: Order) -> None:
        """Have the worker pass something on."""
        self._orders.put_nowait(order)

    async def serve(self) -> None:
        """Pass orders and news on until cancelled, or until the worker is lost or fails."""
        try:
            await gather_all(self._send(), self._listen())
        except Exception as error:  # also one that is not foreseen must end the links, and is raised again
            for link in self.links.values():
                link.end(str(error) or type(error).__name__)
            if not isinstance(error, WorkerLostError):
                raise

    async def _send(self) -> None:
        while True:
            orders = [await self._orders.get()]
            while not self._orders.empty():
                orders.append(self._orders.get_nowait())
            await self.call(self._worker.tell(orders))

    async def _listen(self) -> None:
        while True:
            for news in await self.call(self._worker.news(ASK_S)):
                self.links[news.client].receive_news(news)


class WorkerLink(Link):
    """One client of a worker.

    Attributes:
        role: its name.
        late_ns: how much later than agreed it was told to begin; None where it never was.
        begins_ns: the agreed start, by this clock.
        on_stopped: called with its role when a signal holds it for long.
        on_cut_off: called with its role and the reason when its worker will soon be out of reach.
        ends_run: why the run ends because of it, though it may hand in what it measured; empty where it does not.
    """

    def __init__(self, role: str, number: int, connection: Connection) -> None:
        self.role, self._number, self._connection = role, number, connection
        self.late_ns: int | None = None
        self.begins_ns = 0
        self.on_stopped: Callable[[str], object] = lambda _: None
        self.on_cut_off: Callable[[str, str], object] = lambda *_: None
        self.ends_run = ""
        self._news: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._pieces: list[bytes] = []
        self._within_s: float | None = None
        self._how, self._log_tail = "", ""
        self._patience: Alarm | None = None

    @property
    def how_lost(self) -> str:
        """How it was lost."""
        return self._how or self.ends_run or f"{self.role} does not answer any more"

    def receive_news(self, news: News) -> None:
        """Take what the worker says of this client."""
        match news.what:
            case "frame":
                self._pieces.append(news.frame)
                if news.more:
                    self.expect(self._within_s)  # the rest is under way
                else:
                    self._news.put_nowait(whole(self._pieces))
                    self._pieces.clear()
            case "late":
                self.late_ns = news.late_ns
            case "stopped":
                self.ends_run = f"{self.role} was stopped by a signal or a debugger"
                self.on_stopped(self.role)
            case "cut off":
                self.ends_run = news.text
                self.on_cut_off(self.role, news.text)
            case "lost":
                self._log_tail = news.log_tail
                self.end(news.text)
            case _:
                assert_never(news.what)

    def end(self, how: str) -> None:
        """It sends no more; say how that came."""
        self._how = self._how or how
        self._news.put_nowait(None)

    @override
    def send(self, message: Begin | ToRunning) -> None:
        match message:
            case Begin(job):
                self._order("begin", text=job_text.encode(job))
            case Start(begins_ns):
                self.begins_ns = begins_ns
                self._order("start", at_ns=begins_ns + self._connection.offset.offset_ns)
            case Continue():
                self._order("continue")
            case StopSending():
                self._order("stop-sending")
            case Stop():
                self._order("stop")
            case _:
                assert_never(message)

    def _order(self, what: What, text: str = "", at_ns: int = 0) -> None:
        self._connection.order(Order(self._number, what, text, at_ns))

    @override
    def expect(self, within_s: float | None) -> None:
        self._within_s = within_s
        if self._patience is not None:
            self._patience.cancel()
        self._patience = None if within_s is None else Alarm(within_s, self.abort)

    @override
    def abort(self) -> None:
        self._order("abort")
        self._news.put_nowait(None)

    @override
    def resume(self) -> None:
        self._order("resume")

    @override
    async def receive(self) -> FromRunning:
        while True:
            frame = await self._news.get()
            if frame is None:
                raise EOFError
            message: FromClient = decode(frame)
            match message:
                case Logged(record):
                    record.msg = f"{self.role} of {self._connection.name}: {record.msg}"
                    logging.getLogger(record.name).handle(record)
                case Failed(error):
                    raise type(error)(f"{self.role} of {self._connection.label}: {error}")
                case Finished(record):
                    record.shift(-self._connection.offset.offset_ns)
                    return message
                case _:
                    return message

    @override
    async def failed(self, what: str) -> LaunchError:
        return LaunchError(f"{self.role} of {self._connection.label} {what}", self._log_tail)

    @override
    async def lost(self) -> LaunchError:
        return LaunchError(f"{self._connection.label}: {self.how_lost}", self._log_tail)


class WorkerClients(Senders):
    """The clients of all workers.

    Args:
        cluster: how the workers were reached, as it was asked for.
        connections: to each.
    """

    assignments: tuple[Assignment, ...] = ()
    pids: Mapping[str, int] = {}

    def __init__(self, cluster: str, connections: Sequence[Connection]) -> None:
        self._cluster, self._connections = cluster, connections
        self.workers: WorkersUse | None = None

    @property
    @override
    def elsewhere(self) -> tuple[tuple[Assignment, int], ...]:
        return tuple(
            (replace(row, node=f"{each.seat.node.name} ({each.seat.node.address})"), pid)
            for each in self._connections
            for row, pid in zip(each.started.assignments, each.started.pids, strict=True)
        )

    @override
    async def run(self, job: Job, stop: asyncio.Event, hooks: Hooks) -> Record:
        self._check(job)
        await gather_all(*(connection.read_clock() for connection in self._connections))
        links = {number: link for each in self._connections for number, link in each.links.items()}
        jobs = dict(enumerate(split(job, len(links))))
        round_trips_ns = [one.round_trip_ns for each in self._connections for one in each.exchanges]
        ordered = [links[number] for number in jobs]
        shared = SharedRun(ordered, hooks, {}, lambda now_ns: agreed_start(now_ns, round_trips_ns))
        for link in ordered:
            link.on_stopped, link.on_cut_off = shared.end_stopped, shared.end_cut_off
        records = dict(zip(jobs, await shared.run(list(jobs.values()), stop), strict=True))
        runs = [_worker_run(connection, jobs, records) for connection in self._connections]
        self.workers = workers_use(self._cluster, runs)
        return await shared.merged(list(records.values()))

    def _check(self, job: Job) -> None:
        """Refuse a server that workers on other machines cannot reach.

        Raises:
            ConfigError: they cannot.
        """
        address, here = only_here(job.target), identity().network
        away = next((each for each in self._connections if each.network != here), None)
        if address is not None and away is not None:
            remedy = "bind the server to an address of the network, and name that"
            raise ConfigError(f"{{Client.workers}} {self._cluster}: {away.label} cannot reach {address}; {remedy}")


def _worker_run(connection: Connection, jobs: Mapping[int, Job], records: Mapping[int, Record | None]) -> WorkerRun:
    clients = []
    for number, link in connection.links.items():
        job, record, told_ns = jobs[number], records[number], link.late_ns
        late = None if told_ns is None else late_ns(job, link.begins_ns, told_ns, record)
        clients.append(ClientRun(link.role, job, record, late, link.ends_run if record is not None else link.how_lost))
    node = connection.seat.node
    return WorkerRun(connection.name, node.name, node.address, connection.offset, clients)


@contextlib.asynccontextmanager
async def leading(cluster: str, seats: Sequence[tuple[Seat, Worker]]) -> AsyncIterator[WorkerClients]:
    """Workers with their clients, while the context lasts.

    Args:
        cluster: how they are reached, as it was asked for.
        seats: each node with its worker, at least one.

    Raises:
        LaunchError: one does not start, or has another version of this program.
    """
    named = [(f"worker-{number}", *each) for number, each in enumerate(seats)]
    connections: list[Connection] = []
    try:
        connections = await gather_all(*(_started(*each) for each in named))
        serving = [asyncio.create_task(each.serve(), name=each.name) for each in connections]
        try:
            yield WorkerClients(cluster, connections)
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
    finally:
        started = {each.seat: each.started for each in connections}
        await asyncio.gather(*(_closed(worker, started.get(seat)) for seat, worker in seats), return_exceptions=True)


async def _started(name: str, seat: Seat, worker: Worker) -> Connection:
    label = f"{name} on {seat.node.name} ({seat.node.address})"
    try:
        async with patience(START_TIMEOUT_S):
            there, own = await worker.identity(), identity().version
            if there.version != own:
                versions = f"has loadgen {there.version or 'from sources'}, this machine {own or 'from sources'}"
                raise LaunchError(f"{label}: {versions}; use one version")
            try:
                started = await worker.start(name, seat.clients, seat.cpus, seat.taken)
            except LaunchError as error:
                raise LaunchError(f"{label}: {error}", error.log_tail) from None
            return Connection(name, seat, worker, there.network, started)
    except TimeoutError:
        remedy = "see `ray status`, and the logs of its node"
        raise LaunchError(f"{label} did not start within {START_TIMEOUT_S:g} s; {remedy}") from None
    except WorkerLostError as error:
        raise LaunchError(f"{label} did not start: {error}") from None


async def _closed(worker: Worker, started: Started | None) -> None:
    """End a worker's clients; one that does not do so is ended itself."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await worker.close()
    except (WorkerLostError, TimeoutError):
        if started is not None:
            with contextlib.suppress(WorkerLostError, TimeoutError):
                async with asyncio.timeout(KILL_TIMEOUT_S):
                    await worker.kill(started.pids[-1], started.began_at)
