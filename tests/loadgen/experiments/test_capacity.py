"""How a search for capacity treats a server, and what it says when it is interrupted; nothing is started."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.config import ExperimentConfig, Output, Saturate
from loadgen.errors import ConfigError
from loadgen.experiments import capacity
from loadgen.experiments.capacity import CapacityConfig, _Prober
from loadgen.experiments.probes import Outcome, Probe, ProbeRequest
from loadgen.experiments.search import NO_TIME, Limits
from loadgen.judging import slo
from loadgen.results.files import SEARCH
from loadgen.served import Deploy

NOTHING: Any = None
ASK = ProbeRequest("bracket", 50.0, 30.0)


def prober(tmp_path, start_rps=None, deployment=None):
    """A search on a server of which nothing but its deployment is known."""
    base = ExperimentConfig(Deploy("noop"), Saturate(), output=Output(tmp_path))
    config = CapacityConfig(base, tuple(slo.parse("p99<250ms")), start_rps=start_rps, limits=Limits(probes=9))
    server: Any = SimpleNamespace(facts=SimpleNamespace(deployment=deployment))
    plan: Any = SimpleNamespace(config=base, model=SimpleNamespace(name="noop"))
    return _Prober(config, plan, server, None)


@pytest.fixture
def clock(monkeypatch):
    """A virtual time: sleeping moves it, and nothing waits."""
    now = [1000.0]

    async def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def answering(monkeypatch, clock, *times_s):
    """Single requests take so long, one after the other, the last one for ever; how many there were is counted."""
    coming, made = itertools.chain(times_s, itertools.repeat(times_s[-1])), []

    async def answer_time(*_):
        made.append(next(coming))
        clock[0] += made[-1] or 1.0
        return made[-1]

    monkeypatch.setattr(capacity, "answer_time", answer_time)
    return made


@pytest.mark.parametrize(
    ("times_s", "made"),
    [
        pytest.param([3.0, 0.1, 0.19], 2, id="the first one of all warms up"),
        pytest.param([0.1, 0.1, 5.0, 0.5, 0.21, 0.19], 6, id="until it is within twice the first"),
        pytest.param([0.1, 0.1, None, 0.1], 4, id="one that is not answered"),
        pytest.param([0.001, 0.001, 0.5, 0.009], 4, id="ten milliseconds are idle"),
    ],
)
def test_single_requests_show_that_an_external_server_is_idle(monkeypatch, clock, tmp_path, times_s, made):
    """Before the second probe, the first two having shown how long one takes."""
    requests = answering(monkeypatch, clock, *times_s)
    probing = prober(tmp_path)

    async def act():
        first = await probing._settle()
        return first, await probing._settle() if made > 2 else None

    assert asyncio.run(act()) == (None, None)
    assert len(requests) == made


@pytest.mark.parametrize(("latest_s", "said"), [(3.0, "takes 3 s"), (None, "is not answered")])
def test_a_server_that_stays_busy_makes_a_probe_invalid(monkeypatch, clock, tmp_path, latest_s, said):
    """After a minute, and without load: it is not the probe's rate that is too high."""
    answering(monkeypatch, clock, 0.1, 0.1, latest_s)
    probing, before = prober(tmp_path), clock[0]

    async def act():
        await probing._settle()
        return await probing._probe(ASK)

    probe = asyncio.run(act())
    assert probe.outcome == "invalid"
    assert probe.text == f"the server is not idle: a single request {said}, at the beginning 100 ms"
    assert 60 <= clock[0] - before < 70


def test_an_invalid_probe_waits_before_it_is_made_again(monkeypatch, clock, tmp_path):
    """And what is known until then is kept and can be said at any time."""
    probing, slept = prober(tmp_path, start_rps=50.0), []
    outcomes: Iterator[Outcome] = iter(["pass", "invalid", "invalid", "fail", "lost"])
    said = []

    async def probe(ask):
        slept.append(clock[0])
        said.append(probing.so_far.bracket)
        return Probe(ask.step, ask.rate_rps, ask.duration_s, next(outcomes), "because")

    monkeypatch.setattr(probing, "_probe", probe)
    probing._plan.config = ExperimentConfig(Deploy("noop"), output=Output(tmp_path))
    found = asyncio.run(probing.search())
    assert [after - before for before, after in itertools.pairwise(slept)] == [0, 5, 10, 0]
    assert said == [
        "no rate passed",
        *["50 requests/s passed"] * 3,
        "50 requests/s passed, 100 did not",
    ]
    assert (found.confirmed, found.bracket) == (False, "50 requests/s passed, 100 did not")
    assert (tmp_path / SEARCH).exists()


@pytest.mark.parametrize(("within_s", "overhead_s"), [(80.0, 0.0), (91.0, 4.0)])
def test_no_probe_begins_that_does_not_fit_into_the_time(monkeypatch, clock, tmp_path, within_s, overhead_s):
    """The first one decides whether the rate holds; the answer is kept."""
    probing = prober(tmp_path, start_rps=50.0)
    limits = Limits(duration_s=10.0, confirm_s=60.0)
    probing._config = replace(probing._config, asked=True, within_s=within_s, limits=limits)
    made: list[float] = []

    async def probe(ask):
        made.append(ask.rate_rps)
        clock[0] += 1.0 + ask.duration_s + overhead_s
        return Probe(ask.step, ask.rate_rps, ask.duration_s, "pass", "because")

    monkeypatch.setattr(probing, "_probe", probe)
    probing._plan.config = ExperimentConfig(Deploy("noop"), output=Output(tmp_path))
    found = asyncio.run(probing.search())
    assert made == [50.0, 75.0]
    assert (found.ended, found.bracket) == (NO_TIME, "75 requests/s passed")
    assert NO_TIME in (tmp_path / SEARCH).read_text()


def test_a_search_that_is_asked_about_a_rate_names_it(tmp_path):
    """With an objective that can be shown at it."""
    base = ExperimentConfig(Deploy("noop"), output=Output(tmp_path))
    with pytest.raises(ConfigError, match="start_rps None: no rate is asked about; name one"):
        CapacityConfig(base, tuple(slo.parse("p99<1s")), asked=True)
    with pytest.raises(ConfigError, match="throughput>200: cannot be shown: 50 requests/s"):
        CapacityConfig(base, tuple(slo.parse("throughput>200")), start_rps=50.0, asked=True)


def test_rows_of_probes_that_are_not_where_they_were_to_be_are_remembered(monkeypatch, tmp_path):
    """All of them, for the end of the search."""
    probing, rows = prober(tmp_path), [None, "1 is in /tmp", None, "2 is in /tmp"]

    async def measure(*_):
        return SimpleNamespace(ended="schedule", rows_not_saved=rows.pop(0))

    monkeypatch.setattr(capacity, "measure", measure)
    for _ in range(4):
        asyncio.run(probing._measured(NOTHING, None))
    assert probing.rows_not_saved == ["1 is in /tmp", "2 is in /tmp"]


def test_effort_counts_the_run_that_finds_the_first_rate(tmp_path):
    """Where no rate is named."""
    base = ExperimentConfig(Deploy("noop"), Saturate(), output=Output(tmp_path))
    conditions = tuple(slo.parse("p99.9<250ms"))
    named, found = (CapacityConfig(base, conditions, start_rps=rate).effort for rate in (50.0, None))
    assert [late - early for early, late in zip(named.measured_s, found.measured_s, strict=True)] == [6.0, 6.0]
    assert named.stretched_below_rps == pytest.approx(220.0)
