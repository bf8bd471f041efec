"""Every option of every verb with every wrong value; a quick test has a part of it."""

from pathlib import Path

import pytest
from option_table import WRONG, asked_without_starting, cases

GOLDEN = Path(__file__).parents[1] / "golden" / "results-v2.json"


@pytest.mark.parametrize("case", cases(once=False), ids=lambda case: case.name)
def test_wrong_values(case, monkeypatch, tmp_path):
    """One line, a documented code, no traceback, no hang."""
    complaint = asked_without_starting(monkeypatch, tmp_path)
    found = {}
    for value in WRONG:
        (tmp_path / "results.json").write_bytes(GOLDEN.read_bytes())
        if (text := complaint(case.words(value, str(tmp_path / "results.json")))) is not None:
            found[value[:20]] = text
    assert found == {}
