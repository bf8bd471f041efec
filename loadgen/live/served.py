"""Serves the state of a measurement over HTTP: metrics for Prometheus, and a page with a stream of its changes."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.exposition import choose_encoder
from typing_extensions import override

from loadgen.live.metrics import Metrics
from loadgen.live.page import page
from loadgen.live.snapshot import snapshot
from loadgen.live.state import State

MOST_CONNECTIONS = 32
"""At once, of each server: a thread each."""

PATIENCE_S = 30.0
"""For a client that neither sends nor reads."""


LAST_S = 0.5
"""Patience for browsers to take the last state."""

STREAM_EVERY_S = 1.0
"""Between two snapshots of a stream."""

LOCAL_HOSTS = ("127.0.0.1", "localhost")
"""Names by which the page is asked for; under any other name a page of the web could read it."""


class Served:
    """The state, and who is told of its changes.

    Attributes:
        state: change it within `changing` only.
        closing: streams end.
        streams: how many there are.
        changed: is notified of each change.
    """

    def __init__(self) -> None:
        self.state = State()
        self.changed = threading.Condition()
        self.closing = False
        self.streams = 0
        self._servers: list[_Server] = []

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """The state changes in the context; those who wait for a change are told."""
        with self.changed:
            yield
            self.changed.notify_all()

    def listen(self, prometheus: int | None, web: int | None = None) -> None:
        """Serve on sockets that listen already.

        Args:
            prometheus: descriptor of that for metrics; None for none.
            web: of that for the page.
        """
        for descriptor, handler in ((prometheus, _MetricsHandler), (web, _PageHandler)):
            if descriptor is not None:
                self._servers.append(_Server(socket.socket(fileno=descriptor), handler, self))

    def close(self) -> None:
        """Serve no more; streams end with the last state."""
        with self.changing():
            self.closing = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self.streams, LAST_S)
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


class _PageHandler(_Handler):
    def do_GET(self) -> None:
        """The page, or the stream that feeds it."""
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in LOCAL_HOSTS:
            self.refuse(HTTPStatus.FORBIDDEN, f"ask for {LOCAL_HOSTS[0]} or {LOCAL_HOSTS[1]}")
            return
        match self.path.partition("?")[0]:
            case "/":
                with self.served.changed:
                    first = snapshot(self.served.state, time.monotonic_ns())
                self.answer(page(first).encode(), "text/html; charset=utf-8")
            case "/events":
                self._stream()
            case _:
                self.refuse(HTTPStatus.NOT_FOUND, "the page is at /")

    def _stream(self) -> None:
        """A snapshot at once, and then each second, until the end."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        with self.served.changing():
            self.served.streams += 1
        try:
            self._send_snapshots()
        finally:
            with self.served.changing():
                self.served.streams -= 1

    def _send_snapshots(self) -> None:
        served, closed = self.served, False
        while not closed:
            with served.changed:
                closed = served.closing
                data = snapshot(served.state, time.monotonic_ns(), closed=closed)
            self.wfile.write(f"data: {json.dumps(data, allow_nan=False)}\n\n".encode())
            with served.changed:
                served.changed.wait_for(lambda: served.closing, STREAM_EVERY_S)
