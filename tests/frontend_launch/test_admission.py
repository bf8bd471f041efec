"""Who is served by a frontend with credentials, and what others see on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import zmq
from peers import ANY, Client, FrontendThread, Replica
from wiretap import wiretap
from zmq.utils.monitor import recv_monitor_message

from frontend_launch.admin import bearing
from frontend_launch.errors import LaunchError
from frontend_launch.frontends.http import listening
from frontend_launch.frontends.management import make_app
from frontend_launch.frontends.query import QueryFrontend
from frontend_launch.frontends.store import MemoryStore
from model_containers import credentials
from model_containers.credentials import Credentials

REFUSED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_DISCONNECTED,
)
OURS = credentials.make()


@pytest.fixture(scope="module")
def frontend() -> Iterator[FrontendThread]:
    """A query frontend with credentials."""
    with contextlib.closing(FrontendThread(credentials=OURS)) as frontend:
        frontend.register()
        yield frontend


def ended(port: int, given: Credentials | None) -> int:
    """How the handshake of a peer ended, as ZeroMQ's event."""
    context = zmq.Context()
    try:
        socket = context.socket(zmq.DEALER)
        credentials.secure_client(socket, given)
        monitor = socket.get_monitor_socket(int(zmq.EVENT_HANDSHAKE_SUCCEEDED) | sum(map(int, REFUSED)))
        monitor.setsockopt(zmq.RCVTIMEO, 10_000)
        socket.connect(f"tcp://127.0.0.1:{port}")
        event = recv_monitor_message(monitor)["event"]
        socket.disable_monitor()
        return int(event)
    finally:
        context.destroy(linger=0)


def test_peers_with_the_credentials_are_served(frontend: FrontendThread) -> None:
    """A client and a replica, as without."""
    with contextlib.ExitStack() as stack:
        replica = Replica(frontend, stack, credentials=OURS.for_clients())
        client = Client(frontend, stack, credentials=OURS.for_clients())
        client.send(7, (4.0,))
        replica.answer(replica.receive_batch())
        assert client.receive().request_id == 7


@pytest.mark.parametrize("name", ["request", "response", "replica"])
@pytest.mark.parametrize(
    "given",
    [
        pytest.param(None, id="none, as peers of 2017"),
        pytest.param(credentials.make(), id="of another deployment"),
        pytest.param(replace(credentials.make(), server_public=OURS.server_public), id="the server's key alone"),
    ],
)
def test_others_are_refused(frontend: FrontendThread, name: str, given: Credentials | None) -> None:
    """On each port, before they can say anything."""
    port = getattr(frontend.ports, name)
    assert ended(port, OURS) == zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert ended(port, given) in REFUSED


@pytest.mark.parametrize("given", [None, OURS], ids=["plain", "CURVE"])
def test_what_is_on_the_wire(given: Credentials | None) -> None:
    """Neither inputs, nor answers, nor names of models pass a frontend with credentials in the clear."""
    application, model_input = "telltale-application", (1234.5, 6789.25)
    with contextlib.ExitStack() as stack:
        frontend = stack.enter_context(contextlib.closing(FrontendThread(credentials=given)))
        frontend.register(application)
        taps = {
            name: stack.enter_context(wiretap(getattr(frontend.ports, name)))
            for name in ("request", "response", "replica")
        }
        tapped = SimpleNamespace(
            ports=SimpleNamespace(**{name: port for name, (port, _) in taps.items()}),
            frontend=frontend.frontend,
            until=frontend.until,
        )
        replica = Replica(tapped, stack, application, credentials=given)  # type: ignore[arg-type]
        client = Client(tapped, stack, credentials=given)
        client.send(1, model_input, application)
        batch = replica.receive_batch()
        replica.answer(batch)
        answer = client.receive().output
        (payload,) = map(bytes, batch.inputs)
        seen = {name: bytes(passed) for name, (_, passed) in taps.items()}
    clear = given is None
    assert (application.encode() in seen["request"]) is clear
    assert (payload in seen["request"]) is clear
    assert (payload in seen["replica"]) is clear
    assert (application.encode() in seen["replica"]) is clear
    assert (answer in seen["response"]) is clear
    assert all(b"CURVE" in passed for passed in seen.values()) is not clear


def test_an_address_of_another_machine() -> None:
    """Cannot be bound, and no other port helps."""

    async def serve() -> None:
        async with listening(make_app(MemoryStore()), "203.0.113.1", 0, "--admin-port"):
            pass

    said = "203.0.113.1: not an address of this machine; choose one of its addresses, or 0.0.0.0 for all"
    with pytest.raises(LaunchError, match=said):
        QueryFrontend(MemoryStore(), "203.0.113.1", ANY, 1)
    with pytest.raises(LaunchError, match=said):
        asyncio.run(serve())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(bearing(OURS.token), 200, id="the token"),
        pytest.param({"Authorization": f"bearer  {OURS.token}"}, 200, id="the scheme in any case"),
        pytest.param(bearing(OURS.token) | {"Host": "gpu-box.example"}, 200, id="by any name"),
        pytest.param({}, 401, id="none"),
        pytest.param(bearing(OURS.token[:-1]), 401, id="less"),
        pytest.param(bearing(credentials.make().token), 401, id="another"),
        pytest.param({"Authorization": OURS.token}, 401, id="no scheme"),
        pytest.param({"Authorization": "Basic x"}, 401, id="another scheme"),
        pytest.param(bearing("\u20ac"), 401, id="no ASCII"),
        pytest.param(bearing(OURS.token) | {"Origin": "http://evil.example"}, 403, id="from a page that has it"),
    ],
)
def test_http_wants_the_token(frontend: FrontendThread, headers: dict[str, str], status: int) -> None:
    """The management API, on every path."""
    server = listening(make_app(frontend.store, (), OURS.token), "127.0.0.1", 0, "--admin-port")
    port = frontend.call(server.__aenter__())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        given = {name: value.encode() for name, value in headers.items()}
        connection.request("POST", "/admin/get_all_applications", b'{"verbose": false}', given)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        assert (answer.headers["WWW-Authenticate"] == "Bearer") is (status == 401)
    finally:
        connection.close()
        frontend.call(server.__aexit__(None, None, None))


def test_a_peer_of_2017_shakes_hands() -> None:
    """Its libzmq speaks version 3.0 of the protocol, without security; byte for byte."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
    handshake = b"\x01\x00" + b"\x00\x00"  # two empty frames
    frontend = FrontendThread()
    address = "127.0.0.1", frontend.ports.response
    with contextlib.closing(frontend), socket.create_connection(address, timeout=10) as peer:
        stream = peer.makefile("rb")
        peer.sendall(greeting)
        assert stream.read(64)[10] == 3
        peer.sendall(bytes([4, len(ready)]) + ready + handshake)
        _, length = stream.read(2)
        assert b"ROUTER" in stream.read(length)
        assert stream.read(4) == b"\x01\x00\x00\x04"  # an empty frame, and the client id
        assert len(stream.read(4)) == 4
