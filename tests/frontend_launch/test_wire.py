"""Whatever arrives is a message or a WireError; what the original would have crashed on is refused."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch import wire
from model_containers.data_types import DataType
from model_containers.errors import WireError

FRAMES = st.lists(st.one_of(st.binary(max_size=12), st.binary(min_size=4, max_size=4)), max_size=9)
GOOD = wire.encode_request_burst(0, [5], "vgg", DataType.FLOATS, [np.ones(3, "<f4").tobytes()])


@given(FRAMES)
@pytest.mark.parametrize("decode", [wire.decode_request, wire.decode_handshake_reply])
def test_garbage(decode, frames):
    """Never another exception."""
    with contextlib.suppress(WireError):
        decode(frames)


@given(st.integers(0, 6), st.binary(max_size=16))
def test_one_wrong_frame(index, frame):
    """A good request with one frame replaced is a request or a WireError."""
    frames = list(GOOD)
    frames[index] = frame
    with contextlib.suppress(WireError):
        wire.decode_request(frames)


def changed(index, frame):
    frames = list(GOOD)
    frames[index] = frame
    return frames


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        pytest.param(GOOD[:6], "frame_count", id="too few frames"),
        pytest.param([*GOOD, b""], "frame_count", id="too many frames"),
        pytest.param([], "frame_count", id="nothing"),
        pytest.param(changed(0, b"x"), "delimiter", id="no empty delimiter"),
        pytest.param(changed(1, b"\0\0\0"), "frame_size", id="a client id of three bytes"),
        pytest.param(changed(2, b"\0" * 5), "frame_size", id="a request id of five bytes"),
        pytest.param(changed(4, b"\x05\0\0\0"), "data_type", id="data type 5"),
        pytest.param(changed(4, b"\xff\xff\xff\xff"), "data_type", id="data type -1"),
        pytest.param(changed(5, b"\xff\xff\xff\xff"), "payload_size", id="a negative count"),
        pytest.param(changed(5, b"\x04\0\0\0"), "payload_size", id="shorter than declared"),
        pytest.param(changed(5, b"\x02\0\0\0"), "payload_size", id="longer than declared"),
        pytest.param([*changed(5, b"\0\0\0\0")[:6], b""], "payload_size", id="no payload at all"),
        pytest.param(changed(3, b"\xff"), "text", id="an application name that is not UTF-8"),
        pytest.param(
            wire.encode_request_burst(0, [1], "a", DataType.STRINGS, [b"a\0b"]),
            "embedded_nul",
            id="a NUL inside a string",
        ),
    ],
)
def test_refused(frames, kind):
    """Each fault has its own kind, under which it is counted."""
    with pytest.raises(WireError) as refusal:
        wire.decode_request(frames)
    assert refusal.value.kind == kind


payloads = st.one_of(
    st.tuples(st.just(DataType.BYTES), st.binary(min_size=1)),
    st.tuples(st.just(DataType.FLOATS), st.binary(min_size=1).map(lambda b: b * 4)),
    st.tuples(st.just(DataType.DOUBLES), st.binary(min_size=1).map(lambda b: b * 8)),
    st.tuples(
        st.just(DataType.STRINGS),
        st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1).map(str.encode),
    ),
)
ids = st.integers(-(2**31), 2**31 - 1)


@given(ids, st.lists(ids, min_size=1, max_size=5), st.text(), payloads)
def test_requests_round_trip(client_id, request_ids, application, typed):
    """What is encoded decodes to itself, one request after the other."""
    data_type, payload = typed
    with contextlib.suppress(UnicodeEncodeError):
        sent = [payload * (1 + place) for place in range(len(request_ids))]
        frames = wire.encode_request_burst(client_id, request_ids, application, data_type, sent)
        assert [
            wire.decode_request(frames[at : at + wire.REQUEST_FRAMES])
            for at in range(0, len(frames), wire.REQUEST_FRAMES)
        ] == [
            wire.PredictRequest(client_id, request_id, application, data_type, payload)
            for request_id, payload in zip(request_ids, sent, strict=True)
        ]


@given(st.lists(st.tuples(st.binary(), ids, st.binary()), min_size=1), st.sampled_from(DataType))
def test_responses_round_trip(responses, output_type):
    """What is encoded decodes to itself, without whom it is for."""
    identities, request_ids, outputs = map(list, zip(*responses, strict=True))
    frames = wire.encode_response_burst(identities, request_ids, output_type, outputs)
    assert frames[:: 1 + wire.RESPONSE_FRAMES] == identities
    del frames[:: 1 + wire.RESPONSE_FRAMES]
    burst = wire.decode_response_burst(frames)
    assert np.frombuffer(burst.request_ids, "<i4").tolist() == request_ids
    assert [int.from_bytes(code, "little") for code in burst.output_types] == [output_type] * len(outputs)
    assert burst.outputs == outputs


times = st.builds(wire.RequestTimes, *[st.integers(-1, 2**62)] * 4)


@given(st.lists(st.tuples(ids, st.binary(), st.none() | times), min_size=1, max_size=40))
def test_times_are_found_in_whichever_responses_have_them(responses):
    """All, some or none of a burst; the others are read as ever."""
    request_ids, outputs, spent = map(list, zip(*responses, strict=True))
    listed = {place: each for place, each in enumerate(spent) if each is not None}
    frames = wire.encode_response_burst([b"to"] * len(spent), request_ids, DataType.FLOATS, outputs, listed)
    for place in range(len(spent)):
        del frames[place * wire.RESPONSE_FRAMES + sum(before < place for before in listed)]
    burst = wire.decode_response_burst(frames)
    assert np.frombuffer(burst.request_ids, "<i4").tolist() == request_ids
    assert burst.outputs == outputs
    assert burst.times == listed


@pytest.mark.parametrize("stray", [[b"x"], [b"", b"id", b"\2\0\0\0", b"abcd"]])
def test_times_are_found_among_messages_that_are_none(stray):
    """A stray counts as one message, and shifts the places."""
    spent = wire.RequestTimes(1, 2, 3, 4)
    timed = [*RESPONSE, spent.encode()]
    burst = wire.decode_response_burst([*timed, *stray, *timed, *RESPONSE])
    assert burst.times == {0: spent, 2: spent}
    assert burst.outputs == [b"abcd", b"", b"abcd", b"abcd"]


@given(st.binary())
def test_any_second_frame_is_a_handshake(second):
    """As in 2017; only an announcement says more."""
    assert wire.decode_handshake([b"", b"any" + second]) is None
    assert wire.decode_handshake([b"", b""]) is None
    assert wire.decode_handshake(wire.encode_announcement(second)) == second


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_handshake_has_two_frames(count):
    """Anything else on that port is dropped."""
    with pytest.raises(WireError):
        wire.decode_handshake([b""] * count)


RESPONSE = [b"", b"\5\0\0\0", b"\2\0\0\0", b"abcd"]
NONE = (b"\xff\xff\xff\xff", b"", b"")


@pytest.mark.parametrize(
    ("strays", "expected"),
    [
        pytest.param([], [], id="nothing astray"),
        pytest.param([[b"", b"\0\0\0\0"]], [NONE], id="too few frames"),
        pytest.param([[*RESPONSE, b"more"]], [tuple(RESPONSE[1:]), NONE], id="too many frames"),
        pytest.param([[b"x"], [b"y", b"z", b"z"]], [NONE], id="neighbours that are none, and four frames together"),
        pytest.param([[b"", b"id", b"\2\0\0\0", b"abcd"]], [NONE], id="an id of another size"),
    ],
)
@pytest.mark.parametrize("good", [1, 3])
def test_responses_are_found_among_messages_that_are_none(strays, expected, good):
    """Before them and after them, whatever the strays did to the places of the frames."""
    stray = [frame for message in strays for frame in message]
    burst = wire.decode_response_burst([*RESPONSE * good, *stray, *RESPONSE * good])
    ids = [burst.request_ids[at : at + 4] for at in range(0, len(burst.request_ids), 4)]
    assert list(zip(ids, burst.output_types, burst.outputs, strict=True)) == [
        *[tuple(RESPONSE[1:])] * good,
        *expected,
        *[tuple(RESPONSE[1:])] * good,
    ]


@given(FRAMES)
def test_a_burst_of_garbage(frames):
    """Columns of one length, whatever arrives."""
    burst = wire.decode_response_burst(frames)
    assert len(burst.request_ids) == 4 * len(burst.output_types) == 4 * len(burst.outputs)


RESPONSES_BACK_TO_BACK = [b"", b"\1\0\0\0", b"\2\0\0\0", b"", b"", b"\2\0\0\0", b"\2\0\0\0", b"abcd"]


@pytest.mark.parametrize("at", [0, 4, 8])
def test_the_answer_to_a_second_handshake_is_found_among_responses(at):
    """Wherever it is; an empty output before it, or one of four bytes, is not a handshake reply."""
    frames = [*RESPONSES_BACK_TO_BACK[:at], *wire.encode_handshake_reply(77), *RESPONSES_BACK_TO_BACK[at:]]
    assert wire.take_handshake_reply(frames) == (77, RESPONSES_BACK_TO_BACK)
    assert wire.take_handshake_reply(RESPONSES_BACK_TO_BACK) == (None, RESPONSES_BACK_TO_BACK)
