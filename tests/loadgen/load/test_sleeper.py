"""A sleeper wakes at the time it was told, or when it is woken."""

import asyncio
import os
import time
from types import SimpleNamespace

import pytest
import uvloop

from loadgen.load import sleeper as pacing
from loadgen.load.sleeper import MOST_EARLY_NS, Sleeper

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


EARLY_NS = {"timerfd": MOST_EARLY_NS, "the loop's timers": MS}
"""How much too early a sleep may end; the loop's own timers count whole milliseconds."""


def test_never_too_early(timer):
    """At the deadline but for what waking up takes, or later, again and again with one sleeper."""

    async def scenario(sleeper):
        for _ in range(5):
            deadline_ns = time.monotonic_ns() + 3 * MS
            await sleeper.sleep_until(deadline_ns)
            assert time.monotonic_ns() >= deadline_ns - EARLY_NS[timer]

    slept(scenario)


@pytest.fixture
def armed_ns(monkeypatch):
    """The moments that the exact timer was armed for."""
    moments, libc = [], pacing._libc

    def timerfd_settime(timer, flags, times, before):
        moments.append(times._obj.value_s * 1_000 * MS + times._obj.value_ns)
        return libc.timerfd_settime(timer, flags, times, before)

    double = SimpleNamespace(timerfd_create=libc.timerfd_create, timerfd_settime=timerfd_settime)
    monkeypatch.setattr(pacing, "_libc", double)
    return moments


@pytest.mark.parametrize("timer", ["timerfd"], indirect=True)
def test_it_learns_how_long_waking_up_takes(armed_ns):
    """The exact timer is armed earlier by that, within bounds."""

    async def scenario(sleeper):
        early_ns = []
        for _ in range(20):
            deadline_ns = time.monotonic_ns() + MS
            while time.monotonic_ns() < deadline_ns:
                armed_ns.clear()
                await sleeper.sleep_until(deadline_ns)
                early_ns += [deadline_ns - moment_ns for moment_ns in armed_ns]
        assert early_ns[0] == 0
        assert 0 < max(early_ns) <= MOST_EARLY_NS
        assert min(early_ns) >= 0

    slept(scenario)


@pytest.mark.parametrize("timer", ["the loop's timers"], indirect=True)
def test_of_the_loops_own_timers_it_learns_nothing(monkeypatch):
    """They are asked for the whole time until the deadline each time."""
    delays_s = []
    monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic_ns=lambda: 0))

    class Loop(asyncio.SelectorEventLoop):
        def call_later(self, delay, *arguments, **options):  # type: ignore[override]  # it hands the others on
            delays_s.append(delay)
            return super().call_later(delay, *arguments, **options)

    async def scenario():
        delays_s.clear()  # the test's own timeout
        with Sleeper() as sleeper:
            for _ in range(5):
                await sleeper.sleep_until(MS)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 10))
    assert delays_s == [1e-3] * 5


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
def test_a_sleep_that_was_woken_leaves_the_next_its_own_deadline(timer, first_ms, then_ms):
    """Whether that is later or earlier than the one that was not reached."""

    async def scenario(sleeper):
        asyncio.get_running_loop().call_soon(sleeper.wake)
        await sleeper.sleep_until(time.monotonic_ns() + first_ms * MS)
        deadline_ns = time.monotonic_ns() + then_ms * MS
        await sleeper.sleep_until(deadline_ns)
        assert time.monotonic_ns() >= deadline_ns - EARLY_NS[timer]

    slept(scenario)


@pytest.mark.parametrize("timer", ["timerfd"], indirect=True)
def test_a_timer_that_is_armed_anew_is_not_read(monkeypatch):
    """Arming quiets it. Where no task sleeps it is read, or it would call again and again."""
    reads, was_read = [], asyncio.Event()

    def read(descriptor, size):
        reads.append(size)
        was_read.set()
        return os.read(descriptor, size)

    monkeypatch.setattr(pacing, "os", SimpleNamespace(read=read, close=os.close))

    async def scenario(sleeper):
        for _ in range(5):
            await sleeper.sleep_until(time.monotonic_ns() + MS)
        assert not reads
        await was_read.wait()
        for _ in range(3):
            await asyncio.sleep(0.001)
        assert len(reads) == 1

    slept(scenario)
