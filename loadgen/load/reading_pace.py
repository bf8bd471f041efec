"""How often a closed loop reads its replies: several together, where that adds next to nothing to latencies. Pure.

A client that wakes up for each reply takes the core from the server for each of them. Read together, replies cost both
less. A reply is stamped when it is read, so its latency is too long by up to the time between two readings.
"""

from __future__ import annotations

LONGEST_NS = 1_000_000
"""The longest time between two readings."""

LATENCY_SHARE = 100
"""The time between two readings is at most the median latency divided by this."""

LEAST_IN_FLIGHT = 256
"""With fewer requests in flight each reply is read as it comes: few would come together."""

_STEP = 50
"""With each reading the estimate of the median moves by this part of itself, up or down; so half of the latencies are
above it, and a change by a factor of two takes some 35 readings."""


class ReadingPace:
    """Says when replies are read next; told one latency of each reading.

    Attributes:
        longest_ns: the longest time between two readings that it asked for in the measured part.
    """

    def __init__(self) -> None:
        self.longest_ns = self._interval_ns = 0
        self._median_ns = 0

    def begin_measured(self) -> None:
        """The measured part begins, within the interval that was asked for last."""
        self.longest_ns = self._interval_ns

    def next_ns(self, now_ns: int, latency_ns: int) -> int:
        """When to read next.

        Args:
            now_ns: of this reading, monotonic clock.
            latency_ns: of any one of the replies that were read.
        """
        median_ns = self._median_ns or latency_ns
        step_ns = max(1, median_ns // _STEP)
        self._median_ns = median_ns + step_ns if latency_ns > median_ns else max(1, median_ns - step_ns)
        self._interval_ns = min(LONGEST_NS, self._median_ns // LATENCY_SHARE)
        self.longest_ns = max(self.longest_ns, self._interval_ns)
        return now_ns + self._interval_ns
