"""Starts, watches and stops the processes of a deployment on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq
from typing_extensions import override

from frontend_launch.errors import LaunchError
from frontend_launch.launch.launcher import (
    DeploymentConfig,
    Endpoint,
    Launcher,
    Running,
    model_environment,
    ports_of,
    replica_environment,
    shard_flags,
    together,
)
from frontend_launch.launch.placement import Assignment
from frontend_launch.launch.topology import core_ranges
from frontend_launch.ports import Ports
from frontend_launch.tasks import create_process
from frontend_launch.wire import ipc_addresses
from model_containers import lifeline

FRONTENDS_TIMEOUT_S = 30.0

LOCAL_FROM_BYTES = 262_144
"""Inputs from this size on go through Unix sockets, for which both sides need less time; smaller ones are faster over
TCP, those of 64 KiB more than twice. Measured: ``docs/performance.md``."""
STOP_TIMEOUT_S = 3.0
"""Time a process has between SIGTERM and SIGKILL."""

_CHILD = Path(__file__).with_name("child.py")
_TAIL_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Command:
    """What to start.

    Attributes:
        role: its role in the placement, also the name of its log.
        arguments: the command line after the Python interpreter.
        cores: the cores it may use; empty for no change.
        environment: variables added to ours.
    """

    role: str
    arguments: Sequence[str]
    cores: tuple[int, ...] = ()
    environment: Mapping[str, str] | None = None


class Process(Running):
    """One running process; `exited` is a task that ends with its exit code.

    Args:
        role: its role in the placement.
        process: just started.
        logs: files whose last lines `log_tail` gives; they need not exist.
        held: descriptor of the pipe whose end ends the process; `stop` closes it.
    """

    def __init__(self, role: str, process: asyncio.subprocess.Process, logs: Sequence[Path], held: int) -> None:
        self.role = role
        self.pid = process.pid
        self.exited: asyncio.Task[int] = asyncio.create_task(process.wait(), name=f"{role} exited")
        self._process, self._logs, self._held = process, logs, held

    @property
    def stdout(self) -> asyncio.StreamReader:
        """What it prints; only for a process started with `read_stdout`."""
        assert self._process.stdout is not None
        return self._process.stdout

    @override
    async def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log, and of what it wrote to standard error."""
        return "\n".join(tail for path in self._logs if (tail := _tail(path, lines)))

    @override
    async def keep_log(self) -> None:
        """It is where it shall be: the process writes it there."""

    @override
    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL for one that does not listen."""
        try:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
                self._process.send_signal(signal.SIGCONT)  # a stopped process takes a signal when it goes on
            try:
                await asyncio.wait_for(asyncio.shield(self.exited), STOP_TIMEOUT_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self.exited
        finally:
            os.close(self._held)


class ProcessLauncher(Launcher):
    """Starts processes on this machine: both frontends in one, over a store in its memory.

    Several such processes know nothing of each other: each has its own replicas, and its own management frontend.
    """

    def __init__(self, config: DeploymentConfig) -> None:
        self._config, self.stays = config, False
        self._directory = tempfile.TemporaryDirectory(prefix="loadgen-")
        self.log_directory = Path(self._directory.name, "logs")
        self.log_directory.mkdir()

    @override
    async def __aenter__(self) -> ProcessLauncher:
        return self

    @override
    async def __aexit__(self, *error: object) -> None:
        self._directory.cleanup()

    @override
    async def start_frontends(self, started: Callable[[Running], None]) -> list[Endpoint]:
        count = len(self._config.placement.of("frontends"))
        return await together(*(self._start_frontends(number, count, started) for number in range(count)))

    async def _start_frontends(self, number: int, count: int, started: Callable[[Running], None]) -> Endpoint:
        ports, assignment = ports_of(self._config, number), self._config.placement.of("frontends")[number]
        arguments = ["-m", "frontend_launch", "serve", *shard_flags(number, count)]
        for name in ("request", "response", "replica", "metrics", "admin"):
            arguments += [f"--{name}-port", str(getattr(ports, name))]
        sockets = self._sockets(assignment.role)
        if sockets is not None:
            arguments += ["--ipc-directory", str(sockets)]
        command = Command(assignment.role, arguments, assignment.cores)
        process = await start(command, self.log_directory, read_stdout=True)
        started(process)
        try:
            bound = json.loads(await asyncio.wait_for(process.stdout.readline(), FRONTENDS_TIMEOUT_S))
        except TimeoutError:
            text = f"{assignment.role} said nothing within {FRONTENDS_TIMEOUT_S:.0f} s"
            raise LaunchError(text, await process.log_tail()) from None
        except ValueError:  # they ended without a line of JSON; the last of their log is one clear line
            raise LaunchError(await process.log_tail(lines=1) or f"{assignment.role} ended at once") from None
        return Endpoint("127.0.0.1", Ports(**bound), sockets, local_replicas=sockets is not None)

    def _sockets(self, role: str) -> Path | None:
        """A directory for a frontend's Unix sockets, where they pay and the system takes so long a path."""
        directory = Path(self._directory.name, f"{role}.sockets")
        longest = max(len(os.fsencode(address)) for address in ipc_addresses(directory)) - len("ipc://")
        if self._config.payload_bytes < LOCAL_FROM_BYTES or longest > zmq.IPC_PATH_MAX_LEN:
            return None
        directory.mkdir()
        return directory

    @override
    async def start_replica(self, assignment: Assignment, endpoint: Endpoint) -> Running:
        config = self._config
        arguments = ["-m", "model_containers", "serve", config.model_name, *config.replica_options]
        environment = {
            **replica_environment(config),
            **model_environment(config.model, assignment),
            "CLIPPER_IP": endpoint.host,
            "CLIPPER_PORT": str(endpoint.ports.replica),
            "LOADGEN_LOG_FILE": str(self.log_directory / f"{assignment.role}.log"),
        }
        if endpoint.local_replicas and endpoint.directory is not None:
            environment["LOADGEN_FRONTEND"] = ipc_addresses(endpoint.directory).replica
        return await start(Command(assignment.role, arguments, assignment.cores, environment), self.log_directory)

    @override
    async def cores_of(self, running: Running) -> tuple[int, ...]:
        return affinity(running.pid)


def affinity(pid: int) -> tuple[int, ...]:
    """The cores that the kernel lets a process use, over all of its threads; empty when it is gone."""
    allowed: set[int] = set()
    for thread in _threads(pid):
        with contextlib.suppress(ProcessLookupError):
            allowed |= os.sched_getaffinity(thread)
    return tuple(sorted(allowed))


@contextlib.contextmanager
def pinned(cores: tuple[int, ...]) -> Iterator[None]:
    """Run this process, all of its threads, on these cores and no others while the context lasts.

    Raises:
        LaunchError: the kernel does not allow it.
    """
    before = os.sched_getaffinity(0)
    try:
        _pin(cores)
    except OSError as error:
        raise LaunchError(f"this process cannot run on cores {core_ranges(cores)}: {error.strerror}") from None
    try:
        yield
    finally:
        _pin(before)


def _pin(cores: Iterable[int]) -> None:
    for thread in _threads(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cores)


def _threads(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    return []


async def start(command: Command, log_directory: Path, *, read_stdout: bool = False) -> Process:
    """Start a process that is pinned from its first instruction and dies with this one.

    Two things end it when this process is gone, even by SIGKILL: the kernel's parent-death signal, and the
    end of a pipe whose other end only we hold (it watches ``LOADGEN_PARENT_FD``).

    Args:
        command: what to start.
        log_directory: ``ROLE.err`` there takes standard error, and standard output unless that is read; a
            process that keeps a log of its own is expected to write it to ``ROLE.log``.
        read_stdout: hand its standard output to the caller as `Process.stdout`.

    Raises:
        LaunchError: the system refuses to start it.
    """
    log_path, error_path = (log_directory / f"{command.role}.{suffix}" for suffix in ("log", "err"))
    watched, held = os.pipe()
    environment = {**os.environ, **(command.environment or {}), lifeline.VARIABLE: str(watched)}
    cores = ",".join(map(str, command.cores))
    shim = [sys.executable, "-I", "-S", str(_CHILD), cores, str(os.getpid()), "--"]
    try:
        with error_path.open("ab") as errors:
            process = await create_process(
                *shim,
                sys.executable,
                *command.arguments,
                env=environment,
                pass_fds=(watched,),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if read_stdout else errors,
                stderr=errors,
                # Ctrl-C in a terminal reaches the whole process group; ours ends its processes itself, in order.
                start_new_session=True,
            )
    except BaseException as error:  # cancelled too
        os.close(held)
        if isinstance(error, OSError):
            raise LaunchError(f"{command.role} cannot be started: {error}") from None
        raise
    finally:
        os.close(watched)
    return Process(command.role, process, (log_path, error_path), held)


def _tail(path: Path, lines: int) -> str:
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
    return ""
