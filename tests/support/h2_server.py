"""A gRPC server as the library h2 has it, without sockets and with; an independent reading of the same rules."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import cast

import h2.config
import h2.connection
import h2.events
import h2.settings

Headers = list[tuple[str, str]]
OK: Headers = [("grpc-status", "0")]
HEAD: Headers = [(":status", "200"), ("content-type", "application/grpc")]


class Peer:
    """The server's side of a connection.

    Attributes:
        asked: for each call that was heard to its end, its headers and its bytes.
        events: everything else that was heard.
    """

    def __init__(self, settings: dict[h2.settings.SettingCodes, int] | None = None) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=settings or {})
        self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.h2.initiate_connection()
        self._asking: dict[int, tuple[Headers, list[bytes]]] = {}
        self._left: dict[int, tuple[bytes, Headers]] = {}
        self.asked: dict[int, tuple[Headers, bytes]] = {}
        self.events: list[h2.events.Event] = []
        self.leaving = False

    def receive(self, data: Iterable[int]) -> list[int]:
        """Take in what the client wrote; returns the streams of the calls that are complete with it."""
        complete = []
        for event in self.h2.receive_data(bytes(data)):
            match event:
                case h2.events.RequestReceived():
                    headers = cast(Headers, event.headers)  # declared as bytes; header_encoding makes it text
                    self._asking[event.stream_id] = (headers, [])
                case h2.events.DataReceived():
                    self._asking[event.stream_id][1].append(event.data)
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    headers, parts = self._asking.pop(event.stream_id)
                    self.asked[event.stream_id] = (headers, b"".join(parts))
                    complete.append(event.stream_id)
                case h2.events.WindowUpdated():
                    self._send()
                    self.events.append(event)
                case _:
                    self.events.append(event)
        return complete

    def answer(self, stream: int, message: bytes, trailers: Headers = OK) -> None:
        """Answer with bytes, as much of them at a time as the client's windows allow."""
        self.h2.send_headers(stream, HEAD)
        self._left[stream] = (message, trailers)
        self._send()

    def _send(self) -> None:
        for stream, (message, trailers) in [*self._left.items()]:
            while message and (most := min(self.h2.local_flow_control_window(stream), 16_384)):
                self.h2.send_data(stream, message[:most])
                message = message[most:]
            self._left[stream] = (message, trailers)
            if not message:
                del self._left[stream]
                self.h2.send_headers(stream, trailers, end_stream=True)

    def leave(self, last: int | None, code: int = 0, words: bytes | None = None) -> None:
        """Say that the connection ends, and which call was the last that was looked at; None for the last that came."""
        self.h2.close_connection(code, words, last)
        self.leaving = True

    def said(self) -> bytes:
        """What is to be written to the client."""
        return self.h2.data_to_send()


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[Peer, int], None], settings: dict[h2.settings.SettingCodes, int] | None = None
) -> AsyncIterator[tuple[str, list[Peer]]]:
    """Listen on a port of this machine; gives ``host:port`` and a list of the peers so far.

    Args:
        answer: called with a peer and a stream for each call that was heard.
        settings: of HTTP/2, by their numbers.
    """
    peers: list[Peer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(settings)
        peers.append(peer)
        try:
            writer.write(peer.said())
            while data := await reader.read(1 << 16):
                if peer.leaving:  # it is deaf, and the client the one to close the connection
                    continue
                for stream in peer.receive(data):
                    if not peer.leaving:
                        answer(peer, stream)
                writer.write(peer.said())
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", peers
