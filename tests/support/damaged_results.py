"""Results files of which one or two values were changed."""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400),
    *(0.5, 1e308, -1e308, 1e-320, float("nan"), float("inf")),
    *("", "x", "1", "p99", "a\nb", "\x1b[31m", "\ud800", "é" * 10),
    *([], [1], [None], [[]], {}, {"a": 1}, {"": None}),
)
"""What takes a value's place."""


def damaged(document: dict[str, Any], generator: random.Random) -> dict[str, Any]:
    """The document with one value changed, or two; each name of a member is as likely as any other.

    Args:
        document: stays as it is.
        generator: draws what is changed, and into what.
    """
    changed: dict[str, Any] = copy.deepcopy(document)
    for _ in range(generator.choice((1, 1, 2))):
        by_name = defaultdict(list)
        for holder, key in _places(changed):
            by_name[key if isinstance(key, str) else "a list"].append((holder, key))
        holder, key = generator.choice(by_name[generator.choice(sorted(by_name))])
        _change(holder, key, generator)
    return changed


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Each dictionary or list within a document, with each of its keys or places."""
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, member in members for place in ((node, key), *_places(member))]


def _change(holder: Any, key: Any, generator: random.Random) -> None:
    value, way = holder[key], generator.random()
    if way < 0.15:
        del holder[key]
    elif way < 0.25 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif way < 0.25:
        holder.append(generator.choice(VALUES))
    elif way < 0.4 and isinstance(value, str) and value:
        at = generator.randrange(len(value))
        holder[key] = value[:at] + generator.choice(("", "A", "\n", "=")) + value[at + 1 :]
    elif way < 0.5 and isinstance(value, int | float):
        holder[key] = value * generator.choice((-1, 10**9, 10**30))
    else:
        alike = [other for other in VALUES if type(other) is type(value)]
        holder[key] = generator.choice(alike if alike and way < 0.85 else VALUES)
