"""Messages with something wrong, for each socket of a frontend and for its HTTP servers; and a saved choice of them.

``python tests/support/fuzzing.py`` writes the choice anew.
"""

import contextlib
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import zmq

from frontend_launch import wire
from model_containers.data_types import DataType
from model_containers.errors import WireError
from model_containers.wire import (
    BatchResponse,
    Metadata,
    ReplyTimes,
    decode_from_replica,
    encode_batch_response,
    encode_heartbeat,
    encode_metadata,
)

CORPUS = Path(__file__).with_name("fuzz_corpus.json")
SOCKETS = ("request", "response", "replica")
APPLICATION = "odd"
CLIENT_ID, MESSAGE_ID = b"CLNT", b"MSID"
"""Stand in for what a frontend chooses."""

LAST_ID = 2**31 - 1
TIMEOUT_MS = 60_000
MESSAGES_OF_CONNECTION = 5000
"""Messages after which a peer connects anew."""

_INTEGERS = [struct.pack("<I", n) for n in (0, 1, 2, 4, 5, 9, 2**16, 2**31 - 1, 2**31, 2**32 - 1)]
_TIMES = [None, ReplyTimes(1, 2, 3), ReplyTimes(2**63, 0, 2**64 - 1), ReplyTimes(0, 0, 0, True)]
_OTHERS = [b"", b"\0", b"\xff" * 8, b"\0" * 8, b"x" * 3, b"\xc3\x28", b"odd", b"\0" * 24, b"\xff" * 32]


class Fuzz:
    """Makes messages.

    Args:
        seed: the same gives the same messages.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def message(self, name: str) -> list[bytes]:
        """For a socket: one in eight is valid, the others have one to three things wrong."""
        frames = [bytes(frame) for frame in getattr(self, f"_{name}")()]
        for _ in range(self._random.choice((0, 1, 1, 1, 1, 1, 2, 3))):
            self._spoil(frames)
        return frames or [b""]

    def _request(self) -> Sequence[bytes]:
        kind = self._random.choice(list(DataType))
        payload = bytes(kind.element_bytes * self._random.randrange(4))
        number = self._random.getrandbits(31)
        frames = wire.encode_request_burst(0, [number], APPLICATION, kind, [payload])
        frames[1] = CLIENT_ID
        return frames

    def _response(self) -> Sequence[bytes]:
        return self._random.choice((wire.HANDSHAKE, wire.encode_announcement(b"clock")))

    def _replica(self) -> Sequence[bytes]:
        match self._random.randrange(5):
            case 0:
                return [bytes(frame) for frame in encode_heartbeat()]
            case 1:
                role = self._random.choice(("", "role"))
                version = self._random.choice(("1", "2"))
                metadata = Metadata(APPLICATION, version, self._random.choice(list(DataType)), role)
                return [bytes(frame) for frame in encode_metadata(metadata)]
        outputs = tuple(bytes(4 * self._random.randrange(3)) for _ in range(self._random.randrange(4)))
        times = self._random.choice(
            (None, ReplyTimes(1, 2, 3), ReplyTimes(2**63, 0, 2**64 - 1), ReplyTimes(0, 0, 0, True))
        )
        kind = self._random.choice((DataType.FLOATS, DataType.INTS, DataType.STRINGS))
        frames = [bytes(frame) for frame in encode_batch_response(BatchResponse(0, kind, outputs, times))]
        frames[2] = MESSAGE_ID
        return frames

    def _spoil(self, frames: list[bytes]) -> None:
        draw = self._random
        at = draw.randrange(len(frames)) if frames else 0
        frame = frames[at] if frames else b""
        match draw.randrange(10):
            case 0:
                new = []
            case 1:
                new = [frame, frame]
            case 2:
                new = [frame[: draw.randrange(len(frame) + 1)]]
            case 3:
                new = [frame + draw.randbytes(draw.randrange(1, 9))]
            case 4 | 5 if frame:
                turned = bytearray(frame)
                turned[draw.randrange(len(frame))] ^= 1 << draw.randrange(8)
                new = [bytes(turned)]
            case 6:
                new = [draw.randbytes(draw.randrange(41))]
            case 7:
                new = [draw.choice(_OTHERS)]
            case 8 if not draw.randrange(500):
                new = [frame] * 200 if draw.randrange(4) else [bytes(1 << 15)]
            case _:
                new = [draw.choice(_INTEGERS)]
        frames[at : at + 1] = new

    def http(self) -> bytes:
        """A request to the metrics or to the management API."""
        draw = self._random
        text = bytearray(self._http())
        for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
            at = draw.randrange(len(text) + 1)
            match draw.randrange(6):
                case 0:
                    del text[at:]
                case 1:
                    text[at:at] = draw.choice(_HTTP_PARTS)
                case 2:
                    text[at:at] = draw.randbytes(draw.randrange(1, 20))
                case 3:
                    del text[at : at + draw.randrange(1, 20)]
                case _ if text:
                    text[at - 1] ^= 1 << draw.randrange(8)
        return bytes(text)

    def _http(self) -> bytes:
        draw = self._random
        if draw.randrange(2):
            path = draw.choice(("/metrics/loadgen", "/metrics/loadgen/stages", "/", "/metrics/prometheus"))
            return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode()
        path, row = draw.choice(_BODIES)
        body = json.dumps(
            {name: draw.choice(_VALUES) if not draw.randrange(8) else value for name, value in row.items()}
        )
        head = f"POST /admin/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        if draw.randrange(4):
            return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        return f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\n\r\n".encode()


_HTTP_PARTS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"X: " + b"x" * 9000 + b"\r\n",
    b"Host: [\r\n",
    b"Cookie: \xff\xfe=;;=\r\n",
    b"Content-Encoding: gzip\r\n",
    b"%00%ff/../",
    b"?" + b"&" * 50,
    b"HTTP/0.9",
    b"FFFFFFFFFFFFFFFF\r\n",
]
_VALUES: list[object] = [None, True, -1, 2**63, 1e308, "", "\0", "é" * 50, [], ["x"], {}, [[[[]]]], "odd:1", "odd,1"]
_MODEL: dict[str, object] = {
    "model_name": "odd",
    "model_version": "3",
    "labels": ["x"],
    "input_type": "ints",
    "container_name": "x",
    "model_data_path": "x",
    "batch_size": 2,
}
_BODIES: list[tuple[str, dict[str, object]]] = [
    ("add_app", {"name": "odd", "input_type": "floats", "default_output": "x", "latency_slo_micros": 1000}),
    ("add_model", _MODEL),
    ("add_model_links", {"app_name": "odd", "model_names": ["odd"]}),
    ("set_model_version", {"model_name": "odd", "model_version": "1"}),
    ("get_all_applications", {"verbose": False}),
    ("get_application", {"name": "odd"}),
    ("get_model", {"model_name": "odd", "model_version": "1"}),
    ("get_container", {"model_name": "odd", "model_version": "1", "replica_id": 0}),
    ("get_state", {"app_name": "odd", "uid": 0}),
]


class Peer:
    """Sends messages to one socket of a frontend, as a client or a replica of the application that is odd.

    Args:
        name: of the socket.
        ports: of the frontend, by the names of the sockets.
    """

    def __init__(self, name: str, ports: Mapping[str, int]) -> None:
        self._name = name
        self._context = zmq.Context()
        self._responses = self._connected(ports["response"])
        self._socket = self._responses if name == "response" else self._connected(ports[name])
        self._responses.send_multipart(wire.HANDSHAKE)
        self._client_id = self._responses.recv_multipart()[1]
        self._message_id = self._last = bytes(4)
        self._due = 0
        """Answers that have not come, of those that are certain."""

    def _connected(self, port: int) -> "zmq.Socket[bytes]":
        dealer = self._context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
        dealer.setsockopt(zmq.SNDTIMEO, TIMEOUT_MS)
        dealer.connect(f"tcp://127.0.0.1:{port}")
        return dealer

    def send(self, message: Sequence[bytes]) -> None:
        """Send a message, and read what has come."""
        chosen = {CLIENT_ID: self._client_id, MESSAGE_ID: self._message_id}
        frames = [chosen.get(frame, frame) for frame in message]
        self._due += self._name != "request" and outcome(self._name, frames) in ("handshake taken", "Heartbeat")
        self._socket.send_multipart(frames)
        with contextlib.suppress(zmq.Again):
            while True:
                self._read(zmq.NOBLOCK)

    def _read(self, flags: int = 0) -> None:
        frames = (self._responses if self._name == "request" else self._socket).recv_multipart(flags)
        self._last = frames[1]
        if self._name == "replica" and len(frames) == 8:
            self._message_id = frames[2]
        else:
            self._due -= 1

    def settle(self) -> None:
        """Wait until the frontend has read all of it: what is valid and comes behind it is answered."""
        if self._name != "request":
            self.send(wire.HANDSHAKE if self._name == "response" else [bytes(frame) for frame in encode_heartbeat()])
            while self._due > 0:  # less where the frontend looked whether replicas are there
                self._read()
            return
        frames = wire.encode_request_burst(0, [LAST_ID], APPLICATION, DataType.INTS, [bytes(4)])
        self._socket.send_multipart([frames[0], self._client_id, *frames[2:]])
        while self._last != struct.pack("<I", LAST_ID):
            self._read()

    def close(self) -> None:
        """Let go of the connections."""
        self._context.destroy(linger=0)


def outcome(name: str, frames: Sequence[bytes]) -> str:
    """What the codecs make of a message."""
    try:
        if name == "request":
            return wire.decode_request(frames).input_type.canonical
        if name == "response":
            wire.decode_handshake(frames)
            return "handshake taken"
        return type(decode_from_replica(frames)).__name__
    except WireError as error:
        return error.kind


def storm(name: str, ports: Mapping[str, int], seed: int, count: int) -> None:
    """Send a number of messages to one socket, over one connection after the other; or to the HTTP servers.

    Args:
        name: of the socket; else ``http``.
        ports: of the frontend.
        seed: of the messages.
        count: of the messages.
    """
    fuzz = Fuzz(seed)
    if name == "http":
        for number in range(count):
            send_http(ports["admin" if number % 2 else "metrics"], fuzz.http())
        return
    while count > 0:
        peer = Peer(name, ports)
        for _ in range(min(count, MESSAGES_OF_CONNECTION)):
            peer.send(fuzz.message(name))
        peer.settle()
        peer.close()
        count -= MESSAGES_OF_CONNECTION


def send_http(port: int, text: bytes) -> bytes:
    """Send a text to a server, and nothing more; gives what it says until it closes the connection.

    Args:
        port: of the server.
        text: perhaps a request.
    """
    got = b""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_MS / 1000) as peer, contextlib.suppress(ConnectionError):
        peer.sendall(text)
        peer.shutdown(socket.SHUT_WR)
        while part := peer.recv(65_536):
            got += part
    return got


def corpus() -> dict[str, list[list[bytes]]]:
    """The saved messages, by socket; those for ``http`` have one frame."""
    saved = json.loads(CORPUS.read_text())
    return {name: [[bytes.fromhex(frame) for frame in frames] for frames in rows] for name, rows in saved.items()}


def _choose() -> dict[str, list[list[str]]]:
    """Few of each outcome, and of each number of frames."""
    fuzz, chosen = Fuzz(1), {}
    for name in SOCKETS:
        rows, seen = [], Counter[tuple[str, int]]()
        for _ in range(20_000):
            frames = fuzz.message(name)
            key = outcome(name, frames), len(frames)
            if sum(map(len, frames)) < 500 and seen[key] < 3:
                seen[key] += 1
                rows.append([frame.hex() for frame in frames])
        chosen[name] = rows
    chosen["http"] = [[text.hex()] for text in (fuzz.http() for _ in range(200)) if len(text) < 500]
    return chosen


if __name__ == "__main__":
    rows = {name: ",\n".join(map(json.dumps, messages)) for name, messages in _choose().items()}
    CORPUS.write_text("{" + ",\n".join(f'"{name}": [\n{text}\n]' for name, text in rows.items()) + "}\n")
