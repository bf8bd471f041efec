"""A bounded channel to the live process: sending never waits; a message that does not fit is dropped and counted."""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct

from loadgen.feed.messages import Message

_COUNT = struct.Struct("<Q")
_MOST_BYTES = 1 << 20
"""The socket's buffer is smaller, and no message is larger than it."""


def pair() -> tuple[Sender, socket.socket]:
    """Both ends of a channel: the sender, and the socket of the receiver."""
    ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return Sender(ours), other


class Sender:
    """The end of the measurement. The kernel bounds what waits in the socket, some hundred kilobytes.

    Args:
        connection: to the live process, non-blocking; it keeps the boundaries of messages.

    Attributes:
        dropped: messages that did not fit.
        broken: the other end is closed.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._shown = 0
        self.dropped, self.broken = 0, False

    def offer(self, message: Message) -> bool:
        """Send a message if that is possible at once; returns whether it was."""
        if self.broken:
            return False
        try:
            self._socket.send(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))
        except (ConnectionError, BrokenPipeError):
            self.broken = True
            return False
        except OSError:  # it is full, or the message is larger than it
            self.dropped += 1
            return False
        return True

    def shown(self) -> int:
        """Lines of the log that the live process has shown."""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(_COUNT.size):
                (self._shown,) = _COUNT.unpack(data)
        return self._shown

    def finish(self) -> None:
        """Send no more; what was sent can still be read."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class Receiver:
    """The end of the live process.

    Args:
        connection: to the measurement.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        """To wait for the next message."""
        return self._socket.fileno()

    def receive(self) -> Message:
        """The next message; waits for it.

        Raises:
            EOFError: the other end is closed.
        """
        try:
            data = self._socket.recv(_MOST_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            raise EOFError
        message: Message = pickle.loads(data)  # noqa: S301 - of the process that started this one
        return message

    def acknowledge(self, shown: int) -> None:
        """Say how many lines of the log have been shown; where that does not fit, a later count says it."""
        with contextlib.suppress(OSError):
            self._socket.send(_COUNT.pack(shown), socket.MSG_DONTWAIT)
