"""The page of a measurement that is under way: the report's script draws it, and a stream of events feeds it.

The page asks this process alone for anything, and its policy forbids the rest.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from loadgen import report

SCRIPT, STYLE, PLOTLY = "draw.js", "page.css", "plotly-basic.min.js"
"""Files of the report that the page shares."""


def page(first: Mapping[str, Any]) -> str:
    """The page, as HTML.

    Args:
        first: the snapshot that it begins with.
    """
    # In JSON, < can only be within a string, where it could end the script element.
    parts = {**_parts(), "data": json.dumps(first, allow_nan=False).replace("<", "\\u003c")}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], parts["template"])


@functools.cache
def _parts() -> Mapping[str, str]:
    shared, own = (resources.files(package) / "html" for package in (report, __package__))
    return {
        "template": own.joinpath("live.html").read_text("utf-8"),
        "style": shared.joinpath(STYLE).read_text("utf-8") + own.joinpath("live.css").read_text("utf-8"),
        "plotly": shared.joinpath(PLOTLY).read_text("utf-8"),
        "script": shared.joinpath(SCRIPT).read_text("utf-8") + own.joinpath("live.js").read_text("utf-8"),
    }
