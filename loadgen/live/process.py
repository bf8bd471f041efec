"""The live process: ``python -m loadgen.live.process``. It draws what the measurement tells it, and serves it.

The process that sends does none of this, even with one client: it hands over a message for each logging interval.
This process ends when the measurement closes the channel, or with the process that started it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from loadgen.feed.channel import Receiver
from loadgen.feed.messages import RunPlanned
from loadgen.hardware.readings import Reading
from loadgen.live.served import Served
from loadgen.live.terminal import Terminal
from model_containers import lifeline, printable

DRAW_EVERY_S, LINES_WITHIN_S = 1.0, 0.05
"""Time between two drawings, and until lines of the log are shown."""

NICE = 10
"""It shares cores with the frontends, which come first."""


def main() -> None:
    """Draw and serve until the end."""
    parser = argparse.ArgumentParser(prog="python -m loadgen.live.process", description=__doc__)
    parser.add_argument("--channel", type=int, required=True, metavar="FD")
    parser.add_argument("--terminal", type=int, metavar="FD")
    parser.add_argument("--prometheus", type=int, metavar="FD", help="a socket that listens")
    parser.add_argument("--web", type=int, metavar="FD", help="likewise")
    arguments = parser.parse_args()
    lifeline.hold()
    printable.protect()
    os.nice(NICE)
    terminal = None if arguments.terminal is None else Terminal(arguments.terminal, os.getppid())
    served = Served()
    served.listen(arguments.prometheus, arguments.web)
    print(flush=True)  # noqa: T201 - this is what its parent waits for
    with socket.socket(fileno=arguments.channel) as connection:
        follow(Receiver(connection), served, terminal)


def follow(receiver: Receiver, served: Served, terminal: Terminal | None) -> None:
    """Take messages and readings, draw and serve, until the measurement closes the channel or is gone.

    Args:
        receiver: of the messages.
        served: the state, and who is told of its changes.
        terminal: None for none.
    """
    state, readings = served.state, Readings()
    due_s = time.monotonic()
    with contextlib.suppress(EOFError, OSError):  # the measurement is gone, or the terminal
        while not state.closed:
            ready, _, _ = select.select([receiver], [], [], max(0.0, due_s - time.monotonic()))
            if ready:
                message = receiver.receive()
                with served.changing():
                    state.take(message)
                if isinstance(message, RunPlanned):
                    readings = Readings(message.readings)
                if state.lines:
                    due_s = min(due_s, time.monotonic() + LINES_WITHIN_S)
            if time.monotonic() >= due_s or state.closed:
                due_s = time.monotonic() + DRAW_EVERY_S
                with served.changing():
                    for reading in readings.new():
                        if state.run is not None:
                            state.run.read(reading)
                if terminal is not None:
                    terminal.draw(state, time.monotonic_ns())
                    receiver.acknowledge(terminal.shown)
        if terminal is not None:
            terminal.close()
    served.close()


class Readings:
    """The readings of the sampler, from its file.

    Args:
        path: of the file; empty for none.
    """

    def __init__(self, path: str = "") -> None:
        self._path, self._offset = Path(path) if path else None, 0

    def new(self) -> Iterator[Reading]:
        """Those that came since the last call."""
        if self._path is None:
            return
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # half written
                self._offset += len(line)
                with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError, ValueError):
                    yield Reading.from_row(msgspec.json.decode(line))


if __name__ == "__main__":
    main()
