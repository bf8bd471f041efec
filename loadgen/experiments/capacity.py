"""Runs the search for capacity on a deployment that is up once: measures the probes and keeps them."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from typing_extensions import override

from frontend_launch.affinity import pinned
from frontend_launch.quantities import exact, number, seconds
from frontend_launch.tasks import to_completion
from loadgen.checks import finite, instance
from loadgen.config import WARMUP_S, ExperimentConfig, Saturate, scheduled
from loadgen.errors import ConfigError, FieldError, Interrupted
from loadgen.experiments.experiment import answer_time, awaited, live_view, log_plan, measure, reference_answers
from loadgen.experiments.probes import Probe, ProbeRequest, bound_s, cannot_pass, hopeless_after, judge, samples
from loadgen.experiments.search import (
    HIGHEST_RPS,
    LOWEST_RPS,
    NO_TIME,
    UNDER_WAY,
    Capacity,
    Effort,
    Limits,
    Searcher,
    effort,
)
from loadgen.feed.view import NO_VIEW, View
from loadgen.judging.early_stop import Decided, FirstOf, Watcher
from loadgen.judging.slo import Condition, check_direction, check_rate, slow_bounds_ns
from loadgen.load import requests_log
from loadgen.load.answers import AnswerCheck
from loadgen.load.arrivals import MAX_REQUESTS, Renewal
from loadgen.load.ending import Ending
from loadgen.load.record import Interval
from loadgen.plan import Plan, prepare
from loadgen.prerequisites import connected
from loadgen.results.document import Results, strict
from loadgen.results.environment import command
from loadgen.results.files import SEARCH, make_directory, new_directory
from loadgen.servers.server import Server
from loadgen.servers.serving import serving

log = logging.getLogger(__name__)

FIRST_S = 5.0
"""Length of the run at full speed from which the first rate follows."""

FIRST_SHARE = 0.5
"""The search begins at this share of the throughput at full speed."""

INTERVAL_S = 1.0
"""How often a probe's backlog is looked at."""

IDLE_FACTOR, IDLE_S = 2.0, 0.01
"""An external server is idle when a single request takes at most this factor of its time at the beginning, or at most
this time."""

SETTLE_S, SETTLE_EVERY_S = 60.0, 0.2
"""Timeout for a server that is not idle, and the time between two single requests."""


@dataclass(frozen=True, slots=True)
class CapacityConfig:
    """The configuration of a search for capacity.

    Attributes:
        base: all settings but when to send and for how long.
        conditions: that have to hold.
        cv: of the times between two requests: 1 is Poisson, 0 constant.
        start_rps: the first rate; None for half of the throughput of a short run at full speed.
        limits: when to stop.
        asked: the first probe decides whether `start_rps` holds; the search goes on from there in small steps.
        within_s: time for the search, whose first probe is made whatever its length; None for as long as it takes.
    """

    base: ExperimentConfig
    conditions: tuple[Condition, ...]
    cv: float = 1.0
    start_rps: float | None = None
    limits: Limits = field(default_factory=Limits)
    asked: bool = False
    within_s: float | None = None

    def __post_init__(self) -> None:
        instance(self, "base", of=(ExperimentConfig,))
        instance(self, "conditions", of=(Condition,), each=True)
        if not self.conditions:
            raise FieldError("CapacityConfig.conditions", "()", "is empty", "name one at least")
        check_direction("CapacityConfig.conditions", self.conditions, objective=True)
        instance(self, "limits", of=(Limits,))
        finite(self, "cv", zero=True)
        finite(self, "start_rps")
        finite(self, "within_s")
        if self.asked:
            if self.start_rps is None:
                raise FieldError("CapacityConfig.start_rps", None, "no rate is asked about", "name one")
            check_rate("CapacityConfig.conditions", self.conditions, self.start_rps)
        start_rps, highest_rps = self.start_rps, self.highest_rps
        if start_rps is not None and not LOWEST_RPS <= start_rps <= highest_rps:
            remedy = f"use {exact(LOWEST_RPS)} to {exact(highest_rps)}"
            raise FieldError("CapacityConfig.start_rps", start_rps, "is out of bounds", remedy)

    @property
    def highest_rps(self) -> float:
        """The highest rate of a probe: the schedule of the longest one fits."""
        longest_s = max(self.limits.duration_s, self.limits.confirm_s)
        return min(HIGHEST_RPS, MAX_REQUESTS // (self.warmup_s + longest_s))

    @property
    def warmup_s(self) -> float:
        """Before each probe."""
        return WARMUP_S if self.base.load.warmup_s is None else self.base.load.warmup_s

    @property
    def sized(self) -> Limits:
        """The limits, with the number of requests that the conditions need of each probe."""
        return replace(self.limits, samples=samples(self.conditions))

    @property
    def effort(self) -> Effort:
        """How many probes a search makes, and how long they take."""
        return effort(self.sized, self.warmup_s, FIRST_S + self.warmup_s if self.start_rps is None else 0.0)


@dataclass(frozen=True, slots=True)
class FoundCapacity:
    """The results of a search.

    Attributes:
        capacity: the answer, and all probes.
        seconds: how long it took.
        directory: of its results.
        not_saved: why its answer could not be saved there; None where it is.
        rows_not_saved: for each probe whose rows could not be saved as asked: the reason, and where they are.
    """

    capacity: Capacity
    seconds: float
    directory: Path
    not_saved: str | None = None
    rows_not_saved: tuple[str, ...] = ()


async def find_capacity(config: CapacityConfig) -> FoundCapacity:
    """Bring up a deployment and find the highest rate at which it holds an objective.

    Cancel its task to end it early; the probes until then are kept.

    Args:
        config: what to do.

    Raises:
        ConfigError: the configuration contradicts itself.
        FrontendLaunchError: nothing could be started.
        TargetError: the server does not answer.
        Interrupted: it was cancelled once there was a directory for the probes.
        CancelledError: it was cancelled before.
    """
    async with connected(config.base):
        plan = await prepare(config.base)
        async with live_view(plan, "capacity", several=True) as view:
            return await _find_capacity(config, plan, view)


async def _find_capacity(config: CapacityConfig, plan: Plan, view: View) -> FoundCapacity:
    directory = _directory(config.base.output.results_dir)
    plan = plan.with_output(replace(plan.config.output, results_dir=directory, log_every_s=INTERVAL_S))
    log_plan(plan)
    kept = f"before there was an answer; the probes are in {directory}"
    prober: _Prober | None = None
    not_saved, rows_not_saved = None, list[str]()
    try:
        check = await reference_answers(plan)
        began_s = time.monotonic()
        view.waits(awaited(plan))
        with pinned(plan.placement.own.cores):
            async with serving(plan) as server:
                prober = _Prober(config, plan, server, check, view)
                rows_not_saved = prober.rows_not_saved
                try:
                    capacity = await prober.search()
                    kept, not_saved = f"after the search; its answer is in {directory}", prober.not_saved
                    prober = None
                finally:
                    await to_completion(server.keep_logs(directory / "logs"))
    except asyncio.CancelledError:
        so_far = "" if prober is None else f"; {prober.so_far.bracket}"
        raise Interrupted(f"interrupted {kept}{so_far}") from None
    return FoundCapacity(capacity, time.monotonic() - began_s, directory, not_saved, tuple(rows_not_saved))


def _directory(results_dir: Path) -> Path:
    make_directory(results_dir)
    try:
        return new_directory(results_dir, f"capacity-{datetime.datetime.now():%y%m%d_%H%M%S}")
    except OSError as error:
        raise ConfigError(f"{results_dir}: a search cannot be kept there ({error.strerror}); choose another") from None


def probe_text(probe: Probe) -> str:
    """A probe in one line."""
    invalid = "" if probe.invalid is None else f" (invalid: {probe.invalid})"
    what = f"{number(probe.rate_rps)} requests/s for {probe.duration_s:.0f} s"
    return f"{probe.step}: {what}: {probe.outcome}, {probe.text}{invalid}"


class Backlog(Watcher):
    """Watches a probe, and cuts it short when its backlog shows that it cannot pass.

    Args:
        ask: the probe.
        conditions: that have to hold.
        drains: outstanding requests are waited for: a server that goes on with requests of a client that is gone would
            delay the next probe.
    """

    ended = Ending.CUT_SHORT

    def __init__(self, ask: ProbeRequest, conditions: Sequence[Condition], drains: bool) -> None:
        self._rate_rps, self._bound_s, self.drains = ask.rate_rps, bound_s(conditions), drains
        self._lasting = hopeless_after(conditions, ask)
        self.in_flight: list[float] = []

    @override
    def should_end(self, interval: Interval) -> bool:
        # The last one may be a fragment; and before the first answers requests are under way, which is no backlog.
        if interval.duration_s >= INTERVAL_S / 2 and (self.in_flight or interval.completed):
            self.in_flight.append(interval.in_flight)
        return cannot_pass(self.in_flight, self._rate_rps, self._bound_s, self._lasting)


class _Prober:
    """A search on a server.

    Attributes:
        not_saved: why the last write of the answer failed; None where it succeeded.
        rows_not_saved: as in `FoundCapacity`.
    """

    def __init__(
        self, config: CapacityConfig, plan: Plan, server: Server, check: AnswerCheck | None, view: View = NO_VIEW
    ) -> None:
        self._config, self._plan, self._server, self._check = config, plan, server, check
        self._view, self._began_s = view, time.monotonic()
        self._searcher: Searcher | None = None
        self._made = 0
        self._overhead_s = 0.0  # of a probe at most, beside its own time
        self._idle_s: float | None = None
        self.not_saved: str | None = None
        self.rows_not_saved: list[str] = []

    @property
    def so_far(self) -> Capacity:
        """What is known."""
        nothing = Capacity(None, None, False, UNDER_WAY, (), confirm_s=self._config.limits.confirm_s)
        return nothing if self._searcher is None else self._searcher.so_far(UNDER_WAY)

    async def search(self) -> Capacity:
        """Probe until there is an answer."""
        config = self._config
        start_rps = config.start_rps or await self._first_rps()
        self._searcher = Searcher(start_rps, config.sized, config.highest_rps, config.conditions, asked=config.asked)
        steps = self._searcher.steps()
        ask = next(steps)
        while True:
            if ask.wait_s:
                log.info("the probe is made again in %g s", ask.wait_s)
                await asyncio.sleep(ask.wait_s)
            began_s = time.monotonic()
            probe = await self._probe(ask)
            took_s = time.monotonic() - began_s
            self._overhead_s = max(self._overhead_s, took_s - config.warmup_s - ask.duration_s)
            log.info("%s", probe_text(probe))
            try:
                ask = steps.send(probe)
            except StopIteration as end:
                capacity: Capacity = end.value
                self._keep(capacity)
                return capacity
            if config.asked and probe.step == "confirm" and probe.outcome == "pass" and ask.step == "bracket":
                log.info("%s requests/s are carried; higher rates follow", number(probe.rate_rps))
            if not self._fits(ask):
                capacity = self._searcher.so_far(NO_TIME)
                self._keep(capacity)
                return capacity
            self._keep(self.so_far)

    def _fits(self, ask: ProbeRequest) -> bool:
        """Whether a probe ends within the time."""
        if self._config.within_s is None:
            return True
        needed_s = ask.wait_s + self._config.warmup_s + ask.duration_s + self._overhead_s
        return time.monotonic() - self._began_s + needed_s <= self._config.within_s

    async def _first_rps(self) -> float:
        """Half of the throughput of a short run at full speed, with few requests in flight."""
        plan, config = self._plan, self._plan.config
        window = 4 * config.serve.batch_size * max(1, len(plan.placement.replicas)) * config.client.processes
        short = plan.with_load(Saturate(FIRST_S, max_in_flight=window))
        self._view.progress("probes", 0, None, "first, at full speed", None)
        await self._settle()
        results = await self._measured(short.with_output(replace(config.output, requests_log=None)), None)
        return FIRST_SHARE * max(results.summary.throughput_rps, 1 / FIRST_S)

    async def _probe(self, ask: ProbeRequest) -> Probe:
        config, effort = self._config, self._config.effort
        left_s = (config.within_s or effort.measured_s[1]) - (time.monotonic() - self._began_s)
        known = left_s > 0 and ask.rate_rps >= effort.stretched_below_rps
        now = f"{ask.step} {number(ask.rate_rps)} requests/s"
        self._view.progress("probes", self._made, None, now, left_s if known else None, at_most=True)
        self._made += 1
        if (busy := await self._settle()) is not None:
            return Probe(ask.step, ask.rate_rps, ask.duration_s, "invalid", busy)
        seed = config.base.seed + self._made
        arrivals = Renewal(ask.rate_rps, ask.duration_s, config.cv, seed)
        output = self._plan.config.output
        rows = requests_log.numbered(output.requests_log, f"{self._made}")
        plan = self._plan.with_load(scheduled(config.base.load, arrivals))
        drains = self._server.facts.deployment is None
        backlog = Backlog(ask, config.conditions, drains)
        watcher: Watcher = backlog
        if not ask.confirms:  # what was measured decides; a long probe is to have its interval
            broken, bounds_ns = [each.opposite for each in config.conditions], slow_bounds_ns(config.conditions) or ()
            watcher = FirstOf(backlog, Decided(broken, bounds_ns, plan.load.most_requests, drains))
        results = await self._measured(plan.with_output(replace(output, requests_log=rows)), watcher)
        return judge(ask, results, config.conditions, backlog.in_flight, config.base.allow_invalid)

    async def _measured(self, plan: Plan, watcher: Watcher | None) -> Results:
        results = await measure(plan, self._server, self._check, watcher, self._config.conditions, self._view)
        if results.ended == Ending.INTERRUPTED:  # a rate that was cut short says nothing
            raise asyncio.CancelledError
        if results.rows_not_saved is not None:
            self.rows_not_saved.append(results.rows_not_saved)
        return results

    async def _settle(self) -> str | None:
        """Wait until earlier requests are answered; returns why the server is not idle, where that takes too long."""
        deployment = self._server.facts.deployment
        if deployment is not None:
            await deployment.set_batch_size(self._plan.config.serve.batch_size)
            return None
        until_s = time.monotonic() + SETTLE_S
        while True:
            took_s = await answer_time(self._plan, self._server)
            if self._idle_s is None:
                took_s = self._idle_s = await answer_time(self._plan, self._server)  # the first one warmed up
            idle_s = self._idle_s or 0.0
            if took_s is not None and took_s <= max(IDLE_S, IDLE_FACTOR * idle_s):
                return None
            if time.monotonic() > until_s:
                took = "is not answered" if took_s is None else f"takes {seconds(took_s)}"
                return f"the server is not idle: a single request {took}, at the beginning {seconds(idle_s)}"
            await asyncio.sleep(SETTLE_EVERY_S)

    def _keep(self, capacity: Capacity) -> None:
        """Write down what is known; a failure does not end the search."""
        directory = self._plan.config.output.results_dir
        document = {
            "command": command(),
            "model": self._plan.model.name,
            "tags": dict(self._config.base.tags),
            "slo": [str(condition) for condition in self._config.conditions],
            "tolerance": self._config.limits.tolerance,
            "capacity": asdict(capacity),
            "interval_rps": capacity.interval_rps,
        }
        path = directory / SEARCH
        temporary = path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(strict(document), indent=2, allow_nan=False) + "\n")
            temporary.replace(path)
            self.not_saved = None
        except OSError as error:
            self.not_saved = f"{path}: cannot be written ({error.strerror})"
            log.error("%s", self.not_saved)
