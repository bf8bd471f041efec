"""The options of a model on an external server, in place of a deployment."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from loadgen.cli import console, parameters
from loadgen.config import Deploy, External, Frontend, Served
from loadgen.errors import ConfigError
from loadgen.parsing import parse_shapes
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.remote import TargetOptions

_MEANT: dict[str, tuple[type[Served], ...]] = {
    **dict.fromkeys(
        (
            *("replicas", "cpus", "cpus_per_replica", "gpus", "frontends", "allow_overlap", "topology"),
            *("frontends_cpus", "redis_cpus", "management_cpus", "query_cpus"),
            *("runtime", "image", "weights", "ready_timeout", "replica_port", "redis_port"),
        ),
        (Deploy,),
    ),
    **dict.fromkeys(("connect", "app"), (Frontend,)),
    **dict.fromkeys(
        (
            *("model", "xla", "input_type", "verify"),
            *("request_port", "response_port", "metrics_port", "admin_port"),
        ),
        (Deploy, Frontend),
    ),
    **dict.fromkeys(
        (
            *("connections", "shared_memory", "header", "token_file", "tls_ca", "tls_cert", "tls_key"),
            *("body", "answer", "metrics_url"),
        ),
        (External,),
    ),
}
"""What has to be served for an option to mean something; all other options always do."""


def _refuse_strays(context: typer.Context, served: type[Served]) -> None:
    """Refuse options that mean nothing for what is served.

    Raises:
        ConfigError: there are some; it names them.
    """
    strays = [name for name, meant in _MEANT.items() if served not in meant and parameters.was_given(context, name)]
    if not strays:
        return
    meant = _MEANT[strays[0]]
    if served is External:
        raise ConfigError(f"{_flags(strays)} means nothing with --target, which starts nothing: leave it out")
    flags = _flags([name for name in strays if _MEANT[name] == meant])
    if meant == (Deploy,):
        raise ConfigError(f"{flags} says what to start, --connect starts nothing: leave one of them out")
    if meant == (Frontend,):
        app = context.params["app"]
        raise ConfigError(f"--app {app} only means something with --connect: leave it out, or add --connect HOST")
    raise ConfigError(f"{flags} means something with --target only: leave it out, or add --target URL")


def target(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Load a model on another server; start nothing: oip+grpc://HOST:PORT/MODEL[/VERSION], oip+http://…, "
            "http+json://HOST:PORT/PATH; oip+grpcs, oip+https and https+json through TLS.",
        ),
    ] = None,
    connections: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --target: connections of a client.  [default: enough]"),
    ] = None,
    shared_memory: Annotated[
        bool, typer.Option("--shared-memory", help="With --target: inputs lie in memory that the server shares.")
    ] = False,
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="With --target: sent with each request.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --target: holds a bearer token.")
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With TLS: authorities to trust, PEM.  [default: the system's]")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="With TLS: our certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="With TLS: its private key, PEM.")] = None,
    body: Annotated[
        str | None,
        typer.Option(metavar="JSON|@FILE", help='With http+json: a request; "$input" stands for the input.'),
    ] = None,
    answer: Annotated[
        str | None, typer.Option(metavar="PATH", help="With http+json: what answers have to have: choices[0].text.")
    ] = None,
    metrics_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With --target: its Prometheus metrics.  [default: the usual]"),
    ] = None,
) -> parameters.Settings:
    """A model on an external server."""
    connect = context.params.get("connect")
    _refuse_strays(context, External if target is not None else Frontend if connect is not None else Deploy)
    if target is None:
        return {}
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together: give both")
    address = parse_address(target)
    tls = [name for name in ("tls_ca", "tls_cert", "tls_key") if parameters.was_given(context, name)]
    if tls and not address.tls:
        raise ConfigError(f"{_flags(tls)} means something with TLS only: leave it out, or use {_secure(address.text)}")
    if metrics_url is not None and not _is_url(metrics_url):
        raise ConfigError(f"--metrics-url {metrics_url} is no URL: write it as http://HOST:PORT/metrics")
    headers = [_header(text) for text in header or ()]
    for name, times in Counter(name for name, _ in headers).items():
        if times > 1:
            raise ConfigError(f"--header {name!r} is given {times} times: give it once")
    if token_file is not None:
        if any(name == "authorization" for name, _ in headers):
            raise ConfigError("--header Authorization and --token-file say the same: give one of them")
        headers.append(("authorization", f"Bearer {_token(token_file)}"))
    options = TargetOptions(
        address=address,
        access=Access(tuple(headers), tls_ca, tls_cert, tls_key),
        shapes=console.optional("--input-shape", parse_shapes, context.params.get("input_shape")) or {},
        connections=connections,
        shared_memory=shared_memory,
        body=body,
        answer=answer,
        metrics_url=metrics_url,
    )
    return {"target": options}


def _flags(names: list[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    plain = text.isascii() and value.isprintable() and all(char.isalnum() or char in "-_." for char in name)
    if not colon or not name or not plain:
        raise ConfigError(f"--header {name!r} is none: write it as 'name: value', in ASCII")
    if name in _OURS or name.endswith("-bin"):
        raise ConfigError(f"--header {name!r} is not for you to say: leave it out")
    return name, value


_OURS = ("connection", "content-length", "te", "transfer-encoding", "upgrade")
"""Headers that the protocols need as they are; those that end in ``-bin`` have an encoding of their own in gRPC."""


def _secure(target: str) -> str:
    """The same address through TLS."""
    scheme, rest = target.split("://", 1)
    return f"{'https+json' if scheme == 'http+json' else scheme + 's'}://{rest}"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no text"
        raise ConfigError(f"--token-file {path} cannot be read: {reason}") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"--token-file {path} holds no token: one line of ASCII without spaces is expected")
    return token
