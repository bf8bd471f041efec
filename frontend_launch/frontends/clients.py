"""The clients of a query frontend: their ids and connections, and answers sent to them in bursts."""

from __future__ import annotations

import logging
import secrets
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import zmq

from frontend_launch import wire
from frontend_launch.clock import clock_id
from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.reader import Frames, Sender
from frontend_launch.frontends.seldom import Seldom
from frontend_launch.sampling import Sampler
from model_containers.data_types import Buffer

log = logging.getLogger(__name__)

IDS = 1 << 31
"""Client ids are 0 to 2^31 - 1."""

MAX_CLIENTS = 65_536
"""Client ids remembered that have asked something, and as many that have not; beyond it the one that was silent for
longest is forgotten, of those of the same kind."""

MAX_IDS_OF_CONNECTION = 16
"""Client ids of one connection; beyond it its oldest is forgotten."""

MAX_UNREAD = 131_072
"""Answers that may wait for a client that does not read. Their size has no bound: ZeroMQ crashes at times where this
changes while connections end."""


_FRAMES = 1 + wire.RESPONSE_FRAMES
"""Of an answer, with the routing identity."""


class BatchTimes(NamedTuple):
    """What answers to a batch may say of where its time went.

    Attributes:
        under_way_ns: since when it was the batch under way of its replica, monotonic clock.
        model_ns: in the model call; None where the replica did not say.
    """

    under_way_ns: int
    model_ns: int | None


class _Held(NamedTuple):
    """Answers of one type that are ready to be sent.

    Attributes:
        output_type: of all outputs.
        queries: who asked.
        outputs: one for each query, raw.
        times: of the answers that have one frame more, by their places, ascending.
    """

    output_type: int
    queries: list[Query]
    outputs: list[Buffer]
    times: dict[int, wire.RequestTimes]


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
        socket: a ROUTER that refuses to send to peers that are not there; not bound yet.
        gone: called with the id of a client that turned out to be gone, or does not read, which is forgotten by then.
        ids: to hand out, each once; None for random ones.

    Attributes:
        held: answers that are held.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], gone: Callable[[int], None], ids: Iterator[int] | None = None
    ) -> None:
        self._sender, self._gone = Sender(socket), gone
        self._warn = Seldom(log)
        self._identities: dict[int, bytes] = {}
        self._new: OrderedDict[int, None] = OrderedDict()
        """Those that have asked nothing yet, the oldest first."""
        self._asking: OrderedDict[int, None] = OrderedDict()
        """All others, the one that was silent for longest first."""
        self._ids_of: dict[bytes, list[int]] = {}
        self._announced: dict[int, bool] = {}
        """Clients that read times, and whether their clock is this process's."""
        self._clock, self._sampler = clock_id(), Sampler()
        self._ids = ids or random_ids()
        self._held: list[_Held] = []
        self.held = 0
        socket.setsockopt(zmq.SNDHWM, MAX_UNREAD)

    def register(self, frames: Frames) -> None:
        """Register a client: answer its handshake with a new client id.

        Raises:
            WireError: it is not a handshake.
        """
        identity, *message = frames
        identity = bytes(identity)
        clock = wire.decode_handshake(message)
        client_id = next(self._ids)
        self._identities[client_id] = identity
        self._new[client_id] = None
        if clock is not None:
            self._announced[client_id] = bool(clock) and clock == self._clock
        ids = self._ids_of.setdefault(identity, [])
        ids.append(client_id)
        if len(ids) > MAX_IDS_OF_CONNECTION:
            self._forget(ids[0])
        if len(self._new) > MAX_CLIENTS:
            self._forget(next(iter(self._new)))
        if not self._sender.burst([identity, *wire.encode_handshake_reply(client_id)], 3):
            self._lose(client_id)

    def _forget(self, client_id: int) -> None:
        identity = self._identities.pop(client_id)
        self._new.pop(client_id, None)
        self._asking.pop(client_id, None)
        self._announced.pop(client_id, None)
        ids = self._ids_of[identity]
        ids.remove(client_id)
        if not ids:
            del self._ids_of[identity]

    def announced(self, client_id: int) -> bool:
        """Whether a client is one of this project, which reads more than the messages of 2017."""
        return client_id in self._announced

    def touch(self, client_id: int) -> bool:
        """Note a request of this client; False when the id is unknown."""
        if client_id not in self._asking:
            return self._first_request(client_id)
        self._asking.move_to_end(client_id)
        return True

    def _first_request(self, client_id: int) -> bool:
        if client_id not in self._identities:
            return False
        del self._new[client_id]
        self._asking[client_id] = None
        if len(self._asking) > MAX_CLIENTS:
            self._forget(next(iter(self._asking)))
        return True

    def reads_failures(self, client_id: int) -> bool:
        """Whether an output of no numbers tells this client that the model failed; a client of 2017 reads an answer."""
        return client_id in self._announced

    def hold(
        self,
        queries: Sequence[Query],
        output_type: int,
        outputs: Sequence[Buffer],
        times: BatchTimes | None = None,
    ) -> None:
        """Hold the output of each query for the next `send_held`.

        Args:
            queries: who asked.
            output_type: of all outputs.
            outputs: one for each query, raw.
            times: of their batch; None for queries that were in none.
        """
        if not self._held or self._held[-1].output_type != output_type:
            self._held.append(_Held(output_type, [], [], {}))
        last = self._held[-1]
        for place, each in self._timed(queries, times).items():
            last.times[len(last.queries) + place] = each
        last.queries.extend(queries)
        last.outputs.extend(outputs)
        self.held += len(queries)

    def send_held(self) -> int:
        """Send the answers that are held; returns how many could be sent, the others' clients being gone."""
        held, self._held, self.held = self._held, [], 0
        queries: list[Query] = []
        frames: list[Buffer] = []
        longer: list[int] = []
        for each in held:
            self._encode(each, queries, frames, longer)
        answered = 0
        while queries:
            sent = self._sender.burst(frames, _FRAMES, longer)
            answered += sent
            if sent == len(queries):
                break
            client_id = queries[sent].client_id
            if self._sender.unread:
                self._warn("client %d does not read its answers: it gets no more", client_id)
            self._lose(client_id)
            while sent < len(queries) and queries[sent].client_id not in self._identities:
                sent += 1
            frames = frames[_FRAMES * sent + bisect_left(longer, sent) :]
            queries, longer = queries[sent:], [place - sent for place in longer if place >= sent]
        return answered

    def _encode(self, held: _Held, into: list[Query], frames: list[Buffer], longer: list[int]) -> None:
        """Append answers whose clients are there.

        Args:
            held: the answers.
            into: gets who asked.
            frames: gets the frames, in a row.
            longer: gets the places of the answers that have one frame more.
        """
        output_type, queries, outputs, times = held
        identity_of = self._identities.get
        identities = [found for query in queries if (found := identity_of(query.client_id)) is not None]
        if len(identities) < len(queries):
            known = [place for place, query in enumerate(queries) if query.client_id in self._identities]
            queries, outputs = [queries[place] for place in known], [outputs[place] for place in known]
            times = {new: times[old] for new, old in enumerate(known) if old in times}
        request_ids = [query.request_id for query in queries]
        longer.extend(len(into) + place for place in times)
        frames.extend(wire.encode_response_burst(identities, request_ids, output_type, outputs, times))
        into.extend(queries)

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

    def _times(self, query: Query, batch: BatchTimes, now_ns: int) -> wire.RequestTimes:
        model_ns = 0 if batch.model_ns is None else batch.model_ns
        return wire.RequestTimes(
            arrived_ns=query.arrived_ns if self._announced[query.client_id] else 0,
            queue_ns=batch.under_way_ns - query.arrived_ns,
            rpc_ns=now_ns - batch.under_way_ns - model_ns,
            model_ns=-1 if batch.model_ns is None else model_ns,
        )

    def _lose(self, client_id: int) -> None:
        if client_id in self._identities:
            self._forget(client_id)
            self._gone(client_id)
