"""Servers behind a Unix socket, and certificates of another name than the host's."""

import asyncio
import ssl

import grpc.aio
import pytest
import trustme
import uvloop

from loadgen.errors import ConfigError, TargetError
from loadgen.load.job import Job
from loadgen.load.runner import Hooks, run
from loadgen.load.target import Outcome
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.http_answers import AnyAnswers
from loadgen.targets.http_endpoint import HttpEndpoint
from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.oip.admin import describe
from loadgen.targets.remote import RequestOptions, TargetOptions

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\nConnection: keep-alive\r\n\r\n{"name": "server"}'.replace(
    b"17", b"18"
)


async def serve(reader, writer):
    """Any request without a body gets the same answer."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def loaded(address, access=None):
    """A short run, and a look whether the server is still there."""
    endpoint = await HttpEndpoint.at(TargetOptions(address, access or Access()))
    inputs = endpoint.inputs(RequestOptions(1, None, None, 0))
    record = await run(
        Job(endpoint.spec(1, 2, None), inputs, 2, None, 10, 0.0, None, 5.0, None, 1.0, 0.0),
        hooks=Hooks(on_interval=lambda _: None),
    )
    await endpoint.check_available()
    return record.outcomes[Outcome.COMPLETED]


@pytest.mark.parametrize("form", ["option", "url"])
def test_http_over_a_socket(tmp_path, form):
    """By option as with curl, or in the URL; the host is what the server is told."""
    path = tmp_path / "s.sock"
    quoted = str(path).replace("/", "%2F")
    address = parse_address("http://name/x", path) if form == "option" else parse_address(f"http+unix://{quoted}/x")
    assert address.authority == ("name" if form == "option" else "localhost")

    async def check():
        async with asyncio.timeout(20), await asyncio.start_unix_server(serve, path):
            return await loaded(address)

    assert uvloop.run(check()) == 10
    path.unlink(missing_ok=True)
    with pytest.raises(TargetError, match=rf"http://{address.host}/x at {path}: cannot be reached: No such file"):
        asyncio.run(asyncio.wait_for(HttpEndpoint(TargetOptions(address), None, AnyAnswers()).check_available(), 10))


def test_the_server_is_asked_over_the_socket_too(tmp_path):
    """Over gRPC and over HTTP."""
    path = tmp_path / "g.sock"

    async def metadata(_request, _context):
        return pb.ServerMetadataResponse(name="server")

    async def check_grpc():
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(metadata, response_serializer=lambda one: one.SerializeToString())
        handlers = {"ServerMetadata": handler}
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
        server.add_generic_rpc_handlers([service])
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        try:
            await describe(parse_address("oip+grpc://localhost/m", path), Access())
        finally:
            await server.stop(None)

    with pytest.raises(TargetError, match=rf"oip\+grpc://localhost/m at {path}: ModelMetadata is not offered"):
        asyncio.run(check_grpc())

    async def check_http():
        async with await asyncio.start_unix_server(serve, tmp_path / "h.sock"):
            return await describe(parse_address("oip+http://localhost/m", tmp_path / "h.sock"), Access())

    server, model = asyncio.run(check_http())
    assert (server.name, model.name) == ("server", "server")


@pytest.mark.parametrize("protocol", ["http", "oip"])
def test_a_certificate_of_another_name(tmp_path, protocol):
    """Is checked by the name that the user says, which the server is told too (SNI)."""
    authority, told = trustme.CA(), []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("models.test").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context.sni_callback = lambda _socket, name, _context: told.append(name)

    async def check(name):
        async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            at, access = f"127.0.0.1:{server.sockets[0].getsockname()[1]}", Access(ca=tmp_path / "ca.pem")
            if protocol == "http":
                return await loaded(parse_address(f"https://{at}/x", None, name), access)
            return await describe(parse_address(f"oip+https://{at}/m", None, name), access)

    assert asyncio.run(check("models.test"))
    assert set(told) == {"models.test"}
    with pytest.raises(TargetError, match=r"certificate is not accepted: .* 'other.test'; use a name"):
        asyncio.run(check("other.test"))


@pytest.mark.parametrize(
    ("url", "options", "match"),
    [
        ("http://h/x", {"tls_server_name": "n"}, "tls_server_name n: for TLS; leave it out, or use https://h/x"),
        ("https://h/x", {"tls_server_name": "a b"}, "tls_server_name a b: not the name of a server"),
        ("https://h/x", {"tls_server_name": ""}, "tls_server_name '': not the name of a server"),
        ("http://h/x", {"unix_socket": "/" + "x" * 107}, ": not the path of a socket, which has 107 bytes at most"),
        ("http+unix:///x", {}, "names no socket; write it as http.unix://%2Frun%2Fserver.sock/PATH"),
        ("http+unix://a/x", {"unix_socket": "/s"}, "names a socket, as unix_socket does"),
    ],
)
def test_options_that_make_no_sense(url, options, match):
    """One line each."""
    with pytest.raises(ConfigError, match=match):
        parse_address(url, **options)
