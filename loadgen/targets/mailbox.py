"""Keeps replies that come one by one until the runner reads them, and groups the reasons of failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np
from typing_extensions import override

from loadgen.load.target import NO_REPLIES, Outcome, Replies
from loadgen.targets.reasons import Reasons
from model_containers.data_types import Buffer

log = logging.getLogger(__name__)

NO_REQUEST = -1
"""No request has this id."""


class LoggedReasons(Reasons):
    """The reasons of one target's failures; each is logged once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    @override
    def of(self, text: str, request: Buffer = b"") -> str:
        reason = super().of(text, request)
        if reason not in self._said:
            self._said.add(reason)
            log.warning("requests fail: %s", reason)
        return reason


class Mailbox:
    """What has arrived since the last look.

    Args:
        concealed: a reason without what may be secret.
    """

    def __init__(self, concealed: Callable[[str], str] = str) -> None:
        self._concealed = concealed
        self._ids: list[int] = []
        self._done_ns: list[int] = []
        self._outcomes = bytearray()
        self._reasons: list[str] = []
        self._groups = LoggedReasons()
        self._wake: Callable[[], None] | None = None

    def completed(self, request_id: int, done_ns: int = 0) -> None:
        """A good answer is here.

        Args:
            request_id: which is answered.
            done_ns: since when, monotonic clock; 0 for now.
        """
        self._put(request_id, Outcome.COMPLETED, done_ns)

    def failed(self, request_id: int, reason: str, request: Buffer = b"", done_ns: int = 0) -> None:
        """Any other answer is here, or none will come.

        Args:
            request_id: which failed.
            reason: for a reader, the server's status first; counted as `Reasons` has it.
            request: what was sent.
            done_ns: as for `completed`.
        """
        self._reasons.append(self._groups.of(self._concealed(reason), request))
        self._put(request_id, Outcome.FAILED, done_ns)

    def unasked(self) -> None:
        """An answer to no request is here."""
        self._put(NO_REQUEST, Outcome.COMPLETED, 0)

    def _put(self, request_id: int, outcome: Outcome, done_ns: int) -> None:
        self._ids.append(request_id)
        self._done_ns.append(done_ns or time.monotonic_ns())
        self._outcomes.append(outcome)
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake()

    def drain(self) -> Replies:
        """Hand out what has arrived, without waiting; nothing stays behind."""
        if not self._ids:
            return NO_REPLIES
        replies = Replies(
            np.array(self._ids, dtype=np.int64),
            np.array(self._done_ns, dtype=np.int64),
            np.frombuffer(bytes(self._outcomes), dtype=np.uint8),
            (),
            tuple(self._reasons),
            groups=self._groups.groups,
        )
        self._groups.groups = {}
        self._ids.clear()
        self._done_ns.clear()
        self._outcomes.clear()
        self._reasons.clear()
        return replies

    def notify(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, as soon as a reply is there: at once if one is."""
        if self._ids:
            wake()
        else:
            self._wake = wake
