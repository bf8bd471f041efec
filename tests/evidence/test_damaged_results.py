"""Thousands of results files with one or two values changed; a quick test has a few dozen."""

import json
import random
from pathlib import Path

import pytest
from damaged_results import damaged
from program import LOADGEN, asked

from loadgen.cli import exit_codes

GOLDEN = [Path(__file__).parents[1] / "golden" / f"results-v{version}.json" for version in (1, 2)]
FILES = 4000
CODES = (exit_codes.OK, exit_codes.CONFIG, exit_codes.THRESHOLD, exit_codes.UNDECIDED)


@pytest.mark.timeout(3600)
def test_one_line_each(tmp_path):
    """In the table, the page, CSV, JSON, `best` and `compare`."""
    documents, generator = [json.loads(path.read_text()) for path in GOLDEN], random.Random(0)
    path, good = tmp_path / "results-1.json", tmp_path / "results-2.json"
    good.write_text(GOLDEN[1].read_text())
    page, table, cells = (str(tmp_path / f"report.{kind}") for kind in ("html", "csv", "json"))
    wrong = []
    for number in range(FILES):
        path.write_text(text := json.dumps(damaged(documents[number % 2], generator)))
        for words in (
            ["report", str(path)],
            ["report", str(path), str(good), "--html", page, "--csv", table, "--json", cells],
            ["best", str(path), "--rate", "5", "--slo", "p99<10s"],
            ["compare", str(path), str(good)],
        ):
            try:
                done = asked([LOADGEN, *words])
            except Exception as error:
                wrong.append((words[0], repr(error), text))
                continue
            lines = 1 if done.returncode == exit_codes.CONFIG else 0
            if done.returncode not in CODES or done.stderr.count("\n") != lines:
                wrong.append((words[0], f"{done.returncode}: {done.stderr}", text))
    assert wrong == []
