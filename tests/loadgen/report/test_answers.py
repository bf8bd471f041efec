"""What to deploy, by searches, by a question, or not known."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sample_pages import collection
from sample_results import GOLDEN, INVALID, at_a_rate, results
from typer.testing import CliRunner

from loadgen.cli.verbs import app
from loadgen.experiments.probes import Probe
from loadgen.experiments.search import Capacity
from loadgen.judging.slo import parse
from loadgen.judging.validity import Check
from loadgen.report.answers import Asked, answers
from loadgen.report.found import FoundCapacity, FoundSize, SizedCapacity, SizedCell, SizedShown
from loadgen.report.reading import UnfinishedSize
from loadgen.results.cells import cells_of, run_of
from loadgen.results.files import save
from loadgen.results.sections import SentInputs

PROBES = (Probe("confirm", 100.0, 30.0, "pass", "p99 40 ms"), Probe("confirm", 110.0, 30.0, "fail", "p99 60 ms"))
CAPACITY = FoundCapacity(
    Path("capacity-1"),
    "noop",
    ("p99<50ms", "failed<1%"),
    Capacity(100.0, 110.0, True, "found", PROBES, confirm_s=30.0),
    command=("/bin/loadgen", "capacity", "-m", "noop"),
)
SIZE = FoundSize(
    5.0,
    ("p99<50ms",),
    "noop",
    "found",
    SizedCell("r2-c1-b8", 2, 1, 0, 2, 8),
    "found",
    within_s=60.0,
    capacity_rps=SizedCapacity(7.0, 6.5, 7.5),
    headroom=1.4,
    limit="the replicas; and so on",
    cost_per_hour=0.08,
    cost_per_million_requests=4.444,
    shown_by=SizedShown(60.0, "p99 40 ms"),
    command=("/bin/loadgen", "size", "-m", "noop"),
    directory=Path("size-1"),
)


def lines(what, asked=None):
    return [answer.lines for answer in answers(what, asked)]


def searched(capacities=(), sizes=(), runs=()):
    cells = cells_of(run_of(made, directory.directory.resolve() / "results-1.json") for directory, made in runs)
    return replace(collection([]), cells=cells, capacities=tuple(capacities), sizes=tuple(sizes))


def test_a_search_of_sizes():
    """With cores, head-room, cost, evidence, limit and where it is; it is worth more than one for capacity."""
    assert lines(searched([CAPACITY], [SIZE], [(SIZE, GOLDEN)])) == [
        [
            "deploy      r2-c1-b8 of noop: 2 replicas x 1 core, batches up to 8, for 5 requests/s with p99<50ms",
            "cores       2 cores, 0 GPUs",
            "head-room   1.4 times the rate: 7 requests/s (6.5 to 7.5) at full speed",
            "cost        0.08 an hour, 4.444 per million requests",
            "evidence    Poisson arrivals for 60 s: p99 40 ms",
            "limit       the replicas",
            "source      size-1",
        ]
    ]


@pytest.mark.parametrize(
    ("state", "first", "command"),
    [
        (
            "undecided",
            "not known: no configuration of noop was shown to carry 5 requests/s with p99<50ms; the time is over",
            "loadgen size -m noop --resume --within 180s",
        ),
        ("none", "none on this machine: no configuration of noop carries 5 requests/s", None),
    ],
)
def test_a_search_of_sizes_without_an_answer(state, first, command):
    """An undecided one says how to go on."""
    (answer,) = answers(searched(sizes=[replace(SIZE, best=None, state=state, ended="the time is over")]))
    assert answer.text.startswith(first)
    assert (answer.known, answer.command) == (False, command)


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        (("--within", "1m", "--resume"), ()),
        (("--within=1m", "-r", "1"), ("-r", "1")),
    ],
)
def test_a_command_that_goes_on_names_each_option_once(typed, again):
    """The longer time stands in place of the one that was typed."""
    found = replace(SIZE, best=None, state="undecided", command=(*SIZE.command, *typed))
    (answer,) = answers(searched(sizes=[found]))
    assert answer.command == " ".join(["loadgen size -m noop", *again, "--resume --within 180s"])


UNFINISHED = UnfinishedSize(
    Path("size-2"), "noop", 5.0, "p99<50ms", ("/bin/loadgen", "size", "-m", "noop", "--within", "1m")
)


def test_a_search_of_sizes_that_was_interrupted():
    """It has a rate and an objective; the command goes on with it."""
    what = replace(searched(runs=[(UNFINISHED, GOLDEN)]), unfinished=(UNFINISHED,))
    assert lines(what) == [
        [
            "deploy      not known for noop: the search of a configuration for 5 requests/s with p99<50ms has no "
            "answer yet",
            "source      size-2",
            "find out    loadgen size -m noop --within 1m --resume",
        ]
    ]
    assert answers(replace(what, sizes=(SIZE,)))[0].known
    (answer,) = answers(what, Asked("300/m", 5.0, "p99<50ms", tuple(parse("p99<50ms"))))
    assert answer.command == "loadgen size -m noop --within 1m --resume"
    (other,) = answers(what, Asked("6", 6.0, "p99<50ms", tuple(parse("p99<50ms"))))
    assert other.command is not None
    assert "--resume" not in other.command


def test_an_undecided_search_is_gone_on_with_for_its_question():
    """With more time."""
    found = replace(SIZE, best=None, state="undecided")
    (answer,) = answers(searched(sizes=[found]), Asked("5", 5.0, "p99<50ms", tuple(parse("p99<50ms"))))
    assert answer.command == "loadgen size -m noop --resume --within 180s"


def test_a_comparison_asks_nothing_about_deployments():
    """Its runs have no answer; runs of the same model elsewhere do."""
    compared: Any = SimpleNamespace(directory=Path("compare-1"))
    what = replace(searched(runs=[(compared, GOLDEN)]), comparisons=(compared,))
    assert answers(what) == []
    both = replace(what, cells=(*what.cells, *collection([GOLDEN]).cells))
    assert [answer.text.partition(":")[0] for answer in answers(both)] == ["not known for noop"]


def test_the_capacity_of_a_server_whose_rate_was_asked_about():
    """The command is that of `size`, with more time."""
    command = ("/bin/loadgen", "size", "--target", "http://h:1/x", "--rate", "20", "--within", "5m")
    found = replace(CAPACITY, capacity=replace(CAPACITY.capacity, confirmed=False), command=command)
    (answer,) = answers(searched([found]))
    assert answer.command == "loadgen size --target http://h:1/x --rate 20 --within 600s"


def test_a_search_for_capacity():
    """Names the server, its cores, the interval and what shows it; of several of one model the newest."""
    older = replace(CAPACITY, slo=("p99<1ms",))
    assert lines(searched([older, CAPACITY], runs=[(CAPACITY, GOLDEN)])) == [
        [
            "deploy      r1-c1-b2 of noop, for up to 100 requests/s with p99<50ms,failed<1%",
            "cores       1 core, 0 GPUs",
            "head-room   none at 100 requests/s, the highest rate that holds",
            "interval    100 to 110 requests/s, with 95% confidence",
            "evidence    Runs of 30 s: the objective held at 100 requests/s and did not at 110",
            "source      capacity-1",
        ]
    ]


def test_a_search_for_capacity_of_an_external_server():
    """Names it by its address, and a condition without an interval."""
    inputs = SentInputs("drawn", "floats", target="http://[::1]:1/x")
    capacity = replace(CAPACITY.capacity, without_interval=("max<1s",))
    found = replace(CAPACITY, capacity=capacity)
    first, _, interval, *_ = lines(searched([found], runs=[(found, replace(GOLDEN, node_configs=[], inputs=inputs))]))[
        0
    ]
    assert first == "deploy      noop at http://[::1]:1/x, for up to 100 requests/s with p99<50ms,failed<1%"
    assert interval == "interval    100 to 110 requests/s, as measured: max<1s has no interval"


@pytest.mark.parametrize(
    ("members", "state", "command"),
    [
        ({}, "not confirmed; 100 requests/s passed, 110 did not", "loadgen capacity -m noop --confirm-for 60s"),
        ({"undecided": True}, "undecided; 100 requests/s passed", "loadgen capacity -m noop --confirm-for 60s"),
        ({"rate_rps": None}, "not confirmed; 110 requests/s did not pass, and no lower rate did", None),
        (
            {"ended": "under way"},
            "unknown: the search has not ended; 100 requests/s passed",
            "loadgen capacity -m noop",
        ),
    ],
)
def test_a_search_for_capacity_without_an_answer(members, state, command):
    """Where the objective held at no rate, no longer search tells more; one that has not ended is made again."""
    found = replace(CAPACITY, capacity=replace(CAPACITY.capacity, confirmed=False, **members))
    (answer,) = answers(searched([found]))
    assert f"the capacity of noop with p99<50ms,failed<1% is {state}" in answer.text
    assert (answer.known, answer.command) == (False, command)


@pytest.mark.parametrize("given", [["--confirm-for", "30s"], ["--confirm-for=30s"]])
def test_the_command_of_a_search_is_as_the_user_types_it_again(given):
    """Started as a module, and with each option once."""
    capacity = replace(CAPACITY.capacity, confirmed=False)
    words = ("/x/loadgen/__main__.py", "capacity", *given, "-m", "noop")
    (answer,) = answers(searched([replace(CAPACITY, capacity=capacity, command=words)]))
    assert answer.command == "python -m loadgen capacity -m noop --confirm-for 60s"
    words = ("/x/loadgen/__main__.py", "size", "--resume", "--within", "1m", "-m", "noop")
    (answer,) = answers(searched(sizes=[replace(SIZE, best=None, state="undecided", command=words)]))
    assert answer.command == "python -m loadgen size -m noop --resume --within 180s"
    run = replace(at_a_rate(50.0), command=["/x/loadgen/__main__.py", "rate", "-m", "noop"])
    (answer,) = answers(collection([run]))
    assert answer.command == "python -m loadgen size -m noop --rate RATE --slo 'p99<250ms'"


def asked(rate, slo="p99<100ms"):
    return Asked(rate, float(rate), slo, tuple(parse(slo)))


def test_a_question_is_answered_from_the_runs():
    """With the head-room of the same configuration at full speed."""
    what = collection([at_a_rate(50.0), results(seconds=60, throughput_rps=75.0)])
    (found,) = lines(what, asked("40"))
    assert found[0] == "deploy      r1-c1-b2 of noop, for 40 requests/s with p99<100ms"
    assert found[1:3] == ["cores       1 core, 0 GPUs", "head-room   1.88 times the rate: 75 requests/s at full speed"]
    assert found[3].startswith("evidence    open loop at 50 requests/s; p99 ")
    (alone,) = lines(collection([at_a_rate(50.0)]), asked("40"))
    assert "head-room   not known: no valid saturating run" in alone


def test_a_question_that_the_runs_do_not_answer():
    """Says what is lacking, and the command that finds out."""
    (found,) = lines(collection([at_a_rate(50.0)]), asked("400"))
    assert found == [
        "deploy      not known: 1 configuration measured, none shown to carry 400 requests/s with p99<100ms "
        "(1 without a run that decides)",
        "perhaps     r1-c1-b2 (1 core, 0 GPUs): no valid run that says anything about this rate",
        "find out    loadgen size -m noop --rate 400 --slo 'p99<100ms'",
    ]
    (slow,) = answers(collection([at_a_rate(50.0)]), asked("50", "p99<1ms"))
    assert slow.text.startswith("none: 1 configuration measured, none shown to carry")
    (invalid,) = lines(collection([replace(at_a_rate(50.0), certificate=[INVALID])]), asked("50"))
    assert any(line.startswith("invalid     r1-c1-b2: not measured validly: ") for line in invalid)


def test_runs_alone_do_not_say_what_to_deploy():
    """Each model has its command: a deployment is searched, an external server probed as it was measured."""
    words = ["loadgen", "saturate", "--target", "http://h/x", "--body={}", "--max-in-flight", "3", "--clients", "2"]
    words += ["--workers", "ray"]
    external = replace(results(seconds=3, model="other"), node_configs=[], command=words)
    what = collection([at_a_rate(50.0), external])
    assert lines(what) == [
        [
            "deploy      not known for noop; name a rate and an objective, --rate RATE --slo 'p99<250ms'",
            "find out    loadgen size -m noop --rate RATE --slo 'p99<250ms'",
        ],
        [
            "deploy      not known for other: runs at full speed have no latency at a rate",
            "find out    loadgen capacity --target http://h/x --body '{}' --clients 2 --workers ray --slo 'p99<250ms'",
        ],
    ]
    assert lines(collection([])) == [["deploy      not known: nothing was measured"]]


def test_the_first_line_of_the_report_answers(tmp_path):
    """On a terminal, and in JSON."""
    path = save(at_a_rate(50.0), tmp_path)
    done = CliRunner().invoke(app, ["report", str(path), "--rate", "40", "--slo", "p99<100ms"])
    assert done.output.startswith("deploy      r1-c1-b2 of noop, for 40 requests/s with p99<100ms\n")
    for words, missing in ((["--rate", "40"], "--slo"), (["--slo", "p99<1s"], "--rate")):
        done = CliRunner().invoke(app, ["report", str(path), *words])
        assert (done.exit_code, done.output) == (2, f"loadgen: {' '.join(words)}: {missing} is missing; name both\n")


def test_an_invalid_run_at_a_rate_is_no_run_at_full_speed():
    """It has a latency, which counts for nothing."""
    failed = Check("outside load", "a lot", "little", "failed", "end it")
    [[first, _]] = lines(collection([replace(at_a_rate(50.0), certificate=[failed])]))
    assert first == "deploy      not known for noop: no valid run at a rate"
