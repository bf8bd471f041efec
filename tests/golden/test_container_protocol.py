"""The container protocol, byte for byte, restated from its specification."""

import numpy as np
import pytest

from model_containers.data_types import DataType
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    Heartbeat,
    HeartbeatKind,
    HeartbeatReply,
    Metadata,
    ReplyTimes,
    decode_from_frontend,
    decode_from_replica,
    encode_batch_request,
    encode_batch_response,
    encode_heartbeat,
    encode_heartbeat_reply,
    encode_metadata,
)


def hexes(frames):
    return [bytes(frame).hex(" ") for frame in frames]


def raw(table):
    return [bytes.fromhex(frame) for frame in table]


def floats(*values):
    return np.array(values, "<f4").tobytes()


HEARTBEAT = ["", "02 00 00 00"]

HEARTBEAT_REPLIES = [
    pytest.param(HeartbeatKind.KEEP_ALIVE, ["", "02 00 00 00", "00 00 00 00"], id="keep-alive"),
    pytest.param(HeartbeatKind.REQUEST_METADATA, ["", "02 00 00 00", "01 00 00 00"], id="please send metadata"),
]

METADATA = [
    pytest.param(
        Metadata("vgg", "1", DataType.FLOATS),
        ["", "00 00 00 00", "76 67 67", "31", "32"],
        id="the input type is the digit 2, not its code",
    ),
    pytest.param(
        Metadata("inception", "v10", DataType.STRINGS),
        ["", "00 00 00 00", "69 6e 63 65 70 74 69 6f 6e", "76 31 30", "34"],
        id="the version is text",
    ),
    pytest.param(Metadata("n", "1", DataType.BYTES), ["", "00 00 00 00", "6e", "31", "30"], id="bytes are the digit 0"),
]

BATCHES = [
    pytest.param(
        (7, DataType.FLOATS, [floats(1, 2, 3)]),
        [
            "",
            "01 00 00 00",
            "07 00 00 00",
            "00 00 00 00",
            "08 00 00 00 00 00 00 00",
            "02 00 00 00 01 00 00 00",
            "0c 00 00 00 00 00 00 00",
            "00 00 80 3f 00 00 00 40 00 00 40 40",
        ],
        id="one input has no splits",
    ),
    pytest.param(
        (7, DataType.FLOATS, [floats(1, 2, 3), floats(4, 5, 6)]),
        [
            "",
            "01 00 00 00",
            "07 00 00 00",
            "00 00 00 00",
            "0c 00 00 00 00 00 00 00",
            "02 00 00 00 02 00 00 00 03 00 00 00",
            "18 00 00 00 00 00 00 00",
            "00 00 80 3f 00 00 00 40 00 00 40 40 00 00 80 40 00 00 a0 40 00 00 c0 40",
        ],
        id="two inputs have one split",
    ),
    pytest.param(
        (258, DataType.FLOATS, [floats(1, 2), floats(0.5), floats(-1, 0, 3)]),
        [
            "",
            "01 00 00 00",
            "02 01 00 00",
            "00 00 00 00",
            "10 00 00 00 00 00 00 00",
            "02 00 00 00 03 00 00 00 02 00 00 00 03 00 00 00",
            "18 00 00 00 00 00 00 00",
            "00 00 80 3f 00 00 00 40 00 00 00 3f 00 00 80 bf 00 00 00 00 00 00 40 40",
        ],
        id="the splits of three inputs are cumulative elements",
    ),
    pytest.param(
        (0, DataType.DOUBLES, [np.array([1.0], "<f8").tobytes(), np.array([-2.0], "<f8").tobytes()]),
        [
            "",
            "01 00 00 00",
            "00 00 00 00",
            "00 00 00 00",
            "0c 00 00 00 00 00 00 00",
            "03 00 00 00 02 00 00 00 01 00 00 00",
            "10 00 00 00 00 00 00 00",
            "00 00 00 00 00 00 f0 3f 00 00 00 00 00 00 00 c0",
        ],
        id="a double is one element",
    ),
    pytest.param(
        (7, DataType.STRINGS, [b"ab", b"c", b"def"]),
        [
            "",
            "01 00 00 00",
            "07 00 00 00",
            "00 00 00 00",
            "10 00 00 00 00 00 00 00",
            "04 00 00 00 03 00 00 00 01 00 00 00 02 00 00 00",
            "09 00 00 00 00 00 00 00",
            "61 62 00 63 00 64 65 66 00",
        ],
        id="each string is one element and ends with a NUL",
    ),
    pytest.param(
        (7, DataType.STRINGS, [b""]),
        [
            "",
            "01 00 00 00",
            "07 00 00 00",
            "00 00 00 00",
            "08 00 00 00 00 00 00 00",
            "04 00 00 00 01 00 00 00",
            "01 00 00 00 00 00 00 00",
            "00",
        ],
        id="an empty string is its NUL",
    ),
]

RESPONSES = [
    pytest.param(
        BatchResponse(7, DataType.FLOATS, (floats(1), floats(0))),
        [
            "",
            "01 00 00 00",
            "07 00 00 00",
            "02 00 00 00",
            "14 00 00 00",
            "02 00 00 00 04 00 00 00 04 00 00 00 00 00 80 3f 00 00 00 00",
        ],
        id="two scalar floats",
    ),
    pytest.param(
        BatchResponse(258, DataType.STRINGS, (b"ab", b"", b"c")),
        [
            "",
            "01 00 00 00",
            "02 01 00 00",
            "04 00 00 00",
            "13 00 00 00",
            "03 00 00 00 02 00 00 00 00 00 00 00 01 00 00 00 61 62 63",
        ],
        id="strings come out without a NUL",
    ),
]

TIMED_RESPONSE = [
    "",
    "01 00 00 00",
    "07 00 00 00",
    "02 00 00 00",
    "0c 00 00 00",
    "01 00 00 00 04 00 00 00 00 00 80 3f",
    "e8 03 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00 65 cd 1d 00 00 00 00",
]


FAILURE_RESPONSE = [*TIMED_RESPONSE[:6], f"{TIMED_RESPONSE[6]} 01 00 00 00 00 00 00 00"]
SUCCESS_RESPONSE = [*TIMED_RESPONSE[:6], f"{TIMED_RESPONSE[6]} 00 00 00 00 00 00 00 00"]


def test_heartbeat():
    """A replica's heartbeat is its type alone."""
    assert hexes(encode_heartbeat()) == HEARTBEAT
    assert decode_from_replica(raw(HEARTBEAT)) == Heartbeat()


@pytest.mark.parametrize(("kind", "table"), HEARTBEAT_REPLIES)
def test_heartbeat_reply(kind, table):
    """The frontend's heartbeat says what it wants."""
    assert hexes(encode_heartbeat_reply(kind)) == table
    assert decode_from_frontend(raw(table)) == HeartbeatReply(kind)


@pytest.mark.parametrize(("metadata", "table"), METADATA)
def test_metadata(metadata, table):
    """A replica introduces itself in text."""
    assert hexes(encode_metadata(metadata)) == table
    assert decode_from_replica(raw(table)) == metadata


@pytest.mark.parametrize(("batch", "table"), BATCHES)
def test_batch_request(batch, table):
    """Sizes of 8 bytes, a header of words, the inputs back to back."""
    message_id, input_type, inputs = batch
    assert hexes(encode_batch_request(BatchRequest.of(message_id, input_type, inputs))) == table
    request = decode_from_frontend(raw(table))
    assert isinstance(request, BatchRequest)
    assert (request.message_id, request.input_type) == (message_id, input_type)
    assert list(map(bytes, request.inputs)) == inputs


@pytest.mark.parametrize(("response", "table"), RESPONSES)
def test_batch_response(response, table):
    """Six frames, a size of 4 bytes: what a replica of 2017 sends."""
    assert hexes(encode_batch_response(response)) == table
    assert decode_from_replica(raw(table)) == response


def test_batch_response_with_reply_times():
    """One frame more, and only one, from a replica that was told to report its times."""
    response = BatchResponse(7, DataType.FLOATS, (floats(1),), ReplyTimes(1000, 2, 500_000_000))
    assert hexes(encode_batch_response(response)) == TIMED_RESPONSE
    assert decode_from_replica(raw(TIMED_RESPONSE)) == response
    untimed = BatchResponse(7, DataType.FLOATS, (floats(1),))
    assert hexes(encode_batch_response(untimed)) == TIMED_RESPONSE[:6]
    assert decode_from_replica(raw(TIMED_RESPONSE[:6])) == untimed


@pytest.mark.parametrize(
    ("failed", "table"), [(None, TIMED_RESPONSE), (False, SUCCESS_RESPONSE), (True, FAILURE_RESPONSE)]
)
def test_batch_response_that_says_whether_the_model_failed(failed, table):
    """A fourth number in the same frame; a replica of an earlier version does not say."""
    response = BatchResponse(7, DataType.FLOATS, (floats(1),), ReplyTimes(1000, 2, 500_000_000, failed))
    assert hexes(encode_batch_response(response)) == table
    assert decode_from_replica(raw(table)) == response
