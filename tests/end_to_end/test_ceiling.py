"""The client's ceiling as a user sees it."""

import json

from program import noop, ran

LOGGED = "measuring the client against a null server"


def words(tmp_path, *arguments):
    """The same without the option of most tests."""
    return [word for word in noop(tmp_path, "saturate", "--requests", "200", *arguments) if word != "--no-ceiling"]


def test_it_is_measured_before_the_run_and_kept(tmp_path, monkeypatch):
    """The second run has the figures of the first; each says its own share of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LOADGEN_CACHE", raising=False)
    first, second = ran(words(tmp_path)), ran(words(tmp_path))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    log = first.stdout.splitlines()
    (logged,) = (at for at, line in enumerate(log) if LOGGED in line)
    assert not any("thruput" in line for line in log[:logged])
    assert LOGGED not in second.stdout
    for run in (first, second):
        assert "by itself, against a null server" in run.stdout
    one, other = (json.loads(path.read_text()) for path in sorted((tmp_path / "results").glob("*.json")))
    assert one["client_ceiling"]["ceiling_rps"] == other["client_ceiling"]["ceiling_rps"] > 0
    assert one["client_ceiling"]["floor_ms"] == other["client_ceiling"]["floor_ms"]
    for results in (one, other):
        found = results["client_ceiling"]
        assert found["used_share"] * found["ceiling_rps"] > 0.99 * results["summary"]["throughput_rps"] > 0
        assert results["frontend_counters"]["requests"] == results["summary"]["sent"] == 200


def test_it_is_not_measured_where_the_user_says_so(tmp_path, monkeypatch):
    """Nothing is kept, and nothing is said."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LOADGEN_CACHE", raising=False)
    run = ran(noop(tmp_path, "saturate", "--requests", "200"))
    assert run.returncode == 0, run.stderr
    assert "null server" not in run.stdout
    (path,) = (tmp_path / "results").glob("*.json")
    assert json.loads(path.read_text())["client_ceiling"] is None
    assert not (tmp_path / "cache" / "loadgen" / "client-ceilings").exists()
