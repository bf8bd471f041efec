"""Starts, watches and stops child processes that are pinned from the start and die with their parent."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frontend_launch.errors import LaunchError
from frontend_launch.tasks import create_process
from model_containers import lifeline

STOP_TIMEOUT_S = 3.0
"""Time a process has between SIGTERM and SIGKILL."""

_PIN_AND_EXEC = Path(__file__).with_name("pin_and_exec.py")
_TAIL_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Command:
    """What to start.

    Attributes:
        role: its role in the placement, also the name of its log.
        arguments: the command line after the Python interpreter.
        cores: the cores it may use; empty for no change.
        environment: variables added to ours.
        directory: where it runs; empty for ours.
    """

    role: str
    arguments: Sequence[str]
    cores: tuple[int, ...] = ()
    environment: Mapping[str, str] | None = None
    directory: str = ""


class Process:
    """One running process; `exited` is a task that ends with its exit code.

    Args:
        role: its role in the placement.
        process: just started.
        logs: files whose last lines `log_tail` gives; they need not exist.
        held: descriptor of the pipe whose end ends the process; `stop` closes it.
    """

    here = True

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

    async def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log, and of what it wrote to standard error."""
        return "\n".join(tail for path in self._logs if (tail := _tail(path, lines)))

    async def keep_log(self) -> None:
        """It stays where it is: the process writes it there."""

    def resume(self) -> None:
        """Have it go on where a signal stopped it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end, without waiting for that."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self.resume()  # a stopped process takes a signal when it goes on

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL for one that does not listen."""
        try:
            self.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await asyncio.shield(self.exited)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self.exited
        finally:
            os.close(self._held)


async def start(
    command: Command, log_directory: Path, *, read_stdout: bool = False, pass_fds: tuple[int, ...] = ()
) -> Process:
    """Start a process that is pinned from its first instruction and dies with this one.

    Two things end it when this process is gone, even by SIGKILL: the kernel's parent-death signal, and the
    end of a pipe whose other end only we hold (it watches ``LOADGEN_PARENT_FD``).

    Args:
        command: what to start.
        log_directory: ``ROLE.err`` there takes standard error, and standard output unless that is read; a
            process that keeps a log of its own is expected to write it to ``ROLE.log``.
        read_stdout: hand its standard output to the caller as `Process.stdout`.
        pass_fds: descriptors that it inherits, with their numbers.

    Raises:
        LaunchError: the system refuses to start it.
    """
    log_path, error_path = (log_directory / f"{command.role}.{suffix}" for suffix in ("log", "err"))
    try:
        watched, held = os.pipe()
    except OSError as error:
        raise LaunchError(_refused(command.role, error)) from None
    environment = {**os.environ, **(command.environment or {}), lifeline.VARIABLE: str(watched)}
    cores = ",".join(map(str, command.cores))
    shim = [sys.executable, "-I", "-S", str(_PIN_AND_EXEC), cores, str(os.getpid()), "--"]
    try:
        with error_path.open("ab") as errors:
            process = await create_process(
                *shim,
                sys.executable,
                "-P",  # files of the working directory are no modules
                *command.arguments,
                env=environment,
                cwd=command.directory or None,
                pass_fds=(watched, *pass_fds),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if read_stdout else errors,
                stderr=errors,
                # Ctrl-C in a terminal reaches the whole process group; ours ends its processes itself, in order.
                start_new_session=True,
            )
    except BaseException as error:  # cancelled too
        os.close(held)
        if isinstance(error, OSError):
            raise LaunchError(_refused(command.role, error)) from None
        raise
    finally:
        os.close(watched)
    return Process(command.role, process, (log_path, error_path), held)


def _refused(role: str, error: OSError) -> str:
    """What the system said, and what to do about a limit."""
    if error.errno == errno.EMFILE:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"{role} cannot be started: {limit} open files are too few; raise the limit (ulimit -n)"
    return f"{role} cannot be started: {error}"


def _tail(path: Path, lines: int) -> str:
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
    return ""
