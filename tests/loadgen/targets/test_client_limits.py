"""A limit of the client is never a server that cannot be reached."""

import asyncio
import errno
import os
import socket

import pytest

from loadgen.cli import exit_codes
from loadgen.errors import ClientLimitError, UnreachableError
from loadgen.targets.client_limits import LIMITS, client_limit, unreachable
from loadgen.targets.dialer import Dialer

REFUSED = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


@pytest.mark.parametrize("number", LIMITS)
def test_a_limit_is_known_by_its_number_and_by_its_text(number):
    """Libraries keep the one or the other."""
    error = OSError(number, os.strerror(number))
    for cause in (error, OSError(f"Multiple exceptions: {error}"), str(error)):
        found = unreachable("the server is gone", cause)
        assert isinstance(found, ClientLimitError)
        assert str(found) == LIMITS[number]
    assert exit_codes.of_error(found) == exit_codes.PLACEMENT


@pytest.mark.parametrize(
    "cause", [REFUSED, TimeoutError(), ConnectionError(), socket.gaierror(-2, "unknown"), "refused"]
)
def test_any_other_error_is_the_servers(cause):
    """As it was worded."""
    found = unreachable("the server is gone", cause)
    assert (type(found), str(found)) == (UnreachableError, "the server is gone")
    assert exit_codes.of_error(found) == exit_codes.TARGET


@pytest.mark.parametrize("number", LIMITS)
def test_connecting_names_the_limit(number, caplog):
    """Before the load as an error, under load in the log."""

    async def connect():
        raise OSError(number, os.strerror(number))

    async def main():
        dialer = Dialer("server", connect, lambda: 0)
        with pytest.raises(ClientLimitError) as refusal:
            await dialer.first()
        await dialer._attempt(0.0)
        return str(refusal.value)

    assert asyncio.run(main()) == LIMITS[number]
    assert f"server: no connection ({LIMITS[number]}); requests wait for one" in caplog.text
    assert client_limit(REFUSED) is None
