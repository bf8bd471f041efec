"""Where a cluster of ``--workers`` or ``--runtime`` is, and whether it listens: Ray itself waits long for an answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from typing import Any, NamedTuple

from frontend_launch.errors import LaunchError
from frontend_launch.ports import MAX_PORT

REACH_TIMEOUT_S = 10.0
"""Patience for a connection to the cluster's port."""

VARIABLE = "RAY_ADDRESS"
"""Of the environment: the cluster with the name ``ray``."""

ENVIRONMENT = "RAY_RUNTIME_ENV"
"""Of the environment: Ray's runtime environment, which the nodes get, as JSON."""

AUTHENTICATION = "RAY_AUTH_MODE"
"""Of the environment: ``token`` where clusters have one."""

CLIENT_SERVER = "ray://"
"""Begins an address of Ray's client server."""

LOCAL = "local"
"""As Ray names a cluster on this machine that it starts itself."""

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
        LaunchError: the variable names no cluster.
    """
    if cluster == "ray:local":
        return ClusterAddress(f"cluster {cluster}", LOCAL)
    if cluster == "ray" and variable in ("", "auto"):
        remedy = "run `ray start` on this machine first, or use ray:local"
        return ClusterAddress(f"cluster {cluster}", "auto", remedy=remedy)
    named, text = (VARIABLE, variable) if cluster == "ray" else ("cluster", cluster)
    place = _PLACE.fullmatch(text)
    if place is None or not 0 < int(place["port"]) <= MAX_PORT:
        raise LaunchError(f"{named} {text}: names no cluster; use HOST:PORT or ray://HOST:PORT")
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


def remedy_for(address: ClusterAddress, reason: str, authentication: str) -> str:
    """What to do when Ray finds no cluster at an address, or is not let in.

    Args:
        address: of the cluster.
        reason: what Ray says; of a wrong token it says only that it cannot connect.
        authentication: value of `AUTHENTICATION`; empty where it is not set.
    """
    if _LONG_PATH in reason:
        return "set RAY_TMPDIR to a directory with a shorter path"
    if address.text == LOCAL:
        return address.remedy
    if authentication == "token":
        return f"{address.remedy}; the token of its head must be in ~/.ray/auth_token or RAY_AUTH_TOKEN"
    return f"{address.remedy}; a cluster with token authentication needs {AUTHENTICATION}=token"


def runtime_environment(variable: str) -> dict[str, Any] | None:
    """Ray's runtime environment for the nodes; None for none.

    Args:
        variable: value of `ENVIRONMENT`; empty where it is not set.

    Raises:
        LaunchError: the variable has none.
    """
    if not variable:
        return None
    with contextlib.suppress(ValueError):
        found = json.loads(variable)
        if isinstance(found, dict):
            return found
    raise LaunchError(
        f"""{ENVIRONMENT} {variable}: no object in JSON; write one, such as {{"py_modules": ["FILE.whl"]}}"""
    )


def is_client_server(cluster: str, variable: str) -> bool:
    """Whether a cluster is reached by Ray's client server, so that this process is on no node of it.

    Args:
        cluster: ``ray``, ``ray://HOST:PORT`` or ``ray:local``.
        variable: value of `VARIABLE`; empty where it is not set.
    """
    return (variable if cluster == "ray" else cluster).startswith(CLIENT_SERVER)


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
