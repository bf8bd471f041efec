"""Which configuration carries a rate, and what may be said of it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_results import GOLDEN, INVALID, results

from loadgen.cli.best import choice_text
from loadgen.experiments.choice import Shown, choose
from loadgen.judging.slo import parse
from loadgen.load.summary import MeasuredPart
from loadgen.report.answers import size_command
from loadgen.results.cells import Spread, cells_of, run_of
from loadgen.results.sections import PlannedArrivals

SLO = parse("p99<250ms")
MEASURED = results(seconds=3)


def run(
    replicas=1,
    cpus=1,
    gpus=(),
    *,
    rps,
    p99,
    offered=None,
    window=100,
    limit="replicas",
    error=None,
    steady=True,
    failed_batches=None,
    valid=True,
    interval=None,
):
    """A run with just what counts; 1000 answers."""
    summary = replace(
        MEASURED.summary,
        throughput_rps=rps,
        throughput_interval_rps=interval,
        offered_rps=offered,
        measured=MeasuredPart(10.0, 1000, 1000),
        latency_ms={**MEASURED.summary.latency_ms, "p99": p99},
        failed_batches=failed_batches,
    )
    rate_rps = offered if steady else None
    node = replace(MEASURED.node_configs[0], num_replicas=replicas, cpus_per_replica=cpus, gpus=list(gpus))
    rows = [
        replace(GOLDEN.placement[0], role=f"replica-{i}", cores=list(range(i * cpus, (i + 1) * cpus)), gpu=gpu)
        for i, gpu in zip(range(replicas), gpus or [None] * replicas, strict=True)
    ]
    made = replace(
        MEASURED,
        node_configs=[node],
        placement=rows,
        summary=summary,
        verdict=replace(MEASURED.verdict, limit=limit),
        window=replace(MEASURED.window, requests=window),
        arrivals=None if offered is None else PlannedArrivals(f"{offered} requests/s", rate_rps),
        error=error,
        certificate=[replace(INVALID, verdict="passed" if valid else "failed")],
    )
    return run_of(made, Path(f"{replicas}-{cpus}-{rps}.json"))


def answer(*runs, rate=100.0, slo=SLO):
    return choose(cells_of(runs), rate, slo)


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        pytest.param([run(rps=100, p99=200, offered=100)], Shown.OPEN_LOOP, id="open loop at the rate"),
        pytest.param([run(rps=150, p99=200, offered=150)], Shown.OPEN_LOOP, id="open loop at more"),
        pytest.param([run(rps=99, p99=200, offered=99)], Shown.NOTHING, id="open loop at less"),
        pytest.param([run(rps=100, p99=250, offered=100)], Shown.NOT, id="open loop that is too slow"),
        pytest.param([run(rps=50, p99=250, offered=50)], Shown.NOT, id="open loop too slow at less already"),
        pytest.param([run(rps=150, p99=300, offered=150)], Shown.NOTHING, id="too slow at more says nothing"),
        pytest.param([run(rps=90, p99=9, offered=100)], Shown.NOT, id="open loop that did not keep up"),
        pytest.param([run(rps=99, p99=9, offered=100)], Shown.OPEN_LOOP, id="a request under way at the end"),
        pytest.param([run(rps=97, p99=9, offered=100, interval=(94, 100))], Shown.UNDECIDED, id="too few by chance"),
        pytest.param([run(rps=97, p99=9, offered=100, interval=(96, 98))], Shown.NOT, id="too few for sure"),
        pytest.param([run(rps=150, p99=9, offered=150, steady=False)], Shown.NOTHING, id="a rate that varied"),
        pytest.param([run(rps=90, p99=900, offered=100, valid=False)], Shown.INVALID, id="an invalid run"),
        pytest.param([run(rps=120, p99=9, offered=120, valid=False)], Shown.INVALID, id="an invalid run that is good"),
        pytest.param([run(rps=90, p99=1, valid=False)], Shown.INVALID, id="an invalid saturating run"),
        pytest.param(
            [run(rps=90, p99=900, offered=100, valid=False), run(rps=100, p99=200, offered=100)],
            Shown.OPEN_LOOP,
            id="a valid repeat",
        ),
        pytest.param(
            [run(rps=120, p99=9, offered=120, valid=False), run(rps=90, p99=200, offered=100)],
            Shown.NOT,
            id="a valid repeat that is bad",
        ),
        pytest.param(
            [run(rps=120, p99=300), run(rps=100, p99=200, offered=100, valid=False)],
            Shown.INVALID,
            id="the run that would decide is invalid",
        ),
        pytest.param(
            [run(rps=120, p99=300), run(rps=50, p99=200, offered=50, valid=False)],
            Shown.THROUGHPUT,
            id="an invalid run that would say nothing",
        ),
        pytest.param([run(rps=99, p99=9, offered=99, valid=False)], Shown.NOTHING, id="an invalid open loop at less"),
        pytest.param([run(rps=120, p99=300, valid=False)], Shown.NOTHING, id="an invalid window beyond the objective"),
        pytest.param(
            [run(rps=150, p99=9, offered=150, steady=False), run(rps=120, p99=300, valid=False)],
            Shown.NOTHING,
            id="neither the valid run nor the invalid one decides",
        ),
        pytest.param([run(rps=120, p99=9, valid=False, failed_batches=1)], Shown.BARRED, id="batches failed too"),
        pytest.param([run(rps=100, p99=None, offered=100)], Shown.UNDECIDED, id="no answer, no percentile"),
        pytest.param(
            [run(rps=100, p99=200, offered=100), run(rps=100, p99=300, offered=100)], Shown.NOT, id="one repeat failed"
        ),
        pytest.param(
            [run(rps=120, p99=200, offered=120), run(rps=150, p99=300, offered=150)],
            Shown.OPEN_LOOP,
            id="too slow at more only",
        ),
        pytest.param([run(rps=120, p99=200)], Shown.WINDOW, id="saturating within the objective"),
        pytest.param([run(rps=120, p99=300)], Shown.THROUGHPUT, id="saturating beyond it says nothing of its latency"),
        pytest.param([run(rps=90, p99=1)], Shown.NOT, id="saturated below the rate"),
        pytest.param([run(rps=90, p99=1, limit="frontend")], Shown.NOT, id="frontend the limit"),
        pytest.param([run(rps=90, p99=1, limit="client")], Shown.NOTHING, id="client the limit"),
        pytest.param([run(rps=90, p99=1, limit="load")], Shown.NOTHING, id="too little sent"),
        pytest.param([run(rps=120, p99=200), run(rps=90, p99=200)], Shown.NOT, id="a repeat below the rate"),
        pytest.param([run(rps=120, p99=200, error="stalled")], Shown.NOTHING, id="a run that did not end as asked"),
        pytest.param(
            [run(rps=90, p99=1, window=1, limit="load"), run(rps=120, p99=300, window=100)],
            Shown.THROUGHPUT,
            id="a larger window shows more",
        ),
        pytest.param(
            [run(rps=120, p99=200), run(rps=100, p99=300, offered=100)], Shown.NOT, id="an open loop counts more"
        ),
    ],
)
def test_what_is_shown(runs, shown):
    """Of one configuration, by its runs, for 100 requests/s within 250 ms."""
    (candidate,) = answer(*runs).candidates
    assert candidate.shown == shown
    assert (answer(*runs).best is not None) == (shown <= Shown.WINDOW)


def test_failed_batches_bar_a_configuration():
    """However fast it was, and however many of its runs had none; which run it was is said."""
    good, bad = run(1, rps=200, p99=9, offered=200), run(1, rps=150, p99=9, failed_batches=40)
    other = run(2, rps=120, p99=9, offered=120, failed_batches=0)
    choice = answer(good, bad, other)
    assert (choice.best.name, choice.runner_up, choice.unknown) == ("r2-c1-b2", None, ())
    said = "barred      r1-c1-b2: 40 batches failed (1-1-150.json)"
    assert said in choice_text(choice, "…").splitlines()
    assert answer(good, bad).best is None


def test_invalid_runs_neither_recommend_nor_rule_out():
    """The configurations of which there are no others are listed, and nothing is decided because of them."""
    choice = answer(run(1, rps=200, p99=9, offered=200, valid=False), run(2, rps=10, p99=9))
    assert (choice.best, choice.unknown, choice.undecided) == (None, (), True)
    said = "invalid     r1-c1-b2: not measured validly: outside load: somebody used core 3 (1-1-200.json)"
    assert said in choice_text(choice, "…").splitlines()
    assert choice_text(choice, "…").startswith(
        "best        undecided: 2 configurations measured, none shown to carry … "
        "(1 with an invalid run that would decide, 1 ruled out)\n"
    )
    shown = answer(run(1, rps=200, p99=9, offered=200, valid=False), run(2, rps=120, p99=9, offered=120))
    assert (shown.best.name, shown.undecided) == ("r2-c1-b2", False)
    assert said in choice_text(shown, "…").splitlines()
    assert not answer(run(1, rps=10, p99=9)).undecided
    assert answer(run(1, rps=120, p99=300, valid=False), run(2, rps=10, p99=9)).undecided


def test_a_configuration_that_may_carry_the_rate_leaves_it_undecided():
    """As a search of the cheapest configuration is; only where all are ruled out is there none."""
    no, barred = run(1, rps=60, p99=9), run(1, rps=600, p99=9, failed_batches=1)
    maybe = run(2, rps=60, p99=9, limit="client")
    assert [answer(*runs).undecided for runs in [(no,), (barred,), (maybe,), (no, maybe), ()]] == [
        *(False, False, True, True, True)
    ]
    assert choice_text(answer(no, maybe), "…").startswith("best        undecided: 2 configurations measured, ")


def test_the_limit_is_that_of_a_valid_run():
    """However fast an invalid one was."""
    choice = answer(run(rps=120, p99=200), run(rps=190, p99=200, valid=False))
    assert choice.best.limit == "replicas (replicas busy 99%), at 120 requests/s when saturated"
    choice = answer(run(rps=120, p99=200, offered=120), run(rps=190, p99=200, valid=False))
    assert choice.best.limit is None


def test_gpus_count_before_cores_and_cores_before_latency():
    """Which is what the configuration costs."""
    runs = [
        run(1, 1, (0,), rps=100, p99=1, offered=100),
        run(4, 2, rps=100, p99=10, offered=100),
        run(2, 2, rps=100, p99=200, offered=100),
        run(4, 1, rps=100, p99=100, offered=100),
    ]
    choice = answer(*runs)
    assert [c.name for c in choice.candidates] == ["r4-c1-b2", "r2-c2-b2", "r4-c2-b2", "r1-c1-g1-b2"]
    assert (choice.best.name, choice.runner_up.name) == ("r4-c1-b2", "r2-c2-b2")


def test_an_open_loop_comes_before_a_cheaper_window():
    """Which is named as what it is: cheaper, and not known to do."""
    choice = answer(run(1, rps=200, p99=9), run(2, rps=200, p99=9, offered=200), run(3, rps=200, p99=999))
    assert (choice.best.name, choice.runner_up) == ("r2-c1-b2", None)
    assert [c.name for c in choice.unknown] == ["r1-c1-b2"]
    text = choice_text(choice, "100 requests/s with p99<250ms")
    assert "best        r2-c1-b2 (2 cores, 0 GPUs)\n" in text
    assert "limit     not measured: no saturating run" in text
    other = "2 other configurations measured, none shown to carry it by an open loop"
    assert f"runner-up   none: {other} (1 by a saturating run only, 1 without a latency at this rate)\n" in text
    assert "cheaper?    r1-c1-b2 (1 core, 0 GPUs): 200 requests/s when saturated" in text


def test_nothing_is_said_that_was_not_measured():
    """Though the throughput is enough."""
    choice = answer(run(1, rps=60, p99=9), run(2, rps=120, p99=900))
    text = choice_text(choice, "100 requests/s with p99<250ms")
    assert text.splitlines() == [
        "best        undecided: 2 configurations measured, none shown to carry 100 requests/s with p99<250ms "
        "(1 ruled out, 1 without a latency at this rate)",
        "perhaps     r2-c1-b2 (2 cores, 0 GPUs): 120 requests/s when saturated; with a full window: "
        "p99 900 ms, wanted <250ms; at 100 requests/s: not measured",
        "ruled out   1 of 2 configurations",
        "            r1-c1-b2: only 60 requests/s when saturated",
    ]


def test_without_a_runner_up_it_is_said_what_the_others_lack():
    """Or that there are none; a window is as good as another."""
    best = run(2, rps=120, p99=9, offered=120)
    assert "runner-up   none: no other configuration was measured" in choice_text(answer(best), "…").splitlines()
    alien = run_of(replace(best.results, node_configs=[]), Path("x.json"))
    lacking = {
        "ruled out": run(1, rps=60, p99=9),
        "without a run that decides": run(1, rps=60, p99=9, limit="client"),
        "with an invalid run that would decide": run(1, rps=60, p99=9, valid=False),
        "barred": run(1, rps=60, p99=9, failed_batches=1),
        "of unknown cores": alien,
    }
    start = "runner-up   none: 1 other configuration measured, none shown to carry it by an open loop"
    for words, other in lacking.items():
        assert f"{start} (1 {words})" in choice_text(answer(best, other), "…").splitlines()
    text = choice_text(answer(run(1, rps=200, p99=9), run(2, rps=200, p99=999)), "…")
    assert "1 other configuration measured, none shown to carry it (1 without a latency at this rate)" in text


def test_a_window_is_a_weaker_claim():
    """And says what limits the configuration."""
    choice = answer(run(rps=120, p99=200), run(rps=130, p99=210))
    text = choice_text(choice, "100 requests/s with p99<250ms")
    assert "shown by  120 requests/s when saturated, at most 100 requests in flight, twice; p99 210 ms" in text
    assert "limit     replicas (replicas busy 99%), at 130 requests/s when saturated" in text
    assert "but       for senders that wait for replies" in text


@pytest.mark.parametrize(
    ("slo", "caution"),
    [
        ("p99<250ms", None),
        ("p95<10s", None),
        ("max<10h", None),
        ("failed<100%", None),
    ],
)
def test_few_samples_for_a_percentile_are_said(slo, caution):
    """1000 are enough for a p99, which wants 657."""
    slo = slo.replace("10h", "36000s")
    assert answer(run(rps=100, p99=9, offered=100), slo=parse(slo)).best.caution == caution


def with_answers(count, made, **members):
    summary = replace(made.results.summary, measured=MeasuredPart(10.0, count, count), lost=0, **members)
    return replace(made, results=replace(made.results, summary=summary))


@pytest.mark.parametrize("offered", [100, None], ids=["open loop", "window"])
def test_what_is_not_known_well_enough_is_undecided(offered):
    """Neither shown nor ruled out: few answers, or bounds on both sides; bounds on one side decide, with a caution."""
    made = run(rps=100, p99=9, offered=offered)
    assert with_answers(600, made).results.summary.few == ("p99.9",)
    caution = "600 answers: few for a p99, which needs 657 independent ones"
    assert answer(with_answers(600, made)).best.caution == caution
    few = answer(with_answers(400, made))
    assert (few.best, few.undecided, few.candidates[0].shown) == (None, True, Shown.UNDECIDED)
    assert few.candidates[0].text.endswith("p99 9 ms, wanted <250ms (of too few requests)")
    known = {"intervals_ms": {}, "bounds_ms": {"p99": (8.0, 36.0)}}
    best = answer(with_answers(600, made, **known)).best
    assert best.caution == "p99 has no interval (too few independent answers); its bounds hold the objective"
    assert "; p99 ~9 ms" in choice_text(answer(with_answers(600, made, **known)), "…")
    wide = answer(with_answers(600, made, intervals_ms={}, bounds_ms={"p99": (8.0, 300.0)}))
    assert (wide.best, wide.undecided) == (None, True)
    assert choice_text(wide, "…").startswith(
        "best        undecided: 1 configuration measured, none shown to carry … (1 not known well enough)\nperhaps     "
    )
    slow = with_answers(600, made, intervals_ms={}, bounds_ms={"p99": (260.0, 999.0)})
    assert not answer(slow).undecided


@pytest.mark.parametrize(
    "objective", ["failed_batches<1", "goodput(latency<100ms)>99%", "p99<250ms,goodput(latency<100ms)<50%"]
)
@pytest.mark.parametrize("offered", [100, None], ids=["open loop", "window"])
def test_an_objective_on_what_a_run_did_not_measure_is_undecided(objective, offered):
    """It neither holds nor rules the configuration out; what else is measured may."""
    made = run(rps=100, p99=9, offered=offered)
    choice = answer(made, slo=parse(objective))
    (candidate,) = choice.candidates
    assert (choice.best, choice.undecided, candidate.shown) == (None, True, Shown.UNDECIDED)
    assert " unknown, wanted " in candidate.text
    slow = answer(run(rps=100, p99=300, offered=100), slo=parse(f"{objective},p99<200ms"))
    assert not slow.undecided


def test_repeats_of_a_sweep_show_the_figure_of_the_report():
    """The median; of cells apart the largest."""
    runs = [replace(run(rps=100, p99=p99, offered=100), path=Path(f"{p99}.json")) for p99 in (10, 30, 200)]
    together = [replace(one, sweep=Path("sweep")) for one in runs]
    (cell,) = cells_of(together)
    assert cell.latency_ms("p99") == Spread(30, 10, 200)
    assert answer(*together).best.p99_ms == 30
    assert answer(*runs).best.p99_ms == 200


def test_without_placement_there_is_no_cost():
    """A server that somebody else runs is never the cheapest, and is not hidden either."""
    alien = run_of(replace(run(rps=100, p99=9, offered=100).results, node_configs=[]), Path("x.json"))
    choice = answer(alien)
    assert choice.best is None
    assert "its cores and GPUs are not known" in choice_text(choice, "…")


RUNS = st.builds(
    run,
    replicas=st.integers(1, 3),
    rps=st.floats(1, 200),
    p99=st.one_of(st.none(), st.floats(1, 500)),
    offered=st.one_of(st.none(), st.floats(1, 200)),
    limit=st.sampled_from(["replicas", "client"]),
    valid=st.booleans(),
)


@given(st.lists(RUNS, min_size=1, max_size=8), st.floats(1, 200))
def test_the_best_was_measured_at_the_rate_or_above(runs, rate):
    """Whatever was measured, nothing is extrapolated."""
    best = answer(*runs, rate=rate).best
    if best is not None:
        own = [r for r in runs if r.configuration == best.configuration and r.invalid is None]
        p99s = [
            r.results.summary.latency_ms["p99"]
            for r in own
            if max(r.load.rate_rps or 0, r.results.summary.throughput_rps) >= rate
        ]
        assert any((math.inf if p99 is None else p99) < 250 for p99 in p99s)


@pytest.mark.parametrize(
    ("words", "model"),
    [
        (["loadgen", "sweep", "-m", "onnx:a b.onnx"], "'onnx:a b.onnx'"),
        (["loadgen", "sweep", "--model=mine:Model"], "mine:Model"),
        (["notebook"], MEASURED.model.name),
    ],
)
def test_the_command_that_finds_out(words, model):
    """Names the model as it was named; an external server has no such command."""
    one = replace(run(rps=10, p99=9).results, command=words)
    cells = cells_of([run_of(one, Path("x.json"))])
    assert size_command(cells, "100", "p99<1s") == f"loadgen size -m {model} --rate 100 --slo 'p99<1s'"
    alien = replace(one, node_configs=[], placement=[])
    assert size_command(cells_of([run_of(alien, Path("x.json"))]), "100", "p99<1s") is None
