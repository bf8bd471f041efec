"""The verbs that measure, with replicas, frontends and clients on the nodes of a real Ray cluster of three nodes.

Without the extras these are skipped: make install EXTRAS=ray,oip. Cluster and runs take two to four minutes.
"""

import signal

import pytest
from ray_runs import Runs, gone


@pytest.fixture
def runs(nodes, tmp_path):
    return Runs(nodes, tmp_path, "-m", "noop", "--runtime", "ray")


AT_THE_EDGES = 5
"""Requests on their way when frontends are asked, at the begin and at the end of a schedule."""


def reconciles(found, edges=AT_THE_EDGES):
    """Whether workers, frontends and replicas count the same requests, all of which were answered."""
    counters, sent = found["frontend_counters"], found["summary"]["sent"]
    queries = sum(row["queries"] for row in counters["replicas"].values())
    if found["workers"] is not None and sum(row["sent"] for row in found["workers"]["workers"]) != sent:
        return False
    return found["summary"]["completed"] == sent and all(0 <= sent - n <= edges for n in (counters["replies"], queries))


def homes(found):
    """The nodes of the replicas."""
    return {row["node"] for row in found["placement"] if row["role"].startswith("replica-")}


WORKERS = ("--workers", "ray", "--clients", "2")
"""Clients on the nodes too."""


@pytest.mark.parametrize("workers", [(), WORKERS], ids=["client here", "workers"])
def test_a_rate_is_counted_alike_by_all(nodes, runs, workers):
    """Replicas are on three nodes; nothing is left."""
    load = ("rate", "--rate", "100", "-d", "2s", "--warmup", "0")
    run = runs.ran(*load, "--replicas", "3", "--frontends", "2", *workers)
    assert run.returncode == 0, run.stderr
    found = runs.results()
    assert found["summary"]["completed"] == 200
    assert reconciles(found), found["frontend_counters"]
    assert len(homes(found)) == 3
    assert found["placement"][0]["role"] == ("coordinator" if workers else "client")
    assert not nodes.parts()


def test_a_sweep_connects_once_and_skips_what_the_nodes_lack(nodes, runs):
    """Once for its plan, and once for all of its cells."""
    before = nodes.connections()
    sizes = ("-r", "1,2,9", "-b", "1", "--rates", "50", "-d", "1s", "--warmup", "0")
    run = runs.ran("sweep", *sizes, "--skip-impossible", *WORKERS)
    assert run.returncode == 0, run.stderr
    assert "r9-c1: 9 replicas of 1 core: the 3 nodes of the cluster have room for 6" in run.stdout
    found = runs.all_results()
    assert [len(homes(each)) for each in found] == [1, 2, 1]
    assert all(reconciles(each) for each in found)
    assert nodes.connections() - before == 2
    assert not nodes.parts()


def test_a_sweep_that_the_nodes_cannot_place_is_refused(nodes, runs):
    """Before anything is started."""
    run = runs.ran("sweep", "-r", "1,9", "-d", "1s")
    assert run.returncode == 3
    assert "measure the others with --skip-impossible" in run.stderr
    assert not runs.all_results()


def test_each_probe_of_a_capacity_is_counted_alike_by_all(nodes, runs):
    """Two probes confirm no capacity."""
    probes = ("--slo", "p99<10s", "--start", "20", "--probes", "2", "-d", "1s", "--warmup", "0")
    run = runs.ran("capacity", *probes, "--replicas", "2", *WORKERS)
    assert run.returncode == 8, run.stderr
    found = runs.all_results()
    assert len(found) == 2
    assert all(reconciles(each) for each in found)
    assert all(len(homes(each)) == 2 for each in found)
    assert not nodes.parts()


def test_the_cheapest_size_of_a_cluster_is_found(nodes, runs):
    """Of those that its nodes have room for."""
    asked = ("--rate", "30", "--slo", "p99<10s", "--within", "60s", "-r", "1,9", "-p", "1", "-b", "1")
    run = runs.ran("size", *asked, *WORKERS)
    assert run.returncode == 0, run.stderr
    assert "r1-c1-b1: 1 replica x 1 core" in run.stdout
    assert all(len(each["workers"]["workers"]) == 2 for each in runs.all_results())
    assert not nodes.parts()


def test_two_configurations_are_compared_in_turns(nodes, runs, tmp_path):
    """Each has its options from a file, and its replicas on the nodes; one round of all shows it."""
    words = []
    for replicas in (1, 2):
        load = ("rate = 50", 'duration = "1s"', 'warmup = "0s"', "no-ceiling = true", "allow-invalid = true")
        options = ('model = "noop"', 'runtime = "ray"', f"replicas = {replicas}", *load)
        (tmp_path / f"{replicas}.toml").write_text("\n".join(options))
        words += ["--run", str(tmp_path / f"{replicas}.toml")]
    with runs.running("compare", *words, "--no-live", until="round 2 of ") as run:
        run.process.send_signal(signal.SIGINT)
        assert run.exit_code() == 130
    whole = [found for found in runs.all_results() if found["ended"] == "schedule"]
    assert sorted(len(homes(found)) for found in whole) == [1, 2]
    assert all(reconciles(found) for found in whole)
    assert not nodes.parts()


def test_a_cluster_is_reached_through_its_client_server(nodes, runs):
    """From a machine that is no node of it; its own row in the plan is of none."""
    run = runs.ran("saturate", "--requests", "1000", "--replicas", "3", "--runtime", nodes.client_server)
    assert run.returncode == 0, run.stderr
    found = runs.results()
    assert reconciles(found, edges=0)
    assert found["placement"][0]["node"] not in homes(found)
    assert not nodes.parts()


def test_a_cluster_of_one_run_serves_and_sends(nodes, runs):
    """Where replicas have all of its cores, clients share them."""
    load = ("rate", "--rate", "50", "-d", "1s", "--warmup", "0", "--workers", "ray:local")
    run = runs.ran(*load, "--runtime", "ray:local")
    assert run.returncode == 0, run.stderr
    found = runs.results()
    assert reconciles(found)


@pytest.mark.parametrize(
    ("verb", "until", "text"),
    [
        (("rate", "--rate", "50", "-d", "60s"), "thruput", "Saved results"),
        (("sweep", "--rates", "20,40", "-d", "2s"), " 1 of 3", "interrupted before the sweep was finished"),
    ],
    ids=["rate", "sweep"],
)
def test_an_interrupt_keeps_what_was_measured(nodes, runs, verb, until, text):
    """And nothing is left of replicas, frontends and clients."""
    with runs.running(*verb, "--replicas", "2", *WORKERS, until=until) as run:
        pids = nodes.parts()
        run.process.send_signal(signal.SIGINT)
        assert run.exit_code() == 130
    assert text in run.log
    assert pids
    assert gone(pids)
    assert runs.all_results()


def lost_node(nodes, runs, with_frontends, *arguments):
    """The exit code and results of a rate during which a node dies: one with frontends, or with replicas only."""
    load = ("rate", "--rate", "50", "-d", "15s")
    with runs.running(*load, *arguments) as run:
        parts = nodes.parts()
        serving = {part.raylet for part in parts.values() if "frontend_launch" in part.words}
        (raylet, *_) = serving if with_frontends else nodes.others() - serving
        nodes.kill_raylet(raylet)
        code = run.exit_code()
    found = runs.results()
    assert gone(parts)
    assert " is lost: " in run.log
    return code, found


def test_a_rate_goes_on_without_a_node_of_replicas(nodes, runs):
    """Of the last tests: a node is gone. Check and note say which replica went with it."""
    code, found = lost_node(nodes, runs, False, "--replicas", "3")
    assert code == 0
    (check,) = [check for check in found["certificate"] if check["name"] == "replicas alive"]
    assert (check["verdict"], check["measured"][:6]) == ("noted", "2 of 3")
    assert any("cannot be reached; 2 replicas go on" in note for note in found["notes"])
    assert found["ended"] == "schedule"


def test_a_rate_ends_with_the_node_of_its_frontends(nodes, runs):
    """The last of the tests: another node is gone. What was measured is kept, and is not valid.

    Of replicas, of which no frontend tells any more, the certificate says what their launcher saw.
    """
    code, found = lost_node(nodes, runs, True, "--replicas", "2")
    assert code == 6
    assert found["summary"]["completed"] > 0
    checks = {check["name"]: check for check in found["certificate"]}
    complete, alive = checks["run complete"], checks["replicas alive"]
    assert (complete["verdict"], complete["measured"]) == ("failed", found["error"])
    noted = any(note.startswith("replica-") and " is lost: " in note for note in found["notes"])
    assert alive["verdict"] == ("noted" if noted else "passed")
    assert alive["measured"][:6] == ("1 of 2" if noted else "2 of 2")
