"""What a run concludes in situations with a known answer, each brought about on a real deployment of two cores."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deployed
import evidence
import pytest
from deployed import Ended, Running

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="client and replica need a core each")

RECORDED = json.loads((Path(__file__).parents[1] / "loadgen" / "judging" / "situations.json").read_text())
"""Each situation with its right answers, and what the verdict of version 0.1 said."""

CLEAN = [
    {"situation": "do-nothing model", "right": ["frontend"], "said_by_0_1": None},
    {"situation": "0.5 ms per batch, one replica", "right": ["replicas"], "said_by_0_1": None},
]
"""Two that were recorded with outside load only."""

FAULTS = {"client": "client on time", "hung": "replicas answer", "quota": "CPU quota", "outside": "outside load"}
NOTES = {"note": "outside load", "straggler": "straggler", "died": "replicas alive"}
DURATION_S = 5
CLIENT, REPLICA = 0, 1
"""The core of the client and the frontend, and that of the replicas, unless said otherwise."""

SECOND_THIRD_S = 1.3
"""From the first half second of the measured part."""

Fault = Callable[[contextlib.ExitStack, Running], None]


@dataclass(frozen=True, slots=True)
class Script:
    """How a situation is brought about.

    Attributes:
        model: in `faulty_models`, or `noop`.
        options: beside the duration.
        rate: of a schedule; None for a window.
        fault: what is done to the processes in the measured part.
        beside: cores with the share of a busy loop on each, from before the start.
        network_s: between client and frontend, each way; None for a deployment of its own.
    """

    model: str
    options: str = ""
    rate: float | None = None
    fault: Fault | None = None
    beside: tuple[tuple[int, float], ...] = ()
    network_s: float | None = None


def hold(role: str, for_s: float | None = None) -> Fault:
    """Stop a role's process, until the end of the run if not said otherwise."""

    def fault(stack: contextlib.ExitStack, command: Running) -> None:
        pid = middle(command)[role]
        if for_s is None:
            stack.enter_context(deployed.stopped(pid))
            return
        with deployed.stopped(pid):
            time.sleep(for_s)

    return fault


def kill(stack: contextlib.ExitStack, command: Running) -> None:
    os.kill(middle(command)["replica-1"], signal.SIGKILL)


def quota(stack: contextlib.ExitStack, command: Running) -> None:
    stack.enter_context(deployed.quota(command.pids()["replica-0"], 0.3))


def middle(command: Running) -> dict[str, int]:
    """The processes, when the run has come to its second third."""
    pids = command.pids()
    command.measuring()
    time.sleep(SECOND_THIRD_S)
    return pids


WINDOW = "--max-in-flight 200"
SPLIT = "--client-cpus 0 --frontends-cpus 1 --cpus 1 --allow-overlap"
THREE = "--replicas 3 --cpus-per-replica 1 --cpus 1 --allow-overlap"
STOP_CLIENT, STOP_BRIEFLY = hold("client", 0.3), hold("client", 0.07)

SCRIPTS = [
    Script("Spin5", WINDOW),
    Script("Sleep5", WINDOW),
    Script("noop", beside=((REPLICA, 0.63),)),
    Script("Sleep2", WINDOW),
    Script("Quick", WINDOW, beside=((CLIENT, 0.53), (REPLICA, 0.52))),
    Script("Sleep5", rate=50),
    Script("Sleep5", "--max-in-flight 1"),
    Script("Linear", "--batch-size 8 --max-in-flight 8"),
    Script("Linear", "--batch-size 8 --max-in-flight 16"),
    Script("Linear", "--batch-size 8 --max-in-flight 12"),
    Script("Sleep5", rate=600),
    Script("Sleep5", "--batch-size 1 --arrivals poisson", rate=191),
    Script("Flat20", "--batch-size 8 --arrivals poisson", rate=100),
    Script(
        "Quick",
        "--batch-size 16 --max-in-flight 2000 --client-cpus 1 --frontends-cpus 0 --cpus 1 --allow-overlap",
        beside=((0, 1.0),),
    ),
    Script("Sleep2", SPLIT, rate=300, beside=((0, 1.0),)),
    Script("Sleep2", SPLIT, rate=300, beside=((0, 1.0),)),
    Script("OneSlow", f"{WINDOW} {THREE}"),
    Script("OneSlow", THREE, rate=400),
    Script("Even", f"{WINDOW} {THREE}"),
    Script("Even", f"{WINDOW} {THREE}", fault=kill),
    Script("Even", f"{WINDOW} {THREE}", fault=hold("replica-1")),
    Script("Spin5", WINDOW, beside=((REPLICA, 1.0),)),
    Script("Spin5", WINDOW, beside=((REPLICA, 0.2),)),
    Script("Spin5", WINDOW, fault=quota),
    Script("Sleep5", "--max-in-flight 8", fault=STOP_CLIENT),
    Script("Sleep5", "--max-in-flight 8", fault=STOP_CLIENT),
    Script("Sleep5", rate=100, fault=STOP_CLIENT),
    Script("Sleep5", rate=200, fault=STOP_BRIEFLY),
    Script("Sleep5", rate=100, fault=hold("replica-0", 2.0)),
    Script("Sleep5", "--max-in-flight 4", network_s=0.02),
    Script("Sleep5", "--max-in-flight 16", network_s=0.02),
    Script("Sleep5", WINDOW, network_s=0.02),
    Script("Sleep2", f"{WINDOW} --replicas 2 --cpus-per-replica 1 --cpus 1 --allow-overlap"),
    Script("Sleep2", SPLIT, rate=300),
    Script("Sleep2", SPLIT, rate=300),
    Script("noop"),
    Script("Quick", WINDOW),
]
SITUATIONS = list(zip([*RECORDED, *CLEAN], SCRIPTS, strict=True))


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[int, str]]:
    """A row for each situation."""
    found: dict[int, str] = {}
    yield found
    title = "What a run concludes in situations with a known answer"
    evidence.keep_whole("situations", title, HEAD, found, len(SITUATIONS))


HEAD = """\
Each run of a deployment on two cores lasts 5 s. "Before" is the verdict of version 0.1, on runs of its own; all of them
ended with code 0. "Others" is what processes used that were no part of the situation, in cores, from before the
deployment's start to after its end; above 0.25 the run was repeated.

| situation | right answer | before | certificate | verdict | notes | exit code | others |
|---|---|---|---|---|---|---|---|"""


@pytest.mark.parametrize("number", range(len(SITUATIONS)), ids=lambda number: f"{number}-{SITUATIONS[number][1].model}")
def test_the_conclusion_is_right(number, rows, tmp_path):
    """The fault that makes the run invalid, or the limit with what has to be said beside it."""
    situation, script = SITUATIONS[number]
    rows[number] = f"| {situation['situation']} | {' or '.join(situation['right'])} |{' not run |' * 6}"
    ended = deployed.undisturbed(tmp_path, functools.partial(run, script))
    rows[number] = row(situation, ended)
    if ended.disturbed:
        pytest.skip(f"disturbed: others used {ended.outside:.2f} cores")
    assert any(is_right(right, ended) for right in situation["right"]), ended.said


def run(script: Script, directory: Path) -> Ended:
    """Bring it about once."""
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        for core, share in script.beside:
            stack.enter_context(deployed.busy(core, share))
        words = ["saturate"] if script.rate is None else ["rate", "--rate", str(script.rate)]
        words += [*served(stack, directory, script), "--duration", f"{DURATION_S}s", *script.options.split()]
        command = stack.enter_context(deployed.running(directory / "run", *words))
        if script.fault is not None:
            script.fault(stack, command)
        return command.end()


def served(stack: contextlib.ExitStack, directory: Path, script: Script) -> list[str]:
    """The options that say what is loaded."""
    if script.network_s is None:
        return deployed.model(script.model)
    ports = stack.enter_context(deployed.frontend(directory / "frontend", script.model, "sleep5", REPLICA))
    ports = stack.enter_context(deployed.delayed(ports, script.network_s, REPLICA))
    return [*deployed.connected(ports, script.model, "sleep5"), "--client-cpus", str(CLIENT), "--batch-size", "2"]


def conclusion(ended: Ended) -> tuple[str | None, str, list[str]]:
    """The first check that failed, the limit, and what the notes are about."""
    failed = ended.failed
    said = [line.partition(":")[0] for line in ended.document["notes"]]
    return failed[0] if failed else None, ended.document["verdict"]["limit"], said


def is_right(right: str, ended: Ended) -> bool:
    failed, limit, said = conclusion(ended)
    verdict, _, fault = right.partition(":")
    if fault:
        return failed == FAULTS[fault] and ended.exit_code == 9
    verdict, _, note = right.partition("+")
    return failed is None and limit == verdict and (not note or NOTES[note] in said) and ended.exit_code == 0


def row(situation: dict[str, Any], ended: Ended) -> str:
    failed, limit, said = conclusion(ended)
    before = "not run" if situation["said_by_0_1"] is None else ", ".join(situation["said_by_0_1"])
    notes = ", ".join(note for note in dict.fromkeys(said) if note in NOTES.values())
    certificate = "valid" if failed is None else f"invalid: {failed}"
    others = f"{ended.outside:.2f}{' (disturbed)' if ended.disturbed else ''}"
    verdict = f"{ended.document['verdict']['saturated']}, {limit}"
    cells = [situation["situation"], " or ".join(situation["right"]), before, certificate, verdict, notes]
    return f"| {' | '.join([*cells, str(ended.exit_code), others])} |"
