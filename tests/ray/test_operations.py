"""A deployment that stays on a real Ray cluster: ps, logs, metrics and down from another terminal, and crashes.

Without the extras these are skipped: make install EXTRAS=ray,oip. The cluster takes half a minute.
"""

import json
import os
import re
import signal

import pytest
from cluster_of_tests import counting_server
from program import alive
from ray_nodes import own_address
from ray_runs import Runs, gone

UP = ("up", "-m", "noop", "--runtime", "ray", "--replicas", "3")
SERVING = "serving until Ctrl-C"


@pytest.fixture
def runs(nodes, tmp_path):
    return Runs(nodes, tmp_path)


def states(runs):
    """By role, as `loadgen ps` says."""
    rows = [line.split() for line in runs.ran("ps", RAY_ADDRESS="").stdout.splitlines()[1:]]
    return {row[1]: "running" if "running" in row else "gone" for row in rows}


def test_a_deployment_is_looked_at_and_taken_down_from_another_terminal(nodes, runs):
    """Which has not the address of the cluster: logs of all nodes, metrics with its token, and nothing is left."""
    with runs.running(*UP, until=SERVING) as run:
        name, pids = f"pid-{run.process.pid}", nodes.parts()
        assert len(pids) == 4
        assert len(set(re.findall(r"replica-[0-2]: cores 1(?: of .*)?", run.log))) == 3
        assert re.search(r"replica-1: cores 1 of .* #2", run.log), run.log
        assert states(runs) == dict.fromkeys(("frontends", "replica-0", "replica-1", "replica-2"), "running")
        logs = runs.ran("logs", RAY_ADDRESS="")
        assert logs.returncode == 0, logs.stderr
        for number in range(3):
            assert f"replica-{number}  " in logs.stdout
            assert f"(replica-{number}) registered" in logs.stdout
        (line, *_) = runs.ran("logs", name, "--role", "replica-2", RAY_ADDRESS="").stdout.splitlines()
        assert line.startswith("replica-2  ")
        metrics = runs.ran("metrics", "--counters", RAY_ADDRESS="")
        assert len(json.loads(metrics.stdout)["replicas"]) == 3, metrics.stderr
        with runs.running("logs", "--follow", until="replica-2  ", RAY_ADDRESS="") as followed:
            down = runs.ran("down", RAY_ADDRESS="")
            assert down.stdout == f"removed {name}: frontends, replica-0, replica-1, replica-2\n"
            assert followed.exit_code() == 0, followed.log
        assert run.exit_code() == 0
    assert gone(pids)
    assert states(runs) == {}


def test_the_log_of_a_replica_that_ended_is_kept(nodes, runs):
    """Its actor ends soon after it, and hands nothing over then; a runtime environment is of no use for logs."""
    with runs.running(*UP[:-1], "2", until=SERVING) as run:
        (replica, *_) = [pid for pid, part in nodes.parts().items() if "model_containers" in part.words]
        actor = nodes.parts()[replica].actor
        os.kill(replica, signal.SIGKILL)
        run.until("1 replica goes on")
        assert gone([actor])
        logs = runs.ran("logs", RAY_ADDRESS="", RAY_RUNTIME_ENV="no JSON")
        assert (logs.returncode, logs.stderr) == (0, "")
        for number in range(2):
            assert f"(replica-{number}) registered" in logs.stdout


def test_cores_that_a_deployment_has_are_named_with_its_process(nodes, runs):
    """Where clients or replicas need them, before any is started; with no more to wait for than its end."""
    with runs.running(*UP[:-1], "6", until=SERVING) as run, counting_server(own_address()) as server:
        clients = ("--target", server.url, "--workers", "ray", "--requests", "10")
        replicas = ("-m", "noop", "--runtime", "ray", "--replicas", "6", "--requests", "10")
        for asked, needed in ((clients, 2), (replicas, 2)):
            refused = runs.ran("saturate", *asked)
            assert refused.returncode == 4, refused.stdout
            problem = rf"loadgen: node .*: {needed} cores needed, [01] free; end what has actors there: "
            assert re.match(f"{problem}process {run.process.pid} on ", refused.stderr.splitlines()[-1]), refused.stderr


def test_a_deployment_whose_coordinator_was_killed_is_said_and_cleared(nodes, runs):
    """Ray ends its actors, which end their processes."""
    with runs.running(*UP, until=SERVING) as run:
        pids = nodes.parts()
        run.process.kill()
    assert gone(pids)
    assert states(runs) == dict.fromkeys(("frontends", "replica-0", "replica-1", "replica-2"), "gone")
    assert "coordinator gone" in runs.ran("ps").stdout
    assert runs.ran("down", "--all").stdout.startswith(f"removed pid-{run.process.pid}: frontends, replica-0")
    assert states(runs) == {}


def test_a_coordinator_and_a_head_that_are_killed_leave_nothing(nodes, runs):
    """The last of the tests. The other nodes are still there then: it is the lease that ends the processes."""
    with runs.running(*UP, until=SERVING) as run:
        pids, raylets = nodes.parts(), nodes.raylets()
        nodes.kill_head()
        run.process.kill()
        name = f"pid-{run.process.pid}"
    assert gone(pids)
    assert sum(alive(pid) for pid in raylets) == 2
    logs = runs.ran("logs", name, RAY_ADDRESS="")
    remedy = f"check that its head runs, or end the run with `loadgen down {name}`"
    assert logs.stderr == f"loadgen: {name}: its cluster {nodes.address}: Connection refused; {remedy}\n"
    assert logs.returncode == 4
