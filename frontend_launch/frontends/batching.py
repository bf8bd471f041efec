"""The queue of one model: it hands out the queries that wait, up to the maximum, and never waits to fill a batch.

Pure: told the time, never reads it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from model_containers.data_types import Buffer

K = TypeVar("K", bound=Hashable)

QUERY_BYTES = 256
"""What a query needs beside its payload."""


class Query(NamedTuple):
    """One input that waits for its answer; a named tuple because one is made for every request.

    Attributes:
        client_id: who asked.
        request_id: the client's own number of the request.
        application: through which application it came, an index into nothing but the caller's tables.
        payload: the input's bytes.
        arrived_ns: when the frontend read it.
        requeued: it was in a batch whose replica died, or failed.
        failed_on: the replica that failed on it; the next batch with it goes to another one.
        suspect: its input may be the reason, which the next replica tells.
        moves: how often it was in a batch whose replica hung.
    """

    client_id: int
    request_id: int
    application: str
    payload: Buffer
    arrived_ns: int
    requeued: bool = False
    failed_on: int | None = None
    suspect: bool = False
    moves: int = 0


class BatchQueue:
    """First in, first out; counts its bytes and the time it was empty.

    Attributes:
        queued_bytes: payload bytes that wait.
        failed: queries that a replica failed on, which wait before all others for another one.
    """

    def __init__(self, now_ns: int) -> None:
        self._queries: deque[Query] = deque()
        self._looked_at: deque[Query] = deque()
        """Those before all others, while a search for unwanted ones is under way."""
        self._to_look_at = 0
        self.failed: deque[Query] = deque()
        self._empty_ns = 0
        self._empty_since_ns: int | None = now_ns
        self.queued_bytes = 0

    def __len__(self) -> int:
        return len(self._looked_at) + len(self._queries) + len(self.failed)

    @property
    def again(self) -> bool:
        """Whether the next query was with a replica before."""
        waiting = self._looked_at or self._queries
        return bool(self.failed) or bool(waiting and (waiting[0].requeued or waiting[0].moves))

    def push(self, query: Query, now_ns: int) -> None:
        """Queue a query behind the others.

        Args:
            query: its payload's bytes count as queued.
            now_ns: monotonic clock.
        """
        self._queries.append(query)
        self.queued_bytes += len(query.payload)
        self._filled(now_ns)

    def push_front(self, queries: Iterable[Query], now_ns: int) -> None:
        """Queue the queries of a lost batch before all others, in their own order.

        Args:
            queries: in their own order; none is fine.
            now_ns: monotonic clock.
        """
        returned = tuple(queries)
        first, before = self._looked_at or self._queries, len(self._queries)
        first.extendleft(query for query in reversed(returned) if query.failed_on is None)
        if self._to_look_at:
            self._to_look_at += len(self._queries) - before
        self.failed.extendleft(query for query in reversed(returned) if query.failed_on is not None)
        self.queued_bytes += sum(len(query.payload) for query in returned)
        if returned:
            self._filled(now_ns)

    def take(self, maximum: int, now_ns: int, replica: int | None = None) -> tuple[Query, ...]:
        """Hand out what is there, at most `maximum`; an empty tuple when nothing waits.

        Args:
            maximum: largest batch, in queries.
            now_ns: monotonic clock.
            replica: that gets the batch, without what it failed on; None where there is no other.
        """
        popleft = self._queries.popleft
        failed = self._take_failed(maximum, replica) if self.failed else ()
        if self._looked_at or self._to_look_at:
            popleft = self._pop_in_search
        waiting = len(self._looked_at) + len(self._queries)
        batch = tuple(popleft() for _ in range(min(maximum - len(failed), waiting)))
        if failed:
            batch = failed + batch
        self.queued_bytes -= sum(len(query.payload) for query in batch)
        self._drained(now_ns)
        return batch

    def _take_failed(self, maximum: int, replica: int | None) -> tuple[Query, ...]:
        wanted = [query for query in self.failed if replica is None or query.failed_on != replica][:maximum]
        taken = set(map(id, wanted))
        self.failed = deque(query for query in self.failed if id(query) not in taken)
        return tuple(wanted)

    def _pop_in_search(self) -> Query:
        if self._looked_at:
            return self._looked_at.popleft()
        self._to_look_at = max(0, self._to_look_at - 1)
        return self._queries.popleft()

    def begin_search(self) -> None:
        """Have `drop_some` look at all queries that wait now."""
        if self._looked_at:
            self._looked_at.extend(self._queries)
            self._queries, self._looked_at = self._looked_at, deque()
        self._to_look_at = len(self._queries)

    def drop_some(self, unwanted: Callable[[Query], bool], maximum: int, now_ns: int) -> tuple[int, int]:
        """Go on with a search for queries whose clients are gone, and forget these.

        Args:
            unwanted: true for a query that is to go; asked once for each.
            maximum: queries to look at, so that the caller can do something else in between.
            now_ns: monotonic clock.

        Returns:
            How many were looked at, and how many of them forgotten; the search is over when none was looked at.
        """
        looked_at, dropped = min(maximum, self._to_look_at), 0
        failed = [query for query in self.failed if unwanted(query)]
        if failed:
            dropped = len(failed)
            self.failed = deque(query for query in self.failed if not unwanted(query))
            self.queued_bytes -= sum(len(query.payload) for query in failed)
        for _ in range(looked_at):
            query = self._queries.popleft()
            if unwanted(query):
                self.queued_bytes -= len(query.payload)
                dropped += 1
            else:
                self._looked_at.append(query)
        self._to_look_at -= looked_at
        self._drained(now_ns)
        return looked_at, dropped

    def take_stale(self, maximum: int, stale: Callable[[Query], bool], bound: int, now_ns: int) -> tuple[Query, ...]:
        """Hand out the first queries, at most `maximum`, as long as they are stale or too many wait.

        Args:
            maximum: queries, so that the caller can do something else in between.
            stale: of a query that has waited for too long.
            bound: bytes that may wait, see `held_bytes`.
            now_ns: monotonic clock.
        """
        taken: list[Query] = []
        for waiting in (self.failed, self._looked_at, self._queries):
            while waiting and len(taken) < maximum and (self.held_bytes > bound or stale(waiting[0])):
                query = waiting.popleft()
                self.queued_bytes -= len(query.payload)
                taken.append(query)
                self._to_look_at = min(self._to_look_at, len(self._queries))
        self._drained(now_ns)
        return tuple(taken)

    @property
    def held_bytes(self) -> int:
        """What the queue holds, queries without a payload included."""
        return self.queued_bytes + QUERY_BYTES * len(self)

    def empty_ns(self, now_ns: int) -> int:
        """How long the queue has been empty, in all, until now."""
        return self._empty_ns + (now_ns - self._empty_since_ns if self._empty_since_ns is not None else 0)

    def _filled(self, now_ns: int) -> None:
        if self._empty_since_ns is not None:
            self._empty_ns += now_ns - self._empty_since_ns
            self._empty_since_ns = None

    def _drained(self, now_ns: int) -> None:
        if not self._queries and not self._looked_at and not self.failed and self._empty_since_ns is None:
            self._empty_since_ns = now_ns


class Room(NamedTuple):
    """What the queues of all models may still take.

    Attributes:
        full: models whose queries are not queued, so that there is room for those of the others.
        free_bytes: may come before this is to be looked at again; without any, nothing more is to be read.
    """

    full: frozenset[Hashable]
    free_bytes: int


def room(held_bytes: Mapping[K, int], most: int) -> Room:
    """Share out the bytes that may wait.

    One model alone may have all. Of several models each has its part of the second half, once the first half is taken.
    So an overloaded model does not keep the frontend from reading the queries of the others.

    Args:
        held_bytes: of the queue of each model that is served or has queries, see `BatchQueue.held_bytes`.
        most: may wait in all.
    """
    held, half = sum(held_bytes.values()), most // 2
    if len(held_bytes) < 2 or held < half:
        return Room(frozenset(), (most if len(held_bytes) < 2 else half) - held)
    part = half // len(held_bytes)
    full = frozenset(model for model, of_model in held_bytes.items() if of_model >= part)
    left = (part - of_model for model, of_model in held_bytes.items() if model not in full)
    return Room(full, min([most - held, *left]))
