"""What is in a ledger stays there, whenever its writer dies."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import ConfigError
from loadgen.experiments import ledger as ledgers
from loadgen.experiments.grid import GridCell, Measurement, Size
from loadgen.experiments.ledger import Entry

ENTRY = Entry("r1-c2-b4", 1, 2, 4, 0, "cell", "results-1.json", None, 12.5, 80.25, "yes", "2026-01-01T00:00:00+00:00")
SETTINGS = {"batch_sizes": [1, 2]}


def begun(directory, *entries):
    with ledgers.begin(directory, {"settings": SETTINGS, "command": ["loadgen"]}) as ledger:
        for entry in entries:
            ledger.add(entry)
    return ledger.directory


def test_an_entry_knows_what_was_measured():
    """So that a resumed sweep knows what is left."""
    assert ENTRY.measurement == Measurement(GridCell(Size(1, 2), 4))


@given(st.data())
def test_a_ledger_that_is_cut_off_anywhere_goes_on(tmp_path_factory, data):
    """Entries before the cut are all there, and the next one is not spoilt by it."""
    directory = begun(tmp_path_factory.mktemp("results"), *(replace(ENTRY, repeat=number) for number in range(3)))
    path = directory / ledgers.LEDGER
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    finished = [
        json.loads(line)["repeat"] for line in whole[: cut + 1].splitlines(keepends=True) if line.endswith(b"}\n")
    ]
    with ledgers.resume(directory.parent, {"settings": SETTINGS}) as ledger:
        known = [entry.repeat for entry in ledger.entries]
        assert known[: len(finished)] == finished
        ledger.add(replace(ENTRY, repeat=9))
    assert [entry.repeat for entry in ledgers.read_entries(directory)] == [*known, 9]


def test_members_of_a_later_version_are_ignored_and_lines_that_are_no_entries_are_passed_over(tmp_path):
    """A measurement that a later version made is one, whatever else that wrote of it."""
    directory = begun(tmp_path, ENTRY)
    path = directory / ledgers.LEDGER
    later = {**json.loads(path.read_text()), "repeat": 1, "of_a_later_version": [1]}
    lines: list[object] = [asdict(ENTRY), 3, [], {}, "text", later]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(ledgers.read_entries(directory)) == [ENTRY, replace(ENTRY, repeat=1)]


def test_entries_of_before_are_valid_as_far_as_is_known(tmp_path):
    """Nothing was recorded of it."""
    directory = begun(tmp_path, replace(ENTRY, invalid="because"))
    path = directory / ledgers.LEDGER
    row = json.loads(path.read_text())
    assert row.pop("invalid") == "because"
    path.write_text(json.dumps(row) + "\n")
    assert list(ledgers.read_entries(directory)) == [ENTRY]


def test_only_a_sweep_of_the_same_settings_is_resumed(tmp_path: Path):
    """The newest of them."""
    begun(tmp_path)
    newest = begun(tmp_path)
    with ledgers.resume(tmp_path, {"settings": SETTINGS}) as ledger:
        assert ledger.directory == newest
    with ledgers.resume(tmp_path, {"settings": {"other": 1}}) as ledger:
        assert ledger.entries == []
    assert len(list(tmp_path.glob("sweep-*"))) == 3


def test_two_processes_never_write_to_one_ledger(tmp_path: Path):
    """The second is told."""
    begun(tmp_path)
    with (
        ledgers.resume(tmp_path, {"settings": SETTINGS}),
        pytest.raises(ConfigError, match="another process writes to it"),
        ledgers.resume(tmp_path, {"settings": SETTINGS}),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}", "not the directory of a sweep"),
        ("[", "not the directory"),
        ('{"schema_version": "1"}', "not the directory"),
        ('{"schema_version": 99}', "version 99 is above 1"),
    ],
)
def test_a_header_that_cannot_be_read(tmp_path: Path, text: str, complaint: str):
    """One line, with the directory."""
    (tmp_path / ledgers.HEADER).write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        ledgers.read_header(tmp_path)


def test_a_ledger_on_a_disk_that_is_full(tmp_path):
    """One line, with what to do."""
    with open("/dev/full", "w") as file:
        ledger = ledgers.Ledger(tmp_path, file)
        with pytest.raises(ConfigError, match=r"cannot be written \(No space left on device\); free some space"):
            ledger.add(ENTRY)
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())  # what is still buffered
