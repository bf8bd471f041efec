"""Parses the address of an external server into protocol, host, model and version; pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from loadgen.errors import ConfigError, FieldError, without_secrets


@dataclass(frozen=True, slots=True)
class WireProtocol:
    """A protocol that load can be sent over.

    Attributes:
        name: in one word.
        schemes: of addresses without TLS, and with it.
        remote_class: ``MODULE:CLASS`` of its `Remote`, imported for an address of it, since some are behind an extra.
        names_model: addresses have a model and a version; else any path.
        multiplexed: a connection carries many requests at a time.
        ports: of addresses without one, without TLS and with it; None where a port is needed.
    """

    name: str
    schemes: tuple[str, str]
    remote_class: str
    names_model: bool = True
    multiplexed: bool = False
    ports: tuple[int, int] | None = (80, 443)


_ENDPOINT = "loadgen.targets.http_endpoint:HttpEndpoint"

PROTOCOLS = (
    WireProtocol("grpc", ("oip+grpc", "oip+grpcs"), "loadgen.targets.oip.model:OipModel", multiplexed=True, ports=None),
    WireProtocol("http", ("oip+http", "oip+https"), "loadgen.targets.oip.model:OipModel"),
    WireProtocol("json", ("http+json", "https+json"), _ENDPOINT, names_model=False),
    WireProtocol("any", ("http", "https"), _ENDPOINT, names_model=False),
)

SCHEMES = {
    scheme: (protocol, tls)
    for protocol in PROTOCOLS
    for scheme, tls in zip(protocol.schemes, (False, True), strict=True)
}
"""The protocol of each scheme, and whether it goes through TLS."""

_WITHOUT_SLASHES = re.compile(rf"({'|'.join(map(re.escape, SCHEMES))})(:/|//|:(?=\D))(?=[^/])", re.IGNORECASE)
"""A scheme without all of ``://`` behind it; a host may be called as a scheme is, before a port."""

_UNQUOTED = "/%:@!$&'()*+,;=~?"
"""What stays as it is in a path and a query, beside letters, digits and ``-._``."""

MAX_SOCKET_BYTES = 107
"""Of the path of a Unix socket on Linux."""

_UNIX_SCHEME, _UNIX_EXAMPLE = "http+unix://", "http+unix://%2Frun%2Fserver.sock/PATH"

_EXAMPLES = "oip+grpc://127.0.0.1:8001/MODEL, oip+http://127.0.0.1:8000/MODEL or http://127.0.0.1:8000/PATH"


@dataclass(frozen=True, slots=True)
class Address:
    """A model on a server.

    Attributes:
        text: as it was written, without secrets.
        protocol: gRPC or HTTP of the Open Inference Protocol, or any HTTP.
        tls: encrypted.
        host: a name or number; of an IPv6 number with its zone, as in ``fe80::1%eth0``.
        port: a TCP port.
        model: the model's name; of any HTTP the last part of the path.
        version: of the model; empty for the server's choice.
        path: as it is sent: of any HTTP all of it, with its query; of ``http`` what comes before ``/v2``.
        usual_port: the port is that of the scheme, and was left out.
        unix_socket: the path of a Unix socket that is connected to in place of host and port; empty for none.
        tls_server_name: by which the server's certificate is checked in place of the host; empty for that.
    """

    text: str
    protocol: WireProtocol
    tls: bool
    host: str
    port: int
    model: str
    version: str = ""
    path: str = ""
    usual_port: bool = False
    unix_socket: str = ""
    tls_server_name: str = ""

    @property
    def shown(self) -> str:
        """For errors: as it was written, with the place that is connected to."""
        return f"{self.text} at {self.unix_socket}" if self.unix_socket else self.text

    @property
    def server_name(self) -> str:
        """By which the server's certificate is checked."""
        return self.tls_server_name or self.host

    @property
    def endpoint(self) -> str:
        """Host and port, to connect to."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port as the server is told them: without a zone, which means something on this machine only."""
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        return host if self.usual_port else f"{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """The server over HTTP."""
        return f"http{'s' if self.tls else ''}://{self.endpoint}"

    @property
    def server_path(self) -> str:
        """Of ``http``: where the server is asked about itself."""
        return f"{self.path}/v2"

    @property
    def model_path(self) -> str:
        """Of ``http``: where the model is."""
        version = f"/versions/{quote(self.version, '')}" if self.version else ""
        return f"{self.server_path}/models/{quote(self.model, '')}{version}"


def parse_address(text: str, unix_socket: Path | None = None, tls_server_name: str | None = None) -> Address:
    """Read an address such as ``oip+grpc://host:8001/model/version``.

    Over HTTP it may also be as requests have it, ``…/prefix/v2/models/model/versions/version/infer``, whatever comes
    before ``/v2``: that is how some ingresses route. ``http+unix://%2Fpath%2Fsocket/path`` names a Unix socket.

    Args:
        text: the address.
        unix_socket: that is connected to in place of host and port; None for none.
        tls_server_name: by which the server's certificate is checked in place of the host; None for that.

    Raises:
        ConfigError: it is not an address.
    """
    if text.lower().startswith(_UNIX_SCHEME):
        place, slash, path = text[len(_UNIX_SCHEME) :].partition("/")
        if not place or unix_socket is not None:
            problem = "names a socket, as {Address.unix_socket} does" if place else "names no socket"
            raise FieldError("External.target", without_secrets(text), problem, f"write it as {_UNIX_EXAMPLE}")
        return parse_address(f"http://localhost{slash}{path}", Path(unquote(place)), tls_server_name)
    address = _parsed(text, needs_port=unix_socket is None)
    if unix_socket is not None:
        if not 1 <= len(os.fsencode(unix_socket)) <= MAX_SOCKET_BYTES or "\0" in str(unix_socket):
            problem = f"is not the path of a socket, which has {MAX_SOCKET_BYTES} bytes at most"
            raise FieldError("Address.unix_socket", unix_socket, problem, "name a shorter one")
        address = replace(address, unix_socket=str(unix_socket))
    if tls_server_name is None:
        return address
    if not address.tls:
        problem, remedy = "is for TLS", f"leave it out, or use {secure(address.text)}"
        raise FieldError("Address.tls_server_name", tls_server_name, problem, remedy)
    try:
        name = _host(tls_server_name)
    except UnicodeError:
        name = ""
    if not re.fullmatch(r"[\w.:-]+", name, re.ASCII):
        raise FieldError("Address.tls_server_name", tls_server_name, "is not the name of a server", "write a host name")
    return replace(address, tls_server_name=name)


def secure(target: str) -> str:
    """The same address through TLS.

    Args:
        target: an address without.
    """
    scheme, rest = target.split("://", 1)
    return f"{'https+json' if scheme == 'http+json' else scheme + 's'}://{rest}"


def _parsed(text: str, *, needs_port: bool) -> Address:
    """The same, of host and port.

    Args:
        text: the address.
        needs_port: one that has no usual port has to name one.
    """
    if misspelt := _WITHOUT_SLASHES.match(text):
        scheme, behind = misspelt.groups()
        meant = without_secrets(f"{scheme}://{text[misspelt.end() :]}")
        typed = meant.replace("://", behind, 1)
        raise FieldError("External.target", typed, "is not an address", f"did you mean {meant}?")
    shown = without_secrets(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # its reason may quote what is secret
        raise FieldError("External.target", shown, "is not an address", f"write such as {_EXAMPLES}") from None
    if parts.scheme not in SCHEMES:
        if "://" not in text:
            raise FieldError(
                "External.target", shown, f"{{value}}: has no scheme; write http://{shown}, or {_EXAMPLES}"
            )
        close = get_close_matches(parts.scheme, SCHEMES, n=1)
        remedy = f"did you mean {close[0]}://{shown.partition('://')[2]}?" if close else f"write such as {_EXAMPLES}"
        raise FieldError(
            "External.target", shown, f"{{value}}: the scheme is not one of {', '.join(SCHEMES)}; {remedy}"
        )
    protocol, tls = SCHEMES[parts.scheme]
    usual = port is None and protocol.ports is not None
    if port is None and (protocol.ports is not None or not needs_port):
        port = (protocol.ports or (80, 443))[tls]
    if not parts.hostname or not port:
        needed = "a host is" if port and protocol.ports is not None else "host and port are"
        raise FieldError("External.target", shown, f"{{value}}: {needed} needed; write such as {_EXAMPLES}")
    try:
        host = _host(parts.hostname)
    except UnicodeError:
        raise FieldError("External.target", shown, f"{{value}}: {parts.hostname} is not the name of a host") from None
    if parts.username is not None:
        problem = "{External.target}: credentials do not belong into an address"
        raise ConfigError(f"{problem}; use {{Access.headers}} for {parts.hostname}, or a header Authorization")
    steps = [step for step in parts.path.split("/") if step]
    if not protocol.names_model:
        path = quote(parts.path or "/", _UNQUOTED) + (f"?{quote(parts.query, _UNQUOTED)}" if parts.query else "")
        model = steps[-1] if steps else "endpoint"
        return Address(shown, protocol, tls, host, port, model, path=path, usual_port=usual)
    prefix, steps = _routed(steps) if protocol.name == "http" else ([], steps)
    if not 1 <= len(steps) <= 2 or parts.query:
        problem = "{value}: one model is needed, and its version at most"
        remedy = f"write such as {_EXAMPLES}{', with a slash in a name as %2F' if len(steps) > 2 else ''}"
        raise FieldError("External.target", shown, problem, remedy)
    model, version = (*map(unquote, steps), "")[:2]
    path = quote("".join(f"/{step}" for step in prefix), _UNQUOTED)
    return Address(shown, protocol, tls, host, port, model, version, path, usual)


def _host(host: str) -> str:
    """A host as it is connected to: a name in ASCII, a zone without the escape that it has in a URL (RFC 6874).

    Raises:
        UnicodeError: it is not the name of a host.
    """
    number, mark, zone = host.partition("%")
    if mark and ":" in number:
        return f"{number}%{zone.removeprefix('25') or zone}"
    return host.encode("idna").decode()


def _routed(steps: list[str]) -> tuple[list[str], list[str]]:
    """The steps of a path before ``/v2``, and model and version; the whole path is model and version without it."""
    for place in range(len(steps) - 2):
        if steps[place : place + 2] == ["v2", "models"]:
            model, *more = steps[place + 2 :]
            more = more[:-1] if more[-1:] == ["infer"] else more
            return steps[:place], [model, *(more[1:] if more[:1] == ["versions"] else more)]
    return [], steps
