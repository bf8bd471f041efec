"""The keys and the token that the peers of one deployment share: CURVE on ZeroMQ, a bearer token on HTTP."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import zmq

VARIABLE = "LOADGEN_CREDENTIALS"
"""The environment variable that has them as JSON: others see a process's flags, and not its environment."""

ZAP_DOMAIN = b"loadgen"

_MAX_BYTES = 1 << 16
"""Of a file: a multiple of what any of them takes."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What only the peers of a deployment know; keys as ZeroMQ writes them, in Z85.

    Attributes:
        token: for ``Authorization: Bearer``.
        server_public: key of the frontends.
        client_public: key of clients and replicas.
        client_secret: its other half.
        server_secret: of the frontends alone; empty for clients and replicas.
    """

    token: str = field(repr=False)
    server_public: str = field(repr=False)
    client_public: str = field(repr=False)
    client_secret: str = field(repr=False)
    server_secret: str = field(default="", repr=False)

    def for_clients(self) -> Credentials:
        """Those of clients and replicas."""
        return replace(self, server_secret="")

    def to_json(self) -> str:
        """As `parse` reads them."""
        return json.dumps(asdict(self))

    def write(self, path: Path) -> None:
        """Write them to a new file, for its owner alone.

        Raises:
            OSError: the file is there, or cannot be written.
        """
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.to_json() + "\n")


def make() -> Credentials:
    """New ones, of a deployment."""
    server, client = zmq.curve_keypair(), zmq.curve_keypair()
    return Credentials(
        token=os.urandom(32).hex(),
        server_public=server[0].decode(),
        client_public=client[0].decode(),
        client_secret=client[1].decode(),
        server_secret=server[1].decode(),
    )


def parse(text: str) -> Credentials:
    """Read them from JSON.

    Raises:
        ValueError: they are not whole; the message holds nothing of them.
    """
    try:
        row = json.loads(text)
        found = Credentials(**{one.name: row[one.name] for one in fields(Credentials) if one.name in row})
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("not JSON with the members of credentials; make them anew") from None
    server, client = found.server_secret, found.client_secret
    keys = [found.server_public, found.client_public, client, *([server] if server else [])]
    texts = all(isinstance(value, str) and value.isascii() for value in (found.token, *keys))
    # Any key is the secret half of some pair.
    made = {key: _public(key) for key in keys} if texts else {}
    if not texts or not found.token.isalnum() or None in made.values():
        raise ValueError("has an invalid token or key; make them anew")
    if made[client] != found.client_public or (server and made[server] != found.server_public):
        raise ValueError("has halves of different keys; make them anew")
    return found


def _public(secret: str) -> str | None:
    """The public half of a key; None where it is no key."""
    try:
        return zmq.curve_public(secret.encode()).decode()
    except (ValueError, zmq.ZMQError):
        return None


def read(path: Path) -> Credentials:
    """Read them from a file that its owner alone can read.

    Raises:
        ValueError: the file cannot be read, others can read it, or it has none.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe may have no writer
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_BYTES) if stat.S_ISREG(mode) else None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}; name another file") from None
    if content is None:
        raise ValueError(f"not a file; save them in one, or give what it holds as {VARIABLE}")
    if stat.S_IMODE(mode) & 0o077:
        raise ValueError("can be read by others; chmod 600 it")
    return parse(content.decode(errors="replace"))


def of_environment() -> Credentials | None:
    """Those that the environment holds; None where it holds none.

    Raises:
        ValueError: they are not whole.
    """
    text = os.environ.get(VARIABLE)
    return parse(text) if text else None


def secure_server(socket: zmq.Socket[Any], credentials: Credentials | None) -> None:
    """Let a socket that binds speak with holders of its public key only; before it binds.

    Either way it speaks version 3 of ZeroMQ's protocol only, as each peer since 2013 does. Version 1.0 has no greeting
    and reads messages in anything, also in the HTTP that a web page has a browser send.

    Args:
        socket: to secure.
        credentials: with the secret of the server; None to serve all.
    """
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)  # which the earlier versions cannot name
    if credentials is not None:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, credentials.server_secret.encode())


def secure_client(socket: zmq.Socket[Any], credentials: Credentials | None) -> None:
    """Let a socket that connects speak with the server of these credentials only; before it connects.

    Args:
        socket: to secure.
        credentials: of a client; None to leave the socket open.
    """
    if credentials is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, credentials.server_public.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, credentials.client_public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, credentials.client_secret.encode())
