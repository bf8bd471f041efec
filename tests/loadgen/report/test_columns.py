"""Tables of a terminal keep within its width."""

import pytest

from loadgen.report.columns import table


@pytest.mark.parametrize("width", [None, 24, 80])
def test_a_table_that_fits_is_the_same_at_any_width(width):
    """It is not spread."""
    assert table([("cell", "requests/s"), ("r1-c1-b1", "12.5")], width) == "cell      requests/s\nr1-c1-b1  12.5"


def test_a_table_breaks_no_word_and_keeps_an_indent():
    """Where words alone are wider than the terminal, so is the table."""
    rows = [("  name of it", "what"), ("  r1-c1-b1", "/a/long/path is full")]
    assert table(rows, 1).splitlines() == [
        "  name of   what",
        "  it",
        "  r1-c1-b1  /a/long/path",
        "            is full",
    ]


def test_a_long_word_below_an_indent_keeps_the_columns():
    """It has the indent too."""
    assert table([("  a longest", "b")], 1).splitlines() == ["  a        b", "  longest"]
