"""Readings of the kernel's counters, what they come to, and what is pointed out."""

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.launch.placement import Assignment
from loadgen.hardware import (
    MAX_SAMPLES,
    Reading,
    parse_process_cpu,
    parse_stat,
    parse_throttled,
    samples,
    summarise,
)
from loadgen.sampler import read
from loadgen.watching import watching

S = 1_000_000_000
PLAN = (
    Assignment("here", "client", (0,), None, shared=True),
    Assignment("here", "frontends", (0,), None, shared=True),
    Assignment("here", "replica-0", (1,), None, shared=False),
)


def reading(at_s, core0=0.0, core1=0.0, client=0.0, frontends=0.0, replica=0.0, throttled=0.0):
    """CPU seconds so far."""
    return Reading(
        at_ns=round(at_s * S),
        cores={0: (round(core0 * S), round(core0 * S)), 1: (round(core1 * S), round(core1 * S))},
        cpu_ns={"client": round(client * S), "frontends": round(frontends * S), "replica-0": round(replica * S)},
        throttled_ns={"client": 0, "frontends": 0, "replica-0": round(throttled * S)},
        rss_bytes={"client": 10, "frontends": 20, "replica-0": 30},
    )


def summary(*readings, saturated=True):
    return summarise(readings, 0, 100 * S, PLAN, saturated)


def test_shares_means_and_peaks():
    """Of cores and of roles, over the period."""
    found = summary(
        reading(0), reading(1, 0.5, 1.0, 0.3, 0.2, 1.0), reading(2, 0.6, 1.8, 0.4, 0.2, 1.8), saturated=False
    )
    assert found["cores"]["0"] == {"mean": pytest.approx(0.3), "max": pytest.approx(0.5)}
    assert found["processes"]["replica-0"] == {
        "cpu_mean": pytest.approx(0.9),
        "cpu_max": pytest.approx(1.0),
        "rss_max_bytes": 30,
        "throttled_s": 0.0,
    }
    assert [sample["at_s"] for sample in found["samples"]] == [1.0, 2.0]
    assert (found["readings"], found["gpus"], found["findings"]) == (3, {}, [])


def test_only_the_period_counts():
    """Readings before and after are left out; with one there is nothing to say."""
    readings = [reading(0), reading(1, replica=1), reading(2, replica=1.5), reading(3, replica=9)]
    found = summarise(readings, S, 2 * S, PLAN, False)
    assert found["processes"]["replica-0"]["cpu_mean"] == pytest.approx(0.5)
    assert summarise(readings, S, S, PLAN, False) is None


@pytest.mark.parametrize(
    ("last", "saturated", "text"),
    [
        pytest.param(reading(10, 1, 5, 0.5, 0.5, 5), True, "replica-0 kept its cores 1 busy 50%", id="idle cores"),
        pytest.param(reading(10, 1, 5, 0.5, 0.5, 5), False, None, id="idle cores of replicas that were not saturated"),
        pytest.param(
            reading(10, 3, 10, 1, 1, 10),
            True,
            "outside the plan used 10% of a core on the cores of client, frontends (0)",
            id="somebody else",
        ),
        pytest.param(reading(10, 2.1, 10, 1, 1, 10), True, None, id="hardly anybody else"),
        pytest.param(
            reading(10, 2, 10, 1, 1, 10, throttled=2), True, "replica-0 was held back by the CPU quota", id="a quota"
        ),
    ],
)
def test_findings(last, saturated, text):
    """What a reader should look at, and nothing else."""
    findings = summary(reading(0), last, saturated=saturated)["findings"]
    assert len(findings) == (text is not None)
    assert text is None or text in findings[0]


def test_gpus():
    """Utilisation, memory and processes."""
    first, second = (replace(reading(at), gpus={0: (use, use * 100, 1)}) for at, use in ((0, 0.5), (1, 1)))
    assert summary(first, second)["gpus"] == {
        "0": {"utilisation_mean": 0.75, "utilisation_max": 1, "memory_max_bytes": 100, "processes_max": 1}
    }


def test_samples_are_bounded():
    """However long the run."""
    assert len(samples([reading(second) for second in range(3 * MAX_SAMPLES)], 0)) < MAX_SAMPLES


@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_shares_are_of_the_time_there_was(steps):
    """Never more than was used, whatever the spacing; and a row survives JSON."""
    at = core = replica = 0.0
    readings = [reading(0)]
    for elapsed, busy, used in steps:
        at, core, replica = at + elapsed, core + busy * elapsed, replica + used * busy * elapsed
        readings.append(reading(at, 0, core, 0, 0, replica))
    again = [Reading.from_row(json.loads(json.dumps(one.to_row()))) for one in readings]
    assert again == readings
    found = summarise(readings, 0, round(at * S), PLAN, False)
    assert 0 <= found["cores"]["1"]["mean"] <= found["cores"]["1"]["max"] + 1e-6 <= 1 + 1e-5
    assert found["processes"]["replica-0"]["cpu_mean"] <= found["cores"]["1"]["mean"] + 1e-6


def test_the_kernel_s_files():
    """As proc(5) and the cgroup documents have them."""
    text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 40 50 6 7 8 0 0\ncpu11 0 0 1 0 0 0 0 0 0 0\nintr 5\n"
    assert parse_stat(text, 10) == {0: (60, 270), 11: (10, 10)}
    assert parse_process_cpu("7 (a) b) S 1 1 1 0 -1 4 0 0 0 0 5 6 0 0 20 0 1 0 9", 10) == 110
    assert parse_throttled("nr_periods 1\nnr_throttled 1\nthrottled_time 77\n") == 77
    assert parse_throttled("usage_usec 5\nthrottled_usec 3\n") == 3000
    assert parse_throttled("") == 0


def test_a_busy_process_is_seen():
    """For real: its CPU time and its core's grow, and it has memory."""
    core = max(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, [{core}])\nprint(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        first = second = read({"busy": process.pid})
        give_up = time.monotonic() + 30
        while second.cpu_ns["busy"] - first.cpu_ns["busy"] < 100_000_000:
            assert time.monotonic() < give_up
            second = read({"busy": process.pid})
        assert second.cores[core][0] - first.cores[core][0] >= 50_000_000
        assert second.rss_bytes["busy"] > 1 << 20
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
    assert read({"busy": process.pid}).cpu_ns == {"busy": 0}


def test_watching(monkeypatch):
    """Readings come from a process of its own, which is gone afterwards."""
    monkeypatch.setattr("loadgen.watching.EVERY_S", 0.02)

    async def story():
        async with watching({"client": os.getpid()}, tuple(os.sched_getaffinity(0))) as watch:
            async with asyncio.timeout(30):
                while len(watch.readings()) < 3:  # noqa: ASYNC110 - another process's file
                    await asyncio.sleep(0.02)
            readings = watch.readings()
        return readings, watch.readings()

    readings, afterwards = uvloop.run(story())
    assert readings[-1].cpu_ns["client"] > 0
    assert afterwards == []
