"""Finds the number of connections to a server that suffices, by trials that its caller makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from frontend_launch.quantities import number

TRIALS = (1, 2, 4, 8)
ROUNDS = 3

NEARLY_BEST = 0.9
"""The fewest connections that carry this share of the highest rate are chosen."""

EASY_RPS, EASY_BYTES_PER_S = 1000.0, 50e6
"""Up to this load, one connection is not the limit."""

BACKLOG_S = 2.0
"""A trial keeps no more in flight than the server answers in this time, so that no backlog is left for the run."""


async def choose_connections(
    rate_rps: Callable[[int, int], Awaitable[float]], window: int, payload_bytes: int
) -> tuple[int, str]:
    """The fewest connections that carry nearly the highest rate, and how that was found, in words.

    One connection is tried with one request in flight, then with more, up to the window. It is enough when it could
    easily carry its rate scaled up to the whole window.

    Args:
        rate_rps: the rate of a trial with a number of connections and of requests in flight.
        window: most requests in flight.
        payload_bytes: of a request.
    """
    in_flight, more = 0, 1
    while in_flight < more:
        in_flight = more
        one_rps = await rate_rps(1, in_flight)
        most_rps = one_rps * window / in_flight  # what more in flight would come to, in proportion, at best
        if most_rps <= EASY_RPS and most_rps * payload_bytes <= EASY_BYTES_PER_S:
            break
        more = min(window, 4 * in_flight, int(one_rps * BACKLOG_S))
    else:
        if in_flight == window:
            return await _compared(rate_rps, window)
    return 1, f"it carries {number(one_rps)} requests/s with {in_flight} in flight, and is not the limit"


async def _compared(rate_rps: Callable[[int, int], Awaitable[float]], window: int) -> tuple[int, str]:
    """The same from short runs with several numbers of connections, in turns."""
    counts = [count for count in TRIALS if count <= window]
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for count in counts * ROUNDS:
        rates[count].append(await rate_rps(count, window))
    middle = {count: sorted(each)[ROUNDS // 2] for count, each in rates.items()}
    found = next(count for count, rps in middle.items() if rps >= NEARLY_BEST * max(middle.values()))
    return found, f"found by trying ({', '.join(f'{count}: {number(rps)}/s' for count, rps in middle.items())})"
