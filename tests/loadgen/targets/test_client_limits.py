"""A limit of the client is never a server that cannot be reached."""

import asyncio
import errno
import os
import socket
import ssl

import pytest

from loadgen.cli import exit_codes
from loadgen.errors import ClientLimitError, MisfitError, UnreachableError
from loadgen.targets.client_limits import LIMITS, client_limit, unreachable
from loadgen.targets.dialer import Dialer

REFUSED = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


@pytest.mark.parametrize("number", LIMITS)
def test_a_limit_is_known_by_its_number_and_by_its_text(number):
    """Libraries keep the one or the other."""
    error = OSError(number, os.strerror(number))
    for cause in (error, OSError(f"Multiple exceptions: {error}"), str(error)):
        found = unreachable("server: ", "gone", cause)
        assert isinstance(found, ClientLimitError)
        assert str(found) == LIMITS[number]
    assert exit_codes.of_error(found) == exit_codes.PLACEMENT


@pytest.mark.parametrize(
    "cause", [REFUSED, TimeoutError(), ConnectionError(), socket.gaierror(-2, "unknown"), "refused"]
)
def test_any_other_error_is_the_servers(cause):
    """With the reason as it is known, and what to do."""
    found = unreachable("server: ", "gone", cause)
    said = "server: cannot be reached: gone; start the server, or correct the address"
    assert (type(found), str(found)) == (UnreachableError, said)
    assert exit_codes.of_error(found) == exit_codes.TARGET


OPENSSL = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
BORINGSSL = "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (
            ssl.SSLCertVerificationError(1, f"{OPENSSL}self-signed certificate (_ssl.c:1006)"),
            "self-signed certificate; CA",
        ),
        (f"{BORINGSSL}CERTIFICATE_VERIFY_FAILED: self signed certificate: OK", "self signed certificate; CA"),
        (f"{OPENSSL}certificate has expired (_ssl.c:1006)", "certificate has expired; renew it"),
        (
            f"{OPENSSL}IP address mismatch, certificate is not valid for '127.0.0.1'. (_ssl.c:1006)",
            "IP address mismatch, certificate is not valid for '127.0.0.1'; NAME",
        ),
        (
            "Custom verification check failed with error: UNAUTHENTICATED: Hostname Verification Check failed.",
            "Hostname Verification Check failed; NAME",
        ),
    ],
)
def test_a_certificate_is_no_reason_to_start_the_server(cause, said):
    """Nor to wait for it; the remedy is that for what is wrong with it."""
    found = unreachable("server: ", "gone", cause)
    said = said.replace("CA", "name its authority with ca")
    said = said.replace("NAME", "use a name that it has, as host or as tls_server_name")
    assert (type(found), str(found)) == (MisfitError, f"server: the server's certificate is not accepted: {said}")
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
