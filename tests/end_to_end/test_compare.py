"""``loadgen compare`` as a user types it."""

import json
from pathlib import Path

from program import ANY_PORTS, LOADGEN, ran

GOLDEN = Path(__file__).parents[1] / "golden" / "results-v2.json"
SIDE = """
model = "noop"
duration = "500ms"
warmup = "100ms"
no-ceiling = true
allow-invalid = true
"""


def test_one_side_beside_a_baseline(tmp_path):
    """It is brought up with the options of the file, measured, kept and described."""
    ports = "\n".join(port.removeprefix("--").replace("=", " = ") for port in ANY_PORTS)
    side = tmp_path / "side.toml"
    side.write_text(SIDE + ports)
    results = tmp_path / "results"
    done = ran([LOADGEN, "compare", "--baseline", str(GOLDEN), "--run", str(side), "--results-dir", str(results)])
    assert done.returncode == 0, done.stderr
    assert "not comparable because" in done.stdout
    (directory,) = results.iterdir()
    (line,) = (directory / "rounds.jsonl").read_text().splitlines()
    made = json.loads(line)
    assert (made["side"], made["left_out"]) == ("B", None)
    assert (directory / made["results"]).parent == directory / "b"
