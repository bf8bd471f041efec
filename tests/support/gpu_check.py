"""Shows that placement, GPUs and their figures are right on this machine: `make gpu-check`.

It wants an NVIDIA GPU and a Python, 3.11 or newer, with PyTorch; no network. Wheels of what that Python lacks lie in
``wheels/``: `make gpu-wheels` fetches them on a machine with a network. What it cannot check is left out and named.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WHEELS, SITE = ROOT / "wheels", ROOT / ".gpu-check"
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_26_x86_64", "manylinux_2_28_x86_64")
DURATION_S = 10

MODEL = """
import json, os
from pathlib import Path
import numpy as np
from model_containers.model import LoadOptions, TensorSpec

SEEN = Path({seen!r})


class Layers:
    name = "gpu-check"
    input = TensorSpec((1024,), "float32")
    output = TensorSpec((16,), "float32")
    tolerance = 1e-4

    def load(self, options: LoadOptions) -> None:
        import torch

        torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        self.torch, self.device = torch, "cuda" if options.gpu else "cpu"
        layers = [torch.nn.Linear(1024, 8192), torch.nn.ReLU(), torch.nn.Linear(8192, 16)]
        self.network = torch.nn.Sequential(*layers).eval().to(self.device)
        role = os.environ.get("LOADGEN_ROLE")
        if role is not None:
            seen = {{
                "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
                "devices": torch.cuda.device_count() if torch.cuda.is_available() else 0,
                "name": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "",
                "cores": sorted(os.sched_getaffinity(0)),
            }}
            (SEEN / f"{{role}}.json").write_text(json.dumps(seen))

    def predict(self, batch: np.ndarray) -> np.ndarray:
        with self.torch.inference_mode():
            centred = self.torch.from_numpy(batch - np.float32(0.5)).to(self.device)
            return self.network(centred).cpu().numpy()
"""
"""A model of one's own in PyTorch, which writes down what its replica was given."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check showed.

    Attributes:
        name: of the check.
        ok: whether it is as it should be; None where it could not be checked.
        text: what was found.
    """

    name: str
    ok: bool | None
    text: str

    @property
    def line(self) -> str:
        """For a terminal."""
        mark = {True: "ok", False: "FAILED", None: "left out"}[self.ok]
        return f"{mark:<9} {self.name:<22} {self.text}"


def say(text: str) -> None:
    """Write to standard output at once."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Check, or fetch wheels; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--fetch", metavar="VERSION", help="fetch the wheels for a Python such as 3.12, and check nothing"
    )
    arguments = parser.parse_args(argv)
    if arguments.fetch is not None:
        return subprocess.run(fetching(arguments.fetch), cwd=ROOT, check=False).returncode
    sys.path.insert(0, str(ROOT))
    from frontend_launch.launch.topology import discover

    gpus = discover().gpus
    if not gpus:
        say("gpu-check: skipped, this machine has no NVIDIA GPU")
        return 0
    if importlib.util.find_spec("torch") is None:
        say(f"gpu-check: {sys.executable} has no PyTorch: name a Python that has it, make gpu-check PYTHON=…")
        return 1
    install(missing(sorted(WHEELS.glob("*.whl")), installed()))
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as directory:
        findings = [*own_model(Path(directory), gpus), *inception(Path(directory), gpus)]
    say("\n".join(finding.line for finding in findings))
    return int(any(finding.ok is False for finding in findings))


# Wheels ------------------------------------------------------------------------------------------------------


def fetching(python: str) -> list[str]:
    """The command that fetches the wheels of what loadgen always needs, and of its extra ``gpu``.

    Args:
        python: the version that they are for.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    target = ["--python-version", python, "--implementation", "cp", *platforms, "--only-binary", ":all:"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["gpu"]]
    download = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--dest", str(WHEELS)]
    return [*download, "--constraint", "constraints.txt", *target, *needs]


def installed() -> set[str]:
    """The packages that this Python has, as wheels are named."""
    names = (distribution.metadata["Name"] for distribution in importlib.metadata.distributions())
    return {_normal(name) for name in names if name}


def missing(wheels: Iterable[Path], have: set[str]) -> list[Path]:
    """The wheels of packages that are not installed; others would hide what PyTorch was built with."""
    return [wheel for wheel in wheels if _normal(wheel.name.partition("-")[0]) not in have]


def _normal(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def install(wheels: Sequence[Path]) -> None:
    """Install wheels beside this checkout."""
    if wheels:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--upgrade"]
        where = ["--no-index", "--no-deps", "--target", str(SITE)]
        subprocess.run([*pip, *where, *map(str, wheels)], check=True)


# Runs --------------------------------------------------------------------------------------------------------


def own_model(directory: Path, gpus: Sequence[int]) -> list[Finding]:
    """Run a PyTorch model with a replica on each GPU and one on cores, and judge what came out.

    Args:
        directory: for the model and the results.
        gpus: of this machine.
    """
    model = directory / "gpu_check_model.py"
    model.write_text(MODEL.format(seen=str(directory)))
    sizes = ["--gpus", ",".join(map(str, gpus)) or "none", "--replicas", str(len(gpus) + 1), "--batch-size", "8"]
    done = saturate(directory, f"{model}:Layers", *sizes, "--verify", "20")
    results = _results(directory)
    if results is None:
        return [Finding("run", False, _last(done.stderr))]
    seen = {path.stem: json.loads(path.read_text()) for path in directory.glob("replica-*.json")}
    return judge(results, seen, gpus)


def inception(directory: Path, gpus: Sequence[int]) -> list[Finding]:
    """Run Inception on the first GPU where Keras finds a backend.

    Args:
        directory: for the results.
        gpus: of this machine.
    """
    backend = subprocess.run(
        [sys.executable, "-c", "import keras; print(keras.backend.backend())"],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if backend.returncode:
        return [Finding("inception", None, f"Keras finds no backend: {_last(backend.stderr)}")]
    if importlib.util.find_spec("tensorflow") is None:
        return [Finding("inception", None, f"Keras has {backend.stdout.strip()}, and the model wants tensorflow")]
    own = directory / "inception"
    own.mkdir()
    done = saturate(own, "inception", "--gpus", str(gpus[0]))
    results = _results(own)
    if results is None:
        return [Finding("inception", False, _last(done.stderr))]
    completed = results["summary"]["measured"]["completed"]
    return [
        Finding("inception", completed > 0, f"{results['summary']['throughput_rps']:.4g} requests/s on GPU {gpus[0]}")
    ]


def saturate(directory: Path, model: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run loadgen, and show what it says."""
    run = ["--duration", str(DURATION_S), "--no-ceiling", "--allow-invalid", "--results-dir", str(directory)]
    ports = [
        word for name in ("request", "response", "replica", "metrics", "admin") for word in (f"--{name}-port", "0")
    ]
    command = [sys.executable, "-m", "loadgen", "saturate", "--model", model, *options, *run, *ports]
    done = subprocess.run(
        command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=480, check=False
    )
    say(done.stdout + done.stderr)
    return done


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(SITE)])}


def _results(directory: Path) -> dict[str, Any] | None:
    for path in directory.glob("results-*.json"):
        return dict(json.loads(path.read_text()))
    return None


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


# What they show ----------------------------------------------------------------------------------------------


def judge(results: Mapping[str, Any], seen: Mapping[str, Mapping[str, Any]], gpus: Sequence[int]) -> list[Finding]:
    """What a run with a replica on each GPU, and one on cores, shows.

    Args:
        results: its results document.
        seen: what each replica wrote down, by role.
        gpus: of the machine.
    """
    rows = [row for row in results["placement"] if row["role"].startswith("replica-")]
    planned, given = [row["gpu"] for row in rows], {row["role"]: seen.get(row["role"], {}) for row in rows}
    visible = [given[row["role"]].get("visible") for row in rows]
    devices = [given[row["role"]].get("devices") for row in rows]
    cores = [core for row in rows for core in row["cores"]]
    as_planned = all(given[row["role"]].get("cores") == row["cores"] for row in rows)
    hardware = results["hardware"] or {"gpus": {}, "energy": None}
    answers = results["answers"] or {"compared": 0, "mismatched": 0}
    names = sorted({str(one["name"]) for one in given.values() if one.get("name")})
    return [
        Finding("replica per GPU", planned == [*gpus, None], f"GPUs of the replicas: {planned}"),
        Finding(
            "CUDA_VISIBLE_DEVICES",
            visible == [*map(str, gpus), ""] and devices == [*[1] * len(gpus), 0],
            f"read back {visible}; devices that PyTorch sees: {devices} ({', '.join(names) or 'none'})",
        ),
        Finding("cores", as_planned and len(set(cores)) == len(cores), f"{[row['cores'] for row in rows]}"),
        *(_figures(str(gpu), hardware["gpus"].get(str(gpu))) for gpu in gpus),
        _energy(hardware["energy"], gpus),
        Finding(
            "answers in PyTorch",
            answers["compared"] > 0 and answers["mismatched"] == 0,
            f"{answers['compared']} compared, {answers['mismatched']} wrong; "
            f"{results['summary']['throughput_rps']:.4g} requests/s",
        ),
    ]


def _figures(gpu: str, use: Mapping[str, Any] | None) -> Finding:
    name = f"NVML of GPU {gpu}"
    if use is None:
        found = importlib.util.find_spec("pynvml") is not None
        return Finding(name, False if found else None, "nothing was told" if found else "nvidia-ml-py is not installed")
    told = {key: value for key, value in use.items() if value is not None}
    ok = use.get("utilisation_max") is not None and (use.get("memory_max_bytes") or 0) > 0
    return Finding(name, ok, ", ".join(f"{key} {value:.4g}" for key, value in told.items()) or "nothing was told")


def _energy(energy: Mapping[str, Any] | None, gpus: Sequence[int]) -> Finding:
    if energy is None:
        return Finding("energy", None, "neither NVML nor the kernel tells")
    parts = [*(f"GPU {gpu}" for gpu in energy["gpus_j"]), *energy["cpu_j"]]
    per_request = energy["per_request_j"]
    ok = per_request is not None and per_request > 0 and all(joules >= 0 for joules in energy["gpus_j"].values())
    text = "no figure of a request" if per_request is None else f"{per_request:.3g} J per request"
    return Finding("energy", ok, f"{text}, of {', '.join(parts)}; {len(gpus)} GPUs")


if __name__ == "__main__":
    sys.exit(main())
