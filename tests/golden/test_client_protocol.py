"""The client protocol, byte for byte, restated from its specification: what the product itself sends and reads."""

import asyncio
import contextlib
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import zmq
import zmq.asyncio

from frontend_launch import wire
from frontend_launch.frontends import clients as frontend_clients
from frontend_launch.frontends.batching import Query
from frontend_launch.frontends.clients import BatchTimes, ClientTable
from loadgen.load.inputs import Pool
from loadgen.load.target import Outcome, Replies, TimedReply
from loadgen.targets import clipper
from loadgen.targets.clipper import ClipperSpec
from model_containers.data_types import DataType

TIMEOUT_S = 10.0


def hexes(frames):
    return [bytes(frame).hex(" ") for frame in frames]


def raw(table):
    return [bytes.fromhex(frame) for frame in table]


FLOATS = np.array([[1, 2, 3], [4, 5, 6]], dtype="<f4")
LARGE = np.zeros((2, 4096), dtype="<f4")

REQUESTS = [
    pytest.param(
        (0, 5, "vgg", DataType.FLOATS, list(FLOATS)),
        [
            [
                "",
                "00 00 00 00",
                "05 00 00 00",
                "76 67 67",
                "02 00 00 00",
                "03 00 00 00",
                "00 00 80 40 00 00 a0 40 00 00 c0 40",
            ],
            [
                "",
                "00 00 00 00",
                "06 00 00 00",
                "76 67 67",
                "02 00 00 00",
                "03 00 00 00",
                "00 00 80 3f 00 00 00 40 00 00 40 40",
            ],
        ],
        id="three floats, and three others",
    ),
    pytest.param(
        (1, 258, "inception", DataType.STRINGS, [np.frombuffer(b"abc", np.uint8)]),
        [
            [
                "",
                "01 00 00 00",
                "02 01 00 00",
                "69 6e 63 65 70 74 69 6f 6e",
                "04 00 00 00",
                "03 00 00 00",
                "61 62 63",
            ]
        ],
        id="a string counts its bytes and has no NUL",
    ),
    pytest.param(
        (1, 258, "a", DataType.STRINGS, [np.frombuffer(b"", np.uint8)]),
        [["", "01 00 00 00", "02 01 00 00", "61", "04 00 00 00", "00 00 00 00", ""]],
        id="an empty string",
    ),
    pytest.param(
        (0, 0, "a", DataType.DOUBLES, [np.array([1.0], "<f8")]),
        [["", "00 00 00 00", "00 00 00 00", "61", "03 00 00 00", "01 00 00 00", "00 00 00 00 00 00 f0 3f"]],
        id="one double is one element of eight bytes",
    ),
    pytest.param(
        (258, 0x7FFFFFFF, "a", DataType.FLOATS, list(LARGE)),
        [
            ["", "02 01 00 00", "ff ff ff 7f", "61", "02 00 00 00", "00 10 00 00", LARGE[1].tobytes().hex(" ")],
            ["", "02 01 00 00", "00 00 00 00", "61", "02 00 00 00", "00 10 00 00", LARGE[0].tobytes().hex(" ")],
        ],
        id="large payloads, and the id after the last one",
    ),
]


@contextlib.asynccontextmanager
async def client_of(client_id, application, pool):
    """The client of this project, opened, on plain sockets: the target, both sockets, its identity, its handshake."""
    async with asyncio.timeout(TIMEOUT_S):
        with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as ours, context.socket(zmq.ROUTER) as theirs:
            request, response = (
                f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}" for socket in (ours, theirs)
            )
            target = ClipperSpec(request, response, application, None, None, b"TIMEOUT").make()
            opening = asyncio.create_task(target.open(pool))
            try:
                identity, *handshake = await theirs.recv_multipart()
                await theirs.send_multipart([identity, b"", client_id.to_bytes(4, "little")])
                await opening
                yield target, ours, theirs, identity, handshake
            finally:
                opening.cancel()
                await target.close()
                for socket in (ours, theirs):
                    socket.setsockopt(zmq.LINGER, 0)


@pytest.mark.parametrize(("asked", "tables"), REQUESTS)
def test_request(asked, tables):
    """What the client sends, one message each, and what the frontend makes of it."""
    client_id, first_id, application, data_type, arrays = asked

    async def sent():
        async with client_of(client_id, application, Pool(arrays, data_type)) as (target, requests, *_):
            target.send(first_id, len(tables), 0)
            return [(await requests.recv_multipart())[1:] for _ in tables]

    messages = asyncio.run(sent())
    assert [hexes(message) for message in messages] == tables
    for number, table in enumerate(tables, start=first_id):
        payload = arrays[number % len(arrays)].tobytes()
        expected = wire.PredictRequest(client_id, number & 0x7FFFFFFF, application, data_type, payload)
        assert wire.decode_request(raw(table)) == expected


RESPONSES = [
    pytest.param(
        (DataType.FLOATS, [5, 258], [np.array(values, "<f4").tobytes() for values in ([0.5, -1], [2])]),
        [
            ["", "05 00 00 00", "02 00 00 00", "00 00 00 3f 00 00 80 bf"],
            ["", "02 01 00 00", "02 00 00 00", "00 00 00 40"],
        ],
        Outcome.COMPLETED,
        id="two floats, and one",
    ),
    pytest.param(
        (DataType.STRINGS, [1], [b"TIMEOUT"]),
        [["", "01 00 00 00", "04 00 00 00", "54 49 4d 45 4f 55 54"]],
        Outcome.DEFAULTED,
        id="the default output of the original's driver is a string without a NUL",
    ),
    pytest.param(
        (DataType.STRINGS, [258, 6], ["né".encode(), b""]),
        [
            ["", "02 01 00 00", "04 00 00 00", "6e c3 a9"],
            ["", "06 00 00 00", "04 00 00 00", ""],
        ],
        Outcome.COMPLETED,
        id="a text in UTF-8, and an empty one",
    ),
]


CLOCK = b"this one"
ANNOUNCEMENT = "6c 6f 61 64 67 65 6e 20 74 69 6d 65 73 20 31 20"
ANNOUNCED = f"{ANNOUNCEMENT} {CLOCK.hex(' ')}"
ELSEWHERE = f"{ANNOUNCEMENT} 61 6e 6f 74 68 65 72"
ARRIVED = "e8 03 00 00 00 00 00 00"
UNKNOWN = "00 00 00 00 00 00 00 00"
SPENT = "f4 01 00 00 00 00 00 00 c8 00 00 00 00 00 00 00 2c 01 00 00 00 00 00 00"

FROM_CLIENTS = [
    pytest.param("", None, id="a client of 2017"),
    pytest.param("61 6e 79 74 68 69 6e 67", None, id="another client, whose second frame is not empty"),
    pytest.param(ANNOUNCED, f"{ARRIVED} {SPENT}", id="a client that reads times, on this machine"),
    pytest.param(ELSEWHERE, f"{UNKNOWN} {SPENT}", id="one with another clock"),
]


@pytest.mark.parametrize(("second", "times"), FROM_CLIENTS)
@pytest.mark.parametrize(("answers", "tables", "_"), RESPONSES)
def test_handshake_and_response(answers, tables, second, times, _, monkeypatch):
    """What the frontend sends: a client id for two frames, then responses, one message each.

    Who announces itself gets one frame more, with when the request arrived and the queue's, the RPC's and the model's
    time.
    """
    monkeypatch.setattr(frontend_clients, "clock_id", lambda: CLOCK)
    monkeypatch.setattr(frontend_clients, "time", SimpleNamespace(monotonic_ns=lambda: 2000))
    output_type, request_ids, outputs = answers
    with zmq.Context() as context, context.socket(zmq.ROUTER) as ours, context.socket(zmq.DEALER) as theirs:
        for socket in (ours, theirs):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVTIMEO, round(TIMEOUT_S * 1e3))
        theirs.connect(f"tcp://127.0.0.1:{ours.bind_to_random_port('tcp://127.0.0.1')}")
        clients = ClientTable(ours, gone=lambda client_id: None, ids=itertools.count())
        theirs.send_multipart([b"", bytes.fromhex(second)])
        clients.register([*ours.recv_multipart()])
        assert hexes(theirs.recv_multipart()) == ["", "00 00 00 00"]
        queries = [Query(0, request_id, "app", b"", 1000) for request_id in request_ids]
        clients.hold(queries, output_type, outputs)
        assert clients.send_held() == len(queries)
        assert [hexes(theirs.recv_multipart()) for _ in tables] == tables
        clients.hold(queries, output_type, outputs, BatchTimes(1500, 300))
        assert clients.send_held() == len(queries)
        assert [hexes(theirs.recv_multipart()) for _ in tables] == [
            table if times is None else [*table, times] for table in tables
        ]


@pytest.mark.parametrize("times", [[], [f"{ARRIVED} {SPENT}"]], ids=["of 2017", "with times"])
@pytest.mark.parametrize(("answers", "tables", "outcome"), RESPONSES)
def test_what_the_client_makes_of_responses(answers, tables, outcome, times, monkeypatch):
    """Their ids, outcomes and outputs; its handshake announces it, which a frontend of 2017 does not look at."""
    monkeypatch.setattr(clipper, "clock_id", lambda: CLOCK)
    _, request_ids, outputs = answers

    async def read():
        pool = Pool([FLOATS[0]], DataType.FLOATS)
        async with client_of(3, "app", pool) as (target, requests, responses, identity, handshake):
            assert hexes(handshake) == ["", ANNOUNCED]
            target.send(0, 300, 0)
            assert hexes(await requests.recv_multipart())[2] == "03 00 00 00"
            for table in tables:
                await responses.send_multipart([identity, *raw([*table, *times])])
            replies: list[Replies] = []
            while sum(len(some.ids) for some in replies) < len(tables):
                arrived = asyncio.Event()
                target.notify(arrived.set)
                await arrived.wait()
                replies.append(target.drain())
            return replies

    replies = asyncio.run(read())
    assert [int(number) for some in replies for number in some.ids] == request_ids
    assert [int(number) for some in replies for number in some.outcomes] == [outcome] * len(tables)
    assert [bytes(output) for some in replies for output in some.outputs] == outputs
    timed = [each._replace(place=0, unread_ns=0) for some in replies for each in some.timed]
    assert timed == [TimedReply(0, 0, 1000, 500, 200, 300)] * len(times) * len(tables)
