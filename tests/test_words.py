"""The check of words finds what it shall, where it shall."""

import pytest
import words
from words import Finding

pytestmark = pytest.mark.no_cover  # they read the source, and take no branch of it


def test_what_is_checked_has_no_fault():
    """Neither an outgrown word nor an exemption that is not needed."""
    assert list(words.faults()) == []


def test_each_pattern_finds_files():
    """A folder that is renamed does not leave the check."""
    assert [pattern for pattern in words.CHECKED if not any(words.ROOT.glob(pattern))] == []


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        pytest.param("README.md", "Send\nso\nmany.", [(2, "so many")], id="over ends of lines"),
        pytest.param("README.md", "Whoever asks.", [(1, "whoever")], id="at the beginning"),
        pytest.param("README.md", "also many, rooms-to-let", [(1, "rooms")], id="whole words only"),
        pytest.param("loadgen/a.py", "x = (\n    'so '\n    f'many {y}'\n)", [(2, "so many")], id="joined literals"),
        pytest.param("loadgen/a.py", "# of\n# ours", [(1, "of ours")], id="comments over lines"),
        pytest.param("README.md", "62 % of\n3\u00a0%", [(1, " %"), (2, " %")], id="a space before a percent sign"),
        pytest.param("loadgen/a.js", "`${share}\\u00a0%`", [(1, " %")], id="a space that is escaped"),
        pytest.param("loadgen/a.py", "f'{x:.1f} %'", [(1, " %")], id="a percentage that is formatted"),
        pytest.param("loadgen/a.py", "'62% 10 %d' % x, x % 2, f(1) % 60", [], id="formats and remainders"),
        pytest.param("loadgen/a.py", "x = y is None", [], id="the constant"),
        pytest.param("loadgen/a.py", '"""There is none."""', [(1, "is none")], id="a docstring"),
        pytest.param("tests/a.py", "x = 'nobody'", [], id="data of a test"),
        pytest.param("tests/a.py", "'''One.\n\nOf nobody.'''", [(3, "nobody")], id="a docstring of a test"),
        pytest.param("tests/a.py", "x = 1  # nobody\ny = 2\n# nobody", [(1, "nobody"), (3, "nobody")], id="comments"),
    ],
)
def test_outgrown_words(path, text, found):
    """Each with its line."""
    assert [(line, word) for _, line, word in words.outgrown(path, text)] == found


def test_an_exemption_that_is_not_needed_is_a_fault(monkeypatch):
    """So that the list of them stays short."""
    monkeypatch.setattr(words, "CHECKED", ())
    monkeypatch.setattr(words, "EXEMPT", {("README.md", "nobody"): "a name"})
    assert list(words.faults()) == ["README.md: 'nobody' is exempt and not there; remove the exemption"]


LONG = " ".join(["word"] * (words.MOST_WORDS + 1)) + "."
SHORT = " ".join(["word"] * words.MOST_WORDS) + "."


@pytest.mark.parametrize(
    ("path", "text", "lines"),
    [
        pytest.param("a.md", f"{SHORT} {SHORT}\n{LONG}\n", [2], id="prose"),
        pytest.param("a.md", f"```\n{LONG}\n```\n| {LONG} |\n# {LONG}\n", [], id="neither code, tables nor headings"),
        pytest.param("a.py", f'"""{SHORT}\n\n{LONG}"""\nx = "{LONG}"\n', [1], id="docstrings"),
        pytest.param("a.py", f'"""=== ===\n{LONG}\n=== ===\n\nA\n +- {LONG}"""\n', [], id="neither tables nor trees"),
        pytest.param("a.js", f'x = "{LONG}"\n', [], id="no other code"),
        pytest.param("a.py", f"# {LONG[:60]}\n# {LONG[60:]}\nx = 1\n", [1], id="comments"),
    ],
)
def test_long_sentences(path, text, lines):
    """Above 25 words; they are warned of only."""
    found = list(words.long_sentences(path, text))
    assert [finding.line for finding in found] == lines
    assert all(finding == Finding(path, finding.line, LONG) for finding in found)
