"""Kept files: made once, whole, and refused when they were changed."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from model_containers import artefacts
from model_containers.errors import ModelError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def writes(text):
    """Makes a file of that text."""

    def make(path):
        path.write_text(text)

    return make


def test_it_is_made_once():
    """The next request gets the same file."""
    made = []

    def make(path):
        made.append(path)
        path.write_text("trees")

    first = artefacts.get("key", "model.txt", make)
    assert artefacts.get("key", "model.txt", make) == first
    assert (first.read_text(), len(made)) == ("trees", 1)


def test_many_at_once_make_it_once():
    """They wait for the one that makes it."""
    made = []

    def make(path):
        made.append(path)
        path.write_text("trees")

    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: artefacts.get("key", "model.txt", make), range(8)))
    assert (len(paths), len(made)) == (1, 1)


def test_a_changed_file_is_refused():
    """With what to do about it."""
    path = artefacts.get("key", "model.txt", writes("trees"))
    path.write_text("other trees")
    with pytest.raises(ModelError, match=r"model\.txt: not what was written .* remove .*key to make it anew"):
        artefacts.get("key", "model.txt", lambda path: None)


def test_what_fails_halfway_leaves_nothing(cache):
    """And is made by the next one who asks."""

    def fail(path):
        path.write_text("half")
        raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError):
        artefacts.get("key", "model.txt", fail)
    assert [entry.name for entry in (cache / "artefacts").iterdir()] == ["key.lock"]
    assert artefacts.get("key", "model.txt", writes("whole")).read_text() == "whole"


def unfinished(cache):
    return sorted(path.name for path in (cache / "artefacts").glob(".unfinished-*"))


def killed(cache, key):
    """A process that is killed while it makes an artefact."""
    script = f"""
import os, signal
from model_containers import artefacts
def make(path):
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
artefacts.get({key!r}, "model.txt", make)
"""
    environment = {**os.environ, "LOADGEN_CACHE": str(cache)}
    run = subprocess.run([sys.executable, "-c", script], timeout=60, check=False, env=environment)
    assert run.returncode == -signal.SIGKILL


@pytest.mark.parametrize("key", ["key-1.5", "key-1.6", "other"])
def test_what_a_killed_process_left_is_removed_by_the_next_one(cache, key):
    """Whatever that one makes."""
    killed(cache, key)
    assert len(unfinished(cache)) == 1
    assert artefacts.get("key-1.5", "model.txt", writes("whole")).read_text() == "whole"
    assert unfinished(cache) == []


def test_what_is_being_made_stays(cache):
    """By another one, of another artefact."""

    def make(path):
        path.write_text("trees")
        artefacts.get("other", "model.txt", writes("whole"))

    assert artefacts.get("key", "model.txt", make).read_text() == "trees"


def test_other_things_beside_artefacts_stay(cache):
    """Those of an unknown key, files, and links."""
    elsewhere = cache / "elsewhere"
    elsewhere.mkdir(parents=True)
    (elsewhere / "precious").touch()
    beside = cache / "artefacts"
    beside.mkdir()
    (beside / "gone.lock").touch()
    (beside / ".unfinished-abcdefgh").mkdir()
    (beside / ".unfinished-gone.file").touch()
    (beside / ".unfinished-gone.link").symlink_to(elsewhere)
    before = unfinished(cache)
    artefacts.get("key", "model.txt", writes("trees"))
    assert unfinished(cache) == before
    assert (elsewhere / "precious").exists()


def test_a_place_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    """It names the variable that says another."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="LOADGEN_CACHE"):
        artefacts.get("key", "model.txt", writes(""))


@pytest.mark.models
def test_a_tampered_classifier_is_not_loaded(cache):
    """By the command that a user types."""

    def ran(verb):
        return subprocess.run(
            [sys.executable, "-m", "model_containers", verb, "lgbm"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "LOADGEN_CACHE": str(cache)},
        )

    path = json.loads(ran("train").stdout)["artefact"]
    with open(path, "a") as file:
        file.write("\n")
    run = ran("verify")
    assert run.returncode == 1
    assert run.stderr.startswith(path)
    assert "not what was written" in run.stderr
