"""Files for a row of each request."""

import os
import re

import pytest

from loadgen.errors import ConfigError
from loadgen.load.requests_log import check


def test_files_that_may_be_written(tmp_path):
    """New ones, and those that are there; neither is touched."""
    (tmp_path / "old.csv").write_text("rows")
    for name in ("new.npz", "old.csv"):
        check(tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.csv", "rows")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rows.txt", "does not end in .npz or .csv"),
        ("none/rows.csv", "none is not a directory that can be written to"),
        ("file/rows.csv", "file is not a directory that can be written to"),
        ("directory.csv", "exists, and is not a file that can be written to"),
        ("pipe.csv", "exists, and is not a file that can be written to"),
        ("full.csv", "exists, and is not a file that can be written to"),
        ("x" * 300 + ".csv", "cannot be written: File name too long"),
    ],
)
def test_files_that_could_not_be_written(tmp_path, name, reason):
    """Are refused before anything is measured."""
    (tmp_path / "file").touch()
    (tmp_path / "directory.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "full.csv").symlink_to("/dev/full")
    with pytest.raises(ConfigError, match=re.escape(reason)):
        check(tmp_path / name)
