"""Chooses which requests are timed: all of them at a low rate, evenly spread ones at a high one. Pure."""

from __future__ import annotations

from model_containers.units import NS_PER_S

MOST_PER_S = 50
"""Requests that are timed a second, about. Timing one costs several times what a small request costs, so that where
there are many of these, few may be timed."""

_LOOK_NS = NS_PER_S // 5
"""After this time, or twice the requests that are wanted in it, the rate is looked at again."""

_MOST_BETWEEN_LOOKS = 2 * MOST_PER_S * _LOOK_NS // NS_PER_S


class Sampler:
    """Every nth request of a stream, where n follows from its rate."""

    def __init__(self) -> None:
        self._stride, self._skip = 1, 0
        self._since_ns, self._seen = 0, 0
        self._picked, self._ahead = 0, 0.0

    def pick(self, count: int, now_ns: int) -> range:
        """Which of the next requests are timed, as their places among these, ascending.

        Args:
            count: how many they are, at least 1.
            now_ns: monotonic clock.
        """
        if now_ns - self._since_ns > _LOOK_NS or self._seen > _MOST_BETWEEN_LOOKS * self._stride:
            self._look(now_ns)
        picked = range(self._skip, count, self._stride)
        self._skip = (self._skip - count) % self._stride
        self._seen += count
        self._picked += len(picked)
        return picked

    def _look(self, now_ns: int) -> None:
        elapsed_ns = max(1, now_ns - self._since_ns)
        rate = self._seen * NS_PER_S // elapsed_ns
        # Odd, so that in batches of a power of two each place has its turn. The two odd numbers around the wanted
        # stride take turns: about as many are timed as are wanted, and batches of other sizes have their turn too.
        stride = max(1, (rate // MOST_PER_S - 1) | 1)
        if self._since_ns:
            ahead = self._ahead + self._picked - MOST_PER_S * elapsed_ns / NS_PER_S
            most = _MOST_BETWEEN_LOOKS / max(1, stride - 2)  # what some turns of the other stride make up for
            self._ahead = min(max(ahead, -most), max(most, 1.0))
        if rate > MOST_PER_S and self._ahead >= 0:
            stride += 2
        self._skip, self._stride = self._skip * stride // self._stride, stride
        self._since_ns, self._seen, self._picked = now_ns, 0, 0
