"""The command line: one module per verb turns options into one call and the result into text and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Entry point of ``loadgen``; it imports the rest once Ctrl-C has a meaning."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    from loadgen.cli.verbs import run  # noqa: PLC0415 - once a signal is handled

    run(sys.argv[1:])


def _interrupted(number: int, _: object) -> NoReturn:
    """End the program at once: an exception could get lost in a module that is being imported."""
    os.write(2, b"loadgen: interrupted\n")
    os._exit(128 + number)
