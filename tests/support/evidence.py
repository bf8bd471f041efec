"""Where `make evidence` keeps what it found: a page for each promise, in docs/evidence."""

import os
import platform
from collections.abc import Mapping
from datetime import date
from pathlib import Path

DIRECTORY = Path(__file__).parents[2] / "docs" / "evidence"


def keep(name: str, title: str, text: str, made_by: str = "make evidence") -> None:
    """Write a page, which says when and on what its figures were taken.

    Args:
        name: of the file.
        title: of the page.
        text: below it.
        made_by: the command.
    """
    DIRECTORY.mkdir(exist_ok=True)
    where = f"{date.today().isoformat()}, {os.cpu_count()} cores, Python {platform.python_version()}, `{made_by}`"
    (DIRECTORY / f"{name}.md").write_text(f"# {title}\n\n{where}\n\n{text.strip()}\n")


def keep_whole(name: str, title: str, head: str, rows: Mapping[int, str], count: int) -> None:
    """Write a page of a table whose rows come from tests of their own; print it where some of them did not run.

    Args:
        name: of the file.
        title: of the page.
        head: what comes before the rows.
        rows: by their place.
        count: of all rows.
    """
    text = "\n".join([head, *(rows[place] for place in sorted(rows))])
    if len(rows) == count:
        keep(name, title, text)
    else:
        print(f"\n{text}")  # noqa: T201 - a run of some of the tests asked for them
