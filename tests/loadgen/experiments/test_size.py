"""The runner of the search of the cheapest configuration, and its text; nothing is started."""

import asyncio
import contextlib
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sample_results import INVALID, results

from frontend_launch import models
from frontend_launch.errors import LaunchError, PlacementError, UnavailableError
from frontend_launch.launch.topology import describe
from loadgen import plan as plans
from loadgen.cli import exit_codes
from loadgen.config import ExperimentConfig, OpenLoop, Output
from loadgen.errors import ConfigError, Interrupted
from loadgen.experiments import size as sizes
from loadgen.experiments import sizing
from loadgen.experiments.ledger import read_entries
from loadgen.experiments.size import SizeConfig, Sized, find_size, prepare_size
from loadgen.experiments.size_answer import Told
from loadgen.experiments.trace_peaks import course, peak_rps
from loadgen.judging import slo
from loadgen.load.arrivals import Trace, parse_arrivals
from loadgen.report.size_text import size_plan_text, size_text
from loadgen.results.files import save
from loadgen.served import Deploy, External
from model_containers.model import Description


def config(tmp_path, rate_rps: float | None = 50.0, objective="p99<100ms", serve=None, **others: Any):
    serve = serve or Deploy("noop", topology=replace(describe("cpus=0-3"), words=""))
    base = ExperimentConfig(serve, output=Output(tmp_path / "results"))
    return SizeConfig(base, tuple(slo.parse(objective)), rate_rps, **others)


def traced(tmp_path, times_s) -> Trace:
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(map(str, times_s)) + "\n")
    trace = parse_arrivals(f"trace:{path}", None, None, 0)
    assert isinstance(trace, Trace)
    return trace


NOOP: list[Description] = []
"""What the model says of itself, which a process tells once."""


@pytest.fixture(autouse=True)
def described_once(monkeypatch):
    """The model."""

    async def describe_(*arguments):
        NOOP[:] = NOOP or [await models.describe(*arguments)]
        return NOOP[0]

    monkeypatch.setattr(plans, "describe", describe_)


class Machine:
    """In place of deployments: each replica does a number of requests a second; an open loop does its rate.

    Args:
        monkeypatch: of the test.
    """

    def __init__(self, monkeypatch, each_rps=100.0, certificate=(), broken: dict[str, Exception] | None = None):
        self.each_rps, self.certificate, self.broken = each_rps, list(certificate), broken or {}
        self.made: list[tuple[str, float]] = []
        self.started: list[str] = []
        self.interrupted_at = 0
        self.rows: list[str | None] = []
        self.rows_not_saved: str | None = None
        monkeypatch.setattr(sizes, "measure", self.measure)
        monkeypatch.setattr(sizes, "serving", self.serving)
        monkeypatch.setattr(sizes, "pinned", lambda _: contextlib.nullcontext())

    async def measure(self, plan, *_):
        serve, load = plan.config.serve, plan.load
        rows = plan.config.output.requests_log
        self.rows.append(None if rows is None else rows.name)
        rate_rps = self.each_rps * serve.replicas * serve.cpus_per_replica
        loop = isinstance(plan.config.load, OpenLoop)
        self.made.append(
            (
                f"r{serve.replicas}-c{serve.cpus_per_replica}-b{serve.batch_size}",
                load.arrivals.mean_rps if loop else 0.0,
            )
        )
        made = results(serve.replicas, serve.cpus_per_replica, serve.batch_size, throughput_rps=rate_rps, seconds=3)
        if loop:
            slow = load.arrivals.mean_rps > 0.9 * rate_rps
            at = results(throughput_rps=load.arrivals.mean_rps, latency_ms=500.0 if slow else 10.0, seconds=20)
            summary = replace(at.summary, offered_rps=at.summary.throughput_rps, intervals_ms={"p99": _p99(at)})
            made = replace(made, summary=summary, ended="schedule")
        made = replace(made, certificate=list(self.certificate))
        if len(self.made) == self.interrupted_at:
            made = replace(made, ended="interrupted")
        return replace(made, path=save(made, plan.config.output.results_dir), rows_not_saved=self.rows_not_saved)

    @contextlib.asynccontextmanager
    async def serving(self, plan):
        name = f"r{plan.config.serve.replicas}-c{plan.config.serve.cpus_per_replica}"
        self.started.append(name)
        if name in self.broken:
            raise self.broken[name]
        deployment = SimpleNamespace(set_batch_size=_nothing)
        yield SimpleNamespace(facts=SimpleNamespace(deployment=deployment), keep_logs=_nothing)


def _p99(made):
    value = made.summary.latency_ms["p99"]
    return 0.99 * value, 1.01 * value


async def _nothing(*_):
    """In place of what a deployment does."""


def found(asked, resume=False) -> Sized:
    async def act() -> Sized:
        return await find_size(await prepare_size(asked), resume=resume)

    return asyncio.run(act())


def test_the_cheapest_size_is_brought_up_measured_and_confirmed(monkeypatch, tmp_path):
    """Each size once, each run in the ledger with its results; the answer stands first."""
    machine = Machine(monkeypatch)
    sized = found(config(tmp_path, 150.0))
    best = sized.answer.best
    assert best is not None
    assert best.size.cores == 2
    entries = list(read_entries(sized.directory))
    assert [(entry.cell.partition("-q")[0], entry.rate_rps) for entry in entries] == machine.made
    assert all((sized.directory / (entry.results or "")).exists() for entry in entries)
    assert sized.directory.name.startswith("size-")
    assert (sized.directory / "size.json").read_text() == sized.json
    text = size_text(sized)
    assert text.startswith(f"size        {best.name}: ")
    assert "cheaper     r1-c1" in text
    assert "cells left out: cost as much as the answer or more" in text
    assert exit_codes.of_size(sized.answer) == 0
    assert len(text.splitlines()) < 40
    few = replace(sized, answer=replace(sized.answer, repeated=False, capacity_runs=2))
    assert ", 2 runs, trusted to " in size_text(few)


def test_an_answer_that_cannot_be_kept_is_said(monkeypatch, tmp_path):
    """The runs are there all the same."""
    Machine(monkeypatch)
    monkeypatch.setattr(sizes, "SIZE", "gone/size.json")
    sized = found(config(tmp_path, 150.0))
    assert sized.not_saved == (f"{sized.directory}/gone/size.json: cannot be written (No such file or directory)",)
    assert [entry.results is None for entry in read_entries(sized.directory)].count(True) == 0


def test_a_search_goes_on_where_it_was_ended(monkeypatch, tmp_path):
    """What was measured is not measured again, not even for another rate."""
    machine = Machine(monkeypatch)
    machine.interrupted_at = 5
    with pytest.raises(Interrupted, match=r"its runs are in .*/size-.*; start it again with resume to go on"):
        found(config(tmp_path, 150.0))
    machine.interrupted_at = 0
    before = list(machine.made)
    found(config(tmp_path, 150.0), resume=True)
    again = machine.made[len(before) :]
    assert again[0] == before[-1]  # the one that was cut off
    assert not {cell for cell in before[:-1] if not cell[1]} & set(again[:2])
    made = len(machine.made)
    sized = found(config(tmp_path, 50.0), resume=True)
    assert sized.answer.best is not None
    assert ("r1-c1-b1", 0.0) not in machine.made[made : made + 1]
    assert len(list((tmp_path / "results").glob("size-*"))) == 1


def test_each_run_has_its_own_rows(monkeypatch, tmp_path):
    """No run writes over those of another; where they could not be saved is said."""
    machine = Machine(monkeypatch)
    machine.rows_not_saved = "the rows are in /tmp/rows.npz"
    asked = config(tmp_path, 150.0)
    output = replace(asked.base.output, requests_log=tmp_path / "rows.npz")
    sized = found(replace(asked, base=replace(asked.base, output=output)))
    assert len(set(machine.rows)) == len(machine.rows) > 3
    assert machine.rows[0] == "rows-r1-c1-b1-0.npz"
    assert sized.not_saved[0] == "r1-c1-b1: the rows are in /tmp/rows.npz"


def test_a_kept_run_is_told_with_its_own_length(monkeypatch, tmp_path):
    """It may have been made for another time; and what was not the client's fault then is not now."""
    monkeypatch.setattr(sizing, "BACK_OFF_S", 0.0)
    machine = Machine(monkeypatch, certificate=[replace(INVALID, name="failed batches")])
    asked = config(tmp_path, 150.0, cpus_per_replica=(2,), replicas=(1,))
    first = found(asked)
    assert first.answer.shown is not None
    made = len(machine.made)
    second = found(replace(asked, within_s=1200.0), resume=True)
    assert len(machine.made) == made
    assert second.answer.shown is not None
    assert second.answer.shown.ask.duration_s == 20
    assert "shown by    Poisson arrivals for 20 s" in size_text(second)
    wider = replace(asked.base, load=replace(asked.base.load, max_in_flight=77))
    found(replace(asked, base=wider), resume=True)
    assert len(machine.made) > made


def test_what_cannot_be_started_is_passed_over(monkeypatch, tmp_path):
    """And said; what no size can do ends the search."""
    Machine(monkeypatch, broken={"r1-c1": LaunchError("no memory")})
    sized = found(config(tmp_path))
    assert sized.answer.best is not None
    assert sized.answer.unknown[0].state == "not started"
    assert "r1-c1: no memory (not started)" in size_text(sized)
    Machine(monkeypatch, broken={"r1-c1": LaunchError("replica-0 ended", "a log\n  ValueError: 1 core\n")})
    assert "r1-c1: replica-0 ended: ValueError: 1 core (not started)" in size_text(found(config(tmp_path)))
    Machine(monkeypatch, broken={"r1-c1": UnavailableError("the port is in use")})
    with pytest.raises(UnavailableError):
        found(config(tmp_path))


@pytest.mark.parametrize(
    ("reason", "sizes"), [("ValueError('boom')", 3), ("{} has no room", 7)], ids=["one reason", "a reason for each"]
)
def test_a_model_that_never_starts_ends_the_search_with_its_reason(monkeypatch, tmp_path, reason, sizes):
    """After a few sizes that fail alike; more time would not help. What was tried is kept."""
    names = [f"r{count}-c{cores}" for count in range(1, 5) for cores in (1, 2, 4)]
    broken: dict[str, Exception] = {
        name: LaunchError(f"a replica of {name} ended", reason.format(name)) for name in names
    }
    machine = Machine(monkeypatch, broken=broken)
    with pytest.raises(LaunchError, match="a replica of r1-c1 ended") as error:
        found(config(tmp_path))
    assert exit_codes.of_error(error.value) == exit_codes.LAUNCH
    assert error.value.__notes__ == [f"r1-c1 and {sizes - 1} more sizes could not be started"]
    assert len(machine.started) == len(set(machine.started)) == sizes
    (directory,) = (tmp_path / "results").iterdir()
    assert len(list(read_entries(directory))) == sizes


@pytest.fixture
def hurried(monkeypatch):
    """A search that does not wait before it makes a run again."""

    async def sleep(_):
        """No time passes."""

    monkeypatch.setattr(asyncio, "sleep", sleep)


def test_invalid_runs_are_told_and_decide_nothing(monkeypatch, tmp_path, hurried):
    """With the reason and the remedy; unless they are taken as they are."""
    Machine(monkeypatch, certificate=[INVALID])
    sized = found(config(tmp_path, cpus_per_replica=(1,), replicas=(1,)))
    assert exit_codes.of_size(sized.answer) == 10
    text = size_text(sized)
    assert text.startswith("size        undecided: ")
    assert "outside load: somebody used core 3; end it" in text
    asked = config(tmp_path, cpus_per_replica=(1,), replicas=(1,))
    sized = found(replace(asked, base=replace(asked.base, allow_invalid=True)))
    assert exit_codes.of_size(sized.answer) == 0
    assert "runs, taken as they are (--allow-invalid)" in size_text(sized)


def test_a_run_that_could_not_go_on_is_not_taken_as_it_is(monkeypatch, tmp_path, hurried):
    """Its error stands, whatever may be invalid."""
    machine = Machine(monkeypatch, certificate=[INVALID])

    async def measure(*given):
        return replace(await machine.measure(*given), ended="stalled", error="no answer for 60 s")

    monkeypatch.setattr(sizes, "measure", measure)
    asked = config(tmp_path, cpus_per_replica=(1,), replicas=(1,))
    sized = found(replace(asked, base=replace(asked.base, allow_invalid=True)))
    assert sized.taken == 0
    assert "taken as they are" not in size_text(sized)
    assert "no answer for 60 s" in size_text(sized)


def test_more_than_the_machine_carries(monkeypatch, tmp_path):
    """Is extrapolated, and marked so; nothing is said to do."""
    Machine(monkeypatch)
    sized = found(config(tmp_path, 900.0))
    assert exit_codes.of_size(sized.answer) == 8
    text = size_text(sized)
    assert text.startswith("size        none: no configuration of this machine carries 900 requests/s with p99<100ms")
    assert "extrapolated by the law of" in text


def test_more_replicas_than_are_looked_at(monkeypatch, tmp_path):
    """No cause is named: the law may allow still more."""
    Machine(monkeypatch)
    text = size_text(found(config(tmp_path, 1e9)))
    assert "no number of replicas of one deployment, up to 7,269, carries it; extrapolated" in text
    assert "what they share" not in text


def test_costs_and_json(monkeypatch, tmp_path):
    """What machines read says the same."""
    Machine(monkeypatch)
    sized = found(config(tmp_path, 150.0, core_cost=0.05))
    document = json.loads(sized.json)
    assert (document["state"], document["best"]["cores"]) == ("found", 2)
    assert document["cost_per_million_requests"] == pytest.approx(0.1 / 3600 / 150 * 1e6)
    assert "cost        0.1 an hour, 0.1852 per million requests at 150 requests/s" in size_text(sized)
    assert document["capacity_rps"]["low"] <= 200 <= document["capacity_rps"]["high"] * 1.01
    assert {each["state"] for each in document["sizes"]} >= {"holds", "dearer"}


def test_a_trace_is_sized_for_its_peak_and_over_time(monkeypatch, tmp_path):
    """The peak is that of ten seconds; each part has its replicas, by the law."""
    busy = [second + each / 150 for second in range(60, 80) for each in range(150)]
    trace = traced(tmp_path, [*range(60), *busy, *range(80, 121)])
    assert peak_rps(trace) == pytest.approx(150, rel=0.02)
    assert [round(rate_rps) for _, rate_rps in course(trace)][:7] == [1, 1, 1, 1, 1, 1, 150]
    Machine(monkeypatch)
    sized = found(config(tmp_path, None, trace=trace))
    text = size_text(sized)
    assert "the peak of 10 s of the trace" in text
    assert "over time   by the law" in text
    course_rows = json.loads(sized.json)["course"]
    assert (course_rows[0]["replicas"], course_rows[6]["replicas"]) == (1, 2)


def test_the_peak_of_a_short_trace(tmp_path):
    """Is that of all of it, and is called so."""
    trace = traced(tmp_path, [each / 50 for each in range(101)])
    text = size_plan_text(asyncio.run(prepare_size(config(tmp_path, None, trace=trace))))
    assert f"the peak of {trace.duration_s:.3g} s of the trace" in text
    assert trace.duration_s < 3


def test_the_plan_says_what_there_is_to_choose_from(tmp_path):
    """For another machine too."""
    plan = asyncio.run(prepare_size(config(tmp_path)))
    text = size_plan_text(plan)
    assert "r2-c2" in text
    assert "at most 0:10:00 (--within)" in text
    assert {size.name for size in plan.question.sizes} >= {"r1-c1", "r3-c1", "r1-c2"}


def test_gpus_are_sizes_too(monkeypatch, tmp_path):
    """One for each replica; with GPUs named there are no others."""
    capable = replace(asyncio.run(plans.survey(config(tmp_path).base)).model, gpus=(0, 1), gpu_capable=True)

    async def describe_(*_):
        return capable

    monkeypatch.setattr(plans, "describe", describe_)
    machine = describe("cpus=0-7,gpus=0-1")
    both = asyncio.run(prepare_size(config(tmp_path, serve=Deploy("noop", topology=machine)))).question.sizes
    assert {(size.replicas, size.gpus) for size in both if size.gpus} == {(1, 1), (2, 2)}
    assert any(not size.gpus for size in both)
    named = asyncio.run(
        prepare_size(config(tmp_path, serve=Deploy("noop", topology=machine, gpus=(1,))))
    ).question.sizes
    assert [(size.replicas, size.gpus) for size in named] == [(1, 1)]
    with pytest.raises(ConfigError, match="gpu_cost 0: makes GPUs free beside cores that cost; name what one costs"):
        asyncio.run(prepare_size(config(tmp_path, serve=Deploy("noop", topology=machine), core_cost=0.1)))
    with pytest.raises(PlacementError, match="5 replicas need 5 GPUs, and replicas may use 1; use fewer replicas"):
        asyncio.run(prepare_size(config(tmp_path, serve=Deploy("noop", topology=machine, gpus=(1,)), replicas=(5,))))
    none = asyncio.run(prepare_size(config(tmp_path, serve=Deploy("noop", topology=machine, gpus=())))).question.sizes
    assert not any(size.gpus for size in none)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rate_rps": None}, "rate_rps or trace"),
        ({"rate_rps": 1e-310}, "within_s 600s: too short: 1,000,000,000 s of 1e-310 requests/s"),
        ({"rate_rps": 0.5}, "within_s 600s: too short: 1,320 s of 0.5 requests/s tell p99<100ms"),
        ({"within_s": 5.0}, "within_s 5s: too short"),
        ({"core_cost": -1.0}, "core_cost -1: must not be negative"),
        (
            {"objective": "throughput>50"},
            "conditions throughput>50: cannot be shown: 50 requests/s have",
        ),
        ({"objective": "failed<0"}, "conditions failed<0: true in no run; write failed<=0"),
        ({"serve": External.at("oip+http://h:1/m")}, "has its size"),
    ],
)
def test_questions_that_make_no_sense(tmp_path, changes, text):
    """One line with the value and the remedy."""
    with pytest.raises(ConfigError) as error:
        asyncio.run(prepare_size(config(tmp_path, **changes)))
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"replicas": (99,)}, "99 replicas of 1 core need 99 cores"), ({"cpus_per_replica": (99,)}, "99 cores")],
)
def test_a_machine_without_room(tmp_path, changes, text):
    """Says why, as a single run would."""
    with pytest.raises((PlacementError, ConfigError), match=text):
        asyncio.run(prepare_size(config(tmp_path, **changes)))


def test_what_has_no_room_beside_what_has(tmp_path):
    """Is named: it was asked for."""
    plan = asyncio.run(prepare_size(config(tmp_path, replicas=(1, 99), cpus_per_replica=(1, 50), batch_sizes=(8, 4))))
    assert plan.notes[-1] == "left out, for want of room on this machine: 99 replicas, 50 cores for each replica"
    assert plan.question.batch_sizes == (4, 8)


def test_nothing_runs_on_a_described_machine(tmp_path):
    """It can only be planned for."""
    with pytest.raises(ConfigError, match="describes a machine"):
        found(config(tmp_path, serve=Deploy("noop", topology=describe("cpus=0-3"))))


def test_a_run_that_failed_in_one_line():
    """Without a figure."""
    from loadgen.experiments.grid import GridCell, Size
    from loadgen.experiments.size_answer import Ask

    ask = Ask(GridCell(Size(1, 1), 8), 10.0, 0)
    assert sizes.run_text(ask, Told(1.0, failed="no memory")) == "r1-c1-b8: no memory"
