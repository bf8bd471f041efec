"""The lines of the tutorials that need no server, as a user types them."""

import pytest
from program import ran
from tutorials import TUTORIALS, commands, words, write_files

from loadgen.cli import exit_codes

ALONE = {"your-model", "benchmark-2017"}


@pytest.mark.parametrize("page", [page for page in TUTORIALS if page.stem in ALONE], ids=lambda page: page.stem)
def test_each_line_does_what_the_tutorial_says(page, tmp_path, monkeypatch):
    """One after the other, in one directory, with the files that the tutorial writes."""
    monkeypatch.chdir(tmp_path)
    write_files(page, tmp_path)
    lines = list(commands(page))
    assert lines
    for line in lines:
        done = ran(words(line, deploys=True))
        assert done.returncode == exit_codes.OK, f"{line}\n{done.stdout}{done.stderr}"
