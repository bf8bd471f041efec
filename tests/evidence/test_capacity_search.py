"""How often the interval of a search for capacity holds the truth, on servers in virtual time."""

import evidence
import pytest
from simulated_search import covers, servers, trials

from loadgen.experiments.search import Limits

SEARCHES = 100
WANTED = 90
ROWS: dict[int, str] = {}
HEAD = f"""Of {SEARCHES} searches each, with a tolerance of 2%, probes of 30 s, long ones of 300 s, in virtual time:
how many confirmed an interval, and how many intervals hold the capacity. The width is the upper end over the lower.
Arrivals are Poisson. A server that never waits carries 500 requests/s, the batching one full batches of them.
The capacity comes from a formula, or from a run of eight million requests.
Where no rate holds the objective, a search is right that confirms none.

| server | objective | capacity, requests/s | confirmed | right | width, median | probes, median | minutes, median |
|---|---|---|---|---|---|---|---|"""


@pytest.mark.parametrize("place", range(7))
@pytest.mark.timeout(3000)
def test_intervals_hold_the_capacity(place):
    """At least 90 of 100, for each server."""
    server = servers()[place]
    answers = trials(server, range(100, 100 + SEARCHES), Limits())
    right = sum(covers(server, answer) for answer in answers)
    widths = sorted(ends[1] / ends[0] - 1 for answer in answers if (ends := answer.interval_rps) is not None)
    probes = sorted(len(answer.probes) for answer in answers)[SEARCHES // 2]
    minutes = sorted(sum(probe.duration_s for probe in answer.probes) for answer in answers)[SEARCHES // 2] / 60
    truth = "none" if server.truth_rps is None else f"{server.truth_rps:.4g}"
    width = f"{widths[len(widths) // 2]:.1%}" if widths else "-"
    what = f"{server.name} | `{server.objective}` | {truth}"
    ROWS[place] = f"| {what} | {len(widths)} | {right} | {width} | {probes} | {minutes:.0f} |"
    evidence.keep_whole("capacity-search", "How often a search finds the capacity", HEAD, ROWS, 7)
    assert right >= WANTED, ROWS[place]
