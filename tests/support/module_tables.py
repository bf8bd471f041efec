"""Writes the tables of modules in docs/architecture.md from the modules' docstrings: `make docs`."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"
GENERATED = "*_pb2.py"
SECTION = re.compile(r"(<!-- modules of (\w+), by `make docs` -->\n).*?(?=<!-- end -->)", re.DOTALL)


def stations() -> dict[str, int]:
    """The folders and files of loadgen → their place, from the top, as the contract in pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["loadgen"])
    names = [name.strip() for layer in layers for name in layer.split("|")]
    return {name: place for place, name in enumerate(names)}


def sentence(path: Path) -> str:
    """The first line of a module's docstring, as Markdown."""
    (line, *_) = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
    return line.replace("``", "`").replace("|", "\\|")


def rows(folder: Path, package: Path) -> Iterator[str]:
    """A row per module, folders after files, each folder with what is in it."""
    order = stations() if folder == package == ROOT / "loadgen" else {}
    modules = {path for path in folder.glob("*.py") if not path.match(GENERATED) and path.name != "__init__.py"}
    folders = {path.parent for path in folder.glob("*/__init__.py")}
    for path in sorted(modules | folders, key=lambda path: (order.get(path.stem, -1), path in folders, path.stem)):
        if path in folders:
            yield f"| **`{path.relative_to(package)}/`** | **{sentence(path / '__init__.py')}** |"
            yield from rows(path, package)
        else:
            yield f"| `{path.relative_to(package)}` | {sentence(path)} |"


def table(package: str) -> str:
    """All modules of a package."""
    return "\n".join(["| module | what it does |", "|---|---|", *rows(ROOT / package, ROOT / package), ""])


def rewritten(text: str) -> str:
    """A document with its tables made anew."""
    return SECTION.sub(lambda section: section[1] + table(section[2]), text)


if __name__ == "__main__":
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text()))
