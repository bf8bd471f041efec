"""Commands that measure real deployments, and what a test does to their processes meanwhile.

A run is disturbed where processes that the test did not start used more than a quarter of a core: what it says
is then not what the test brought about.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import program
import pytest
import uvloop

from frontend_launch.admin import AdminClient
from frontend_launch.ports import Ports
from model_containers.data_types import DataType

SUPPORT = Path(__file__).parent
CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
READY_S = 30
DISTURBED = 0.25
"""Cores used by others."""

ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended.

    Attributes:
        exit_code: of the command.
        document: its results.
        said: what it printed.
        outside: cores that processes used that this test did not start.
    """

    exit_code: int
    document: dict[str, Any]
    said: str
    outside: float = 0.0

    @property
    def disturbed(self) -> bool:
        return self.outside > DISTURBED

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return [check["name"] for check in self.document["certificate"] if check["verdict"] == "failed"]

    def measured(self, name: str) -> str:
        """What a check found."""
        return next(str(check["measured"]) for check in self.document["certificate"] if check["name"] == name)


class Running:
    """A command that measures, in a directory of its own.

    Args:
        directory: for its results; the models' current directory.
        words: of the command, without the program.
    """

    def __init__(self, directory: Path, words: Sequence[str]) -> None:
        directory.mkdir()
        self.directory = directory
        self._process = subprocess.Popen(
            [program.LOADGEN, *words, "--no-ceiling", "--log-every", "0.5s", "--results-dir", "results"],
            cwd=directory,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._said: list[str] = []
        self._measuring = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append(line)
            if "thruput" in line:
                self._measuring.set()
        self._measuring.set()

    def pids(self) -> dict[str, int]:
        """The process of each role, the sampler's too, once all are there: before the first request."""
        sampler = program.until(self._sampler)
        pids = [word.removeprefix("--watch=").split("=") for word in _words(sampler) if word.startswith("--watch=")]
        return {role: int(pid) for role, pid in pids} | {"sampler": sampler}

    @property
    def pid(self) -> int:
        """The command itself."""
        return self._process.pid

    def pid_of(self, role: str) -> int | None:
        """The process that has a role now, which may be another than at the beginning; None between two."""
        variable = f"LOADGEN_ROLE={role}".encode()
        for child in _children(self._process.pid):
            with contextlib.suppress(OSError):
                if variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                    return child
        return None

    def measuring(self) -> None:
        """Wait for the first half second of the measured part."""
        assert self._measuring.wait(program.DEADLINE_S)
        self._check()

    def _sampler(self) -> int | Literal[False]:
        self._check()
        return next((pid for pid in _children(self._process.pid) if "loadgen.hardware.sampler" in _words(pid)), False)

    def _check(self) -> None:
        assert self._process.poll() is None, "".join(self._said)

    def under_way(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self) -> Ended:
        """Wait for its end."""
        exit_code = self._process.wait(program.DEADLINE_S)
        self._close()
        said = "".join(self._said)
        files = list((self.directory / "results").glob("results-*.json"))
        assert files, said
        return Ended(exit_code, json.loads(files[0].read_text()), said)

    def stop(self) -> None:
        """Leave nothing running, whatever happened."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(READY_S)
            except subprocess.TimeoutExpired:
                for pid in (self._process.pid, *_children(self._process.pid)):
                    os.kill(pid, signal.SIGKILL)
                self._process.wait()
        self._close()

    def _close(self) -> None:
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def running(directory: Path, *words: str) -> Iterator[Running]:
    """A command that is gone at the end."""
    command = Running(directory, words)
    try:
        yield command
    finally:
        command.stop()


def undisturbed(directory: Path, run: Callable[[Path], Ended]) -> Ended:
    """The first run that was not disturbed, or the last of some attempts.

    Args:
        directory: of all attempts; each gets one of its own.
        run: ends all that it starts.
    """
    for attempt in range(ATTEMPTS):
        others = Others()
        ended = run(directory / str(attempt))
        ended = replace(ended, outside=others.cores())
        if not ended.disturbed:
            break
    return ended


class Others:
    """What processes use that this one did not start, since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic(), _busy_s(), _own_s()

    def cores(self) -> float:
        """How many cores, on the average; of the children that have ended all the time is known."""
        began_s, busy_s, own_s = self._began
        return max(0.0, _busy_s() - busy_s - (_own_s() - own_s)) / (time.monotonic() - began_s)


def _busy_s() -> float:
    user, nice, system = (int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    return sum(os.times()[:4])


def model(name: str) -> list[str]:
    """The options of a model of `faulty_models`, on free ports; the catalogue's name of any other."""
    return ["-m", name if name == "noop" else f"faulty_models:{name}", *program.ANY_PORTS]


# Faults ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process is held while the context lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def busy(core: int, share: float = 1.0) -> Iterator[None]:
    """A loop that uses a share of a core, beside what runs there."""
    text = (
        "import time\n"
        f"while True:\n    until = time.monotonic() + {0.05 * share}\n"
        f"    while time.monotonic() < until: pass\n    time.sleep({0.05 * (1 - share)})\n"
    )
    process = subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", text])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def quota(pid: int, share: float) -> Iterator[None]:
    """A process may use a share of a core; skips the test where no such cgroup can be made."""
    first = CGROUPS / "cpu"
    directory = (first if first.is_dir() else CGROUPS) / f"loadgen-test-{os.getpid()}"
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        us = int(share * PERIOD_US)
        try:
            if first.is_dir():
                (directory / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (directory / "cpu.cfs_quota_us").write_text(str(us))
            else:
                (directory / "cpu.max").write_text(f"{us} {PERIOD_US}")
        except OSError as error:
            pytest.skip(f"no quota can be set: {error}")
        (directory / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        program.until(lambda: _removed(directory))


def _removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:  # as long as a process is in it
        return False
    return True


# Frontends that run already ----------------------------------------------------------------------------------


@contextlib.contextmanager
def frontend(directory: Path, name: str, application: str, core: int) -> Iterator[Ports]:
    """A frontend and a replica on a core.

    Args:
        directory: the model's current directory; made here.
        name: of the model in `faulty_models`.
        application: what the model calls itself.
        core: of both.
    """
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            _started(["frontend_launch", "serve", *program.ANY_PORTS], directory, core, stdout=subprocess.PIPE)
        )
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        ports = Ports(**json.loads(process.stdout.readline()))
        uvloop.run(_register(ports, application))
        replica = ["model_containers", "serve", f"faulty_models:{name}", "--port", str(ports.replica)]
        stack.enter_context(_started(replica, directory, core))
        uvloop.run(_until_ready(ports, application))
        yield ports


def connected(ports: Ports, name: str, application: str) -> list[str]:
    """The options that load such a frontend."""
    options = [f"--{which}-port={getattr(ports, which)}" for which in ("request", "response", "metrics", "admin")]
    return ["--connect", "127.0.0.1", "-m", f"faulty_models:{name}", "--app", application, *options]


@contextlib.contextmanager
def _started(
    words: list[str], directory: Path, core: int, stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        ["taskset", "-c", str(core), sys.executable, "-m", *words], cwd=directory, env=_environment(), stdout=stdout
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _register(ports: Ports, application: str) -> None:
    async with AdminClient(f"http://127.0.0.1:{ports.admin}") as admin:
        await admin.register_application(application, DataType.FLOATS, "TIMEOUT", 500_000)
        await admin.register_model(application, "1", DataType.FLOATS, batch_size=2)
        await admin.link_model(application, application)


async def _until_ready(ports: Ports, application: str) -> None:
    async with AdminClient(f"http://127.0.0.1:{ports.admin}") as admin, asyncio.timeout(READY_S):
        while not await admin.replicas(application, "1"):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def delayed(ports: Ports, delay_s: float, core: int) -> Iterator[Ports]:
    """A way to a frontend's ports for requests and responses that takes a time in each direction.

    Args:
        ports: of the frontend.
        delay_s: of each direction.
        core: of the thread that passes on.
    """
    started: queue.Queue[tuple[Ports, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def relay(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_late(reader, backend_writer, delay_s), _late(backend_reader, writer, delay_s))

    async def main() -> None:
        os.sched_setaffinity(threading.get_native_id(), {core})
        stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            own = {}
            for which in ("request", "response"):
                port = getattr(ports, which)
                server = await asyncio.start_server(lambda *streams, port=port: relay(port, *streams), "127.0.0.1", 0)
                await stack.enter_async_context(server)
                own[which] = server.sockets[0].getsockname()[1]
            started.put((replace(ports, **own), asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    own, loop, stop = started.get(timeout=READY_S)
    try:
        yield own
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(READY_S)


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass on in order, each piece when its time has come."""
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def read() -> None:
        data = b"."
        while data:
            try:
                data = await reader.read(1 << 16)
            except OSError:
                data = b""
            pieces.put_nowait((loop.time() + delay_s, data))

    reading = asyncio.create_task(read())
    with contextlib.suppress(OSError):
        while True:
            due_s, data = await pieces.get()
            if not data:
                break
            await asyncio.sleep(due_s - loop.time())
            writer.write(data)
            await writer.drain()
    reading.cancel()
    writer.close()


# Processes ---------------------------------------------------------------------------------------------------


def _environment() -> dict[str, str]:
    """Ours, in which models of this directory are found."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])])}


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []
