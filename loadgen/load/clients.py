"""The clients of a run: this process, or several client processes with a share of the load each.

This process leads: it sends each client process its job and the moment at which all begin, over a Unix socket, see
`loadgen.load.client_messages`. A client sends each logging interval, its warnings, and its record in the end. A
process that exits, or stays silent longer than the protocol allows, counts as lost. A process that a signal stopped is
continued after some seconds, to hand in its measurements, and the run ends. No message is about a single request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, assert_never

from frontend_launch import scratch
from frontend_launch.children import Command, Process, start
from frontend_launch.errors import LaunchError
from frontend_launch.launch.cores import share_out
from frontend_launch.launch.placement import Assignment
from frontend_launch.patience import Alarm, patience
from frontend_launch.stopped import PATIENCE_S, StoppedProcesses, is_stopped
from frontend_launch.tasks import gather_all
from loadgen.errors import TargetError
from loadgen.load import runner
from loadgen.load.client_messages import (
    Begin,
    Continue,
    Failed,
    Finished,
    FromClient,
    FromRunning,
    IntervalDone,
    Logged,
    Measured,
    Ready,
    Start,
    Stop,
    StopSending,
    ToRunning,
    read,
    write,
)
from loadgen.load.ending import Ending
from loadgen.load.job import Job
from loadgen.load.record import Interval, Record
from loadgen.load.runner import Hooks, Phase
from loadgen.load.worker_use import WorkersUse
from model_containers.units import NS_PER_S

log = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
"""Patience for a client process to start and to reach the server."""

END_TIMEOUT_S = 60.0
"""Patience for a message of it, beyond the time for which it may be silent."""

LEAD_NS = 50_000_000
"""From the last client's `Ready` to the moment at which all begin: enough for each to receive `Start`."""


class Senders(Protocol):
    """The processes that send the requests of a run.

    Attributes:
        assignments: where the client processes of this machine run; empty where this process is the only one.
        pids: theirs, by role.
        workers: what the workers of the last run did; None where all clients are on this machine.
    """

    assignments: tuple[Assignment, ...]
    workers: WorkersUse | None

    @property
    def elsewhere(self) -> tuple[tuple[Assignment, int], ...]:
        """Processes on other machines, each with its process id there."""
        return ()

    @property
    def pids(self) -> Mapping[str, int]:
        """Process ids of the client processes, by role."""
        ...

    async def run(self, job: Job, stop: asyncio.Event, hooks: Hooks) -> Record:
        """Do a job, see `loadgen.load.runner.run`.

        Args:
            job: of all clients together; each gets its share.
            stop: set it to end the run early.
            hooks: run in this process.
        """
        ...


@contextlib.asynccontextmanager
async def clients(count: int, assignment: Assignment) -> AsyncIterator[Senders]:
    """Clients on the cores of an assignment, while the context lasts.

    Args:
        count: how many, at least 1; one is this process.
        assignment: whose cores they divide.

    Raises:
        LaunchError: a process cannot be started.
    """
    if count == 1:
        yield _ThisProcess()
        return
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(scratch.directory())
        processes = _ClientProcesses(directory)
        for number, cores in enumerate(share_out(assignment.cores, count, assignment.siblings)):
            await processes.start(replace(assignment, role=f"client-{number}", cores=cores, shared=True))
            stack.push_async_callback(processes.processes[-1].stop)
        yield processes


def split(job: Job, count: int) -> list[Job]:
    """The shares of a job: of the window, of the requests, and of the schedule, dealt out in turn.

    Args:
        job: of all clients together.
        count: how many shares.
    """

    def share(whole: int, number: int) -> int:
        return whole // count + (number < whole % count)

    return [
        replace(
            job,
            window=max(1, share(job.window, number)),
            requests=None if job.requests is None else share(job.requests, number),
            client=number,
            clients=count,
        )
        for number in range(count)
    ]


class _ThisProcess(Senders):
    """The usual case."""

    assignments: tuple[Assignment, ...] = ()
    workers = None
    pids: Mapping[str, int] = {}

    async def run(self, job: Job, stop: asyncio.Event, hooks: Hooks) -> Record:
        return await runner.run(job, stop, hooks)


class _ClientProcesses(Senders):
    """Client processes, which wait for their job."""

    workers = None

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.assignments: tuple[Assignment, ...] = ()
        self.processes: list[Process] = []

    @property
    def pids(self) -> Mapping[str, int]:
        return {row.role: process.pid for row, process in zip(self.assignments, self.processes, strict=True)}

    async def start(self, assignment: Assignment) -> None:
        self.processes.append(await start_client(assignment, self._directory))
        self.assignments += (assignment,)

    async def run(self, job: Job, stop: asyncio.Event, hooks: Hooks) -> Record:
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(_connected(self._directory, process))
                for row, process in zip(self.assignments, self.processes, strict=True)
            ]
            watched = {row.role: process.pid for row, process in zip(self.assignments, self.processes, strict=True)}
            shared = SharedRun(clients, hooks, watched)
            return await shared.merged(await shared.run(split(job, len(clients)), stop))


class Link(Protocol):
    """A client process as its leader sees it, on this machine or another.

    Attributes:
        role: its name.
    """

    role: str

    def send(self, message: Begin | ToRunning) -> None:
        """Send a message; times in it are of the leader's clock. A client that is gone gets none."""
        ...

    def expect(self, within_s: float | None) -> None:
        """Disconnect after this time, unless called again before then; None for never."""
        ...

    def abort(self) -> None:
        """Disconnect at once."""
        ...

    def resume(self) -> None:
        """Continue the process where a signal stopped it."""
        ...

    async def receive(self) -> FromRunning:
        """The next message that is not for the log; times in it are of the leader's clock.

        Raises:
            TargetError: the client could not reach the server.
            EOFError: it is gone, or was silent for too long.
        """
        ...

    async def failed(self, what: str) -> LaunchError:
        """An error that says what is wrong with it, with the end of its log."""
        ...

    async def lost(self) -> LaunchError:
        """An error that says how it was lost."""
        ...


class _ClientLink(Link):
    """One client process of this machine."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.role = process.role
        self._process, self._reader, self._writer = process, reader, writer
        self._patience: Alarm | None = None

    def send(self, message: Begin | ToRunning) -> None:
        """Send a message; a client that is gone gets none, and its silence shows that."""
        if not self._writer.is_closing():
            write(self._writer, message)

    def expect(self, within_s: float | None) -> None:
        """Disconnect after this time, unless called again before then; None for never."""
        if self._patience is not None:
            self._patience.cancel()
        self._patience = None if within_s is None else Alarm(within_s, self.abort)

    def abort(self) -> None:
        """Disconnect; `close` would wait until it has read all messages, which a stopped process never does."""
        self._writer.transport.abort()

    async def receive(self) -> FromRunning:
        """The next message that is not for the log.

        Raises:
            TargetError: the client could not reach the server.
            EOFError: it is gone, or was silent for too long.
        """
        while True:
            message: FromClient = await read(self._reader)
            match message:
                case Logged(record):
                    record.msg = f"{self.role}: {record.msg}"
                    logging.getLogger(record.name).handle(record)
                case Failed(error):
                    raise error
                case _:
                    return message

    def resume(self) -> None:
        self._process.resume()

    async def failed(self, what: str) -> LaunchError:
        return LaunchError(f"{self.role} {what}", await self._process.log_tail())

    async def lost(self) -> LaunchError:
        return await lost(self._process)


async def start_client(
    assignment: Assignment, directory: Path, environment: Mapping[str, str] | None = None
) -> Process:
    """Start a client process, which listens on a socket in a directory.

    Args:
        assignment: its role and its cores.
        directory: of its socket and its log.
        environment: variables added to those of this process.

    Raises:
        LaunchError: it cannot be started.
    """
    arguments = ["-m", "loadgen.load.client_process", str(directory / f"{assignment.role}.socket")]
    return await start(Command(assignment.role, arguments, assignment.cores, environment), directory)


async def reach_client(directory: Path, process: Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a client process, which listens as soon as it has started.

    Args:
        directory: of its socket.
        process: that was started there.

    Raises:
        LaunchError: it is gone, or takes too long.
    """
    path = directory / f"{process.role}.socket"
    try:
        async with patience(START_TIMEOUT_S):
            while True:
                try:
                    return await asyncio.open_unix_connection(path)
                except OSError:
                    if process.exited.done():
                        raise await lost(process) from None
                    await asyncio.sleep(0.01)
    except TimeoutError:
        raise LaunchError(
            f"{process.role} did not start within {START_TIMEOUT_S:g} s", await process.log_tail()
        ) from None


@contextlib.asynccontextmanager
async def _connected(directory: Path, process: Process) -> AsyncIterator[_ClientLink]:
    reader, writer = await reach_client(directory, process)
    client = _ClientLink(process, reader, writer)
    try:
        yield client
    finally:
        client.expect(None)
        writer.close()  # a client that has not ended stops


async def lost(process: Process) -> LaunchError:
    """An error that says how a client process was lost."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await asyncio.shield(process.exited)
    if process.exited.done():
        what = f"ended early, with exit code {process.exited.result()}"
    else:
        what = "is stopped by a signal or a debugger" if is_stopped(process.pid) else "does not answer any more"
    return LaunchError(f"{process.role} {what}", await process.log_tail())


async def _unexpected(client: Link, message: FromRunning, when: str) -> LaunchError:
    return await client.failed(f"sent a {type(message).__name__} {when}")


class SharedRun:
    """One job that all clients share: they begin together, and their records become one.

    Args:
        clients: at least one.
        hooks: run in this process.
        watched: processes of this machine, by role, of which the run finds those that a signal stops.
        starts: when all begin, as of which moment; None for the usual lead.
    """

    def __init__(
        self,
        clients: Sequence[Link],
        hooks: Hooks,
        watched: Mapping[str, int],
        starts: Callable[[int], int] = lambda now_ns: now_ns + LEAD_NS,
    ) -> None:
        self._clients, self._hooks, self._starts = clients, hooks, starts
        self._intervals: list[deque[Interval]] = [deque() for _ in clients]
        self._measuring = set(clients)
        self._measured = asyncio.Event()
        self._silence_s = 0.0
        self._stopped = StoppedProcesses(lambda: watched, self.end_stopped)
        self._began = self._continued = self._cut_off = False

    async def run(self, jobs: Sequence[Job], stop: asyncio.Event) -> list[Record | None]:
        """Have each client do its share.

        Returns:
            The record of each; None for one that is lost.
        """
        watching = asyncio.create_task(self._stopped.watch(), name="looking for clients that are stopped")
        try:
            return await self._run(jobs, stop)
        finally:
            watching.cancel()

    async def _run(self, jobs: Sequence[Job], stop: asyncio.Event) -> list[Record | None]:
        for client, job in zip(self._clients, jobs, strict=True):
            client.send(Begin(job))
        await self._ready()
        self._began = True
        if not jobs[0].warmup_s:
            await self._hooks.tell(Phase.MEASURED_BEGINS)
        begin = self._hooks.begin
        begins_ns = self._starts(time.monotonic_ns() if begin is None else await begin())
        self._silence_s = _longest_silence_s(jobs[0])
        for client in self._clients:
            client.send(Start(begins_ns))
            client.expect(jobs[0].warmup_s + self._silence_s + END_TIMEOUT_S)
        tasks = [
            asyncio.create_task(self._pass_on(stop, Stop())),
            asyncio.create_task(self._pass_on(self._hooks.stop_sending, StopSending())),
        ]
        try:
            follow = map(self._follow, range(len(self._clients)))
            _, *records = await gather_all(self._phases(begins_ns, jobs[0]), *follow)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return records

    async def _ready(self) -> None:
        """All have reached the server.

        Raises:
            LaunchError: one is gone, takes too long, or says something else.
            TargetError: one could not reach it.
        """
        for client in self._clients:
            try:
                async with patience(START_TIMEOUT_S):
                    message = await client.receive()
            except EOFError:
                raise await client.lost() from None
            except TimeoutError:
                raise await client.failed(f"did not reach the server within {START_TIMEOUT_S:g} s") from None
            if not isinstance(message, Ready):
                raise await _unexpected(client, message, "before it was ready")

    async def _pass_on(self, event: asyncio.Event, message: Stop | StopSending) -> None:
        await event.wait()
        self._end(message)

    def _end(self, message: Stop | StopSending) -> None:
        """Tell all to end their measured part, which they do at once."""
        self._silence_s = 0.0
        for client in self._clients:
            client.send(message)
        for client in self._measuring:
            client.expect(END_TIMEOUT_S)

    def end_stopped(self, role: str) -> None:
        """End the run, and have a client that is stopped hand in what it measured."""
        client = next(client for client in self._clients if client.role == role)
        if not self._began:
            client.abort()  # which `_ready` says
            return
        log.error("%s is stopped for %g s: the run ends, and it is continued for what it measured", role, PATIENCE_S)
        self._continued = True
        client.resume()
        self._end(Stop())
        client.expect(PATIENCE_S)

    def end_cut_off(self, role: str, reason: str) -> None:
        """End the run while a client can still hand in what it measured; several that are cut off have one reason."""
        if not self._began:
            next(client for client in self._clients if client.role == role).abort()  # which `_ready` says
            return
        if not self._cut_off:
            log.error("%s: the run ends", reason)
            self._end(Stop())
        self._cut_off = True

    async def _phases(self, begins_ns: int, job: Job) -> None:
        measured_from_ns = begins_ns + round(job.warmup_s * NS_PER_S)
        try:  # a client that stops while it warms up has no measured part
            async with asyncio.timeout((measured_from_ns - time.monotonic_ns()) / NS_PER_S):
                await self._measured.wait()
        except TimeoutError:
            if job.warmup_s:
                await self._hooks.tell(Phase.MEASURED_BEGINS)
            await self._measured.wait()
        await self._hooks.tell(Phase.MEASURED_ENDS)
        for client in self._clients:
            client.send(Continue())
            client.expect(job.drain_s + END_TIMEOUT_S)

    async def _follow(self, number: int) -> Record | None:
        """Receive from one client until its record; None when it is lost before, which ends the run of the others."""
        client = self._clients[number]
        try:
            while True:
                message = await client.receive()
                match message:
                    case IntervalDone(interval):
                        client.expect(self._silence_s + END_TIMEOUT_S)
                        self._intervals[number].append(interval)
                        self._report_intervals()
                    case Measured():
                        client.expect(None)  # it waits for the others, and for `Continue`
                        self._done(client)
                    case Finished(record):
                        return record
                    case Ready():
                        raise await _unexpected(client, message, "while it ran")
                    case _:
                        assert_never(message)
        except (EOFError, TargetError) as error:
            log.error("%s", error if isinstance(error, TargetError) else await client.lost())
            self._done(client)
            self._end(Stop())
            return None

    def _done(self, client: Link) -> None:
        """It has no measured part any more."""
        self._measuring.discard(client)
        if not self._measuring:
            self._measured.set()

    def _report_intervals(self) -> None:
        """Report the interval that all clients have sent by now, if there is one."""
        if all(self._intervals):
            self._hooks.report(Interval.merged([of_one.popleft() for of_one in self._intervals]))

    async def merged(self, records: Sequence[Record | None]) -> Record:
        """The record of all; those of single clients are used up.

        Args:
            records: that `run` returned.

        Raises:
            LaunchError: all clients are lost.
        """
        known = [record for record in records if record is not None]
        if not known:
            raise await self._clients[0].lost()
        whole = known[0]
        for record in known[1:]:
            whole.merge(record)
        whole.notes += [*self._hooks.notes, *self._stopped.notes]
        if self._continued or self._cut_off or len(known) < len(records):
            whole.ended = Ending.CLIENT_LOST
        return whole


def _longest_silence_s(job: Job) -> float:
    """How long a client may be silent while it measures, seconds: two logging intervals, or all of it."""
    length_s = job.duration_s if job.arrivals is None else job.arrivals.duration_s
    return min(2 * job.log_every_s, math.inf if length_s is None else length_s)
