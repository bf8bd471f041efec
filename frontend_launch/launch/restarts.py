"""When a replica that died or hangs is replaced, and how often. Pure: told the time, never reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from frontend_launch.counters import ReplicaCounters
from frontend_launch.quantities import times

LASTED_S = 10.0
"""A replacement that lasts less long has failed."""

MOST_IN_A_ROW = 5
"""After this many failed replacements in a row a replica is not replaced any more."""

FIRST_DELAY_S = 1.0
"""Before the replacement after a failed one; each delay after that is twice as long."""


@dataclass(slots=True)
class _History:
    times: int = 0
    in_a_row: int = 0
    started_s: float = 0.0
    reason: str = ""


class Restarts:
    """The replacements of a deployment's replicas, by role."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}
        self._overdue: set[str] = set()

    def delay_s(self, role: str, reason: str, now_s: float) -> float | None:
        """How long to wait before a replica is replaced; None where it is not any more.

        Args:
            role: of the replica.
            reason: why it is to be replaced, after its name.
            now_s: monotonic clock.
        """
        history = self._histories.setdefault(role, _History())
        lasted = not history.times or now_s - history.started_s >= LASTED_S
        history.in_a_row = 0 if lasted else history.in_a_row + 1
        if history.in_a_row >= MOST_IN_A_ROW:
            return None
        history.times += 1
        history.reason = reason
        delay_s = FIRST_DELAY_S * 2 ** (history.in_a_row - 1) if history.in_a_row else 0.0
        history.started_s = now_s + delay_s
        return delay_s

    def hung(self, rows: Iterable[ReplicaCounters], now_s: float, ready_timeout_s: float) -> dict[str, str]:
        """The roles whose replicas hang, with why they are to be replaced.

        Args:
            rows: the counters of all replicas.
            now_s: monotonic clock.
            ready_timeout_s: patience for a replacement to register.
        """
        alive = [row for row in rows if row.alive and row.role]
        overdue = {row.role for row in alive if row.overdue}
        hung, self._overdue = overdue & self._overdue, overdue
        registered = {row.role for row in alive}
        late = {
            role
            for role, history in self._histories.items()
            if role not in registered and now_s - history.started_s > ready_timeout_s
        }
        return {
            **dict.fromkeys(sorted(late), f"was not ready within {ready_timeout_s:.0f} s"),
            **dict.fromkeys(sorted(hung), "did not answer in time"),
        }

    def remarks(self) -> list[str]:
        """A line for each replica that was replaced."""
        return [
            f"{role} was replaced {times(history.times)}, {'the last time ' * (history.times > 1)}"
            f"because it {history.reason}"
            for role, history in self._histories.items()
            if history.times
        ]
