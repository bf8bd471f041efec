"""What was added to logs since the last look."""

from hypothesis import given
from hypothesis import strategies as st

from frontend_launch import log_files
from frontend_launch.log_files import added, tail


def test_lines_are_read_once_whole_and_through_a_rotation(tmp_path):
    """Of all files of a role; a line that is not whole waits."""
    (tmp_path / "a.err").write_text("error\n")
    (tmp_path / "a.log").write_text("one\ntw")
    (tmp_path / "ab.log").write_text("another role\n")
    lines, read = added(tmp_path, "a", {})
    assert lines == ["error", "one"]
    with (tmp_path / "a.log").open("a") as log:
        log.write("o\n")
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    (tmp_path / "a.log").write_text("three\n")
    lines, read = added(tmp_path, "a", read)
    assert lines == ["two", "three"]
    assert added(tmp_path, "a", read) == ([], read)


def test_a_shorter_file_is_another_one(tmp_path):
    """Which has the inode of one that is gone."""
    path = tmp_path / "a.log"
    path.write_text("a long line\n")
    _, read = added(tmp_path, "a", {})
    with path.open("w") as log:
        log.write("new\n")
    assert added(tmp_path, "a", read).lines == ["new"]


def test_of_a_long_log_the_end_is_read(tmp_path, monkeypatch):
    """At once."""
    monkeypatch.setattr(log_files, "MOST_BYTES", 8)
    (tmp_path / "a.log").write_text("0123456789\nlast\n")
    assert added(tmp_path, "a", {}).lines[-1] == "last"
    assert tail(tmp_path / "a.log") == b"89\nlast\n"


def test_lines_that_are_too_long_for_one_look_come_in_several(tmp_path):
    """All of them, whole where one look has room for a line."""
    (tmp_path / "a.err").write_text("one\ntwo\n")
    (tmp_path / "a.log").write_text("three\nfour and more\nfive")
    read: dict[int, int] = {}
    found = []
    while lines := (look := added(tmp_path, "a", read, 10)).lines:
        found.append(lines)
        read = look.read
    assert found == [["one", "two"], ["three"], ["four and m"], ["ore"]]


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_however_often_one_looks(tmp_path_factory, pieces):
    """The whole lines are the same."""
    directory, found = tmp_path_factory.mktemp("logs"), list[str]()
    read: dict[int, int] = {}
    for piece in pieces:
        with (directory / "a.log").open("ab") as log:
            log.write(piece)
        lines, read = added(directory, "a", read)
        found += lines
    assert found == added(directory, "a", {}).lines
