"""How often the search for the highest rate finds it, on servers in virtual time."""

import evidence
from simulated_search import OBJECTIVES, right, trials

from loadgen.experiments.search import Limits

TRIALS = 60
WANTED = 0.95


def test_the_search_finds_the_capacity():
    """Within its tolerance, in at least 95 % of the trials of each objective."""
    limits = Limits(tolerance=0.02, duration_s=30.0)
    rows, shares = [], []
    for text in OBJECTIVES:
        answers = trials(text, range(100, 100 + TRIALS), limits)
        hits = sum(right(one, text, limits) for one in answers)
        probes = sorted(len(one.probes) for one in answers)[TRIALS // 2]
        rows.append(f"| `{text}` | {TRIALS} | {hits} | {probes} |")
        shares.append(hits / TRIALS)
    head = ["| objective | trials | confirmed within 2 % | probes, median |", "|---|---|---|---|"]
    text = "A server takes one request at a time, 2 ms each; arrivals are Poisson; probes of 30 s in virtual time."
    evidence.keep("capacity-search", "How often the search finds the capacity", "\n".join([text, "", *head, *rows]))
    assert min(shares) >= WANTED, rows
