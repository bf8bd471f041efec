"""What the container protocol's codecs admit and refuse."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FRAMES, FROM_FRONTEND, FROM_REPLICA, elements, mutated

from model_containers.data_types import DataType
from model_containers.errors import WireError
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    Heartbeat,
    HeartbeatReply,
    Metadata,
    decode_from_frontend,
    decode_from_replica,
    encode_batch_request,
    encode_batch_response,
    encode_heartbeat,
    encode_heartbeat_reply,
    encode_metadata,
)


def encode(message):
    """Frames of any message."""
    match message:
        case Heartbeat():
            return encode_heartbeat()
        case HeartbeatReply():
            return encode_heartbeat_reply(message.kind)
        case Metadata():
            return encode_metadata(message)
        case BatchRequest():
            return encode_batch_request(message)
        case BatchResponse():
            return encode_batch_response(message)


def words(*values):
    return struct.pack(f"<{len(values)}I", *values)


def i64(value):
    return struct.pack("<q", value)


HEARTBEAT, NEW, CONTENT = words(2), words(0), words(1)
METADATA = [b"", NEW, b"noop", b"1", b"2"]
TWO_FLOATS = [b"", CONTENT, words(7), words(0), i64(12), words(2, 2, 1), i64(8), bytes(8)]
STRINGS = [b"", CONTENT, words(7), words(0), i64(12), words(4, 2, 1), i64(4), b"a\0b\0"]
RESPONSE = [b"", CONTENT, words(7), words(2), words(12), words(1, 4, 0)]


def changed(frames, replacements):
    """The message with some frames replaced, by position."""
    return [replacements.get(position, frame) for position, frame in enumerate(frames)]


def header(*values):
    """The two frames of a batch's header, by position."""
    return {4: i64(4 * len(values)), 5: words(*values)}


def response_content(content):
    """The two frames of a response's content, by position."""
    return {4: words(len(content)), 5: content}


def test_the_messages_that_the_tables_change_are_sound():
    """Each row below is wrong for what its id says and for nothing else."""
    for frames in (METADATA, RESPONSE):
        decode_from_replica(frames)
    for frames in (TWO_FLOATS, STRINGS):
        decode_from_frontend(frames)


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        pytest.param([], "delimiter", id="no frames"),
        pytest.param([b""], "delimiter", id="a delimiter alone"),
        pytest.param([HEARTBEAT, b""], "delimiter", id="the delimiter is not first"),
        pytest.param([b"x", HEARTBEAT], "delimiter", id="a delimiter that is not empty"),
        pytest.param([b"", b"\2"], "frame_size", id="a message type of one byte"),
        pytest.param([b"", i64(2)], "frame_size", id="a message type of eight bytes"),
        pytest.param([b"", words(3)], "message_type", id="an unknown message type"),
        pytest.param([b"", words(2**32 - 1)], "message_type", id="a negative message type"),
        pytest.param([b"", HEARTBEAT, b""], "frame_count", id="a heartbeat of three frames"),
        pytest.param(METADATA[:4], "frame_count", id="metadata without a type"),
        pytest.param([*METADATA, b""], "frame_count", id="metadata with a frame too many"),
        pytest.param(changed(METADATA, {2: b"\xff"}), "text", id="a model name that is not UTF-8"),
        pytest.param(changed(METADATA, {3: b"\xff"}), "text", id="a version that is not UTF-8"),
        pytest.param(changed(METADATA, {4: b"\xff"}), "text", id="an input type that is not UTF-8"),
        pytest.param(changed(METADATA, {4: words(2)}), "data_type", id="an input type in binary"),
        pytest.param(changed(METADATA, {4: b"floats"}), "data_type", id="an input type by name"),
        pytest.param(changed(METADATA, {4: b""}), "data_type", id="an empty input type"),
        pytest.param(changed(METADATA, {4: b"-1"}), "data_type", id="a negative input type"),
        pytest.param(changed(METADATA, {4: b"5"}), "data_type", id="an unknown input type"),
        pytest.param(changed(METADATA, {4: "²".encode()}), "data_type", id="an input type in superscript"),
        pytest.param(changed(METADATA, {4: b"9" * 5000}), "data_type", id="an input type of 5000 digits"),
        pytest.param(RESPONSE[:5], "frame_count", id="a response without content"),
        pytest.param([*RESPONSE, bytes(24), b""], "frame_count", id="a response of eight frames"),
        pytest.param([*RESPONSE, bytes(23)], "reply_times", id="reply times of 23 bytes"),
        pytest.param([*RESPONSE, bytes(31)], "reply_times", id="reply times of 31 bytes"),
        pytest.param(changed(RESPONSE, {2: b"\7"}), "frame_size", id="a message id of one byte"),
        pytest.param(changed(RESPONSE, {3: b"\2"}), "frame_size", id="an output type of one byte"),
        pytest.param(changed(RESPONSE, {3: words(3)}), "data_type", id="doubles come out"),
        pytest.param(changed(RESPONSE, {3: words(5)}), "data_type", id="an unknown output type"),
        pytest.param(changed(RESPONSE, {4: words(11)}), "content_size", id="more content than announced"),
        pytest.param(changed(RESPONSE, {4: words(13)}), "content_size", id="less content than announced"),
        pytest.param(changed(RESPONSE, {4: i64(12)}), "content_size", id="a content size of eight bytes"),
        pytest.param(changed(RESPONSE, response_content(b"")), "content_size", id="no content"),
        pytest.param(changed(RESPONSE, response_content(words(1))), "content_size", id="an output without a size"),
        pytest.param(changed(RESPONSE, response_content(words(2**32 - 1))), "content_size", id="2^32 outputs"),
        pytest.param(changed(RESPONSE, response_content(words(1, 4))), "content_size", id="an output too short"),
        pytest.param(changed(RESPONSE, response_content(words(1, 4, 0, 0))), "content_size", id="bytes left over"),
        pytest.param(
            changed(RESPONSE, response_content(words(1, 3) + b"abc")), "content_size", id="a third of a float"
        ),
    ],
)
def test_malformed_from_replica(frames, kind):
    """Each is refused under the word that counters know it by."""
    with pytest.raises(WireError) as error:
        decode_from_replica(frames)
    assert error.value.kind == kind


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        pytest.param([], "delimiter", id="no frames"),
        pytest.param([b"x", HEARTBEAT, words(0)], "delimiter", id="a delimiter that is not empty"),
        pytest.param(METADATA, "message_type", id="metadata goes the other way"),
        pytest.param([b"", HEARTBEAT], "frame_count", id="a heartbeat without a kind"),
        pytest.param([b"", HEARTBEAT, b"\1"], "frame_size", id="a heartbeat kind of one byte"),
        pytest.param([b"", HEARTBEAT, words(2)], "heartbeat_kind", id="an unknown heartbeat kind"),
        pytest.param(TWO_FLOATS[:7], "frame_count", id="a batch without content"),
        pytest.param([*TWO_FLOATS, b""], "frame_count", id="a batch with a frame too many"),
        pytest.param(changed(TWO_FLOATS, {2: b""}), "frame_size", id="an empty message id"),
        pytest.param(changed(TWO_FLOATS, {3: b""}), "frame_size", id="an empty request type"),
        pytest.param(changed(TWO_FLOATS, {3: words(1)}), "request_type", id="feedback"),
        pytest.param(changed(TWO_FLOATS, {4: words(12)}), "content_size", id="a header size of four bytes"),
        pytest.param(changed(TWO_FLOATS, {4: i64(8)}), "content_size", id="more header than announced"),
        pytest.param(changed(TWO_FLOATS, {6: words(8)}), "content_size", id="a content size of four bytes"),
        pytest.param(changed(TWO_FLOATS, {6: i64(-8)}), "content_size", id="a negative content size"),
        pytest.param(changed(TWO_FLOATS, {6: i64(9)}), "content_size", id="less content than announced"),
        pytest.param(changed(TWO_FLOATS, header(2)), "header", id="a header without a count"),
        pytest.param(changed(TWO_FLOATS, {4: i64(9), 5: words(2, 1) + b"\0"}), "header", id="a header of nine bytes"),
        pytest.param(changed(TWO_FLOATS, header(5, 2, 1)), "data_type", id="an unknown input type"),
        pytest.param(changed(TWO_FLOATS, header(2, 0)), "header", id="a batch of nothing"),
        pytest.param(changed(TWO_FLOATS, header(2, 2)), "header", id="a split too few"),
        pytest.param(changed(TWO_FLOATS, header(2, 2, 1, 2)), "header", id="a total that version 1 leaves out"),
        pytest.param(changed(TWO_FLOATS, header(2, 3, 2, 1)), "header", id="splits that decrease"),
        pytest.param(changed(TWO_FLOATS, header(2, 2, 3)), "header", id="a split beyond the content"),
        pytest.param(changed(TWO_FLOATS, {6: i64(7), 7: bytes(7)}), "header", id="part of a float"),
        pytest.param(changed(STRINGS, {6: i64(3), 7: b"a\0b"}), "header", id="a last string without its NUL"),
        pytest.param(changed(STRINGS, {6: i64(6), 7: b"a\0b\0c\0"}), "header", id="a string too many"),
        pytest.param(changed(STRINGS, {6: i64(2), 7: b"a\0"}), "header", id="a string too few"),
    ],
)
def test_malformed_from_frontend(frames, kind):
    """Each is refused under the word that counters know it by."""
    with pytest.raises(WireError) as error:
        decode_from_frontend(frames)
    assert error.value.kind == kind


@given(FROM_REPLICA)
def test_round_trip_from_replica(message):
    """What a replica says is what its frontend hears."""
    assert decode_from_replica(encode(message)) == message


@given(FROM_FRONTEND)
def test_round_trip_from_frontend(message):
    """What a frontend says is what its replica hears."""
    assert decode_from_frontend(encode(message)) == message


@given(st.data(), st.sampled_from(DataType))
def test_round_trip_of_inputs(data, input_type):
    """Every input comes out of a batch as it went in, in order."""
    inputs = data.draw(st.lists(elements(input_type), min_size=1, max_size=5))
    request = decode_from_frontend(encode_batch_request(BatchRequest.of(1, input_type, inputs)))
    assert isinstance(request, BatchRequest)
    assert list(map(bytes, request.inputs)) == inputs


@given(st.data(), st.sampled_from([kind for kind in DataType if kind is not DataType.STRINGS]))
def test_inputs_of_one_size_are_known_without_a_look_at_each(data, input_type):
    """Of others it is known that they differ."""
    inputs = data.draw(st.lists(elements(input_type, 3), min_size=1, max_size=4))
    sizes = {*map(len, inputs)}
    assert BatchRequest.of(1, input_type, inputs).input_bytes == (sizes.pop() if len(sizes) == 1 else None)


@given(FRAMES)
def test_garbage(frames):
    """Any frames are a message or a WireError, never another exception."""
    for decode in (decode_from_replica, decode_from_frontend):
        with contextlib.suppress(WireError):
            decode(frames)


@given(st.data())
def test_damaged_from_replica(data):
    """So is a valid message after some damage; what still passes means what its frames say."""
    frames = data.draw(FROM_REPLICA.flatmap(lambda message: mutated(encode(message))))
    with contextlib.suppress(WireError):
        message = decode_from_replica(frames)
        assert decode_from_replica(encode(message)) == message


@given(st.data())
def test_damaged_from_frontend(data):
    """The same from the other side; what passes says so with those frames only, and comes apart into its inputs."""
    frames = data.draw(FROM_FRONTEND.flatmap(lambda message: mutated(encode(message))))
    with contextlib.suppress(WireError):
        message = decode_from_frontend(frames)
        assert list(map(bytes, encode(message))) == frames
        if isinstance(message, BatchRequest):
            assert len(message.inputs) == message.count


@pytest.mark.parametrize(
    ("dtype", "data_type"),
    [
        ("int8", DataType.BYTES),
        ("uint8", DataType.BYTES),
        ("int32", DataType.INTS),
        ("float32", DataType.FLOATS),
        ("float64", DataType.DOUBLES),
    ],
)
def test_dtypes(dtype, data_type):
    """Each numpy dtype that the protocol carries has a code, and its elements that code's size."""
    assert DataType.of_dtype(np.dtype(dtype)) is data_type
    assert data_type.element_bytes == np.dtype(dtype).itemsize


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool", "complex64", "<U3"])
def test_dtypes_without_a_code(dtype):
    """The message names the dtype."""
    with pytest.raises(WireError, match=dtype):
        DataType.of_dtype(np.dtype(dtype))


@pytest.mark.parametrize(
    ("names", "data_type"),
    [
        ("bytes byte b", DataType.BYTES),
        ("integers ints integer int i", DataType.INTS),
        ("floats float f Floats", DataType.FLOATS),
        ("doubles double d", DataType.DOUBLES),
        ("strings string str strs s", DataType.STRINGS),
    ],
)
def test_names(names, data_type):
    """Every spelling is read, the canonical one among them."""
    assert {DataType.parse(f" {name} ") for name in [*names.split(), data_type.canonical]} == {data_type}


def test_unknown_name():
    """The message names the word and what would do instead."""
    with pytest.raises(WireError, match=r"'tensor'.*floats"):
        DataType.parse("tensor")
