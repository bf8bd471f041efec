"""``loadgen sweep`` as a user types it."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from program import BRIEFLY, DEADLINE_S, measuring, ran, undisturbed

from frontend_launch.histogram import LatencyHistogram
from frontend_launch.ports import FRONTEND_PORTS
from loadgen.experiments import ledger as ledgers
from loadgen.results import files


def free_ports():
    """As many ports as a deployment needs, free a moment ago; of a range from which the system takes none by itself."""
    ports = []
    for port in random.Random(os.getpid()).sample(range(20_000, 30_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
        if len(ports) == len(FRONTEND_PORTS):
            return ports
    raise AssertionError("hardly any port is free")


def command(tmp_path, *arguments, ports=(0, 0, 0, 0, 0)):
    flags = [f"--{name}-port={port}" for name, port in zip(FRONTEND_PORTS, ports, strict=True)]
    return measuring(tmp_path, "sweep", "--model", "noop", *flags, *arguments)


def directory_of(output):
    return Path(output.splitlines()[-1].removeprefix("Saved the sweep to "))


def test_batch_sizes_change_while_replicas_stay(tmp_path):
    """Each cell has results of its own, with batches of its own size, from the same replica."""
    rows = ("--requests-log", str(tmp_path / "rows.npz"))
    short = (*BRIEFLY, "-d", "500ms", "--log-every", "200ms")
    done = ran(command(tmp_path, "-b", "1", "8", *short, "--repeat", "2", "-n", "2", *rows))
    assert done.returncode == 0, done.stderr
    stems = sorted(path.stem for path in tmp_path.glob("*.npz"))
    assert [stem for stem in stems if "anchor" not in stem] == [
        f"rows-r1-c1-b{batch}-{repeat}-cell" for batch in (1, 8) for repeat in (0, 1)
    ]
    assert len(stems) == 5
    directory = directory_of(done.stdout)
    entries = list(ledgers.read_entries(directory))
    assert sorted((entry.cell, entry.repeat) for entry in entries[:-1]) == [
        (cell, repeat) for cell in ("r1-c1-b1", "r1-c1-b8") for repeat in (0, 1)
    ]
    assert (entries[-1].cell, entries[-1].kind) == (entries[0].cell, "anchor")
    pids = set()
    for entry in entries:
        results = files.read(directory / entry.results)
        assert results.verdict.evidence.max_batch == entry.batch_size
        mean_batch = results.verdict.evidence.mean_batch
        assert mean_batch is not None
        assert mean_batch <= entry.batch_size
        assert (mean_batch > 1) is (entry.batch_size > 1)
        assert results.summary.throughput_rps == entry.throughput_rps
        assert LatencyHistogram.decode(results.histograms.latency).total == results.summary.measured.completed
        pids.add(next(row.pid for row in results.placement if row.role == "replica-0"))
    assert len(pids) == 1
    assert done.stdout.count("replicas ready") == 1


def test_a_port_in_use_ends_it_at_once(tmp_path):
    """With the code of what cannot be started, once, and nothing in the ledger: `--resume` measures all of it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ran(command(tmp_path, *BRIEFLY, "-b", "1", "2", "-r", "1", "2", "-d", "300ms", ports=(port, 0, 0, 0, 0)))
    assert done.returncode == 4
    assert done.stderr.count("cannot be used") == 1
    assert done.stdout.count("frontends: cores") == 1
    (directory,) = tmp_path.glob("results/sweep-*")
    assert list(ledgers.read_entries(directory)) == []


@pytest.mark.serial
def test_thresholds(tmp_path):
    """Each that came true is said with its cell and its value, also when the sweep was finished by an earlier start."""
    arguments = (*BRIEFLY, "-b", "1", "2", "-d", "300ms", "--fail-if", "p99>0.001ms", "--fail-if", "failed>0")

    def attempt(directory):
        return [ran(command(directory, *arguments, *resume)) for resume in ((), ("--resume",))]

    def reasons(runs):
        return [entry.invalid for entry in ledgers.read_entries(directory_of(runs[0].stdout))]

    for done in undisturbed(tmp_path, attempt, reasons):
        assert done.returncode == 8, done.stderr
        cells = re.findall(r"^loadgen: (\S+): --fail-if p99>0\.001ms: p99 is [0-9.,]+ ms$", done.stderr, re.MULTILINE)
        assert cells == ["r1-c1-b1", "r1-c1-b2", "r1-c1-b1"]
        assert len(done.stderr.splitlines()) == 3


def alive():
    """All processes by number, with their parents; without those that are only waiting to be buried."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                parents[int(stat.parent.name)] = int(parent)
    return parents


def family_of(pid):
    """A process and all that came from it, whatever their sessions are."""
    parents, family = alive(), {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def in_use(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


def test_a_sweep_survives_being_killed_anywhere(tmp_path):
    """Ten times, at random moments: each cell is in the ledger exactly once, and nothing holds a port or a core."""
    moments = random.Random(7)
    ports = free_ports()
    arguments = command(tmp_path, "-b", "1", "2", "4", "-r", "1", "2", "-d", "300ms", "--warmup", "50ms", ports=ports)
    for number in range(10):
        resume = ["--resume"] if list(tmp_path.glob("results/sweep-*/sweep.json")) else []
        process = subprocess.Popen(
            [*arguments, *resume], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(moments.uniform(0.3, 3.0))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGSTOP)  # so that no process starts between the census and the kill
            family = family_of(process.pid)
            os.kill(process.pid, signal.SIGKILL)
        else:
            family = {process.pid}
        process.wait(DEADLINE_S)
        give_up = time.monotonic() + DEADLINE_S
        while left := [*(family & alive().keys()), *filter(in_use, ports)]:
            assert time.monotonic() < give_up, f"start {number}: processes or ports {left}"
            time.sleep(0.01)
    done = ran([*arguments, "--resume"])
    assert done.returncode == 0, done.stderr
    directory = directory_of(done.stdout)
    assert list(tmp_path.glob("results/sweep-*")) == [directory]
    measured = [(entry.cell, entry.kind) for entry in ledgers.read_entries(directory)]
    assert sorted(measured) == sorted(
        [("r1-c1-b1", "anchor"), *((f"r{r}-c1-b{b}", "cell") for r in (1, 2) for b in (1, 2, 4))]
    )
    for line in (directory / ledgers.LEDGER).read_text().splitlines():
        assert json.loads(line)["error"] is None
