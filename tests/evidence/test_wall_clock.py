"""The wall clock of client, frontends and replicas is stepped by an hour in the middle of a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import program
import pytest

SOURCE = Path(program.__file__).with_name("wall_clock.c")
HOUR_S = 3600
LENGTH_S = 5.0


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """What steps the clock."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    path = tmp_path_factory.mktemp("clock") / "wall_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", path, SOURCE], check=True)
    return path


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
@pytest.mark.parametrize(
    "load", [("saturate", "--max-in-flight", "100"), ("rate", "--rate", "200")], ids=["closed loop", "open loop"]
)
def test_nothing_takes_time_from_the_wall_clock(library, tmp_path, load, step_s):
    """The run is as long as was asked, nothing times out, and no latency is longer than the run."""
    stepped = tmp_path / "stepped"
    environment = {
        "LD_PRELOAD": str(library),
        "LOADGEN_TEST_STEP_FILE": str(stepped),
        "LOADGEN_TEST_STEP_S": str(step_s),
    }
    verb, *options = load.split()
    options += ["-d", f"{LENGTH_S}s", "--log-every", "500ms", "--timeout", "30s", "--drain", "10s", "-n", "2"]
    words = program.noop(tmp_path, verb, *options, "--restart-replicas")
    command = program.started(words, env={**os.environ, **environment})
    stepped.touch()
    said, complaint = command.communicate(timeout=program.DEADLINE_S)
    assert command.returncode == 0, said + complaint
    (path,) = (tmp_path / "results").glob("*.json")
    document = json.loads(path.read_text())
    summary = document["summary"]
    assert document["ended"] == ("duration" if verb == "saturate" else "schedule")
    assert summary["measured"]["duration_s"] == pytest.approx(LENGTH_S, abs=1.0)
    assert summary["sent"] == summary["completed"]
    assert 0 <= summary["latency_ms"]["min"] <= summary["latency_ms"]["max"] < 1000 * LENGTH_S
    stages = document["request_stages"]
    assert all(0 <= row["p99_ms"] < 1000 * LENGTH_S for row in stages.values() if isinstance(row, dict))
    rows = document["frontend_counters"]["replicas"].values()
    assert [(row["alive"], row["hung_times"]) for row in rows] == [(True, 0)]
    assert len(document["client_metrics"]["thrus"]) == pytest.approx(2 * LENGTH_S, abs=1)
    told = next(line.split(" ")[0] for line in said.splitlines() if "[runner.py:" in line)
    ahead = datetime.strptime(told, "%y-%m-%d:%H:%M:%S") - datetime.now()  # both without a zone, as the log has it
    assert ahead.total_seconds() == pytest.approx(step_s, abs=300), "the clock was stepped"
