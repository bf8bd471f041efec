"""The requests in flight and their send times: arrays indexed by request id, no entry per request.

Pure: told the time, never reads it. Memory is bounded by the number in flight, not by the number sent: ids
share a ring of slots. A request that is still outstanding when its slot comes round again, such as one whose answer
never came, moves to a small dictionary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_FREE = -(2**63)
"""An id of no request and no reply."""

_HIGHEST_TIME_NS = 2**63 - 1

_LOOKED_AT = 1024
"""Requests that are looked at together for how old they are."""


class Settled(NamedTuple):
    """What a drain of replies meant.

    Attributes:
        known: bool, one per reply: it is the first answer to an outstanding request.
        planned_ns: int64, one per reply: when its request was to be sent; 0 where not known.
        sent_ns: int64, one per reply: when it was sent; 0 where not known.
        taking_ns: int64, one per reply: how long the target took to take it; 0 where not known.
    """

    known: np.ndarray
    planned_ns: np.ndarray
    sent_ns: np.ndarray
    taking_ns: np.ndarray


SettledOne = tuple[bool, int, int, int]
"""The same of one reply."""

_UNKNOWN: SettledOne = (False, 0, 0, 0)


def settled_of(replies: Sequence[SettledOne]) -> Settled:
    """What several replies meant, of which each was settled by itself."""
    known, *times_ns = np.array(replies, dtype=np.int64).reshape(-1, 4).T
    return Settled(known.astype(bool), *times_ns)


class Lost(NamedTuple):
    """Requests that timed out or were abandoned; int64, all of one length.

    Attributes:
        ids: which.
        planned_ns: when they were to be sent.
        sent_ns: when they were sent.
    """

    ids: np.ndarray
    planned_ns: np.ndarray
    sent_ns: np.ndarray


class InFlight:
    """The outstanding requests of one run; ids count up from 0 without gaps.

    Args:
        capacity: a hint for the most requests in flight at once; more is possible, and slower.
        planned: requests are sent by a plan; otherwise the time at which one was sent is its planned time.

    Attributes:
        sent: requests sent so far, also the next id.
        outstanding: requests without an outcome.
        late: replies to requests whose outcome was final.
        unexpected: replies to ids that were never sent.
    """

    def __init__(self, capacity: int, *, planned: bool = False) -> None:
        slots = 1 << max(10, (4 * capacity - 1).bit_length())
        self._mask = slots - 1
        self._ids = np.full(slots, _FREE, dtype=np.int64)
        self._sent_ns = np.zeros(slots, dtype=np.int64)
        self._planned_ns = np.zeros(slots, dtype=np.int64) if planned else self._sent_ns
        self._taking_ns = np.zeros(slots, dtype=np.int64)
        # The same memory for single requests: an element costs a tenth of what a call of numpy does.
        self._id_at = self._ids.data
        self._times_at = (self._planned_ns.data, self._sent_ns.data, self._taking_ns.data)
        self._stragglers: dict[int, tuple[int, int, int]] = {}
        self._oldest = 0
        self.sent = self.outstanding = self.late = self.unexpected = 0

    def send(self, count: int, now_ns: int, planned_ns: np.ndarray | None = None, taking_ns: int = 0) -> None:
        """The next `count` requests, at most a quarter of the slots, were sent now.

        Args:
            count: how many.
            now_ns: now.
            planned_ns: int64 ``(count,)``, ascending: when they were to be sent, if there is a plan.
            taking_ns: how long the target took to take them.
        """
        first = 0
        if count == 1 and self._id_at[slot := self.sent & self._mask] == _FREE:
            planned_at, sent_at, taking_at = self._times_at
            self._id_at[slot], sent_at[slot], taking_at[slot] = self.sent, now_ns, taking_ns
            if planned_ns is not None:
                planned_at[slot] = planned_ns[0]
            self.sent += 1
            first = 1
        while first < count:  # twice where the ring begins anew
            slot = self.sent & self._mask
            some = min(count - first, len(self._ids) - slot)
            slots = slice(slot, slot + some)
            self._occupy(slots, now_ns, None if planned_ns is None else planned_ns[first:][:some])
            self._taking_ns[slots] = taking_ns
            self.sent += some
            first += some
        self.outstanding += count

    def _occupy(self, slots: slice, now_ns: int, planned_ns: np.ndarray | None) -> None:
        """Give slots to the next requests; a request that still holds one becomes a straggler."""
        ids = self._ids[slots]
        taken = ids != _FREE
        if np.count_nonzero(taken):
            columns = (self._planned_ns, self._sent_ns, self._taking_ns)
            times = zip(*(column[slots][taken].tolist() for column in columns), strict=True)
            self._stragglers.update(zip(ids[taken].tolist(), times, strict=True))
        ids[:] = np.arange(self.sent, self.sent + len(ids))
        self._sent_ns[slots] = now_ns
        if planned_ns is not None:
            self._planned_ns[slots] = planned_ns

    def settle(self, ids: np.ndarray) -> Settled:
        """Replies to these requests arrived: each outstanding one gets its outcome, the rest are counted.

        Args:
            ids: int64, in the order of arrival; an id may occur twice, the first time counts.
        """
        # A call of numpy costs the same for one reply as for a hundred, and replies often come a few at a time.
        slots = ids & self._mask
        known = self._ids[slots] == ids
        if np.count_nonzero(known) == len(ids) and _distinct(ids):
            sent_ns = self._sent_ns[slots]
            planned_ns = sent_ns if self._planned_ns is self._sent_ns else self._planned_ns[slots]
            self._ids[slots] = _FREE
            self.outstanding -= len(ids)
            return Settled(known, planned_ns, sent_ns, self._taking_ns[slots])
        return settled_of([self.settle_one(request_id) for request_id in ids.tolist()])

    def settle_one(self, request_id: int) -> SettledOne:
        """A reply to this request arrived: the same as `settle` of one."""
        slot = request_id & self._mask
        if request_id >= 0 and self._id_at[slot] == request_id:
            planned_at, sent_at, taking_at = self._times_at
            self._id_at[slot] = _FREE
            self.outstanding -= 1
            return (True, planned_at[slot], sent_at[slot], taking_at[slot])
        if request_id in self._stragglers:
            self.outstanding -= 1
            return (True, *self._stragglers.pop(request_id))
        if 0 <= request_id < self.sent:
            self.late += 1
        else:
            self.unexpected += 1
        return _UNKNOWN

    def expire(self, planned_before_ns: int) -> Lost:
        """Time out requests planned at or before a time."""
        # Ids are sent in the order of the plan, and stragglers are the oldest, in that order too. So the search ends at
        # the first request that is young enough. Its cost grows with the requests that ended since the last search, not
        # with those in flight.
        gone = []
        for request_id, times in self._stragglers.items():
            if times[0] > planned_before_ns:
                break
            gone.append((request_id, *times[:2]))
        for request_id, *_ in gone:
            del self._stragglers[request_id]
        losses = [np.array(gone, dtype=np.int64).reshape(-1, 3)]
        # Everything before `_oldest` has an outcome or is a straggler, and so has everything whose slot was given away.
        self._oldest = max(self._oldest, self.sent - len(self._ids))
        while self._oldest < self.sent:
            ids = np.arange(self._oldest, min(self._oldest + _LOOKED_AT, self.sent))
            slots = ids & self._mask
            outstanding = self._ids[slots] == ids
            young = np.flatnonzero(outstanding & (self._planned_ns[slots] > planned_before_ns))
            passed = int(young[0]) if len(young) else len(ids)
            lost = np.flatnonzero(outstanding[:passed])
            slots = slots[lost]
            losses.append(np.column_stack((ids[lost], self._planned_ns[slots], self._sent_ns[slots])))
            self._ids[slots] = _FREE
            self._oldest += passed
            if passed < len(ids):
                break
        together = np.concatenate(losses)
        self.outstanding -= len(together)
        return Lost(*together.T)

    def abandon(self) -> Lost:
        """Everything that is outstanding, which is abandoned."""
        return self.expire(_HIGHEST_TIME_NS)


def _distinct(ids: np.ndarray) -> bool:
    """Whether no id occurs twice; replies mostly arrive in order, which is the cheap case."""
    return np.count_nonzero(ids[1:] > ids[:-1]) == len(ids) - 1 or len(np.unique(ids)) == len(ids)
