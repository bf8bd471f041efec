"""Clients of several workers lead by one: shares, clocks, and what becomes of workers that are lost."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import replace

import pytest
import uvloop
from cluster_of_tests import abandoned, answering, seats
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch import supervision
from frontend_launch.errors import LaunchError
from frontend_launch.launch.placement import Assignment
from loadgen.errors import TargetError
from loadgen.load.arrivals import Renewal
from loadgen.load.client_messages import Finished, IntervalDone, Measured, Ready, encode
from loadgen.load.ending import Ending
from loadgen.load.input_files import FileInputs
from loadgen.load.record import Interval, Record
from loadgen.load.runner import Hooks
from loadgen.load.target import Outcome
from loadgen.workers import leader, supervisor
from loadgen.workers.leader import leading
from loadgen.workers.messages import PIECE_BYTES, News, Started, Worker, WorkerLostError, pieces, whole
from loadgen.workers.supervisor import Supervisor
from model_containers.model import TensorSpec

DEADLINE_S = 60.0
AHEAD_NS = 7_000_000_000_000


class Ahead(Supervisor):
    """A worker whose clock is ahead, as far as its leader can see."""

    async def clock(self):
        return await super().clock() + AHEAD_NS

    async def tell(self, orders):
        await super().tell([each._replace(at_ns=each.at_ns - AHEAD_NS) if each.at_ns else each for each in orders])


@pytest.mark.parametrize(("clients", "workers"), [(1, 1), (3, 2)])
def test_workers_share_a_job(clients, workers):
    """Counts agree with those of the server, and each worker has a row."""

    async def scenario():
        async with (
            asyncio.timeout(DEADLINE_S),
            answering() as (server, job),
            leading("x", seats(clients, workers)) as led,
        ):
            record = await led.run(job, asyncio.Event(), Hooks())
            return server.requests, record, led.workers, led.elsewhere

    requests, record, used, elsewhere = uvloop.run(scenario())
    assert (record.ended, record.sent, record.outcomes[Outcome.COMPLETED]) == (Ending.REQUESTS, 300, 300)
    assert requests == record.sent == sum(row.sent for row in used.workers)
    assert record.latency.total == sum(row.completed for row in used.workers)
    assert [row.name for row in used.workers] == [f"worker-{number}" for number in range(workers)]
    assert sorted(role for row in used.workers for role in row.clients) == [f"client-{n}" for n in range(clients)]
    assert used.start_skew_ms is not None
    roles = {f"client-{number}" for number in range(clients)} | {row.name for row in used.workers}
    assert {row.role for row, _ in elsewhere} == roles


def test_a_clock_that_is_ahead_moves_no_latency():
    """A start is agreed by the worker's clock, and what it tells is moved back."""

    async def scenario():
        workers = [Supervisor(abandoned), Ahead(abandoned)]
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(2, workers)) as led:
            job = replace(job, requests=None, arrivals=Renewal(200.0, 0.5, 1.0, 1), timeout_s=5.0, window=1000)
            return await led.run(job, asyncio.Event(), Hooks()), led.workers

    record, used = uvloop.run(scenario())
    offsets = [row.clock_offset_ns for row in used.workers]
    assert abs(offsets[0]) <= used.workers[0].clock_error_ms * 1e6
    assert abs(offsets[1] - AHEAD_NS) <= used.workers[1].clock_error_ms * 1e6
    assert record.offered is not None
    assert record.offered.planned == record.offered.answered
    assert record.latency.max_ns < AHEAD_NS / 100
    assert used.start_skew_error_ms == pytest.approx(sum(row.clock_error_ms for row in used.workers))


def killed(signal_number):
    """A hook that signals a client process of the second worker, once, when it has measured something."""

    def hooks(led):
        signalled: list[int] = []

        def halt(_):
            if not signalled:
                signalled.append(signal_number)
                os.kill({row.role: pid for row, pid in led.elsewhere}["client-1"], signal_number)

        return Hooks(on_interval=halt)

    return hooks


def test_a_client_that_dies_is_named_with_its_worker(caplog):
    """What the others measured is kept."""

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(2, 2)) as led:
            job = replace(job, requests=10**9)
            return await led.run(job, asyncio.Event(), killed(signal.SIGKILL)(led)), led.workers

    record, used = uvloop.run(scenario())
    assert (record.ended, len(record.clients)) == (Ending.CLIENT_LOST, 1)
    assert record.measured_ns > 0
    assert "worker-1 on node-1: client-1 ended early, with exit code -9" in used.faults
    assert used.start_skew_ms is not None
    assert any("client-1 ended early" in row.getMessage() for row in caplog.records)


def test_a_client_that_is_stopped_is_continued_for_its_record(monkeypatch):
    """As one of this machine is; the run is not as asked."""
    monkeypatch.setattr("frontend_launch.stopped.LOOK_EVERY_S", 0.05)

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(2, 2)) as led:
            job = replace(job, requests=10**9)
            return await led.run(job, asyncio.Event(), killed(signal.SIGSTOP)(led)), led.workers

    monkeypatch.setattr("frontend_launch.stopped.PATIENCE_S", 0.3)
    record, used = uvloop.run(scenario())
    assert (record.ended, len(record.clients)) == (Ending.CLIENT_LOST, 2)
    assert used.ended_by == "worker-1 on node-1: client-1 was stopped by a signal or a debugger"


class Played(Worker):
    """A worker without processes: its clients reach the server, measure an interval and end when they are told."""

    def __init__(self):
        self._news: asyncio.Queue[News] = asyncio.Queue()

    async def identity(self):
        return supervisor.identity()

    async def clock(self):
        return time.monotonic_ns()

    async def start(self, name, clients, cpus, taken=()):
        rows = [Assignment("here", f"client-{number}", (0,), None, shared=True) for number in clients]
        own = Assignment("here", name, (0,), None, shared=True)
        return Started((*rows, own), (1,) * len(rows) + (os.getpid(),), supervisor.began(os.getpid()))

    async def tell(self, orders):
        for client, what, _, _ in orders:
            for message in self._answers(what):
                for piece in pieces(client, encode(message)):
                    self._news.put_nowait(piece)

    def _answers(self, what):
        match what:
            case "begin":
                return [Ready()]
            case "start":
                return [IntervalDone(Interval(0.1, 0.1, 0, None, None, 1.0, None))]
            case "stop":
                return [Measured()]
            case "continue":
                return [Finished(Record(measured_from_ns=1, measured_ns=1))]
        return []

    async def news(self, wait_s):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                return [await self._news.get()]
        return []

    async def close(self):
        pass

    async def kill(self, pid, began_at):
        pass


class CutOff(Played):
    """A worker that is cut off once its clients have begun."""

    async def tell(self, orders):
        await super().tell(orders)
        for client, what, _, _ in orders:
            if what == "start":
                self._news.put_nowait(News(client, "cut off", text="the bridge is up"))


@pytest.mark.parametrize("most_bytes", [7, 100, 10**6])
def test_messages_in_pieces(monkeypatch, most_bytes):
    """Are put together again, for each client by itself."""
    monkeypatch.setattr("loadgen.workers.messages.PIECE_BYTES", most_bytes)

    async def scenario():
        workers, end = [Played(), Played()], asyncio.Event()
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(4, workers)) as led:
            return await led.run(replace(job, requests=10**9), end, Hooks(on_interval=lambda _: end.set()))

    assert uvloop.run(scenario()).measured_ns == 1


def test_a_run_that_is_cut_off_ends_with_what_was_measured(caplog):
    """It is not as asked, and says why once."""

    async def scenario():
        workers = [CutOff(), CutOff()]
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(2, workers)) as led:
            return await led.run(replace(job, requests=10**9), asyncio.Event(), Hooks()), led.workers

    record, used = uvloop.run(scenario())
    assert (record.ended, record.measured_ns) == (Ending.CLIENT_LOST, 1)
    assert used.faults == [f"worker-{n} on node-{n}: the bridge is up" for n in range(2)]
    assert [row.getMessage() for row in caplog.records if row.levelname == "ERROR"] == [
        "the bridge is up: the run ends"
    ]


def test_a_worker_that_is_cut_off_before_the_run_says_why():
    """Its clients may well answer."""

    class Unready(Played):
        async def tell(self, orders):
            for order in orders:
                self._news.put_nowait(News(order.client, "cut off", text="the bridge is up"))

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(1, [Unready()])) as led:
            await led.run(job, asyncio.Event(), Hooks())

    with pytest.raises(LaunchError, match=r"^worker-0 on node-0 \(10.0.0.0\): the bridge is up$"):
        uvloop.run(scenario())


@given(st.binary(max_size=300), st.integers(1, 20))
def test_pieces_make_the_message(frame, most_bytes):
    """Each but the last says that more follows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadgen.workers.messages.PIECE_BYTES", most_bytes)
        found = pieces(3, frame)
    assert whole(piece.frame for piece in found) == frame
    assert [piece.more for piece in found] == [True] * (len(found) - 1) + [False]
    assert all(piece.client == 3 and 0 < len(piece.frame) <= most_bytes for piece in found)


def test_an_answer_with_news_is_bounded():
    """A larger one would be handed over in another way, which needs more of the cluster."""

    async def scenario():
        worker, sizes = Supervisor(abandoned), []
        for piece in pieces(0, os.urandom(10 * PIECE_BYTES)):
            worker._news.put_nowait(piece)
        while found := await worker.news(0.0):
            sizes.append(sum(len(one.frame) for one in found))
        await worker.close()
        return sizes

    sizes = uvloop.run(scenario())
    assert sum(sizes) >= 10 * PIECE_BYTES
    assert max(sizes) <= supervision.ANSWER_BYTES
    assert len(sizes) == 6


def test_a_question_for_news_that_is_cancelled_as_they_come():
    """It ends, and they are there for the next one."""

    async def scenario():
        worker = Supervisor(abandoned)
        asking = asyncio.create_task(worker.news(DEADLINE_S))
        for _ in range(3):
            await asyncio.sleep(0)
        worker._news.put_nowait(News(0, "late", late_ns=7))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        found = await worker.news(DEADLINE_S)
        await worker.close()
        return found

    assert uvloop.run(scenario()) == [News(0, "late", late_ns=7)]


class Failing(Played):
    """A worker that fails at a call, or does not answer it."""

    def __init__(self, call, error):
        super().__init__()
        self.failing, self._error, self._call = False, error, call
        self.killed: list[tuple[int, int]] = []

    async def close(self):
        await self._or_fail("close", super().close())

    async def kill(self, pid, began_at):
        self.killed.append((pid, began_at))

    async def identity(self):
        return await self._or_fail("identity", super().identity())

    async def clock(self):
        return await self._or_fail("clock", super().clock())

    async def start(self, *arguments):
        return await self._or_fail("start", super().start(*arguments))

    async def news(self, wait_s):
        if self.failing:
            return await self._or_fail("news", super().news(wait_s))
        return await super().news(wait_s)

    async def _or_fail(self, call, work):
        if call != self._call:
            return await work
        work.close()
        if self._error is None:
            await asyncio.sleep(DEADLINE_S)
        raise self._error


@pytest.mark.parametrize("error", [WorkerLostError("its node died"), None], ids=["dies", "is silent"])
def test_a_worker_that_is_lost_in_mid_run_is_named(monkeypatch, error):
    """And the run ends with what the other measured."""
    monkeypatch.setattr(leader, "SILENCE_S", 0.5)
    monkeypatch.setattr(leader, "ASK_S", 0.05)
    failing = Failing("news", error)

    def begin_to_fail(_):
        failing.failing = True

    async def scenario():
        workers = [Played(), failing]
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(2, workers)) as led:
            job = replace(job, requests=10**9)
            return await led.run(job, asyncio.Event(), Hooks(on_interval=begin_to_fail)), led.workers

    record, used = uvloop.run(scenario())
    assert (record.ended, len(record.clients)) == (Ending.CLIENT_LOST, 1)
    how = "no answer for 0.5 s" if error is None else "lost: its node died"
    assert f"worker-1 on node-1: {how}" in used.faults


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        ("identity", None, r"worker-1 on node-1 \(10.0.0.1\) did not start within 0.5 s; see `ray status`"),
        ("start", WorkerLostError("gone"), r"worker-1 on node-1 \(10.0.0.1\) did not start: gone"),
        ("start", LaunchError("client-1 ended early"), r"worker-1 on node-1 \(10.0.0.1\): client-1 ended early"),
        ("clock", WorkerLostError("gone"), r"worker-1 on node-1 \(10.0.0.1\): lost: gone"),
        ("clock", None, r"worker-1 on node-1 \(10.0.0.1\): no answer for 0.5 s"),
    ],
)
def test_a_worker_that_does_not_begin_is_one_line(monkeypatch, call, error, text):
    """With its name and node."""
    monkeypatch.setattr(leader, "SILENCE_S", 0.5)
    monkeypatch.setattr(leader, "START_TIMEOUT_S", 0.5 if call == "identity" else 60.0)

    async def scenario():
        workers = [Failing("", None), Failing(call, error)] if call != "identity" else [Failing(call, error)] * 2
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(2, workers)[-1:]) as led:
            await led.run(job, asyncio.Event(), Hooks())

    text = text.replace("worker-1", "worker-0")
    with pytest.raises(LaunchError, match=text):
        uvloop.run(scenario())


@pytest.mark.parametrize(("there", "text"), [("0.0.1", "0.0.1"), ("", "from sources")], ids=["other", "sources"])
def test_a_worker_of_another_version_is_refused(monkeypatch, there, text):
    """Sources on the module path have none to name."""
    own = supervisor.identity()._replace(version="2.0")
    monkeypatch.setattr(leader, "identity", lambda: own)

    class Other(Played):
        async def identity(self):
            return own._replace(version=there)

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), leading("x", seats(1, [Other()])):
            pass

    with pytest.raises(
        LaunchError, match=rf"worker-0 on node-0 \(10.0.0.0\): has loadgen {text}, this machine 2.0; use"
    ):
        uvloop.run(scenario())


@pytest.mark.parametrize("error", [WorkerLostError("gone"), None], ids=["dies", "is silent"])
def test_a_worker_that_does_not_close_is_ended(monkeypatch, error):
    """By its process, and so are its clients."""
    monkeypatch.setattr(leader, "CLOSE_TIMEOUT_S", 0.1)
    failing = Failing("close", error)

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), leading("x", seats(1, [failing])):
            pass

    uvloop.run(scenario())
    assert failing.killed == [(os.getpid(), supervisor.began(os.getpid()))]


def test_only_the_process_that_was_meant_is_ended():
    """Not a later one of its number."""
    with subprocess.Popen(["sleep", "60"]) as process:
        began = supervisor.began(process.pid)
        supervisor.end_process(process.pid, began + 1)
        assert process.poll() is None
        supervisor.end_process(process.pid, began)
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
    supervisor.end_process(process.pid, supervisor.began(process.pid))


def test_a_worker_whose_node_is_gone_ends(monkeypatch):
    """Its parent is another one then."""
    monkeypatch.setattr(supervision, "PARENT_EVERY_S", 0.05)

    async def scenario():
        ended = asyncio.Event()
        worker = Supervisor(ended.set)
        worker._parent = 1 if os.getppid() != 1 else 2
        started = await worker.start("worker-0", (0,), 2)
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()
        return started.pids[0]

    with pytest.raises(ProcessLookupError):
        os.kill(uvloop.run(scenario()), 0)


def test_a_server_that_is_not_there_is_one_error_with_the_worker():
    """Which reached it from its own machine."""

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), leading("x", seats(2, 2)) as led:
            async with answering() as (_, job):
                pass
            await led.run(job, asyncio.Event(), Hooks())

    with pytest.raises(TargetError, match=r"client-[01] of worker-[01] on node-[01] \(10.0.0.[01]\): .*"):
        uvloop.run(scenario())


def test_a_file_that_only_a_node_lacks_is_one_error_with_the_worker(tmp_path):
    """The remedy is that of a file that the coordinator has."""
    missing = tmp_path / "inputs.npy"

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(2, 2)) as led:
            job = replace(job, inputs=FileInputs(missing, TensorSpec((3,), "float32"), None, None))
            await led.run(job, asyncio.Event(), Hooks())

    with pytest.raises(TargetError) as found:
        uvloop.run(scenario())
    text = rf"client-[01] of worker-[01] on node-[01] \(10.0.0.[01]\): {missing}: not on this node; copy it there"
    assert re.fullmatch(text, str(found.value))


def test_a_package_that_only_a_node_lacks_is_one_error_with_the_worker(monkeypatch, tmp_path):
    """A client finds it out when it opens its connections."""
    (tmp_path / "httptools.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)

    async def scenario():
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(2, 2)) as led:
            await led.run(job, asyncio.Event(), Hooks())

    with pytest.raises(TargetError, match=r"of worker-[01] on node-[01] .*: httptools is not installed; .*oip"):
        uvloop.run(scenario())


def test_a_run_that_is_stopped_leaves_no_process():
    """At once, with what was measured."""

    async def scenario():
        stop = asyncio.Event()
        async with asyncio.timeout(DEADLINE_S), answering() as (_, job), leading("x", seats(2, 2)) as led:
            record = await led.run(replace(job, requests=10**9), stop, Hooks(on_interval=lambda _: stop.set()))
            pids = [pid for row, pid in led.elsewhere if row.role.startswith("client")]
        return record, pids

    record, pids = uvloop.run(scenario())
    assert record.ended is Ending.STOPPED
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_whose_leader_is_gone_ends_its_clients(monkeypatch):
    """Once no request for news has come for the time of its lease."""
    monkeypatch.setattr(supervision, "LEASE_S", 0.2)
    monkeypatch.setattr(supervisor, "START_TIMEOUT_S", 0.0)

    async def scenario():
        ended = asyncio.Event()
        worker = Supervisor(ended.set)
        started = await worker.start("worker-0", (0,), 2)
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()
        return started.pids[0]

    with pytest.raises(ProcessLookupError):
        os.kill(uvloop.run(scenario()), 0)
