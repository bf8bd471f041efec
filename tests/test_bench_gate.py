"""The gate of the benchmarks: when a figure fails, and which revision is the last release."""

import subprocess
from pathlib import Path

import gate
import pytest

BASE, HEAD = TREES = (Path("base"), Path("head"))
DATED = "## [0.1.0] - 2026-01-01\n"


def measured(costs, rounds=6):
    """Rounds in which HEAD costs so much and the base 100, and the trees in the order in which they were measured."""
    order, left = [], iter(costs)

    def cost(tree):
        order.append(tree)
        return next(left) if tree == HEAD else 100.0

    return gate.in_turns(cost, TREES, rounds), order


@pytest.mark.parametrize(
    ("costs", "rounds", "failed"),
    [
        pytest.param([100.0], 1, False, id="equal"),
        pytest.param([105.0], 1, False, id="as much as it may"),
        pytest.param([150.0] * 5 + [104.0], 6, False, id="not in the last round"),
        pytest.param([106.0] * 6, 6, True, id="more in all rounds"),
    ],
)
def test_a_figure_fails_that_costs_more_in_all_rounds(capsys, costs, rounds, failed):
    """The first in which it does not ends them."""
    found, _ = measured(costs)
    assert found == [(100.0, each) for each in costs]
    assert len(found) == rounds
    assert gate.row("figure", found, 6) is failed
    assert capsys.readouterr().out.endswith("  FAILED\n") is failed


def test_either_revision_is_first_in_turns():
    """What changes with time is for and against HEAD equally often."""
    _, order = measured([150.0] * 3 + [90.0])
    assert order == [BASE, HEAD, HEAD, BASE] * 2


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository for the gate, and how to commit a file to it."""
    monkeypatch.setattr(gate, "ROOT", tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.com")
    times = iter(range(1_700_000_000, 1_800_000_000))

    def commit(name, text):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{next(times)} +0000")
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        for words in (["add", "."], ["commit", "-qm", name], ["rev-parse", "--short", "HEAD"]):
            done = subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return commit


def test_the_last_release_is_in_the_changelog(repository):
    """Before HEAD, and not before the benchmarks."""
    repository("CHANGELOG.md", "## [Unreleased]\n")
    repository("CHANGELOG.md", DATED)
    added = repository("benchmarks/one_by_one.py", "1")
    repository("benchmarks/one_by_one.py", "2")
    assert gate.last_release() == added
    second = DATED.replace("0.1", "0.2")
    release = repository("CHANGELOG.md", second + DATED)
    assert gate.last_release() == added
    repository("CHANGELOG.md", "## [Unreleased]\n" + second + DATED)
    assert gate.last_release() == release


def test_a_history_without_the_release(repository, tmp_path, monkeypatch, capsys):
    """A shallow clone, or none: an error, unless it may be skipped."""
    repository("CHANGELOG.md", DATED)
    repository("benchmarks/one_by_one.py", "1")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth=1", tmp_path.as_uri(), str(clone)], check=True)
    monkeypatch.setattr(gate, "ROOT", clone)
    monkeypatch.setattr("sys.argv", ["gate.py"])
    with pytest.raises(SystemExit, match=r"the history here lacks the last release; fetch it"):
        gate.main()
    monkeypatch.setattr("sys.argv", ["gate.py", "--may-skip"])
    gate.main()
    assert capsys.readouterr().out == "gate.py: skipped: the history here lacks the last release\n"
