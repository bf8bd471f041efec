"""What two readings of query frontends come to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from frontend_launch.counters import Counters
from loadgen.load.runner import Phase
from loadgen.servers.frontend_readings import FrontendReadings


class Scripted(FrontendReadings):
    """Reads what a test says; metrics are none."""

    def __init__(self, *readings: list[Counters]) -> None:
        super().__init__("app", [], None)
        self._script = list(readings)

    async def _of_each(self, reading: Any) -> list[Any]:
        return [(counters, {}) for counters in self._script.pop(0)] if self._script else []


def counters(now_ns: int, requests: int, started_ns: int = 1) -> Counters:
    return Counters(now_ns, requests=requests, started_ns=started_ns)


@pytest.mark.parametrize(
    ("later", "requests"),
    [([counters(9, 40), counters(9, 50)], 20), ([counters(9, 40), counters(9, 10, started_ns=8)], None)],
)
def test_counters_of_a_frontend_that_was_restarted_are_left_out(later, requests):
    """Those of all of them, since the shares of the others would not be shares of the whole; a note says so."""
    readings = Scripted([counters(5, 30), counters(5, 40)], later)

    async def measure() -> None:
        await readings.on_phase(Phase.MEASURED_BEGINS)
        await readings.on_phase(Phase.MEASURED_ENDS)

    asyncio.run(measure())
    found = readings.measurements.frontend_counters
    assert (None if found is None else found.requests) == requests
    assert len(readings.notes) == (requests is None)
