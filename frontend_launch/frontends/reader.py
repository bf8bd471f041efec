"""Reads one ZeroMQ socket from an asyncio loop in bursts, without a task or a future per message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from model_containers.wire import Buffer

BURST = 128
"""Messages read before other work of the loop gets its turn."""

Frames = list[bytes | memoryview]


class SocketReader:
    """Calls `handle` for every message of a socket, then `drained` when a burst is over.

    ZeroMQ's descriptor is edge-triggered: it fires once when something changes, and any call on the socket
    can swallow that edge. So a burst that did not empty the socket comes back by itself, and whoever sends
    on the same socket calls `look_again` afterwards. An exception of `handle` is the loop's to report; the messages
    behind that one are read all the same.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], handle: Callable[[Frames], None], drained: Callable[[], None] | None = None
    ) -> None:
        self._socket, self._handle, self._drained = socket, handle, drained
        self._receive = Receiver(socket)
        self._loop = asyncio.get_running_loop()
        self._fd: int = socket.FD
        self._scheduled = self._paused = self._closed = False
        self._loop.add_reader(self._fd, self._schedule)
        self._schedule()

    @property
    def paused(self) -> bool:
        """Whether reading is suspended."""
        return self._paused

    def pause(self) -> None:
        """Leave messages where they are: the sockets fill and senders slow down."""
        self._paused = True

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._schedule()

    def look_again(self) -> None:
        """After a send on this socket: read what the send may have hidden."""
        if not self._scheduled and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._schedule()

    def close(self) -> None:
        """Stop reading; the socket stays open."""
        self._closed = True
        self._loop.remove_reader(self._fd)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._burst)

    def _burst(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        emptied = False
        try:
            for _ in range(BURST):
                if self._paused:
                    break
                try:
                    frames = self._receive()
                except zmq.Again:
                    emptied = True
                    break
                self._handle(frames)
            if self._drained is not None:
                self._drained()
        finally:
            if not emptied and not self._paused:
                self._schedule()


_COPIED_FRAMES = 7
"""Frames before the payload of a request, routing identity included: small, and cheaper copied than referred to."""

_COPY_BELOW_BYTES = 2048
"""So are payloads up to this size."""

_COPY_SENT_BELOW_BYTES = 65_536
"""Last frames up to this size are copied; what is sent as it is comes back through a thread of pyzmq's own."""

# Plain numbers: the library's enumerations cost more than the calls that take them.
_NOW = int(zmq.NOBLOCK)
_NOW_AND_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_RCVMORE = int(zmq.RCVMORE)


class Receiver:
    """Reads whole messages without waiting; a large last frame is a view on ZeroMQ's own memory.

    Args:
        socket: whichever.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        compiled = _compiled(socket)
        self._receive_frame, self._get = compiled.recv, compiled.get
        self._copies = True

    def __call__(self) -> Frames:
        """Read one message.

        Raises:
            zmq.Again: none is there.
        """
        receive, get = self._receive_frame, self._get
        frames: Frames = [receive(_NOW)]
        while get(_RCVMORE):
            if self._copies or len(frames) < _COPIED_FRAMES:
                frames.append(receive(_NOW))
            else:
                frames.append(receive(_NOW, False).buffer)
        self._copies = len(frames[-1]) < _COPY_BELOW_BYTES  # payloads are mostly as large as the one before
        return frames


class Sender:
    """Sends whole messages without waiting.

    Args:
        socket: whichever.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._send_frame = _compiled(socket).send

    def __call__(self, frames: Sequence[Buffer]) -> None:
        """Send one message.

        Raises:
            zmq.ZMQError: it cannot be sent now, or the one it is for is not there.
        """
        send = self._send_frame
        for frame in frames[:-1]:
            send(frame, _NOW_AND_MORE)
        last = frames[-1]
        send(last, _NOW, len(last) < _COPY_SENT_BELOW_BYTES)


def _compiled(socket: zmq.Socket[bytes]) -> Any:
    """A socket's compiled methods, without what pyzmq puts around them in Python."""
    return super(zmq.Socket, socket)
