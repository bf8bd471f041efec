"""The live view, on a terminal of its own."""

import fcntl
import json
import os
import pty
import signal
import struct
import termios
from pathlib import Path

import pytest
from program import BRIEFLY, noop

COLUMNS, ROWS = 100, 40
IN_FLIGHT = "\nin flight   "
"""The view has an interval."""


class OnTerminal:
    """The program on a terminal, as its leader.

    Attributes:
        written: to the terminal, until now.
    """

    def __init__(self, words):
        self.pid, self._terminal = pty.fork()
        if not self.pid:
            environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"}
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            os.execvpe(words[0], words, environment)
        os.set_inheritable(self._terminal, False)
        self.written = ""

    def until(self, text):
        """Read until a text is there, or the program has ended."""
        while text not in self.written:
            try:
                data = os.read(self._terminal, 65_536)
            except OSError:  # Linux: its other end is closed
                break
            self.written += data.decode(errors="replace").replace("\r\n", "\n")
        return text in self.written

    def type(self, key):
        """Type a key."""
        os.write(self._terminal, key)

    def ended(self):
        """Its exit code."""
        self.until("\0 no text has this")
        _, status = os.waitpid(self.pid, 0)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)

    def live_process(self):
        """The process id of its live process."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        found = [child for child in children if b"loadgen.live.process" in Path(f"/proc/{child}/cmdline").read_bytes()]
        return int(found[0])


@pytest.fixture
def terminal(tmp_path):
    """A run of some seconds on a terminal."""
    words = noop(tmp_path, "saturate", *BRIEFLY, "--duration", "3s", "--log-every", "300ms", "--tag", "a=b")
    program = OnTerminal(words)
    yield program
    program.until("\0 no text has this")


def saved(tmp_path):
    (path,) = (tmp_path / "results").glob("results-*.json")
    return json.loads(path.read_text())


def test_a_run_outlives_its_view(terminal, tmp_path):
    """SIGKILL ends the live process: no line of the log is lost, and the results have their note."""
    assert terminal.until(IN_FLIGHT)
    assert "] p99: " not in terminal.written
    os.kill(terminal.live_process(), signal.SIGKILL)
    assert terminal.ended() == 0
    assert "the live output ended with exit code -9; the measurement goes on without" in terminal.written
    assert "1 of 1 replicas ready" in terminal.written
    assert terminal.written.count("] p99: ") >= 6
    results = saved(tmp_path)
    assert "the live process ended with exit code -9" in results["notes"]
    assert results["tags"] == {"a": "b"}


def test_ctrl_c_leaves_a_clean_terminal(terminal, tmp_path):
    """The view is erased, and the cursor was never hidden."""
    assert terminal.until(IN_FLIGHT)
    terminal.type(b"\x03")
    assert terminal.ended() == 130
    assert "\x1b[?25l" not in terminal.written
    last = terminal.written.rpartition("\x1b[J")[2]
    assert "loadgen: interrupted" in last
    assert saved(tmp_path)["ended"] == "interrupted"
