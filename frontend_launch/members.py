"""Reads JSON objects into dataclasses and skips members that a later version added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def from_members(kind: type[T], members: Mapping[str, Any]) -> T:
    """Make a dataclass of a JSON object; members that it does not name are ignored.

    Raises:
        AttributeError: it is no object.
        TypeError: a member without a default is missing.
    """
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in members.items() if name in known})
