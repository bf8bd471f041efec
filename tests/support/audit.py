"""Asks an advisory database about the pinned versions in constraints.txt: `make audit`."""

import json
import os
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
DATABASE = "https://api.osv.dev"
TIMEOUT_S = 30.0
NOT_AUDITED = 3


def pinned(text: str) -> list[tuple[str, str]]:
    """Names and versions that a file of constraints pins."""
    return re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE)


def known(pins: list[tuple[str, str]], database: str) -> list[str]:
    """A line for each pinned version that has advisories.

    Args:
        pins: names and versions.
        database: the URL of one that answers as OSV does.

    Raises:
        OSError: it cannot be reached.
        ValueError: it answers with something else.
    """
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in pins]
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(f"{database}/v1/querybatch", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        results: list[dict[str, Any]] = json.load(answer)["results"]
    return [
        f"{name} {version}: {', '.join(row['id'] for row in result['vulns'])}"
        for (name, version), result in zip(pins, results, strict=True)
        if result.get("vulns")
    ]


def main() -> None:
    """Name what is known; exit code 1 where there is something, 3 where the database cannot be reached."""
    database = os.environ.get("LOADGEN_ADVISORIES", DATABASE)
    pins = pinned(CONSTRAINTS.read_text())
    try:
        found = known(pins, database)
    except (OSError, ValueError, KeyError) as error:
        reason = f"not audited: {database} cannot be asked: {error}; set LOADGEN_ADVISORIES to one that can"
        sys.stderr.write(reason + "\n")
        sys.exit(NOT_AUDITED)
    sys.stdout.write(("\n".join(found) or f"{len(pins)} pinned versions: no advisory") + "\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
