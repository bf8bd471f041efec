"""How often the search of the cheapest configuration finds it, on deployments in virtual time."""

import statistics
from dataclasses import replace

import evidence
import pytest
from simulated_deployments import Simulation, World

SEEDS = 200
ROWS: dict[int, str] = {}
HEAD = f"""Of {SEEDS} machines of eight cores each, with 90 cells: models whose batch of one takes 4 to 40 ms, with
batch curves, thread scaling and a law of replicas drawn from the seed, Poisson arrivals, and an objective `p99<` 3 to
15 times a batch of one. The truth is the p99 of 200,000 requests. Runs vary by *noise* as a whole, beside what chance
does within them; some are invalid.

*Cheapest*: the answer costs as much as the cheapest configuration that holds. *Next*: as the next cheapest.
*Dearer*: more. *None*: undecided. *Wrong*: cheaper than any that holds, so that its p99 is above the bound.
*Close*: of those that are not the cheapest, how many have a cheapest whose p99 is above 85% of its bound.
*Covered*: the interval of the capacity holds the truth. *Measured*: the largest share of the cells.

| noise | invalid | within | cheapest | next | dearer | none | wrong | close | covered | measured | minutes, median |
|---|---|---|---|---|---|---|---|---|---|---|---|"""

CASES = ((0.0, 0.0, 600.0), (0.02, 0.05, 600.0), (0.02, 0.05, 1800.0))


@pytest.mark.parametrize("place", range(len(CASES)))
@pytest.mark.timeout(7200)
def test_the_cheapest_configuration_is_found(place):
    """And its interval holds the truth; few cells are measured; hardly any answer is wrong."""
    noise, invalid, within_s = CASES[place]
    counts = dict.fromkeys(("cheapest", "next", "dearer", "none", "wrong"), 0)
    close = covered = answers = 0
    shares, minutes = [], []
    for seed in range(SEEDS):
        world = World.drawn(seed, noise=noise, invalid=invalid)
        asked = replace(world.question, within_s=within_s)
        answer = Simulation(world, asked).answer()
        kind = world.compared(answer)
        counts[kind] += 1
        close += kind not in ("cheapest", "wrong") and world.closeness() > 0.85
        shares.append(len(answer.measured) / answer.cells)
        minutes.append(answer.runs[-1].told.elapsed_s / 60)
        if answer.best is not None and answer.capacity is not None:
            answers += 1
            covered += answer.capacity.low <= world.capacity_rps(answer.best) <= answer.capacity.high
    how = f"{noise:.0%} | {invalid:.0%} | {within_s / 60:.0f} min"
    found = " | ".join(map(str, counts.values()))
    figures = f"{covered / answers:.1%} | {max(shares):.0%} | {statistics.median(minutes):.1f}"
    ROWS[place] = f"| {how} | {found} | {close} | {figures} |"
    evidence.keep_whole("size", "How often `loadgen size` finds the cheapest configuration", HEAD, ROWS, len(CASES))
    assert covered >= 0.93 * answers, ROWS[place]
    assert max(shares) <= 0.35, ROWS[place]
    assert counts["wrong"] <= 0.02 * SEEDS, ROWS[place]
