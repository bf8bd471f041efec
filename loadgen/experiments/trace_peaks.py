"""The peaks of a trace: of all of it, and of each of its parts."""

from __future__ import annotations

from collections.abc import Sequence

from loadgen.load.arrivals import Trace

PEAK_S = 10.0
"""The peak of a trace is the highest rate of any window of this length."""

PARTS = 12
"""Parts of a trace, each with its own number of replicas."""


def window_s(trace: Trace) -> float:
    """The length of the window whose rate is the peak: `PEAK_S`, or all of a shorter trace."""
    return min(PEAK_S, trace.duration_s)


def peak_rps(trace: Trace) -> float:
    """The highest rate of `PEAK_S` of a trace."""
    return busiest_rps(_times_s(trace), window_s(trace))


def course(trace: Trace) -> list[tuple[float, float]]:
    """The peaks of a trace, part by part: when each begins, in seconds, and its highest rate of some seconds."""
    times_s, length_s = _times_s(trace), trace.duration_s / PARTS
    parts: list[list[float]] = [[] for _ in range(PARTS)]
    for time_s in times_s:
        parts[min(PARTS - 1, int(time_s / length_s))].append(time_s)
    return [(number * length_s, busiest_rps(part, min(PEAK_S, length_s))) for number, part in enumerate(parts)]


def busiest_rps(times_s: Sequence[float], window_s: float) -> float:
    """The highest rate of any window of a trace.

    Args:
        times_s: of its requests, ascending.
        window_s: length of the window.
    """
    most, first = 0, 0
    for last, time_s in enumerate(times_s):
        while times_s[first] <= time_s - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most / window_s


def _times_s(trace: Trace) -> list[float]:
    times: list[float] = (trace.times_ns(0.0) / 1e9).tolist()
    return times
