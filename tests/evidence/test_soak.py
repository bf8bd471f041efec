"""Replicas that are killed or stopped one after the other for a long time, at full speed; see `make soak`."""

from __future__ import annotations

import os

import evidence
import pytest
import soak

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="client and replicas need a core each")

DURATION_S = float(os.environ.get("LOADGEN_SOAK_S", "180"))
EVERY_S = 20.0
MEMORY, FILES = 0.02, 4
"""How much more a process may hold in the last third of the time than in the one before: nothing that grows."""


@pytest.mark.timeout(DURATION_S + 300)
def test_nothing_is_lost_and_nothing_grows(tmp_path):
    """However often a replica is killed or stopped."""
    soaked = soak.soak(tmp_path / "run", DURATION_S, EVERY_S)
    evidence.keep("soak", "Replicas killed and stopped at full speed", soak.table(soaked), "make soak")
    soak.check_counts(soaked)
    assert len(soaked.faults) >= DURATION_S / EVERY_S - 2
    assert sum(soak.replaced(soaked).values()) >= len(soaked.faults) - 1, "the last fault may be too late"
    for role, held in soaked.held.items():
        memory, files = soak.growth(held)
        assert memory < MEMORY, role
        assert files <= FILES, role
