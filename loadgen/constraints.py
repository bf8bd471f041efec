"""Bounds of numbers, for the reader of documents, for their schema, and for durations."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]

MAX_DURATION_S = 10 * 365 * 86_400.0
"""Ten years: longer than any experiment, and far below the range of clocks in nanoseconds."""
