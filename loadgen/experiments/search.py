"""Searches the highest rate that holds an objective: asks for probes. Pure.

1. **Bracket.** From a first rate on, double while probes pass, or halve while they do not.
2. **Narrow.** Halve the bracket on a logarithmic scale until its ends are two tolerances apart. Until here short probes
   decide by their figures, which may be chance: they only show where to look.
3. **Confirm.** Long probes, on both sides of what was found, decide by the 95% interval of what they measured. The
   first is a tolerance below; where it does not pass, the next is twice as far away, and so on. The same above, until
   one does not pass. Where both are far apart, the middle is probed too.

A search that is asked about a rate decides that first, by a long probe. Where it passes, the bracket goes on upwards in
small steps, which overload the server as little as a search can; where it does not, downwards.

No probe of the first two steps is evidence: a search that probes until something passes selects the lucky probe. A long
probe whose interval holds the bound decides nothing, and is not made again at its rate.

What a probe comes to, `loadgen.experiments.probes` says. An invalid one is made again after a while, some times at
most.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from frontend_launch.quantities import number, plural
from loadgen.checks import finite, whole
from loadgen.constraints import MAX_DURATION_S
from loadgen.errors import FieldError
from loadgen.experiments.probes import Outcome, Probe, ProbeRequest, Step
from loadgen.judging.slo import Condition

NARROW = 2.0
"""Short probes end when the bracket is at most this many tolerances wide."""

WIDE = 4.0
"""Long probes end when the answer is at most this many tolerances wide."""

STEP = 1.5
"""Factor between rates above one that is asked about."""

NO_TIME = "the next probe did not fit into the time"
"""Why a search with a time ended."""

MOST_CONFIRMING = 16
"""Most long probes, repeated ones included."""

MAX_STRETCH = 4.0
"""A probe is stretched at most by this factor to reach its least number of requests."""

REPEATS = 4
BACK_OFF_S = 5.0
"""An invalid probe is repeated at most `REPEATS` times. The search waits `BACK_OFF_S` before the first repeat, and
doubles the wait each time."""

LOWEST_RPS = 0.01
HIGHEST_RPS = 1e6


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop.

    Attributes:
        tolerance: relative precision of the answer; an interval of four times this is not narrowed.
        duration_s: of a short probe.
        probes: their largest number, repeated and long ones included.
        confirm_s: of a probe that decides.
        samples: requests of each probe at least, up to `MAX_STRETCH` times its duration.
    """

    tolerance: float = 0.02
    duration_s: float = 30.0
    probes: int = 60
    confirm_s: float = 300.0
    samples: int = 660

    def __post_init__(self) -> None:
        finite(self, "tolerance", zero=True)
        if not 0.001 <= self.tolerance <= 0.5:
            raise FieldError("Limits.tolerance", f"{self.tolerance:.3g}", "is out of bounds", "use 0.1% to 50%")
        finite(self, "duration_s", "confirm_s", most=MAX_DURATION_S)
        whole(self, "probes", "samples")

    def length_s(self, rate_rps: float, confirms: bool) -> float:
        """How long a probe lasts.

        Args:
            rate_rps: of the probe.
            confirms: it is one that decides.
        """
        usual_s = self.confirm_s if confirms else self.duration_s
        return max(usual_s, min(self.samples / rate_rps, MAX_STRETCH * usual_s))


@dataclass(frozen=True, slots=True)
class Effort:
    """The effort of a search.

    Attributes:
        probes: fewest that confirm an answer, and most.
        measured_s: the least and the most time that is measured, waits included, at rates that stretch no probe.
        stretched_below_rps: below this rate some probes are stretched, by `MAX_STRETCH` at most.
    """

    probes: tuple[int, int]
    measured_s: tuple[float, float]
    stretched_below_rps: float


def effort(limits: Limits, warmup_s: float = 0.0, first_s: float = 0.0) -> Effort:
    """How many probes a search makes, and how long they take.

    Args:
        limits: when to stop.
        warmup_s: before each probe.
        first_s: length of a run before the first probe.
    """
    narrowing, ratio = 0, 2.0
    while ratio > 1 + NARROW * limits.tolerance:
        narrowing, ratio = narrowing + 1, math.sqrt(ratio)
    # At least one short and one long probe pass; those that do not may be cut short at once.
    least, least_s = 2 + narrowing + 2, limits.duration_s + limits.confirm_s
    long = min(MOST_CONFIRMING, limits.probes) if limits.confirm_s > limits.duration_s else 0
    waits_s = sum(BACK_OFF_S * 2**each for each in range(REPEATS)) * math.ceil(limits.probes / (REPEATS + 1))
    most_s = long * limits.confirm_s + (limits.probes - long) * limits.duration_s + waits_s
    return Effort(
        (least, limits.probes),
        (first_s + least * warmup_s + least_s, first_s + limits.probes * warmup_s + most_s),
        limits.samples / min(limits.duration_s, limits.confirm_s),
    )


UNDER_WAY = "under way"
"""In place of why a search ended, while it goes on, and in what is left of one that was interrupted."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was found.

    Attributes:
        rate_rps: the highest rate that is known to hold; where it is not confirmed, the highest that passed below all
            that did not. None where none did.
        failed_rps: the lowest rate above it that did not pass; None where none was found.
        confirmed: a long probe passed at the rate, and one at `failed_rps` did not: with 95% confidence each,
            capacity is between the two, unless conditions have no interval.
        ended: why the search ended.
        probes: all of them, in order.
        undecided: the search ended because probes were invalid, or long ones did not decide.
        confirm_s: length of the probes that decide.
        without_interval: conditions of which a probe shows a fact, such as ``max<1s``: another probe may show another.
    """

    rate_rps: float | None
    failed_rps: float | None
    confirmed: bool
    ended: str
    probes: tuple[Probe, ...]
    undecided: bool = False
    confirm_s: float = 0.0
    without_interval: tuple[str, ...] = ()

    @property
    def interval_rps(self) -> tuple[float, float] | None:
        """The interval of the capacity, with 95% confidence at each end; None where unknown or not confirmed."""
        if not self.confirmed or self.without_interval or self.rate_rps is None or self.failed_rps is None:
            return None
        return self.rate_rps, self.failed_rps

    @property
    def state(self) -> str:
        """What is to be said of a capacity that is not confirmed."""
        if self.ended == UNDER_WAY:
            return "unknown: the search has not ended"
        return "undecided" if self.undecided else "not confirmed"

    @property
    def bracket(self) -> str:
        """What is known, in words."""
        failed = "" if self.failed_rps is None else number(self.failed_rps)
        if self.rate_rps is None:
            return f"{failed} requests/s did not pass, and no lower rate did" if failed else "no rate passed"
        return f"{number(self.rate_rps)} requests/s passed" + (f", {failed} did not" if failed else "")

    @property
    def invalid(self) -> tuple[Probe, ...]:
        """Invalid probes on which the answer rests, since that was allowed."""
        return tuple(probe for probe in self.probes if probe.invalid is not None)


Search = Generator[ProbeRequest, Probe, Capacity]


class _SearchEnded(Exception):  # noqa: N818 - not a fault: there are no more probes
    """The search has to end."""


class Searcher:
    """A search.

    Args:
        start_rps: the first rate to probe.
        limits: when to stop.
        highest_rps: the highest rate to probe.
        conditions: that have to hold; the answer names those without an interval.
        asked: the first probe decides whether `start_rps` holds.
    """

    def __init__(
        self,
        start_rps: float,
        limits: Limits,
        highest_rps: float = HIGHEST_RPS,
        conditions: Sequence[Condition] = (),
        *,
        asked: bool = False,
    ) -> None:
        self._start_rps, self._limits, self._highest_rps, self._asked = start_rps, limits, highest_rps, asked
        self._without_interval = tuple(str(one) for one in conditions if one.is_fact)
        self._probes: list[Probe] = []
        self._judged: list[Probe] = []  # those that count: the last of several
        self._low: float | None = None
        self._high: float | None = None
        self._held: float | None = None  # the highest rate at which a long probe passed
        self._failed: float | None = None  # the lowest at which one failed
        self._confirming = 0
        self._undecided = False

    def steps(self) -> Search:
        """The search as a generator: it yields what to probe, is sent what came out, and returns what it found."""
        try:
            ended = yield from self._search()
        except _SearchEnded as why:
            ended = str(why)
        return self.so_far(ended)

    def so_far(self, ended: str) -> Capacity:
        """What is known.

        Args:
            ended: why the search ended, or that it did not.
        """
        confirmed = self._held is not None and self._failed is not None
        passed = [probe.rate_rps for probe in self._judged if probe.outcome == "pass"]
        failed = [probe.rate_rps for probe in self._judged if probe.outcome in ("fail", "unstable")]
        rate_rps, failed_rps = self._held, self._failed
        if not confirmed:
            least = min(failed, default=math.inf) if failed_rps is None else failed_rps
            if rate_rps is None or (self._asked and rate_rps == self._start_rps):
                rate_rps = max((one for one in passed if one < least), default=None)
            failed_rps = min((one for one in failed if one > (rate_rps or 0.0)), default=None)
        undecided = self._undecided and not confirmed
        return Capacity(
            rate_rps,
            failed_rps,
            confirmed,
            ended,
            tuple(self._probes),
            undecided,
            self._limits.confirm_s,
            self._without_interval,
        )

    def _search(self) -> Generator[ProbeRequest, Probe, str]:
        yield from self._bracket()
        yield from self._narrow()
        assert self._low is not None
        assert self._high is not None
        found = math.sqrt(self._low * self._high)
        yield from self._below(found)
        yield from self._above(found)
        yield from self._closer()
        return "confirmed"

    def _bracket(self) -> Generator[ProbeRequest, Probe, None]:
        rate_rps, step = self._start_rps, STEP if self._asked else 2.0
        if self._asked and (yield from self._decided("confirm", rate_rps)) == "pass":
            self._low = rate_rps
        elif self._asked:
            self._high = rate_rps
        while self._low is None or self._high is None:
            if self._low is not None:
                rate_rps = self._low * step
            elif self._high is not None:
                rate_rps = self._high / 2
            if (yield from self._probed("bracket", rate_rps)) == "pass":
                self._low = rate_rps
            else:
                self._high = rate_rps

    def _narrow(self) -> Generator[ProbeRequest, Probe, None]:
        assert self._low is not None
        assert self._high is not None
        while self._high / self._low > 1 + NARROW * self._limits.tolerance:
            middle = math.sqrt(self._low * self._high)
            if (yield from self._probed("narrow", middle)) == "pass":
                self._low = middle
            else:
                self._high = middle

    def _below(self, rate_rps: float) -> Generator[ProbeRequest, Probe, None]:
        """Find a rate that holds, below one."""
        step = self._limits.tolerance
        while (lower := rate_rps / (1 + step)) > (self._held or 0.0):
            outcome = yield from self._decided("confirm", lower)
            if outcome == "pass":
                return
            if outcome == "fail":
                rate_rps = lower
            step = min(2 * step, 1.0)

    def _above(self, rate_rps: float) -> Generator[ProbeRequest, Probe, None]:
        """Find a rate that does not hold, above one."""
        step = self._limits.tolerance
        while (higher := rate_rps * (1 + step)) < (self._failed or math.inf):
            outcome = yield from self._decided("above", higher)
            if outcome == "fail":
                return
            if outcome == "pass":
                rate_rps = higher
            step = min(2 * step, 1.0)

    def _closer(self) -> Generator[ProbeRequest, Probe, None]:
        """Halve the bracket while probes decide; confirmed ends stay."""
        assert self._held is not None
        assert self._failed is not None
        while self._failed / self._held > 1 + WIDE * self._limits.tolerance:
            middle = math.sqrt(self._held * self._failed)
            try:
                outcome = yield from self._decided("above", middle)
            except _SearchEnded:
                return
            if outcome not in ("pass", "fail"):
                return

    def _decided(self, step: Step, rate_rps: float) -> Generator[ProbeRequest, Probe, Outcome]:
        """Make a long probe, and keep its decision."""
        outcome = yield from self._probed(step, rate_rps)
        if outcome == "pass":
            self._held = max(rate_rps, self._held or 0.0)
        elif outcome == "fail":
            self._failed = min(rate_rps, self._failed or math.inf)
        else:
            self._undecided = True
        return outcome

    def _probed(self, step: Step, rate_rps: float) -> Generator[ProbeRequest, Probe, Outcome]:
        if not LOWEST_RPS <= rate_rps <= self._highest_rps:
            raise _SearchEnded(f"no bracket between {number(LOWEST_RPS)} and {number(self._highest_rps)} requests/s")
        confirms = step in ("confirm", "above")
        length_s, wait_s = self._limits.length_s(rate_rps, confirms), 0.0
        for repeat in range(REPEATS + 1):
            if len(self._probes) >= self._limits.probes:
                raise _SearchEnded(f"{plural(self._limits.probes, 'probe was', 'probes were')} not enough")
            if confirms and self._confirming >= MOST_CONFIRMING:
                raise _SearchEnded(f"{MOST_CONFIRMING} probes of {self._limits.confirm_s:g} s were not enough")
            self._confirming += confirms
            probe = yield ProbeRequest(step, rate_rps, length_s, wait_s)
            self._probes.append(probe)
            if probe.outcome == "lost":
                raise _SearchEnded(f"{number(rate_rps)} requests/s: {probe.text}")
            allowed = probe.invalid is not None and probe.outcome != "pass" and repeat == 0
            if probe.outcome != "invalid" and not allowed:
                self._judged.append(probe)
                return probe.outcome
            wait_s = BACK_OFF_S * 2**repeat
        self._undecided = True
        raise _SearchEnded(f"{number(rate_rps)} requests/s: invalid {REPEATS + 1} times: {probe.text}")


def search(start_rps: float, limits: Limits) -> Search:
    """The steps of a search.

    Args:
        start_rps: the first rate to probe.
        limits: when to stop.
    """
    return Searcher(start_rps, limits).steps()
