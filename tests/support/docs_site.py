"""Builds the documentation site into build/docs: strict, and checked to load nothing from another host."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "docs"

_LOADS = re.compile(r"""(?:\bsrc=|<link\b[^>]*\bhref=)["']((?:https?:)?//[^"']+)|url\(["']?((?:https?:)?//[^)"']+)""")
"""What a page or a style sheet loads by itself from another host; links that a reader follows are not among it."""


def loaded(site: Path) -> Iterator[str]:
    """A line for each address of another host that a page or a style sheet of the site loads."""
    for path in sorted({*site.rglob("*.html"), *site.rglob("*.css")}):
        for found in _LOADS.finditer(path.read_text()):
            yield f"{path.relative_to(site)}: loads {found[1] or found[2]}; the site must work offline"


def main() -> None:
    """Build the site, and exit with what is wrong with it."""
    from sphinx.cmd.build import build_main  # the extra docs

    arguments = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(SITE.with_name("doctrees"))]
    if code := build_main([*arguments, str(ROOT / "docs"), str(SITE)]):
        sys.exit(code)
    if faults := list(loaded(SITE)):
        sys.exit("\n".join(faults))
    sys.stdout.write(f"built {SITE.relative_to(ROOT)}/index.html\n")


if __name__ == "__main__":
    main()
