"""What a sweep does about a measurement that is invalid."""

import asyncio
import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sample_results import INVALID, results
from typer.testing import CliRunner

from frontend_launch.errors import LaunchError, UnavailableError
from loadgen.cli import exit_codes
from loadgen.cli.sweep import size_command
from loadgen.cli.verbs import app
from loadgen.config import ExperimentConfig, Output, Saturate
from loadgen.errors import ClientLimitError, UnreachableError
from loadgen.experiments import sweep as sweeps
from loadgen.experiments.ledger import Entry, read_entries
from loadgen.experiments.sweep import Sweep, SweepConfig, prepare_sweep, run_sweep
from loadgen.judging.slo import parse as parse_slo
from loadgen.judging.validity import Check
from loadgen.results.cells import Drift
from loadgen.results.files import save
from loadgen.served import Deploy, External

VALID: list[Check] = []
BAD, FAILED = [INVALID], [replace(INVALID, measured="it is gone")]
NOOP, SERVER = Deploy("noop"), External.at("http://127.0.0.1:9/predict", body='{"x": "$inputs"}')
REFUSED = UnreachableError("connection refused")


async def nothing(*_):
    """In place of what a deployment does."""


@pytest.fixture
def swept(tmp_path, monkeypatch):
    """Sweep over two batch sizes, of which the runs have these certificates; what is asked for has names."""
    names = []

    def sweep(certificates, *, error=None, resume=False, unstarted=None, rows=None, serve=NOOP, gone=(), **changes):
        left, gone = list(certificates), list(gone)

        async def measure(plan, *_, **__):
            if gone and (lost := gone.pop(0)):
                raise lost
            names.append(None if plan.config.output.requests_log is None else plan.config.output.requests_log.name)
            certificate = left.pop(0)
            made = results(seconds=3, throughput_rps=100.0, certificate=certificate, error=error)
            return replace(made, path=save(made, plan.config.output.results_dir), rows_not_saved=rows)

        @contextlib.asynccontextmanager
        async def serving(_):
            if unstarted is not None:
                raise unstarted
            deployment = SimpleNamespace(set_batch_size=nothing)
            yield SimpleNamespace(facts=SimpleNamespace(deployment=deployment), keep_logs=nothing)

        monkeypatch.setattr(sweeps, "measure", measure)
        monkeypatch.setattr(sweeps, "serving", serving)
        output = Output(tmp_path / "results", requests_log=tmp_path / "rows.npz")
        base = ExperimentConfig(serve, Saturate(1.0), output=output, **changes)

        async def act():
            return await run_sweep(await prepare_sweep(SweepConfig(base, batch_sizes=(1, 2))), resume=resume)

        done = asyncio.run(act())
        assert left == gone == []
        return done, names

    return sweep


def reasons(done):
    return [entry.invalid for entry in done.entries]


def test_an_invalid_run_is_measured_again_at_once(swept, caplog):
    """Which is said with the reason; both results files stay, and the ledger names the second."""
    caplog.set_level("WARNING")
    done, names = swept([VALID, BAD, VALID, VALID])
    assert reasons(done) == [None, None, None]
    assert caplog.messages == ["r1-c1-b2: invalid, measured again: outside load: somebody used core 3"]
    assert [name.removeprefix("rows-r1-c1-").removesuffix(".npz") for name in names] == [
        *("b1-0-cell", "b2-0-cell", "b2-0-cell-again", "b1-0-anchor")
    ]
    assert len(list(done.directory.glob("results-*.json"))) == 4
    assert len({entry.results for entry in done.entries}) == 3


def test_a_cell_that_is_invalid_twice_is_marked(swept):
    """With the second reason, and the sweep goes on; of drift it is said."""
    done, names = swept([VALID, VALID, BAD, FAILED])
    assert reasons(done) == [None, None, "outside load: it is gone"]
    assert done.drift == Drift(None, None, None, "the last anchor is invalid: outside load: it is gone")
    assert len(names) == 4
    assert list(read_entries(done.directory)) == list(done.entries)
    again, _ = swept([], resume=True, allow_invalid=True)
    assert again == done


def test_invalid_runs_that_are_allowed_are_marked_only(swept):
    """As are those that did not end as asked, for which another reason stands."""
    done, names = swept([BAD, VALID, BAD], allow_invalid=True)
    assert reasons(done) == [INVALID.reason, None, INVALID.reason]
    assert len(names) == 3
    done, _ = swept([VALID, BAD, BAD], error="stalled")
    assert reasons(done) == [None, INVALID.reason, INVALID.reason]


def test_the_log_says_once_why_a_measurement_did_not_end_as_asked(swept, caplog):
    """Such a run is invalid for that reason."""
    caplog.set_level("INFO")
    swept([BAD, BAD, BAD], error="stalled")
    said = [line for line in caplog.messages if " of 3, " in line]
    assert len(said) == 3
    assert all(" ms, stalled; " in line and "invalid" not in line for line in said)


def test_rows_that_are_not_where_they_were_to_be_are_kept_in_the_ledger(swept):
    """A sweep that goes on knows of them; each is said."""
    done, _ = swept([VALID, VALID, VALID], rows="they are in /tmp/rows.npz")
    again, _ = swept([], resume=True)
    assert [entry.rows_not_saved for entry in again.entries] == ["they are in /tmp/rows.npz"] * 3
    assert again == done


def test_what_keeps_all_cells_from_starting_ends_the_sweep(swept, tmp_path):
    """Other failures are their cells' own: they are recorded, and the sweep goes on."""
    with pytest.raises(UnavailableError, match="no engine"):
        swept([], unstarted=UnavailableError("no engine"))
    (ledger,) = (tmp_path / "results").glob("sweep-*/ledger.jsonl")
    assert ledger.read_text() == ""
    done, _ = swept([], unstarted=LaunchError("replica-0 is gone"))
    assert [one.error for one in done.entries] == ["replica-0 is gone"] * 3


def test_a_server_that_cannot_be_reached_ends_the_sweep(swept, tmp_path):
    """Whether that shows before the first measurement or in it; none is marked as failed."""
    for gone in ({"unstarted": REFUSED}, {"gone": [REFUSED]}):
        with pytest.raises(UnreachableError, match=r"^connection refused$"):
            swept([], serve=SERVER, **gone)
    assert [path.read_text() for path in (tmp_path / "results").glob("sweep-*/ledger.jsonl")] == ["", ""]


def test_a_server_that_goes_away_leaves_the_rest_to_a_resumed_sweep(swept):
    """It is tried once more, and what was measured is named; a limit of the client is the fault of one cell."""
    refused = UnreachableError("connection refused")
    with pytest.raises(UnreachableError) as raised:
        swept([VALID], serve=SERVER, gone=[None, REFUSED, refused])
    (note,) = raised.value.__notes__
    assert note.startswith("1 of 3 measurements kept in /")
    done, _ = swept([VALID], serve=SERVER, resume=True, gone=[ClientLimitError("no more files"), None])
    assert [one.error for one in done.entries] == [None, "no more files", None]
    done, _ = swept([VALID, VALID, VALID], serve=SERVER, gone=[None, REFUSED, None, None])
    assert [one.error for one in done.entries] == [None, None, None]


def entry(kind="cell", rps=100.0, **changes):
    return Entry("r1-c1-b1", 1, 1, 1, 0, kind, "x.json", None, rps, 1.0, "yes", "2026-01-01T00:00:00+00:00", **changes)


def test_drift_is_between_valid_runs(tmp_path):
    """The last of them against the first."""
    entries = (
        entry(rps=1.0, invalid="because"),
        entry(),
        entry("anchor", 90.0),
        entry("anchor", 2.0, invalid="because"),
    )
    found = Sweep(tmp_path, entries).drift
    assert found is not None
    assert found.throughput == pytest.approx(-0.1)
    assert found.text == "-10.0% requests/s, p99 1 ms instead of 1 ms; the last anchor is invalid: because"


@pytest.mark.parametrize(("allowed", "code"), [((), exit_codes.INVALID), (("--allow-invalid",), exit_codes.UNDECIDED)])
def test_the_command_says_which_are_invalid_and_what_that_leaves_undecided(tmp_path, monkeypatch, allowed, code):
    """A line each; the conditions are named."""

    async def prepare(_, *, skip_impossible):
        return SimpleNamespace(refusal=None)

    async def run(_, *, resume):
        return Sweep(tmp_path, (entry(invalid="because"), entry("anchor", invalid=INVALID.reason)))

    monkeypatch.setattr("loadgen.cli.sweep.prepare_sweep", prepare)
    monkeypatch.setattr("loadgen.cli.sweep.run_sweep", run)
    done = CliRunner().invoke(app, ["sweep", "-m", "noop", "--fail-if", "p99>1s", *allowed])
    assert done.exit_code == code
    reason = "the run is invalid: outside load: somebody used core 3"
    assert done.stderr.splitlines() == [
        "loadgen: r1-c1-b1: the run is invalid: because; --fail-if p99>1s is undecided",
        f"loadgen: r1-c1-b1, anchor: {reason}; --fail-if p99>1s is undecided",
    ]


def test_the_command_says_which_conditions_are_undecided(tmp_path, monkeypatch):
    """With what is known."""

    async def prepare(_, *, skip_impossible):
        return SimpleNamespace(refusal=None)

    async def run(_, *, resume):
        return Sweep(tmp_path, (entry(), entry(undecided=["p99>1s: p99 is 900 ms, of too few requests"])))

    monkeypatch.setattr("loadgen.cli.sweep.prepare_sweep", prepare)
    monkeypatch.setattr("loadgen.cli.sweep.run_sweep", run)
    done = CliRunner().invoke(app, ["sweep", "-m", "noop", "--fail-if", "p99>1s"])
    assert done.exit_code == exit_codes.UNDECIDED
    said = "loadgen: r1-c1-b1: --fail-if is undecided: p99>1s: p99 is 900 ms, of too few requests"
    assert done.stderr.splitlines() == [said]


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"undecided": ["p99>1s: so"]}, "loadgen size -m noop --rate 50 --slo 'p99<=1s'"),
        ({"invalid": "because"}, "loadgen size -m noop --rate 50 --slo 'p99<=1s'"),
        ({}, None),
    ],
)
def test_a_sweep_over_rates_that_leaves_one_open_says_what_answers_it(tmp_path, changes, command):
    """With the objective that its conditions stand for."""
    base = ExperimentConfig(Deploy("noop"), Saturate(1.0), fail_if=tuple(parse_slo("p99>1s")))
    done = Sweep(tmp_path, (entry(), entry(rate_rps=50.0, **changes)))
    assert size_command(done, SweepConfig(base, rates_rps=(50.0,))) == command
    assert size_command(Sweep(tmp_path, (entry(**changes),)), SweepConfig(base)) is None
