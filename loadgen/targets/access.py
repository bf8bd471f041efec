"""Access to an external server: TLS, headers, a token; and channels and sessions that have them."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never

from loadgen import files
from loadgen.checks import instance
from loadgen.errors import ConfigError, FieldError, without_secrets
from loadgen.targets.address import Address
from model_containers.extras import remedy

GRPC_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
"""So that a server is asked directly, as it is loaded, and one that was started again can be asked soon."""

_ANOTHER = "name another file"
"""The remedy where a file cannot be used."""

LEAST_SECRET = 6
"""Letters of a value that is searched for in texts: shorter ones are words like any other."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a server wants besides its address.

    Attributes:
        headers: sent with each request, names in lower case.
        ca: certificates of the authorities to trust, PEM; None for the system's.
        certificate: our own with its chain, PEM, for a server that asks for one; None without.
        key: its private key, PEM.
    """

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.headers, tuple) or not all(map(_is_header, self.headers)):
            raise ConfigError("{Access.headers}: not pairs of texts; write them as ((NAME, VALUE),)")
        instance(self, "ca", "certificate", "key", of=(Path,))
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("{Access.certificate} and {Access.key}: belong together; give both")

    def concealed(self, text: str, path: str = "") -> str:
        """A text without what a server may quote of a request: values of headers, and of the path's query.

        Args:
            text: what the server says.
            path: of requests.
        """
        text = text.replace(path, without_secrets(path)) if path else text
        for _, value in self.headers:
            for secret in (value, value.rpartition(" ")[2]):
                if len(secret) >= LEAST_SECRET:
                    text = text.replace(secret, "…")
        return text

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Headers as gRPC takes them, which has another place for the host."""
        return tuple((name, value) for name, value in self.headers if name != "host")

    def ssl_context(self) -> ssl.SSLContext:
        """For HTTP/1.1 and HTTP/2 connections.

        Raises:
            ConfigError: a file cannot be read or does not hold what it should.
        """
        for name in ("ca", "certificate", "key"):
            _check_file(name, getattr(self, name))
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise FieldError("Access.ca", self.ca, f"cannot be used: {error.strerror or error}", _ANOTHER) from None
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, self._password)
            except (OSError, ssl.SSLError) as error:
                problem = f"with {{Access.key}} {self.key} cannot be used: {error.strerror or error}"
                raise FieldError("Access.certificate", self.certificate, problem, _ANOTHER) from None
        return context

    def _password(self) -> Never:
        """What OpenSSL would ask the terminal for."""
        problem, remedy = "is encrypted", "save it without a password, as openssl pkey does"
        raise FieldError("Access.key", self.key, problem, remedy)

    def channel(self, address: Address) -> Any:
        """A `grpc.aio.Channel` to ask the server by, not yet connected.

        Raises:
            ConfigError: a file cannot be read, or gRPC is not installed.
        """
        grpc = grpc_library()
        told = None if address.authority == address.endpoint and not address.unix_socket else address.authority
        host = dict(self.headers).get("host", told)
        options = [*GRPC_OPTIONS, *([("grpc.default_authority", host)] if host else [])]
        place = f"unix:{address.unix_socket}" if address.unix_socket else address.endpoint
        if not address.tls:
            return grpc.aio.insecure_channel(place, options=options)
        if address.tls_server_name or address.unix_socket:
            options.append(("grpc.ssl_target_name_override", address.server_name))
        self.ssl_context()  # says what is wrong with the files, which gRPC does not
        contents = [None if file is None else file.read_bytes() for file in (self.ca, self.key, self.certificate)]
        return grpc.aio.secure_channel(place, grpc.ssl_channel_credentials(*contents), options=options)


def _check_file(name: str, path: Path | None) -> None:
    """Refuse what OpenSSL would read without end, or wait for.

    Args:
        name: of the field.
        path: of the file, if there is one; one that cannot be read is left to OpenSSL.

    Raises:
        FieldError: it is not a file on disk, or too large.
    """
    try:
        found = None if path is None else path.stat()
    except (OSError, ValueError):
        return
    if found is None:
        return
    if not stat.S_ISREG(found.st_mode):
        raise FieldError(f"Access.{name}", path, "is not a file on disk, and it is read several times", "save it first")
    if found.st_size > files.MAX_SETTING_BYTES:
        problem = f"has more than {files.MAX_SETTING_BYTES >> 20} MiB"
        raise FieldError(f"Access.{name}", path, problem, "name a file of PEM")


def _is_header(given: object) -> bool:
    return isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, str) for part in given)


def grpc_library() -> Any:
    """The module `grpc`.

    Raises:
        ConfigError: it is not installed.
    """
    # Processes are started beside the load, never forks that go on with gRPC; it would warn of them.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # What it would log comes as an error too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc  # noqa: PLC0415 - behind an extra
        import grpc.aio  # noqa: PLC0415
    except ImportError:
        raise ConfigError(f"gRPC is not installed; {remedy('oip')}") from None
    return grpc
