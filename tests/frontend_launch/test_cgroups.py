"""Who is in a cgroup, and what it and those around it say, in either version."""

from pathlib import PosixPath

import pytest

from frontend_launch import cgroups

BOTH = ["4:cpu,cpuacct:/a/b", "0::/c"]


@pytest.fixture
def root(tmp_path):
    """A machine with no processes."""

    class Root(PosixPath):
        def process(self, pid, *lines):
            self.file(f"proc/{pid}/cgroup", "".join(f"{line}\n" for line in lines))

        def file(self, path, text):
            (self / path).parent.mkdir(parents=True, exist_ok=True)
            (self / path).write_text(text)

    return Root(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        pytest.param(["0::/a"], ["0::/a"], False, id="version 2, the same"),
        pytest.param(["0::/a"], ["0::/b"], True, id="version 2"),
        pytest.param(["2:cpu:/", "1:memory:/a"], ["2:cpu:/", "1:memory:/b"], False, id="version 1, of another sort"),
        pytest.param(["2:cpu:/", "0::/a"], ["2:cpu:/", "0::/b"], False, id="version 1 beside 2, of another sort"),
        pytest.param(["2:cpu,cpuacct:/a", "0::/"], ["2:cpu,cpuacct:/b", "0::/"], True, id="version 1"),
        pytest.param([], [], False, id="nothing is known"),
    ],
)
def test_which_cgroups_differ(root, one, other, differ):
    """Only the cgroup whose members are looked at counts."""
    root.process(7, *one)
    root.process(8, *other)
    assert cgroups.differs(7, 8, root) is differ


@pytest.mark.parametrize(
    ("lines", "file"),
    [
        pytest.param(["0::/c"], "c", id="version 2"),
        pytest.param(BOTH, "cpu,cpuacct/a/b", id="version 1, joined"),
        pytest.param(BOTH, "cpu/a/b", id="version 1, by one of its names"),
    ],
)
def test_members(root, lines, file):
    """All processes of the cgroup; the process alone where it cannot be seen."""
    root.process(7, *lines)
    assert cgroups.members(7, root) == [7]
    root.file(f"sys/fs/cgroup/{file}/cgroup.procs", "7\n19\n")
    assert cgroups.members(7, root) == [7, 19]


@pytest.mark.parametrize(
    ("lines", "files", "texts"),
    [
        pytest.param(["0::/a/b"], {"a/b": "1", "a": "2"}, ["1", "2"], id="version 2"),
        pytest.param(BOTH, {"cpu,cpuacct/a/b": "1", "cpu,cpuacct": "3", "c": "9"}, ["1", "3"], id="version 1 first"),
        pytest.param(["4:cpu:/docker/x"], {"cpu": "3"}, ["3"], id="in a container, by the host's path"),
        pytest.param(["4:cpu:/docker/x"], {}, [], id="nothing can be seen"),
        pytest.param(["0::/a"], {"unified/a": "1"}, ["1"], id="version 2, mounted beside version 1"),
        pytest.param(["0::/../x"], {"": "1"}, ["1"], id="outside of the mount"),
    ],
)
def test_a_file_of_all_levels(root, lines, files, texts):
    """From the inside out, what is there."""
    root.process(7, *lines)
    for directory, text in files.items():
        root.file(f"sys/fs/cgroup/{directory}/cpu.stat", text)
    assert cgroups.read_upwards(7, "cpu", "cpu.stat", root) == texts
