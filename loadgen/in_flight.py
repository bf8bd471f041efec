"""Which requests are outstanding, and since when: arrays indexed by request id, no entry per request.

Pure: told the time, never reads it. Memory is bounded by the number in flight, not by the number sent: ids
share a ring of slots, and the rare request that is still outstanding when its slot comes round again (an
answer that never came, say) moves to a small dictionary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_FREE = -1


class Settled(NamedTuple):
    """What a drain of replies meant.

    Attributes:
        known: bool, one per reply: it is the first answer to an outstanding request.
        sent_ns: int64, one per reply: when its request was sent; 0 where not known.
    """

    known: np.ndarray
    sent_ns: np.ndarray


class InFlight:
    """The outstanding requests of one run; ids count up from 0 without gaps.

    Args:
        capacity: a hint for the most requests in flight at once; more is possible, and slower.

    Attributes:
        sent: requests sent so far, also the next id.
        outstanding: requests without an outcome.
        late: replies to requests whose outcome was final.
        unexpected: replies to ids that were never sent.
    """

    def __init__(self, capacity: int) -> None:
        slots = 1 << max(10, (4 * capacity - 1).bit_length())
        self._mask = slots - 1
        self._ids = np.full(slots, _FREE, dtype=np.int64)
        self._sent_ns = np.zeros(slots, dtype=np.int64)
        self._stragglers: dict[int, int] = {}
        self._oldest = 0
        self.sent = self.outstanding = self.late = self.unexpected = 0

    def send(self, count: int, now_ns: int) -> None:
        """The next `count` requests, at most a quarter of the slots, were sent now."""
        slots = np.arange(self.sent, self.sent + count) & self._mask
        taken = slots[self._ids[slots] != _FREE]
        if taken.size:
            self._stragglers.update(zip(self._ids[taken].tolist(), self._sent_ns[taken].tolist(), strict=True))
        self._ids[slots] = np.arange(self.sent, self.sent + count)
        self._sent_ns[slots] = now_ns
        self.sent += count
        self.outstanding += count

    def settle(self, ids: np.ndarray) -> Settled:
        """Replies to these requests arrived: each outstanding one gets its outcome, the rest are counted.

        Args:
            ids: int64, in the order of arrival; an id may occur twice, the first time counts.
        """
        slots = ids & self._mask
        known = (self._ids[slots] == ids) & (ids >= 0)
        if known.all() and _distinct(ids):
            sent_ns = self._sent_ns[slots]
            self._ids[slots] = _FREE
        else:
            known, sent_ns = self._settle_one_by_one(ids)
        self.outstanding -= int(np.count_nonzero(known))
        return Settled(known, sent_ns)

    def _settle_one_by_one(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known = np.zeros(len(ids), dtype=bool)
        sent_ns = np.zeros(len(ids), dtype=np.int64)
        for index, request_id in enumerate(ids.tolist()):
            slot = request_id & self._mask
            if request_id >= 0 and self._ids[slot] == request_id:
                known[index], sent_ns[index] = True, self._sent_ns[slot]
                self._ids[slot] = _FREE
            elif request_id in self._stragglers:
                known[index], sent_ns[index] = True, self._stragglers.pop(request_id)
            elif 0 <= request_id < self.sent:
                self.late += 1
            else:
                self.unexpected += 1
        return known, sent_ns

    def expire(self, sent_before_ns: int) -> int:
        """Give up on requests sent at or before a time; returns how many."""
        expired = [request_id for request_id, sent_ns in self._stragglers.items() if sent_ns <= sent_before_ns]
        for request_id in expired:
            del self._stragglers[request_id]
        count = len(expired)
        # Ids are sent in order: everything before `_oldest` has an outcome or is a straggler.
        self._oldest = max(self._oldest, self.sent - len(self._ids))
        while self._oldest < self.sent:
            slot = self._oldest & self._mask
            if self._ids[slot] == self._oldest:
                if self._sent_ns[slot] > sent_before_ns:
                    break
                self._ids[slot] = _FREE
                count += 1
            self._oldest += 1
        self.outstanding -= count
        return count


def _distinct(ids: np.ndarray) -> bool:
    """Whether no id occurs twice; replies mostly arrive in order, which is the cheap case."""
    return bool((np.diff(ids) > 0).all()) or len(np.unique(ids)) == len(ids)
