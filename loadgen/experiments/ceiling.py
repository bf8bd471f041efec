"""Measures what the client can do by itself: the run's load, from the same client, against a null server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
from dataclasses import dataclass, field, replace
from pathlib import Path

from frontend_launch.errors import FrontendLaunchError
from loadgen.config import OpenLoop, Saturate
from loadgen.errors import LoadgenError, TargetError
from loadgen.experiments.ceiling_cache import Situation, TrialCache
from loadgen.hardware.readings import parse_process_cpu
from loadgen.judging.ceiling import PERCENTILES, Ceiling, Trial, floor_rate_rps, of_run, refuted, warnings
from loadgen.load.answers import AnswerCheck
from loadgen.load.arrivals import Arrivals, Renewal
from loadgen.load.clients import clients
from loadgen.load.inputs import InputSource, MadeInputs
from loadgen.load.job import Job
from loadgen.load.record import Record
from loadgen.load.runner import Hooks, Phase
from loadgen.load.summary import latencies_ms
from loadgen.load.target import Outcome
from loadgen.plan import Plan
from loadgen.results.document import Results
from loadgen.results.environment import Environment
from loadgen.servers.null_process import NullAnswer, NullServer, null_answer, null_server
from loadgen.servers.server import Workload
from loadgen.targets.balanced import BalancedSpec
from model_containers.units import NS_PER_S

log = logging.getLogger(__name__)

TRIAL_S = 0.5
RATE_TRIAL_S = 1.0
"""At a rate, a trial has fewer requests."""

WARMUP_S = 0.1
STALL_S = 2.0
DRAIN_S = 0.5
LIMIT_S = 30.0
"""Patience for all trials together, which usually take two seconds."""

MAX_OUTSTANDING = 20_000
"""Requests in flight at which a trial at a rate ends."""

_TICK_NS = NS_PER_S // os.sysconf("SC_CLK_TCK")


class _NotMeasuredError(Exception):
    """A trial says nothing."""


@dataclass(frozen=True, slots=True)
class MeasuredCeiling:
    """The ceiling of a client, and where its trials are kept.

    Attributes:
        ceiling: what was found.
        cache: of trials.
        situations: those of the trials, of the burst and of the floor, which may not have been measured.
    """

    ceiling: Ceiling
    cache: TrialCache
    situations: tuple[Situation, ...]


@dataclass(frozen=True, slots=True)
class _Closed:
    """So many requests in flight."""

    window: int

    @property
    def text(self) -> str:
        return f"{self.window} request{'' if self.window == 1 else 's'} in flight"


async def measure_ceiling(
    plan: Plan,
    workload: Workload,
    check: AnswerCheck | None,
    surroundings: Environment,
    cache: TrialCache | None = None,
    trial_s: float = TRIAL_S,
) -> MeasuredCeiling | str:
    """What the client of a plan can do, from trials that are not in the cache; otherwise why that is not known.

    The server of the workload gets no request. This process is on the client's cores.

    Args:
        plan: whose client is tried, with its load.
        workload: what it will send, and how.
        check: the answers that it will compare, which takes its time too.
        surroundings: the machine and the software.
        cache: of trials; None for the user's.
        trial_s: length of the trial of the ceiling; that of the floor is as long, or twice as long at a rate.
    """
    answer = null_answer(workload.target, workload.inputs)
    if answer is None:
        return "the client's ceiling was not measured: no null server speaks the protocol of this target, or TLS"
    try:
        async with (
            asyncio.timeout(LIMIT_S),
            _Trials(plan, workload, check, surroundings, answer, cache or TrialCache(), trial_s) as trials,
        ):
            ceiling = await _ceiling(plan, trials)
            return MeasuredCeiling(ceiling, trials.cache, tuple(trials.situations))
    except TimeoutError:
        reason = f"no end within {LIMIT_S:g} s"
    except (LoadgenError, FrontendLaunchError, OSError, _NotMeasuredError) as error:
        reason = str(error)
    return f"the client's ceiling was not measured: {reason}"


def with_ceiling(results: Results, measured: MeasuredCeiling | str) -> Results:
    """Results with the client's ceiling, or a note where it is not known. Trials that the run refutes are not kept.

    Args:
        results: of a run.
        measured: what `measure_ceiling` found for it.
    """
    if isinstance(measured, str):
        return replace(results, notes=[*results.notes, measured])
    summary = results.summary
    found = of_run(measured.ceiling, summary.throughput_rps, summary.latency_ms)
    for situation, wrong in zip(measured.situations, refuted(found), strict=False):
        if wrong:
            measured.cache.forget(situation)
    return replace(results, client_ceiling=found, notes=[*results.notes, *warnings(found)])


async def _ceiling(plan: Plan, trials: _Trials) -> Ceiling:
    match plan.config.load:
        case Saturate():
            burst = await trials.of(_Closed(plan.window))
            little = _Closed(plan.config.client.processes)
            return Ceiling(burst, await trials.of(little), little.text)
        case OpenLoop(arrivals):
            burst = await trials.of(_Closed(plan.with_load(Saturate()).window))
            rate_rps = floor_rate_rps(arrivals.mean_rps, burst.rate_rps)
            if rate_rps is None:
                return Ceiling(burst, None, "none: the rate is too close to the ceiling")
            cv = arrivals.cv if isinstance(arrivals, Renewal) else 1.0
            schedule = Renewal(rate_rps, trials.trial_s * RATE_TRIAL_S / TRIAL_S, cv, 0)
            return Ceiling(burst, await trials.of(schedule), schedule.text)


@dataclass(slots=True)
class _Trials:
    """Trials of one client; the null server starts with the first that is not in the cache.

    Attributes:
        cache: of trials.
        trial_s: length of one.
        situations: of the trials so far.
    """

    _plan: Plan
    _workload: Workload
    _check: AnswerCheck | None
    _surroundings: Environment
    _answer: NullAnswer
    cache: TrialCache
    trial_s: float
    situations: list[Situation] = field(default_factory=list)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _server: NullServer | None = None
    _inputs: InputSource | None = None

    async def __aenter__(self) -> _Trials:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def of(self, load: _Closed | Arrivals) -> Trial:
        """The trial of a load.

        Raises:
            _NotMeasuredError: the null server did not answer as it should.
        """
        situation = self._situation(load)
        self.situations.append(situation)
        trial = self.cache.get(situation)
        if trial is None:
            trial = await self._measured(load)
            self.cache.put(situation, trial)
        return trial

    async def _measured(self, load: _Closed | Arrivals) -> Trial:
        server = await self._started()
        job = self._job(server, load)
        config, used_ns = self._plan.config, list[int]()

        async def on_phase(_: Phase) -> None:
            used_ns.append(_cpu_ns(server.pid))

        assignment = self._plan.placement["client"]
        async with clients(config.client.processes, assignment) as senders:
            hooks = Hooks(on_phase, on_interval=lambda _: None)
            record = await senders.run(job, asyncio.Event(), hooks)
        return _trial(record, len(assignment.cores), used_ns[-1] - used_ns[0])

    async def _started(self) -> NullServer:
        if self._server is None:
            log.info("measuring the client against a null server, which takes about two seconds")
            cores = null_server_cores(self._plan)
            self._server = await self._stack.enter_async_context(null_server(self._answer, cores))
        return self._server

    def _job(self, server: NullServer, load: _Closed | Arrivals) -> Job:
        config = self._plan.config
        if self._inputs is None:
            source = self._workload.inputs  # client processes make their own
            self._inputs = MadeInputs(source, source.make()) if config.client.processes == 1 else source
        closed = isinstance(load, _Closed)
        return Job(
            target=server.instead_of(self._workload.target),
            inputs=self._inputs,
            window=load.window if isinstance(load, _Closed) else min(self._plan.window, MAX_OUTSTANDING),
            duration_s=self.trial_s if closed else None,
            requests=None,
            warmup_s=WARMUP_S,
            timeout_s=None,
            stall_s=STALL_S,
            first_answer_s=None,
            log_every_s=3600.0,
            drain_s=0.0 if closed else DRAIN_S,
            check=self._check,
            arrivals=None if isinstance(load, _Closed) else load,
            keep_requests=config.output.requests_log is not None,
        )

    def _situation(self, load: _Closed | Arrivals) -> Situation:
        machine, config, target = self._surroundings, self._plan.config, self._workload.target
        return Situation(
            machine=(platform.node(), machine.cpu_model, machine.platform),
            software={**machine.packages, "python": machine.python, "commit": machine.git_commit or ""},
            protocol=self._answer.protocol,
            connections=self._workload.connections,
            servers=len(target.specs) if isinstance(target, BalancedSpec) else 1,
            payload_bytes=self._workload.inputs.payload_bytes,
            inputs=self._workload.inputs.text,
            answer_bytes=len(self._answer.answer),
            clients=config.client.processes,
            client_cores=self._plan.placement["client"].cores,
            server_cores=null_server_cores(self._plan),
            verify=None if self._check is None else self._check.every,
            keep_requests=config.output.requests_log is not None,
            load=load.text,
            seconds=self.trial_s,
        )


def _trial(record: Record, cores: int, server_ns: int) -> Trial:
    """What a trial's record says.

    Raises:
        _NotMeasuredError: it says nothing.
    """
    latency_ms = latencies_ms(record.latency)
    known = {name: value for name in PERCENTILES if (value := latency_ms[name]) is not None}
    bad = record.outcomes[Outcome.FAILED] + record.outcomes[Outcome.DEFAULTED]
    if bad or not record.ended.as_asked or not record.measured_ns or not known:
        raise _NotMeasuredError(f"the null server's answers were not as they should be ({record.ended})")
    cpu_ns = sum(client.cpu_ns for client in record.clients)
    return Trial(
        answers=record.latency.total,
        rate_rps=record.latency.total / (record.measured_ns / NS_PER_S),
        latency_ms=known,
        client_busy=cpu_ns / (record.measured_ns * min(len(record.clients), cores)),
        server_busy=server_ns / record.measured_ns,
    )


def _cpu_ns(pid: int) -> int:
    try:
        return parse_process_cpu(Path(f"/proc/{pid}/stat").read_text(), _TICK_NS)[1]
    except OSError:
        raise TargetError("the null server is gone") from None


def null_server_cores(plan: Plan) -> tuple[int, ...]:
    """Where a server would run, without the client's cores if there are others: frontends, replicas, spare cores."""
    client = plan.placement["client"].cores
    rows = plan.placement.assignments
    frontends = {core for row in rows if not row.role.startswith(("client", "replica")) for core in row.cores}
    replicas = {core for row in plan.placement.replicas for core in row.cores}
    for cores in (frontends, replicas, {*plan.spare_cores}):
        if free := cores - {*client}:
            return tuple(sorted(free))
    return client
