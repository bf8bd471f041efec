"""Rounds of a comparison: their order, their seeds, and what becomes of runs that do not count."""

import asyncio
import json
from dataclasses import replace

import pytest
from sample_results import GOLDEN, INVALID, at_a_rate, results

from frontend_launch.errors import LaunchError
from frontend_launch.launch.topology import describe as describe_machine
from loadgen import plan as plans
from loadgen.cli import exit_codes
from loadgen.config import ExperimentConfig, Inputs, OpenLoop, Saturate
from loadgen.errors import ConfigError
from loadgen.experiments import compare
from loadgen.experiments.compare import CompareConfig, prepare_comparison, run_comparison
from loadgen.experiments.experiment import ExperimentInterrupted
from loadgen.judging.comparison import Outcome
from loadgen.load.arrivals import Renewal, parse_arrivals
from loadgen.load.inputs import SeededInputs
from loadgen.results.files import save
from loadgen.results.sections import ComparedAnswers
from loadgen.served import Deploy
from model_containers import catalog, settings

A = ExperimentConfig(Deploy("noop", batch_size=2), Saturate(1.0), seed=3)
B = replace(A, serve=Deploy("noop", batch_size=8))


@pytest.fixture(autouse=True)
def described(monkeypatch):
    """The model says what it is without a process of its own."""

    async def describe(model, options=()):
        flags = {flag.removeprefix("--"): value for flag, value in zip(options[::2], options[1::2], strict=True)}
        return catalog.describe(model, settings.read(flags, {}).load)

    monkeypatch.setattr(plans, "describe", describe)


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Compare, with runs that measure these; what was run is a list of sides and seeds."""
    ran = []

    def act(measured, **changes):
        async def run_plan(plan, view):
            side = plan.config.output.results_dir.name
            ran.append((side.upper(), plan.inputs.seed, plan.config.seed))
            made = measured(side, len(ran) - 1)
            return replace(made, path=save(made, plan.config.output.results_dir))

        monkeypatch.setattr(compare, "run_plan", run_plan)

        async def whole():
            first = None if "baseline" in changes else A
            config = CompareConfig(b=B, a=first, results_dir=tmp_path / "results", **changes)
            return await run_comparison(await prepare_comparison(config))

        return asyncio.run(whole()), ran

    return act


def run(throughput_rps=100.0, **members):
    return results(seconds=3, throughput_rps=throughput_rps, **members)


def lines(done):
    return [json.loads(line) for line in (done.directory / compare.LEDGER).read_text().splitlines()]


def test_rounds(compared):
    """A B, B A; both sides of a round have its seed, the weights that of the configuration; each run is kept."""
    done, ran = compared(lambda side, _: run(100.0 if side == "a" else 80.0))
    assert "".join(side for side, _, _ in ran) == "ABBAABBAABBA"
    assert [seed for _, seed, _ in ran] == [3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8]
    assert {weights for _, _, weights in ran} == {3}
    assert done.comparison.outcome is Outcome.WORSE
    assert [(line["round"], line["side"]) for line in lines(done)][:3] == [(0, "A"), (0, "B"), (1, "B")]
    assert all((done.directory / line["results"]).exists() for line in lines(done))
    found = json.loads((done.directory / compare.FOUND).read_text())
    assert (found["outcome"], found["effects"][0]["metric"]) == ("worse", "throughput")


def test_an_invalid_run_is_made_once_more(compared):
    """And counts if that is valid."""
    done, ran = compared(lambda _, number: run(certificate=[INVALID] if number == 1 else []))
    assert "".join(side for side, _, _ in ran) == "ABBBAABBAABBA"
    assert (len(done.rounds), done.left_out) == (6, ())
    assert done.comparison.outcome is Outcome.NOT_WORSE


WRONG = ComparedAnswers(1, 0.0, 9, mismatched=2)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"certificate": [INVALID]}, INVALID.reason),
        ({"error": "it is gone"}, "it is gone"),
        ({"answers": WRONG}, "2 wrong answers"),
    ],
)
def test_a_round_without_valid_runs_is_left_out(compared, members, reason):
    """It is said, and the other side of it is not measured."""
    done, ran = compared(lambda _, number: run(**members) if number in (2, 3) else run())
    assert "".join(side for side, _, _ in ran) == "ABBBABBAABBA"
    assert done.left_out == (f"round 2 is left out: B: {reason}",)
    assert len(done.rounds) == 5
    assert done.comparison.outcome is Outcome.UNDECIDED


@pytest.mark.parametrize("valid", [False, True])
def test_a_comparison_whose_first_rounds_are_all_left_out_ends(compared, valid):
    """The others would be left out for the same reason; one valid round among the first is reason to go on."""
    done, ran = compared(lambda _, number: run() if valid and number < 2 else run(certificate=[INVALID]))
    first = [
        f"round {number} is left out: {side}: {INVALID.reason}" for number, side in zip((1, 2, 3), "ABA", strict=True)
    ]
    if valid:
        assert (len(done.left_out), len(ran)) == (5, 12)
        return
    last = "rounds 4 to 6 are not measured: each round before was left out; remove its cause and compare again"
    assert done.left_out == (*first, last)
    assert [(side, seed) for side, seed, _ in ran] == [("A", 3), ("A", 3), ("B", 4), ("B", 4), ("A", 5), ("A", 5)]
    assert exit_codes.of_compared(done) == exit_codes.INVALID


def test_a_side_on_a_machine_in_words_is_refused(tmp_path):
    """Before a directory is made."""
    serve = Deploy("noop", topology=describe_machine("cpus=0-3"))
    config = CompareConfig(b=replace(B, serve=serve), a=A, results_dir=tmp_path / "results")
    with pytest.raises(ConfigError, match="describes a machine, on which nothing can run"):
        asyncio.run(run_comparison(asyncio.run(prepare_comparison(config))))
    assert not (tmp_path / "results").exists()


def test_a_side_that_cannot_be_started(compared):
    """Nothing was measured, and every other round would fail likewise."""

    def measured(_, number):
        if number:
            raise LaunchError("no replica")
        return run()

    with pytest.raises(LaunchError) as error:
        compared(measured)
    assert error.value.__notes__ == ["B"]


def test_a_side_that_cannot_be_started_any_more(compared):
    """What was measured is kept."""

    def measured(_, number):
        if number in (4, 5):
            raise LaunchError("no replica")
        return run()

    done, _ = compared(measured)
    assert done.left_out == ("round 3 is left out: A: no replica",)
    assert len(done.rounds) == 5


@pytest.mark.parametrize("late", [True, False])
def test_a_cancellation_keeps_what_was_measured(compared, late):
    """The whole rounds are judged, and the last run belongs to none."""

    def measured(_, number):
        if number == 5:
            raise ExperimentInterrupted(replace(GOLDEN, path=None)) if late else asyncio.CancelledError
        return run()

    done, _ = compared(measured)
    assert done.interrupted
    assert (len(done.rounds), done.comparison.rounds) == (2, 2)
    assert [line["left_out"] for line in lines(done)] == [None] * 5 + ["interrupted"] * late


@pytest.mark.parametrize("elsewhere", [True, False])
def test_results_that_are_not_where_they_were_to_be(compared, tmp_path, monkeypatch, elsewhere):
    """They count, the ledger says where they are, and so does the exit code."""
    other = tmp_path / "other.json" if elsewhere else None
    monkeypatch.setitem(globals(), "save", lambda *_: other)
    done, _ = compared(lambda _, __: run())
    assert (done.elsewhere, done.comparison.outcome) == (True, Outcome.NOT_WORSE)
    assert lines(done)[0]["results"] == (str(other) if elsewhere else None)
    assert exit_codes.of_compared(done) == exit_codes.NOT_SAVED


def test_a_baseline_decides_nothing(compared):
    """One run beside it is described."""
    done, ran = compared(lambda _, __: run(), baseline=(run(),))
    assert done.comparison is None
    assert ([side for side, _, _ in ran], len(done.rounds)) == (["B"], 1)


def test_a_baseline_decides_within_its_spread(compared):
    """Where that is asked for, and it has a spread."""
    baseline = tuple(run(rate) for rate in (90.0, 100.0, 110.0))
    done, ran = compared(lambda _, number: run(70.0 + number), baseline=baseline, allow_unpaired=True)
    assert len(ran) == 6
    assert done.comparison.outcome is Outcome.WORSE
    done, _ = compared(lambda _, number: run(98.0 + number % 2), baseline=baseline, allow_unpaired=True)
    assert done.comparison.outcome is Outcome.UNDECIDED  # the runs differ by more than the margin
    quiet = tuple(run(rate) for rate in (99.0, 100.0, 101.0))
    done, _ = compared(lambda _, number: run(99.0 + number % 2), baseline=quiet, allow_unpaired=True)
    assert done.comparison.outcome is Outcome.NOT_WORSE


def rate(rate_rps=100.0, duration_s=10.0, seed=3):
    return OpenLoop(parse_arrivals("poisson", rate_rps, duration_s, seed))


def test_the_plan_of_an_open_loop():
    """Four metrics want eight rounds; a percentile that runs cannot tell is left out."""
    long, short = (
        asyncio.run(prepare_comparison(CompareConfig(b=replace(B, load=load), a=replace(A, load=load))))
        for load in (rate(duration_s=10.0), rate(duration_s=4.0))
    )
    assert (long.metrics, long.rounds, long.notes) == (("throughput", "p50", "p95", "p99"), 8, ())
    assert (short.metrics, short.rounds) == (("throughput", "p50", "p95"), 8)
    assert short.notes == ("p99 is not gated: a run has 400 requests, which are too few for it",)
    assert long.expected_s == 8 * 2 * (11 + 1 + 5)


def test_another_seed_changes_arrivals_and_inputs_only():
    """Weights belong to what is compared; what is not drawn stays."""
    before = asyncio.run(plans.prepare(replace(A, load=rate())))
    after = before.with_seed(9)
    assert isinstance(after.inputs, SeededInputs)
    assert isinstance(after.load.arrivals, Renewal)
    assert (after.inputs.seed, after.config.seed) == (9, 3)
    assert after.load.arrivals.seed == 9
    assert (after.placement, after.load.text) == (before.placement, before.load.text)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"a": replace(A, seed=4)}, "b: the seeds 4 and 3 differ"),
        ({"a": replace(A, load=Saturate(2.0))}, "b: the loads differ"),
        ({"a": replace(A, load=rate())}, "b: the loads differ"),
        ({"a": None}, "a or baseline"),
        ({"a": A, "baseline": (GOLDEN,)}, "a or baseline"),
        ({"a": A, "margin": 0.0}, "margin 0"),
        ({"a": A, "margin": 1.5}, "margin 1.5"),
        ({"a": A, "rounds": 21}, "rounds 21"),
        ({"a": A, "rounds": 5}, "rounds 5: cannot show anything of 1 metric; use 6 or more"),
        ({"a": A, "metrics": ("p98",)}, "metrics p98: unknown"),
        ({"a": None, "baseline": (GOLDEN,) * 2, "allow_unpaired": True}, "has 2 valid runs, and a spread needs 3"),
        (
            {"a": None, "b": replace(B, load=rate()), "baseline": (GOLDEN,) * 3, "allow_unpaired": True},
            "baseline: measured under another load (saturating); give B that load, or leave allow_unpaired out",
        ),
        (
            {"a": None, "baseline": (at_a_rate(5.0),) * 3, "allow_unpaired": True},
            "another load (open loop: poisson 5 requests/s); give B that load",
        ),
        (
            {"a": None, "b": replace(B, load=rate()), "baseline": (at_a_rate(5.0),) * 3, "allow_unpaired": True},
            "another load (open loop: poisson 5 requests/s); give B that load",
        ),
        ({"a": replace(A, seed=2**32 - 2), "b": replace(B, seed=2**32 - 2)}, "leaves no seeds"),
        (
            {"a": replace(A, load=rate(1.0)), "b": replace(B, load=rate(1.0)), "metrics": ("p99",)},
            "p99 is not gated: a run has 10 requests",
        ),
    ],
)
def test_what_makes_no_sense(changes, text):
    """One line that names it."""
    with pytest.raises(ConfigError) as caught:
        asyncio.run(prepare_comparison(CompareConfig(**{"b": B, **changes})))
    assert text in str(caught.value)


def test_a_load_that_is_unknown_is_no_other_load():
    """Files of earlier versions do not have the schedule."""
    known = at_a_rate(100.0)
    unknown = replace(known, arrivals=None)
    for baseline in (known, unknown):
        CompareConfig(b=replace(B, load=rate()), baseline=(baseline,) * 3, allow_unpaired=True)


def test_windows_may_differ():
    """They belong to what is compared."""
    CompareConfig(b=replace(B, load=Saturate(1.0, max_in_flight=8), inputs=Inputs(count=4)), a=A)
