"""Timers of a process that is stopped for a time."""

import asyncio
import heapq
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch import patience
from frontend_launch.patience import TICK_NS, Alarm, Expiry

S = 10**9
TICK_S = TICK_NS / S


class Loop:
    """An event loop's timers, and a clock that can pass while none of them is called."""

    def __init__(self):
        self.now_ns, self._order, self._timers = S, itertools.count(), []

    def monotonic_ns(self):
        return self.now_ns

    def call_later(self, after_s, act, *arguments):
        timer = [self.now_ns + round(after_s * S), next(self._order), act, arguments]
        heapq.heappush(self._timers, timer)
        return self

    def cancel(self):
        self._timers.clear()

    def run_for(self, seconds):
        until_ns = self.now_ns + round(seconds * S)
        while self._timers and self._timers[0][0] <= until_ns:
            due_ns, _, act, arguments = heapq.heappop(self._timers)
            self.now_ns = max(self.now_ns, due_ns)
            act(*arguments)
        self.now_ns = until_ns

    def stop_for(self, seconds):
        self.now_ns += round(seconds * S)


def with_virtual_time(test):
    """Give a test a loop that the module takes for its own."""

    def run(**arguments):
        with pytest.MonkeyPatch.context() as patch:
            loop = Loop()
            patch.setattr(patience, "time", loop)
            patch.setattr(asyncio, "get_running_loop", lambda: loop)
            test(loop, **arguments)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@given(within_s=st.floats(0.01, 5), share=st.floats(0, 1), stopped_s=st.floats(0.2, 100))
@with_virtual_time
def test_an_alarm_counts_the_time_in_which_the_process_ran(loop, within_s, share, stopped_s):
    """It is never early, and late by what it did not see of a pause and a look for what has arrived."""
    acted = []
    Alarm(within_s, lambda: acted.append(loop.now_ns))
    loop.run_for(share * within_s * 0.99)
    assert not acted
    loop.stop_for(stopped_s)
    loop.run_for(0)  # the timers come first
    assert not acted
    loop.run_for(within_s + 3 * TICK_S)
    (acted_ns,) = acted
    assert S * (within_s + stopped_s - TICK_S - 0.01) <= acted_ns - S <= S * (within_s + stopped_s + 2 * TICK_S)


@with_virtual_time
def test_an_alarm_that_is_cancelled_is_silent(loop):
    """Though its time has come."""
    acted = []
    alarm = Alarm(1.0, lambda: acted.append(loop.now_ns))
    loop.run_for(0.5)
    alarm.cancel()
    loop.run_for(9.0)
    assert not acted


@given(ran_s=st.floats(0, 3), stopped_s=st.floats(0.2, 100))
@with_virtual_time
def test_what_waits_while_the_process_is_stopped_does_not_expire(loop, ran_s, stopped_s):
    """It has its patience of the time in which the process runs."""
    found = []
    expiry = Expiry(2.0, 0.5, lambda before_ns: found.append((loop.now_ns, before_ns)))
    loop.run_for(ran_s)
    found.clear()
    loop.stop_for(stopped_s)
    loop.run_for(0)
    assert not found
    loop.run_for(1.9)
    assert all(before_ns <= S + ran_s * S for _, before_ns in found)
    loop.run_for(1.0)
    assert found[-1][1] > S + ran_s * S
    expiry.close()
    found.clear()
    loop.run_for(9.0)
    assert not found


def test_patience_is_a_timeout():
    """With the same error, and none where the body is in time."""

    async def act():
        async with patience.patience(60.0):
            pass
        with pytest.raises(TimeoutError):
            async with patience.patience(0.01):
                await asyncio.Event().wait()

    asyncio.run(act())
