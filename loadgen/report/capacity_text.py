"""Formats the search for capacity: its plan, its probes, and the rate that it found."""

from __future__ import annotations

import math

from frontend_launch.quantities import duration, number, plural
from loadgen.experiments.capacity import CapacityConfig, FoundCapacity
from loadgen.experiments.search import MAX_STRETCH, MOST_CONFIRMING, STEP, Capacity
from loadgen.plan import Plan
from loadgen.report.columns import table
from loadgen.report.plan_text import setup_text


def capacity_plan_text(plan: Plan, config: CapacityConfig) -> str:
    """What a search will run, how many probes it makes, and how long they take.

    Args:
        plan: of its probes.
        config: of the search.
    """
    limits, effort = config.sized, config.effort
    arrivals = {0.0: "constant arrivals", 1.0: "Poisson arrivals"}.get(config.cv, f"arrivals of cv {config.cv:g}")
    each = f"{limits.duration_s:g} s a probe, {limits.confirm_s:g} s each that decides"
    least, most = (duration(math.ceil(seconds)) for seconds in effort.measured_s)
    fewest, largest = effort.probes
    deciding = min(MOST_CONFIRMING, largest)
    if config.asked and config.within_s is not None:
        return "\n".join([setup_text(plan, arrivals, each), *_asked_text(config, config.within_s)])
    lines = [
        setup_text(plan, arrivals, each),
        f"search for the highest rate with {', '.join(map(str, config.conditions))}",
        f"probes      {fewest} at least, {largest} at most, {deciding} of them that decide",
        f"time        {least} at least, {most} at most, and some seconds for each probe until the server is idle",
        f"            below {number(effort.stretched_below_rps, 3)} requests/s a probe is longer, "
        f"up to {MAX_STRETCH:g} times, to have {plural(limits.samples, 'request')}",
    ]
    if largest < fewest:
        lines.append(f"--probes {largest}: fewer than confirm an answer; use {fewest} or more")
    return "\n".join(lines)


def _asked_text(config: CapacityConfig, within_s: float) -> list[str]:
    """What a search does that is asked about a rate.

    Args:
        config: of the search.
        within_s: its time.
    """
    rate, rate_rps = number(config.start_rps), config.start_rps or 0.0
    first = duration(math.ceil(config.warmup_s + config.sized.length_s(rate_rps, confirms=True)))
    return [
        f"first       {rate} requests/s for {first}: do they hold {', '.join(map(str, config.conditions))}?",
        f"then        if they do, the highest rate that does, in steps of {STEP:g} times: this overloads the server;",
        f"            if not, lower rates. To send {rate} requests/s only, use `loadgen rate` with --fail-if",
        f"time        {first} at least, {duration(math.ceil(within_s))} at most (--within)",
    ]


def capacity_text(found: FoundCapacity, width: int | None = None) -> str:
    """What a search found: all of its probes, the answer with its interval, and what it took.

    Args:
        found: by the search.
        width: of the terminal, as in `table`.
    """
    probes = plural(len(found.capacity.probes), "probe")
    search = f"search      {probes} in {duration(found.seconds)}"
    return "\n".join([*capacity_lines(found.capacity, width), search])


def capacity_lines(capacity: Capacity, width: int | None = None) -> list[str]:
    """The probes of a search, and its answer with its interval.

    Args:
        capacity: what was found.
        width: of the terminal, as in `table`.
    """
    return [*table(probe_rows(capacity), width).splitlines(), *found_lines(capacity)]


def probe_rows(capacity: Capacity) -> list[tuple[str, ...]]:
    """The probes of a search, a row each, after one of headings."""
    rows: list[tuple[str, ...]] = [("probe", "requests/s", "s", "outcome", "")]
    for probe in capacity.probes:
        text = probe.text if probe.invalid is None else f"{probe.text} (invalid: {probe.invalid})"
        rows.append((probe.step, number(probe.rate_rps), f"{probe.duration_s:.0f}", probe.outcome, text))
    return rows


def found_lines(capacity: Capacity) -> list[str]:
    """The answer of a search with its interval."""
    lines = []
    if capacity.confirmed and capacity.failed_rps is not None:
        held, failed = number(capacity.rate_rps), number(capacity.failed_rps)
        known = " with 95% confidence"
        if unsure := capacity.without_interval:
            known = f", as measured: {', '.join(unsure)} {'has' if len(unsure) == 1 else 'have'} no interval"
        lines.append(f"capacity    {held} requests/s ({held} to {failed}{known})")
        lines.append(
            f"confirmed   by runs of {capacity.confirm_s:g} s: "
            f"the objective held at {held} requests/s, and did not at {failed}"
        )
    else:
        lines.append(f"capacity    {capacity.state}; {capacity.bracket}")
    if capacity.invalid:
        probes = plural(len(capacity.probes), "probe")
        lines.append(f"invalid     {len(capacity.invalid)} of {probes}; the answer rests on them")
    return lines
