"""A short run of what `make soak` does for half an hour."""

from __future__ import annotations

import signal

import soak


def test_replicas_are_stopped_and_killed_at_full_speed(tmp_path):
    """Nothing is lost, nothing is answered twice, and both are replaced."""
    soaked = soak.soak(tmp_path / "run", duration_s=12.0, every_s=3.0)
    soak.check_counts(soaked)
    assert soaked.faults[:2] == [(signal.SIGSTOP, "replica-0"), (signal.SIGKILL, "replica-1")]
    assert {"replica-0", "replica-1"} <= set(soak.replaced(soaked))
