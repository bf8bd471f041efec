"""How work is shared between client processes."""

import asyncio
import contextlib

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
from loadgen.oip.address import parse_address
from loadgen.remotes.json_endpoint import JsonEndpoint
from loadgen.remotes.remote import Asked, TargetOptions
from loadgen.runner import Hooks, Job
from loadgen.targets.clipper import ClipperSpec
from loadgen.targets.target import Outcome
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


def test_what_clients_warn_of_is_logged_with_their_names(caplog):
    """Once for each reason and client, as one client would."""

    async def refuse(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b'\r\n\r\n"')
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def story():
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server, clients(2, HERE) as senders:
            address = parse_address(f"http+json://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            endpoint = JsonEndpoint.of(TargetOptions(address, body='"$input"', answer="text"))
            target, inputs = endpoint.spec(1, 1, None), endpoint.inputs(Asked(1, None, 1, 0))
            loads = job(target=target, inputs=inputs, duration_s=None, requests=20)
            return await senders.run(loads, asyncio.Event(), Hooks())

    record = uvloop.run(story())
    assert record.outcomes[Outcome.FAILED] == 20
    assert sorted(row.getMessage() for row in caplog.records) == [
        f"client-{number}: requests fail: 503: Service Unavailable" for number in range(2)
    ]
