"""What two readings of query frontends come to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from frontend_launch.counters import Counters
from frontend_launch.errors import LaunchError
from loadgen.load.runner import Phase
from loadgen.servers.frontend_readings import FrontendReadings


class Scripted(FrontendReadings):
    """Reads what a test says, None for no answer; metrics are none."""

    def __init__(self, *readings: list[Counters | None], deployment: Any = None, addresses: Sequence[str] = ()) -> None:
        super().__init__("app", [], deployment, addresses=addresses)
        self._script = list(readings)

    async def _of_each(self, reading: Any) -> list[Any]:
        found = self._script.pop(0) if self._script else []
        self.notes += ["it cannot be read"] * found.count(None)
        return [None if counters is None else (counters, {}) for counters in found]

    async def measure(self) -> None:
        for phase in Phase:
            await self.on_phase(phase)


def counters(now_ns: int, requests: int, started_ns: int = 1) -> Counters:
    return Counters(now_ns, requests=requests, started_ns=started_ns)


@pytest.mark.parametrize(
    ("later", "requests"),
    [([counters(9, 40), counters(9, 50)], 20), ([counters(9, 40), counters(9, 10, started_ns=8)], None)],
)
def test_counters_of_a_frontend_that_was_restarted_are_left_out(later, requests):
    """Those of all of them, since the shares of the others would not be shares of the whole; a note says so."""
    readings = Scripted([counters(5, 30), counters(5, 40)], later)
    asyncio.run(readings.measure())
    found = readings.measurements.frontend_counters
    assert (None if found is None else found.requests) == requests
    assert len(readings.notes) == (requests is None)


GONE = "a frontend did not answer any more at the end: it cannot be read"
OURS, FAILED = SimpleNamespace(failure=None), SimpleNamespace(failure=LaunchError("frontends ended"))


@pytest.mark.parametrize(
    ("deployment", "first", "last", "lost"),
    [
        (None, [counters(5, 30)], [counters(9, 40)], None),
        (None, [counters(5, 30)], [None], GONE),
        (None, [counters(5, 30), counters(5, 30)], [counters(9, 40), None], GONE),
        (None, [None], [None], None),
        (OURS, [None], [None], GONE),
        (FAILED, [counters(5, 30)], [None], None),
    ],
)
def test_a_frontend_that_does_not_answer_at_the_end_is_lost(deployment, first, last, lost):
    """One of 2017 has no counters at any time; and that a deployment failed it says itself, with the reason."""
    readings = Scripted(first, last, deployment=deployment)
    asyncio.run(readings.measure())
    assert readings.lost == lost


def test_a_frontend_of_2017_that_is_gone_at_the_end_is_lost():
    """It has no counters, but a port."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{port.getsockname()[1]}"
        gone = Scripted([None], [None], addresses=[address])
        asyncio.run(gone.measure())
        assert gone.lost == f"the frontend was gone at the end: {address}: Connection refused"
        port.listen()
        there = Scripted([None], [None], addresses=[address])
        asyncio.run(there.measure())
        assert there.lost is None
