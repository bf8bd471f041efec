"""The options of a model on somebody else's server, in place of a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.cli import console, parameters
from loadgen.errors import ConfigError
from loadgen.options import parse_shapes

_MEANINGLESS = (
    *parameters.STARTING,
    *("model", "connect", "app", "xla", "input_type", "verify"),
    *("request_port", "response_port", "metrics_port", "admin_port"),
)
"""Options that mean something for our own models and frontends only."""

_BESIDE = (
    *("connections", "shared_memory", "header", "token_file", "tls_ca", "tls_cert", "tls_key"),
    *("body", "answer", "metrics_url"),
)
"""Options that mean something with --target only."""


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
        int | None, typer.Option(metavar="N", help="With --target: connections.  [default: found by trying]")
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
    """A model on somebody else's server."""
    if target is None:
        stray = [name for name in _BESIDE if parameters.was_given(context, name)]
        if stray:
            raise ConfigError(f"{_flags(stray)} means something with --target only: leave it out, or add --target URL")
        return {}
    unfit = [name for name in _MEANINGLESS if parameters.was_given(context, name)]
    if unfit:
        raise ConfigError(f"{_flags(unfit)} means nothing with --target, which starts nothing: leave it out")
    from loadgen.oip.access import Access  # noqa: PLC0415 - `--help` does without
    from loadgen.oip.address import parse_address  # noqa: PLC0415
    from loadgen.remotes.remote import TargetOptions  # noqa: PLC0415

    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together: give both")
    address = parse_address(target)
    headers = [_header(text) for text in header or ()]
    if token_file is not None:
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
    given = parameters.was_given(context, "batch_size")
    return {"target": options, "model": address.model} | ({} if given else {"batch_size": 1})


def _flags(names: list[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    if not colon or not name or not all(char.isalnum() or char in "-_." for char in name) or not value.isprintable():
        raise ConfigError(f"--header {name!r} is none: write it as 'name: value'")
    return name, value


def _token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {path} cannot be read: {error}") from None
    if not token or not token.isprintable() or " " in token:
        raise ConfigError(f"--token-file {path} holds no token: one line without spaces is expected")
    return token
