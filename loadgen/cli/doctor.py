"""``loadgen doctor``: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Say what works here, and what to do about the rest."""
    from loadgen.doctor import examine  # noqa: PLC0415 - `--help` does without

    checks = examine()
    width = max(len(check.name) for check in checks)
    for check in checks:
        typer.echo(f"{'ok' if check.ok else '--'}  {check.name.ljust(width)}  {check.found}")
        if check.remedy:
            typer.echo(f"    {' ' * width}  -> {check.remedy}")
