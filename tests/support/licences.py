"""Checks the licences of what loadgen installs, and lists them in docs/licences.md: `make check`, `make docs`."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "licences.md"
MARK = "<!-- licences, by `make docs` -->\n"

PERMISSIVE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "Zlib",
    }
)
MPL = frozenset({"certifi", "hypothesis", "pathspec"})
"""Packages under the Mozilla Public License, which asks for the source of changed files only."""

UNSAID = {
    "mlcommons-loadgen": "Apache-2.0",
    "namex": "Apache-2.0",
    "skops": "MIT",
    "scipy": "BSD-3-Clause",
    "hyperframe": "MIT",
}
"""Packages whose metadata does not name one licence: what their source says."""

NAMES = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""Other names of licences, in lower case."""


def needed() -> dict[str, Distribution]:
    """What loadgen and its extras need and is installed, by canonical name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [
        *project["dependencies"],
        *(text for texts in project["optional-dependencies"].values() for text in texts),
    ]
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, ...]] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if name == "loadgen" or (name, *sorted(extras)) in seen:
            continue
        seen.add((name, *sorted(extras)))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # of another platform, or an extra that has no wheel here
            continue
        waiting += _requirements(found[name], extras)
    return found


def _requirements(package: Distribution, extras: set[str]) -> Iterator[str]:
    """What a package needs on this machine, with these of its extras."""
    for text in package.requires or ():
        marker = Requirement(text).marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield text.partition(";")[0]


def licence(package: Distribution) -> str | None:
    """A package's licence, as an SPDX expression where its metadata allows; None where it says nothing known."""
    metadata = package.metadata
    name = canonicalize_name(metadata["Name"])
    classified = [
        NAMES.get(line.rpartition(" :: ")[2].lower())
        for line in metadata.get_all("Classifier") or ()
        if "License ::" in line
    ]
    said = metadata["License"] or ""
    choices = (
        metadata["License-Expression"],
        UNSAID.get(name),
        NAMES.get(said.lower(), said if said in PERMISSIVE else None),
    )
    return next((text for text in choices if text), None) or " OR ".join(text for text in classified if text) or None


def faults(licences: dict[str, str | None], listed: dict[str, str]) -> Iterator[str]:
    """A line for each package whose licence is not allowed, not known, or not listed.

    Args:
        licences: of what is installed, by name.
        listed: of what the document lists, by name.
    """
    for name, text in sorted(licences.items()):
        if text is None:
            yield f"{name}: its metadata names no licence; read its source and add it to UNSAID"
            continue
        others = {part for part in re.split(r" AND | OR |[()]", text) if part} - PERMISSIVE - ({"MPL-2.0"} & _mpl(name))
        if others:
            yield f"{name}: {', '.join(sorted(others))} is not allowed; leave the package out"
        elif listed.get(name) != text:
            yield f"{name}: {text} is not in {DOCUMENT.relative_to(ROOT)}; run make docs"


def _mpl(name: str) -> set[str]:
    return {"MPL-2.0"} if name in MPL else set()


def listed(text: str) -> dict[str, str]:
    """The packages of the document's table with their licences."""
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (.+?) \|$", text.partition(MARK)[2], re.MULTILINE)
    return {name: licence for name, licence in rows if name != "package"}


def main() -> None:
    """Check; or, with ``--write``, add what is installed to the document's table."""
    licences = {name: licence(package) for name, package in needed().items()}
    before = DOCUMENT.read_text()
    if sys.argv[1:] == ["--write"]:
        # What is not installed here stays: another machine has other extras.
        rows = sorted((listed(before) | {name: text for name, text in licences.items() if text}).items())
        lines = ["| package | licence |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows), ""]
        DOCUMENT.write_text(before.partition(MARK)[0] + MARK + "\n".join(lines))
        return
    found = list(faults(licences, listed(before)))
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
