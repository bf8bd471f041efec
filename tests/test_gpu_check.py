"""The check of machines with GPUs, on one without: what it makes of a run, and of wheels."""

import copy
from pathlib import Path
from typing import Any

import gpu_check
import pytest
from gpu_check import Finding, judge, missing

ROW = {"cores": [3], "gpu": None}
RUN: dict[str, Any] = {
    "placement": [
        {"role": "client", **ROW},
        {"role": "replica-0", "cores": [6], "gpu": 0},
        {"role": "replica-1", "cores": [7], "gpu": 1},
        {"role": "replica-2", "cores": [5], "gpu": None},
    ],
    "hardware": {
        "gpus": {key: {"utilisation_max": 0.9, "memory_max_bytes": 1 << 30, "processes_max": None} for key in "01"},
        "energy": {"seconds": 9.0, "cpu_j": {}, "gpus_j": {"0": 900.0, "1": 800.0}, "per_request_j": 0.2},
    },
    "answers": {"compared": 12, "mismatched": 0},
    "summary": {"throughput_rps": 1234.5},
}
SEEN = {
    "replica-0": {"visible": "0", "devices": 1, "name": "A GPU", "cores": [6]},
    "replica-1": {"visible": "1", "devices": 1, "name": "A GPU", "cores": [7]},
    "replica-2": {"visible": "", "devices": 0, "name": "", "cores": [5]},
}


def test_a_machine_without_a_gpu_is_one_line(capsys, monkeypatch):
    """And no failure."""
    monkeypatch.setattr("frontend_launch.launch.topology.find_gpus", lambda root: ())
    assert gpu_check.main([]) == 0
    assert capsys.readouterr().out == "gpu-check: skipped, this machine has no NVIDIA GPU\n"


def test_a_python_without_torch_is_one_line(capsys, monkeypatch):
    """With the remedy."""
    monkeypatch.setattr("frontend_launch.launch.topology.find_gpus", lambda root: (0,))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert gpu_check.main([]) == 1
    assert "has no PyTorch: name a Python that has it, make gpu-check PYTHON=" in capsys.readouterr().out


def test_a_run_as_it_should_be():
    """Every check passes and says what it found."""
    findings = judge(RUN, SEEN, [0, 1])
    assert [finding.ok for finding in findings] == [True] * 7
    assert findings[1].text == "read back ['0', '1', '']; devices that PyTorch sees: [1, 1, 0] (A GPU)"
    assert findings[5].line == "ok        energy                 0.2 J per request, of GPU 0, GPU 1; 2 GPUs"
    assert Finding("x", None, "why").line.startswith("left out  x ")


@pytest.mark.parametrize(
    ("path", "value", "failed"),
    [
        (("placement", 2, "gpu"), None, "replica per GPU"),
        (("placement", 2, "cores"), [6], "cores"),
        (("hardware", "gpus", "1"), {"utilisation_max": None, "memory_max_bytes": 5}, "NVML of GPU 1"),
        (("hardware", "energy", "per_request_j"), None, "energy"),
        (("answers", "mismatched"), 1, "answers in PyTorch"),
        (("answers", "compared"), 0, "answers in PyTorch"),
    ],
)
def test_a_run_that_is_wrong(path, value, failed):
    """The check that it fails has its name."""
    run = copy.deepcopy(RUN)
    place: Any = run
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert [finding.name for finding in judge(run, SEEN, [0, 1]) if finding.ok is False] == [failed]


@pytest.mark.parametrize(
    "seen",
    [{"visible": "0,1"}, {"visible": None}, {"devices": 2}, {"devices": 0}],
    ids=["both", "unset", "two", "none"],
)
def test_a_replica_that_sees_other_gpus(seen):
    """Whatever the plan says."""
    findings = judge(RUN, SEEN | {"replica-0": SEEN["replica-0"] | seen}, [0, 1])
    assert [finding.name for finding in findings if finding.ok is False] == ["CUDA_VISIBLE_DEVICES"]


def test_what_cannot_be_told_is_left_out():
    """Energy on old GPUs; a run that was not watched fails where NVML could have told."""
    assert judge(RUN | {"hardware": RUN["hardware"] | {"energy": None}}, SEEN, [0, 1])[5].ok is None
    assert judge(RUN | {"hardware": None}, SEEN, [0, 1])[3].ok in (False, None)


def test_only_missing_wheels_are_installed():
    """PyTorch's own numpy stays."""
    wheels = [
        Path(f"{name}-1-py3-none-any.whl") for name in ("numpy", "HdrHistogram", "typing_extensions", "nvidia_ml_py")
    ]
    have = {"numpy", "typing_extensions"}
    assert [wheel.name.partition("-")[0] for wheel in missing(wheels, have)] == ["HdrHistogram", "nvidia_ml_py"]
    assert "numpy" in gpu_check.installed()


def test_what_is_fetched():
    """For another machine's Python, of all that loadgen always needs."""
    command = gpu_check.fetching("3.12")
    assert command[command.index("--python-version") + 1] == "3.12"
    assert any(word.startswith("pyzmq") for word in command)
    assert any(word.startswith("nvidia-ml-py") for word in command)
    assert not any(word.startswith(("tensorflow", "torch")) for word in command)
