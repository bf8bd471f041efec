"""The 2017 client protocol of a query frontend: one DEALER out, one DEALER in, bursts without copies.

Requests leave on one socket and replies arrive on another, so reading never has to look at what sending
may have hidden; the receiving socket is read until it is empty, then waited for.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, repeat
from socket import AF_INET
from typing import Any

import numpy as np
import zmq
import zmq.asyncio
from typing_extensions import override

from frontend_launch import wire
from frontend_launch.clock import clock_id
from frontend_launch.contexts import end_context
from frontend_launch.patience import patience
from frontend_launch.quantities import plural
from loadgen.errors import TargetError, UnreachableError
from loadgen.load.inputs import Pool
from loadgen.load.target import (
    NO_REPLIES,
    Delivers,
    Delivery,
    Outcome,
    Replies,
    Single,
    Target,
    TargetSpec,
    TimedReply,
    Waits,
)
from loadgen.targets.client_limits import unreachable
from loadgen.targets.mailbox import LoggedReasons
from model_containers.credentials import Credentials, secure_client
from model_containers.data_types import Buffer, DataType
from model_containers.errors import WireError

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 10.0

_READS = (1, 15, *[32] * 15)
"""Replies read between two looks at the clock, up to the caller's turn. A reply is taken to have arrived when the
reading that it was part of was over: with one it is exact, and with 32 it is late by what 31 others took to read."""

_MEDIUM_READS = (1, 7, *[8] * 31)
"""The same for outputs of some kilobytes, each of which takes three times as long to read."""

_LARGE_READS = (1,) * 16
"""The same for large outputs, which ZeroMQ wants its memory back of."""

_COPY_BELOW_BYTES = 2048
"""Payloads up to this size are cheaper copied than referred to."""

_MEDIUM_OUTPUT_BYTES, _LARGE_OUTPUT_BYTES = 2048, 32_768
"""Outputs that are more than small, and those that are cheaper referred to than copied; at 16 KB a copy is."""

_WAIT_MS = 1
"""The longest wait for a reply without the event loop; ZeroMQ's timeouts are whole milliseconds."""

_LONGEST_REASON = 200
"""Characters of a frontend's reason that are told."""

_BURST = 64
"""Requests whose frames lie ready in a row; a call may send more."""

_FEW = 16
"""Fewer values are cheaper handled one by one than with numpy."""

_WIRE_ID = np.dtype("<i4")
_ID_MASK = 0x7FFFFFFF
"""Request ids are i32 on the wire; beyond two thousand million they start again from 0."""

# Plain numbers: the library's enumerations cost more than the calls that take them.
_NOW = int(zmq.NOBLOCK)
_NOW_AND_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS, _POLLIN = int(zmq.EVENTS), int(zmq.POLLIN)

_REQUEST_FLAGS = (*[_NOW_AND_MORE] * (wire.REQUEST_FRAMES - 1), _NOW)
_IDS = slice(wire.REQUEST_ID, None, wire.REQUEST_FRAMES)
_COPIED = (True,) * wire.RESPONSE_FRAMES
_REFERRED = (*_COPIED[:-1], False)
_run: Callable[[Iterable[object]], None] = deque[object](maxlen=0).extend
"""Run an iterator to its end, for what its steps do."""


@functools.cache
def _copied(replies: int, *, large: bool) -> tuple[bool, ...]:
    """Which frames of a reading are copied.

    The last one is referred to: it says itself whether another follows, for a tenth of what the socket takes to say so.

    Args:
        replies: most replies of the reading.
        large: outputs are referred to.
    """
    return (*(_REFERRED if large else _COPIED) * (replies - 1), *_REFERRED)


def _code(data_type: DataType) -> bytes:
    return int(data_type).to_bytes(4, "little")


_TYPES = {_code(data_type): data_type for data_type in DataType}
_TEXT = _code(DataType.STRINGS)
_QUOTED = 40
"""Bytes of an unexpected text that a reason quotes."""


def _wire_ids(first_id: int, count: int) -> list[bytes]:
    """The ids of requests as the wire has them.

    Args:
        first_id: of the first.
        count: how many.
    """
    if count < _FEW:
        return [(number & _ID_MASK).to_bytes(4, "little") for number in range(first_id, first_id + count)]
    ids: list[bytes] = (np.arange(first_id, first_id + count) & _ID_MASK).astype("<i4").view("V4").tolist()
    return ids


def _elements(data_type: DataType, size: int | None) -> str:
    """A number of bytes of a type, in words; any number for None."""
    if data_type is DataType.STRINGS:
        return "text"
    if size is None:
        return data_type.canonical
    elements, rest = divmod(size, data_type.element_bytes)
    return f"{size} bytes of {data_type.canonical}" if rest else plural(elements, data_type.canonical[:-1])


async def refuses(address: str) -> bool:
    """Whether nothing listens at an address, to which ZeroMQ would try to connect for ever.

    Args:
        address: of a frontend; only one of ``tcp://…`` can be tried.
    """
    transport, _, place = address.partition("://")
    if transport != "tcp":
        return False
    host, _, port = place.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port), family=AF_INET)  # as ZeroMQ does
    except ConnectionRefusedError:
        return True
    except OSError:  # ZeroMQ may reach it all the same; if not, the handshake does not come
        return False
    writer.transport.abort()
    return False


@dataclass(frozen=True, slots=True)
class ClipperSpec(TargetSpec):
    """A frontend, an application on it, and what its answers look like.

    Attributes:
        request_address: where the frontend reads requests, ``tcp://…`` or ``ipc://…``.
        response_address: where it hands out client ids and answers.
        application: the application to ask.
        output_type: the wire type of a good answer; None for any.
        output_bytes: the size of a good answer; None where it may vary.
        default_output: the bytes of the application's default output.
        keep_outputs: hand the answers' bytes on; without, they are forgotten as soon as they have been judged.
        credentials: that the frontend wants; None for none.
        own_replicas: its replicas are of this project, whose outputs of no numbers say that the model failed.
    """

    request_address: str
    response_address: str
    application: str
    output_type: DataType | None
    output_bytes: int | None
    default_output: bytes
    keep_outputs: bool = True
    credentials: Credentials | None = None
    own_replicas: bool = True

    @override
    def make(self) -> ClipperTarget:
        """Make the target, not yet open."""
        return ClipperTarget(self)


class ClipperTarget(Target, Waits, Delivers):
    """Sends to a frontend; see `ClipperSpec`."""

    def __init__(self, spec: ClipperSpec) -> None:
        self._spec = spec
        self._output_type = None if spec.output_type is None else _code(spec.output_type)
        self._known_reasons = LoggedReasons()
        self._text_that_came: str | None = None
        """The first text where numbers were expected: each may be another, and the reason is one."""
        self._sent = self._received = 0
        self._context = zmq.asyncio.Context()
        self._receiving, self._sending = self._context.socket(zmq.DEALER), self._context.socket(zmq.DEALER)
        for socket in (self._receiving, self._sending):
            # The requests in flight bound what waits here; a mark in messages would block or drop before that.
            socket.setsockopt(zmq.SNDHWM, 0)
            socket.setsockopt(zmq.RCVHWM, 0)
            socket.setsockopt(zmq.LINGER, 0)
            secure_client(socket, spec.credentials)
        # The blocking interface of the same sockets: with NOBLOCK a burst costs no future per message.
        self._in: zmq.Socket[bytes] = zmq.Socket.shadow(self._receiving)
        self._out: zmq.Socket[bytes] = zmq.Socket.shadow(self._sending)
        # The compiled methods without what `zmq.Socket` puts around them in Python: calls a frame are what counts here.
        self._send_frame: Callable[..., Any] = super(zmq.Socket, self._out).send
        self._receive_frame: Callable[..., Any] = super(zmq.Socket, self._in).recv
        self._get: Callable[[int], Any] = super(zmq.Socket, self._in).get
        self._shaking = self._broke = False
        self._last_bytes = 0
        """Size of the latest output; the next ones are taken to be as large."""
        self._wake: Callable[[], None] | None = None
        self._watched: int | None = None
        self._descriptor = select.poll()
        self._quiet = False
        """The socket was found empty, and its descriptor tells when that changes."""
        self._empty_ns = 0
        """When the receiving socket was last known to be empty; or, after a sleep, when a reply ended that."""

    @override
    async def open(self, pool: Pool) -> None:
        """Connect, get a client id, and frame the pool's inputs once.

        Raises:
            TargetError: nothing listens at a port, or there is no answer to the handshake within 10 s.
        """
        address = self._spec.response_address
        try:
            self._in.connect(address)
            self._out.connect(self._spec.request_address)
        except zmq.ZMQError as error:
            raise unreachable(f"{address}: ", str(error), error) from None
        try:
            async with patience(HANDSHAKE_TIMEOUT_S):
                for port, tried in (("response", address), ("request", self._spec.request_address)):
                    if await refuses(tried):
                        reason = os.strerror(errno.ECONNREFUSED)
                        remedy = f"check that a query frontend runs there, the host, and the port {{Ports.{port}}}"
                        raise UnreachableError(f"{tried}: cannot be reached: {reason}; {remedy}")
                await self._receiving.send_multipart(wire.encode_announcement(clock_id()))
                answer = await self._receiving.recv_multipart()
        except TimeoutError:
            raise TargetError(
                f"{address}: no handshake within {HANDSHAKE_TIMEOUT_S:.0f} s; check that a query frontend runs there, "
                "the host, the port {Ports.response}, and {Frontend.credentials} where it requires some"
            ) from None
        try:
            client_id = wire.decode_handshake_reply(answer)
        except WireError as error:
            raise TargetError(
                f"{address}: does not speak the client protocol: {error}; check the port {{Ports.response}}"
            ) from None
        self._frame(client_id, pool)
        self._in.setsockopt(zmq.RCVTIMEO, _WAIT_MS)
        self._breaks = self._in.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        asyncio.get_running_loop().add_reader(self._breaks.FD, self._on_break)
        self._on_break()  # the descriptor tells of a change only after a look has found none
        # From here on we look after the socket's descriptor ourselves: a future per sleep costs more than a call.
        self._watched = int(self._in.FD)
        self._descriptor.register(self._watched, select.POLLIN)
        asyncio.get_running_loop().add_reader(self._watched, self._on_change)

    def _on_break(self) -> None:
        """The connection for answers broke: shake hands again over the next one.

        A frontend that was restarted knows no client; what was outstanding there is answered no more.
        """
        broken = False
        while int(self._breaks.getsockopt(zmq.EVENTS)) & _POLLIN:
            self._breaks.recv_multipart(_NOW)
            broken = True
        if broken:
            log.warning("the connection to %s broke: the client shakes hands again", self._spec.response_address)
            self._shaking = self._broke = True
            self._in.send_multipart(wire.encode_announcement(clock_id()), _NOW)  # it waits for the next connection
            self._on_change()

    def _take_client_id(self, frames: list[Buffer]) -> list[Buffer]:
        """Take the answer to a second handshake out of what was read, and put the new id into the requests."""
        client_id, others = wire.take_handshake_reply(frames)
        if client_id is None:
            return frames
        self._shaking = False
        self._requests[1 :: wire.REQUEST_FRAMES] = [client_id.to_bytes(4, "little")] * self._laid_out
        log.info("the client shook hands with %s again", self._spec.response_address)
        return others

    def _frame(self, client_id: int, pool: Pool) -> None:
        """Lay out the frames of several turns through the pool, in the order of sending."""
        payloads = [
            bytes(payload) if len(payload) < _COPY_BELOW_BYTES else zmq.Frame(payload, copy=False)
            for payload in pool.payloads()
        ]
        no_ids = [0] * len(payloads)
        requests = wire.encode_request_burst(client_id, no_ids, self._spec.application, pool.data_type, payloads)
        turns = 1 - (-_BURST // len(payloads))  # from wherever a burst begins, it does not reach the end
        self._pool_size, self._laid_out = len(payloads), len(payloads) * turns
        self._requests, self._flags = requests * turns, [*_REQUEST_FLAGS] * self._laid_out

    @override
    def send(self, first_id: int, count: int, now_ns: int) -> None:
        """Hand requests to ZeroMQ, whose queue is bounded by what the caller keeps in flight."""
        ids = _wire_ids(first_id, count)
        sent = 0
        while sent < count:
            first = (first_id + sent) % self._pool_size
            some = min(count - sent, self._laid_out - first)
            frames = self._requests[wire.REQUEST_FRAMES * first : wire.REQUEST_FRAMES * (first + some)]
            frames[_IDS] = ids[sent : sent + some]
            _run(map(self._send_frame, frames, self._flags))
            sent += some
        self._sent = first_id + count

    @override
    def drain(self) -> Replies:
        """Read the replies that are there, some hundreds at most."""
        if self._quiet and not self._descriptor.poll(0):
            self._empty_ns = time.monotonic_ns()
            return NO_REPLIES
        return self._replies()

    @override
    def wait(self) -> Replies | Single:
        """Wait for a reply in a read that blocks: no look at the socket comes before it, nor after the last one."""
        frames, self._quiet = self._read(1, wait=True)
        if self._sent - self._received == 1 and not (self._spec.keep_outputs or self._shaking):
            reply = wire.decode_response(frames)
            if reply and reply[1] == self._output_type and len(reply[2]) == self._spec.output_bytes:
                self._empty_ns = time.monotonic_ns()
                self._received += 1
                self._last_bytes = len(reply[2])
                request_id = reply[0] if self._sent <= _ID_MASK else int(self._full_ids(np.array([reply[0]]))[0])
                return Single(request_id, self._empty_ns)
        if not frames:
            return NO_REPLIES
        self._empty_ns = time.monotonic_ns()
        return self._replies(frames)

    def _replies(self, frames: list[Buffer] | None = None) -> Replies:
        """Read replies.

        Args:
            frames: that were read already.
        """
        ids, outcomes, outputs, reasons = bytearray(), bytearray(), list[Buffer](), list[str]()
        counts, times_ns = list[int](), list[int]()
        timed = list[TimedReply]()
        for most in self._reads:
            if frames is None:
                # The first reading need not ask: a change of the socket is nearly always a reply.
                if counts and not self._readable():
                    self._empty_ns = time.monotonic_ns()
                    break
                frames, self._quiet = self._read(most)
            if self._shaking:
                frames = self._take_client_id(frames)
            if not frames:
                frames = None
                if self._quiet:
                    self._empty_ns = time.monotonic_ns()
                    break
                continue
            times_ns.append(time.monotonic_ns())
            burst, frames = wire.decode_response_burst(frames), None
            if burst.times:
                before = sum(counts)
                timed += [TimedReply(before + place, self._empty_ns, *row) for place, row in burst.times.items()]
            counts.append(len(burst.outputs))
            self._received += counts[-1]
            ids += burst.request_ids
            outcomes += self._outcomes(burst, reasons)
            if self._spec.keep_outputs:
                outputs += burst.outputs
            self._last_bytes = len(burst.outputs[-1])
            if self._quiet:
                self._empty_ns = times_ns[-1]
                break
        if not counts:
            return NO_REPLIES
        return Replies(
            self._full_ids(np.frombuffer(ids, _WIRE_ID).astype(np.int64)),
            np.array(times_ns) if len(times_ns) == len(outcomes) else np.repeat(times_ns, counts),
            np.frombuffer(outcomes, np.uint8),
            outputs,
            reasons,
            timed,
            more=not self._quiet,
        )

    @property
    def _reads(self) -> tuple[int, ...]:
        """Replies read between two looks at the clock."""
        if self._last_bytes < _MEDIUM_OUTPUT_BYTES:
            return _READS
        return _MEDIUM_READS if self._last_bytes < _LARGE_OUTPUT_BYTES else _LARGE_READS

    def _read(self, most: int, *, wait: bool = False) -> tuple[list[Buffer], bool]:
        """The frames of the next messages, and whether there are no more.

        Args:
            most: read as many frames as this number of replies has.
            wait: for the first.
        """
        frames: list[Any] = []
        flags = chain((0,), repeat(_NOW)) if wait else repeat(_NOW)
        large = self._last_bytes >= _LARGE_OUTPUT_BYTES
        try:
            # What was received before the socket was found empty stays in the list.
            frames.extend(map(self._receive_frame, flags, _copied(most, large=large)))
            emptied, last = False, len(frames) - 1
        except zmq.Again:
            emptied, last = True, len(frames)
        while not emptied and frames[-1].more:  # a message of another length has shifted the others
            frames.append(self._receive_frame(_NOW, False))
        if large:
            frames = [frame.buffer if isinstance(frame, zmq.Frame) else frame for frame in frames]
        else:
            frames[last:] = [frame.bytes for frame in frames[last:]]
        return frames, emptied

    def _outcomes(self, burst: wire.ResponseBurst, reasons: list[str]) -> bytes:
        """`Outcome` of each, and of those that failed the reason; where all are expected, without looking at each."""
        types, outputs = burst.output_types, burst.outputs
        if types.count(self._output_type or b"") == len(types) and {*map(len, outputs)} == {self._spec.output_bytes}:
            return bytes(len(types))  # the code of completed is 0
        outcomes = bytes(map(self._outcome, types, outputs))
        for place, outcome in enumerate(outcomes):
            if outcome == Outcome.FAILED:
                reasons.append(self._known_reasons.of(self._reason(types[place], outputs[place])))
        return outcomes

    def _outcome(self, output_type: Buffer, output: Buffer) -> Outcome:
        if output_type == _TEXT and output == self._spec.default_output:
            return Outcome.DEFAULTED
        expected = output_type == self._output_type or (self._output_type is None and bytes(output_type) in _TYPES)
        return Outcome.COMPLETED if expected and self._fits(output_type, len(output)) else Outcome.FAILED

    def _fits(self, output_type: Buffer, size: int) -> bool:
        """Whether a good answer may have this size: a frontend answers with no numbers where the model failed."""
        if self._spec.output_bytes is not None:
            return size == self._spec.output_bytes
        return output_type == _TEXT or (size > 0 and size % _TYPES[bytes(output_type)].element_bytes == 0)

    def _reason(self, output_type: Buffer, output: Buffer) -> str:
        """Why an answer is invalid: what came, and what was expected."""
        kind, expected = _TYPES.get(bytes(output_type)), self._spec.output_type
        if len(output_type) != 4:
            return "a message that is not an answer"
        if int.from_bytes(output_type, "little", signed=True) == wire.REFUSED:
            return f"the frontend refuses {str(output, 'utf-8', 'replace')[:_LONGEST_REASON]}"
        if kind is None:
            return f"an answer of the type {bytes(output_type).hex(' ')}, which does not exist"
        if not len(output) and expected in (None, kind):
            if self._spec.own_replicas:
                return "the model failed on the input: the log of its replica says why"
            expects = _elements(kind, self._spec.output_bytes)
            return f"no {kind.canonical} came, as from a replica whose model failed, {expects} expected"
        if kind is DataType.STRINGS:
            self._text_that_came = self._text_that_came or repr(bytes(output[:_QUOTED]).decode(errors="replace"))
            came = f"a text such as {self._text_that_came}"
        else:
            came = _elements(kind, len(output))
        return f"{came} came, {_elements(expected or kind, self._spec.output_bytes)} expected"

    def _full_ids(self, wire_ids: np.ndarray) -> np.ndarray:
        """The caller's ids: the latest sent one that looks so on the wire; one never sent stays as it is."""
        if self._sent <= _ID_MASK:
            return wire_ids
        # The distance modulo 2**31 says how many requests ago it was sent, since far fewer are ever in flight.
        newest = self._sent - 1
        full = newest - ((newest - wire_ids) & _ID_MASK)
        return np.where((wire_ids < 0) | (full < 0), wire_ids, full)

    @override
    def notify(self, wake: Callable[[], None]) -> None:
        """Call `wake` when a reply is there."""
        if self._quiet or not self._readable():
            self._wake = wake
        else:
            wake()

    def _on_change(self) -> None:
        """Something about the socket has changed, which need not be a reply."""
        if self._wake is None:
            self._readable()  # until a look the descriptor tells again and again
        else:
            self._quiet, self._empty_ns = False, time.monotonic_ns()
            wake, self._wake = self._wake, None
            wake()

    def _readable(self) -> bool:
        """Whether a reply is there; ZeroMQ's descriptor only tells of a change after such a look has found none."""
        self._quiet = not self._get(_EVENTS) & _POLLIN
        return not self._quiet

    @property
    @override
    def delivery(self) -> Delivery:
        address = self._spec.response_address
        note = f"the connection to {address} broke: requests that were outstanding there are not answered any more"
        return Delivery(notes=[note] if self._broke else [])

    @override
    async def close(self) -> None:
        """Disconnect; what is outstanding is left behind."""
        if self._watched is not None:
            # pyzmq does so only where it has watched it before us, which it has not when the handshake was quick. The
            # next socket with this number would not be heard of.
            asyncio.get_running_loop().remove_reader(self._watched)
            asyncio.get_running_loop().remove_reader(self._breaks.FD)
            self._in.disable_monitor()
        for socket in (self._receiving, self._sending):
            socket.close(linger=0)
        end_context(self._context)
