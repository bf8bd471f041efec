"""The options of a model on an external server, in place of a deployment."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from frontend_launch.quantities import times
from loadgen import files
from loadgen.cli import console, groups, help_format, option_sources
from loadgen.errors import ConfigError
from loadgen.parsing import parse_duration
from loadgen.served import Deploy, External, Frontend, Served
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.oip.written import parse_inputs, parse_parameters
from loadgen.targets.remote import TargetOptions

_MEANT: dict[str, tuple[type[Served], ...]] = {
    **dict.fromkeys(
        (
            *("replicas", "cpus", "cpus_per_replica", "gpus", "frontends", "allow_overlap", "topology"),
            *("frontends_cpus", "redis_cpus", "management_cpus", "query_cpus"),
            *("restart_replicas", "runtime", "image", "weights", "ready_timeout", "replica_port", "redis_port"),
            "local_token",
        ),
        (Deploy,),
    ),
    **dict.fromkeys(("connect", "app", "credentials"), (Frontend,)),
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
            *("body", "answer", "metrics_url", "method", "content_type", "form", "parameter", "trust_answers"),
            *("unix_socket", "tls_server_name", "wait_ready"),
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
    strays = [name for name, meant in _MEANT.items() if served not in meant and groups.was_given(context, name)]
    if strays:
        meant = _MEANT[strays[0]]
        raise ConfigError(_refusal(context, [name for name in strays if _MEANT[name] == meant], meant, served))


def _refusal(context: typer.Context, names: list[str], meant: tuple[type[Served], ...], served: type[Served]) -> str:
    """Why options cannot be used, and what to do.

    Args:
        context: of the verb.
        names: of the options; all of them mean something for the same.
        meant: what they mean something for.
        served: what is served.
    """
    given = [groups.as_given(context, name) for name in names]
    flags, s, them = option_sources.listed(given), "s" * (len(names) == 1), "it" if len(names) == 1 else "them"
    if "connect" in names or names == ["model"]:
        one, noun = ("model", "models") if names == ["model"] else ("connect", "servers")
        both = " and ".join(groups.as_given(context, name) for name in (one, "target"))
        return f"{both}: two {noun}; leave one of them out"
    if served is External:
        part = "a deployment" if meant == (Deploy,) else "--connect" if meant == (Frontend,) else "loadgen's frontends"
        return f"{flags}: belong{s} to {part}, and --target names an external server; leave {them} out"
    if meant == (External,):
        remedy = "add --target URL" if served is Deploy else "use --target URL in place of --connect"
        return f"{flags}: need{s} --target; leave {them} out, or {remedy}"
    if served is Frontend:
        return (
            f"{flags}: belong{s} to a deployment, and --connect starts none; leave {them} out, or leave --connect out"
        )
    return f"{flags}: need{s} --connect; leave {them} out, or add --connect HOST"


@groups.panel(help_format.TARGET)
def target(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Load a model on another server; start nothing: oip+grpc://HOST:PORT/MODEL[/VERSION], oip+http://…, "
            "http://HOST:PORT/PATH, http+json://…; oip+grpcs, oip+https, https and https+json through TLS.",
            rich_help_panel=help_format.COMMON,
        ),
    ] = None,
    connections: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --target: connections of a client.  [default: enough]"),
    ] = None,
    shared_memory: Annotated[
        bool, typer.Option("--shared-memory", help="With --target: pass inputs through memory shared with the server.")
    ] = False,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: VALUE'|@FILE",
            help="With --target: a header of each request; a file, one a line, keeps secrets off the process list.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --target: file with a bearer token.")
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With TLS: authorities to trust, PEM.  [default: the system's]")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="With TLS: client certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="With TLS: its private key, PEM.")] = None,
    tls_server_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With TLS: the name in the server's certificate.  [default: the host]"),
    ] = None,
    unix_socket: Annotated[
        Path | None, typer.Option(metavar="PATH", help="With --target: connect to this socket, not to host and port.")
    ] = None,
    wait_ready: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With --target: time limit for the server to be ready.  [default: none]"),
    ] = None,
    body: Annotated[
        str | None,
        typer.Option(metavar="BODY|@FILE", help='With http: body of requests; "$input" stands for the input.'),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="With http: method.  [default: POST; GET without a body]"),
    ] = None,
    content_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="With http: type of the body.  [default: guessed from the body]")
    ] = None,
    form: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE|NAME=@FILE", help="With http: a field of a form; @$input for the input's file."
        ),
    ] = None,
    answer: Annotated[
        str | None, typer.Option(metavar="PATH", help="With http: path that JSON answers must have: choices[0].text.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="With oip: a parameter of each request, such as priority=1."),
    ] = None,
    trust_answers: Annotated[
        bool, typer.Option("--trust-answers", help="With --target: count each answer that is not an error, unread.")
    ] = False,
    metrics_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With --target: URL of its Prometheus metrics.  [default: the usual one]"),
    ] = None,
) -> groups.Settings:
    """A model on an external server."""
    connect = context.params.get("connect")
    _refuse_strays(context, External if target is not None else Frontend if connect is not None else Deploy)
    if target is None:
        return {}
    address = parse_address(target, unix_socket, tls_server_name)
    headers = list(_headers(header or ()))
    for name, count in Counter(name for name, _ in headers).items():
        if count > 1:
            raise ConfigError(f"--header {name}: given {times(count)}; give it once")
    if token_file is not None:
        if any(name == "authorization" for name, _ in headers):
            raise ConfigError(f"--header Authorization and --token-file {token_file}: two tokens; give one of them")
        headers.append(("authorization", f"Bearer {_token(token_file)}"))
    if content_type is not None and any(name == "content-type" for name, _ in headers):
        raise ConfigError(f"--header Content-Type and --content-type {content_type}: two types; give one of them")
    shapes, datatypes = console.optional("--input-shape", parse_inputs, context.params.get("input_shape")) or ({}, {})
    options = TargetOptions(
        address=address,
        access=Access(tuple(headers), tls_ca, tls_cert, tls_key),
        shapes=shapes,
        connections=connections,
        shared_memory=shared_memory,
        body=body,
        answer=answer,
        metrics_url=metrics_url,
        method=None if method is None else method.upper(),
        content_type=content_type,
        form=tuple(form or ()),
        datatypes=datatypes,
        parameters=parse_parameters(parameter or ()),
        trust_answers=trust_answers,
        wait_ready_s=console.optional("--wait-ready", parse_duration, wait_ready),
    )
    return {"target": options}


def _headers(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The headers that options name; no error quotes what may be the value of one."""
    for number, text in enumerate(options, start=1):
        if not text.startswith("@"):
            yield _header(text, "--header" if len(options) == 1 else f"--header, {number} of {len(options)}")
            continue
        path = Path(text[1:])
        try:
            lines = files.read_text(path, files.MAX_SETTING_BYTES).splitlines()
        except files.UnreadableError as error:
            raise ConfigError(f"--header {text}: cannot be read: {error}") from None
        found = [(place, line) for place, line in enumerate(lines, start=1) if line.strip()]
        if not found:
            raise ConfigError(f"--header {text}: holds no header; write a line such as 'NAME: VALUE'")
        for place, line in found:
            yield _header(line, f"--header {text}, line {place}")


def _header(text: str, where: str) -> tuple[str, str]:
    """A header.

    Args:
        text: as it was written.
        where: for errors.
    """
    name, colon, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    if not colon or not name or not name.isascii() or not all(char.isalnum() or char in "-_." for char in name):
        raise ConfigError(f"{where}: not a header; write it as 'NAME: VALUE', or name a file that holds it, @FILE")
    if not value.isascii() or not value.isprintable():
        raise ConfigError(f"{where}: the value of {name!r} is not printable ASCII; write it so")
    if name in _OURS or name.endswith("-bin"):
        raise ConfigError(f"{where}: {name!r} is set by the protocol; leave it out")
    return name, value


_OURS = ("connection", "content-length", "te", "transfer-encoding", "upgrade")
"""Headers that the protocols need as they are; those that end in ``-bin`` have an encoding of their own in gRPC."""


def _token(path: Path) -> str:
    try:
        token = files.read_text(path, files.MAX_SETTING_BYTES).strip()
    except files.UnreadableError as error:
        if not os.path.exists(path):  # it may be the token itself
            raise ConfigError("--token-file: no such file; name the file that holds the token") from None
        raise ConfigError(f"--token-file {path}: cannot be read: {error}") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"--token-file {path}: holds no token; write one line of ASCII without spaces")
    return token
