"""What a sweep comes to on a machine, before anything is started."""

import asyncio

import pytest

from frontend_launch.errors import PlacementError
from frontend_launch.launch.topology import describe
from loadgen.config import ExperimentConfig
from loadgen.experiments.sweep import SweepConfig, prepare_sweep
from loadgen.served import Deploy, External

MACHINE = describe("cpus=0-31,gpus=0-1")
EXTERNAL = External.at("http+json://127.0.0.1:9/x", body='{"prompt": "$input"}')


@pytest.mark.parametrize(
    ("serve", "given", "expected"),
    [
        pytest.param(Deploy("noop", topology=MACHINE), (), [2], id="our default"),
        pytest.param(Deploy("noop", topology=MACHINE, batch_size=8), (), [8], id="that of the base"),
        pytest.param(Deploy("noop", topology=MACHINE, batch_size=8), (1, 4), [1, 4], id="those of the sweep"),
        pytest.param(EXTERNAL, (), [1], id="an external server's default"),
    ],
)
def test_the_batches_of_a_sweep(serve, given, expected):
    """Without any, the one of a single run."""
    plan = asyncio.run(prepare_sweep(SweepConfig(ExperimentConfig(serve), batch_sizes=given)))
    assert [each.config.serve.batch_size for each in plan.plans.values()] == expected
    assert [cell.batch_size for cell in plan.plans] == expected


def test_combinations_that_cannot_be_placed():
    """All are named; the others are measured on request, and none at all is the reason of one."""
    base = ExperimentConfig(Deploy("noop", topology=describe("cpus=0-3")))
    config = SweepConfig(base, replicas=(1, 9, 4), cpus_per_replica=(1, 2))
    with pytest.raises(PlacementError, match=r"^3 of 6 combinations") as refused:
        asyncio.run(prepare_sweep(config))
    assert str(refused.value).endswith("\nmeasure the others with skip_impossible")
    plan = asyncio.run(prepare_sweep(config, skip_impossible=True))
    assert [cell.size.name for cell in plan.plans] == ["r1-c1", "r1-c2", "r4-c1"]
    assert {measurement.cell for measurement in plan.order} == set(plan.plans)
    listed = f"{refused.value}".rpartition("\n")[0]
    assert str(plan.refusal) == listed
    with pytest.raises(PlacementError, match=r"^9 replicas of 1 core need 9 cores"):
        asyncio.run(prepare_sweep(SweepConfig(base, replicas=(9,)), skip_impossible=True))
    assert asyncio.run(prepare_sweep(SweepConfig(base))).refusal is None
