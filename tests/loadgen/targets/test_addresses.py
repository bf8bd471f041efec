"""A name with several addresses: which get the connections, and what is said of those that take none."""

import asyncio
import contextlib
import itertools
import socket

import pytest
import uvloop
from h2_server import Peer

from loadgen.load.inputs import InputSource, Pool
from loadgen.load.job import Job
from loadgen.load.runner import Hooks, run
from loadgen.load.target import Outcome, TargetSpec
from loadgen.targets import addresses
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.addresses import Addresses, resolve
from loadgen.targets.http1 import HttpSpec
from loadgen.targets.http_answers import JsonAnswers
from loadgen.targets.http_request import post
from loadgen.targets.oip import inference_pb2 as pb
from loadgen.targets.oip.grpc_target import OipGrpcSpec
from loadgen.targets.oip.messages import prefixed
from model_containers.data_types import DataType

ONE, OTHER, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
ANSWER = prefixed(pb.ModelInferResponse(model_name="m").SerializeToString())


class Inputs(InputSource):
    """One request of bytes."""

    text = "one request"

    def __init__(self, request):
        self.request = request

    @property
    def payload_bytes(self):
        return len(self.request)

    def make(self):
        import numpy as np

        return Pool([np.frombuffer(self.request, np.uint8)], DataType.BYTES)


@pytest.fixture
def named(monkeypatch):
    """Say which addresses a name has, now or at each look; returns the looks that there were."""

    def name(*each):
        looks, found = [], itertools.chain(each, itertools.repeat(each[-1]))

        async def resolve(host, port):
            looks.append(host)
            return next(found)

        monkeypatch.setattr(addresses, "resolve", resolve)
        return looks

    return name


async def http(reader, writer):
    """Answer requests one after the other."""
    while await reader.readuntil(b"\r\n\r\n{}"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


async def grpc(reader, writer):
    """Answer calls."""
    peer = Peer()
    writer.write(peer.said())
    while data := await reader.read(1 << 16):
        for stream in peer.receive(data):
            peer.answer(stream, ANSWER)
        writer.write(peer.said())


@contextlib.asynccontextmanager
async def listening(serve, *hosts, port=0):
    """Servers on one port of these addresses; gone when their clients are."""
    tasks = set[asyncio.Task[None] | None]()

    async def connected(reader, writer):
        tasks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with contextlib.AsyncExitStack() as stack:
        for host in hosts:
            server = await stack.enter_async_context(await asyncio.start_server(connected, host, port))
            port = server.sockets[0].getsockname()[1]
        yield port
    await asyncio.gather(*filter(None, tasks))


async def loaded(protocol, *hosts, connections=4):
    """A run against servers on some addresses of a name."""
    serve = http if protocol == "http" else grpc
    async with asyncio.timeout(20), listening(serve, *hosts) as port:
        if protocol == "http":
            address = parse_address(f"http+json://models.test:{port}/")
            spec: TargetSpec = HttpSpec(address, Access(), JsonAnswers(()), connections)
            inputs = Inputs(post(address, "/", Access(), "application/json", {}, b"{}"))
        else:
            spec = OipGrpcSpec(parse_address(f"oip+grpc://models.test:{port}/m"), Access(), (), connections)
            inputs = Inputs(prefixed(b"x"))
        job = Job(spec, inputs, 4, None, 200, 0.0, None, 5.0, None, 1.0, 2.0)
        record = await run(job, hooks=Hooks(on_interval=lambda _: None))
    assert record.failures == {}
    assert record.outcomes[Outcome.COMPLETED] == record.sent == 200
    return record


PROTOCOLS = pytest.mark.parametrize("protocol", ["http", "grpc"])


@PROTOCOLS
def test_connections_go_to_all_addresses_in_turn(protocol, named):
    """What each was sent is told, and adds up to all that was sent."""
    looks = named([ONE, OTHER])
    record = uvloop.run(loaded(protocol, ONE, OTHER))
    assert list(record.addresses) == [ONE, OTHER]
    assert min(record.addresses.values()) > 0
    assert sum(record.addresses.values()) == 200
    assert record.notes == []
    assert looks == ["models.test"]


@PROTOCOLS
def test_one_address_is_nothing_to_tell(protocol, named):
    """Nothing is counted for it."""
    named([ONE])
    record = uvloop.run(loaded(protocol, ONE))
    assert (record.addresses, record.notes) == ({}, [])


@PROTOCOLS
def test_an_address_that_refuses_is_said(protocol, named):
    """In the log, and in a note; the others have its share, and it has none."""
    named([ONE, OTHER, THIRD])
    record = uvloop.run(loaded(protocol, OTHER, THIRD))
    assert record.addresses[ONE] == 0
    assert record.addresses[OTHER] + record.addresses[THIRD] == 200
    assert min(record.addresses[OTHER], record.addresses[THIRD]) > 0
    assert record.notes == [
        "models.test: 127.0.0.1, one of 3 addresses, took no connection (Connection refused; 1 attempt)"
    ]


class Made(asyncio.Protocol):
    """A connection, which has served its purpose."""

    def __init__(self, address):
        self.address = address

    def connection_made(self, transport):
        self.transport = transport


async def connected(spread, count):
    """To which addresses a number of connections go, one after the other; None where none takes one."""
    made = list[str | None]()
    for _ in range(count):
        try:
            connection = await spread.connect(Made, None)
        except OSError:
            made.append(None)
        else:
            made.append(connection.address)
            connection.transport.abort()
    await asyncio.sleep(0)
    return made


def test_an_address_that_refused_is_tried_again_later(named, monkeypatch):
    """Until then it is passed over."""
    named([ONE, OTHER])
    monkeypatch.setattr(addresses, "PASSED_OVER_NS", 0)

    async def main():
        async with listening(http, OTHER) as port:
            spread = Addresses(parse_address(f"http+json://models.test:{port}/"))
            before = await connected(spread, 2)
            async with listening(http, ONE, port=port):
                return before, await connected(spread, 2)

    before, after = asyncio.run(main())
    assert before == [OTHER, OTHER]
    assert sorted(after) == [ONE, OTHER]


def test_where_all_refuse_the_name_is_looked_up_again(named):
    """As after a server was started again elsewhere; the new address is told too."""
    looks = named([ONE, OTHER], [THIRD])

    async def main():
        async with listening(http, THIRD) as port:
            spread = Addresses(parse_address(f"http+json://models.test:{port}/"))
            return await connected(spread, 3), spread.known

    made, known = asyncio.run(main())
    assert made == [None, THIRD, THIRD]
    assert known == [ONE, OTHER, THIRD]
    assert len(looks) == 2


def test_of_one_machine_the_family_that_is_not_served_is_not_said(named):
    """Half of all servers on localhost have the one or the other."""
    named([ONE, OTHER])

    async def main():
        async with listening(http, OTHER) as port:
            spread = Addresses(parse_address(f"http+json://localhost:{port}/"))
            return await connected(spread, 2), spread.notes

    assert asyncio.run(main()) == ([OTHER, OTHER], [])


@pytest.mark.parametrize("number", ["127.0.0.1", "::1", "fe80::1%lo"])
def test_a_number_is_looked_up_nowhere(number, monkeypatch):
    """It is its own address."""
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert asyncio.run(resolve(number, 1)) == [number]


def test_a_name_is_looked_up_by_the_system(monkeypatch):
    """Each address once, in its order."""
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 80, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ONE, 80)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ONE, 80)),
        ],
    )
    assert asyncio.run(resolve("models.test", 80)) == ["::1", ONE]
