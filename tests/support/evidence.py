"""Where `make evidence` keeps what it found: a page for each promise, in docs/evidence."""

import os
import platform
from datetime import date
from pathlib import Path

DIRECTORY = Path(__file__).parents[2] / "docs" / "evidence"


def keep(name: str, title: str, text: str) -> None:
    """Write a page, which says when and on what its figures were taken."""
    DIRECTORY.mkdir(exist_ok=True)
    where = f"{date.today().isoformat()}, {os.cpu_count()} cores, Python {platform.python_version()}, `make evidence`"
    (DIRECTORY / f"{name}.md").write_text(f"# {title}\n\n{where}\n\n{text.strip()}\n")
