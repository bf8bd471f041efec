"""What becomes of an experiment that is cancelled."""

import asyncio
from typing import Any

import pytest

from loadgen.errors import TargetError
from loadgen.experiments import experiment

NOTHING: Any = None


def measured(monkeypatch, ends, load_begins=True):
    """Measure, be cancelled meanwhile, and wait for something else; returns what came of the measurement."""
    caught: list[Any] = []

    async def fake(plan, server, check, watcher, load_began, stop):
        if load_begins:
            load_began.set()
        loop = asyncio.get_running_loop()
        loop.call_soon(tasks[0].cancel)
        await stop.wait()
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

    tasks: list[asyncio.Task[None]] = []
    monkeypatch.setattr(experiment, "_measure", fake)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    return caught


def test_once_load_has_begun_the_results_come_first(monkeypatch):
    """The cancellation comes where the caller waits next."""
    assert measured(monkeypatch, lambda: "results") == ["results"]


def test_an_error_comes_first_too(monkeypatch):
    """And does not end the cancellation: a sweep would go on."""

    def fails():
        raise TargetError("gone")

    assert [str(one) for one in measured(monkeypatch, fails)] == ["gone"]


def test_before_load_begins_nothing_comes_of_it(monkeypatch):
    """It is cancelled at once."""
    assert measured(monkeypatch, lambda: "results", load_begins=False) == []
