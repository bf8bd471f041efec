"""How a Python user calls loadgen; mypy reads this file, and nothing runs it."""

from __future__ import annotations

from pathlib import Path

import loadgen
from loadgen import (
    Access,
    Arrivals,
    CapacityConfig,
    CompareConfig,
    Compared,
    Condition,
    Deploy,
    ExperimentConfig,
    External,
    FoundCapacity,
    Limits,
    OpenLoop,
    Ports,
    Probe,
    Results,
    Saturate,
    SizeAnswer,
    SizeConfig,
    Sized,
    SizePlan,
    Sweep,
    SweepConfig,
    SweepEntry,
    SweepPlan,
    TargetOptions,
    Topology,
    find_capacity,
    find_size,
    parse_arrivals,
    parse_slo,
    prepare_comparison,
    prepare_size,
    prepare_sweep,
    read_results,
    run_comparison,
    run_experiment,
    run_sweep,
)


async def saturated(model: str) -> float:
    results: Results = await run_experiment(ExperimentConfig(Deploy(model), Saturate(duration_s=5)))
    return results.summary.throughput_rps


async def at_a_rate(model: str) -> float | None:
    arrivals: Arrivals = parse_arrivals("poisson", rate_rps=100, duration_s=10, seed=0)
    served = Deploy(model, batch_size=8, ports=Ports(request=0, response=0))
    results = await run_experiment(ExperimentConfig(served, OpenLoop(arrivals)))
    return results.summary.latency_ms["p99"]


async def capacity(model: str) -> tuple[float | None, tuple[Probe, ...]]:
    conditions: tuple[Condition, ...] = tuple(parse_slo("p99<250ms"))
    config = CapacityConfig(ExperimentConfig(Deploy(model)), conditions, limits=Limits(tolerance=0.05))
    found: FoundCapacity = await find_capacity(config)
    return found.capacity.rate_rps, found.capacity.probes


async def worse(before: ExperimentConfig, after: ExperimentConfig) -> bool:
    compared: Compared = await run_comparison(await prepare_comparison(CompareConfig(a=before, b=after, margin=0.1)))
    return compared.comparison is not None and compared.comparison.outcome == "worse"


async def size(model: str) -> float | None:
    config = SizeConfig(ExperimentConfig(Deploy(model)), tuple(parse_slo("p99<250ms")), rate_rps=100.0, core_cost=0.04)
    plan: SizePlan = await prepare_size(config)
    sized: Sized = await find_size(plan)
    answer: SizeAnswer = sized.answer
    return answer.per_million


async def sweep(url: str) -> tuple[SweepEntry, ...]:
    external = External.at(url, access=Access(headers=(("x-tenant", "a"),)), connections=4)
    plan: SweepPlan = await prepare_sweep(SweepConfig(ExperimentConfig(external), batch_sizes=(1, 2, 4)))
    done: Sweep = await run_sweep(plan)
    return done.entries


async def planned(model: str, machine: Topology) -> float:
    return (await prepare_sweep(SweepConfig(ExperimentConfig(Deploy(model, topology=machine))))).expected_s


def connections(external: External) -> int | None:
    options: TargetOptions = external.target
    return options.connections


External.at("oip+grpc://host:8001/model", no_such_option=1)  # type: ignore[call-arg]


def verdict(path: Path) -> str:
    try:
        return read_results(path).verdict.text
    except loadgen.ConfigError as error:
        return f"{loadgen.__version__}: {error}"


loadgen.no_such_name  # type: ignore[attr-defined]  # noqa: B018 - strict mypy reports an ignore that ignores nothing
