"""The client's ceiling as a user sees it."""

import json

from program import noop, ran

LOGGED = "measuring the client against a null server"


def words(tmp_path, *arguments):
    """The same without the option of most tests."""
    return [word for word in noop(tmp_path, "saturate", "--requests", "200", *arguments) if word != "--no-ceiling"]


def test_it_is_measured_before_the_run_and_kept(tmp_path, monkeypatch):
    """The second run has those figures of the first that other load did not disturb; each says its own share."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LOADGEN_CACHE", raising=False)
    first, second = ran(words(tmp_path)), ran(words(tmp_path))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    log = first.stdout.splitlines()
    (logged,) = (at for at, line in enumerate(log) if LOGGED in line)
    assert not any("thruput" in line for line in log[:logged])
    for run in (first, second):
        assert "by itself, against a null server" in run.stdout
    one, other = (json.loads(path.read_text()) for path in sorted((tmp_path / "results").glob("*.json")))
    disturbed, floor_disturbed = (one["client_ceiling"][name] for name in ("disturbed", "floor_disturbed"))
    assert (LOGGED in second.stdout) is (disturbed or floor_disturbed)
    for name, again in (("ceiling_rps", disturbed), ("floor_ms", floor_disturbed)):
        assert again or one["client_ceiling"][name] == other["client_ceiling"][name]
    for results in (one, other):
        found = results["client_ceiling"]
        assert found["ceiling_rps"] > 0
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
