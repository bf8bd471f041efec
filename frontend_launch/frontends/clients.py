"""The clients of a query frontend: their ids and connections, and answers sent to them in bursts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import zmq

from frontend_launch import wire
from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.reader import Frames, Sender
from model_containers.data_types import Buffer, DataType

MAX_CLIENTS = 65_536
"""Client ids remembered; beyond it the one that was silent for longest is forgotten."""


class ClientTable:
    """The clients of one response socket.

    Args:
        socket: a ROUTER that refuses to send to peers that are not there.
        gone: called with the id of a client that turned out to be gone, which is forgotten by then.
    """

    def __init__(self, socket: zmq.Socket[bytes], gone: Callable[[int], None]) -> None:
        self._sender, self._gone = Sender(socket), gone
        self._identities: OrderedDict[int, bytes] = OrderedDict()
        self._next = 0

    def register(self, frames: Frames) -> None:
        """Register a client: answer its handshake with a new client id.

        Raises:
            WireError: it is none.
        """
        identity, *message = frames
        wire.check_handshake(message)
        client_id, self._next = self._next, self._next + 1
        self._identities[client_id] = bytes(identity)
        if len(self._identities) > MAX_CLIENTS:
            self._identities.popitem(last=False)
        if not self._sender.burst([self._identities[client_id], *wire.encode_handshake_reply(client_id)], 3):
            self._lose(client_id)

    def touch(self, client_id: int) -> bool:
        """Note a request of this client; False when the id is unknown."""
        if client_id not in self._identities:
            return False
        self._identities.move_to_end(client_id)
        return True

    def answer(self, queries: Sequence[Query], output_type: DataType, outputs: Sequence[Buffer]) -> int:
        """Send each query its output; returns how many could be sent, the others' clients being gone.

        Args:
            queries: who asked.
            output_type: of all outputs.
            outputs: one for each query, raw.
        """
        answered = 0
        while queries:
            known = [place for place, query in enumerate(queries) if query.client_id in self._identities]
            if len(known) < len(queries):
                queries, outputs = [queries[place] for place in known], [outputs[place] for place in known]
            identities = [self._identities[query.client_id] for query in queries]
            request_ids = [query.request_id for query in queries]
            sent = self._sender.burst(
                wire.encode_response_burst(identities, request_ids, output_type, outputs), 1 + wire.RESPONSE_FRAMES
            )
            answered += sent
            if sent == len(queries):
                break
            self._lose(queries[sent].client_id)
            queries, outputs = queries[sent:], outputs[sent:]
        return answered

    def _lose(self, client_id: int) -> None:
        del self._identities[client_id]
        self._gone(client_id)
