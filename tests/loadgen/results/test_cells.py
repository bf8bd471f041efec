"""Runs, the cells that repeats make, and what is drawn over them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_results import GOLDEN, INVALID, results

from loadgen.report.curves import COSTS, flat, pareto_front, scaling
from loadgen.results.cells import Drift, Measured, Spread, apart, cells_of, drift, run_of, transports
from loadgen.results.sections import PlannedArrivals, SentInputs, Transport

PLAIN = results(seconds=3)
SWEEP = Path("sweep")


def cell_run(replicas=1, cpus=1, batch=2, *, rps=100.0, p99=50.0, started="2026-11-23T10:00:00+00:00", **members):
    """A run of one cell; `members` replace those of its results."""
    made = replace(
        PLAIN,
        node_configs=[replace(PLAIN.node_configs[0], num_replicas=replicas, cpus_per_replica=cpus, batch_size=batch)],
        summary=replace(
            PLAIN.summary, throughput_rps=rps, latency_ms={**PLAIN.summary.latency_ms, "p50": 1.0, "p99": p99}
        ),
        started_at=started,
        **members,
    )
    path = Path(f"{replicas}-{cpus}-{batch}-{started}.json")
    return run_of(made, path, sweep=SWEEP)


def scheduled(text, rate_rps):
    """A run of an open loop."""
    run = cell_run(arrivals=PlannedArrivals(text, rate_rps))
    summary = replace(run.results.summary, offered_rps=100.0)
    return run_of(replace(run.results, summary=summary), run.path, sweep=SWEEP)


def test_repeats_are_one_cell_with_median_and_spread():
    """In whatever order they are given."""
    runs = [cell_run(rps=rps, p99=p99) for rps, p99 in ((110, 70), (100, 50), (130, 60))]
    (cell,) = cells_of(runs)
    assert cell.name == "r1-c1-b2"
    assert cell.throughput_rps == Spread(110, 100, 130)
    assert cell.latency_ms("p99") == Spread(60, 50, 70)
    assert cell.verdicts("saturated") == "yes"


def test_containers_are_another_configuration():
    """They cost what processes do not."""
    plain = PLAIN.node_configs[0]
    runs = [cell_run(), run_of(replace(PLAIN, node_configs=[replace(plain, runtime="docker")]), Path("docker.json"))]
    assert [run.configuration.machine.endswith(", in containers") for run in runs] == [False, True]


def test_a_percentile_that_a_repeat_lacks_is_unknown():
    """A median of the others would be of another figure."""
    (cell,) = cells_of([cell_run(p99=50), cell_run(p99=None)])
    assert cell.latency_ms("p99") is None
    assert cell.latency_ms("p50") == Spread(1, 1, 1)


def test_runs_that_did_not_end_as_asked_do_not_count():
    """Unless there are no others."""
    good, bad = cell_run(rps=100), cell_run(rps=1, error="no request completed for 30 s (--stall)")
    assert cells_of([bad, good])[0].throughput_rps.median == 100
    assert cells_of([bad])[0].throughput_rps.median == 1


def test_anchors_show_drift_and_are_no_repeats():
    """The last one, against the first run."""
    anchors = [
        replace(cell_run(rps=rps, started=f"2026-11-23T1{n}:00:00+00:00"), anchor=True) for n, rps in ((2, 90), (1, 99))
    ]
    (cell,) = cells_of([*anchors, cell_run(rps=100)])
    assert cell.throughput_rps == Spread(100, 100, 100)
    assert cell.drift is not None
    assert cell.drift.throughput == pytest.approx(-0.1)
    assert cells_of([cell_run()])[0].drift is None
    assert len(cells_of(anchors)[0].runs) == 2


def test_an_anchor_is_compared_with_the_first_run_of_its_own_sweep():
    """Not with repeats, nor with runs of other days."""
    sweep = [
        replace(cell_run(rps=rps, started=f"2026-11-23T1{n}:00:00+00:00"), path=Path(f"sweep/{n}.json"), anchor=anchor)
        for n, (rps, anchor) in enumerate([(100, False), (130, False), (95, True)])
    ]
    earlier = replace(cell_run(rps=200, started="2026-11-20T10:00:00+00:00"), path=Path("other/0.json"), sweep=None)
    other, cell = cells_of([earlier, *sweep])
    assert other.drift is None
    assert cell.drift is not None
    assert cell.drift.throughput == pytest.approx(-0.05)


@pytest.mark.parametrize(
    ("measured", "found"),
    [
        ([], None),
        ([(False, 100.0)], None),
        ([(True, 100.0)], None),
        ([(True, 100.0), (False, 90.0)], None),
        ([(False, 0.0), (True, 90.0)], None),
        ([(False, 100.0), (True, 0.0)], -1.0),
        ([(False, 100.0), (True, 50.0), (False, 10.0), (True, 120.0)], 0.2),
    ],
)
def test_drift_is_of_the_last_anchor_against_the_first_run(measured, found):
    """Where there are both."""
    shown = drift(Measured(anchor, rps, 10.0, None) for anchor, rps in measured)
    assert (None if shown is None else shown.throughput) == (None if found is None else pytest.approx(found))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([(3.2, None), (247.9, None)], "+0.2% requests/s, p99 247.9 ms instead of 3.2 ms"),
        ([(3.2, None), (None, None)], "+0.2% requests/s, p99 unknown instead of 3.2 ms"),
        ([(3.2, None), (3.3, None), (250.0, "a hung replica")], None),
        ([(3.2, None), (250.0, "a hung replica")], "the last anchor is invalid: a hung replica"),
        ([(3.2, "a hung replica"), (250.0, None)], "the first run is invalid: a hung replica"),
    ],
)
def test_drift_is_of_the_p99_and_of_validity_too(rows, text):
    """A throughput that is what it was says nothing of either; the last anchor that is valid is compared."""
    measured = [Measured(n > 0, 100.2 if n else 100.0, p99_ms, invalid) for n, (p99_ms, invalid) in enumerate(rows)]
    shown = drift(measured)
    assert shown is not None
    compared = "+0.2% requests/s, p99 3.3 ms instead of 3.2 ms; the last anchor is invalid: a hung replica"
    assert shown.text == (text or compared)


def test_nothing_rests_on_an_invalid_run():
    """Unless there is no other, and then the cell says so."""
    good, bad, failed = cell_run(rps=100), cell_run(rps=1, certificate=[INVALID]), cell_run(rps=2, error="stalled")
    (cell,) = cells_of([bad, good, failed])
    assert (cell.throughput_rps.median, cell.invalid, cell.left_out) == (100, None, (bad,))
    (cell,) = cells_of([bad, failed])
    assert (cell.throughput_rps.median, cell.invalid, cell.left_out) == (1, "outside load: somebody used core 3", ())
    anchor = replace(bad, anchor=True)
    (cell,) = cells_of([good, anchor])
    assert cell.left_out == (anchor,)
    assert cell.drift == Drift(None, None, None, "the last anchor is invalid: outside load: somebody used core 3")
    (cell,) = cells_of([bad, replace(good, anchor=True)])
    assert cell.drift == Drift(None, None, None, "the first run is invalid: outside load: somebody used core 3")


def test_nothing_of_different_validity_is_merged():
    """Of runs that did not end as asked, too; nor what has a certificate with what has none."""
    passed, errors = replace(INVALID, verdict="passed"), {"error": "stalled"}
    judged, unjudged = cell_run(rps=100, certificate=[passed]), cell_run(rps=9)
    assert cells_of([unjudged, judged])[0].counted == (judged,)
    bad, failed = cell_run(rps=1, certificate=[INVALID], **errors), cell_run(rps=2, certificate=[passed], **errors)
    assert cells_of([bad, failed])[0].counted == (failed,)


def test_runs_at_different_times_are_no_repeats():
    """Whatever they have in common: each is a cell, which is said."""
    times = ("2026-11-23T10:00:00+00:00", "2026-11-24T10:00:00+00:00", "2026-11-24T10:00:00+00:00")
    runs = [
        replace(cell_run(rps=rps, started=started), path=Path(f"{rps}.json"), sweep=None)
        for rps, started in zip((30, 110, 100), times, strict=True)
    ]
    cells = cells_of(runs)
    names = ["2026-11-23 10:00:00", "2026-11-24 10:00:00 100.json", "2026-11-24 10:00:00 110.json"]
    assert [cell.name.removeprefix("r1-c1-b2 ") for cell in cells] == names
    assert [cell.throughput_rps for cell in cells] == [Spread(rps, rps, rps) for rps in (30, 100, 110)]
    (said,) = apart(cells)
    assert said.startswith(
        ", ".join(cell.name for cell in cells) + ": 3 separate measurements of one configuration, kept apart; "
    )
    assert apart(cells[:1]) == []
    one, other = (replace(cell_run(rps=rps), sweep=Path(f"sweep-{rps}")) for rps in (1, 2))
    assert len(cells_of([one, other, replace(other, repeat=1)])) == 2


def test_transports_are_no_repeats():
    """Of one cell, runs with another transport are another; an unknown one, of earlier files, is no difference."""
    ipc, tcp, half = Transport("ipc", "ipc"), Transport("tcp", "tcp"), Transport("ipc", "tcp")
    runs = [
        cell_run(rps=rps, started=f"2026-11-23T10:00:0{rps}+00:00", transport=transport)
        for rps, transport in enumerate((None, ipc, tcp, ipc, None))
    ]
    cells = cells_of(runs)
    assert [[run.results.summary.throughput_rps for run in cell.runs] for cell in cells] == [[0, 1, 3, 4], [2]]
    assert apart(cells) == []
    names = [cell.name for cell in cells]
    assert len(set(names)) == 2
    assert transports(cells) == [
        f"the transport differs: client ipc, replicas ipc in {names[0]}; client tcp, replicas tcp in {names[1]}"
    ]
    assert transports(cells_of([runs[0], cell_run(batch=4, transport=ipc)])) == []
    assert transports(cells_of([cell_run(transport=half), cell_run(batch=4, transport=ipc)])) == [
        "the transport differs: client ipc, replicas tcp in r1-c1-b2; client ipc, replicas ipc in r1-c1-b4"
    ]


def test_a_late_client_of_an_earlier_version_is_invalid():
    """Its files have no certificate, but a verdict that says so; of a saturating run it is a valid one."""
    saturating = replace(PLAIN, verdict=replace(PLAIN.verdict, limit="client", text="the client was late"))
    summary = replace(PLAIN.summary, offered_rps=10.0)
    late = replace(saturating, summary=summary, arrivals=PlannedArrivals("10/s", 10.0))
    assert run_of(late, Path("x")).invalid == "the client was late"
    assert run_of(saturating, Path("x")).invalid is None


def external(window, rps, *, in_flight=1.0, **members):
    """A valid run on a server whose replicas are not seen."""
    evidence = replace(PLAIN.verdict.evidence, window=window, in_flight_mean=in_flight * window, replicas=None)
    values = {
        "node_configs": [],
        "frontend_counters": None,
        "summary": replace(PLAIN.summary, throughput_rps=rps),
        "window": replace(PLAIN.window, requests=window),
        "verdict": replace(PLAIN.verdict, limit="unknown", evidence=evidence),
        "certificate": [replace(INVALID, verdict="passed")],
    }
    return run_of(replace(PLAIN, **values | members), Path(f"{window}-{rps}.json"))


CLIENT = replace(external(64, 104).results.verdict, limit="client")


@pytest.mark.parametrize(
    ("runs", "windows"),
    [
        pytest.param([external(16, 60), external(32, 100), external(64, 104)], "32 to 64", id="flat at the end"),
        pytest.param([external(32, 100), external(128, 96)], "32 to 128", id="more than twice"),
        pytest.param([external(32, 100), external(48, 100)], None, id="less than twice"),
        pytest.param([external(32, 100), external(64, 110)], None, id="it brought more"),
        pytest.param([external(32, 100), external(64, 80)], None, id="it brought much less"),
        pytest.param([external(32, 0), external(64, 0)], None, id="no answers"),
        pytest.param([external(32, 100), external(64, 104, in_flight=0.8)], None, id="not kept full"),
        pytest.param([external(32, 100), external(64, 104, certificate=[INVALID])], None, id="an invalid run"),
        pytest.param([external(32, 100), external(64, 104, certificate=[])], None, id="of an earlier version"),
        pytest.param([external(32, 100), external(64, 104, error="stalled")], None, id="did not end as asked"),
        pytest.param([external(32, 100), external(64, 104, verdict=CLIENT)], None, id="the client was the limit"),
        pytest.param(
            [cell_run(rps=100, window=replace(PLAIN.window, requests=window)) for window in (32, 64)],
            None,
            id="a server of this project has a verdict",
        ),
        pytest.param([external(32, 100)], None, id="one window"),
    ],
)
def test_flat_throughput_of_an_external_server(runs, windows):
    """Excludes the load and the client, and nothing else."""
    said = flat(cells_of(runs))
    assert len(said) == (windows is not None)
    for text in said:
        assert f"throughput flat while the window doubled ({windows} requests in flight: " in text
        assert text.endswith(": the limit is the server or the way to it")


@pytest.mark.parametrize(
    ("other", "names"),
    [
        pytest.param(cell_run(2), ["r1-c1-b2", "r2-c1-b2"], id="their names differ"),
        pytest.param(
            cell_run(model=replace(PLAIN.model, name="vgg")), ["noop r1-c1-b2", "vgg r1-c1-b2"], id="another model"
        ),
        pytest.param(
            cell_run(model=replace(PLAIN.model, xla=True)), ["r1-c1-b2 no XLA", "r1-c1-b2 XLA"], id="compiled or not"
        ),
        pytest.param(
            cell_run(inputs=SentInputs("32 seeded inputs", "floats", target="http://127.0.0.1:1/predict")),
            ["r1-c1-b2 no target", "r1-c1-b2 http://127.0.0.1:1/predict"],
            id="another server",
        ),
        pytest.param(
            cell_run(window=replace(PLAIN.window, requests=2000)),
            ["r1-c1-b2 window 200", "r1-c1-b2 window 2,000"],
            id="another window",
        ),
        pytest.param(
            scheduled("poisson 2000 requests/s", 2000.0),
            ["r1-c1-b2 window 200", "r1-c1-b2 poisson 2,000 requests/s"],
            id="a rate",
        ),
        pytest.param(
            scheduled("trace 2000.csv, 12000 requests", None),
            ["r1-c1-b2 trace 2000.csv, 12000 requests", "r1-c1-b2 window 200"],
            id="a trace",
        ),
        pytest.param(
            cell_run(inputs=None), ["r1-c1-b2 unknown inputs", "r1-c1-b2 32 seeded inputs"], id="inputs not recorded"
        ),
    ],
)
def test_names_say_what_differs_and_no_more(other, names):
    """Smaller cells come first."""
    assert [cell.name for cell in cells_of([cell_run(), other])] == names


def test_a_server_of_somebody_elses_has_what_its_frontend_tells():
    """Neither cores nor GPUs, and its own largest batch."""
    c = run_of(replace(GOLDEN, node_configs=[]), Path("x")).configuration
    assert (c.replicas, c.cpus_per_replica, c.cores, c.gpus, c.batch_size) == (1, None, None, None, 2)
    silent = replace(GOLDEN.verdict, evidence=replace(GOLDEN.verdict.evidence, replicas=None))
    c = run_of(replace(GOLDEN, node_configs=[], verdict=silent, frontend_counters=None), Path("x")).configuration
    assert (c.replicas, c.batch_size, c.name) == (None, None, "unknown")


@given(st.lists(st.tuples(st.integers(1, 20), st.one_of(st.none(), st.integers(1, 20))), min_size=1, max_size=12))
def test_nobody_beats_the_pareto_front(points):
    """Each cell on it is beaten by none, each other one by some cell on it, or equal to one."""
    cells = cells_of(cell_run(replicas=n + 1, rps=rps, p99=p99) for n, (rps, p99) in enumerate(points))
    front = []
    for cell in pareto_front(cells, COSTS["p99"]):
        p99_ms = cell.latency_ms("p99")
        assert cell.throughput_rps is not None
        assert p99_ms is not None
        front.append((cell.throughput_rps.median, p99_ms.median))
    known = [(rps, p99) for rps, p99 in points if p99 is not None]
    assert front == sorted(front)
    for rps, p99 in known:
        at_least_as_good = [f for f in front if f[0] >= rps and f[1] <= p99]
        assert at_least_as_good
        if (rps, p99) in front:
            assert at_least_as_good == [(rps, p99)]


def test_scaling_is_over_replicas_alone():
    """Throughput per replica against that of the fewest, for each batch size and number of cores."""
    cells = cells_of(
        [
            cell_run(1, rps=100),
            cell_run(2, rps=180),
            cell_run(4, rps=300),
            cell_run(2, batch=8, rps=300),
            cell_run(4, batch=8, rps=660),
            cell_run(1, cpus=2, rps=1),
            cell_run(2, cpus=4, rps=1),
        ]
    )
    rows = {tuple(cell.name for cell in row.cells): row.efficiency for row in scaling(cells)}
    assert rows == {
        ("r1-c1-b2", "r2-c1-b2", "r4-c1-b2"): pytest.approx((1, 0.9, 0.75)),
        ("r2-c1-b8", "r4-c1-b8"): pytest.approx((1, 1.1)),
    }
