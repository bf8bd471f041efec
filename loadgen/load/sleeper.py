"""Sleeps until something happens or an exact moment comes, whichever is first.

The event loop's own timers tick in milliseconds. A timerfd that is armed with an absolute time of the monotonic clock
and watched by the loop wakes it within some tens of microseconds; elsewhere than on Linux, the loop's timers must do.
Waking up takes those tens of microseconds. So the timer is armed earlier, by a time with which a quarter of the sleeps
end a little too early: their callers look at the clock again, and stay awake for the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time

from model_containers.units import NS_PER_S

MOST_EARLY_NS = 50_000
"""The longest time before its deadline at which a sleep ends."""

_STEP_NS = 500
"""Three steps down for a sleep that ended too early and one up for one that did not: in balance at a quarter of them.
A quantile is not moved by stalls, nor by others that work on the same core, as a mean is."""

_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK, TFD_CLOEXEC


class _Times(ctypes.Structure):
    """``struct itimerspec``: an interval, which is not used, and the moment."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Sleeper:
    """One sleeper; `wake` may be called at any time from the loop, and is not lost when no sleep is under way.

    Use as a context manager, within a running loop.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[bool] | None = None
        self._woken = False
        self._handle: asyncio.TimerHandle | None = None
        self._times = _Times()
        self._moment = ctypes.byref(self._times)
        self._armed_ns = self._wake_ns = self._early_ns = 0
        self._timer = _timer()

    def __enter__(self) -> Sleeper:
        if self._timer is not None:
            self._loop.add_reader(self._timer, self._on_timer)
        return self

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = None

    def wake(self) -> None:
        """End the sleep that is under way, or the next one at once."""
        self._woken = True
        self._end(by_timer=False)

    async def sleep_until(self, deadline_ns: int) -> None:
        """Sleep until a time of the monotonic clock, or until woken.

        It may end up to `MOST_EARLY_NS` too early; called again, it lets others run and returns.
        """
        wake_ns = deadline_ns - self._early_ns
        if not self._woken and wake_ns > time.monotonic_ns():
            self._waiter = self._loop.create_future()
            self._arm(wake_ns)
            try:
                if await self._waiter:
                    self._learn(too_early=time.monotonic_ns() < deadline_ns)
            finally:
                self._waiter = None
                if self._handle is not None:
                    self._handle.cancel()
                    self._handle = None
        else:
            await asyncio.sleep(0)  # callers in a row must not starve other tasks
        self._woken = False

    def _learn(self, *, too_early: bool) -> None:
        step_ns = -3 * _STEP_NS if too_early else _STEP_NS
        self._early_ns = min(MOST_EARLY_NS, max(0, self._early_ns + step_ns))

    def _end(self, *, by_timer: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(by_timer)

    def _arm(self, wake_ns: int) -> None:
        if self._timer is None:
            delay_s = (wake_ns - time.monotonic_ns()) / NS_PER_S
            self._handle = self._loop.call_later(max(0.0, delay_s), self.wake)
            return
        self._wake_ns = wake_ns
        if time.monotonic_ns() < self._armed_ns <= wake_ns:
            # An earlier time is armed. Most sleeps are ended by a reply, so arming for each would be a system call for
            # nothing; if the timer does fire in a longer sleep, `_on_timer` arms it anew.
            return
        self._armed_ns = wake_ns
        self._times.value_s, self._times.value_ns = divmod(wake_ns, NS_PER_S)
        _libc.timerfd_settime(self._timer, _ABSOLUTE, self._moment, None)

    def _on_timer(self) -> None:
        if self._waiter is None or self._waiter.done():
            self._quiet_timer()
        elif time.monotonic_ns() < self._wake_ns:
            self._arm(self._wake_ns)
        else:
            # The next sleep arms the timer anew, which quiets it too, mostly before the loop would call again.
            self._end(by_timer=True)

    def _quiet_timer(self) -> None:
        """Until then it calls again and again; where it was armed anew since it fired there is nothing to read."""
        assert self._timer is not None
        with contextlib.suppress(BlockingIOError):
            os.read(self._timer, 8)


def _timer() -> int | None:
    try:
        descriptor = _libc.timerfd_create(time.CLOCK_MONOTONIC, _FLAGS)
    except AttributeError:
        return None
    return descriptor if descriptor >= 0 else None


_libc = ctypes.CDLL(None, use_errno=True)
