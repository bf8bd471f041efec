"""The clients of a run: this process, or several client processes with a share of the load each.

Each of several is told its job and the moment at which all begin, over a Unix socket; it tells of each logging
interval and of what it would log, and hands over its record in the end. One that is silent when it should not be is
taken for lost, as one that has ended. Messages are pickled values behind their length; they go between processes of
one user only. Nothing of a single request passes that way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import math
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from frontend_launch.children import Command, Process, start
from frontend_launch.errors import LaunchError
from frontend_launch.launch.placement import Assignment, share_out
from frontend_launch.tasks import gather_all
from loadgen.errors import TargetError
from loadgen.load import runner
from loadgen.load.client_messages import ENOUGH, GO_ON, MEASURED, READY, STOP, read, write
from loadgen.load.record import Interval, Record
from loadgen.load.runner import Hooks, Job, Phase
from model_containers.units import NS_PER_S

log = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
"""Patience for a client process to start and to reach the server."""

END_TIMEOUT_S = 60.0
"""Patience for a message of it, beyond the time for which it may have nothing to say."""

LEAD_NS = 50_000_000
"""From the last client's word that it is ready to the beginning: enough for all to be told."""


class Clients(Protocol):
    """Whoever sends the requests of a run.

    Attributes:
        assignments: where the client processes run; empty where this process is the only one.
        pids: theirs, by role.
    """

    assignments: tuple[Assignment, ...]

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
async def clients(count: int, assignment: Assignment) -> AsyncIterator[Clients]:
    """So many clients, on the cores of an assignment, while the context lasts.

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
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadgen-")))
        several = _Processes(directory)
        for number, cores in enumerate(share_out(assignment.cores, count)):
            await several.start(replace(assignment, role=f"client-{number}", cores=cores, shared=True))
            stack.push_async_callback(several.processes[-1].stop)
        yield several


def split(job: Job, count: int) -> list[Job]:
    """The shares of a job: of the window, of the requests, and every so-many-th one of a schedule.

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


class _ThisProcess:
    """The usual case."""

    assignments: tuple[Assignment, ...] = ()
    pids: Mapping[str, int] = {}

    async def run(self, job: Job, stop: asyncio.Event, hooks: Hooks) -> Record:
        return await runner.run(job, stop, hooks)


class _Processes:
    """Several, which wait for their job."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.assignments: tuple[Assignment, ...] = ()
        self.processes: list[Process] = []

    @property
    def pids(self) -> Mapping[str, int]:
        return {row.role: process.pid for row, process in zip(self.assignments, self.processes, strict=True)}

    async def start(self, assignment: Assignment) -> None:
        path = self._directory / f"{assignment.role}.socket"
        arguments = ["-m", "loadgen.load.client_process", str(path)]
        self.processes.append(await start(Command(assignment.role, arguments, assignment.cores), self._directory))
        self.assignments += (assignment,)

    async def run(self, job: Job, stop: asyncio.Event, hooks: Hooks) -> Record:
        async with contextlib.AsyncExitStack() as stack:
            peers = [
                await stack.enter_async_context(_connected(self._directory / f"{row.role}.socket", process))
                for row, process in zip(self.assignments, self.processes, strict=True)
            ]
            return await _Run(peers, hooks).to_its_end(split(job, len(peers)), stop)


class _Peer:
    """One client process, as the one that leads sees it."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.process, self._reader, self._writer = process, reader, writer
        self._patience: asyncio.TimerHandle | None = None

    def tell(self, message: Any) -> None:
        """Send a message; to one that is gone it is not sent, which its silence says."""
        if not self._writer.is_closing():
            write(self._writer, message)

    def expect(self, within_s: float | None) -> None:
        """Give it up after so many seconds, unless told otherwise until then; None for as long as it takes."""
        if self._patience is not None:
            self._patience.cancel()
        # `close` would wait until it has taken what it was told, which a stopped process never does.
        abort = self._writer.transport.abort
        self._patience = None if within_s is None else asyncio.get_running_loop().call_later(within_s, abort)

    async def hear(self) -> Any:
        """The next message that is not for the log.

        Raises:
            TargetError: the client could not reach the server.
            EOFError: it is gone, or was given up.
        """
        while isinstance(message := await read(self._reader), logging.LogRecord):
            message.msg = f"{self.process.role}: {message.msg}"
            logging.getLogger(message.name).handle(message)
        if isinstance(message, TargetError):
            raise message
        return message


@contextlib.asynccontextmanager
async def _connected(path: Path, process: Process) -> AsyncIterator[_Peer]:
    """A connection to a client process, which listens as soon as it has started."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                try:
                    reader, writer = await asyncio.open_unix_connection(path)
                except OSError:
                    if process.exited.done():
                        raise await _lost(process) from None
                    await asyncio.sleep(0.01)
                else:
                    break
    except TimeoutError:
        raise LaunchError(
            f"{process.role} did not start within {START_TIMEOUT_S:g} s", await process.log_tail()
        ) from None
    peer = _Peer(process, reader, writer)
    try:
        yield peer
    finally:
        peer.expect(None)
        writer.close()  # which tells a client that has not ended to stop


async def _lost(process: Process) -> LaunchError:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(process.exited), 1.0)
    done = process.exited.done()
    what = f"ended early, with exit code {process.exited.result()}" if done else "does not answer any more"
    return LaunchError(f"{process.role} {what}", await process.log_tail())


class _Run:
    """One job, done by all of them; the shares begin together, and what they come to is one record."""

    def __init__(self, peers: Sequence[_Peer], hooks: Hooks) -> None:
        self._peers, self._hooks = peers, hooks
        self._intervals: list[deque[Interval]] = [deque() for _ in peers]
        self._measuring = set(peers)
        self._measured = asyncio.Event()
        self._silence_s = 0.0

    async def to_its_end(self, jobs: Sequence[Job], stop: asyncio.Event) -> Record:
        for peer, job in zip(self._peers, jobs, strict=True):
            peer.tell(job)
        await self._ready()
        if not jobs[0].warmup_s:
            await self._hooks.on_phase(Phase.MEASURED_BEGINS)
        begins_ns = time.monotonic_ns() + LEAD_NS
        self._silence_s = _longest_silence_s(jobs[0])
        for peer in self._peers:
            peer.tell(begins_ns)
            peer.expect(jobs[0].warmup_s + self._silence_s + END_TIMEOUT_S)
        tasks = [
            asyncio.create_task(self._pass_on(stop, STOP)),
            asyncio.create_task(self._pass_on(self._hooks.enough, ENOUGH)),
        ]
        try:
            follow = map(self._follow, range(len(self._peers)))
            _, *records = await gather_all(self._phases(begins_ns, jobs[0]), *follow)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await self._merged(records)

    async def _ready(self) -> None:
        """All have reached the server.

        Raises:
            LaunchError: one is gone, takes too long, or says something else.
            TargetError: one could not reach it.
        """
        for peer in self._peers:
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    message = await peer.hear()
            except EOFError:
                raise await _lost(peer.process) from None
            except TimeoutError:
                text = f"{peer.process.role} did not reach the server within {START_TIMEOUT_S:g} s"
                raise LaunchError(text, await peer.process.log_tail()) from None
            if message != READY:
                text = f"{peer.process.role} sent a {type(message).__name__} before it was ready"
                raise LaunchError(text, await peer.process.log_tail())

    async def _pass_on(self, event: asyncio.Event, message: str) -> None:
        await event.wait()
        self._end(message)

    def _end(self, message: str) -> None:
        """Tell all to end their measured part, which they do at once."""
        self._silence_s = 0.0
        for peer in self._peers:
            peer.tell(message)
        for peer in self._measuring:
            peer.expect(END_TIMEOUT_S)

    async def _phases(self, begins_ns: int, job: Job) -> None:
        measured_from_ns = begins_ns + round(job.warmup_s * NS_PER_S)
        try:  # whoever is told to stop while warming up has no measured part
            async with asyncio.timeout((measured_from_ns - time.monotonic_ns()) / NS_PER_S):
                await self._measured.wait()
        except TimeoutError:
            if job.warmup_s:
                await self._hooks.on_phase(Phase.MEASURED_BEGINS)
            await self._measured.wait()
        await self._hooks.on_phase(Phase.MEASURED_ENDS)
        for peer in self._peers:
            peer.tell(GO_ON)
            peer.expect(job.drain_s + END_TIMEOUT_S)

    async def _follow(self, number: int) -> Record | None:
        """Hear of one client until its record; None when it is lost before, which ends the run of the others."""
        peer = self._peers[number]
        try:
            while True:
                message = await peer.hear()
                if isinstance(message, Record):
                    return message
                if message == MEASURED:
                    peer.expect(None)  # it waits for the others, and is told when to go on
                    self._done(peer)
                else:
                    peer.expect(self._silence_s + END_TIMEOUT_S)
                    self._intervals[number].append(message)
                    self._tell_intervals()
        except (EOFError, TargetError) as error:
            log.error("%s", error if isinstance(error, TargetError) else await _lost(peer.process))
            self._done(peer)
            self._end(STOP)
            return None

    def _done(self, peer: _Peer) -> None:
        """It has no measured part any more."""
        self._measuring.discard(peer)
        if not self._measuring:
            self._measured.set()

    def _tell_intervals(self) -> None:
        """Tell of the interval that all have told of by now, if there is one."""
        if all(self._intervals):
            self._hooks.on_interval(Interval.merged([of_one.popleft() for of_one in self._intervals]))

    async def _merged(self, records: Sequence[Record | None]) -> Record:
        known = [record for record in records if record is not None]
        if not known:
            raise await _lost(self._peers[0].process)
        whole = known[0]
        for record in known[1:]:
            whole.merge(record)
        if len(known) < len(records):
            whole.ended = "client_lost"
        return whole


def _longest_silence_s(job: Job) -> float:
    """So long a client says nothing while it measures: a logging interval and some, or all of it, seconds."""
    length_s = job.duration_s if job.arrivals is None else job.arrivals.duration_s
    return min(2 * job.log_every_s, math.inf if length_s is None else length_s)
