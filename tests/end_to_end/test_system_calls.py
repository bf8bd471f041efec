"""System calls per request, which are the same in each run, however busy the machine is."""

import asyncio

import one_by_one
import pytest

MOST = {"zmq": 35.0, "http": 3.3}
"""System calls per request with one in flight. Most of ZeroMQ's are its own, for the wake-ups between its threads."""

TIMERS = "timerfd_settime"
"""Of which a slow machine makes more."""


@pytest.mark.parametrize("server", MOST)
def test_a_request_makes_no_more_system_calls(server):
    """With one in flight, over ZeroMQ and over HTTP; docs/performance.md says what they are."""
    program = one_by_one.counter()
    if not program:
        pytest.skip("neither perf nor strace can count system calls here")

    async def scenario():
        async with one_by_one.serving(one_by_one.job_of("window-1", server, long=False)) as addresses:
            return one_by_one.calls_a_request("window-1", server, addresses, program)

    calls = asyncio.run(scenario())
    assert calls[one_by_one.TOTAL] - calls.get(TIMERS, 0.0) <= MOST[server], calls
