"""The options of what is shown while a measurement is under way: live view, page, Prometheus, tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from loadgen.cli import console, groups, help_format
from loadgen.errors import ConfigError
from loadgen.feed.options import LOOPBACK, Endpoint, Live, parse_endpoint
from loadgen.parsing import parse_tag


@groups.panel(help_format.RESULTS)
def live(
    no_live: Annotated[
        bool,
        typer.Option("--no-live", help="On a terminal: log a line per interval, in place of the live view."),
    ] = False,
    prometheus: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT", help="Serve the client's metrics to Prometheus meanwhile.  [default host: 127.0.0.1]"
        ),
    ] = None,
    web: Annotated[
        int | None,
        typer.Option(
            metavar="[PORT]", help="Serve a page for this machine's browsers meanwhile.  [default: any free port]"
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="A tag that results, reports and metrics carry; may be given several times."
        ),
    ] = None,
) -> groups.Settings:
    """What is shown while it is under way."""
    terminal = not no_live and console.shows_live()
    return {
        "live": Live(
            terminal,
            console.optional("--prometheus", parse_endpoint, prometheus),
            None if web is None else Endpoint(LOOPBACK, web),
        ),
        "tags": _tags(tag or ()),
    }


def _tags(texts: Iterable[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in texts:
        name, value = console.parsed("--tag", parse_tag, text)
        if name in tags:
            raise ConfigError(f"--tag {text}: {name} is given already; leave one of them out")
        tags[name] = value
    return tags
