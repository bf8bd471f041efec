"""How a Python user calls loadgen; mypy reads this file, and nothing runs it."""

from __future__ import annotations

from pathlib import Path

import loadgen
from loadgen import (
    CapacityConfig,
    Deploy,
    ExperimentConfig,
    External,
    Limits,
    OpenLoop,
    Results,
    Saturate,
    SweepConfig,
    find_capacity,
    parse_arrivals,
    parse_slo,
    prepare_sweep,
    read_results,
    run_experiment,
    run_sweep,
)


async def saturated(model: str) -> float:
    results: Results = await run_experiment(ExperimentConfig(Deploy(model), Saturate(duration_s=5)))
    return results.summary.throughput_rps


async def at_a_rate(model: str) -> float | None:
    arrivals = parse_arrivals("poisson", rate_rps=100, duration_s=10, seed=0)
    results = await run_experiment(ExperimentConfig(Deploy(model), OpenLoop(arrivals)))
    return results.summary.latency_ms["p99"]


async def capacity(model: str) -> float | None:
    base = ExperimentConfig(Deploy(model))
    config = CapacityConfig(base, tuple(parse_slo("p99<250ms")), limits=Limits(tolerance=0.05))
    return (await find_capacity(config)).capacity.rate_rps


async def sweep(url: str) -> Path:
    plan = await prepare_sweep(SweepConfig(ExperimentConfig(External.at(url)), batch_sizes=(1, 2, 4)))
    return (await run_sweep(plan)).directory


def verdict(path: Path) -> str:
    try:
        return read_results(path).verdict.text
    except loadgen.ConfigError as error:
        return f"{loadgen.__version__}: {error}"


loadgen.no_such_name  # type: ignore[attr-defined]  # noqa: B018 - strict mypy reports an ignore that ignores nothing
