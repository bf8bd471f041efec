"""Where a cluster of ``--workers`` or ``--runtime`` is, and whether it listens: Ray itself waits long for an answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from frontend_launch.errors import LaunchError, RequestError
from frontend_launch.ports import MAX_PORT

REACH_TIMEOUT_S = 10.0
"""Patience for a connection to the cluster's port."""

VARIABLE = "RAY_ADDRESS"
"""Of the environment: the cluster with the name ``ray``."""

ENVIRONMENT = "RAY_RUNTIME_ENV"
"""Of the environment: Ray's runtime environment, which the nodes get, as JSON."""

PLUGINS = "RAY_RUNTIME_ENV_PLUGINS"
"""Of the environment of nodes: plugins, which add fields to runtime environments."""

AUTHENTICATION = "RAY_AUTH_MODE"
"""Of the environment: ``token`` where clusters have one."""

CLIENT_SERVER = "ray://"
"""Begins an address of Ray's client server."""

LOCAL = "local"
"""As Ray names a cluster on this machine that it starts itself."""

AUTO = "auto"
"""As Ray names a cluster that this machine is a node of."""

_TOKEN, _TOKEN_PATH, _TOKEN_FILE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token"
"""Variables with Ray's token and with the path of its file, and the file without them."""

_LONG_PATH = "AF_UNIX path length"
"""In what Ray says when the path of a socket of a cluster on this machine is too long for the kernel."""

_PLACE = re.compile(r"(?:ray://)?(?P<host>[^/\s\[\]:]+|\[[^/\s\[\]]+\]):(?P<port>[0-9]{1,5})")


class ClusterAddress(NamedTuple):
    """Where a cluster is.

    Attributes:
        named: what named it, and its value.
        text: as Ray takes it.
        host: to connect to; empty where Ray finds the cluster itself.
        port: the same.
        remedy: what to do when nothing answers there.
    """

    named: str
    text: str
    host: str = ""
    port: int = 0
    remedy: str = "start it again"


def cluster_address(cluster: str, variable: str) -> ClusterAddress:
    """Where a cluster is.

    Args:
        cluster: ``ray``, ``ray://HOST:PORT`` or ``ray:local``.
        variable: value of `VARIABLE`; empty where it is not set.

    Raises:
        RequestError: the variable names no cluster.
    """
    if cluster == "ray:local":
        return ClusterAddress(f"cluster {cluster}", LOCAL)
    if cluster == "ray" and variable in ("", AUTO):
        remedy = "run `ray start` on this machine first, or use ray:local"
        return ClusterAddress(f"cluster {cluster}", AUTO, remedy=remedy)
    named, text = (VARIABLE, variable) if cluster == "ray" else ("cluster", cluster)
    place = _PLACE.fullmatch(text)
    if place is None or not 0 < int(place["port"]) <= MAX_PORT:
        raise RequestError(f"{named} {text}: names no cluster; use HOST:PORT or ray://HOST:PORT")
    remedy = "check host and port; `ray start --head` listens on port 6379"
    if text.startswith(CLIENT_SERVER):
        remedy = "check host and port; Ray's client server, in `ray start --head`, listens on port 10001"
    return _address(f"{named} {text}", text, remedy)


def cluster_of_run(run: str, text: str) -> ClusterAddress:
    """Where the cluster of a deployment is, of another terminal that has not named it.

    Args:
        run: the name of the deployment.
        text: the address, as Ray takes it.
    """
    remedy = f"check that its head runs, or end the run with `loadgen down {run}`"
    return _address(f"{run}: its cluster {text}", text, remedy)


def _address(named: str, text: str, remedy: str) -> ClusterAddress:
    place = _PLACE.fullmatch(text)
    host, port = ("", "0") if place is None else place.groups()
    return ClusterAddress(named, text, host.strip("[]"), int(port), remedy)


def remedy_for(address: ClusterAddress, reason: str) -> str:
    """What to do when Ray finds no cluster at an address.

    Args:
        address: of the cluster.
        reason: what Ray says.
    """
    return "set RAY_TMPDIR to a directory with a shorter path" if _LONG_PATH in reason else address.remedy


def token_problem(environment: Mapping[str, str], *, found: bool = True) -> str:
    """What is wrong with the token where a cluster refuses it, and what to do.

    Args:
        environment: the variables; of several tokens Ray takes the first, in the order of their names here.
        found: whether Ray finds one.
    """
    source = _TOKEN if environment.get(_TOKEN) else environment.get(_TOKEN_PATH) or _TOKEN_FILE
    if environment.get(AUTHENTICATION, "").lower() != "token":
        return f"wants a token; set {AUTHENTICATION}=token, and put that of its head into {source}"
    if not found:
        return f"no token in {source}; put that of its head there"
    return f"refuses the token in {source}; put that of its head there"


def runtime_environment(variable: str) -> dict[str, Any] | None:
    """Ray's runtime environment for the nodes; None for none.

    Args:
        variable: value of `ENVIRONMENT`; empty where it is not set.

    Raises:
        RequestError: the variable has none.
    """
    if not variable:
        return None
    with contextlib.suppress(ValueError):
        found = json.loads(variable)
        if isinstance(found, dict):
            return found
    raise RequestError(
        f"""{ENVIRONMENT} {variable}: not an object in JSON; write one, such as {{"py_modules": ["FILE.whl"]}}"""
    )


def working_directory(variable: str) -> str:
    """Where processes on nodes run, so that they find files by the names that this process has for them.

    Args:
        variable: value of `ENVIRONMENT`; empty where it is not set.

    Returns:
        the directory of this process; empty where the nodes get one from the environment.
    """
    return "" if "working_dir" in (runtime_environment(variable) or {}) else os.getcwd()


def check_fields(variable: str, found: Iterable[str], known: Collection[str], of: str = "Ray") -> None:
    """Refuse a field of a runtime environment that Ray would leave out without a word.

    Args:
        variable: value of `ENVIRONMENT`.
        found: the fields that it has.
        known: those that there are; what begins with an underscore is not proposed.
        of: who has them.

    Raises:
        RequestError: there is one.
    """
    for name in found:
        if name in known:
            continue
        public = sorted(field for field in known if not field.startswith("_"))
        near = get_close_matches(name, public, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(public)}"
        raise RequestError(f"{ENVIRONMENT} {variable}: {of} has no field {name!r}; {remedy}")


def is_client_server(cluster: str, variable: str) -> bool:
    """Whether a cluster is reached by Ray's client server, so that this process is on no node of it.

    Args:
        cluster: ``ray``, ``ray://HOST:PORT`` or ``ray:local``.
        variable: value of `VARIABLE`; empty where it is not set.
    """
    return (variable if cluster == "ray" else cluster).startswith(CLIENT_SERVER)


def check_here(where: ClusterAddress, place: str, nodes: Iterable[str]) -> None:
    """Refuse a cluster that is not asked through its client server, where this machine is not one of its nodes.

    Args:
        where: the cluster is.
        place: of its head.
        nodes: IP addresses of its nodes.

    Raises:
        LaunchError: none is an address of this machine.
    """
    if not any(map(_is_here, nodes)):
        remedy = f"run `ray start --address={place}` here, or name its client server: ray://HOST:10001 of its head"
        raise LaunchError(f"{where.named}: this machine is not a node of that cluster; {remedy}")


def _is_here(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return True
    return False


async def check_listening(address: ClusterAddress) -> None:
    """Refuse an address where nothing listens.

    Raises:
        LaunchError: no connection can be made in time.
    """
    if not address.host:
        return
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except TimeoutError:
        raise LaunchError(f"{address.named}: no answer within {REACH_TIMEOUT_S:g} s; {address.remedy}") from None
    except (OSError, UnicodeError) as error:
        raise LaunchError(f"{address.named}: {_reason(error)}; {address.remedy}") from None
    writer.transport.abort()


def _reason(error: OSError | UnicodeError) -> str:
    """An error of connecting, in a few words."""
    number = getattr(error, "errno", None)
    if number and number > 0:  # those of names are negative
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error)
