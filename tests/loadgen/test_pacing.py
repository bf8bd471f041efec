"""A sleeper wakes at the time it was told, or when it is woken."""

import asyncio
import time

import pytest
import uvloop

from loadgen import pacing
from loadgen.pacing import MOST_EARLY_NS, Sleeper

MS = 1_000_000


@pytest.fixture(params=["timerfd", "the loop's timers"], autouse=True)
def timer(request, monkeypatch):
    """Both kinds of timer."""
    if request.param != "timerfd":
        monkeypatch.setattr(pacing, "_timer", lambda: None)
    return request.param


def slept(scenario):
    async def within():
        with Sleeper() as sleeper:
            return await asyncio.wait_for(scenario(sleeper), 10)

    return uvloop.run(within())


def early_ns(sleeper):
    """How much too early a sleep may end; the loop's own timers count whole milliseconds."""
    return MOST_EARLY_NS if sleeper.exact else MS


def test_never_too_early(timer):
    """At the deadline but for what waking up takes, or later, again and again with one sleeper."""

    async def scenario(sleeper):
        assert sleeper.exact is (timer == "timerfd")
        for _ in range(5):
            deadline_ns = time.monotonic_ns() + 3 * MS
            await sleeper.sleep_until(deadline_ns)
            assert time.monotonic_ns() >= deadline_ns - early_ns(sleeper)

    slept(scenario)


def test_it_learns_how_long_waking_up_takes():
    """An exact timer is armed so much earlier, within bounds; whoever sleeps again and again is there in time."""

    async def scenario(sleeper):
        assert sleeper.early_ns == 0
        for _ in range(20):
            deadline_ns = time.monotonic_ns() + MS
            while time.monotonic_ns() < deadline_ns:
                await sleeper.sleep_until(deadline_ns)
        assert 0 < sleeper.early_ns <= MOST_EARLY_NS if sleeper.exact else sleeper.early_ns == 0

    slept(scenario)


def test_a_call_ends_the_sleep():
    """Long before its deadline, whether it comes during the sleep or before it."""

    async def scenario(sleeper):
        far_ns = time.monotonic_ns() + 3_600_000 * MS
        asyncio.get_running_loop().call_soon(sleeper.wake)
        await sleeper.sleep_until(far_ns)
        sleeper.wake()
        await sleeper.sleep_until(far_ns)

    slept(scenario)


def test_a_deadline_that_is_past_lets_others_run():
    """So that a run that is always late can still be stopped."""

    async def scenario(sleeper):
        ran = []
        asyncio.get_running_loop().call_soon(lambda: ran.append(True))
        await sleeper.sleep_until(0)
        assert ran

    slept(scenario)


def test_a_sleep_that_is_cancelled_leaves_nothing():
    """The next one is as good as new."""

    async def scenario(sleeper):
        task = asyncio.create_task(sleeper.sleep_until(time.monotonic_ns() + 3_600_000 * MS))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await sleeper.sleep_until(time.monotonic_ns() + MS)

    slept(scenario)


@pytest.mark.parametrize(("first_ms", "then_ms"), [(3, 12), (3_600_000, 3)])
def test_a_sleep_that_was_woken_leaves_the_next_its_own_deadline(first_ms, then_ms):
    """Whether that is later or earlier than the one that was not reached."""

    async def scenario(sleeper):
        asyncio.get_running_loop().call_soon(sleeper.wake)
        await sleeper.sleep_until(time.monotonic_ns() + first_ms * MS)
        deadline_ns = time.monotonic_ns() + then_ms * MS
        await sleeper.sleep_until(deadline_ns)
        assert time.monotonic_ns() >= deadline_ns - early_ns(sleeper)

    slept(scenario)
