"""Each option of each verb with wrong values: one line, a documented code, no traceback and no end of waiting."""

from pathlib import Path

import pytest
from option_table import CODES, FEW, asked_without_starting, cases

from loadgen.cli import exit_codes
from loadgen.cli.verbs import VERBS

GOLDEN = Path(__file__).parents[2] / "golden" / "results-v2.json"


@pytest.fixture
def complaint(monkeypatch, tmp_path):
    (tmp_path / "results.json").write_bytes(GOLDEN.read_bytes())
    return asked_without_starting(monkeypatch, tmp_path)


@pytest.mark.no_cover  # hundreds of commands
@pytest.mark.parametrize("verb", VERBS)
def test_wrong_values(verb, complaint, tmp_path):
    """Of options that verbs share, those of the first verb; `tests/evidence` has all of them, and more values."""
    found = {
        (case.name, value[:20]): text
        for case in cases(once=True)
        if case.verb.split()[0] == verb
        for value in FEW
        if (text := complaint(case.words(value, str(tmp_path / "results.json")))) is not None
    }
    assert found == {}


def test_every_code_of_the_table_is_documented():
    """In the one table of them."""
    assert all(f"\n{code} " in (exit_codes.__doc__ or "") for code in CODES)
