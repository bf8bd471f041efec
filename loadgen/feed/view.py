"""What a measurement tells its live process, and the lines of its log that go through it to the terminal.

Telling never waits. Where the live process is slow, messages are dropped and counted; where it ends, the measurement
goes on without. No line of the log is lost: those that were not shown are written in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TextIO

from typing_extensions import override

from frontend_launch import scratch
from frontend_launch.affinity import pin
from frontend_launch.children import Command, Process, start
from frontend_launch.errors import LaunchError
from frontend_launch.launch.placement import Assignment
from frontend_launch.quantities import plural
from frontend_launch.tasks import to_completion
from loadgen.errors import FieldError
from loadgen.feed.channel import Sender, pair
from loadgen.feed.messages import (
    Begin,
    Closed,
    IntervalDone,
    LoadBegins,
    LogLine,
    Message,
    Progress,
    RunEnds,
    RunPlanned,
    Waits,
)
from loadgen.feed.options import Endpoint, Live
from loadgen.load.record import Interval
from loadgen.load.runner import is_interval_line

log = logging.getLogger(__name__)

LIVE = "live"
"""The role of the live process."""

START_TIMEOUT_S, CLOSE_TIMEOUT_S = 10.0, 2.0
"""Patience for the start of the live process, and for its end."""

MOST_LINES = 10_000
"""Lines of the log that are kept for the end, where they could not be shown."""

LAST_INTERVALS = 40
"""Lines of intervals that are written in the end: the view shows them in place."""


class View:
    """Tells a live process how a measurement goes; one without a process tells nothing.

    Args:
        sender: to the process.
        process: the live process.
        several: the measurement has several runs.
    """

    def __init__(self, sender: Sender | None = None, process: Process | None = None, several: bool = False) -> None:
        self._sender, self._process, self.several = sender, process, several
        self._started: asyncio.Task[None] | None = None
        self._late = self._said = self._closing = False
        self.lines: _Lines | None = None
        if process is not None:
            process.exited.add_done_callback(lambda _: self._gone())
            self._started = asyncio.create_task(self._start(process), name="start of the live process")

    async def _start(self, process: Process) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await process.stdout.readline()
        except TimeoutError:
            self._late = True

    @property
    def pids(self) -> Mapping[str, int]:
        """Process id of the live process, by role; none where there is no such process."""
        return {} if self._process is None or self._process.exited.done() else {LIVE: self._process.pid}

    async def place(self, beside: Assignment) -> None:
        """Have the live process run on these cores, and its start be over.

        Args:
            beside: whose cores it uses too.
        """
        if self._process is None or self._started is None:
            return
        await asyncio.shield(self._started)
        with contextlib.suppress(OSError):
            pin(self._process.pid, beside.cores)

    def tell(self, message: Message) -> None:
        """Hand over a message, if that is possible at once."""
        sender = self._sender
        if sender is None or sender.broken:
            return
        if not sender.offer(message) and not sender.broken and not self._said:
            self._said = True
            log.warning("the live output is slow: it misses some intervals, and the measurement goes on")

    def waits(self, what: str) -> None:
        """Load cannot begin before something.

        Args:
            what: such as ``2 replicas to load``.
        """
        self.tell(Waits(what, time.monotonic_ns()))

    def progress(
        self, unit: str, done: int, total: int | None, now: str, left_s: float | None, *, at_most: bool = False
    ) -> None:
        """How far a measurement of several runs is.

        Args:
            unit: of the runs.
            done: how many are done.
            total: of how many; None where that is not known.
            now: the one under way.
            left_s: time left; None where it is not known.
            at_most: it is a bound.
        """
        self.tell(Progress(unit, done, total, now, left_s, time.monotonic_ns(), at_most))

    def run_planned(self, planned: RunPlanned) -> None:
        """A run is about to begin."""
        self.tell(planned)

    def load_begins(self, at_ns: int) -> None:
        """The first request is sent."""
        self.tell(LoadBegins(at_ns))

    def run_ends(self) -> None:
        """The run is over."""
        self.tell(RunEnds())

    def passing(self, on_interval: Callable[[Interval], None]) -> Callable[[Interval], None]:
        """Hand over each interval, after something else.

        Args:
            on_interval: is done first.
        """
        if self._sender is None:
            return on_interval

        def both(interval: Interval) -> None:
            on_interval(interval)
            self.tell(IntervalDone(interval, 0 if self._sender is None else self._sender.dropped))

        return both

    async def notes(self) -> list[str]:
        """A line where live outputs missed something."""
        if self._sender is None or self._process is None:
            return []
        notes = [f"the live process did not start within {START_TIMEOUT_S:g} s"] if self._late else []
        if self._sender.dropped:
            notes.append(f"the live output was slow: {plural(self._sender.dropped, 'message')} dropped")
        if self._process.exited.done():
            said = await self._process.log_tail(lines=1)
            notes.append(f"the live process ended with exit code {self._process.exited.result()}{said and ': '}{said}")
        return notes

    def _gone(self) -> None:
        """The live process has ended."""
        if self._closing or self._process is None or self._sender is None:
            return
        self._sender.broken = True
        code = self._process.exited.result()
        if self.lines is not None:
            self.lines.restore(erased=not code)
        log.warning("the live output ended with exit code %d; the measurement goes on without", code)

    async def close(self) -> None:
        """Have the terminal as it was, with all lines of the log on it."""
        self._closing = True
        if self._sender is None or self._process is None:
            return
        if self._started is not None:
            self._started.cancel()
        self._sender.offer(Closed())
        self._sender.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.shield(self._process.exited)
        await self._process.stop()
        if self.lines is not None:
            self.lines.restore(erased=not self._process.exited.result())
        self._sender.close()


NO_VIEW = View()
"""Tells nothing."""


class _Lines(logging.Handler):
    """Hands the lines of the log that go to a terminal to the live process, and keeps those that it has not shown.

    Args:
        sender: to the live process.
        handlers: that write to the terminal.
        several: the measurement has several runs, whose lines of intervals are in their results only.
    """

    def __init__(self, sender: Sender, handlers: list[logging.StreamHandler[TextIO]], several: bool) -> None:
        super().__init__()
        self._sender, self._handlers, self._several = sender, handlers, several
        self._acknowledged = 0
        self._sent: deque[str] = deque()
        self._kept: deque[str] = deque(maxlen=MOST_LINES)
        self._intervals: deque[str] = deque(maxlen=LAST_INTERVALS)
        self.intervals = 0
        self._formatting = handlers[0]

    def divert(self) -> None:
        """Take the lines of the terminal's handlers."""
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
        root.addHandler(self)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self._formatting.format(record)
        except Exception:  # whatever a record holds: as other handlers do, so that a measurement goes on
            self.handleError(record)
            return
        if is_interval_line(record):
            self.intervals += 1
            self._intervals.append(text)
            return
        self._forget_shown()
        if self._sender.offer(LogLine(text)):
            self._sent.append(text)
        else:
            self._kept.append(text)

    def _forget_shown(self) -> None:
        shown = self._sender.shown()
        while self._acknowledged < shown and self._sent:
            self._sent.popleft()
            self._acknowledged += 1

    def restore(self, *, erased: bool) -> None:
        """Give the terminal back to its handlers, and write what was not shown.

        Args:
            erased: the view is not on the terminal any more; else writing begins below it.
        """
        root = logging.getLogger()
        if self not in root.handlers:
            return
        root.removeHandler(self)
        for handler in self._handlers:
            root.addHandler(handler)
        self._forget_shown()
        intervals = [] if self._several else list(self._intervals)
        earlier = self.intervals - len(intervals)
        if earlier and intervals:
            intervals.insert(0, f"{plural(earlier, 'earlier interval')}: see client_metrics in the results")
        texts = [*([] if erased else [""]), *self._sent, *self._kept, *intervals]
        with contextlib.suppress(OSError, ValueError):
            self._formatting.stream.write("".join(f"{text}\n" for text in texts))
        with contextlib.suppress(OSError, ValueError):
            self._formatting.flush()


@contextlib.asynccontextmanager
async def showing(
    live: Live, beside: Assignment, command: str, tags: Mapping[str, str], *, several: bool = False
) -> AsyncIterator[View]:
    """Live outputs while the context lasts; a measurement goes on without, where their process cannot be started.

    Args:
        live: which are wanted.
        beside: whose cores the live process uses.
        command: what is measured.
        tags: of the measurement.
        several: it has several runs.

    Raises:
        FieldError: a port cannot be listened on.
    """
    if not live.wanted:
        yield NO_VIEW
        return
    async with contextlib.AsyncExitStack() as stack:
        passed = {
            name: stack.enter_context(_listening(name, endpoint))
            for name, endpoint in (("prometheus", live.prometheus), ("web", live.web))
            if endpoint is not None
        }
        descriptors = {name: listener.fileno() for name, listener in passed.items()}
        addresses = {name: Endpoint(*listener.getsockname()) for name, listener in passed.items()}
        if live.terminal and (terminal := _terminal()) is not None:
            descriptors["terminal"] = terminal
            stack.callback(os.close, terminal)
        sender, other = pair()
        try:
            with other:
                directory = stack.enter_context(scratch.directory())
                descriptors["channel"] = other.fileno()
                options = [f"--{name}={descriptor}" for name, descriptor in descriptors.items()]
                arguments = ["-m", "loadgen.live.process", *options]
                process = await start(
                    Command(LIVE, arguments, beside.cores),
                    directory,
                    read_stdout=True,
                    pass_fds=tuple(descriptors.values()),
                )
        except (LaunchError, OSError) as error:
            sender.close()
            log.warning("there is no live output: %s", error)
            yield NO_VIEW
            return
        for listener in passed.values():
            listener.close()  # when the process ends, its ports refuse
        view = View(sender, process, several)
        if "terminal" in descriptors and (handlers := _terminal_handlers()):
            view.lines = _Lines(sender, handlers, several)
            view.lines.divert()
        view.tell(Begin(command, dict(tags)))
        for name, address in addresses.items():
            log.info("%s: http://%s%s", name, address, "/metrics" if name == "prometheus" else "/")
        try:
            yield view
        finally:
            await to_completion(view.close())


def _terminal() -> int | None:
    """A descriptor of standard output, if that is a terminal; None otherwise, as in a notebook."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = sys.stdout.fileno()
        # In the live process, the number itself is another file.
        return os.dup(descriptor) if os.isatty(descriptor) else None
    return None


def _terminal_handlers() -> list[logging.StreamHandler[TextIO]]:
    """The handlers of the log that write to a terminal."""
    return [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and getattr(handler.stream, "isatty", bool)()
    ]


@contextlib.contextmanager
def _listening(name: str, endpoint: Endpoint) -> Iterator[socket.socket]:
    """A socket that listens.

    Args:
        name: of the option.
        endpoint: where.

    Raises:
        FieldError: that cannot be.
    """
    try:
        listener = socket.create_server(tuple(endpoint), backlog=16)
    except OSError as error:
        problem = f"cannot be listened on ({os.strerror(error.errno or 0)})"
        raise FieldError(f"Live.{name}", str(endpoint), problem, "choose another port, or 0 for any free one") from None
    with listener:
        yield listener
