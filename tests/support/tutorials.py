"""The tutorials as programs: the files that they have you write, and the lines that they have you type."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from program import ANY_PORTS, LOADGEN

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


def words(line: str, *, deploys: bool) -> list[str]:
    """A line as a test runs it: for a second, on free ports, valid or not, since other tests load the machine.

    A search takes minutes: it is planned only.

    Args:
        line: of a tutorial.
        deploys: it starts a deployment, so that it has ports.
    """
    verb, *rest = shlex.split(re.sub(r"(?<= -d )\d+[sm]|(?<=--duration_seconds )\d+", "1", line))[1:]
    if verb == "size" and "--dry-run" not in rest:
        rest.append("--dry-run")
    if verb in ("saturate", "rate") and "--dry-run" not in rest:
        rest += ["--allow-invalid", "--no-ceiling", *(ANY_PORTS if deploys else ())]
    return [LOADGEN, verb, *rest]
