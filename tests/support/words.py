"""Checks the words of documentation, messages, docstrings and comments: `make check`.

It fails on outgrown words, and warns of long sentences; with ``--long`` it lists these.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

CHECKED = (
    "*.md",
    ".ci/*",
    "Makefile",
    "benchmarks/**/*",
    "docs/**/*.md",
    "frontend_launch/**/*.py",
    "loadgen/**/*.py",
    "loadgen/**/html/*",
    "model_containers/**/*.py",
    "pyproject.toml",
    "tests/**/*.py",
)
"""Files that are checked, as patterns."""

SUFFIXES = {".c", ".html", ".js", ".md", ".py", ".sh", ".toml", ""}

REMEDIES = {
    "whoever": "name the person or the process",
    "nobody": "name who does not, or use the passive",
    "so many": "give the number, or write 'this many' or 'the number of'",
    "so often": "give the number, or write 'N times'",
    "of ours": "write 'the client', 'loadgen' or 'that loadgen starts'",
    "is none": "write 'has no NOUN', 'is missing' or 'does not exist'",
    "what it comes to": "name the result",
    "servers of others": "write 'external servers'",
    "rooms": "write 'modules' or 'packages'",
    "house": "write 'package'",
    "street": "write 'package'",
    "has to be for you to say": "write what the user must pass",
    "is given up": "write 'is aborted', 'is closed' or 'is abandoned'",
    "taken for lost": "write 'counts as lost'",
    " %": "write '62%', without a space",
}
"""Outgrown words, in lower case, each with what to write instead."""

EXEMPT: dict[tuple[str, str], str] = {}
"""A file and one of its words that may stay, with the reason."""

MOST_WORDS = 25
"""Of a sentence; longer ones are warned of."""

_GAP = r"""[\s"'#*]+(?:f["'])?"""
"""Between words: ends of lines, with marks of comments and of literals that are joined."""

_SPACED_PERCENT = r"(?<=[\d}])(?:\s|\\u00a0)%(?![\w({])"
"""After a number, or the end of a replacement field; neither a format nor a remainder."""

_DRAWN = re.compile(r"^\s*(?:=+( =+)+$|\+- )", re.MULTILINE)
"""A table or a tree, in a docstring."""

_OUTGROWN = re.compile(
    "|".join(
        rf"(?<![\w-]){_GAP.join(map(re.escape, word.split()))}\b" if word != " %" else _SPACED_PERCENT
        for word in REMEDIES
    ),
    re.IGNORECASE,
)


class Finding(NamedTuple):
    """A place in a file.

    Attributes:
        path: relative to the repository.
        line: of the file.
        text: the word, or the sentence.
    """

    path: str
    line: int
    text: str


def outgrown(path: str, text: str) -> Iterator[Finding]:
    """The outgrown words of a file; of tests and benchmarks, whose literals are data, in docstrings and comments only.

    Args:
        path: of the file.
        text: all of it.
    """
    data = path.endswith(".py") and path.startswith(("tests/", "benchmarks/"))
    for line, passage in _python_passages(text) if data else [(1, text)]:
        for match in _OUTGROWN.finditer(passage):
            if not match[0].endswith(("None", "NoBody")):  # a constant and a class
                word = " ".join(re.findall(r"\w+", re.sub(r"\bf(?=[\"'])", "", match[0]))).lower()
                found = " %" if match[0].endswith("%") else word
                yield Finding(path, line + passage.count("\n", 0, match.start()), found)


def long_sentences(path: str, text: str) -> Iterator[Finding]:
    """The sentences of a Markdown or Python file that have too many words.

    Args:
        path: of the file.
        text: all of it.
    """
    passages = {".md": _markdown_passages, ".py": _python_passages}.get(Path(path).suffix)
    for line, passage in passages(text) if passages else ():
        for paragraph in re.split(r"\n\s*\n|\n(?=\s*[-*] |\s*\w+: )", passage):
            if _DRAWN.search(paragraph):
                continue
            for sentence in re.split(r"(?<=[.!?:;])\s", " ".join(paragraph.split())):
                if len(sentence.split()) > MOST_WORDS:
                    yield Finding(path, line, sentence)


def _python_passages(text: str) -> Iterator[tuple[int, str]]:
    """Docstrings and blocks of comments, each with its first line."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(docstring), lineno=line)):
                yield line, docstring
    line, block = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line = line if block else token.start[0]
            block.append(token.string.lstrip("# "))
        elif token.type != tokenize.NL and block:
            yield line, "\n".join(block)
            block = []


def _markdown_passages(text: str) -> Iterator[tuple[int, str]]:
    """Lines of prose, each with its number; neither code nor tables."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and not line.lstrip().startswith(("|", "```", "#", "<")):
            yield number, line


def files() -> Iterator[tuple[str, str]]:
    """What is checked: paths relative to the repository, with their texts."""
    found = {path for pattern in CHECKED for path in ROOT.glob(pattern)}
    for path in sorted(path for path in found if path.is_file() and path.suffix in SUFFIXES):
        if "__pycache__" not in path.parts and not path.name.endswith(".min.js"):
            yield path.relative_to(ROOT).as_posix(), path.read_text()


def faults() -> Iterator[str]:
    """A line for each outgrown word that has no exemption, and for each exemption that is not needed."""
    found = [finding for path, text in files() for finding in outgrown(path, text)]
    for path, line, word in found:
        if (path, word) not in EXEMPT:
            yield f"{path}:{line}: {word!r} is outgrown; {REMEDIES[word]}"
    for path, word in EXEMPT.keys() - {(finding.path, finding.text) for finding in found}:
        yield f"{path}: {word!r} is exempt and not there; remove the exemption"


def main(arguments: list[str]) -> None:
    """Warn of long sentences, and exit with the faults."""
    long = [finding for path, text in files() for finding in long_sentences(path, text)]
    lines = [f"{path}:{line}: {len(sentence.split())} words: {sentence}" for path, line, sentence in long]
    if long and "--long" not in arguments:
        lines = [f"warning: {len(long)} sentences have more than {MOST_WORDS} words; {__file__} --long lists them"]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.exit("\n".join(faults()) or None)


if __name__ == "__main__":
    main(sys.argv[1:])
