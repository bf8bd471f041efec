"""What a terminal shows of the results of a run."""

from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.hardware.energy import Energy
from loadgen.hardware.summary import CoreUse, GpuUse, Hardware, ProcessUse
from loadgen.judging.ceiling import ClientCeiling
from loadgen.judging.validity import Check
from loadgen.load.worker_use import WorkersUse, WorkerUse
from loadgen.report.results_text import results_text
from loadgen.results.files import read
from loadgen.results.sections import ComparedAnswers, RequestStage, RequestStages, ServerStatistics, Threshold

RESULTS = read(Path(__file__).parents[2] / "golden" / "results-v1.json")


def test_results_in_five_lines():
    """Throughput, latency, counts, window and verdict."""
    lines = results_text(RESULTS).splitlines()
    assert [line.split()[0] for line in lines] == ["throughput", "latency", "requests", "in", "saturated"]
    assert f"{RESULTS.summary.sent:,} sent: {RESULTS.summary.completed:,} completed, " in lines[2]
    assert lines[3].startswith("in flight   10,000 at most (39.06 KiB), turned over in ")


def test_replies_that_were_read_together_are_said():
    """And nothing where each was read as it came."""
    text = results_text(replace(RESULTS, summary=replace(RESULTS.summary, reading_ms=0.25)))
    assert " s, replies read every 0.25 ms\n" in text
    assert "replies read" not in results_text(RESULTS)


def test_tags_are_said():
    """In one line; nothing without any."""
    tagged = replace(RESULTS, tags={"commit": "4f2a9c1", "host": "lab-3"})
    assert "\ntags        commit=4f2a9c1, host=lab-3" in results_text(tagged)
    assert "tags" not in results_text(RESULTS)


def test_the_shares_of_several_addresses_are_said():
    """Also of one that was sent nothing."""
    text = results_text(replace(RESULTS, connections=8, addresses={"10.0.0.1": 30, "10.0.0.2": 10, "10.0.0.3": 0}))
    shares = "75% of requests to 10.0.0.1, 25% of requests to 10.0.0.2, 0% of requests to 10.0.0.3"
    assert f"8 connections at most, {shares}\n" in text


def test_what_is_out_of_the_ordinary_is_said():
    """Late and unexpected replies, what is left behind, and notes."""
    summary = replace(RESULTS.summary, late=3, unexpected=1, left_behind=2, timed_out=4, resent=5)
    text = results_text(replace(RESULTS, summary=summary, notes=["metrics could not be read"]))
    assert ", 4 timed out" in text
    assert "; late replies 3; unexpected replies 1; left behind 2; sent once more 5\n" in text
    assert "left behind" not in results_text(replace(RESULTS, summary=replace(RESULTS.summary, left_behind=0)))
    assert text.endswith("note        metrics could not be read")


def test_foreign_text_stays_within_its_line():
    """A note repeats what a server said."""
    said = "refused\nSaved results to /elsewhere"
    assert results_text(replace(RESULTS, notes=[said])).endswith("note        refused\\nSaved results to /elsewhere")


def test_a_condition_on_an_invalid_run():
    """Its line says why it is undecided."""
    row = Threshold("p99>1s", "p99 is 2000 ms", None)
    failed = Check("outside load", "a lot", "little", "failed", "end it")
    lines = results_text(replace(RESULTS, thresholds=[row], certificate=[failed])).splitlines()
    assert "condition   p99>1s: undecided: the run is invalid, p99 is 2000 ms" in lines


def test_without_answers_there_are_no_numbers():
    """A dash, and no time to turn over."""
    latency = dict.fromkeys(RESULTS.summary.latency_ms)
    summary = replace(RESULTS.summary, completed=0, abandoned=0, throughput_rps=0.0, latency_ms=latency)
    text = results_text(replace(RESULTS, summary=summary))
    assert "mean -" in text
    assert "none answered" in text
    assert "turned over" not in text


def test_intervals_stand_beside_their_values():
    """What has none is marked, but of files without intervals nothing is."""
    summary = replace(
        RESULTS.summary,
        latency_ms={"mean": 100.0, "min": 90.0, "p50": 99.0, "p99": 231.04, "p99.9": None, "max": 260.0},
        intervals_ms={"p50": (98.999, 99.001), "p99": (210.0, 255.0)},
        throughput_rps=10.0,
        throughput_interval_rps=(9.5, 10.5),
    )
    lines = results_text(replace(RESULTS, summary=summary)).splitlines()
    assert lines[0].startswith("throughput  10 (9.5 to 10.5) requests/s over ")
    assert lines[1] == "latency ms  mean ~100  min 90  p50 99  p99 231 (210 to 255)  p99.9 -  max 260"
    assert "~" not in results_text(RESULTS)


def test_percentiles_of_few_requests_are_no_facts():
    """They are said to be at least as large as what is sure of them."""
    summary = replace(
        RESULTS.summary,
        measured=replace(RESULTS.summary.measured, completed=60),
        lost=0,
        latency_ms={"p50": 99.0, "p99": 231.0, "p99.9": 240.0},
        intervals_ms={},
        bounds_ms={"p50": (9.0, 396.0), "p99": (180.0, None), "p99.9": (240.0, None)},
    )
    lines = results_text(replace(RESULTS, summary=summary)).splitlines()
    assert lines[1] == "latency ms  p50 ~99  p99 ~231 (at least 180)  p99.9 at least 240"


@pytest.mark.parametrize(
    ("crossed", "text"),
    [(True, "came true"), (False, "did not come true"), (None, "undecided")],
)
def test_conditions_say_what_became_of_them(crossed, text):
    """An interval that holds the bound decides nothing."""
    threshold = Threshold("p99>250ms", "p99 is 231 ms", crossed)
    assert f"condition   p99>250ms: {text}, p99 is" in results_text(replace(RESULTS, thresholds=[threshold]))


CEILING = ClientCeiling(
    41_234.0, False, 0.0901, 0.4, "1 request in flight", 900, {"p50": 0.21, "p99": 0.52}, {"p50": 0.16, "p99": 0.16}
)


@pytest.mark.parametrize(
    ("ceiling", "text"),
    [
        (CEILING, "41,200 requests/s by itself, against a null server; this run used 9%"),
        (
            replace(CEILING, at_least=True),
            "at least 41,200 requests/s by itself, against a null server; this run used up to 9%",
        ),
        (
            replace(CEILING, used_share=0.001),
            "41,200 requests/s by itself, against a null server; this run used less than 1%",
        ),
        (replace(CEILING, used_share=None), "41,200 requests/s by itself, against a null server"),
    ],
    ids=["ceiling", "lower bound", "little", "nothing measured"],
)
def test_the_client_by_itself(ceiling, text):
    """How much of what it can do the run used, and its part of the percentiles."""
    summary = replace(RESULTS.summary, latency_ms={**RESULTS.summary.latency_ms, "p50": 1.34, "p99": 3.19})
    lines = results_text(replace(RESULTS, summary=summary, client_ceiling=ceiling)).splitlines()
    assert lines[2:4] == [
        f"client      {text.format('by itself, against a null server')}",
        "  own part  p50 0.21 of 1.34 ms, p99 0.52 of 3.19 ms, at 1 request in flight",
    ]


def test_a_disturbed_floor_is_at_most():
    """The client's part may be smaller."""
    latency_ms = {**RESULTS.summary.latency_ms, "p50": 1.34, "p99": 10.3}
    ceiling = replace(CEILING, floor_ms={"p50": 0.21, "p99": 4.387}, floor_disturbed=True)
    summary = replace(RESULTS.summary, latency_ms=latency_ms)
    assert (
        "  own part  at most p50 0.21 of 1.34 ms, p99 4.387 of 10.3 ms, at 1 request in flight; other load disturbed "
        "this trial"
    ) in results_text(replace(RESULTS, summary=summary, client_ceiling=ceiling)).splitlines()


@pytest.mark.parametrize(("planned", "share", "shown"), [(None, 0.01, True), (None, 0.009, False), (900, 0.009, True)])
def test_a_floor_that_tells_nothing_is_not_shown(planned, share, shown):
    """One request in flight, beside a closed loop in which thousands wait."""
    ceiling = replace(CEILING, floor_share={"p50": share, "p99": share})
    latency_ms = {**RESULTS.summary.latency_ms, "p50": 21.0, "p99": 52.0}
    summary = replace(RESULTS.summary, planned=planned, latency_ms=latency_ms, offered_rps=1.0)
    assert ("own part" in results_text(replace(RESULTS, summary=summary, client_ceiling=ceiling))) is shown


def test_nothing_was_offered_where_nothing_was_measured():
    """Nor planned."""
    summary = replace(
        RESULTS.summary, planned=0, offered_rps=0.0, measured=replace(RESULTS.summary.measured, duration_s=0.0)
    )
    assert "offered" not in results_text(replace(RESULTS, summary=summary))


def test_the_client_without_a_floor():
    """The rate was too close to its ceiling, or other load disturbed the trial."""
    for floor_ms in ({"p50": None, "p99": None}, {"p50": 1e6, "p99": 1e6}):
        ceiling = replace(CEILING, floor_ms=floor_ms)
        assert "own part" not in results_text(replace(RESULTS, client_ceiling=ceiling))


def test_the_latency_of_a_saturated_run_is_its_queues():
    """Said below it; not of a run that was not shown to be saturated."""
    said = "            a saturated run: this latency is its queue's, not what users wait at a lower rate"
    for saturated in ("yes", "near", "no", "undecided"):
        verdict = replace(RESULTS.verdict, saturated=saturated)
        lines = results_text(replace(RESULTS, verdict=verdict)).splitlines()
        assert (said in lines) == (saturated in ("yes", "near"))


def test_a_run_without_an_answer_has_no_queue():
    """Its latency is not known: no queue made it."""
    saturated = replace(RESULTS, verdict=replace(RESULTS.verdict, saturated="yes"))
    assert "its queue's" in results_text(saturated)
    summary = replace(RESULTS.summary, measured=replace(RESULTS.summary.measured, completed=0))
    assert "its queue's" not in results_text(replace(saturated, summary=summary))


def test_answers_that_were_compared():
    """How many, and how many were wrong."""
    answers = ComparedAnswers(every=2, tolerance=0.0, compared=10, mismatched=3)
    assert "answers     10 compared, 3 wrong" in results_text(replace(RESULTS, answers=answers)).splitlines()


def test_where_the_time_of_requests_went():
    """A row for each stage that is known, below the latencies."""
    timed = RequestStages(
        timed=3,
        requests=1200,
        schedule_lag=RequestStage(1200, 0.0, 0.0, 0.0, 0.0),
        rpc=RequestStage(1200, 0.51239, 0.25, 1500.2, 0.0512),
    )
    lines = results_text(replace(RESULTS, request_stages=timed)).splitlines()
    assert lines[2:6] == [
        "stages      3 of 1,200 requests timed",
        "                mean ms  p50 ms  p99 ms  share",
        "  schedule lag  0        0       0       0.0%",
        "  RPC           0.5124   0.25    1,500   5.1%",
    ]


def process(cpu_mean, rss_max_bytes):
    return ProcessUse(cpu_mean, 1.0, rss_max_bytes, 0, 0.0)


def test_what_was_watched():
    """Cores of the same roles together, replicas as a range, GPUs as far as they tell."""
    row = RESULTS.placement[0]
    placement = [
        replace(row, role="client", cores=[0]),
        replace(row, role="frontends", cores=[0]),
        replace(row, role="replica-0", cores=[1, 2, 3, 5]),
        replace(row, role="replica-1", cores=[6]),
    ]
    hardware = Hardware(
        readings=2,
        every_s=1.0,
        cores={str(core): CoreUse(core / 10, 1.0) for core in range(8)},
        processes={
            "client": process(0.3, 5 << 20),
            "replica-0": process(0.5, 6 << 20),
            "replica-1": process(0.7, 1 << 20),
            "sampler": process(0.01, 1),
        },
        gpus={
            "0": GpuUse(utilisation_mean=0.755, utilisation_max=1.0, memory_max_bytes=3 << 30, processes_max=1),
            "1": GpuUse(),
        },
        samples=[],
        findings=[],
    )
    lines = results_text(replace(RESULTS, placement=placement, hardware=hardware)).splitlines()
    assert lines[3:6] == [
        "cores       0: 0% (client, frontends)  1-3,5: 28% (replica-0)  6: 60% (replica-1)",
        "processes   client 30% 5 MiB  2 replicas 50% to 70% 6 MiB each at most",
        "gpus        0: 76% (at most 100%), 3 GiB, 1 process  1: - (at most -), -, - processes",
    ]
    assert "gpus" not in results_text(replace(RESULTS, placement=placement, hardware=replace(hardware, gpus={})))
    energy = Energy(10.0, {"package-0": 400.0}, {}).shared_by((), 100.0)
    assert "energy      0.4 J per request: CPU 40 W" in results_text(
        replace(RESULTS, hardware=replace(hardware, energy=energy))
    )
    one = {"replica-0": process(1.0, 1 << 20)}
    assert "processes   replica-0 100% 1 MiB" in results_text(
        replace(RESULTS, hardware=replace(hardware, processes=one))
    )


def test_a_measured_part_that_was_steady_is_said_with_its_time():
    """Whatever is printed is of that time only."""
    summary = replace(RESULTS.summary, measured=replace(RESULTS.summary.measured, steady_window_s=(10.0, 25.04)))
    text = results_text(replace(RESULTS, summary=summary))
    assert "s, steady from 10.0 to 25.0 s after the warm-up\n" in text


def test_what_a_steady_time_does_not_limit_is_said_where_it_is_shown():
    """Servers are read when the warm-up ends and when the run does; stages are of the same time."""
    measured = replace(RESULTS.summary.measured, steady_window_s=(10.0, 25.04))
    stages = RequestStages(timed=9, requests=90, server=RequestStage(9, 1.0, 1.0, 2.0, 1.0))
    made = replace(
        RESULTS,
        summary=replace(RESULTS.summary, measured=measured),
        request_stages=stages,
        server_statistics=ServerStatistics(90, 0, 90, 90, None, None, client_replies=90),
    )
    lines = results_text(made).splitlines()
    assert "stages      9 of 90 requests timed, of all 25.0 s after the warm-up" in lines
    assert "server      90 answered, 0 failed; the client saw 90, of all 25.0 s after the warm-up" in lines
    (verdict,) = (line for line in lines if line.startswith("saturated"))
    assert verdict.endswith("; the server's counts are of all 25.0 s after the warm-up")
    assert "of all" not in results_text(replace(made, summary=RESULTS.summary))


def test_workers_have_a_row_each():
    """With the start skew and its error; a percentile of too few requests is not known."""
    row = WorkerUse(
        "worker-0",
        "a",
        "10.0.0.1",
        ["client-0", "client-2"],
        1234,
        1000,
        0,
        99.5,
        {"p50": 1.0, "p99": 9.0},
        0.5,
        7,
        0.25,
    )
    other = replace(row, name="worker-1", node="b", clients=["client-1"], start_late_ms=3.0, completed=400)
    text = results_text(replace(RESULTS, workers=WorkersUse("ray", 3.0, 0.5, [replace(row, start_late_ms=0.0), other])))
    (place,) = [number for number, line in enumerate(text.splitlines()) if line.startswith("workers")]
    assert text.splitlines()[place : place + 4] == [
        "workers     2 on ray, start skew 3 ms (± 0.5 ms)",
        "  worker    node          clients  sent   requests/s  p50 ms  p99 ms  CPU  late ms  clock ± ms",
        "  worker-0  a (10.0.0.1)  2        1,234  99.5        1       9       50%  0        0.25",
        "  worker-1  b (10.0.0.1)  1        1,234  99.5        1       -       50%  3        0.25",
    ]
    text = results_text(replace(RESULTS, workers=WorkersUse("ray", None, None, [row])))
    assert "workers     1 on ray, not all began" in text.splitlines()


def test_a_certificate_keeps_within_the_width_of_a_terminal():
    """Its sentences go on below, in their column; without a width each row is a line."""
    checks = [
        Check("client on time", "no gap above 10 ms", "less than 2% of the time lost", "passed"),
        Check("outside load", "processes outside the plan used 49% of core 0", "none kept from its cores", "passed"),
    ]
    made = replace(RESULTS, certificate=checks)
    at = [line.split()[0] for line in results_text(made).splitlines()].index("certificate") + 1
    assert results_text(made, 66).splitlines()[at:] == [
        "  check           verdict  measured            limit",
        "  client on time  passed   no gap above 10 ms  less than 2% of the",
        "                                               time lost",
        "  outside load    passed   processes outside   none kept from its",
        "                           the plan used 49%   cores",
        "                           of core 0",
    ]
    assert len(results_text(made).splitlines()[at:]) == 3
