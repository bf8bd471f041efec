"""Shared by the verbs: the log's format, signals, and errors as one line with an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO, TypeVar

import typer
import uvloop

from frontend_launch.errors import FrontendLaunchError, LaunchError
from loadgen.cli import exit_codes, option_sources
from loadgen.errors import (
    ClientLimitError,
    ConfigError,
    FieldError,
    Interrupted,
    LoadgenError,
    Worded,
    field_name,
    one_line,
)
from loadgen.load import open_files
from model_containers.printable import RecordFormatter

T = TypeVar("T")

log = logging.getLogger(__name__)

LINE_FORMAT = "%(asctime)s %(levelname)-8s [%(filename)s:%(lineno)d] %(message)s"
NOTHING_MEASURED = "interrupted before there was anything to measure"
AGAIN_S = 1.0
"""A second signal after so long a time ends the program at once, without saving anything."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""The signals that end a run, which keeps what was measured."""

DATE_FORMAT = "%y-%m-%d:%H:%M:%S"


def set_up_logging(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Log a line each in the seed's form; one that cannot be written is not worth a traceback.

    Args:
        stream: where to; None for standard output.
        level: of the least important lines.
    """
    logging.raiseExceptions = False
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(RecordFormatter(LINE_FORMAT, DATE_FORMAT))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for line in option_sources.used():
        log.info(line)


def shows_live(stream: TextIO | None = None) -> bool:
    """Whether a stream is a terminal that a live view can be drawn on.

    Args:
        stream: None for standard output.
    """
    with contextlib.suppress(ValueError):  # it is closed
        return (stream or sys.stdout).isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return False


def columns() -> int | None:
    """How wide the terminal is that standard output is, by COLUMNS where that is set; None where it is no terminal."""
    with contextlib.suppress(ValueError):  # it is closed
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return None


def run(work: Coroutine[Any, Any, T], interrupted: str = "interrupted") -> tuple[T, signal.Signals | None]:
    """Run a coroutine on uvloop; a signal of `ENDING` cancels it, a second one ends the program at once.

    SIGHUP and SIGQUIT do nothing where they are ignored at the start, as under ``nohup``.

    Args:
        work: what to run.
        interrupted: says what the signal was too early for, where the cancellation ends the work.

    Returns:
        What it returned, and the signal that came, if one did.
    """
    received: list[signal.Signals] = []

    async def with_signals() -> T:
        task = asyncio.current_task()
        assert task is not None
        first_s = 0.0

        def on_signal(number: signal.Signals) -> None:
            nonlocal first_s
            if received:
                # Two at once are one that came twice: a terminal and a wrapper both pass it on.
                if time.monotonic() - first_s > AGAIN_S:
                    os._exit(exit_codes.of_signal(number))  # children die with us; containers stay: loadgen down
                return
            first_s = time.monotonic()
            received.append(number)
            task.cancel()

        for number in ENDING:
            ignored = number in (signal.SIGHUP, signal.SIGQUIT) and signal.getsignal(number) is signal.SIG_IGN
            if not ignored:
                asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
        return await work

    before = signal.getsignal(signal.SIGINT)
    with one_line_errors(received):
        if (limit := open_files.raise_limit()) < open_files.MARGIN:
            work.close()
            problem = f"{limit} open files are too few"
            raise ClientLimitError(f"{problem}; raise the limit, such as to 1024 (ulimit -n 1024)")
        try:
            return uvloop.run(with_signals()), received[0] if received else None
        except asyncio.CancelledError:
            raise Interrupted(interrupted) from None
        finally:
            signal.signal(signal.SIGINT, before)  # the loop leaves Python's default
    raise AssertionError("unreachable")


@contextlib.contextmanager
def one_line_errors(
    received: list[signal.Signals] | None = None, typed: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Turn errors raised on purpose into one line on standard error and their exit code.

    Their notes, such as of which part of the work they are, come first.

    Args:
        received: the signals that came, the first of which has a code of its own.
        typed: what was typed for fields of a configuration, where that is not what their values look like.
    """
    try:
        yield
    except (FrontendLaunchError, LoadgenError) as error:
        if isinstance(error, FieldError) and typed is not None:
            error.value = typed.get(error.field, error.value)
        tail = error.log_tail if isinstance(error, LaunchError) else ""
        if tail:
            typer.echo(tail, err=True)
        text = ": ".join([*getattr(error, "__notes__", ()), worded(error)])
        several = isinstance(error, Worded) and error.several_lines
        fail(*(text.splitlines() if several else [option_sources.traced(text)]))
        raise typer.Exit(exit_codes.of_signal(received[0]) if received else exit_codes.of_error(error)) from None


STANDARD_OUTPUT = "-"
ANOTHER_FILE = "name another file"
"""The remedy where one cannot be written."""


def writable(option: str, path: Path | str | None) -> None:
    """Refuse a file that could not be written, before anything is measured for it.

    Args:
        option: its name.
        path: as typed; a dash is standard output, None is nothing.

    Raises:
        ConfigError: it names a directory, or lies in none that can be written to.
    """
    if path is None or str(path) == STANDARD_OUTPUT:
        return
    if str(path).startswith("-"):
        raise ConfigError(f"{option} {path}: looks like an option; name a file first, or write ./{path}")
    try:
        if Path(path).is_dir():
            number = errno.EISDIR
        elif not Path(path).parent.is_dir():
            number = errno.ENOENT
        elif not os.access(path if Path(path).exists() else Path(path).parent, os.W_OK):
            number = errno.EACCES
        else:
            return
    except ValueError:  # a null character
        return  # writing says so
    raise ConfigError(f"{option} {path}: cannot be written: {os.strerror(number)}; {ANOTHER_FILE}")


def write(option: str, path: Path | str | None, text: str) -> None:
    """Write a text to where an option says.

    Args:
        option: its name.
        path: as typed; a dash is standard output, None is nothing.
        text: whole.

    Raises:
        ConfigError: it cannot be written.
    """
    if path is None:
        return
    if str(path) == STANDARD_OUTPUT:
        typer.echo(text, nl=False)
        return
    try:
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError) as error:  # a null character is no OSError
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{option} {path}: cannot be written: {reason}; {ANOTHER_FILE}") from None


_OPTIONS = {
    "Access.ca": "--tls-ca",
    "Access.certificate": "--tls-cert",
    "Access.headers": "--token-file",
    "Access.key": "--tls-key",
    "Asked.objective": "--slo",
    "CapacityConfig.conditions": "--slo",
    "CapacityConfig.cv": "--arrivals",
    "CapacityConfig.start_rps": "--start",
    "Client.cpus": "--client-cpus",
    "Client.processes": "--clients",
    "CompareConfig.a": "--run",
    "CompareConfig.b": "--run",
    "Frontend.application": "--app",
    "Frontend.host": "--connect",
    "Inputs.count": "--inputs",
    "Inputs.dtype": "--input-dtype",
    "Inputs.layout": "--input-layout",
    "Inputs.path": "--input",
    "Inputs.ranges": "--input-range",
    "Renewal.rate_rps": "--rate",
    "SizeConfig.conditions": "--slo",
    "SizeConfig.rate_rps": "--rate",
    "SweepConfig.cv": "--arrivals",
    "SweepConfig.rates_rps": "--rates",
    "TargetOptions.datatypes": "--input-shape",
    "TargetOptions.parameters": "--parameter",
    "TargetOptions.shapes": "--input-shape",
}
"""Options that are not called as the fields that they become."""


def _option(field: str) -> str:
    """The option that a field of a configuration comes from."""
    name = field_name(field).removesuffix("_s").replace("_", "-")
    return _OPTIONS.get(field, f"--{name}-port" if field.startswith("Ports.") else f"--{name}")


def worded(error: Exception) -> str:
    """What an error says, with the names of options."""
    text = error.worded(_option) if isinstance(error, Worded) else str(error)
    if isinstance(error, FieldError) and error.value is True:  # of a switch, which has no value
        return text.replace(f"{_option(error.field)} True:", f"{_option(error.field)}:", 1)
    return text


_about: ContextVar[str] = ContextVar("about", default="")


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Begin what `fail` says with what it is about.

    Args:
        what: such as ``--run FILE``.
    """
    before = _about.set(f"{what}: ")
    try:
        yield
    finally:
        _about.reset(before)


def fail(*lines: str) -> None:
    """Say what went wrong, in one line, or in several on purpose."""
    typer.echo("\n".join(map(one_line, (f"loadgen: {_about.get()}{lines[0]}", *lines[1:]))), err=True)


@contextlib.contextmanager
def kept(what: str, path: Path | None) -> Iterator[None]:
    """Where output cannot be written, have the error say where the rest is.

    Args:
        what: is kept, such as ``the results are in``.
        path: where.
    """
    try:
        yield
    except OSError as error:
        if path is not None:
            error.add_note(f"{what} {path}")
        raise


def optional(option: str, parse: Callable[[str], T], text: str | None) -> T | None:
    """Read an option's text, if it was given; an error names the option.

    Args:
        option: its name, for the error.
        parse: reads the text, or raises `ConfigError`.
        text: as typed; None where the option was not given.
    """
    return None if text is None else parsed(option, parse, text)


def parsed(option: str, parse: Callable[[str], T], text: str) -> T:
    """Read an option's text; an error names the option.

    Args:
        option: its name, for the error.
        parse: reads the text, or raises `ConfigError`.
        text: as typed.
    """
    try:
        return parse(text)
    except FieldError:  # it names another option
        raise
    except ConfigError as error:
        said = _QUOTED.sub(r"\1:", worded(error))
        raise ConfigError(f"{option} {said}") from None


_QUOTED = re.compile(r"^'([^'\\\s]+)':")
"""A word at the beginning of a message, as Python shows it; after its option it stands as it is typed."""
