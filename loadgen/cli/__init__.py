"""The command line: one module per verb turns options into one call and the result into text and an exit code."""

from __future__ import annotations

import atexit
import codecs
import io
import os
import signal
import sys

TYPE_CHECKING = False
"""True to type checkers. What is imported before Ctrl-C has a meaning is little."""

if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Entry point of ``loadgen``; it imports the rest once Ctrl-C has a meaning and the standard streams are open."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    _open_streams()
    from loadgen.cli.verbs import run  # noqa: PLC0415 - once a signal is handled

    try:
        run(sys.argv[1:])
    except SystemExit as end:
        _leave_what_hangs(end)
        raise


def _leave_what_hangs(end: SystemExit) -> None:
    """End the program without the interpreter's own end, where that could crash.

    Args:
        end: of the program.
    """
    tasks = sys.modules.get("frontend_launch.tasks")
    if tasks is not None and tasks.hangs() and isinstance(end.code, int | None):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)


def _interrupted(number: int, _: object) -> NoReturn:
    """End the program at once: an exception could get lost in a module that is being imported."""
    os.write(2, b"loadgen: interrupted\n")
    os._exit(128 + number)


def _open_streams() -> None:
    """Open the null device for each standard stream that is closed, and let streams write what they cannot encode.

    A socket or a file would take the number of a closed one, and whatever writes to it would write there.
    """
    from model_containers.printable import BYTES_OF_NAMES  # noqa: PLC0415 - once a signal is handled

    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - it stays open
        stream = getattr(sys, name)
        if mode == "w" and isinstance(stream, io.TextIOWrapper):
            # A name of a file is written as the bytes that it is.
            codecs.register_error(BYTES_OF_NAMES, _written)
            plain = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if plain else stream.encoding, errors=BYTES_OF_NAMES)


def _written(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for text that cannot be encoded: the bytes that it was decoded from, or an escape."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)
