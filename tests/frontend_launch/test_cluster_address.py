"""Where a cluster is, and whether anything listens there."""

import asyncio
import re
import socket

import pytest

from frontend_launch.cluster_address import (
    check_fields,
    check_here,
    check_listening,
    cluster_address,
    cluster_of_run,
    is_client_server,
    remedy_for,
    runtime_environment,
    token_problem,
    working_directory,
)
from frontend_launch.errors import LaunchError, RequestError
from loadgen.config import Client
from loadgen.errors import FieldError
from loadgen.served import Deploy


@pytest.mark.parametrize(
    ("cluster", "variable", "text", "place"),
    [
        ("ray", "", "auto", ("", 0)),
        ("ray", "auto", "auto", ("", 0)),
        ("ray", "head:6379", "head:6379", ("head", 6379)),
        ("ray", "ray://10.0.0.1:10001", "ray://10.0.0.1:10001", ("10.0.0.1", 10001)),
        ("ray:local", "head:6379", "local", ("", 0)),
        ("ray://head:10001", "elsewhere:6379", "ray://head:10001", ("head", 10001)),
        ("ray://[::1]:10001", "", "ray://[::1]:10001", ("::1", 10001)),
    ],
)
def test_the_option_goes_before_the_variable(cluster, variable, text, place):
    """And Ray finds a cluster of this machine itself."""
    found = cluster_address(cluster, variable)
    assert (found.text, (found.host, found.port)) == (text, place)


@pytest.mark.parametrize(
    "text", ["garbage", "local", "head", "head:", "head:0", "head:65536", "http://head:8265", "::1:1"]
)
def test_a_variable_that_names_no_cluster_is_refused(text):
    """With its name, its value and the two forms."""
    with pytest.raises(RequestError) as refused:
        cluster_address("ray", text)
    assert str(refused.value) == f"RAY_ADDRESS {text}: names no cluster; use HOST:PORT or ray://HOST:PORT"


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_an_option_without_a_port_is_refused(port):
    """Before anything is started."""
    with pytest.raises(FieldError, match="has no port; use 1 to 65535"):
        Client(workers=f"ray://head:{port}")
    with pytest.raises(FieldError, match="has no port; use 1 to 65535"):
        Deploy("noop", runtime=f"ray://head:{port}")


@pytest.mark.parametrize(
    ("cluster", "variable", "expected"),
    [
        ("ray", "", False),
        ("ray", "head:6379", False),
        ("ray", "ray://head:10001", True),
        ("ray:local", "ray://head:10001", False),
        ("ray://head:10001", "", True),
    ],
)
def test_the_address_says_whether_a_client_server_is_between(cluster, variable, expected):
    """That of the variable counts only where the option names none."""
    assert is_client_server(cluster, variable) == expected


def test_an_address_where_something_listens_is_taken():
    """What it speaks is for Ray to find out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        asyncio.run(check_listening(cluster_address("ray", f"127.0.0.1:{server.getsockname()[1]}")))
    asyncio.run(check_listening(cluster_address("ray", "")))


@pytest.mark.parametrize(
    ("way", "remedy"),
    [
        ("", "check host and port; `ray start --head` listens on port 6379"),
        ("ray://", "check host and port; Ray's client server, in `ray start --head`, listens on port 10001"),
    ],
    ids=["cluster", "client server"],
)
def test_an_address_where_nothing_listens_is_refused(way, remedy):
    """At once, with what named it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # but does not listen
        text = f"{way}127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(LaunchError) as refused:
            asyncio.run(check_listening(cluster_address("ray", text)))
    assert str(refused.value) == f"RAY_ADDRESS {text}: Connection refused; {remedy}"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "no answer within 10 s"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "label too long"),
    ],
    ids=["silent", "no name", "no host name"],
)
def test_the_reason_is_said(monkeypatch, error, reason):
    """In a few words."""

    async def connect(*address):
        raise error

    monkeypatch.setattr("asyncio.open_connection", connect)
    with pytest.raises(LaunchError, match=f"^cluster ray://head:1: {reason}; check host and port"):
        asyncio.run(check_listening(cluster_address("ray://head:1", "")))


LONG = "validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /a/plasma_store"


@pytest.mark.parametrize(
    ("cluster", "reason", "remedy"),
    [
        ("ray:local", LONG, "set RAY_TMPDIR to a directory with a shorter path"),
        ("ray:local", "no answer within 60 s", "start it again"),
        ("ray", "no answer within 60 s", "run `ray start` on this machine first, or use ray:local"),
    ],
    ids=["long path", "local", "this machine"],
)
def test_the_remedy_fits_what_ray_says(cluster, reason, remedy):
    """Of a path that is too long Ray gives the length only."""
    assert remedy_for(cluster_address(cluster, ""), reason) == remedy


WANTED = "wants a token; set RAY_AUTH_MODE=token, and put that of its head into"


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({}, f"{WANTED} ~/.ray/auth_token"),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "x"}, f"{WANTED} RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_MODE": "token"}, "refuses the token in ~/.ray/auth_token; put that of its head there"),
        (
            {"RAY_AUTH_MODE": "TOKEN", "RAY_AUTH_TOKEN_PATH": "/a", "RAY_AUTH_TOKEN": "x"},
            "refuses the token in RAY_AUTH_TOKEN; put that of its head there",
        ),
        (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/a", "RAY_AUTH_TOKEN": ""},
            "refuses the token in /a; put that of its head there",
        ),
    ],
    ids=["none", "disabled", "file", "variable", "path"],
)
def test_a_token_that_is_refused_is_named_by_its_place(environment, problem):
    """The one that Ray takes of several."""
    assert token_problem(environment) == problem


def test_a_token_that_is_not_there_is_named_by_its_place():
    """Where Ray looks for it."""
    found = token_problem({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/a"}, found=False)
    assert found == "no token in /a; put that of its head there"


@pytest.mark.parametrize("text", ["10.0.0.1:6379", "ray://10.0.0.1:10001"])
def test_the_cluster_of_a_run_is_named_by_the_run(text):
    """Its user has typed no address: the remedy has the name of the run."""
    found = cluster_of_run("pid-7", text)
    assert (found.text, found.host, found.port) == (text, "10.0.0.1", int(text.rpartition(":")[2]))
    assert found.named == f"pid-7: its cluster {text}"
    assert found.remedy == "check that its head runs, or end the run with `loadgen down pid-7`"


@pytest.mark.parametrize(("text", "found"), [("", None), ('{"pip": ["a"]}', {"pip": ["a"]})])
def test_a_runtime_environment_is_an_object(text, found):
    """Without the variable there is nothing to send."""
    assert runtime_environment(text) == found


@pytest.mark.parametrize(
    ("text", "own"), [("", True), ('{"pip": ["a"]}', True), ('{"working_dir": "a"}', False)], ids=["none", "pip", "one"]
)
def test_processes_on_nodes_run_in_the_directory_of_this_one(text, own, tmp_path, monkeypatch):
    """Unless the environment brings one of its own."""
    monkeypatch.chdir(tmp_path)
    assert working_directory(text) == (str(tmp_path) if own else "")


@pytest.mark.parametrize("text", ["[]", "{", "pip"])
def test_what_is_no_runtime_environment_is_refused(text):
    """With the variable and its value."""
    with pytest.raises(RequestError, match=f"^RAY_RUNTIME_ENV {re.escape(text)}: not an object in JSON; write one"):
        runtime_environment(text)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("pipp", "did you mean 'pip'?"), ("_nsite", "choose from conda, pip"), ("plugin", "choose from conda, pip")],
)
def test_an_unknown_field_of_a_runtime_environment_is_refused(name, remedy):
    """With the nearest one that is public."""
    with pytest.raises(RequestError) as refused:
        check_fields("{…}", ["pip", "_nsight", name], {"pip", "conda", "_nsight"})
    assert str(refused.value) == f"RAY_RUNTIME_ENV {{…}}: Ray has no field {name!r}; {remedy}"


def test_known_fields_of_a_runtime_environment_are_taken():
    """Those that Ray itself adds too."""
    check_fields("{…}", ["pip", "_nsight"], {"pip", "_nsight"})


@pytest.mark.parametrize("nodes", [["127.0.0.1"], ["203.0.113.77", "127.0.0.2"], ["203.0.113.77", "0.0.0.0"]])
def test_a_machine_that_is_a_node_is_taken(nodes):
    """Any of its addresses will do."""
    check_here(cluster_address("ray", "127.0.0.1:6379"), "127.0.0.1:6379", nodes)


@pytest.mark.parametrize("nodes", [[], ["203.0.113.77"], ["198.51.100.3", "2001:db8::7"], ["host"]])
def test_a_machine_that_is_no_node_is_refused(nodes):
    """With both ways to get there."""
    with pytest.raises(LaunchError) as refused:
        check_here(cluster_address("ray", "head:6379"), "head:6379", nodes)
    remedy = "run `ray start --address=head:6379` here, or name its client server: ray://HOST:10001 of its head"
    assert str(refused.value) == f"RAY_ADDRESS head:6379: this machine is not a node of that cluster; {remedy}"
