"""Answers on their way to clients: those of several batches are sent together where that adds next to nothing.

Each sending wakes a thread of ZeroMQ, here and in the client, and then the client. Where queries wait long for small,
quick batches, these threads take the core from the frontend for each batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.clients import BatchTimes, ClientTable
from model_containers.data_types import Buffer
from model_containers.units import NS_PER_S

LONGEST_NS = 1_000_000
"""Answers are held for this time at most, until the next burst of batches ends. Where none comes, a timer fires, which
the loop rounds up to whole milliseconds: two at most."""

LATENCY_SHARE = 100
"""And for at most the time since their queries came, divided by this."""

MOST_ANSWERS = 256
"""That are held; with more nothing is gained."""

MOST_BYTES = 4096
"""Of one answer that is held; a larger one costs more than what is saved."""


class Outbox:
    """Sends what clients get.

    Args:
        clients: of one response socket.
        sent: called after answers were sent in a turn of their own: that may hide messages that came on the socket.

    Attributes:
        replies: answers that were sent.
        orphaned: answers that were not, since their clients are gone.
        unlooked: something was sent since the caller last looked for what sending may have hidden.
    """

    def __init__(self, clients: ClientTable, sent: Callable[[], None]) -> None:
        self._clients, self._sent = clients, sent
        self.replies = self.orphaned = 0
        self.unlooked = False
        self._last_ns = self._until_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None

    def send(self, queries: Sequence[Query], output_type: int, outputs: Sequence[Buffer]) -> None:
        """Send outputs when this turn of the loop is over: all of one turn together.

        Args:
            queries: who asked.
            output_type: of all outputs.
            outputs: one for each query, raw.
        """
        self._clients.hold(queries, output_type, outputs)
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._on_next_turn)

    def send_batch(
        self, queries: Sequence[Query], output_type: int, outputs: Sequence[Buffer], times: BatchTimes, now_ns: int
    ) -> None:
        """Send the outputs of a batch when this burst of batches is over, or in a moment.

        Args:
            queries: who asked, the last to come at the end; one at least.
            output_type: of all outputs.
            outputs: one for each query, raw.
            times: of the batch.
            now_ns: monotonic clock.
        """
        gap_ns, self._last_ns = now_ns - self._last_ns, now_ns
        hold_ns = min(LONGEST_NS, (now_ns - queries[-1].arrived_ns) // LATENCY_SHARE)
        if 2 * gap_ns >= hold_ns:  # with no other batch to come in this time there is nothing to send it with
            hold_ns = 0
        until_ns = now_ns + hold_ns
        self._until_ns = min(self._until_ns, until_ns) if self._clients.held else until_ns
        self._clients.hold(queries, output_type, outputs, times)
        late = now_ns - self._until_ns > LONGEST_NS  # a long burst
        if late or self._clients.held >= MOST_ANSWERS or len(outputs[0]) > MOST_BYTES:
            self.flush()
        elif hold_ns and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LONGEST_NS / NS_PER_S, self._on_timer)

    def flush_if_due(self, now_ns: int) -> None:
        """Send what was held for long enough; to be called after each burst of batches."""
        if self._clients.held and now_ns >= self._until_ns:
            self.flush()

    def flush(self) -> None:
        """Send all that is held."""
        held = self._clients.held
        self.unlooked |= held > 0
        sent = self._clients.send_held()
        self.replies += sent
        self.orphaned += held - sent

    def close(self) -> None:
        """Send all that is held, and set no timer any more."""
        self.flush()
        if self._timer is not None:
            self._timer.cancel()
        if self._soon is not None:
            self._soon.cancel()

    def _on_next_turn(self) -> None:
        self._soon = None
        self.flush()
        self._sent()

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()
        self._sent()
