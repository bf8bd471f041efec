"""The screens of the live view, from records: ``python tests/support/live_screens.py`` writes their snapshots anew."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from frontend_launch.histogram import LatencyHistogram
from frontend_launch.launch.placement import Assignment
from loadgen.feed.messages import Begin, IntervalDone, LoadBegins, Progress, RunEnds, RunPlanned, Waits
from loadgen.hardware.readings import Queue, Reading
from loadgen.judging.slo import parse
from loadgen.live.state import State
from loadgen.live.terminal import rendered
from loadgen.load.record import Interval
from loadgen.load.tally import OUTCOMES
from loadgen.load.target import Outcome
from model_containers.units import NS_PER_S

SNAPSHOTS = Path(__file__).parents[1] / "golden" / "live-screens.txt"
WIDTHS = (80, 120)
BEGAN_NS = 100 * NS_PER_S
PLAN = tuple(
    Assignment("here", role, cores, None, shared)
    for role, cores, shared in (
        ("client", (0,), True),
        ("frontends", (0,), True),
        ("replica-0", (1, 2), False),
        ("replica-1", (3, 4), False),
        ("sampler", (0,), True),
        ("live", (0,), True),
    )
)


def interval(number: int, mean_ms: float = 20.0, completed: int = 6000, lost: int = 0, **more: object) -> Interval:
    """The interval of this number, from 1, three seconds long.

    Args:
        number: which.
        mean_ms: of latencies, which reach from half of it to twice.
        completed: answers.
        lost: requests without an answer.
        more: other members.
    """
    histogram = LatencyHistogram()
    histogram.record((np.geomspace(0.5, 2.0, completed) * mean_ms * 1e6).astype(np.int64))
    return Interval.of(histogram, 3.0 * number, 3.0, 64.0, lost, sent=completed + lost, **more)  # type: ignore[arg-type]


def reading(second: int, own: float = 0.5, outside: float = 0.0) -> Reading:
    """The sampler's reading at a second after load began.

    Args:
        second: when.
        own: share of each core that the plan uses.
        outside: of core 0, that others use.
    """
    now_ns = BEGAN_NS + second * NS_PER_S
    cores = {core: (own + (outside if core == 0 else 0.0)) * second * NS_PER_S for core in range(6)}
    return Reading(
        at_ns=now_ns,
        cores={core: (int(ns), int(ns)) for core, ns in cores.items()},
        cpu_ns={row.role: int(own * second * NS_PER_S / (3 if row.shared else 0.5)) for row in PLAN},
        throttled={},
        rss_bytes={},
        queues={"elastic-net:1": Queue(1234, 250 * second, 1900 * second, 8)},
        wait_ns={row.role: int(outside * second * NS_PER_S) for row in PLAN},
    )


def planned(**more: object) -> RunPlanned:
    """An open loop of two minutes."""
    known: dict[str, object] = {
        "title": "elastic-net",
        "load": "poisson 2,000 requests/s for 120 s",
        "warmup_s": 1.0,
        "measured_s": 120.0,
        "open_loop": True,
        "assignments": PLAN,
    }
    return RunPlanned(**{**known, **more})  # type: ignore[arg-type]


def starting() -> State:
    """Replicas load."""
    state = State()
    state.take(Begin("rate", {"commit": "4f2a9c1", "host": "lab-3"}))
    state.take(Waits("2 replicas to load and warm up", BEGAN_NS - 12 * NS_PER_S))
    return state


def warming_up() -> State:
    """Load has begun, the measured part has not."""
    state = starting()
    state.take(planned(warmup_s=40.0))
    state.take(LoadBegins(BEGAN_NS - NS_PER_S))
    return state


def measuring() -> State:
    """Ten intervals of an open loop without a fault."""
    state = starting()
    state.take(planned(conditions=tuple(parse("p99<=250ms,failed<=0.1%"))))
    state.take(LoadBegins(BEGAN_NS - NS_PER_S))
    for number in range(1, 11):
        state.take(IntervalDone(interval(number, completed=6000 + 150 * number)))
    assert state.run is not None
    for second in (28, 29, 30):
        state.run.read(reading(second))
    return state


def failing() -> State:
    """Conditions and the machine's checks fail, or are about to."""
    state = starting()
    state.take(planned(conditions=tuple(parse("p99<=42ms,p50<=15ms,throughput>=2000,failed<=0.1%"))))
    state.take(LoadBegins(BEGAN_NS - NS_PER_S))
    ended = [0] * OUTCOMES
    ended[Outcome.COMPLETED], ended[Outcome.FAILED] = 5990, 10
    for number in range(1, 11):
        state.take(IntervalDone(interval(number, lost=10, ended=tuple(ended), gaps_s=0.09)))
    assert state.run is not None
    for second in (28, 29, 30):
        state.run.read(reading(second, own=0.4, outside=0.5))
    return state


def counting() -> State:
    """A closed loop that ends by a number of requests, in containers' time."""
    state = State()
    state.take(Begin("saturate"))
    state.take(planned(load="at most 512 requests in flight", measured_s=None, requests=100_000, open_loop=False))
    state.take(LoadBegins(BEGAN_NS - NS_PER_S))
    for number in range(1, 11):
        state.take(IntervalDone(interval(number, mean_ms=4500.0)))
    return state


def sweeping() -> State:
    """The third of twelve cells is over."""
    state = counting()
    state.take(Begin("sweep"))
    state.take(Progress("cells", 3, 12, "r1-c2-b4", 140.0, BEGAN_NS + 20 * NS_PER_S))
    state.take(RunEnds())
    return state


def searching() -> State:
    """A search, whose number of probes is not known."""
    state = measuring()
    state.take(Begin("capacity"))
    state.take(Progress("probes", 4, None, "narrow 2,000 requests/s", 300.0, BEGAN_NS, at_most=True))
    return state


SCREENS: dict[str, Callable[[], State]] = {
    made.__name__: made for made in (starting, warming_up, measuring, failing, counting, sweeping, searching)
}


def snapshots() -> Iterator[str]:
    """Every screen at each width."""
    for name, made in SCREENS.items():
        for width in WIDTHS:
            lines = rendered(made(), width, BEGAN_NS + 30 * NS_PER_S, colours=False)
            yield "\n".join([f"== {name} {width}", *(line.rstrip() for line in lines)])


if __name__ == "__main__":
    SNAPSHOTS.write_text("\n".join(snapshots()) + "\n")
    sys.stdout.write(SNAPSHOTS.read_text())
