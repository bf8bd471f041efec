"""The program as a user starts it."""

import contextlib
import functools
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from frontend_launch.ports import FRONTEND_PORTS, Ports
from loadgen.cli import main
from loadgen.results.document import SCHEMA_PATH, Results

T = TypeVar("T")

LOADGEN = str(Path(sys.executable).with_name("loadgen"))
ANY_PORTS = [f"--{name}-port=0" for name in FRONTEND_PORTS]
DEADLINE_S = 120
ATTEMPTS = 3
BRIEFLY = ("--warmup", "100ms")
"""For a run whose figures do not matter: at full speed, a warm-up of a second uses two cores for that long."""
TOO_BUSY = "other processes disturbed each of three runs: this machine is too busy to show anything"
DISTURBED = ("client on time", "CPU quota", "outside load", "sent as planned", "throughput unchanged", "placement")
"""Checks of the certificate that other processes of the machine can make fail."""


def measuring(tmp_path: Path, verb: str, *arguments: str) -> list[str]:
    """The words of a verb that measures, but no ceiling; its runs may be invalid: other tests load the machine."""
    results = ["--results-dir", str(tmp_path / "results")]
    return [LOADGEN, verb, *results, "--allow-invalid", "--no-ceiling", *arguments]


def noop(tmp_path: Path, verb: str, *arguments: str) -> list[str]:
    """The words of a verb on our own do-nothing model, on free ports."""
    return measuring(tmp_path, verb, "-m", "noop", *ANY_PORTS, *arguments)


def target(tmp_path: Path, verb: str, url: str, *arguments: str) -> list[str]:
    """The words of a verb on a server that runs already."""
    return measuring(tmp_path, verb, "--target", url, *arguments)


def ran(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What it said, when it has ended."""
    return subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def searched(
    directory: Path, command: Callable[[Path], list[str]]
) -> tuple[subprocess.CompletedProcess[str], Path, dict[str, Any]]:
    """A search for capacity of which no probe was disturbed, in one of three attempts.

    Returns:
        The command, the directory of the search, and what it kept there.
    """

    def attempt(directory: Path) -> tuple[subprocess.CompletedProcess[str], Path, dict[str, Any]]:
        done = ran(command(directory))
        (path,) = (directory / "results").glob("capacity-*/capacity.json")
        return done, path.parent, json.loads(path.read_text())

    return undisturbed(directory, attempt, lambda found: [row["invalid"] for row in found[2]["capacity"]["probes"]])


def undisturbed(directory: Path, attempt: Callable[[Path], T], reasons: Callable[[T], Iterable[str | None]]) -> T:
    """What one of three attempts comes to that other processes of this machine did not make invalid.

    Args:
        directory: each attempt is given one in it.
        attempt: does something.
        reasons: why runs of what it came to are invalid; None for valid ones.
    """
    for number in range(ATTEMPTS):
        found = attempt(directory / str(number))
        if not any(reason is not None and reason.startswith(DISTURBED) for reason in reasons(found)):
            return found
    pytest.skip(TOO_BUSY)


def invalid(results: Results) -> list[str | None]:
    """The reason of one run, for `undisturbed`."""
    return [None if results.invalid is None else results.invalid.reason]


@contextlib.contextmanager
def frontends() -> Iterator[Ports]:
    """Both frontends as a process, as `loadgen` starts them."""
    process = subprocess.Popen(
        [sys.executable, "-m", "frontend_launch", "serve", *ANY_PORTS], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Ports(**json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def keeps_schema(document: dict[str, Any]) -> None:
    """Check a document of results, as it was read from its file or would be written."""
    _validator().validate(document)


@functools.cache
def _validator() -> Any:
    """Made once: jsonschema takes forty times as long to check the schema, which its own test does."""
    import jsonschema

    return jsonschema.Draft202012Validator(json.loads(SCHEMA_PATH.read_text()))


def started(words: Sequence[str], line: str = "thruput", **options: Any) -> subprocess.Popen[str]:
    """The command under way, once it has said so; the default is its first line of measurements."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    assert process.stdout is not None
    assert process.stderr is not None
    while line not in (said := process.stdout.readline()):
        assert said, process.stderr.read()
    return process


def asked(words: Sequence[str], out: io.StringIO | None = None) -> subprocess.CompletedProcess[str]:
    """The same without a process: for a command that ends before it starts anything.

    Args:
        words: of the command.
        out: its standard output; None to read it.
    """
    out, err, on_interrupt = out or io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", list(words))
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGINT, on_interrupt)
    return subprocess.CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def until(condition: Callable[[], T | Literal[False]], deadline_s: float = DEADLINE_S) -> T:
    """Poll what another process does, and give what it came to; the deadline makes a failure, never a pass."""
    give_up = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may stay as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
