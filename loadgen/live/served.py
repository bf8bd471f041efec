"""Serves the state of a measurement over HTTP: metrics for Prometheus."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.exposition import choose_encoder
from typing_extensions import override

from loadgen.live.metrics import Metrics
from loadgen.live.state import State

MOST_CONNECTIONS = 32
"""At once, of each server: a thread each."""

PATIENCE_S = 30.0
"""For a client that neither sends nor reads."""


class Served:
    """The state, and who is told of its changes.

    Attributes:
        state: change it within `changing` only.
        changed: is notified of each change.
    """

    def __init__(self) -> None:
        self.state = State()
        self.changed = threading.Condition()
        self._servers: list[_Server] = []

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """The state changes in the context; those who wait for a change are told."""
        with self.changed:
            yield
            self.changed.notify_all()

    def listen(self, prometheus: int | None) -> None:
        """Serve on sockets that listen already.

        Args:
            prometheus: descriptor of that for metrics; None for none.
        """
        if prometheus is not None:
            self._servers.append(_Server(socket.socket(fileno=prometheus), _MetricsHandler, self))

    def close(self) -> None:
        """Serve no more."""
        for server in self._servers:
            server.close()


class _Server(ThreadingHTTPServer):
    """Serves on a socket that listens, for a bounded number of connections at once.

    Args:
        listener: the socket.
        handler: of a connection.
        served: what is served.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, handler: type[_Handler], served: Served) -> None:
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.served = served
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._accepting = threading.Thread(target=self._accept, name=handler.__name__, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                self.process_request(*self.socket.accept())

    def close(self) -> None:
        """Accept no more connections."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self.server_close()

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no reason for a traceback."""


class _Handler(BaseHTTPRequestHandler):
    """Answers GET."""

    timeout = PATIENCE_S
    server: _Server

    @property
    def served(self) -> Served:
        """What is served."""
        return self.server.served

    def answer(self, body: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send a whole answer.

        Args:
            body: its bytes.
            content_type: of these.
            status: of the answer.
        """
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer with an error.

        Args:
            status: its code.
            text: says what to do.
        """
        self.answer(f"{text}\n".encode(), "text/plain; charset=utf-8", status)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: standard error is not read."""


class _MetricsHandler(_Handler):
    def do_GET(self) -> None:
        """The metrics, in the format that is asked for."""
        if self.path.partition("?")[0] not in ("/", "/metrics"):
            self.refuse(HTTPStatus.NOT_FOUND, "the metrics are at /metrics")
            return
        registry = Metrics(self.served.state, self.served.changed).registry()
        encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
        self.answer(encoder(registry), content_type)
