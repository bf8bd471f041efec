"""The reasons of failed requests: few are told apart, and each is logged once."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

MOST_REASONS = 16
"""Reasons that are told apart; the others are counted together."""

OTHER_REASONS = "other reasons"


class Reasons:
    """Those of one connection."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, reason: str) -> str:
        """The reason as it is counted; it is logged when it is new.

        Args:
            reason: for a reader; of many different ones all but the first 16 are counted together.
        """
        if reason not in self._known:
            if len(self._known) >= MOST_REASONS:
                reason = OTHER_REASONS
            if reason not in self._known:
                self._known.add(reason)
                log.warning("requests fail: %s", reason)
        return reason
