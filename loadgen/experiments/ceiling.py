"""Measures what the client can do by itself: the run's load, from the same client, against a null server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from frontend_launch.errors import FrontendLaunchError
from frontend_launch.quantities import plural
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
from loadgen.servers.null_process import NullServer, null_answer, null_server
from loadgen.servers.null_server import NullAnswer
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
"""Timeout for all trials together, which usually take two seconds."""

NO_ANSWER = "the null server answered nothing within a trial"

MAX_OUTSTANDING = 20_000
"""Requests in flight at which a trial at a rate ends."""

WAKING_NS = 20_000
"""The longest time that an idle core takes to run a thread that wakes up."""

_TICK_NS = NS_PER_S // os.sysconf("SC_CLK_TCK")


class _NotMeasuredError(Exception):
    """A trial without a usable result."""


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
    """A closed loop: this number of requests in flight; `near` as a job has it."""

    window: int
    near: bool = True

    @property
    def text(self) -> str:
        return f"{plural(self.window, 'request')} in flight"


async def measure_ceiling(
    plan: Plan,
    workload: Workload,
    check: AnswerCheck | None,
    surroundings: Environment,
    cache: TrialCache | None = None,
    trial_s: float = TRIAL_S,
) -> MeasuredCeiling | str:
    """The client's ceiling, from the cache or from trials; otherwise the reason why it is unknown.

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
    """Results with the client's ceiling, or a note where it is unknown. The cache drops trials that the run refutes.

    Args:
        results: of a run.
        measured: the result of `measure_ceiling` for it.
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
            # Replies of a slow server are waited for with the event loop: without it the floor would be too low.
            little = _Closed(plan.config.client.processes, near=False)
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
            if not trial.is_disturbed:
                self.cache.put(situation, trial)
        return trial

    async def _measured(self, load: _Closed | Arrivals) -> Trial:
        server = await self._started()
        job = self._job(server, load)
        config, uses = self._plan.config, list[Use]()
        assignment = self._plan.placement.own
        async with clients(config.client.processes, assignment) as senders:
            pids = list(senders.pids.values()) or [os.getpid()]

            async def on_phase(_: Phase) -> None:
                uses.append(Use.read(pids, server.pid, assignment.cores))

            hooks = Hooks(on_phase, on_interval=lambda _: None)
            record = await senders.run(job, asyncio.Event(), hooks)
        beside = not {*assignment.cores} & {*null_server_cores(self._plan)}
        return _trial(record, len(assignment.cores), uses[0], uses[-1], beside)

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
            near=not isinstance(load, _Closed) or load.near,
        )

    def _situation(self, load: _Closed | Arrivals) -> Situation:
        machine, config, target = self._surroundings, self._plan.config, self._workload.target
        return Situation(
            machine=(platform.node(), machine.cpu_model, machine.platform),
            software={**machine.packages, "python": machine.python, "commit": machine.git_commit or ""},
            protocol=f"{self._answer.protocol}{'' if self._answer.credentials is None else ' with CURVE'}",
            connections=self._workload.connections,
            servers=len(target.specs) if isinstance(target, BalancedSpec) else 1,
            payload_bytes=self._workload.inputs.payload_bytes,
            inputs=self._workload.inputs.text,
            answer_bytes=len(self._answer.answer),
            clients=config.client.processes,
            client_cores=self._plan.placement.own.cores,
            server_cores=null_server_cores(self._plan),
            verify=None if self._check is None else self._check.every,
            keep_requests=config.output.requests_log is not None,
            load=load.text if not isinstance(load, _Closed) or load.near else f"{load.text}, with the event loop",
            seconds=self.trial_s,
        )


@dataclass(frozen=True, slots=True)
class Use:
    """Counters at one moment, in nanoseconds.

    Attributes:
        at_ns: monotonic clock.
        server_ns: CPU time of the null server.
        clients_ns: CPU time of the client processes.
        main_ns: the part of their main threads.
        waited_ns: time that their main threads waited for a core.
        slices: times that these ran.
        idle_ns: time in which no process used the client's cores.
    """

    at_ns: int
    server_ns: int
    clients_ns: int
    main_ns: int
    waited_ns: int
    slices: int
    idle_ns: int

    @classmethod
    def read(cls, clients: Sequence[int], server: int, cores: Sequence[int]) -> Use:
        """The counters now.

        Args:
            clients: process ids of the client processes.
            server: process id of the null server.
            cores: of the client.
        """
        main = [_schedstat(pid) for pid in clients]
        return cls(
            at_ns=time.monotonic_ns(),
            server_ns=_cpu_ns(server),
            clients_ns=sum(_cpu_ns(pid) for pid in clients),
            main_ns=sum(each[0] for each in main),
            waited_ns=sum(each[1] for each in main),
            slices=sum(each[2] for each in main),
            idle_ns=idle_ns(Path("/proc/stat").read_text(), cores, _TICK_NS),
        )


def idle_ns(text: str, cores: Collection[int], tick_ns: int) -> int:
    """``/proc/stat`` → nanoseconds in which no process used any of some cores: idle, iowait, irq and softirq.

    The kernel counts the idle time of a core most exactly.

    Args:
        text: of the whole file.
        cores: which.
        tick_ns: length of a tick of the kernel.
    """
    names = {f"cpu{core}" for core in cores}
    rows = (line.split() for line in text.splitlines())
    return sum(sum(map(int, values[3:7])) for name, *values in rows if name in names) * tick_ns


def _schedstat(pid: int) -> tuple[int, int, int]:
    """A process's main thread: nanoseconds on a core, nanoseconds waiting for one, and time slices."""
    try:
        on_core_ns, waited_ns, slices = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
    except (OSError, ValueError):  # a kernel that does not count
        return 0, 0, 0
    return on_core_ns, waited_ns, slices


def outside(began: Use, ended: Use, clients: int, cores: int, beside: bool) -> tuple[float, float]:
    """The shares of time that a client waited for a core, and that others used its cores.

    Threads of loadgen that share a core wait for each other; this time is subtracted, since it is not other load.

    Args:
        began: when the trial began.
        ended: when it ended.
        clients: client processes.
        cores: theirs.
        beside: the null server has cores of its own.
    """
    length_ns = max(1, ended.at_ns - began.at_ns)
    own_ns = ended.clients_ns - began.clients_ns
    server_ns = 0 if beside else ended.server_ns - began.server_ns
    others_ns = length_ns * cores - (ended.idle_ns - began.idle_ns) - own_ns - server_ns
    helpers_ns = max(0, own_ns - (ended.main_ns - began.main_ns)) + server_ns
    waking_ns = (ended.slices - began.slices) * WAKING_NS
    waited_ns = ended.waited_ns - began.waited_ns - helpers_ns - waking_ns
    # Client processes that share a core wait for each other, several at a time.
    waited = 0.0 if clients > cores else max(0.0, waited_ns / (length_ns * clients))
    return waited, max(0.0, others_ns / (length_ns * cores))


def _trial(record: Record, cores: int, began: Use, ended: Use, beside: bool) -> Trial:
    """The result of a trial, from its record.

    Args:
        record: of the clients.
        cores: theirs.
        began: the counters when the measured part began.
        ended: and when it ended.
        beside: the null server has cores of its own.

    Raises:
        _NotMeasuredError: the record has no usable result.
    """
    latency_ms = latencies_ms(record.latency)
    known = {name: value for name in PERCENTILES if (value := latency_ms[name]) is not None}
    bad = record.outcomes[Outcome.FAILED] + record.outcomes[Outcome.DEFAULTED]
    if bad or not record.ended.as_asked:
        raise _NotMeasuredError(f"the null server's answers were not as they should be ({record.ended})")
    if not record.measured_ns or not known:
        raise _NotMeasuredError(NO_ANSWER)
    cpu_ns = sum(client.cpu_ns for client in record.clients)
    waited, others_busy = outside(began, ended, len(record.clients), cores, beside)
    return Trial(
        answers=record.latency.total,
        rate_rps=record.latency.total / (record.measured_ns / NS_PER_S),
        latency_ms=known,
        client_busy=cpu_ns / (record.measured_ns * min(len(record.clients), cores)),
        server_busy=(ended.server_ns - began.server_ns) / record.measured_ns,
        waited=waited,
        others_busy=others_busy,
    )


def _cpu_ns(pid: int) -> int:
    try:
        return parse_process_cpu(Path(f"/proc/{pid}/stat").read_text(), _TICK_NS)[1]
    except OSError:
        raise TargetError("the null server or a client process is gone") from None


def null_server_cores(plan: Plan) -> tuple[int, ...]:
    """Where a server would run, without the client's cores if there are others: frontends, replicas, spare cores."""
    client = plan.placement.own.cores
    rows = plan.placement.here
    frontends = {core for row in rows if not row.role.startswith(("client", "replica")) for core in row.cores}
    replicas = {core for row in rows if row.role.startswith("replica") for core in row.cores}
    for cores in (frontends, replicas, {*plan.spare_cores}):
        if free := cores - {*client}:
            return tuple(sorted(free))
    return client
