"""The command that a saturating run suggests: an open loop below the throughput that it found. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from decimal import Decimal

from loadgen.results.document import Results

SHARE = 0.8
"""Of the throughput: far enough from full utilisation that the queue stays short."""

_LEFT_OUT = ("-d", "--duration", "--duration_seconds", "--requests", "--max-in-flight", "--warmup", "--requests-log")
"""Options of the run that mean something else in an open loop, or name a file of the run."""


def next_step(results: Results, program: str) -> str | None:
    """The same command as an open loop, and what it shows; None where the run does not suggest one.

    Args:
        results: of the run.
        program: what to type before the verb.
    """
    throughput = results.summary.throughput_rps
    deployed = any(row.role.startswith("replica") for row in results.placement)
    believed = results.error is None and results.invalid is None
    if "saturate" not in results.command[:2] or not deployed or not believed or not throughput:
        return None
    words = results.command[results.command.index("saturate") + 1 :]
    rate = Decimal(f"{SHARE * throughput:.2g}")
    line = shlex.join(["rate", *_kept(words), "--rate", f"{rate:f}", "--arrivals", "poisson"])
    return f"next        {program} {line}  # what users feel at {SHARE:.0%} of this throughput"


def _kept(words: Sequence[str]) -> list[str]:
    """The words of a command but for the options that are left out, each of which has one value."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _LEFT_OUT:
            skip = True
        elif word.partition("=")[0] not in _LEFT_OUT:
            kept.append(word)
    return kept
