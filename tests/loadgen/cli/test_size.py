"""The command `loadgen size`: what it refuses, what it writes, and how it ends."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from program import LOADGEN, asked

from loadgen.cli import console, exit_codes
from loadgen.cli import size as size_verb
from loadgen.cli.size import carries
from loadgen.experiments.capacity import FoundCapacity
from loadgen.experiments.grid import Size
from loadgen.experiments.probes import Outcome, Probe, Step
from loadgen.experiments.search import NO_TIME, Capacity
from loadgen.experiments.size import Sized
from loadgen.experiments.size_answer import Ask, Question, Told
from loadgen.experiments.sizing import Sizer
from loadgen.judging.slo import parse
from loadgen.report.found import read_size

ASKED = [LOADGEN, "size", "-m", "noop", "--slo", "p99<1s"]
QUESTION = Question(50.0, (Size(1, 1), Size(2, 1)), (1, 2), tuple(parse("p99<1s")))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--rate and --trace: both missing; name one"),
        (["--rate", "5", "--trace", "x"], "--rate 5 and --trace x: two rates; leave one of them out"),
        (["--rate", "5", "--slo", "p99>1s"], "--slo p99>1s: a lower p99 is better"),
        (["--rate", "abc"], "--rate abc: not a rate"),
        (["--rate", "0"], "--rate 0: not positive; use a number above 0"),
        (["--trace", "/nowhere"], "--trace /nowhere"),
        (["--rate", "5", "--within", "20s"], "--within 20s: too short: 132 s of 5 requests/s tell p99<1s"),
        (["--rate", "5", "--core-cost", "-1"], "--core-cost -1: must not be negative; use 0 or more"),
        (
            ["--rate", "5", "--fail-if", "p99>1s"],
            "--fail-if: not an option of loadgen size; saturate, rate and sweep take it",
        ),
        (["--rate", "50", "-b", "0"], "--batch-sizes 0: not positive; use 1 or more"),
        (["--rate", "50", "-r", "999"], "999"),
        (["--rate", "50", "--topology", "cpus=0-3"], "add --dry-run"),
        (["--rate", "50", "--json", "/nowhere/at/all"], "--json /nowhere/at/all: cannot be written: No such file"),
        (["--rate", "50", "--json", "/"], "--json /: cannot be written: Is a directory"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, arguments, text):
    """With the value, and nothing is started."""
    done = asked([*ASKED, "--results-dir", str(tmp_path), *arguments])
    assert done.returncode in (exit_codes.CONFIG, exit_codes.PLACEMENT)
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_dry_run_says_what_there_is_to_choose_from(tmp_path):
    """And how long it takes."""
    done = asked([*ASKED, "--rate", "50", "--dry-run", "--topology", "cpus=0-7", "-p", "1", "2", "-b", "1", "8"])
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "search for the cheapest configuration that carries 50 requests/s with p99<1s"
    assert any(line.startswith("r2-c2") for line in lines)
    assert not any(line.startswith("r1-c4") for line in lines)


def sized(tmp_path, outcome: Outcome = "pass", rate_rps: float = 100.0) -> Sized:
    """A search that was answered by a formula."""
    steps, number = Sizer(QUESTION).steps(), 0
    ask: Ask = next(steps)
    while True:
        number += 1
        open_loop = outcome if ask.cell.rate_rps else None
        told = Told(14.0 * number, rate_rps, (rate_rps, rate_rps), "replicas", outcome=open_loop, text="p99 1 ms")
        try:
            ask = steps.send(told)
        except StopIteration as end:
            serve = SimpleNamespace(model="noop")
            plan: Any = SimpleNamespace(config=SimpleNamespace(trace=None, base=SimpleNamespace(serve=serve)))
            plan.question, plan.context = QUESTION, SimpleNamespace(where="this machine", cluster=None)
            return Sized(end.value, plan, tmp_path, 14.0 * number)


@pytest.mark.parametrize(
    ("outcome", "rate_rps", "code", "state"),
    [
        ("pass", 100.0, 0, "found"),
        ("fail", 100.0, 8, "none"),
        ("pass", 1.0, 8, "none"),
        ("undecided", 100.0, 10, "undecided"),
    ],
)
def test_the_answer_is_printed_or_written(monkeypatch, tmp_path, outcome, rate_rps, code, state):
    """As text, and as JSON to a file or to standard output, with the code of the answer."""

    async def find_size(*_, **__):
        found = sized(tmp_path, outcome, rate_rps)
        (tmp_path / "size.json").write_text(found.json)
        return found

    async def prepare_size(_):
        """Nothing is looked at."""

    monkeypatch.setattr(size_verb, "prepare_size", prepare_size)
    monkeypatch.setattr(size_verb, "find_size", find_size)
    monkeypatch.setattr(console, "set_up_logging", lambda *_: None)
    path = tmp_path / "answer.json"
    done = asked([*ASKED, "--rate", "50", "--json", str(path)])
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith("size        ")
    assert f"Saved the search to {tmp_path}\n" in done.stdout
    assert ("95% confidence)" in done.stdout) is (state == "found")
    assert json.loads(path.read_text())["state"] == state
    done = asked([*ASKED, "--rate", "50", "--json", "-"])
    assert (json.loads(done.stdout)["state"], done.returncode) == (state, code)
    kept = read_size(tmp_path, {"command": ["loadgen", "size"]})
    assert kept is not None
    assert (kept.state, kept.directory, kept.command) == (state, tmp_path, ("loadgen", "size"))
    assert (kept.best is not None) == (kept.shown_by is not None) == (state == "found")


def test_what_could_not_be_saved_is_said(monkeypatch, tmp_path):
    """With a code of its own: the answer is there, and the files are elsewhere."""

    async def find_size(*_, **__):
        return replace(sized(tmp_path), not_saved=("r1-c1-b1: its results are in /tmp/x.json",))

    async def prepare_size(_):
        """Nothing is looked at."""

    monkeypatch.setattr(size_verb, "prepare_size", prepare_size)
    monkeypatch.setattr(size_verb, "find_size", find_size)
    monkeypatch.setattr(console, "set_up_logging", lambda *_: None)
    done = asked([*ASKED, "--rate", "50"])
    assert (done.returncode, done.stderr) == (11, "loadgen: r1-c1-b1: its results are in /tmp/x.json\n")
    assert done.stdout.startswith("size        ")


def probe(step: Step, rate_rps: float, outcome: Outcome) -> Probe:
    return Probe(step, rate_rps, 60.0, outcome, "so")


@pytest.mark.parametrize(
    ("probes", "carried"),
    [
        ([("bracket", 200.0, "pass"), ("narrow", 150.0, "fail")], None),
        ([("confirm", 90.0, "pass")], None),
        ([("confirm", 100.0, "pass")], True),
        ([("above", 120.0, "pass")], True),
        ([("above", 90.0, "fail")], False),
        ([("above", 120.0, "fail"), ("confirm", 100.0, "undecided")], None),
    ],
)
def test_only_probes_that_decide_show_what_a_server_carries(probes, carried):
    """One that passes at the rate or above, or one that fails at it or below."""
    capacity = Capacity(None, None, False, "so", tuple(probe(*each) for each in probes))
    assert carries(capacity, 100.0) is carried


@pytest.mark.parametrize(
    ("outcome", "code", "state"), [("pass", 0, "yes"), ("fail", 8, "no"), ("undecided", 10, "undecided")]
)
def test_a_server_that_runs_already(monkeypatch, tmp_path, outcome, code, state):
    """Is searched from the rate on; the first line says whether it carries it."""
    asked_for = []

    async def find_capacity(config):
        asked_for.append(config)
        ended = NO_TIME if outcome == "pass" else "so"
        capacity = Capacity(None, None, False, ended, (probe("confirm", 50.0, outcome),))
        return FoundCapacity(capacity, 1.0, tmp_path)

    monkeypatch.setattr(size_verb, "find_capacity", find_capacity)
    monkeypatch.setattr(console, "set_up_logging", lambda *_: None)
    done = asked([LOADGEN, "size", "--target", "oip+http://h:1/m", "--slo", "p99<1s", "--rate", "50"])
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith(f"carries     50 requests/s with p99<1s: {state}\n")
    (config,) = asked_for
    assert (config.start_rps, config.limits.confirm_s, config.limits.duration_s) == (50.0, 60.0, 15.0)
    assert (config.asked, config.within_s) == (True, 600.0)
    assert ("not known   its capacity: the next probe did not fit into --within" in done.stdout) is (outcome == "pass")
    words = [LOADGEN, "size", "--target", "oip+http://h:1/m", "--slo", "p99<1s", "--rate", "50"]
    done = asked([*words, "--json", "-"])
    document = json.loads(done.stdout)
    assert document["state"] == {"yes": "carried", "no": "not carried"}.get(state, state)
    assert document["capacity"]["probes"][0]["outcome"] == outcome
    assert done.returncode == code


@pytest.mark.parametrize("words", [["-b", "8"], ["--core-cost", "0.1"], ["--gpu-cost", "1"], ["--resume"]])
def test_a_server_that_runs_already_has_no_size_to_choose(words):
    """What chooses one is refused, not ignored."""
    done = asked([LOADGEN, "size", "--target", "oip+http://h:1/m", "--slo", "p99<1s", "--rate", "50", *words])
    assert done.returncode == 2
    assert "belongs to a deployment, and this server runs already; leave it out" in done.stderr


@pytest.mark.parametrize(
    ("rate", "within", "said"),
    [
        ("50", "5s", "--within 5s: too short: 14.2 s of 50 requests/s tell p99<1s; use 29s or more"),
        ("1", "10m", "--within 600s: too short: 661 s of 1 requests/s tell p99<1s; use 1322s or more"),
    ],
)
def test_a_server_that_runs_already_wants_time_too(rate, within, said):
    """A probe of a few requests decides nothing."""
    words = [LOADGEN, "size", "--target", "oip+http://h:1/m", "--slo", "p99<1s", "--rate", rate, "--within", within]
    done = asked(words)
    assert done.returncode == 2
    assert done.stderr == f"loadgen: {said}\n"


def test_the_plan_for_a_server_that_runs_already_says_what_overloads_it():
    """And how to send the rate only."""
    words = [LOADGEN, "size", "--target", "http://h:1/m", "--slo", "p99<1s", "--rate", "2", "--dry-run"]
    done = asked(words)
    assert done.returncode == 0
    assert "first       2 requests/s for 0:05:31: do they hold p99<1s?" in done.stdout
    assert "in steps of 1.5 times: this overloads the server" in done.stdout
    assert "To send 2 requests/s only, use `loadgen rate` with --fail-if" in done.stdout
    assert "time        0:05:31 at least, 0:10:00 at most (--within)" in done.stdout


def test_rows_of_a_server_that_could_not_be_saved(monkeypatch, tmp_path):
    """Are named, with a code of its own."""

    async def find_capacity(_):
        capacity = Capacity(None, None, False, "so", (probe("confirm", 50.0, "pass"),))
        return FoundCapacity(capacity, 1.0, tmp_path, None, ("the rows are in /tmp/x.npz",))

    monkeypatch.setattr(size_verb, "find_capacity", find_capacity)
    monkeypatch.setattr(console, "set_up_logging", lambda *_: None)
    done = asked([LOADGEN, "size", "--target", "oip+http://h:1/m", "--slo", "p99<1s", "--rate", "50"])
    assert (done.returncode, done.stderr) == (11, "loadgen: the rows are in /tmp/x.npz\n")
