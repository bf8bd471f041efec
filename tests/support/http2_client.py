"""A client's side of HTTP/2: a connection that a server of h2 has greeted, and what it writes."""

from h2.settings import SettingCodes
from h2_server import Peer

from loadgen.targets.http2 import Http2Connection
from loadgen.targets.oip.messages import prefixed

HEADERS = [(":method", "POST"), (":scheme", "http"), (":path", "/a/B"), (":authority", "host:1"), ("te", "trailers")]


def written(connection: Http2Connection) -> bytes:
    """What the client writes now."""
    outgoing, connection.outgoing = connection.outgoing, []
    return b"".join(map(bytes, outgoing))


def connected(settings: dict[SettingCodes, int] | None = None) -> tuple[Http2Connection, Peer]:
    """A client and a server that have exchanged settings."""
    connection, peer = Http2Connection(HEADERS), Peer(settings)
    peer.receive(written(connection))
    assert connection.received(peer.said()) == []
    assert connection.ready
    peer.receive(written(connection))
    return connection, peer


def called(connection: Http2Connection, peer: Peer, message: bytes = b"question", key: int = 7) -> int:
    """A call that the server has heard; its stream."""
    connection.call(key, prefixed(message), 0)
    (stream,) = peer.receive(written(connection))
    return stream
