"""A port that speaks something else than its address says."""

import asyncio
import contextlib
import ssl

import pytest
import trustme
import uvloop

from loadgen.errors import TargetError, UnreachableError
from loadgen.load.inputs import Pool
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.http1 import HttpSpec
from loadgen.targets.http_answers import AnyAnswers
from loadgen.targets.oip.admin import describe
from loadgen.targets.port_probe import explained, foreign
from model_containers.data_types import DataType

SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
HTTP1 = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def speaking(*spoken, tls=False):
    """A server that speaks these, and closes a connection that speaks another; its port."""

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            began = await reader.readexactly(3)
            if began == b"PRI" and "2" in spoken:
                writer.write(SETTINGS)
            elif began != b"PRI" and "1" in spoken and began[0] != 0x16:
                writer.write(HTTP1)
            await writer.drain()
        writer.close()

    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with asyncio.timeout(30), await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("url", "spoken", "tls", "said"),
    [
        ("oip+http://{}/m", "2", False, "HTTP/2, as gRPC does, and not HTTP/1.1; use oip+grpc://{}/m"),
        ("oip+grpc://{}/m", "1", False, "HTTP/1.1, and not HTTP/2; use oip+http://{}/m"),
        ("http://{}/p", "2", False, "HTTP/2, as gRPC does, and not HTTP/1.1; use its port for HTTP"),
        ("oip+https://{}/m", "1", False, "no TLS; use oip+http://{}/m"),
        ("https://{}/p", "1", False, "no TLS; use http://{}/p"),
        ("https+json://{}/p", "1", False, "no TLS; use http+json://{}/p"),
        ("oip+grpcs://{}/m", "1", False, "no TLS and HTTP/1.1, and not HTTP/2; use oip+http://{}/m"),
        ("oip+grpc://{}/m", "1", True, "TLS; use oip+grpcs://{}/m"),
        ("http+json://{}/p", "1", True, "TLS; use https+json://{}/p"),
        ("http://{}/p", "1", True, "TLS; use https://{}/p"),
        ("http://{}/p", "1", False, None),
        ("oip+grpc://{}/m", "12", False, None),
        ("oip+http://{}/m", "", False, None),
        ("oip+https://{}/m", "1", True, None),
    ],
)
def test_what_a_port_speaks(url, spoken, tls, said):
    """Is named, with the address that would do, if it is known and another one."""

    async def check():
        async with speaking(*spoken, tls=tls) as port:
            address = parse_address(url.format(f"127.0.0.1:{port}"))
            error = UnreachableError("as it was")
            found = str(await explained(error, address))
            at = f"127.0.0.1:{port}"
            assert found == ("as it was" if said is None else f"{address.text}: the server speaks {said.format(at)}")

    uvloop.run(check())


def test_errors_of_servers_that_do_answer_stay():
    """No port is looked at for them."""
    error = TargetError("no such model")
    assert asyncio.run(explained(error, parse_address("http://127.0.0.1:1/"))) is error


@pytest.mark.parametrize(("scheme", "spoken", "use"), [("oip+http", "2", "oip+grpc"), ("oip+grpc", "1", "oip+http")])
def test_a_server_is_asked_over_the_other_protocol(scheme, spoken, use):
    """The user is told which one it is."""

    async def check():
        async with speaking(*spoken) as port:
            await describe(parse_address(f"{scheme}://127.0.0.1:{port}/m"), Access())

    with pytest.raises(TargetError, match=rf"and not HTTP/.*; use {use.replace('+', '.')}://127\.0\.0\.1:\d+/m"):
        asyncio.run(check())


def test_a_target_that_speaks_no_tls():
    """Likewise, where nothing is asked before the load."""

    async def check():
        async with speaking("1") as port:
            address = parse_address(f"https://127.0.0.1:{port}/p")
            await HttpSpec(address, Access(), AnyAnswers(), 1).make().open(Pool([], DataType.BYTES))

    with pytest.raises(TargetError, match=r"speaks no TLS; use http://127\.0\.0\.1:\d+/p"):
        uvloop.run(check())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\0\0\x12\x04\0\0\0\0\0\0\x03", "the server speaks HTTP/2, as gRPC does, and not HTTP/1.1"),
        (b"\x15\x03\x01\0\x02\x02F", "the server speaks TLS"),
        (b"\0garbage\r\n\r\n", None),
        (b"", None),
    ],
)
def test_first_bytes(data, said):
    """Of an answer that should have been HTTP/1.1."""
    assert (foreign(data) or "None").startswith(str(said))
