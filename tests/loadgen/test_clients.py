"""How work is shared between client processes."""

import asyncio

import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.launch.placement import Assignment
from loadgen.arrivals import Renewal
from loadgen.clients import clients, split
from loadgen.errors import TargetError
from loadgen.inputs import SeededInputs
from loadgen.runner import Hooks, Job
from loadgen.targets.clipper import ClipperSpec
from model_containers.model import TensorSpec
from model_containers.wire import DataType

HERE = Assignment("here", "client", (0,), None, shared=True)


def job(**changes):
    target = ClipperSpec("tcp://127.0.0.1:1", "tcp://127.0.0.1:1", "noop", DataType.FLOATS, 4, b"default")
    inputs = SeededInputs(TensorSpec((1,), "float32"), None, 4, 0)
    usual = {
        "target": target,
        "inputs": inputs,
        "window": 10,
        "duration_s": 1.0,
        "requests": None,
        "warmup_s": 0.0,
        "timeout_s": None,
        "stall_s": 1.0,
        "first_answer_s": None,
        "log_every_s": 1.0,
        "drain_s": 0.0,
    }
    return Job(**{**usual, **changes})


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 20))
def test_shares_add_up(window, requests, count):
    """To the whole, as far as each has one at least."""
    shares = split(job(window=window, requests=requests), count)
    assert sum(share.requests for share in shares) == requests
    assert sum(share.window for share in shares) == max(window, count)
    assert max(share.window for share in shares) - min(share.window for share in shares) <= 1


@given(st.integers(1, 7))
def test_shares_of_a_schedule_are_the_schedule(count):
    """Each request is in exactly one."""
    arrivals = Renewal(200.0, 1.0, 1.0, 5)
    whole = arrivals.times_ns(0.5)
    parts = [whole[share.client :: share.clients] for share in split(job(arrivals=arrivals), count)]
    assert np.array_equal(np.sort(np.concatenate(parts)), whole)


def test_a_server_that_is_not_there_is_one_error():
    """Of all the clients."""

    async def story():
        async with clients(2, HERE) as senders:
            assert list(senders.pids) == ["client-0", "client-1"]
            await senders.run(job(), asyncio.Event(), Hooks())

    with pytest.raises(TargetError, match="is a query frontend running there"):
        uvloop.run(story())
