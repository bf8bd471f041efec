"""Asks a Ray cluster whether it answers and takes the token, by Ray's own interface between processes.

Ray itself asks on for up to a minute, with a line on standard error each time.
"""

from __future__ import annotations

import os

import grpc
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated.gcs_service_pb2 import GetClusterIdRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.core.generated.ray_client_pb2 import ClusterInfoRequest, ClusterInfoType
from ray.core.generated.ray_client_pb2_grpc import RayletDriverStub
from ray.exceptions import AuthenticationError

from frontend_launch.cluster_address import (
    AUTO,
    CLIENT_SERVER,
    REACH_TIMEOUT_S,
    ClusterAddress,
    token_problem,
)
from frontend_launch.errors import LaunchError


async def check_answers(where: ClusterAddress) -> None:
    """Refuse what does not answer as a cluster does, or refuses the token.

    Args:
        where: it is.

    Raises:
        LaunchError: it refuses the token, or the token or the certificates for Ray's TLS are missing.
        ConnectionError: it does not answer, or not as Ray does.
    """
    place = where.text.removeprefix(CLIENT_SERVER)
    if where.text == AUTO:
        place = canonicalize_bootstrap_address(AUTO)
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as Ray does for a cluster that it finds
    try:
        channel = init_grpc_channel(place, GLOBAL_GRPC_OPTIONS, asynchronous=True)
    except (OSError, RuntimeError):
        needed = "RAY_TLS_SERVER_CERT, RAY_TLS_SERVER_KEY and RAY_TLS_CA_CERT"
        text = f"RAY_USE_TLS {os.environ.get('RAY_USE_TLS')}: needs files in {needed} that can be read; name them"
        raise LaunchError(text) from None
    try:
        async with channel:
            if where.text.startswith(CLIENT_SERVER):
                ping = ClusterInfoRequest(type=ClusterInfoType.PING)
                await RayletDriverStub(channel).ClusterInfo(ping, timeout=REACH_TIMEOUT_S)
            else:
                await NodeInfoGcsServiceStub(channel).GetClusterId(GetClusterIdRequest(), timeout=REACH_TIMEOUT_S)
    except AuthenticationError:
        raise LaunchError(f"{where.named}: {token_problem(os.environ, found=False)}") from None
    except grpc.RpcError as error:
        code = error.code()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            raise LaunchError(f"{where.named}: {token_problem(os.environ)}") from None
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise ConnectionError(f"no answer within {REACH_TIMEOUT_S:g} s") from None
        raise ConnectionError(f"does not answer as Ray does ({code.name})") from None
