"""How work is shared between client processes."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import weakref

import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch import stopped
from frontend_launch.errors import LaunchError
from frontend_launch.launch.placement import Assignment
from loadgen.errors import TargetError
from loadgen.load import clients as module
from loadgen.load.arrivals import Renewal
from loadgen.load.client_messages import Finished, IntervalDone, Measured, Ready
from loadgen.load.clients import clients, split
from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.load.record import Interval, Record
from loadgen.load.runner import Hooks, Phase
from loadgen.load.target import Outcome
from loadgen.targets.address import parse_address
from loadgen.targets.clipper import ClipperSpec
from loadgen.targets.http_endpoint import HttpEndpoint
from loadgen.targets.remote import RequestOptions, TargetOptions
from model_containers.data_types import DataType
from model_containers.model import TensorSpec

HERE = Assignment("here", "client", (0,), None, shared=True)
DEADLINE_S = 60.0
"""For a scenario that would not end otherwise; it makes a failure, never a pass."""
PATIENCE_S = 2.0
"""Instead of `END_TIMEOUT_S`: enough for a client that is well."""


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
    assert sum(share.requests or 0 for share in shares) == requests
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

    async def scenario():
        async with refusing() as server:
            pass  # from here on nothing listens there
        async with clients(2, HERE) as senders:
            assert list(senders.pids) == ["client-0", "client-1"]
            await senders.run(job(**server), asyncio.Event(), Hooks())

    with pytest.raises(TargetError, match="cannot be reached"):
        uvloop.run(scenario())


@contextlib.asynccontextmanager
async def refusing(asked=lambda: None):
    """What to do for a server that refuses all it is asked; `asked` is called each time."""

    async def refuse(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b'\r\n\r\n"')
                asked()
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        address = parse_address(f"http+json://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        endpoint = await HttpEndpoint.at(TargetOptions(address, body='"$input"', answer="text"))
        yield {"target": endpoint.spec(1, 1, None), "inputs": endpoint.inputs(RequestOptions(1, None, 1, 0))}


def test_what_clients_warn_of_is_logged_with_their_names(caplog):
    """Once for each reason and client, as one client would."""

    async def scenario():
        async with refusing() as server, clients(2, HERE) as senders:
            return await senders.run(job(**server, duration_s=None, requests=20), asyncio.Event(), Hooks())

    record = uvloop.run(scenario())
    assert record.outcomes[Outcome.FAILED] == 20
    warnings = [row for row in caplog.records if row.levelno >= logging.WARNING]
    assert sorted(row.getMessage() for row in warnings) == [
        f"client-{number}: requests fail: 503: Service Unavailable" for number in range(2)
    ]


@pytest.mark.parametrize(
    "length",
    [{"requests": 10**9, "duration_s": None}, {"arrivals": Renewal(100.0, 600.0, 1.0, 5)}],
    ids=["requests", "schedule"],
)
def test_a_client_that_falls_silent_is_lost(monkeypatch, caplog, length):
    """However long the run is; what the other measured is kept."""
    monkeypatch.setattr(module, "END_TIMEOUT_S", PATIENCE_S)

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), refusing() as server, clients(2, HERE) as senders:

            def halt(_):
                os.kill(senders.pids["client-1"], signal.SIGSTOP)

            return await senders.run(job(**server, **length, log_every_s=0.1), asyncio.Event(), Hooks(on_interval=halt))

    record = uvloop.run(scenario())
    assert (record.ended, len(record.clients)) == ("client_lost", 1)
    assert record.measured_ns > 0
    assert "client-1 is stopped by a signal or a debugger" in [row.getMessage() for row in caplog.records]


def test_a_client_that_falls_silent_does_not_outlast_the_users_patience(monkeypatch):
    """Though it had good reason to say nothing for long: it was warming up."""
    monkeypatch.setattr(module, "END_TIMEOUT_S", PATIENCE_S)

    async def scenario():
        begun, stop = asyncio.Event(), asyncio.Event()
        async with asyncio.timeout(DEADLINE_S), refusing(begun.set) as server, clients(2, HERE) as senders:

            async def interrupt():
                await begun.wait()
                os.kill(senders.pids["client-1"], signal.SIGSTOP)
                stop.set()

            run = senders.run(job(**server, warmup_s=600.0), stop, Hooks())
            return (await asyncio.gather(run, interrupt()))[0]

    record = uvloop.run(scenario())
    assert (record.ended, len(record.clients), record.measured_ns) == ("client_lost", 1, 0)


@pytest.mark.parametrize("warmup_s", [0.0, 600.0], ids=["measuring", "warming up"])
def test_a_client_that_stays_stopped_hands_in_its_record(monkeypatch, caplog, warmup_s):
    """It is continued for that; the run ends, since the load was not what was asked for."""
    monkeypatch.setattr(stopped, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(stopped, "PATIENCE_S", 0.2)

    async def scenario():
        begun = asyncio.Event()
        async with asyncio.timeout(DEADLINE_S), refusing(begun.set) as server, clients(2, HERE) as senders:

            async def stop():
                await begun.wait()
                os.kill(senders.pids["client-1"], signal.SIGSTOP)

            whole = job(**server, duration_s=600.0, warmup_s=warmup_s, log_every_s=0.1)
            return (await asyncio.gather(senders.run(whole, asyncio.Event(), Hooks()), stop()))[0]

    record = uvloop.run(scenario())
    assert (record.ended, len(record.clients)) == ("client_lost", 2)
    assert (record.measured_ns > 0) == (not warmup_s)
    assert record.sent == sum(record.outcomes.values()) > 0
    assert any(
        note.startswith("client-1 was stopped by a signal or a debugger once, for about ") for note in record.notes
    )
    assert any(text.startswith("client-1 is stopped for ") for text in caplog.messages)


def test_a_client_that_is_stopped_before_it_is_ready_is_an_error(monkeypatch):
    """Nothing was sent; the error names it."""
    monkeypatch.setattr(stopped, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(stopped, "PATIENCE_S", 0.2)

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), refusing() as server, clients(2, HERE) as senders:
            # It listens, and reads nothing.
            await until_listening(senders)
            os.kill(senders.pids["client-1"], signal.SIGSTOP)
            await senders.run(job(**server), asyncio.Event(), Hooks())

    with pytest.raises(LaunchError, match=r"^client-1 is stopped by a signal or a debugger$"):
        uvloop.run(scenario())


async def until_listening(senders):
    while len(list(senders._directory.glob("*.socket"))) < len(senders.pids):  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(0.01)


def test_a_client_that_falls_silent_with_its_record_is_lost(monkeypatch):
    """It had measured, but its results are unknown."""
    monkeypatch.setattr(module, "END_TIMEOUT_S", PATIENCE_S)

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), refusing() as server, clients(2, HERE) as senders:

            async def halt(phase):
                if phase is Phase.MEASURED_ENDS:
                    os.kill(senders.pids["client-1"], signal.SIGSTOP)

            return await senders.run(job(**server, duration_s=0.1), asyncio.Event(), Hooks(halt))

    record = uvloop.run(scenario())
    assert (record.ended, len(record.clients)) == ("client_lost", 1)


@pytest.mark.parametrize("phase", Phase)
def test_what_fails_beside_a_run_costs_nothing_of_it(phase):
    """It is a note of the record, as with one client."""

    async def fail(now):
        if now is phase:
            raise RuntimeError("as it was told")

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), refusing() as server, clients(2, HERE) as senders:
            return await senders.run(job(**server, warmup_s=0.1, duration_s=0.1), asyncio.Event(), Hooks(fail))

    record = uvloop.run(scenario())
    assert record.notes == [f"a reading {phase.value} failed: RuntimeError: as it was told"]
    assert (record.ended, len(record.clients)) == ("duration", 2)
    assert record.outcomes[Outcome.FAILED] > 0


def test_a_client_that_does_not_begin_with_its_being_ready_is_an_error():
    """With its name, and what it sent instead."""

    class Early:
        role = "client-1"

        async def log_tail(self):
            return "its log"

    async def scenario():
        client = Scripted([])
        client.role = Early.role
        client._process = Early()  # type: ignore[assignment]  # a double
        client.receive = lambda: asyncio.sleep(0, Finished(Record()))  # type: ignore[method-assign]  # a double
        await module.SharedRun([client], Hooks(), {}).run([job()], asyncio.Event())

    with pytest.raises(LaunchError, match=r"^client-1 sent a Finished before it was ready$") as caught:
        uvloop.run(scenario())
    assert caught.value.log_tail == "its log"


class Kept(Interval):
    """An interval that can be asked whether somebody keeps it."""


class Scripted(module._ClientLink):
    """A client process that sends what a test says."""

    def __init__(self, intervals):
        self._messages = self._script(intervals)

    def _script(self, intervals):
        yield Ready()
        yield from map(IntervalDone, intervals)
        yield Measured()
        yield Finished(Record())

    def send(self, message):
        pass

    def expect(self, within_s):
        pass

    async def receive(self):
        await asyncio.sleep(0)  # the others send something too
        return next(self._messages)


def test_intervals_are_merged_in_order_and_not_kept():
    """However many there are, and as far as all clients have sent them."""
    alive, merged, kept = [], [], []

    def intervals(count):
        for number in range(count):
            interval = Kept(float(number), 1.0, 0, None, None, 2.0, None)
            alive.append(weakref.ref(interval))
            yield interval

    def report(interval):
        merged.append((interval.end_s, interval.in_flight))
        kept.append(sum(each() is not None for each in alive))

    async def scenario():
        run = module.SharedRun([Scripted(intervals(50)), Scripted(intervals(40))], Hooks(on_interval=report), {})
        async with asyncio.timeout(DEADLINE_S):
            await run.run([job()] * 2, asyncio.Event())

    uvloop.run(scenario())
    assert merged == [(float(number), 4.0) for number in range(40)]
    assert max(kept) <= 4


def test_a_client_process_imports_what_its_target_needs():
    """And no library of another protocol or of the leader, each of which is some megabytes of every client."""
    code = (
        "import importlib, sys, loadgen.load.client_process\n"
        "for name in sys.argv[1].split():\n"
        "    importlib.import_module(f'loadgen.targets.{name}')\n"
        "    print(name, *(set(sys.modules) & set(sys.argv[2:])))"
    )
    others = ["aiohttp", "grpc", "google.protobuf", "hpack", "httptools", "PIL", "pydantic", "typer", "redis"]
    command = [sys.executable, "-c", code, "clipper balanced http_endpoint oip.grpc_target", *others]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.splitlines() == ["clipper", "balanced", "http_endpoint", "oip.grpc_target google.protobuf"]
