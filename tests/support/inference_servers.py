"""Real inference servers for tests and benchmarks: each from a package, in an environment of its own, on loopback.

``tests/servers/NAME.txt`` pins what an environment holds, ``tests/servers/NAME/`` are the models it serves.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

SERVERS = Path(__file__).parents[1] / "servers"
KSERVE_MODEL = SERVERS / "kserve" / "double.py"
REQUIRED = "LOADGEN_REQUIRE_SERVERS"
BUILD_TIMEOUT_S = 900.0
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05
LOG_TAIL_LINES = 40


def environment(name: str) -> Path:
    """The virtual environment of a server or tool, made at its first use and kept in the user's cache.

    Where it cannot be made, the test is skipped, or fails if LOADGEN_REQUIRE_SERVERS is set.
    """
    pins = SERVERS / f"{name}.txt"
    digest = hashlib.sha256(f"{sys.version} {sys.base_prefix} {pins.read_text()}".encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loadgen" / "test-servers"
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"{name}-{digest}"
    with (cache / f"{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # its holder is bound by BUILD_TIMEOUT_S, and lets go when it dies
        if not made.exists():
            _make(made, pins)
    if name == "triton":
        _check_stub(made)
    return made


def _make(made: Path, pins: Path) -> None:
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=f"{made.name}.") as scratch:
        building = Path(scratch) / "environment"
        _build(sys.executable, "-m", "venv", str(building))
        pip = (str(building / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        # Most of it is never imported; what is, Python compiles then.
        _build(*pip, "--no-compile", "--no-deps", "--only-binary", ":all:", "--requirement", str(pins))
        if pins.stem == "triton":
            server = _triton_files(building)
            shutil.copy(_stub(server), server / "backends" / "python")
        building.rename(made)


def _build(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        _unavailable(str(error))
    if done.returncode:
        _unavailable(f"{' '.join(command[1:])}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason} ({REQUIRED} is set)", pytrace=False)
    pytest.skip(reason)


def _triton_files(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages/pytriton/tritonserver"))


def _stub(server: Path) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        _unavailable(f"Triton's Python backend has no stub for Python {version}")
    return stub


def _check_stub(venv: Path) -> None:
    """The stub embeds the interpreter's shared library, which comes with no package of Python's."""
    stub = _triton_files(venv) / "backends" / "python" / "triton_python_backend_stub"
    needs = subprocess.run(["ldd", stub], env=_variables(venv), capture_output=True, text=True, timeout=10, check=True)
    missing = [line.split()[0] for line in needs.stdout.splitlines() if "not found" in line]
    if missing:
        package = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
        _unavailable(f"Triton's Python backend needs {', '.join(missing)} (Debian: apt-get install {package})")


def _variables(venv: Path, **more: str) -> dict[str, str]:
    """The environment variables of a server: nothing of the Python that runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return kept | {
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),
        **more,
    }


@contextlib.contextmanager
def triton(
    tmp_path: Path,
    *,
    models: Collection[str] = (),
    cores: Collection[int] = (),
    arguments: Sequence[str] = (),
    repository: Path = SERVERS / "triton",
) -> Iterator[Running]:
    """A Triton that is ready; ends with the context.

    Args:
        tmp_path: where its log goes.
        models: what to load, all of the repository if empty.
        cores: what it may run on, anywhere if empty.
        arguments: more of the server's own, for example ``--grpc-use-ssl=1``.
        repository: the directory of models.
    """
    venv = environment("triton")
    server, ports = _triton_files(venv), _free_ports(3)
    grpc, http_, metrics = ports
    regions = f"loadgen_{os.getpid()}_{grpc}_"
    command = [
        str(server / "bin" / "tritonserver"),
        *(f"--model-repository={repository}", f"--backend-directory={server / 'backends'}"),
        f"--backend-config=python,shm-region-prefix-name={regions}",
        *("--http-address=127.0.0.1", f"--http-port={http_}", "--grpc-address=127.0.0.1", f"--grpc-port={grpc}"),
        *("--metrics-address=127.0.0.1", f"--metrics-port={metrics}", "--allow-gpu-metrics=false"),
        "--exit-timeout-secs=5",
        *(["--model-control-mode=explicit"] if models else []),
        *(f"--load-model={model}" for model in models),
        *arguments,
    ]
    running = Running(_launcher(cores) + command, _variables(venv), tmp_path / "triton.log", ports)
    try:
        with running.serving():
            yield running
    finally:
        # The Python backend's shared memory outlives a server that was killed.
        for left in Path("/dev/shm").glob(f"{regions}*"):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def mlserver(tmp_path: Path, *, cores: Collection[int] = ()) -> Iterator[Running]:
    """An MLServer that is ready; ends with the context.

    Args:
        tmp_path: where its log goes.
        cores: what it may run on, anywhere if empty.
    """
    venv, ports = environment("mlserver"), _free_ports(3)
    names = ("MLSERVER_GRPC_PORT", "MLSERVER_HTTP_PORT", "MLSERVER_METRICS_PORT")
    variables = _variables(venv, **dict(zip(names, map(str, ports), strict=True)))
    # Not bin/mlserver: its first line names the directory that the environment was built in.
    start = "from mlserver.cli import main; main()"
    command = [str(venv / "bin" / "python"), "-c", start, "start", str(SERVERS / "mlserver")]
    running = Running(_launcher(cores) + command, variables, tmp_path / "mlserver.log", ports)
    with running.serving():
        yield running


@contextlib.contextmanager
def kserve(tmp_path: Path, *, cores: Collection[int] = ()) -> Iterator[Running]:
    """KServe's model server, when it is ready; ends with the context.

    Args:
        tmp_path: where its log goes.
        cores: what it may run on, anywhere if empty.
    """
    venv, ports = environment("kserve"), _free_ports(2)
    grpc, http_ = ports
    command = [str(venv / "bin" / "python"), str(KSERVE_MODEL)]
    command += [f"--http_port={http_}", f"--grpc_port={grpc}"]
    running = Running(_launcher(cores) + command, _variables(venv), tmp_path / "kserve.log", [*ports, http_])
    with running.serving():
        yield running


@contextlib.contextmanager
def uvicorn(tmp_path: Path) -> Iterator[Running]:
    """Uvicorn as KServe has it, with an application that answers JSON; ends with the context.

    Args:
        tmp_path: where its log goes.
    """
    venv, ports = environment("kserve"), _free_ports(1)
    command = [str(venv / "bin" / "python"), str(SERVERS / "uvicorn" / "idle.py"), str(*ports)]
    running = Running(_launcher(()) + command, _variables(venv), tmp_path / "uvicorn.log", ports * 3)
    with running.serving():
        yield running


@contextlib.contextmanager
def fastapi(tmp_path: Path) -> Iterator[Running]:
    """A server that has nothing of inference protocols, when it is ready; its socket is ``app.sock``.

    Args:
        tmp_path: where its log and its socket go.
    """
    venv, (port,) = environment("kserve"), _free_ports(1)  # which has all that it needs
    command = [str(venv / "bin" / "python"), str(SERVERS / "http" / "app.py"), str(port), str(tmp_path / "app.sock")]
    running = Running(_launcher(()) + command, _variables(venv), tmp_path / "fastapi.log", [port] * 3)
    with running.serving():
        yield running


@contextlib.contextmanager
def application(directory: Path) -> Iterator[Running]:
    """The FastAPI application ``app`` of ``app.py`` in a directory, when it is ready.

    Args:
        directory: where its log goes too.
    """
    venv, (port,) = environment("kserve"), _free_ports(1)
    command = [str(venv / "bin" / "python"), "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    log = directory / "application.log"
    running = Running(_launcher(()) + command, _variables(venv), log, [port] * 3, ready="/openapi.json")
    with running.serving():
        yield running


class Running:
    """A server in a process group of its own.

    Attributes:
        grpc, http, metrics: where it listens, as host:port.
        log: the file of what it wrote, of all its lives.
    """

    def __init__(
        self,
        command: Sequence[str],
        variables: dict[str, str],
        log: Path,
        ports: Sequence[int],
        ready: str = "/v2/health/ready",
    ) -> None:
        self._command, self._variables, self._ready = command, variables, ready
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log
        self.grpc, self.http, self.metrics = (f"127.0.0.1:{port}" for port in ports)

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Ready within the context, gone after it."""
        try:
            self._start()
            yield
        finally:
            self._stop()

    def kill(self) -> None:
        """SIGKILL to the server and its children; returns when it is gone."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)

    def restart(self) -> None:
        """Kill it if it runs, and start it on the same ports; returns when it is ready."""
        self.kill()
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._variables,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        give_up = time.monotonic() + READY_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended with {self._process.returncode}:\n{self._log_tail()}")
            if time.monotonic() > give_up:
                raise AssertionError(f"the server is not ready after {READY_TIMEOUT_S} s:\n{self._log_tail()}")
            time.sleep(POLL_S)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self.http, timeout=1)
        try:
            connection.request("GET", self._ready)
            ready = connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return ready and _listens(self.grpc) and _listens(self.metrics)

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        self.kill()

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def _listens(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _launcher(cores: Collection[int]) -> list[str]:
    """What starts a server: it stays on its cores, and does not outlive tests that are killed."""
    # The kernel's signal comes when the thread that started the server ends: start and restart in one that lasts.
    pinned = ["taskset", "-c", ",".join(map(str, cores))] if cores else []
    return ["setpriv", "--pdeathsig", "KILL", *pinned]


if __name__ == "__main__":  # all environments that tests want, so that no test waits for one
    for each in ("triton", "mlserver", "kserve"):
        sys.stdout.write(f"{environment(each)}\n")
