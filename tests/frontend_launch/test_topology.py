"""What a machine offers, read from a made-up /proc and /sys, or from words."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.errors import PlacementError
from frontend_launch.launch.topology import (
    NumaNode,
    Topology,
    cpu_quota,
    describe,
    discover,
    find_gpus,
    find_numa_nodes,
    find_siblings,
    limit_to_quota,
    machine_of,
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


def siblings_files(groups: Mapping[int, str]) -> dict[str, str]:
    return {f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list": text for core, text in groups.items()}


@pytest.mark.parametrize(
    ("files", "siblings"),
    [
        pytest.param({}, (), id="unknown"),
        pytest.param(siblings_files({0: "0\n", 1: "1\n", 2: "2\n"}), (), id="one thread each"),
        pytest.param(siblings_files({0: "0,2\n", 1: "1,3\n", 2: "0,2\n"}), ((0, 2),), id="the usable threads"),
        pytest.param(siblings_files({0: "0-1\n", 1: "0-1\n", 2: "2-3\n"}), ((0, 1),), id="neighbours"),
        pytest.param(siblings_files({0: "many\n", 1: "\n"}), (), id="unreadable text"),
    ],
)
def test_find_siblings(tmp_path, files, siblings):
    """Threads of one physical core are found as far as they are usable."""
    assert find_siblings((0, 1, 2), machine(tmp_path, files)) == siblings


NODES = {"sys/devices/system/node/node0/cpulist": "0-1,8\n", "sys/devices/system/node/node1/cpulist": "2-3\n"}
GPUS = {f"proc/driver/nvidia/gpus/0000:{bus}:00.0/information": "" for bus in ("01", "81")}


@pytest.mark.parametrize(
    ("files", "nodes"),
    [
        pytest.param({}, (), id="unknown"),
        pytest.param(NODES, (NumaNode(0, (0, 1)), NumaNode(1, (2,))), id="the usable cores of each"),
        pytest.param(
            NODES | {"sys/devices/system/node/node2/cpulist": "4-7\n"},
            (NumaNode(0, (0, 1)), NumaNode(1, (2,))),
            id="a node without usable cores",
        ),
        pytest.param(NODES | {"sys/devices/system/node/has_memory": "1\n"}, (NumaNode(1, (2,)),), id="without memory"),
        pytest.param(
            NODES
            | GPUS
            | {
                "sys/bus/pci/devices/0000:01:00.0/numa_node": "1\n",
                "sys/bus/pci/devices/0000:81:00.0/numa_node": "-1\n",
            },
            (NumaNode(0, (0, 1)), NumaNode(1, (2,), (0,))),
            id="one GPU's node is known",
        ),
        pytest.param(NODES | {"dev/nvidia0": ""}, (NumaNode(0, (0, 1)), NumaNode(1, (2,))), id="a GPU without bus id"),
        pytest.param({"sys/devices/system/node/node0/cpulist": "\n"}, (), id="unreadable text"),
    ],
)
def test_find_numa_nodes(tmp_path, files, nodes):
    """Nodes with usable cores and memory, and the GPUs near them."""
    assert find_numa_nodes((0, 1, 2), machine(tmp_path, files)) == nodes


def test_what_a_topology_knows():
    """Threads, memory and nearness; a core by itself, no memory and all cores where it knows nothing."""
    dual = describe("cpus=0-7,gpus=0-1,smt=2,numa=2")
    assert (dual.physical(5), dual.memory_of((0, 4)), dual.memory_of((3, 0)), dual.near(1)) == (
        (1, 5),
        (0,),
        (0, 1),
        (2, 3, 6, 7),
    )
    plain = describe("cpus=0-3,gpus=0")
    assert (plain.physical(2), plain.memory_of((0,)), plain.near(0)) == ((2,), (), (0, 1, 2, 3))


def test_discover_puts_affinity_quota_and_gpus_together(tmp_path, monkeypatch):
    """The usable machine is the affinity within the quota, and the note says what was cut."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {9, 2, 5})
    root = machine(
        tmp_path,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000", "dev/nvidia0": ""},
    )

    topology = discover(root)

    assert (topology.cores, topology.gpus, topology.words) == ((2, 5), (0,), "")
    assert topology.note == "the CPU quota of 2 cores leaves 2,5 of cores 2,5,9"
    assert topology.node


@pytest.mark.parametrize(
    ("affinity", "quota", "cores", "beyond"),
    [
        pytest.param((0, 1, 2, 3), "max 100000", (0, 1, 2, 3), None, id="nothing beyond"),
        pytest.param((2, 3), "max 100000", (2, 3), (0, 1, 2, 3), id="narrowed by taskset"),
        pytest.param((2, 3), "300000 100000", (2, 3), (0, 2, 3), id="the quota pays for the affinity first"),
        pytest.param((2, 3), "200000 100000", (2, 3), None, id="the quota pays for no more"),
    ],
)
def test_what_is_beyond_the_affinity(tmp_path, affinity, quota, cores, beyond):
    """Is used only by the roles for which the user names cores."""
    siblings = {
        f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n % 2},{n % 2 + 2}" for n in range(4)
    }
    root = machine(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": quota, **siblings})
    topology = machine_of(affinity, (0, 1, 2, 3), root)
    assert topology.cores == cores
    assert topology.reaching(cores) is topology
    assert topology.reaching((0,)).cores == (beyond or cores)
    if beyond:
        assert topology.siblings == ()
        assert topology.reaching((0,)).siblings[0] == (0, 2)
        assert topology.note.endswith("(taskset, numactl), its replicas may; name them with --cpus")


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
    assert describe(text) == Topology(cores, gpus, "described", words=text)


@pytest.mark.parametrize(
    ("text", "siblings", "nodes"),
    [
        pytest.param("cpus=0-3,smt=1", (), (), id="one thread is no sibling"),
        pytest.param("cpus=0-3,smt=2", ((0, 2), (1, 3)), (), id="threads"),
        pytest.param(
            "cpus=0-3,gpus=0-2,numa=2", (), (NumaNode(0, (0, 1), (0, 1)), NumaNode(1, (2, 3), (2,))), id="nodes"
        ),
        pytest.param("cpus=0-3;numa=1", (), (NumaNode(0, (0, 1, 2, 3)),), id="one node is known"),
        pytest.param(
            "numa=2 smt=2 cpus=0-7 gpus=5",
            ((0, 4), (1, 5), (2, 6), (3, 7)),
            (NumaNode(0, (0, 1, 4, 5), (5,)), NumaNode(1, (2, 3, 6, 7))),
            id="both",
        ),
    ],
)
def test_describe_threads_and_nodes(text, siblings, nodes):
    """Numbers go round the physical cores, which the nodes have in order."""
    topology = describe(text)
    assert (topology.siblings, topology.numa_nodes) == (siblings, nodes)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "does not begin with a name", id="empty"),
        pytest.param("0-31", "does not begin with a name", id="bare list"),
        pytest.param("gpus=0", "has no cores", id="no cores"),
        pytest.param("cpus=,gpus=0", "has no cores", id="empty cores"),
        pytest.param("cpus=0-65000", "65001 are too many; describe at most 2048", id="more cores than any machine has"),
        pytest.param("cpus=0-3,cpus=4", "'cpus' is unknown or said twice", id="twice"),
        pytest.param("cores=0-3", "'cores' is unknown or said twice", id="unknown name"),
        pytest.param("cpus=a", "'a': neither a whole number nor a range", id="letters"),
        pytest.param("cpus=-1", "'-1': neither a whole number nor a range", id="negative"),
        pytest.param("cpus=7-0", "'7-0': runs backwards; write 0-7", id="backwards"),
        pytest.param("cpus=0-999999999", "longer than 65536", id="far too many"),
        pytest.param("cpus=0,gpus=0,none", "'none': neither", id="none among others"),
        pytest.param("cpus=0-3,smt=0", "smt=0 is not a number from 1 on", id="no threads"),
        pytest.param("cpus=0-3,numa=1,2", "numa=1,2 is not a number from 1 on", id="two numbers of nodes"),
        pytest.param("cpus=0-3,smt=", "smt= is not a number from 1 on", id="empty threads"),
        pytest.param("cpus=0-3,smt=2,numa=3", "4 cores do not come in 3 equal nodes", id="not to be divided"),
    ],
)
def test_describe_refuses(text, complaint):
    """Anything else is refused in one line that names the text."""
    with pytest.raises(PlacementError) as caught:
        describe(text)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"--topology {shlex.quote(text)}: ")
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="cpusgmta=0123456789-,; none", max_size=30))
def test_describe_any_text(text):
    """Any text is a machine with ascending, distinct cores, or is refused."""
    try:
        topology = describe(text)
    except PlacementError:
        return
    assert topology.cores
    assert list(topology.cores) == sorted(set(topology.cores))
