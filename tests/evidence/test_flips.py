"""Each check of a run fails of its own fault and of no other, and of none in clean runs."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import deployed
import evidence
import faulty_models
import pytest
from deployed import Ended, Running

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="client and replica need a core each")

CLEAN_RUNS = 20
WINDOW, SCHEDULE = "saturate --max-in-flight 200", "rate --rate 100"
POISSON = f"{SCHEDULE} --arrivals poisson"
CLIENT, REPLICA = 0, 1
"""The core of the client and the frontend, and that of the replicas."""

SECOND_THIRD_S = 1.7
"""From the first half second of a measured part of 6 s."""

Fault = Callable[[contextlib.ExitStack, Running], None]
Around = Callable[[contextlib.ExitStack, Path], list[str]]


def hold(role: str, for_s: float) -> Fault:
    """Stop a role's process once."""

    def fault(stack: contextlib.ExitStack, command: Running) -> None:
        pid = middle(command)[role]
        with deployed.stopped(pid):
            time.sleep(for_s)

    return fault


def hold_often(stack: contextlib.ExitStack, command: Running) -> None:
    """Stop the client for 5 ms, again and again: what was due meanwhile is sent together."""
    pid = command.pids()["client"]
    while command.under_way():
        with deployed.stopped(pid):
            time.sleep(0.005)
        time.sleep(0.006)


def quota(stack: contextlib.ExitStack, command: Running) -> None:
    stack.enter_context(deployed.quota(command.pids()["replica-0"], 0.3))


def move(stack: contextlib.ExitStack, command: Running) -> None:
    os.sched_setaffinity(middle(command)["replica-0"], {CLIENT, REPLICA})


def slow_down(stack: contextlib.ExitStack, command: Running) -> None:
    middle(command)
    (command.directory / faulty_models.SLOWER).touch()


def kill(role: str) -> Fault:
    def fault(stack: contextlib.ExitStack, command: Running) -> None:
        pid = command.pids()[role]
        command.measuring()
        os.kill(pid, signal.SIGKILL)

    return fault


def middle(command: Running) -> dict[str, int]:
    """The processes, when the run has come to its second third."""
    pids = command.pids()
    command.measuring()
    time.sleep(SECOND_THIRD_S)
    return pids


def busy(stack: contextlib.ExitStack, directory: Path) -> list[str]:
    stack.enter_context(deployed.busy(REPLICA))
    return deployed.model("Spin5")


def another_client(stack: contextlib.ExitStack, directory: Path) -> list[str]:
    """A frontend that runs already, which another client loads as well."""
    ports = stack.enter_context(deployed.frontend(directory / "frontend", "Sleep5", "sleep5", REPLICA))
    words = [*deployed.connected(ports, "Sleep5", "sleep5"), "--batch-size", "2"]
    other = ["saturate", *words, "--client-cpus", str(REPLICA), "--max-in-flight", "200", "--duration", "60s"]
    stack.enter_context(deployed.running(directory / "other", *other)).measuring()
    return [*words, "--client-cpus", str(CLIENT)]


def serves(model: str) -> Around:
    return lambda stack, directory: deployed.model(model)


SLEEPING = serves("Sleep5")


@dataclass(frozen=True, slots=True)
class Case:
    """A fault.

    Attributes:
        text: what is wrong.
        checks: that fail, and no others.
        load: the verb with its options.
        serve: starts what is needed beside the command, and gives the options that say what is loaded.
        fault: what is done to the processes of the command.
    """

    text: str
    checks: tuple[str, ...]
    load: str = WINDOW
    serve: Around = SLEEPING
    fault: Fault | None = None


THREE = "--replicas 3 --cpus-per-replica 1 --cpus 1 --allow-overlap"
CASES = [
    Case("client stopped 1.2 s, window 200", ("client on time",), fault=hold("client", 1.2)),
    Case("client stopped 0.3 s, 100/s", ("client on time",), POISSON, fault=hold("client", 0.3)),
    Case("replica stopped 1.4 s", ("replicas answer",), fault=hold("replica-0", 1.4)),
    Case("one of three replicas killed", (), f"{WINDOW} {THREE}", serves("Even"), kill("replica-1")),
    Case("CPU quota of 30% on a replica that computes", ("CPU quota",), serve=serves("Spin5"), fault=quota),
    Case("busy loop beside a replica that computes", ("outside load",), serve=busy),
    Case(
        "replies that take longer than --timeout",
        ("answers",),
        "rate --rate 50 --arrivals poisson --timeout 30ms",
        serves("Hesitating"),
    ),
    Case("another client loads the same frontend", ("counts agree",), serve=another_client),
    Case("client stopped 5 ms of each 11, 100/s", ("sent as planned",), SCHEDULE, fault=hold_often),
    Case(
        "batches take twice as long from the middle on",
        ("throughput unchanged",),
        WINDOW,
        serves("Changing"),
        slow_down,
    ),
    Case("a model that fails on batches", ("failed batches",), serve=serves("Refusing")),
    Case("a replica moved to other cores", ("placement",), fault=move),
    Case("the sampler killed", ("machine watched",), fault=kill("sampler")),
]

HEAD = """\
Each run of a deployment on two cores lasts 6 s, with batches of up to 2; unless said otherwise, the model sleeps 5 ms a
batch. "Others" is what processes used that were no part of it, in cores; above 0.25 the run was repeated.

| fault | checks that have to fail | checks that failed | what the first of them found | others |
|---|---|---|---|---|"""


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[int, str]]:
    """A row for each fault, and one for the clean runs."""
    found: dict[int, str] = {}
    yield found
    evidence.keep_whole("flips", "Which checks fail of which fault", HEAD, found, len(CASES) + 1)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number].text.replace(" ", "-"))
def test_a_fault_fails_its_own_check(number, rows, tmp_path):
    """And no other."""
    case = CASES[number]
    rows[number] = f"| {case.text} | {', '.join(case.checks) or 'none'} |{' not run |' * 3}"
    ended = deployed.undisturbed(tmp_path, functools.partial(run, case, 6))
    rows[number] = row(case.text, case.checks, ended)
    if ended.disturbed:
        pytest.skip(f"disturbed: others used {ended.outside:.2f} cores")
    assert ended.failed == list(case.checks), ended.said
    assert ended.exit_code == (9 if case.checks else 0)


@pytest.mark.timeout(1200)
def test_clean_runs_fail_no_check(rows, tmp_path):
    """With a window and on a schedule, in turn."""
    clean, disturbed, failed = 0, 0, []
    for number in range(CLEAN_RUNS):
        case = Case("clean", (), (WINDOW, SCHEDULE)[number % 2])
        directory = tmp_path / str(number)
        directory.mkdir()
        ended = deployed.undisturbed(directory, functools.partial(run, case, 4))
        if ended.disturbed:
            disturbed += 1
        else:
            clean += 1
            failed += [f"{name}: {ended.measured(name)}" for name in ended.failed]
    text = f"none: {clean} clean runs of 4 s" + (f", and {disturbed} that were disturbed" if disturbed else "")
    rows[len(CASES)] = f"| {text} | none | {', '.join(failed) or 'none'} | | |"
    assert not failed
    if disturbed:
        pytest.skip(f"{disturbed} of {CLEAN_RUNS} runs were disturbed")


def run(case: Case, duration_s: int, directory: Path) -> Ended:
    """Bring it about once."""
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        served = case.serve(stack, directory)
        words = [*case.load.split(), *served, "--duration", f"{duration_s}s"]
        command = stack.enter_context(deployed.running(directory / "run", *words))
        if case.fault is not None:
            case.fault(stack, command)
        return command.end()


def row(text: str, checks: tuple[str, ...], ended: Ended) -> str:
    failed = ended.failed
    found = ended.measured(failed[0]) if failed else ""
    others = f"{ended.outside:.2f}{' (disturbed)' if ended.disturbed else ''}"
    return f"| {text} | {', '.join(checks) or 'none'} | {', '.join(failed) or 'none'} | {found} | {others} |"
