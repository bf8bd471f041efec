"""What a measurement tells its live process, and where the lines of its log go."""

import asyncio
import contextlib
import io
import logging
import os
import pty
import signal
import socket
import sys

import live_screens
import pytest

from frontend_launch.launch.placement import Assignment
from loadgen.errors import FieldError
from loadgen.feed import view as module
from loadgen.feed.channel import Receiver, pair
from loadgen.feed.messages import Begin, Closed, IntervalDone, LoadBegins, LogLine, Progress, RunEnds, Waits
from loadgen.feed.options import Endpoint, Live
from loadgen.feed.view import NO_VIEW, View, showing
from loadgen.load import runner
from loadgen.load.record import Interval

HERE = Assignment("here", "frontends", tuple(sorted(os.sched_getaffinity(0))), None, False)


class FakeProcess:
    """A live process that has started, and ends when it is told."""

    def __init__(self, starts):
        self.pid = 0
        self.exited = asyncio.get_running_loop().create_future()
        self.stdout = asyncio.StreamReader()
        if starts:
            self.stdout.feed_data(b"\n")
        self.stopped = False

    async def log_tail(self, lines):
        return "" if not self.exited.result() else "KeyError: 'it'"

    async def stop(self):
        self.stopped = True
        if not self.exited.done():
            self.exited.set_result(-15)


class Tty(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def terminal():
    """The only handler of the log, which writes there."""
    root, stream = logging.getLogger(), Tty()
    before, root.handlers = root.handlers, [logging.StreamHandler(stream)]
    level = root.level
    root.setLevel(logging.INFO)
    yield stream
    root.handlers = before
    root.setLevel(level)


def received(receiver):
    """All messages until now."""
    found = []
    with contextlib.suppress(BlockingIOError, EOFError):
        while True:
            found.append(receiver.receive())
    return found


@contextlib.asynccontextmanager
async def viewed(*, several=False, lines=False, starts=True):
    """A view with a fake process, and the receiver of its messages."""
    sender, other = pair()
    other.setblocking(False)
    process = FakeProcess(starts)
    view = View(sender, process, several)  # type: ignore[arg-type]
    if lines:
        view.lines = module._Lines(sender, module._terminal_handlers(), several)
        view.lines.divert()
    try:
        yield view, Receiver(other), process
    finally:
        if not process.exited.done():
            process.exited.set_result(0)
        await view.close()
        other.close()


def test_without_outputs_there_is_no_process():
    """And nothing is told."""

    async def act():
        async with showing(Live(), HERE, "rate", {}) as view:
            view.waits("replicas")
            view.progress("cells", 1, 2, "a", None)
            called: list[Interval] = []
            view.passing(called.append)(live_screens.interval(1))
            await view.place(HERE)
            return view, called, await view.notes()

    view, called, notes = asyncio.run(act())
    assert view is NO_VIEW
    assert (called, notes, dict(view.pids)) == ([live_screens.interval(1)], [], {})


def test_what_happens_is_told_in_order():
    """An interval after what else is done with it."""

    async def act():
        async with viewed() as (view, receiver, _):
            order: list[Interval] = []
            view.waits("replicas")
            view.run_planned(live_screens.planned())
            view.load_begins(5)
            view.passing(order.append)(live_screens.interval(1))
            view.run_ends()
            view.progress("cells", 1, None, "a", 2.0, at_most=True)
            assert order == [live_screens.interval(1)]
            await asyncio.sleep(0)
            return received(receiver), await view.notes()

    (waits, *others), notes = asyncio.run(act())
    assert isinstance(waits, Waits)
    assert others[:-1] == [
        live_screens.planned(),
        LoadBegins(5),
        IntervalDone(live_screens.interval(1)),
        RunEnds(),
    ]
    assert isinstance(others[-1], Progress)
    assert notes == []


def test_a_slow_process_misses_messages_which_is_said_once(terminal):
    """The run goes on, and its notes say how many."""

    async def act():
        async with viewed() as (view, receiver, _):
            pass_on = view.passing(lambda _: None)
            while not view._sender.dropped:
                pass_on(live_screens.interval(1))
            pass_on(live_screens.interval(2))
            received(receiver)
            pass_on(live_screens.interval(3))
            return received(receiver), await view.notes()

    (last,), notes = asyncio.run(act())
    assert (last.interval.end_s, last.dropped) == (9.0, 2)
    assert notes == ["the live output was slow: 2 messages dropped"]
    assert terminal.getvalue().count("the live output is slow") == 1


def test_a_process_that_ends_is_said_once(terminal):
    """Lines of the log go to the terminal again, those first that it had not shown."""

    async def act():
        async with viewed(lines=True) as (view, receiver, process):
            logging.info("shown")
            logging.info("not shown")
            receiver.acknowledge(1)
            process.exited.set_result(-9)
            await asyncio.sleep(0)
            logging.info("after")
            view.waits("nothing")
            return await view.notes(), dict(view.pids)

    notes, pids = asyncio.run(act())
    assert terminal.getvalue().splitlines() == [
        "",  # below what is left of the view
        "not shown",
        "the live output ended with exit code -9; the measurement goes on without",
        "after",
    ]
    assert notes == ["the live process ended with exit code -9: KeyError: 'it'"]
    assert pids == {}


def log_interval(number):
    """The periodic line of an interval."""
    runner.log_line(live_screens.interval(number))


def test_lines_of_intervals_are_written_in_the_end(terminal):
    """The other lines go above the view."""

    async def act():
        async with viewed(lines=True) as (_, receiver, _):
            logging.info("a")
            log_interval(1)
            logging.info("b")
            sent = received(receiver)
            receiver.acknowledge(2)
            assert terminal.getvalue() == ""
            return sent

    assert asyncio.run(act()) == [LogLine("a"), LogLine("b")]
    (line,) = terminal.getvalue().splitlines()
    assert line.startswith("p99: ")


def test_of_many_intervals_the_last_lines_are_written(terminal):
    """Where the others are is said."""

    async def act():
        async with viewed(lines=True):
            for number in range(1, module.LAST_INTERVALS + 4):
                log_interval(number)

    asyncio.run(act())
    first, *lines = terminal.getvalue().splitlines()
    assert first == "3 earlier intervals: see client_metrics in the results"
    assert len(lines) == module.LAST_INTERVALS


def test_of_several_runs_no_lines_of_intervals_are_written(terminal):
    """They would hide the lines of the runs."""

    async def act():
        async with viewed(lines=True, several=True) as (_, receiver, _):
            log_interval(1)
            logging.info("cell")
            receiver.acknowledge(1)

    asyncio.run(act())
    assert terminal.getvalue() == ""


def test_lines_that_do_not_fit_are_written_in_the_end(terminal):
    """None is lost, in their order."""

    async def act():
        async with viewed(lines=True) as (view, _, _):
            for number in range(300):
                logging.info("%d %s", number, "x" * 2000)
            assert view._sender.dropped

    asyncio.run(act())
    assert [int(line.split()[0]) for line in terminal.getvalue().splitlines()] == list(range(300))


def test_a_late_start_is_noted(monkeypatch):
    """The run begins without."""
    monkeypatch.setattr(module, "START_TIMEOUT_S", 0.01)

    async def act():
        async with viewed(starts=False) as (view, _, _):
            await view.place(HERE)
            return await view.notes()

    assert asyncio.run(act()) == ["the live process did not start within 0.01 s"]


def test_a_port_that_cannot_be_listened_on_is_refused():
    """Before anything starts."""

    async def act(number):
        async with showing(Live(prometheus=Endpoint("127.0.0.1", number)), HERE, "rate", {}):
            raise AssertionError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(FieldError, match=f"prometheus 127.0.0.1:{number}: cannot be listened on"):
            asyncio.run(act(number))


def test_a_number_that_is_no_port_is_refused():
    """By the option's name."""
    with pytest.raises(FieldError, match="web 70000: not a port; use 0 to 65535"):
        Live(web=Endpoint("127.0.0.1", 70000))


def test_without_a_terminal_there_is_no_view(monkeypatch):
    """As in a notebook; the process is there for other outputs."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert module._terminal() is None


def test_a_process_that_cannot_be_started_is_no_reason_to_fail(monkeypatch, terminal):
    """The measurement goes on without."""

    async def refused(*_, **__):
        raise OSError("no processes")

    monkeypatch.setattr(module, "start", refused)

    async def act():
        async with showing(Live(prometheus=Endpoint("127.0.0.1", 0)), HERE, "rate", {}) as view:
            return view

    assert asyncio.run(act()) is NO_VIEW
    assert "there is no live output: no processes" in terminal.getvalue()


def test_a_stopped_process_holds_nothing_up(terminal, monkeypatch):
    """A real one: it is placed, stopped by a signal, and ended."""
    ours, other = pty.openpty()
    output = os.fdopen(other, "w")
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.05)

    async def act():
        async with showing(Live(terminal=True), HERE, "rate", {"a": "b"}) as view:
            core = min(HERE.cores)
            await view.place(Assignment("here", "frontends", (core,), None, False))
            (pid,) = view.pids.values()
            assert os.sched_getaffinity(pid) == {core}
            os.kill(pid, signal.SIGSTOP)
            logging.info("line")
        return pid

    with output:
        pid = asyncio.run(act())
    os.close(ours)
    assert "line" in terminal.getvalue()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_message_begins_and_one_ends():
    """The tags are told first."""
    assert Begin("rate", {"a": "b"}).tags == {"a": "b"}
    assert Closed() == Closed()
