"""Directories of searches and comparisons, made by hand; nothing was measured."""

import json
from pathlib import Path
from typing import Any

from sample_results import GOLDEN

from loadgen.results.files import save

PROBE = {
    "step": "confirm",
    "rate_rps": 100.0,
    "duration_s": 30.0,
    "outcome": "pass",
    "text": "p99 40 ms",
    "results": "results-1.json",
}
CAPACITY: dict[str, Any] = {
    "model": "noop",
    "slo": ["p99<50ms"],
    "capacity": {
        "rate_rps": 100.0,
        "failed_rps": 110.0,
        "confirmed": True,
        "ended": "found",
        "confirm_s": 30.0,
        "probes": [PROBE],
    },
}
COMPARED = {
    "outcome": "not worse",
    "effects": [
        {"metric": "throughput", "outcome": "not worse", "ratio": 1.0, "interval": [0.99, 1.01], "margin": 1 / 1.05}
    ],
    "rounds": 1,
    "margin": 0.05,
}


def make_capacity(directory: Path, text: str | None = None) -> Path:
    """The directory of a search for capacity with a probe."""
    name = save(GOLDEN, directory).name
    (directory / "capacity.json").write_text(text or json.dumps(CAPACITY).replace("results-1.json", name))
    return directory


def make_comparison(directory: Path) -> Path:
    """The directory of a comparison of one round."""
    names = [save(GOLDEN, directory / side).relative_to(directory) for side in ("a", "b")]
    rounds: list[dict[str, Any]] = [
        {"round": 0, "side": side, "seed": 0, "results": str(name)} for side, name in zip("AB", names, strict=True)
    ]
    rounds.append({"round": 1, "side": "A", "seed": 1, "results": None, "left_out": "no replica"})
    (directory / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rounds))
    (directory / "compare.json").write_text("{}")
    (directory / "comparison.json").write_text(json.dumps(COMPARED))
    return directory
