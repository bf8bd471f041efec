"""Readings of the kernel's counters, what they come to, and what is pointed out."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, astuple, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from peers import FrontendThread, Replica

from frontend_launch.errors import LaunchError
from frontend_launch.launch.placement import Assignment
from loadgen.hardware.readings import (
    GpuReading,
    Queue,
    Reading,
    Tally,
    next_due_s,
    parse_process_cpu,
    parse_schedstat,
    parse_stat,
    parse_throttled,
)
from loadgen.hardware.sampler import read, read_gpus, read_queues
from loadgen.hardware.summary import CoreUse, Decimated, GpuUse, idle_cores, summarise, wait_share
from loadgen.hardware.watch import watching

S = 1_000_000_000
PLAN = (
    Assignment("here", "client", (0,), None, shared=True),
    Assignment("here", "frontends", (0,), None, shared=True),
    Assignment("here", "replica-0", (1,), None, shared=False),
    Assignment("here", "sampler", (0,), None, shared=True),
)


def reading(at_s, core0=0.0, core1=0.0, client=0.0, frontends=0.0, replica=0.0, throttled=0.0, sampler=0.0):
    """CPU seconds so far."""
    return Reading(
        at_ns=round(at_s * S),
        cores={0: (round(core0 * S), round(core0 * S)), 1: (round(core1 * S), round(core1 * S))},
        cpu_ns={
            "client": round(client * S),
            "frontends": round(frontends * S),
            "replica-0": round(replica * S),
            "sampler": round(sampler * S),
        },
        throttled={"client": (0, 0), "replica-0": (round(throttled * 10), round(throttled * S))},
        rss_bytes={"client": 10, "frontends": 20, "replica-0": 30},
    )


def summary(*readings):
    return summarise(readings, 0, 100 * S, PLAN)


def test_shares_means_and_peaks():
    """Of cores and of roles, over the period."""
    found = summary(reading(0), reading(1, 0.5, 1.0, 0.3, 0.2, 1.0), reading(2, 0.6, 1.8, 0.4, 0.2, 1.8))
    assert astuple(found.cores["0"]) == pytest.approx((0.3, 0.5))
    assert asdict(found.processes["replica-0"]) == {
        "cpu_mean": pytest.approx(0.9),
        "cpu_max": pytest.approx(1.0),
        "rss_max_bytes": 30,
        "throttled_periods": 0,
        "throttled_s": 0.0,
        "wait_share": None,
    }
    assert [sample.at_s for sample in found.samples] == [1.0, 2.0]
    assert (found.readings, found.every_s, found.gpus, found.findings) == (3, 1.0, {}, [])


def test_only_the_period_counts():
    """Readings before and after are left out; with one there is nothing to say."""
    readings = [reading(0), reading(1, replica=1), reading(2, replica=1.5), reading(3, replica=9)]
    found = summarise(readings, S, 2 * S, PLAN)
    assert found is not None
    assert found.processes["replica-0"].cpu_mean == pytest.approx(0.5)
    assert summarise(readings, S, S, PLAN) is None


@pytest.mark.parametrize(
    ("last", "idle"),
    [
        pytest.param(reading(10, 1, 5, 0.5, 0.5, 5), True, id="half of the time"),
        pytest.param(reading(10, 1, 9, 0.5, 0.5, 9), False, id="hardly ever"),
        pytest.param(reading(10, 1, 9, 0.5, 0.5, 5), False, id="used by others"),
    ],
)
def test_idle_cores(last, idle):
    """Of a replica that always had a batch: fewer may do."""
    lines = idle_cores(summary(reading(0), last), PLAN)
    assert (
        lines
        == ["cores 1 of replica-0 were busy 50% of the time only: fewer may do, or its framework does not use them"][
            : int(idle)
        ]
    )


def islands(plan, *readings):
    """Of a placement, over 10 s."""
    found = summarise(readings, 0, 10 * S, plan)
    assert found is not None
    return found.islands


def test_islands():
    """Roles that share cores, one with another or through a third; CPU of the plan and of others, over the cores."""
    plan = [replace(PLAN[0], cores=(0, 1)), replace(PLAN[1], cores=(3, 1)), replace(PLAN[2], cores=(2,)), PLAN[3]]
    cores = {0: (9 * S, 9 * S), 1: (3 * S, 4 * S), 2: (round(4.99 * S), 5 * S), 3: (0, 0)}
    first = replace(reading(0), cores=dict.fromkeys(cores, (0, 0)))
    last = replace(reading(10, client=4, frontends=3, replica=5, sampler=0.5), cores=cores)
    found = {tuple(island.cores): island for island in islands(plan, first, last)}
    shared, alone = found[0, 1, 3], found[2,]
    assert shared.roles == ["client", "frontends", "sampler"]
    assert (shared.own, shared.outside) == (pytest.approx(0.25), pytest.approx(0.15))
    assert (alone.roles, alone.own, alone.outside) == (["replica-0"], pytest.approx(0.5), 0.0)
    (island,) = islands([replace(PLAN[0], cores=(0, 64))], first, last)
    assert (island.own, island.outside) == (pytest.approx(0.2), None), "the kernel does not tell of core 64"


@given(st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=3, unique=True), min_size=1, max_size=6))
def test_islands_share_no_core_and_leave_no_role_out(placed):
    """Whatever the placement."""
    plan = [Assignment("here", f"replica-{n}", tuple(cores), None, shared=True) for n, cores in enumerate(placed)]
    found = islands(plan, reading(0), reading(1))
    assert sorted(role for island in found for role in island.roles) == [row.role for row in plan]
    cores = [core for island in found for core in island.cores]
    assert sorted(cores) == sorted({core for row in plan for core in row.cores})
    for island in found:
        assert all({*row.cores} <= {*island.cores} for row in plan if row.role in island.roles)


def test_gpus():
    """Utilisation, memory and processes; what is not told for a while, or ever, leaves the rest as it is."""
    readings = [
        replace(reading(0), gpus={0: GpuReading(0.5, 50, 1, 1200, 1980), 1: GpuReading(memory_bytes=7)}),
        replace(reading(1), gpus={0: GpuReading()}),
        replace(reading(2), gpus={0: GpuReading(1.0, 100, 2, 1800, 1980), 1: GpuReading(memory_bytes=6)}),
    ]
    found = summary(*readings)
    assert found.gpus == {
        "0": GpuUse(
            utilisation_mean=0.75,
            utilisation_max=1.0,
            memory_max_bytes=100,
            processes_max=2,
            sm_clock_mhz=1500,
            sm_clock_limit_mhz=1980,
        ),
        "1": GpuUse(memory_max_bytes=7),
    }
    assert [sample.gpus for sample in found.samples] == [{"0": None}, {"0": 1.0, "1": None}]


@given(st.integers(2, 40), st.integers(0, 400))
def test_what_is_kept_is_bounded_and_evenly_spaced(most, count):
    """From the first reading on, and never less than half of what there is room for."""
    decimated = Decimated(most)
    for second in range(count):
        decimated.add(reading(second))
    kept = [one.at_ns // S for one in decimated.kept]
    assert min(count, most // 2) <= len(kept) <= most
    assert any(kept == list(range(0, count, 2**times)) for times in range(10))


def test_a_long_run_keeps_its_peaks(monkeypatch):
    """Samples are decimated, peaks are of every reading, however many there are."""
    monkeypatch.setattr("loadgen.hardware.summary.MAX_SAMPLES", 4)
    used = [min(second, 1) for second in range(50)]  # all of the first second, nothing later
    found = summarise((reading(second, 0, use) for second, use in enumerate(used)), 0, 99 * S, PLAN)
    assert found is not None
    assert found.readings == 50
    assert astuple(found.cores["1"]) == pytest.approx((1 / 49, 1.0))
    assert 1 <= len(found.samples) < 4


def test_a_machine_of_many_cores_keeps_fewer_samples(monkeypatch):
    """The number of shares is bounded too."""
    monkeypatch.setattr("loadgen.hardware.summary.MAX_VALUES", 100)
    wide = [replace(reading(second), cores=dict.fromkeys(range(20), (0, 0))) for second in range(50)]
    assert len(summary(*wide).samples) <= 100 // 20


def test_coarse_ticks_make_no_more_than_a_core():
    """The kernel's counter may gain a tick on the clock."""
    assert summary(reading(0), reading(1, 1.01)).cores["0"] == CoreUse(1.0, 1.0)


@pytest.mark.parametrize(
    ("now_s", "due_s"),
    [
        pytest.param(10.01, 11, id="in time"),
        pytest.param(10.5, 11, id="half a beat late"),
        pytest.param(10.9, 12, id="late: a beat is left out"),
        pytest.param(40.2, 41, id="very late: nothing is made up for"),
        pytest.param(40.7, 42, id="very late, and close to a beat"),
    ],
)
def test_the_beat(now_s, due_s):
    """Readings are never closer than half of it."""
    assert next_due_s(10, 1, now_s) == pytest.approx(due_s)


@given(st.lists(st.dictionaries(st.integers(1, 4), st.integers(0, 1000), max_size=4), min_size=1, max_size=20))
def test_a_tally_only_grows(looks):
    """Processes come, go, and come again with the number of another."""
    tally, totals = Tally(), []
    for start, look in enumerate(looks):
        totals.append(tally.add("role", {(pid, start if pid == 4 else 0): ns for pid, ns in look.items()}))
    assert totals[0] == 0
    assert totals == sorted(totals)
    assert totals[-1] <= sum(sum(look.values()) for look in looks)


def test_a_tally_counts_what_is_gone():
    """What a process used before its end stays; what a new one used since its start counts."""
    tally = Tally()
    looks = [{(1, 0): 100}, {(1, 0): 150, (2, 0): 30}, {(2, 0): 40}, {}, {(1, 9): 5}]
    assert [tally.add("role", look) for look in looks] == [0, 80, 90, 90, 95]


@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_shares_are_of_the_time_there_was(steps):
    """Never more than was used, whatever the spacing; and a row survives JSON."""
    at = core = replica = 0.0
    readings = [reading(0)]
    for elapsed, busy, used in steps:
        at, core, replica = at + elapsed, core + busy * elapsed, replica + used * busy * elapsed
        readings.append(reading(at, 0, core, 0, 0, replica))
    readings[0] = replace(readings[0], gpus={1: GpuReading(0.5, 2, 1, 345, 1980)})
    again = [Reading.from_row(json.loads(json.dumps(one.to_row()))) for one in readings]
    assert again == readings
    found = summarise(readings, 0, round(at * S), PLAN)
    assert found is not None
    assert 0 <= found.cores["1"].mean <= found.cores["1"].max + 1e-6 <= 1 + 1e-5
    assert found.processes["replica-0"].cpu_mean <= found.cores["1"].mean + 1e-6


def test_the_kernel_s_files():
    """As proc(5) and the cgroup documents have them."""
    text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 40 50 6 7 8 0 0\ncpu11 0 0 1 0 0 0 0 0 0 0\nintr 5\n"
    assert parse_stat(text, 10) == {0: (60, 270), 11: (10, 10)}
    assert parse_process_cpu("7 (a) b) S 1 1 1 0 -1 4 0 0 0 0 5 6 0 0 20 0 1 0 9", 10) == (9, 110)
    assert parse_throttled("nr_periods 9\nnr_throttled 2\nthrottled_time 77\n") == (2, 77)
    assert parse_throttled("usage_usec 5\nnr_throttled 2\nthrottled_usec 3\n") == (2, 3000)
    assert parse_throttled("usage_usec 5\n") == parse_throttled("") == (0, 0)
    assert parse_schedstat("204625209 10522473 670\n") == 10522473
    assert parse_schedstat("28893 0 1\n") == 0
    assert parse_schedstat("0 0 0\n") is None


@pytest.mark.parametrize(
    ("cpu", "wait", "share"),
    [
        pytest.param(0.5, 0.5, 0.5, id="one thread beside a busy one"),
        pytest.param(0.84, 0.16, 0.16, id="one thread beside another that runs a fifth of the time"),
        pytest.param(4.0, 4.0, 0.5, id="eight threads, each waits half of the time"),
        pytest.param(0.1, 0.05, 0.05, id="a thread that seldom wants to run"),
        pytest.param(0.0, 1.0, 1.0, id="a thread that never gets a core"),
        pytest.param(8.0, 0.0, 0.0, id="nothing to wait for"),
    ],
)
def test_the_share_of_the_time_that_a_role_waits(cpu, wait, share):
    """Of threads that want to run, so that idle ones do not count."""
    assert wait_share(cpu, wait) == pytest.approx(share)
    first = replace(reading(0), wait_ns={"replica-0": 7 * S})
    last = replace(reading(10, replica=10 * cpu), wait_ns={"replica-0": round((7 + 10 * wait) * S), "client": 0})
    processes = summary(first, last).processes
    assert processes["replica-0"].wait_share == pytest.approx(share)
    assert processes["client"].wait_share is None, "the first reading does not tell"


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_share_of_waiting_is_a_share(cpu, wait):
    """Whatever the number of threads; never more than the waiting itself."""
    assert 0 <= wait_share(cpu, wait) <= min(1.0, wait)


def test_a_row_of_a_version_without_waiting_times_is_read():
    """They are not known."""
    row = reading(1).to_row()
    del row["wait_ns"]
    assert Reading.from_row(json.loads(json.dumps(row))) == reading(1)


@contextlib.contextmanager
def busy(code):
    """A process that runs code, which has to print a line first."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def read_until(done, watched, tally, waits=None):
    """Read again and again; the deadline makes a failure, never a pass."""
    give_up = time.monotonic() + 30
    waits = waits or Tally()
    while not done(found := read(watched, tally, waits)):
        assert time.monotonic() < give_up
    return found


def test_a_busy_process_is_seen():
    """For real: its CPU time and its core's grow, it has memory, and what it used outlives it."""
    core, tally = max(os.sched_getaffinity(0)), Tally()
    with busy(f"import os\nos.sched_setaffinity(0, [{core}])\nprint(flush=True)\nwhile True: pass") as process:
        watched = {"busy": process.pid}
        first = read(watched, tally, Tally())
        second = read_until(lambda now: now.cpu_ns["busy"] >= 100_000_000, watched, tally)
        assert second.cores[core][0] - first.cores[core][0] >= 50_000_000
        assert second.rss_bytes["busy"] > 1 << 20
    third = read(watched, tally, Tally())
    assert third.cpu_ns["busy"] >= second.cpu_ns["busy"]
    assert third.rss_bytes == {"busy": 0}


SPIN = "import os\nos.sched_setaffinity(0, [{core}])\nprint(flush=True)\nwhile True: pass"


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not tell waiting times")
def test_a_process_beside_busy_ones_waits():
    """For real: more than without them, whatever else runs on the core; what it waited outlives it."""
    code = SPIN.format(core=max(os.sched_getaffinity(0)))
    tally, waits = Tally(), Tally()

    def share():
        """Over 0.1 s of its CPU time."""
        before = read(watched, tally, waits)
        after = read_until(lambda now: now.cpu_ns["busy"] - before.cpu_ns["busy"] >= 100_000_000, watched, tally, waits)
        elapsed_ns = after.at_ns - before.at_ns
        cpu, wait = (times["busy"] for times in (after.cpu_ns, after.wait_ns))
        return wait_share((cpu - before.cpu_ns["busy"]) / elapsed_ns, (wait - before.wait_ns["busy"]) / elapsed_ns)

    with busy(code) as process:
        watched = {"busy": process.pid}
        alone = share()
        with contextlib.ExitStack() as others:
            for _ in range(4):
                others.enter_context(busy(code))
            beside = share()
        last = read(watched, tally, waits)
    assert beside > alone
    assert read(watched, tally, waits).wait_ns["busy"] >= last.wait_ns["busy"] > 0


def test_children_count_unless_they_are_watched_themselves():
    """A model may start processes of its own, and all that the client starts are its children."""
    code = (
        "import os, sys\npid = os.fork()\n"
        "if not pid:\n    while os.getppid() != 1: pass\n    os._exit(0)\n"
        "print(pid, flush=True)\nos.waitpid(pid, 0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        child = int(process.stdout.readline())
        watched = {"parent": process.pid}
        read_until(lambda now: now.cpu_ns["parent"] >= 50_000_000, watched, Tally())
        watched, tally = {"parent": process.pid, "child": child}, Tally()
        both = read_until(lambda now: now.cpu_ns["child"] >= 50_000_000, watched, tally)
        assert both.cpu_ns["parent"] < 50_000_000
    finally:
        os.kill(child, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()


class Gpus:
    """NVIDIA's library with three GPUs: one that tells everything, one that is partitioned, one that is lost."""

    NVMLError = LookupError

    def nvmlDeviceGetCount(self):
        return 3

    def nvmlDeviceGetHandleByIndex(self, index):
        if index == 2:
            raise LookupError("GPU is lost")
        return index

    def nvmlDeviceGetUtilizationRates(self, gpu):
        if gpu == 1:
            raise LookupError("Not Supported")
        return SimpleNamespace(gpu=75)

    def nvmlDeviceGetMemoryInfo(self, gpu):
        return SimpleNamespace(used=1 << 30)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        return [SimpleNamespace(pid=1)]

    NVML_CLOCK_SM = 1

    def nvmlDeviceGetClockInfo(self, gpu, clock):
        assert clock == self.NVML_CLOCK_SM
        return 1980 if gpu == 0 else 345

    def nvmlDeviceGetMaxClockInfo(self, gpu, clock):
        assert clock == self.NVML_CLOCK_SM
        return 1980

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu):
        if gpu == 1:
            raise LookupError("Not Supported")
        return 123_456


def test_gpus_tell_what_they_can():
    """What one of them does not answer takes nothing away from the others."""
    assert read_gpus(Gpus()) == {
        0: GpuReading(0.75, 1 << 30, 1, 1980, 1980, 123_456),
        1: GpuReading(None, 1 << 30, 1, 345, 1980),
    }


def test_nvidias_library_has_what_is_asked_of_it():
    """By these names."""
    pynvml = pytest.importorskip("pynvml")
    names = [name for name in vars(Gpus) if not name.startswith("_")]
    assert [name for name in ("nvmlInit", "nvmlShutdown", *names) if not hasattr(pynvml, name)] == []


HERE = Assignment("here", "client", tuple(os.sched_getaffinity(0)), None, shared=True)


def test_watching(monkeypatch):
    """There is a reading before load begins; more come from a process of its own, which is gone afterwards."""
    monkeypatch.setattr("loadgen.hardware.watch.EVERY_S", 0.02)

    async def scenario():
        async with watching({"client": os.getpid()}, HERE) as watch:
            assert len(list(watch.readings())) >= 1
            async with asyncio.timeout(30):
                while len(list(watch.readings())) < 3:  # noqa: ASYNC110 - another process's file
                    await asyncio.sleep(0.02)
            return list(watch.readings()), await watch.notes(), watch

    readings, notes, watch = uvloop.run(scenario())
    assert notes == []
    assert readings[-1].cpu_ns.keys() == {"client", "sampler"}
    assert readings[-1].rss_bytes["sampler"] > 1 << 20
    assert list(watch.readings()) == []


def test_queues_are_read_from_the_frontend():
    """One that cannot be asked has none; what is not ours neither."""
    frontend = FrontendThread()
    with contextlib.ExitStack() as stack:
        stack.callback(frontend.close)
        frontend.register(batch_size=4)
        Replica(frontend, stack)
        with frontend.metrics() as port:
            address = f"127.0.0.1:{port}"
            assert read_queues([address]) == read_queues([address, address]) == {"app:1": Queue(0, 0, 0, 4)}
        assert read_queues([address]) == read_queues([]) == {}


def test_how_full_batches_were():
    """Between two readings; not known where none was sent."""
    first = replace(reading(1), queues={"noop:1": Queue(5, 10, 30, 4)})
    second = replace(reading(2), queues={"noop:1": Queue(7, 12, 36, 4), "vgg:1": Queue(1, 0, 0, 2)})
    (sample,) = summary(first, second).samples
    assert sample.queue_length == {"noop:1": 7, "vgg:1": 1}
    assert sample.batch_fill == {"noop:1": 0.75, "vgg:1": None}


def test_a_sampler_that_cannot_start_is_a_note(monkeypatch):
    """The run goes on without it."""
    monkeypatch.setattr("loadgen.hardware.watch.start", refuse)

    async def scenario():
        async with watching({"client": os.getpid()}, HERE) as watch:
            return list(watch.readings()), await watch.notes()

    assert uvloop.run(scenario()) == ([], ["the hardware was not watched: no more processes"])


async def refuse(*_arguments, **_named):
    raise LaunchError("no more processes")


def test_a_sampler_that_dies_is_a_note():
    """With its last words; what it wrote until then stays."""

    async def scenario():
        async with watching({"client": os.getpid()}, HERE) as watch:
            assert watch._process is not None
            os.kill(watch._process.pid, signal.SIGKILL)
            await asyncio.wait_for(asyncio.shield(watch._process.exited), 30)
            assert watch.died
            return len(list(watch.readings())), await watch.notes()

    assert uvloop.run(scenario()) == (
        1,
        ["the hardware was not watched to the end: the sampler ended with exit code -9"],
    )


def test_a_sampler_that_is_stopped_is_a_note(monkeypatch, caplog):
    """And is named at once."""
    monkeypatch.setattr("frontend_launch.stopped.LOOK_EVERY_S", 0.02)

    async def scenario():
        async with watching({"client": os.getpid()}, HERE) as watch:
            assert watch._process is not None
            os.kill(watch._process.pid, signal.SIGSTOP)
            async with asyncio.timeout(30):
                while not (notes := await watch.notes()):  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(0.02)
            return notes

    (note,) = uvloop.run(scenario())
    assert note.startswith("sampler was stopped by a signal or a debugger once, for about ")
    assert caplog.messages[0].startswith("sampler is stopped by a signal or a debugger; continue it with kill -CONT ")


def test_a_sampler_without_a_reading_is_a_note(monkeypatch, caplog):
    """The run does not wait for it for long."""
    monkeypatch.setattr("loadgen.hardware.watch.START_TIMEOUT_S", 0.0)

    async def scenario():
        async with watching({"client": os.getpid()}, HERE) as watch:
            return await watch.notes()

    assert uvloop.run(scenario()) == ["the sampler had no reading within 0 s of its start"]
    assert caplog.messages == ["the sampler has no reading after 0 s: the run begins without"]


def test_a_sampler_that_fails_at_once_is_a_note():
    """It does not hold up the run."""

    async def scenario():
        broken = {"client pid": "none"}
        async with watching(broken, HERE) as watch:  # type: ignore[arg-type]  # wrong on purpose: no pid
            assert watch._process is not None
            await asyncio.wait_for(asyncio.shield(watch._process.exited), 30)
            return await watch.notes()

    (note,) = uvloop.run(scenario())
    assert "exit code 1: ValueError: invalid literal" in note
