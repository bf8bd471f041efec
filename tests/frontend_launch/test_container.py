"""What the engine is asked for, what its refusals mean, and what a cgroup says."""

import pytest

from frontend_launch import cgroups
from frontend_launch.launch.container import Container
from frontend_launch.launch.engine import refusal
from frontend_launch.launch.placement import Assignment

REPLICA = Container(
    role="replica-0",
    image="model-comp/vgg-feats:gpu",
    name=None,
    command=["python"],
    labels={"ai.clipper.model_container.label": "vgg_1"},
    environment={"CLIPPER_IP": "query_frontend-1"},
    ports={},
    memory_bytes=1 << 32,
    assignment=Assignment("here", "replica-0", (6, 7), 1, shared=False),
)


def test_a_gpu_is_a_device_request():
    """One for each replica, by number; the label says which."""
    request = REPLICA.to_engine("abc")
    assert request["HostConfig"]["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": ["1"], "Capabilities": [["gpu"]]}
    ]
    assert request["HostConfig"]["CpusetCpus"] == "6,7"
    assert request["Labels"] == {
        "ai.clipper.container.label": "",
        "ai.clipper.model_container.label": "vgg_1",
        "loadgen.run": "abc",
        "loadgen.role": "replica-0",
        "loadgen.gpu": "1",
    }


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', "install the NVIDIA container toolkit"),
        ("No such image: model-comp/vgg-feats:latest", "vgg-feats: does not exist; run loadgen images build"),
        ("no such image: redis:7-bookworm", "image redis:7-bookworm: does not exist; run docker pull redis:7-bookworm"),
        ("Bind for 127.0.0.1:1338 failed: port is already allocated", "a port is in use"),
        ("something\n new", "query: the engine refuses: something new"),
    ],
)
def test_refusals_say_what_to_do(message, text):
    """In one line."""
    said = refusal("query", message)
    assert text in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("lines", "file"),
    [
        pytest.param(["0::/docker/abc"], "docker/abc/cpuset.cpus.effective", id="version 2"),
        pytest.param(
            ["3:cpuset:/docker/abc", "0::/"], "cpuset/docker/abc/cpuset.effective_cpus", id="version 1 and 2 together"
        ),
        pytest.param(["4:cpuset,cpu:/a"], "cpuset/a/cpuset.effective_cpus", id="version 1, joined"),
    ],
)
def test_the_cores_of_a_cgroup(tmp_path, lines, file):
    """Where each version keeps them."""
    process = tmp_path / "proc" / "7"
    process.mkdir(parents=True)
    (process / "cgroup").write_text("\n".join(lines) + "\n")
    assert cgroups.cores(7, tmp_path) is None
    path = tmp_path / "sys/fs/cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text("0-2,5\n")
    assert cgroups.cores(7, tmp_path) == (0, 1, 2, 5)


def test_a_process_that_is_gone_has_none(tmp_path):
    """And one that cannot be seen."""
    assert cgroups.cores(7, tmp_path) is None
