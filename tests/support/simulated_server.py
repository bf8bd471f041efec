"""A batching server in virtual time: what a run on it would show, as evidence for a verdict.

Requests wait in one queue. A replica that is idle takes up to `max_batch` of them; a batch takes
`alpha_s + beta_s * queries`, times a jitter, and `gap_s` more on the way between frontend and replica.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass

from loadgen.judging.evidence import Evidence


@dataclass(frozen=True, slots=True)
class SimulatedServer:
    """The parameters of a server.

    Attributes:
        alpha_s: time of a batch, whatever its size.
        beta_s: time of each query in a batch.
        gap_s: time between frontend and replica, of each batch.
        jitter: standard deviation of a batch's time, as a share of it.
        max_batch: largest batch.
        replicas: number of replicas.
    """

    alpha_s: float
    beta_s: float
    gap_s: float
    jitter: float
    max_batch: int
    replicas: int

    @property
    def capacity_rps(self) -> float:
        """Requests a second with full batches."""
        return self.replicas * self.max_batch / (self.alpha_s + self.beta_s * self.max_batch + self.gap_s)

    @classmethod
    def drawn(cls, draw: random.Random) -> SimulatedServer:
        """A server whose full batch takes 0.5 to 50 ms."""
        full_s = 0.0005 * 100 ** draw.random()
        max_batch = draw.choice((1, 2, 4, 8, 16, 32))
        fixed = draw.random()
        return cls(
            alpha_s=full_s * fixed,
            beta_s=full_s * (1 - fixed) / max_batch,
            gap_s=draw.uniform(0.05, 0.5) * 1e-3,
            jitter=draw.uniform(0.0, 0.3),
            max_batch=max_batch,
            replicas=draw.choice((1, 2, 3, 4)),
        )


def open_loop(server: SimulatedServer, load: float, duration_s: float, draw: random.Random) -> Evidence:
    """Poisson arrivals for a warm-up of a quarter and a measured part.

    Args:
        server: who answers.
        load: offered rate ÷ capacity.
        duration_s: of the measured part.
        draw: the source of chance.
    """
    rate_rps, began_s = load * server.capacity_rps, duration_s / 4
    arrivals, at_s = [], 0.0
    while (at_s := at_s + draw.expovariate(rate_rps)) < began_s + duration_s:
        arrivals.append(at_s)
    return _Run(server, began_s, began_s + duration_s, draw).open(arrivals)


def closed_loop(server: SimulatedServer, window: int, duration_s: float, draw: random.Random) -> Evidence:
    """A constant number of requests in flight; each answer is followed by the next request at once.

    Args:
        server: who answers.
        window: requests in flight.
        duration_s: of the measured part.
        draw: the source of chance.
    """
    began_s = duration_s / 4
    return _Run(server, began_s, began_s + duration_s, draw).closed(window)


class _Run:
    """The events of one run and its sums over the measured part."""

    def __init__(self, server: SimulatedServer, began_s: float, ends_s: float, draw: random.Random) -> None:
        self._server, self._draw = server, draw
        self._began_s, self._ends_s = began_s, ends_s
        self._queue = 0
        self._idle = server.replicas
        self._done: list[tuple[float, float, int]] = []
        self._busy_s = 0.0
        self._batches = self._full = self._queries = self._answered = 0

    def open(self, arrivals: list[float]) -> Evidence:
        waiting = deque(arrivals)
        while waiting or self._done:
            if waiting and (not self._done or waiting[0] <= self._done[0][0]):
                now_s = waiting.popleft()
                self._queue += 1
            else:
                now_s, began_s, queries = heapq.heappop(self._done)
                self._finish(now_s, began_s, queries)
            self._dispatch(now_s)
        planned = sum(at_s >= self._began_s for at_s in arrivals)
        duration_s = self._ends_s - self._began_s
        return self._evidence(1_000_000, 0.0, planned / duration_s)

    def closed(self, window: int) -> Evidence:
        self._queue = window
        now_s = 0.0
        self._dispatch(now_s)
        while now_s < self._ends_s:
            now_s, began_s, queries = heapq.heappop(self._done)
            self._finish(now_s, began_s, queries)
            self._queue += queries
            self._dispatch(now_s)
        return self._evidence(window, float(window), None)

    def _dispatch(self, now_s: float) -> None:
        server = self._server
        while self._idle and self._queue:
            queries = min(self._queue, server.max_batch)
            self._queue -= queries
            self._idle -= 1
            factor = max(0.1, self._draw.gauss(1.0, server.jitter))
            takes_s = server.gap_s + factor * (server.alpha_s + server.beta_s * queries)
            heapq.heappush(self._done, (now_s + takes_s, now_s, queries))
            if self._began_s <= now_s < self._ends_s:
                self._batches += 1
                self._full += queries == server.max_batch
                self._queries += queries

    def _finish(self, now_s: float, began_s: float, queries: int) -> None:
        self._idle += 1
        self._busy_s += max(0.0, min(now_s, self._ends_s) - max(began_s, self._began_s))
        if self._began_s <= now_s < self._ends_s:
            self._answered += queries

    def _evidence(self, window: int, in_flight: float, offered_rps: float | None) -> Evidence:
        duration_s, replicas = self._ends_s - self._began_s, self._server.replicas
        for _, began_s, _ in self._done:
            self._busy_s += max(0.0, self._ends_s - max(began_s, self._began_s))
        return Evidence(
            max_batch=self._server.max_batch,
            client_cpu_share=0.1,
            window=window,
            in_flight_mean=in_flight,
            replicas=replicas,
            in_flight_share=self._busy_s / (replicas * duration_s),
            batches=self._batches,
            mean_batch=self._queries / self._batches if self._batches else None,
            full_batch_share=self._full / self._batches if self._batches else None,
            offered_rps=offered_rps,
            throughput_rps=self._answered / duration_s,
            answered_share=None if offered_rps is None else 1.0,
            lag_p99_ms=None if offered_rps is None else 0.1,
            duration_s=duration_s,
        )
