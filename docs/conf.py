"""The documentation site: `make docs` builds it into build/docs."""

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

project = _PROJECT["name"]
release = version = _PROJECT["version"]
author = "The loadgen authors"
language = "en"
smartquotes = False  # `--option` in running text

extensions = ["myst_parser"]
exclude_patterns = ["package.md"]  # what a package index shows
nitpicky = True
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_search_summary = False  # a page that is opened as a file cannot read others
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"
highlight_language = "none"
