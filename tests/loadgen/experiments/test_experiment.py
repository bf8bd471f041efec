"""What becomes of an experiment that is cancelled, or whose files cannot be written."""

import asyncio
import errno
import os
import tempfile
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frontend_launch.errors import LaunchError
from loadgen.errors import ConfigError, NotSavedError, TargetError
from loadgen.experiments import capacity, experiment, ledger
from loadgen.load.inputs import InputSource, MadeInputs, Pool
from loadgen.load.record import Record
from loadgen.load.requests_log import RequestsLog
from model_containers.data_types import DataType

NOTHING: Any = None


SAVING_TURNS = 20
"""Turns of the loop between the end of load and the end of the measurement."""


class Removed(InputSource):
    """Inputs whose file is not there any more."""

    text, payload_bytes = "inputs", 1

    def make(self):
        raise ConfigError("x.npy is not there")


def test_inputs_that_are_gone_after_a_run_cost_its_log_of_requests_only(tmp_path):
    """The results are worth no less."""
    with pytest.raises(NotSavedError, match=r"^--requests-log .*rows\.csv is not written: x\.npy is not there$"):
        experiment._save_requests(tmp_path / "rows.csv", Record(), Removed())


def test_the_log_says_how_large_requests_are_with_separators(caplog):
    """As all other numbers for people."""
    caplog.set_level("INFO")
    plan: Any = SimpleNamespace(
        placement=SimpleNamespace(assignments=()),
        notes=(),
        load=SimpleNamespace(text="at most 1,000 requests in flight"),
        inputs=SimpleNamespace(payload_bytes=1_072_812),
    )
    experiment.log_plan(plan)
    assert caplog.messages == ["at most 1,000 requests in flight, 1,072,812 bytes each"]


def measured(monkeypatch, ends, load_begins=True, times=1, apart=1):
    """Measure, be cancelled meanwhile, and wait for something else; returns what came of the measurement.

    Args:
        monkeypatch: of the test.
        ends: what the measurement comes to.
        load_begins: before the cancellation.
        times: that the task is cancelled.
        apart: turns of the loop between two cancellations.
    """
    caught: list[Any] = []

    async def cancels():
        for _ in range(times):
            tasks[0].cancel()
            for _ in range(apart):
                await asyncio.sleep(0)

    async def fake(plan, server, check, watcher, objective, view, load_began, stop):
        if load_begins:
            load_began.set()
        tasks.append(asyncio.ensure_future(cancels()))
        try:
            await stop.wait()
        finally:
            for _ in range(SAVING_TURNS):
                await asyncio.sleep(0)
            done.append(True)
        return ends()

    async def act():
        try:
            caught.append(await experiment.measure(NOTHING, NOTHING, None))
        except TargetError as error:
            caught.append(error)
        await asyncio.sleep(0)
        caught.append("went on")

    async def main():
        tasks.append(asyncio.ensure_future(act()))
        await tasks[0]

    tasks: list[asyncio.Future[None]] = []
    done: list[bool] = []
    monkeypatch.setattr(experiment, "_measure", fake)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert done == [True]
    return caught


MANY = [pytest.param(times, apart, id=f"{times}, {apart} apart") for times in range(1, 6) for apart in (0, 1, 3)]


@pytest.mark.parametrize(("times", "apart"), MANY)
def test_once_load_has_begun_the_results_come_first(monkeypatch, times, apart):
    """The cancellation comes where the caller waits next."""
    assert measured(monkeypatch, lambda: "results", times=times, apart=apart) == ["results"]


@pytest.mark.parametrize(("times", "apart"), MANY)
def test_an_error_comes_first_too(monkeypatch, times, apart):
    """And does not end the cancellation: a sweep would go on."""

    def fails():
        raise TargetError("gone")

    assert [str(one) for one in measured(monkeypatch, fails, times=times, apart=apart)] == ["gone"]


@pytest.mark.parametrize(("times", "apart"), MANY)
def test_before_load_begins_nothing_comes_of_it(monkeypatch, times, apart):
    """It is cancelled at once, and takes everything down."""
    assert measured(monkeypatch, lambda: "results", load_begins=False, times=times, apart=apart) == []


def test_rows_of_requests_are_written_elsewhere_where_their_directory_is_gone(tmp_path, monkeypatch):
    """It is said where."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    record = Record(requests=[RequestsLog()])
    inputs = MadeInputs(Removed(), Pool([np.zeros(1, np.uint8)], DataType.BYTES))
    gone = tmp_path / "gone"
    with pytest.raises(NotSavedError) as raised:
        experiment._save_requests(gone / "rows.npz", record, inputs)
    (found,) = tmp_path.glob("requests-*/rows.npz")
    refused = "cannot be written: No such file or directory"
    assert str(raised.value) == f"--requests-log {gone}/rows.npz: {refused}; the rows are in {found}"
    assert np.load(found)["planned_ns"].tolist() == []
    monkeypatch.setattr(tempfile, "tempdir", str(gone))
    with pytest.raises(NotSavedError, match=f"{refused}$"):
        experiment._save_requests(gone / "rows.csv", record, inputs)


def test_a_disk_that_is_full_is_found_before_a_sweep_or_a_search(tmp_path, monkeypatch):
    """Nothing is measured in vain, and no directory is left."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match="No space left on device"), ledger.begin(tmp_path, {}):
        pass
    with pytest.raises(ConfigError, match="No space left on device"):
        capacity._directory(tmp_path)
    assert not list(tmp_path.iterdir())


class Failing:
    """A deployment that fails."""

    def __init__(self):
        self.failed, self.failure = asyncio.Event(), None

    def fail(self):
        self.failure = LaunchError("frontends ended with exit code -9")
        self.failed.set()


@pytest.mark.parametrize("ends", ["never", "with an error of its own"])
def test_a_deployment_that_fails_before_the_load_is_the_reason(ends):
    """Not that clients get no answers; what they do is cancelled."""

    async def main():
        deployment: Any = Failing()
        cancelled = []

        async def connect():
            deployment.fail()
            if ends != "never":
                raise TargetError("no handshake within 10 s")
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                cancelled.append(True)

        with pytest.raises(LaunchError, match=r"^frontends ended with exit code -9$"):
            await experiment._unless_failed(connect(), deployment, asyncio.Event())
        assert cancelled == [True] * (ends == "never")

    asyncio.run(main())


def test_a_deployment_that_fails_under_load_ends_it_as_a_run_ends():
    """With what was measured."""

    async def main():
        deployment: Any = Failing()
        began = asyncio.Event()
        began.set()

        async def load():
            deployment.fail()
            await asyncio.sleep(0)
            return "record"

        assert await experiment._unless_failed(load(), deployment, began) == "record"
        assert await experiment._unless_failed(load(), None) == "record"

    asyncio.run(main())
