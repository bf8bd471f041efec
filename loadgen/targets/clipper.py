"""A frontend of the 2017 client protocol: one DEALER out, one DEALER in, bursts without copies.

Requests leave on one socket and replies arrive on another, so reading never has to look at what sending
may have hidden; the receiving socket is read until it is empty, then waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import zmq
import zmq.asyncio

from frontend_launch import wire
from loadgen.errors import TargetError
from loadgen.inputs import Pool
from loadgen.targets.target import Outcome, Replies
from model_containers.errors import WireError
from model_containers.wire import DataType

HANDSHAKE_TIMEOUT_S = 10.0
MAX_DRAIN = 512
"""Replies read before the caller gets its turn."""

_COPY_BELOW_BYTES = 2048
"""Payloads up to this size are cheaper copied than referred to."""

_ID_MASK = 0x7FFFFFFF
"""Request ids are i32 on the wire; beyond two thousand million they start again from 0."""

_MORE = zmq.NOBLOCK | zmq.SNDMORE


@dataclass(frozen=True, slots=True)
class ClipperSpec:
    """A frontend, an application on it, and what its answers look like.

    Attributes:
        request_address: where the frontend reads requests, ``tcp://…`` or ``ipc://…``.
        response_address: where it hands out client ids and answers.
        application: the application to ask.
        output_type: the wire type of a good answer.
        output_bytes: the size of a good answer; None where it may vary.
        default_output: the bytes of the application's default output.
    """

    request_address: str
    response_address: str
    application: str
    output_type: DataType
    output_bytes: int | None
    default_output: bytes

    def make(self) -> ClipperTarget:
        """Make the target, not yet open."""
        return ClipperTarget(self)


class ClipperTarget:
    """See `ClipperSpec`; implements `loadgen.targets.target.Target`."""

    def __init__(self, spec: ClipperSpec) -> None:
        self._spec = spec
        self._sent = 0
        self._next: asyncio.Future[list[bytes]] | None = None
        self._context = zmq.asyncio.Context()
        self._receiving = self._context.socket(zmq.DEALER)
        self._sending = self._context.socket(zmq.DEALER)
        for socket in (self._receiving, self._sending):
            # The requests in flight bound what waits here; a mark in messages would block or drop before that.
            socket.setsockopt(zmq.SNDHWM, 0)
            socket.setsockopt(zmq.RCVHWM, 0)
            socket.setsockopt(zmq.LINGER, 0)
        # The blocking interface of the same sockets: with NOBLOCK a burst costs no future per message.
        self._in: zmq.Socket[bytes] = zmq.Socket.shadow(self._receiving)
        self._out: zmq.Socket[bytes] = zmq.Socket.shadow(self._sending)

    async def open(self, pool: Pool) -> None:
        """Connect, get a client id, and frame the pool's inputs once.

        Raises:
            TargetError: nobody answers the handshake within 10 s.
        """
        address = self._spec.response_address
        try:
            self._receiving.connect(address)
            self._sending.connect(self._spec.request_address)
        except zmq.ZMQError as error:
            raise TargetError(f"{address} is not an address that can be connected to: {error}") from None
        self._in.send_multipart(wire.HANDSHAKE)
        if not await self._receiving.poll(HANDSHAKE_TIMEOUT_S * 1000):
            raise TargetError(
                f"no handshake from {address} within {HANDSHAKE_TIMEOUT_S:.0f} s: is a query frontend running there? "
                "Check the host and --response-port"
            )
        try:
            client_id = wire.decode_handshake_reply(self._in.recv_multipart())
        except WireError as error:
            raise TargetError(f"{address} does not speak the client protocol: {error}; check --response-port") from None
        self._frame(client_id, pool)

    def _frame(self, client_id: int, pool: Pool) -> None:
        payloads = pool.payloads()
        input_type = pool.data_type
        self._shared = [
            wire.request_frames(client_id, self._spec.application, input_type, len(payload)) for payload in payloads
        ]
        self._copy = [len(payload) < _COPY_BELOW_BYTES for payload in payloads]
        self._payloads = [
            bytes(payload) if copy else zmq.Frame(payload, copy=False)
            for payload, copy in zip(payloads, self._copy, strict=True)
        ]
        self._output_type = int(self._spec.output_type).to_bytes(4, "little")
        self._default_type = int(DataType.STRINGS).to_bytes(4, "little")

    def send(self, first_id: int, count: int, now_ns: int) -> None:
        """Hand requests to ZeroMQ, whose queue is bounded by what the caller keeps in flight."""
        send = self._out.send
        ids = (np.arange(first_id, first_id + count) & _ID_MASK).astype("<i4").tobytes()
        pool_size = len(self._payloads)
        for index in range(count):
            which = (first_id + index) % pool_size
            shared = self._shared[which]
            send(b"", _MORE)
            send(shared.client_id, _MORE)
            send(ids[4 * index : 4 * index + 4], _MORE)
            send(shared.application, _MORE)
            send(shared.input_type, _MORE)
            send(shared.element_count, _MORE)
            send(self._payloads[which], zmq.NOBLOCK, copy=self._copy[which])
        self._sent = first_id + count

    def drain(self) -> Replies:
        """Read the replies that are there, at most `MAX_DRAIN`."""
        receive, get, clock = self._in.recv, self._in.getsockopt, time.monotonic_ns
        ids, done_ns, outcomes, outputs = bytearray(), [], bytearray(), []
        frames = self._received()
        try:
            for _ in range(MAX_DRAIN):
                if frames is None:
                    frames = [receive(zmq.NOBLOCK)]
                    while get(zmq.RCVMORE):
                        frames.append(receive(zmq.NOBLOCK))
                done_ns.append(clock())
                if len(frames) == 4 and len(frames[1]) == 4:
                    ids += frames[1]
                    outcomes.append(self._outcome(frames[2], frames[3]))
                    outputs.append(frames[3])
                else:
                    ids += b"\xff\xff\xff\xff"
                    outcomes.append(Outcome.FAILED)
                    outputs.append(b"")
                frames = None
        except zmq.Again:
            pass
        return Replies(
            self._full_ids(np.frombuffer(ids, dtype="<i4").astype(np.int64)),
            np.array(done_ns, dtype=np.int64),
            np.frombuffer(outcomes, dtype=np.uint8),
            outputs,
        )

    def _outcome(self, output_type: bytes, output: bytes) -> Outcome:
        expected_bytes = self._spec.output_bytes
        if output_type == self._output_type and (
            len(output) == expected_bytes
            if expected_bytes is not None
            else len(output) > 0 and len(output) % self._spec.output_type.element_bytes == 0
        ):
            return Outcome.COMPLETED
        if output_type == self._default_type and output == self._spec.default_output:
            return Outcome.DEFAULTED
        return Outcome.FAILED

    def _full_ids(self, wire_ids: np.ndarray) -> np.ndarray:
        """The caller's ids: the latest sent one that looks so on the wire; one never sent stays as it is."""
        newest = self._sent - 1
        full = newest - ((newest - wire_ids) & _ID_MASK)
        return np.where((wire_ids < 0) | (full < 0), wire_ids, full)

    def notify(self, wake: Callable[[], None]) -> None:
        """Have the event loop receive the next reply, which `drain` will hand out first."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._receiving.recv_multipart())
            self._next.add_done_callback(lambda _: wake())

    def _received(self) -> list[bytes] | None:
        """The reply that the event loop received, if it did."""
        if self._next is None or not self._next.done():
            return None
        future, self._next = self._next, None
        return None if future.cancelled() else future.result()

    async def close(self) -> None:
        """Disconnect; what is outstanding is left behind."""
        self._context.destroy(linger=0)
