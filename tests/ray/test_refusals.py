"""What is refused before Ray connects: a token, at a real Ray cluster, and an address of something else.

Without the extra these are skipped: make install EXTRAS=ray. The cluster takes ten seconds.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from cluster_of_tests import counting_server
from ray_nodes import Head, head_with_token
from ray_runs import Runs

TOKEN, WRONG = "1" * 64, "0" * 64
IN_VARIABLE = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
PLAN = ("saturate", "--dry-run")


@pytest.fixture(scope="module")
def head():
    with head_with_token(TOKEN) as found:
        yield found


@pytest.fixture
def runs(head, tmp_path):
    return Runs(head, tmp_path, "-m", "noop")


@pytest.fixture(params=["variable", "this machine", "client server"])
def way(request, head):
    """Each way to a cluster: the option, the environment, and what a refusal names."""
    here = {"RAY_ADDRESS": "", "RAY_TMPDIR": head.directory}
    return {
        "variable": ("ray", {}, f"RAY_ADDRESS {head.address}"),
        "this machine": ("ray", here, "cluster ray"),
        "client server": (head.client_server, {}, f"cluster {head.client_server}"),
    }[request.param]


def refused(run):
    """The one line of a run that is refused."""
    assert run.returncode == 4, run.stdout
    (line,) = run.stderr.splitlines()
    return line.removeprefix("loadgen: ")


def test_the_token_of_the_cluster_is_taken(runs, way):
    """And nothing is said of it."""
    runtime, environment, _ = way
    run = runs.ran(*PLAN, "--runtime", runtime, **IN_VARIABLE, **environment)
    assert run.stderr == ""
    assert run.returncode == 0


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"RAY_AUTH_TOKEN": WRONG}, "refuses the token in RAY_AUTH_TOKEN; put that of its head there"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "/no"}, "no token in /no; put that of its head there"),
        (
            {"RAY_AUTH_MODE": "disabled"},
            "wants a token; set RAY_AUTH_MODE=token, and put that of its head into RAY_AUTH_TOKEN",
        ),
    ],
    ids=["wrong", "missing", "disabled"],
)
def test_another_token_is_refused_in_one_line(runs, way, environment, problem):
    """Where Ray asks on for half a minute, with a warning on standard error each time."""
    runtime, where, named = way
    run = runs.ran(*PLAN, "--runtime", runtime, **{**IN_VARIABLE, **where, **environment})
    assert refused(run) == f"{named}: {problem}"


def test_tls_without_its_files_is_refused(runs):
    """With the variables that name them."""
    run = runs.ran(*PLAN, "--runtime", "ray", RAY_USE_TLS="1", RAY_TLS_CA_CERT="/no")
    needed = "needs files in RAY_TLS_SERVER_CERT, RAY_TLS_SERVER_KEY and RAY_TLS_CA_CERT that can be read"
    assert refused(run) == f"RAY_USE_TLS 1: {needed}; name them"


def test_what_is_no_cluster_is_refused(runs):
    """A server of HTTP, by either way."""
    with counting_server("127.0.0.1") as server:
        place = server.url.removeprefix("http://").partition("/")[0]
        run = runs.ran(*PLAN, "--runtime", "ray", RAY_ADDRESS=place)
        assert refused(run).startswith(f"RAY_ADDRESS {place}: does not answer as Ray does (UNAVAILABLE); check host")
        run = runs.ran(*PLAN, "--runtime", f"ray://{place}")
        assert refused(run).startswith(f"cluster ray://{place}: does not answer as Ray does (UNAVAILABLE); check host")


def test_the_other_port_of_a_cluster_is_refused(head, runs):
    """Which answers, but to other questions."""
    run = runs.ran(*PLAN, "--runtime", "ray", **IN_VARIABLE, RAY_ADDRESS=head.client_server.removeprefix("ray://"))
    assert "does not answer as Ray does (UNIMPLEMENTED); check host and port" in refused(run)
    run = runs.ran(*PLAN, "--runtime", f"ray://{head.address}", **IN_VARIABLE)
    assert "does not answer as Ray does (UNIMPLEMENTED); check host and port" in refused(run)


@contextmanager
def head_that_lost(address):
    """What answers as the head of a cluster that has lost the node of an address."""
    import grpc  # behind the extra, as what follows
    from ray.core.generated.gcs_pb2 import GcsNodeInfo
    from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoReply

    node = GcsNodeInfo(node_manager_address=address, state=GcsNodeInfo.DEAD)
    answer = GetAllNodeInfoReply(node_info_list=[node]).SerializeToString()
    methods = {"GetAllNodeInfo": grpc.unary_unary_rpc_method_handler(lambda request, context: answer)}
    handler = grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", methods)
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, [handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def test_a_cluster_that_this_machine_has_left_is_refused(tmp_path):
    """As one that it was never a node of; Ray would wait for a minute."""
    with head_that_lost("127.0.0.1") as place:
        run = Runs(Head(place, "", ""), tmp_path, "-m", "noop").ran(*PLAN, "--runtime", "ray")
    said = f"RAY_ADDRESS {place}: this machine is not a node of that cluster; run `ray start --address={place}` here"
    assert refused(run).startswith(said)
