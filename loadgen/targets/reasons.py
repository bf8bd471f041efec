"""Groups the reasons of failed requests: those that differ only in what a server echoes are one. Pure."""

from __future__ import annotations

import re

from model_containers.data_types import Buffer

MOST_REASONS = 16
"""Reasons that are told apart; of each status the others are counted together."""

MOST_TEXTS = 256
"""Texts whose group is remembered; others are worked out again."""

OTHER_REASONS = "other reasons"
OTHER_TEXTS = "other texts"
ECHO = "…"
"""Stands for what differs."""

_STATUS = re.compile(r"(?:[1-5][0-9]{2}|[A-Z][A-Z_]+|status [^:]{1,20}): ")
_VARYING = re.compile(
    r"[0-9a-f]{8}-[0-9a-f-]{20,}"  # a UUID
    r"|(?:0x)?(?=[0-9a-f]*[0-9])[0-9a-f]{8,}"  # a digest, an address, a time
    r"|[-+]?[0-9]+(?:[.,:e][-+]?[0-9]+)*",
    re.IGNORECASE,
)
_WORD = re.compile(rf"[^\s\"'`{ECHO}]{{3,}}")
_REPEATED = re.compile(rf"{ECHO}(?:[\s\"'`,;:.…-]*{ECHO})+")
_LOOKED_THROUGH = 65_536
"""Bytes of a request in which an echo is looked for."""


class Reasons:
    """The reasons of one target's failures.

    A reason stays as it is until another text of its group comes; from then on the group has the text that both share.
    The counter of reasons counts the first one with them, see `loadgen.load.record.Record.failed`.
    """

    def __init__(self) -> None:
        self._only: dict[str, str] = {}
        """By group the only text that it had so far; empty where there were several."""
        self._groups: dict[str, str] = {}
        self._others: set[str] = set()
        self.groups: dict[str, str] = {}
        """The groups of reasons that are one text, since they were last read; the reader empties it."""

    def of(self, text: str, request: Buffer) -> str:
        """The reason to count a failure under.

        Args:
            text: why it failed, its status first if it has one.
            request: what was sent, which a server may echo.
        """
        group = self._groups.get(text)
        if group is None:
            group = normalised(text, request)
            if len(self._groups) < MOST_TEXTS:
                self._groups[text] = group
        only = self._only.get(group)
        if only is None:
            return self._new(group, text)
        if only and only != text:
            self._only[group] = ""
        return text if only == text else group

    def _new(self, group: str, text: str) -> str:
        if len(self._only) < MOST_REASONS:
            self._only[group] = text
            self.groups[text] = group
            return text
        status = _STATUS.match(text)
        other = f"{status[0]}{OTHER_TEXTS}" if status else OTHER_REASONS
        if other not in self._others and len(self._others) >= MOST_REASONS:
            return OTHER_REASONS
        self._others.add(other)
        return other


def normalised(text: str, request: Buffer) -> str:
    """A server's text without what differs from request to request: numbers, and words of the request.

    Args:
        text: as in `Reasons.of`; one without a status is ours, and stays as it is.
        request: as in `Reasons.of`.
    """
    status = _STATUS.match(text)
    if status is None:
        return text
    sent = bytes(request[:_LOOKED_THROUGH]).partition(b"\r\n\r\n")
    body = (sent[2] or sent[0]).decode("utf-8", "replace")
    rest = _WORD.sub(lambda word: ECHO if word[0] in body else word[0], text[status.end() :])
    return status[0] + _REPEATED.sub(ECHO, _VARYING.sub(ECHO, rest))
