"""Reads one ZeroMQ socket from an asyncio loop in bursts, without a task or a future per message."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import length_hint
from typing import Any

import zmq
from typing_extensions import override

from frontend_launch import wire
from model_containers.data_types import Buffer

BURST = 128
"""Messages read before other work of the loop gets its turn."""

MAX_PARTS = 64
"""Of one message that are handed out, and of a longer one that are thrown away before the next message gets its turn.
"""

Frames = list[bytes | memoryview]


class SocketReader:
    """Calls `handle` for every message of a socket, then `drained` when a burst is over.

    ZeroMQ's descriptor is edge-triggered: it fires once when something changes, and any call on the socket can swallow
    that edge. So a burst that did not empty the socket comes back by itself, and a caller that sends on the same socket
    calls `check_again` afterwards. The loop reports an exception of `handle`; the messages behind that one are read all
    the same.

    Args:
        socket: stays the caller's to close.
        handle: gets the frames of one message.
        drained: called after each burst, even one without messages; None for nothing to do.
        receive: reads one message; None for a `Receiver`.
        burst: messages read before other work of the loop gets its turn.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        handle: Callable[[Frames], None],
        drained: Callable[[], None] | None = None,
        receive: Receiver | None = None,
        burst: int = BURST,
    ) -> None:
        self._handle, self._drained, self._most = handle, drained, burst
        self._receive = receive or Receiver(socket)
        self._loop = asyncio.get_running_loop()
        self._fd: int = socket.FD
        self._scheduled = self._paused = self._closed = False
        self._loop.add_reader(self._fd, self._on_ready)
        self._schedule()

    @property
    def paused(self) -> bool:
        """Whether reading is suspended."""
        return self._paused

    def pause(self) -> None:
        """Leave messages where they are: the sockets fill and senders slow down."""
        if not self._paused:
            self._paused = True
            # Nothing reads the descriptor now, so that the loop would find it ready at each turn.
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self._loop.add_reader(self._fd, self._on_ready)
            self._schedule()

    def check_again(self) -> None:
        """After a send on this socket: read what the send may have hidden."""
        if not self._scheduled and not self._receive.emptied():
            self._schedule()

    def close(self) -> None:
        """Stop reading; the socket stays open."""
        self._closed = True
        self._loop.remove_reader(self._fd)

    def _on_ready(self) -> None:
        if not self._scheduled:
            self._burst()

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
            for count in range(self._most):
                # What comes one by one is asked for: that costs less than the exception which ends a longer burst.
                emptied = count == 1 and self._receive.emptied()
                if emptied or self._paused:
                    break
                try:
                    frames = self._receive()
                except zmq.Again:
                    emptied = True
                    break
                except PartsLeft:
                    continue
                self._handle(frames)
            if self._drained is not None:
                self._drained()
        finally:
            # The descriptor has fired for these messages and will not do so again; also after an exception of `handle`.
            if not emptied and not self._paused:
                self._schedule()


_COPY_BELOW_BYTES = 2048
"""Payloads up to this size are cheaper copied than referred to."""

_COPY_SENT_BELOW_BYTES = 65_536
"""Last frames up to this size are copied; what is sent as it is comes back through a thread of pyzmq's own."""

_REQUEST_FRAMES = 1 + wire.REQUEST_FRAMES
"""Of a request, with the routing identity."""

# Plain numbers: the library's enumerations cost more than the calls that take them.
_NOW = int(zmq.NOBLOCK)
_NOW_AND_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_RCVMORE, _EVENTS, _POLLIN = int(zmq.RCVMORE), int(zmq.EVENTS), int(zmq.POLLIN)


class PartsLeft(Exception):  # noqa: N818 - no error: the reader asks again
    """Parts of a message that has too many were thrown away, and more are left."""


class Receiver:
    """Reads one whole message of a socket without waiting; of a very long one the first parts.

    The other parts are thrown away a few at a time, since a peer may send millions of them.

    Args:
        socket: of any kind.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        compiled = _compiled(socket)
        self._receive_frame, self._get = compiled.recv, compiled.get
        self._cut = False

    def __call__(self) -> Frames:
        """Read one message.

        Raises:
            zmq.Again: nothing is there.
            PartsLeft: it is not the turn of the next one yet.
        """
        if self._cut:
            self._throw_away()
        frame = self._receive_frame(_NOW, False)
        frames: Frames = [frame.bytes]
        while frame.more:
            if len(frames) == MAX_PARTS:
                self._cut = True
                break
            frame = self._receive_frame(_NOW, False)
            frames.append(frame.bytes)
        return frames

    def emptied(self) -> bool:
        """Whether nothing is there; the descriptor fires for what comes later."""
        return not self._get(_EVENTS) & _POLLIN

    def _throw_away(self) -> None:
        """Read on in a message that was cut, up to its end."""
        for _ in range(MAX_PARTS):
            self._receive_frame(_NOW)
            if not self._get(_RCVMORE):
                self._cut = False
                return
        raise PartsLeft


class RequestReceiver(Receiver):
    """Reads requests without asking after each frame whether there is another, which costs more than the frame.

    One call reads as many frames as a request has. No request is lost that way: a request ends with them. Otherwise the
    frames begin with shorter messages, which are not requests. Then the rest of the last message is read too, and if
    that is a request, its frames are the last ones. Large payloads are views on ZeroMQ's memory.

    Args:
        socket: a ROUTER.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        super().__init__(socket)
        self._copied = _COPIED
        self._next: Frames | None = None

    @override
    def __call__(self) -> Frames:
        """Read one request, or one or more messages that are not requests as one.

        Raises:
            zmq.Again: nothing is there.
            PartsLeft: it is not the turn of the next one yet.
        """
        if self._next is not None:
            frames, self._next = self._next, None
            if frames:
                return frames
            self._next = []  # until what was cut is thrown away
            self._throw_away()
            self._next = None
        frames = []
        try:
            frames.extend(map(self._receive_frame, _EACH_NOW, self._copied))
        except zmq.Again:  # whole messages only are handed out, so those were all shorter
            if not frames:
                raise
        if self._copied is _REFERRED:
            frames = [frame.buffer if isinstance(frame, zmq.Frame) else frame for frame in frames]  # type: ignore[unreachable]
        if self._get(_RCVMORE):
            return self._split(frames)
        self._copied = _COPIED if len(frames[-1]) < _COPY_BELOW_BYTES else _REFERRED
        return frames

    @override
    def emptied(self) -> bool:
        """Whether nothing is there; the descriptor fires for what comes later."""
        return self._next is None and super().emptied()

    def _split(self, frames: Frames) -> Frames:
        """Read the rest of the last message; what comes before a request is handed out first."""
        for _ in range(MAX_PARTS):
            frames.append(self._receive_frame(_NOW))
            if not self._get(_RCVMORE):
                break
        else:  # a message that is longer than a request
            self._next = []
            return frames
        request = frames[-_REQUEST_FRAMES:]
        if len(request[1]) or any(len(request[place]) != 4 for place in _NUMBERS):
            return frames
        self._next = request
        return frames[:-_REQUEST_FRAMES]


_COPIED = (True,) * _REQUEST_FRAMES
_REFERRED = (*_COPIED[:-1], False)
_EACH_NOW = (_NOW,) * _REQUEST_FRAMES
_NUMBERS = tuple(1 + place for place in wire.REQUEST_NUMBERS)
"""Where a request has its fields of four bytes, behind the identity and an empty frame."""


class Sender:
    """Sends whole messages without waiting.

    Args:
        socket: a ROUTER that refuses to send to peers that are not there.

    Attributes:
        unread: the peer that ended the last burst is there, and has too many messages that it does not read.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        compiled = _compiled(socket)
        self._send_frame, self._get = compiled.send, compiled.get
        self.unread = False

    def burst(self, frames: Sequence[Buffer], length: int, longer: Sequence[int] = ()) -> int:
        """Send messages of `length` frames each, back to back, until one is for a peer that is gone or does not read.

        Args:
            frames: of all messages in a row, each beginning with the routing identity.
            length: frames of one message.
            longer: places of the messages that have one small frame more, ascending.

        Returns:
            How many were sent.

        Raises:
            zmq.ZMQError: for any other reason one cannot be sent.
        """
        count = (len(frames) - len(longer)) // length
        largest = max(map(len, frames if longer else frames[length - 1 :: length]), default=0)
        flags = [*[_NOW_AND_MORE] * (length - 1), _NOW] * count
        copied = [*[True] * (length - 1), largest < _COPY_SENT_BELOW_BYTES] * count
        for before, place in enumerate(longer):
            end = length * (place + 1) + before
            flags.insert(end - 1, _NOW_AND_MORE)
            copied.insert(end, True)
        left = iter(frames)
        try:
            _run(map(self._send_frame, left, flags, copied))
        except zmq.ZMQError as error:
            # Which peer a message is for is said by its first frame, so that one and nothing else was refused.
            end = self._send_rest(error, frames, flags, copied, len(frames) - length_hint(left) - 1)
            return flags[:end].count(_NOW)
        return count

    def _send_rest(
        self, error: zmq.ZMQError, frames: Sequence[Buffer], flags: list[int], copied: list[bool], place: int
    ) -> int:
        """Go on where a message was refused, if its peer has read in the meantime; returns how many frames were sent.

        Args:
            error: why it was refused.
            frames: of the burst.
            flags: of each frame.
            copied: for each frame.
            place: of the first frame that was refused.
        """
        looked_at = -1
        while error.errno in (errno.EAGAIN, errno.EHOSTUNREACH):
            self.unread = error.errno == errno.EAGAIN
            if not self.unread or place == looked_at:
                return place
            self._get(_EVENTS)  # makes ZeroMQ look at what peers have read
            looked_at, left = place, iter(frames[place:])
            try:
                _run(map(self._send_frame, left, flags[place:], copied[place:]))
            except zmq.ZMQError as again:
                error, place = again, len(frames) - length_hint(left) - 1
            else:
                return len(frames)
        raise error

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


_run: Callable[[Iterable[object]], None] = deque[object](maxlen=0).extend
"""Run an iterator to its end, for what its steps do."""


def _compiled(socket: zmq.Socket[bytes]) -> Any:
    """A socket's compiled methods, without what pyzmq puts around them in Python."""
    return super(zmq.Socket, socket)
