"""What a machine offers, read from a made-up /proc and /sys, or from words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.errors import PlacementError
from frontend_launch.launch.topology import (
    MAX_RANGE_MEMBERS,
    Topology,
    core_ranges,
    cpu_quota,
    describe,
    discover,
    expand_ranges,
    find_gpus,
    limit_to_quota,
)

V2 = "0::/user.slice/job\n"
V1 = "4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n0::/\n"
CPU = "sys/fs/cgroup/cpu,cpuacct"


def machine(root: Path, files: Mapping[str, str]) -> Path:
    """Write a machine's files below a root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        pytest.param({}, None, id="no cgroups at all"),
        pytest.param({"proc/self/cgroup": V2}, None, id="v2 whose files are hidden"),
        pytest.param(
            {"proc/self/cgroup": V2, "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000\n"}, None, id="v2 unlimited"
        ),
        pytest.param(
            {"proc/self/cgroup": V2, "sys/fs/cgroup/user.slice/job/cpu.max": "250000 100000\n"}, 2.5, id="v2 own quota"
        ),
        pytest.param(
            {
                "proc/self/cgroup": V2,
                "sys/fs/cgroup/user.slice/job/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n",
            },
            1.5,
            id="v2 a parent's tighter quota",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V2,
                "sys/fs/cgroup/user.slice/job/cpu.max": "50000 100000\n",
                "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/user.slice/sibling/cpu.max": "1000 100000\n",
            },
            0.5,
            id="v2 own tighter quota, a sibling's does not count",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/../other\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
            2.0,
            id="v2 path outside the mount",
        ),
        pytest.param(
            {"proc/self/cgroup": V2, "sys/fs/cgroup/unified/user.slice/cpu.max": "300000 100000\n"},
            3.0,
            id="v2 mounted beside v1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                f"{CPU}/docker/abc/cpu.cfs_quota_us": "-1\n",
                f"{CPU}/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            None,
            id="v1 unlimited",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                f"{CPU}/docker/abc/cpu.cfs_quota_us": "75000\n",
                f"{CPU}/docker/abc/cpu.cfs_period_us": "50000\n",
            },
            1.5,
            id="v1 own quota",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "600000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            6.0,
            id="v1 in a container that sees the host's path and a mount called cpu",
        ),
        pytest.param(
            {"proc/self/cgroup": "nonsense\n0::/\n", "sys/fs/cgroup/cpu.max": "lots\n"}, None, id="unreadable text"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0\n"}, None, id="a period of nothing"
        ),
    ],
)
def test_cpu_quota(tmp_path, files, quota):
    """The tightest quota of the own cgroup and its parents counts, in either version of cgroups."""
    assert cpu_quota(machine(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("cores", "quota", "usable", "note"),
    [
        pytest.param((0, 1, 2, 3), None, (0, 1, 2, 3), "", id="no quota"),
        pytest.param((0, 1), 2.0, (0, 1), "", id="a quota of exactly the cores"),
        pytest.param((0, 1), 7.5, (0, 1), "", id="more quota than cores"),
        pytest.param((4,), 0.5, (4,), "", id="one core is never cut"),
        pytest.param(
            (2, 3, 4, 8), 2.5, (2, 3), "the CPU quota of 2.5 cores leaves 2,3 of cores 2-4,8", id="rounded down"
        ),
        pytest.param((0, 1, 2), 0.25, (0,), "the CPU quota of 0.25 cores leaves 0 of cores 0-2", id="at least one"),
    ],
)
def test_limit_to_quota(cores, quota, usable, note):
    """A quota leaves the first whole cores that it pays for, and says so."""
    assert limit_to_quota(cores, quota) == (usable, note)


@pytest.mark.parametrize(
    ("files", "gpus"),
    [
        pytest.param({}, (), id="none"),
        pytest.param({"dev/nvidiactl": "", "dev/nvidia-uvm": ""}, (), id="a driver without devices"),
        pytest.param({"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": ""}, (0, 1), id="device files"),
        pytest.param({"dev/nvidia3": ""}, (0,), id="CUDA counts from 0 whatever the device is called"),
        pytest.param(
            {"proc/driver/nvidia/gpus/0000:01:00.0/information": "", "dev/nvidia0": "", "dev/nvidia1": ""},
            (0,),
            id="the driver's own list first",
        ),
    ],
)
def test_find_gpus(tmp_path, files, gpus):
    """GPUs are counted without asking a library."""
    assert find_gpus(machine(tmp_path, files)) == gpus


def test_discover_puts_affinity_quota_and_gpus_together(tmp_path, monkeypatch):
    """The usable machine is the affinity within the quota, and the note says what was cut."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {9, 2, 5})
    root = machine(
        tmp_path,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000", "dev/nvidia0": ""},
    )

    topology = discover(root)

    assert (topology.cores, topology.gpus, topology.described) == ((2, 5), (0,), False)
    assert topology.note == "the CPU quota of 2 cores leaves 2,5 of cores 2,5,9"
    assert topology.node


def test_discover_here():
    """On the machine of the tests, only cores that the kernel allows are found."""
    assert set(discover().cores) <= os.sched_getaffinity(0)
    assert discover().cores


@pytest.mark.parametrize(
    ("text", "cores", "gpus"),
    [
        pytest.param("cpus=0-31,gpus=0-1", tuple(range(32)), (0, 1), id="the documented syntax"),
        pytest.param("cpus=0-3", (0, 1, 2, 3), (), id="no gpus"),
        pytest.param("cpus=0-1,4,6-7,gpus=0,2", (0, 1, 4, 6, 7), (0, 2), id="lists with several members"),
        pytest.param("gpus=1,cpus=3,1", (1, 3), (1,), id="the other order, sorted"),
        pytest.param("cpus=0-7;gpus=", tuple(range(8)), (), id="semicolon and empty gpus"),
        pytest.param(" cpus=0 gpus=none ", (0,), (), id="spaces and none"),
    ],
)
def test_describe(text, cores, gpus):
    """A machine in words has what the words say."""
    assert describe(text) == Topology(cores, gpus, "described", described=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "does not begin with a name", id="empty"),
        pytest.param("0-31", "does not begin with a name", id="bare list"),
        pytest.param("gpus=0", "has no cores", id="no cores"),
        pytest.param("cpus=,gpus=0", "has no cores", id="empty cores"),
        pytest.param("cpus=0-3,cpus=4", "'cpus' is unknown or said twice", id="twice"),
        pytest.param("cores=0-3", "'cores' is unknown or said twice", id="unknown name"),
        pytest.param("cpus=a", "'a' is neither a whole number nor a range", id="letters"),
        pytest.param("cpus=-1", "'-1' is neither a whole number nor a range", id="negative"),
        pytest.param("cpus=7-0", "'7-0' runs backwards: write 0-7", id="backwards"),
        pytest.param("cpus=0-999999999", "longer than 65536", id="far too many"),
        pytest.param("cpus=0,gpus=0,none", "'none' is neither", id="none among others"),
    ],
)
def test_describe_refuses(text, complaint):
    """Anything else is refused in one line that names the text."""
    with pytest.raises(PlacementError) as caught:
        describe(text)
    assert complaint in str(caught.value)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="cpusg=0123456789-,; none", max_size=30))
def test_describe_any_text(text):
    """Any text is a machine with ascending, distinct cores, or is refused."""
    try:
        topology = describe(text)
    except PlacementError:
        return
    assert topology.cores
    assert list(topology.cores) == sorted(set(topology.cores))


@pytest.mark.parametrize(
    ("cores", "text"),
    [
        pytest.param((0, 1, 2, 5), "0-2,5", id="a run and a single"),
        pytest.param((7, 6), "6,7", id="a pair, sorted"),
        pytest.param((), "-", id="nothing"),
        pytest.param((3, 3), "3", id="once"),
    ],
)
def test_core_ranges(cores, text):
    """Cores are written as taskset writes them."""
    assert core_ranges(cores) == text


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=60))
def test_ranges_round_trip(cores):
    """What core_ranges writes, expand_ranges reads."""
    assert expand_ranges(core_ranges(cores).split(",")) == tuple(sorted(cores))


def test_the_longest_list_is_still_read():
    """The bound itself is allowed, one more is not."""
    assert len(expand_ranges([f"1-{MAX_RANGE_MEMBERS}"])) == MAX_RANGE_MEMBERS
    with pytest.raises(ValueError, match="name fewer"):
        expand_ranges([f"1-{MAX_RANGE_MEMBERS}", "0"])
