"""The view on a terminal."""

import fcntl
import os
import pty
import struct
import termios
import threading
import time

import live_screens
import pytest
from live_screens import BEGAN_NS

from loadgen.feed.channel import Receiver, pair
from loadgen.feed.messages import Begin, Closed, LogLine, RunPlanned, Waits
from loadgen.live import terminal as module
from loadgen.live.process import Readings, follow
from loadgen.live.served import Served
from loadgen.live.state import State
from loadgen.live.terminal import Terminal, in_foreground


class Screen:
    """A pseudo terminal, and what is on it."""

    def __init__(self, columns=80, rows=24):
        self.ours, self.descriptor = pty.openpty()
        self.resize(columns, rows)

    def resize(self, columns, rows):
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def written(self):
        """What was written since the last call."""
        os.set_blocking(self.ours, False)
        text = b""
        try:
            while data := os.read(self.ours, 65536):
                text += data
        except BlockingIOError:
            return text.decode().replace("\r\n", "\n")
        return text.decode()

    def close(self):
        os.close(self.ours)
        os.close(self.descriptor)


@pytest.fixture
def screen():
    """Of 80 columns."""
    made = Screen()
    yield made
    made.close()


@pytest.fixture
def foreground(monkeypatch):
    """Whether the program is in the foreground; a list, to be changed."""
    state = [True]
    monkeypatch.setattr(module, "in_foreground", lambda _: state[0])
    monkeypatch.setenv("NO_COLOR", "1")
    return state


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        ("7 (a b) S 1 7 7 34816 7 4194304", True),
        ("7 (a) R) R 1 7 7 34816 7 4194304", True),
        ("7 (python) T 1 7 7 34816 7 4194304", False),  # Ctrl-Z
        ("7 (python) S 1 7 7 34816 3 4194304", False),  # the shell has the terminal
        ("7 (python) S 1 7 7 0 -1 4194304", False),
    ],
)
def test_only_a_program_in_the_foreground_has_the_terminal(stat, expected):
    """By its state and its groups."""
    assert in_foreground(stat) is expected


def test_the_view_is_drawn_in_place_below_the_log(screen, foreground):
    """The second drawing erases the first."""
    terminal, state = Terminal(screen.descriptor, os.getpid()), live_screens.measuring()
    state.take(LogLine("first"))
    terminal.draw(state, BEGAN_NS)
    drawn = screen.written()
    assert drawn.startswith("first\nloadgen rate")
    height = drawn.count("\n")
    state.take(LogLine("second"))
    terminal.draw(state, BEGAN_NS)
    assert screen.written().startswith(f"\r\x1b[{height - 1}A\x1b[Jsecond\nloadgen rate")
    assert terminal.shown == 2
    terminal.close()
    assert screen.written() == f"\r\x1b[{height - 1}A\x1b[J"
    terminal.close()
    assert screen.written() == ""


def test_lines_that_a_narrower_terminal_wraps_are_erased(screen, foreground):
    """Each takes two rows there."""
    terminal, state = Terminal(screen.descriptor, os.getpid()), live_screens.starting()
    terminal.draw(state, BEGAN_NS)
    screen.written()
    screen.resize(60, 24)
    terminal.close()
    assert screen.written() == "\r\x1b[3A\x1b[J"


def test_in_the_background_only_lines_are_written(screen, foreground):
    """Another program has the terminal; the view comes back below what that wrote."""
    terminal, state = Terminal(screen.descriptor, os.getpid()), live_screens.measuring()
    terminal.draw(state, BEGAN_NS)
    screen.written()
    foreground[0] = False
    state.take(LogLine("line"))
    terminal.draw(state, BEGAN_NS)
    assert screen.written() == "line\n"
    foreground[0] = True
    terminal.draw(state, BEGAN_NS)
    assert screen.written().startswith("loadgen rate")


@pytest.mark.parametrize("size", [(50, 24), (80, 3), (0, 0)])
def test_a_small_terminal_has_lines_only(screen, foreground, size):
    """There is no room for more."""
    screen.resize(*size)
    terminal, state = Terminal(screen.descriptor, os.getpid()), live_screens.measuring()
    state.take(LogLine("line"))
    terminal.draw(state, BEGAN_NS)
    assert screen.written() == "line\n"


def test_a_low_terminal_has_the_first_lines(screen, foreground):
    """The view is not taller than the terminal, which would scroll."""
    screen.resize(80, 5)
    terminal = Terminal(screen.descriptor, os.getpid())
    terminal.draw(live_screens.measuring(), BEGAN_NS)
    assert screen.written().count("\n") == 3


def test_the_process_draws_until_the_channel_is_closed(screen, foreground, tmp_path):
    """It leaves the terminal with the lines of the log, acknowledged."""
    sender, other = pair()
    readings = tmp_path / "readings"
    readings.write_text("{}\nhalf")
    for message in (
        Begin("rate"),
        Waits("replicas", time.monotonic_ns()),
        live_screens.planned(readings=str(readings)),
        LogLine("a line"),
        Closed(),
    ):
        assert sender.offer(message)
    follow(Receiver(other), Served(), Terminal(screen.descriptor, os.getpid()))
    written = screen.written()
    assert "a line\nloadgen rate" in written
    assert written.endswith("\x1b[J")
    assert sender.shown() == 1
    other.close()
    sender.close()


def test_the_process_ends_with_the_measurement():
    """Which did not say that it closed."""
    sender, other = pair()
    thread = threading.Thread(target=follow, args=(Receiver(other), Served(), None))
    thread.start()
    sender.offer(LogLine("line"))
    sender.close()
    thread.join(30)
    assert not thread.is_alive()
    other.close()


def test_readings_are_read_as_they_come(tmp_path):
    """Neither lines that are half written, nor lines that hold no reading."""
    import msgspec

    path = tmp_path / "readings"
    rows = [msgspec.json.encode(live_screens.reading(second).to_row()) for second in range(3)]
    readings = Readings(str(path))
    assert list(readings.new()) == []
    path.write_bytes(rows[0] + b"\nnone\n" + rows[1][:20])
    assert [each.at_ns for each in readings.new()] == [live_screens.reading(0).at_ns]
    path.write_bytes(rows[0] + b"\nnone\n" + rows[1] + b"\n" + rows[2] + b"\n")
    assert len(list(readings.new())) == 2
    assert list(readings.new()) == []
    assert list(Readings().new()) == []


def test_a_run_that_is_planned_has_its_readings():
    """The message names their file."""
    state = State()
    state.take(RunPlanned("noop", "", 0.0, 1.0, readings="file"))
    assert state.run is not None
    assert state.run.planned.readings == "file"
