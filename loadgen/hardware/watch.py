"""Runs `loadgen.hardware.sampler` beside a measurement, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from frontend_launch import scratch
from frontend_launch.children import Command, Process, start
from frontend_launch.errors import LaunchError
from frontend_launch.launch.placement import Assignment
from frontend_launch.stopped import StoppedProcesses
from loadgen.hardware.readings import SAMPLER, TOKEN, Reading

log = logging.getLogger(__name__)

EVERY_S = 1.0
START_TIMEOUT_S = 10.0
"""Timeout for the first reading, since GPU drivers may start slowly; afterwards the run begins without it."""


class Watch:
    """What is being watched.

    Args:
        assignments: where the sampler runs, and what runs beside it.
        path: of the readings; None without the sampler.
        process: the sampler; None where it could not be started.
        reason: why it could not.
    """

    def __init__(
        self,
        assignments: tuple[Assignment, ...],
        path: Path | None = None,
        process: Process | None = None,
        reason: str = "",
    ) -> None:
        self.assignments, self.path = assignments, path
        self._process, self._reason = process, reason
        self._stopped = StoppedProcesses(lambda: {} if process is None else {SAMPLER: process.pid})
        self._late = False

    async def started(self) -> None:
        """Wait for the first reading, so that the sampler's own start is over before load begins."""
        assert self._process is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._process.stdout.readline()
        except TimeoutError:
            self._late = True
            log.warning("the sampler has no reading after %g s: the run begins without", START_TIMEOUT_S)

    async def look_for_stops(self) -> None:
        """Log when a signal stops the sampler, until cancelled."""
        await self._stopped.watch()

    async def stop(self) -> None:
        """End the sampler."""
        assert self._process is not None
        await self._process.stop()

    def readings(self) -> Iterator[Reading]:
        """All readings until now, one at a time, up to a line that is not complete."""
        if self.path is None:
            return
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), self.path.open() as lines:
            for line in lines:
                yield Reading.from_row(json.loads(line))

    @property
    def died(self) -> bool:
        """Whether the sampler ended by itself."""
        return self._process is not None and self._process.exited.done()

    async def notes(self) -> list[str]:
        """A line where the hardware is not, or no longer, watched."""
        if self._process is None:
            return [f"the hardware was not watched: {self._reason}"]
        late = [f"the sampler had no reading within {START_TIMEOUT_S:g} s of its start"] if self._late else []
        known = [*late, *self._stopped.notes]
        if not self.died:
            return known
        said = await self._process.log_tail(lines=1)
        text = f"the sampler ended with exit code {self._process.exited.result()}{said and ': '}{said}"
        return [*known, f"the hardware was not watched to the end: {text}"]


@contextlib.asynccontextmanager
async def watching(
    pids: Mapping[str, int],
    beside: Assignment,
    frontends: Iterable[str] = (),
    token: str = "",
    others: Mapping[str, int] | None = None,
) -> AsyncIterator[Watch]:
    """Watch processes while the context lasts; a run goes on when the sampler cannot.

    Args:
        pids: the processes, by role.
        beside: whose cores the sampler uses too.
        frontends: ``host:port`` of the query frontends' metrics, where their queues are watched too.
        token: for these metrics; empty for none.
        others: processes that use the same cores as the sampler, by role.
    """
    others = others or {}
    assignments = tuple(replace(beside, role=role, shared=True) for role in (SAMPLER, *others))
    options = [f"--watch={role}={pid}" for role, pid in {**pids, **others}.items()]
    options += [f"--frontend={frontend}" for frontend in frontends]
    async with contextlib.AsyncExitStack() as stack:
        try:
            directory = stack.enter_context(scratch.directory())
            watch = await _start(options, assignments, directory, token)
        except (LaunchError, OSError) as error:
            log.warning("the hardware is not watched: %s", error)
            yield Watch(assignments, reason=str(error))
            return
        stack.push_async_callback(watch.stop)
        looking = asyncio.create_task(watch.look_for_stops(), name="looking whether the sampler is stopped")
        stack.callback(looking.cancel)
        await watch.started()
        yield watch


async def _start(options: list[str], assignments: tuple[Assignment, ...], directory: Path, token: str) -> Watch:
    path = directory / "readings"
    arguments = ["-m", "loadgen.hardware.sampler", "--out", str(path), "--every", str(EVERY_S), *options]
    command = Command(SAMPLER, arguments, assignments[0].cores, {TOKEN: token})
    return Watch(assignments, path, await start(command, directory, read_stdout=True))
