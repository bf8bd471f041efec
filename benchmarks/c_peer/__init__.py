"""A client and an echoing server of the client protocol in C: the yardstick for clients in Python."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


class UnavailableError(Exception):
    """The programs cannot be built here; says what is missing."""


@contextlib.contextmanager
def built() -> Iterator[Path]:
    """Build ``client`` and ``echo_server`` into a directory that lasts as long as the context.

    Raises:
        UnavailableError: there is no compiler, or libzmq's headers are not there.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        raise UnavailableError("gcc is not there (Debian: apt-get install gcc libc6-dev libzmq3-dev)")
    with tempfile.TemporaryDirectory() as name:
        for source in ("client", "echo_server"):
            command = [compiler, "-O2", "-o", f"{name}/{source}", str(HERE / f"{source}.c"), "-lzmq"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
                raise UnavailableError(f"{source}.c cannot be built (Debian: apt-get install libzmq3-dev): {reason}")
        yield Path(name)


@contextlib.contextmanager
def echo_server(programs: Path, core: int) -> Iterator[tuple[int, int]]:
    """Run the server on a core; gives its ports for requests and for responses."""
    command = ["taskset", "-c", str(core), str(programs / "echo_server")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ports = json.loads(process.stdout.readline())
            yield ports["request"], ports["response"]
        finally:
            process.kill()
