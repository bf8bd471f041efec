"""What peers do that a frontend has to bear, each as a process does it."""

import asyncio
import contextlib
import resource
import socket
import threading
import urllib.request
from collections.abc import Iterator, Mapping

import zmq

from frontend_launch import wire
from frontend_launch.admin import AdminClient
from model_containers.data_types import DataType
from model_containers.wire import Metadata, encode_heartbeat, encode_metadata

TIMEOUT_S = 60
Ports = Mapping[str, int]


@contextlib.contextmanager
def dealer(port: int, **options: int) -> Iterator["zmq.Socket[bytes]"]:
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    for name, value in {"RCVTIMEO": 1000 * TIMEOUT_S, "SNDTIMEO": 1000 * TIMEOUT_S, **options}.items():
        peer.setsockopt(getattr(zmq, name), value)
    peer.connect(f"tcp://127.0.0.1:{port}")
    try:
        yield peer
    finally:
        context.destroy(linger=0)


def handshakes(ports: Ports) -> None:
    """70 000 on one connection."""
    with dealer(ports["response"]) as peer:
        for _ in range(700):
            for _ in range(100):
                peer.send_multipart(wire.HANDSHAKE)
            for _ in range(100):
                peer.recv_multipart()


def large_parts(ports: Ports) -> None:
    """Ten parts of 1 GiB for each socket."""
    part = bytearray(1 << 30)
    for name in ("request", "response", "replica"):
        for _ in range(10):
            with dealer(ports[name]) as peer, peer.get_monitor_socket(int(zmq.EVENT_DISCONNECTED)) as monitor:
                monitor.setsockopt(zmq.RCVTIMEO, 1000 * TIMEOUT_S)
                peer.send_multipart([b"", part], copy=False)
                monitor.recv_multipart()
                peer.disable_monitor()


def many_parts(ports: Ports) -> None:
    """A message of two million parts for each socket."""
    for name in ("request", "response", "replica"):
        with dealer(ports[name]) as peer, dealer(ports["response"]) as beside:
            for _ in range(2_000_000):
                peer.send(b"x", zmq.SNDMORE)
            peer.send(b"x")
            peer.setsockopt(zmq.LINGER, 1000 * TIMEOUT_S)
            beside.send_multipart(wire.HANDSHAKE)
            beside.recv_multipart()


def unread(ports: Ports) -> None:
    """A client that sends 450 000 requests of a model without replicas, and reads no answer."""
    with dealer(ports["response"], RCVHWM=1, RCVBUF=4096) as responses, dealer(ports["request"]) as requests:
        responses.send_multipart(wire.HANDSHAKE)
        client_id = wire.decode_handshake_reply(responses.recv_multipart())
        for number in range(450_000):
            frames = wire.encode_request_burst(client_id, [number], "odd", DataType.FLOATS, [bytes(16)])
            requests.send_multipart(frames)


def half_open(ports: Ports) -> None:
    """500 connections to each port, which say nothing or half of it, until those to ZeroMQ are closed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.ExitStack() as stack:
        peers: dict[str, list[socket.socket]] = {name: [] for name in ports}
        for name, port in ports.items():
            for number in range(500):
                peer = stack.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT_S))
                if number % 2:
                    peer.sendall(b"GET / HTTP/1.1\r\nHost:" if name in ("admin", "metrics") else b"\xff\0")
                peers[name].append(peer)
        for name in ("request", "response", "replica"):
            for peer in peers[name]:
                with contextlib.suppress(ConnectionError):
                    while peer.recv(4096):
                        pass


def no_http(ports: Ports) -> None:
    """10 000 requests that are none."""
    for number in range(10_000):
        with socket.create_connection(("127.0.0.1", ports[("admin", "metrics")[number % 2]]), TIMEOUT_S) as peer:
            peer.sendall(b"NONSENSE / HTTP/9\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while peer.recv(4096):
                    pass


def replicas(ports: Ports) -> None:
    """6000, each of a model of its own, one after the other."""
    for number in range(6000):
        with dealer(ports["replica"]) as peer:
            peer.send_multipart(encode_heartbeat())
            peer.recv_multipart()
            peer.send_multipart(encode_metadata(Metadata(f"come-and-go-{number}", "1", DataType.FLOATS)))
            peer.send_multipart(encode_heartbeat())
            peer.recv_multipart()


def left(ports: Ports) -> None:
    """Of a model whose replica left with one of them, 100 000 requests."""
    with dealer(ports["response"]) as responses, dealer(ports["request"]) as requests:
        with dealer(ports["replica"]) as replica:
            replica.send_multipart(encode_heartbeat())
            replica.recv_multipart()
            replica.send_multipart(encode_metadata(Metadata("odd", "1", DataType.FLOATS)))
            replica.send_multipart(encode_heartbeat())
            replica.recv_multipart()
            responses.send_multipart(wire.HANDSHAKE)
            client_id = wire.decode_handshake_reply(responses.recv_multipart())
            requests.send_multipart(wire.encode_request_burst(client_id, [0], "odd", DataType.FLOATS, [bytes(4)]))
            replica.recv_multipart()
        for number in range(1, 100_000):
            requests.send_multipart(wire.encode_request_burst(client_id, [number], "odd", DataType.FLOATS, [bytes(4)]))
            if number >= 500:
                responses.recv_multipart()
        for _ in range(500):
            responses.recv_multipart()


def applications(ports: Ports) -> None:
    """20 000, whose metrics three peers read twice, in both formats."""

    async def register() -> None:
        async with AdminClient(f"http://127.0.0.1:{ports['admin']}", TIMEOUT_S) as admin:
            for start in range(0, 20_000, 20):
                names = [f"many-{number}" for number in range(start, start + 20)]
                await asyncio.gather(*(admin.register_application(name, DataType.INTS, "x", 1) for name in names))

    def read() -> None:
        for path in ("metrics", "metrics/prometheus") * 2:
            url = f"http://127.0.0.1:{ports['metrics']}/{path}"
            with urllib.request.urlopen(url, timeout=10 * TIMEOUT_S) as answer:
                answer.read()

    asyncio.run(register())
    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()


ALL = (handshakes, large_parts, many_parts, unread, half_open, no_http, replicas, left, applications)
