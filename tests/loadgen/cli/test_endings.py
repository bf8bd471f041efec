"""How a verb that measures ends: by signals, and where its results cannot be saved."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from program import LOADGEN, asked

from loadgen.cli import capacity as capacity_verb
from loadgen.cli import console, measuring
from loadgen.experiments.capacity import FoundCapacity
from loadgen.experiments.search import Capacity
from loadgen.results import files

RESULTS = files.read(Path(__file__).parents[2] / "golden" / "results-v2.json")


@pytest.mark.parametrize("elsewhere", [True, False], ids=["saved elsewhere", "not saved"])
def test_results_that_are_not_where_they_were_to_be(monkeypatch, tmp_path, elsewhere):
    """The summary is printed, the place named, and the code says it."""
    results = replace(RESULTS, path=tmp_path / "other" / "results.json" if elsewhere else None)

    async def run_experiment(_):
        return results

    monkeypatch.setattr(measuring, "run_experiment", run_experiment)
    monkeypatch.setattr(console, "set_up_logging", lambda: None)
    directory = tmp_path / "wanted"
    done = asked([LOADGEN, "saturate", "-m", "noop", "-d", "1", "--results-dir", str(directory)])
    assert done.returncode == 11
    assert "throughput" in done.stdout
    where = f"they are in {results.path}" if elsewhere else "the summary is all there is"
    assert f"loadgen: the results could not be saved to {directory}: {where}\n" in done.stderr


ROWS = "--requests-log rows.npz cannot be written: No space left on device; the rows are in /tmp/requests-x/rows.npz"


def test_rows_of_requests_that_are_not_where_they_were_to_be(monkeypatch, tmp_path):
    """The results are, and the code says the same."""
    directory = tmp_path / "wanted"
    results = replace(RESULTS, path=directory / "results.json", rows_not_saved=ROWS)

    async def run_experiment(_):
        return results

    monkeypatch.setattr(measuring, "run_experiment", run_experiment)
    monkeypatch.setattr(console, "set_up_logging", lambda: None)
    done = asked([LOADGEN, "saturate", "-m", "noop", "-d", "1", "--results-dir", str(directory)])
    assert (done.returncode, done.stderr.count(f"loadgen: {ROWS}\n")) == (11, 1)
    assert "could not be saved" not in done.stderr
    assert f"Saved results to {results.path}" in done.stdout


def test_a_search_whose_rows_cannot_be_written(monkeypatch, tmp_path):
    """The search is where it was to be."""

    async def find_capacity(_):
        return FoundCapacity(Capacity(1.0, 2.0, True, "confirmed", ()), 1.0, tmp_path, None, (ROWS,))

    monkeypatch.setattr(capacity_verb, "find_capacity", find_capacity)
    monkeypatch.setattr(console, "set_up_logging", lambda: None)
    done = asked([LOADGEN, "capacity", "-m", "noop", "--slo", "p99<1s"])
    assert done.returncode == 11
    assert f"loadgen: {ROWS}\n" in done.stderr
    assert f"Saved the search to {tmp_path}" in done.stdout


def test_a_search_whose_answer_cannot_be_written(monkeypatch, tmp_path):
    """The answer is printed."""
    answer = Capacity(None, None, False, "enough probes were made", (), confirm_s=1.0)

    async def find_capacity(_):
        return FoundCapacity(answer, 1.0, tmp_path, "capacity.json: cannot be written (No space left on device)")

    monkeypatch.setattr(capacity_verb, "find_capacity", find_capacity)
    monkeypatch.setattr(console, "set_up_logging", lambda: None)
    done = asked([LOADGEN, "capacity", "-m", "noop", "--slo", "p99<1s"])
    assert done.returncode == 11
    assert "enough probes were made" in done.stdout + done.stderr
    assert "loadgen: capacity.json: cannot be written (No space left on device)\n" in done.stderr


async def _until_cancelled(number: signal.Signals) -> str:
    os.kill(os.getpid(), number)
    try:
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "kept"
    return "not ended"


@pytest.fixture
def handlers():
    """Those of before are there afterwards."""
    before = {number: signal.getsignal(number) for number in console.ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", console.ENDING)
def test_signals_that_end_a_run(number):
    """It keeps what it has."""
    signal.signal(number, signal.SIG_DFL)
    assert console.run(_until_cancelled(number)) == ("kept", number)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGQUIT, 131)])
def test_a_signal_before_there_is_anything_to_keep(number, code):
    """Has its code too."""

    async def cancelled():
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()

    signal.signal(number, signal.SIG_DFL)
    with pytest.raises(typer.Exit) as ended:
        console.run(cancelled())
    assert ended.value.exit_code == code


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_signals_that_are_ignored_at_the_start(number):
    """As under nohup: the run goes on."""

    async def goes_on():
        os.kill(os.getpid(), number)
        await asyncio.sleep(0)
        return "whole"

    signal.signal(number, signal.SIG_IGN)
    assert console.run(goes_on()) == ("whole", None)
