"""The clients of a query frontend: their ids and connections, and answers sent to them in bursts."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import zmq

from frontend_launch import wire
from frontend_launch.clock import clock_id
from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.reader import Frames, Sender
from frontend_launch.sampling import Sampler
from model_containers.data_types import Buffer

IDS = 1 << 31
"""Client ids are 0 to 2^31 - 1."""

MAX_CLIENTS = 65_536
"""Client ids remembered; beyond it the one that was silent for longest is forgotten."""


class BatchTimes(NamedTuple):
    """What answers to a batch may say of where its time went.

    Attributes:
        under_way_ns: since when it was the batch under way of its replica, monotonic clock.
        model_ns: in the model call; None where the replica did not say.
    """

    under_way_ns: int
    model_ns: int | None


def random_ids() -> Iterator[int]:
    """Client ids from a random one on, in random steps that visit each once: no id is given twice.

    So a client of this process takes no answers that are for one of a process before it.
    """
    client_id, step = secrets.randbelow(IDS), 2 * secrets.randbelow(IDS // 2) + 1
    while True:
        yield client_id
        client_id = (client_id + step) % IDS


class ClientTable:
    """The clients of one response socket.

    Args:
        socket: a ROUTER that refuses to send to peers that are not there.
        gone: called with the id of a client that turned out to be gone, which is forgotten by then.
        ids: to hand out, each once; None for random ones.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], gone: Callable[[int], None], ids: Iterator[int] | None = None
    ) -> None:
        self._sender, self._gone = Sender(socket), gone
        self._identities: OrderedDict[int, bytes] = OrderedDict()
        self._announced: dict[int, bool] = {}
        """Clients that read times, and whether their clock is this process's."""
        self._clock, self._sampler = clock_id(), Sampler()
        self._ids = ids or random_ids()

    def register(self, frames: Frames) -> None:
        """Register a client: answer its handshake with a new client id.

        Raises:
            WireError: it is none.
        """
        identity, *message = frames
        clock = wire.decode_handshake(message)
        client_id = next(self._ids)
        self._identities[client_id] = bytes(identity)
        if clock is not None:
            self._announced[client_id] = bool(clock) and clock == self._clock
        if len(self._identities) > MAX_CLIENTS:
            self._announced.pop(self._identities.popitem(last=False)[0], None)
        if not self._sender.burst([self._identities[client_id], *wire.encode_handshake_reply(client_id)], 3):
            self._lose(client_id)

    def announced(self, client_id: int) -> bool:
        """Whether a client is one of this project, which reads more than the messages of 2017."""
        return client_id in self._announced

    def touch(self, client_id: int) -> bool:
        """Note a request of this client; False when the id is unknown."""
        if client_id not in self._identities:
            return False
        self._identities.move_to_end(client_id)
        return True

    def reads_failures(self, client_id: int) -> bool:
        """Whether no numbers tell this client that the model failed: those of 2017 take them for an answer."""
        return client_id in self._announced

    def answer(
        self,
        queries: Sequence[Query],
        output_type: int,
        outputs: Sequence[Buffer],
        times: BatchTimes | None = None,
    ) -> int:
        """Send each query its output; returns how many could be sent, the others' clients being gone.

        Args:
            queries: who asked.
            output_type: of all outputs.
            outputs: one for each query, raw.
            times: of their batch; None for queries that were in none.
        """
        answered = 0
        timed = self._timed(queries, times)
        while queries:
            known = [place for place, query in enumerate(queries) if query.client_id in self._identities]
            if len(known) < len(queries):
                queries, outputs = [queries[place] for place in known], [outputs[place] for place in known]
                timed = {new: timed[old] for new, old in enumerate(known) if old in timed}
            sent = self._send(queries, output_type, outputs, timed)
            answered += sent
            if sent == len(queries):
                break
            self._lose(queries[sent].client_id)
            queries, outputs = queries[sent:], outputs[sent:]
            timed = {place - sent: its for place, its in timed.items() if place >= sent}
        return answered

    def _timed(self, queries: Sequence[Query], times: BatchTimes | None) -> dict[int, wire.RequestTimes]:
        """The times of those that the sampler picks, by their places; it sees each query once."""
        if times is None or not queries or not self._announced:
            return {}
        now_ns = time.monotonic_ns()
        return {
            place: self._times(queries[place], times, now_ns)
            for place in self._sampler.pick(len(queries), now_ns)
            if queries[place].client_id in self._announced
        }

    def _send(
        self,
        queries: Sequence[Query],
        output_type: int,
        outputs: Sequence[Buffer],
        timed: dict[int, wire.RequestTimes],
    ) -> int:
        """Send as many as can be sent until one is for a client that is gone."""
        if not queries:
            return 0
        identities = [self._identities[query.client_id] for query in queries]
        request_ids = [query.request_id for query in queries]
        frames = wire.encode_response_burst(identities, request_ids, output_type, outputs, timed)
        return self._sender.burst(frames, 1 + wire.RESPONSE_FRAMES, [*timed])

    def _times(self, query: Query, batch: BatchTimes, now_ns: int) -> wire.RequestTimes:
        model_ns = 0 if batch.model_ns is None else batch.model_ns
        return wire.RequestTimes(
            arrived_ns=query.arrived_ns if self._announced[query.client_id] else 0,
            queue_ns=batch.under_way_ns - query.arrived_ns,
            rpc_ns=now_ns - batch.under_way_ns - model_ns,
            model_ns=-1 if batch.model_ns is None else model_ns,
        )

    def _lose(self, client_id: int) -> None:
        self._announced.pop(client_id, None)
        del self._identities[client_id]
        self._gone(client_id)
