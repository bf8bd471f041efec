"""The tutorials as programs: the files that they have you write, and the lines that they have you type."""

import re
from collections.abc import Iterator
from pathlib import Path

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorial").glob("[!i]*.md"))

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks that call loadgen; a line that goes on is one."""
    for language, text in _BLOCK.findall(page.read_text()):
        if language == "sh":
            yield from (line for line in text.replace("\\\n", " ").splitlines() if line.startswith("loadgen "))


def write_files(page: Path, directory: Path) -> None:
    """Write the files of a page: blocks that begin with their name as a comment.

    Args:
        page: a tutorial.
        directory: where they go.
    """
    for _, text in _BLOCK.findall(page.read_text()):
        if match := re.match(r"# ([\w.]+)\n", text):
            (directory / match[1]).write_text(text)
