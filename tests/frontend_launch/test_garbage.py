"""When a frontend collects garbage."""

import asyncio
import gc

import pytest

from frontend_launch.frontends import connections, garbage
from frontend_launch.frontends.directory import Directory
from frontend_launch.frontends.metrics import Meter, Registry
from frontend_launch.frontends.store import MemoryStore
from frontend_launch.records import Application
from model_containers.data_types import DataType


@pytest.fixture
def told(monkeypatch):
    """What was collected and kept."""
    acts: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: acts.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: acts.append("freeze"))
    return acts


def test_full_collections_come_when_they_are_told_to(told, monkeypatch):
    """Young ones as before; what is there is looked at once more."""
    thresholds: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "set_threshold", lambda *given: thresholds.append(given))
    garbage.full_ones_when_told()
    assert thresholds == [(*gc.get_threshold()[:2], garbage.NEVER)]
    assert told == ["collect", "freeze"]


def test_applications_are_kept_some_at_a_time(told, monkeypatch):
    """Each once: what a collection looks at does not grow with them."""
    monkeypatch.setattr(garbage, "AFTER_APPLICATIONS", 4)

    async def main():
        store = MemoryStore()
        directory = Directory(store, Registry())
        for number in (*range(11), *range(11)):
            await store.add_application(Application(f"{number}", DataType.INTS, "x", 1))
            await directory._read_application(f"{number}")

    asyncio.run(main())
    assert told == ["collect", "freeze"] * 2


def test_connections_are_collected_some_at_a_time(told, monkeypatch):
    """Those that were no HTTP leave cycles behind."""
    monkeypatch.setattr(garbage, "AFTER_CONNECTIONS", 4)
    known = connections.Connections()
    for _ in range(11):
        known.closed(asyncio.BaseTransport())
    assert told == ["collect"] * 2


def test_a_tick_of_very_many_meters_makes_nothing_that_a_collection_looks_at():
    """A list that takes the place of an older one is young, and triggers no collection: 20 000 would wait for one."""
    meter = Meter(0)
    rates = meter._rates
    meter.mark(5, 0)
    meter.fields(60_000_000_000)
    assert meter._rates is rates
    assert rates[0] > 0
