"""Admits to the sockets of a query frontend who has the client key of its deployment (ZeroMQ's ZAP, RFC 27)."""

from __future__ import annotations

import hmac
import logging

import zmq
from zmq.utils import z85

from frontend_launch.frontends.reader import Frames, SocketReader
from model_containers.credentials import Credentials

log = logging.getLogger(__name__)

_ADDRESS = "inproc://zeromq.zap.01"
"""Where ZeroMQ asks, in each context."""

_VERSION = b"1.0"


class Admission:
    """Answers ZeroMQ about each peer that connects, from `open` to `close`.

    Args:
        context: of the sockets.
        credentials: of the deployment.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], credentials: Credentials) -> None:
        self._key = z85.decode(credentials.client_public)
        self._refused = 0
        self._socket = context.socket(zmq.REP)
        self._socket.bind(_ADDRESS)

    def open(self) -> None:
        """Answer from the running loop."""
        self._reader = SocketReader(self._socket, self._on_request)

    def close(self) -> None:
        """Answer no more; the socket stays open."""
        self._reader.close()

    def _on_request(self, frames: Frames) -> None:
        _, request_id, _, address, _, mechanism, *keys = map(bytes, frames)
        known = mechanism == b"CURVE" and len(keys) == 1 and hmac.compare_digest(keys[0], self._key)
        if not known:
            self._refused += 1
            if self._refused == 1:
                text = "a peer at %s has another key than the deployment's and is refused (further ones are not logged)"
                log.warning(text, address.decode(errors="replace"))
        status = (b"200", b"OK") if known else (b"400", b"not the key of this deployment")
        self._socket.send_multipart([_VERSION, request_id, *status, b"", b""])
        self._reader.check_again()
