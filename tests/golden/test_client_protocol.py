"""The client protocol, byte for byte, restated from its specification."""

import numpy as np
import pytest

from frontend_launch import wire
from model_containers.wire import DataType


def hexes(frames):
    return [bytes(frame).hex(" ") for frame in frames]


FLOATS = np.array([1, 2, 3], dtype="<f4").tobytes()

REQUESTS = [
    pytest.param(
        wire.PredictRequest(0, 5, "vgg", DataType.FLOATS, FLOATS),
        [
            "",
            "00 00 00 00",
            "05 00 00 00",
            "76 67 67",
            "02 00 00 00",
            "03 00 00 00",
            "00 00 80 3f 00 00 00 40 00 00 40 40",
        ],
        id="three floats",
    ),
    pytest.param(
        wire.PredictRequest(1, 258, "inception", DataType.STRINGS, b"abc"),
        [
            "",
            "01 00 00 00",
            "02 01 00 00",
            "69 6e 63 65 70 74 69 6f 6e",
            "04 00 00 00",
            "03 00 00 00",
            "61 62 63",
        ],
        id="a string counts its bytes and has no NUL",
    ),
    pytest.param(
        wire.PredictRequest(0, 0, "a", DataType.DOUBLES, np.array([1.0], "<f8").tobytes()),
        ["", "00 00 00 00", "00 00 00 00", "61", "03 00 00 00", "01 00 00 00", "00 00 00 00 00 00 f0 3f"],
        id="one double is one element of eight bytes",
    ),
]


@pytest.mark.parametrize(("request_", "frames"), REQUESTS)
def test_request(request_, frames):
    """Both ways."""
    assert hexes(wire.encode_request(request_)) == frames
    assert wire.decode_request([bytes.fromhex(frame) for frame in frames]) == request_


def test_response():
    """Two floats for request 5 and one for 258, each behind whom it is for; the client gets them without that."""
    outputs = [np.array(values, "<f4").tobytes() for values in ([0.5, -1], [2])]
    five = ["", "05 00 00 00", "02 00 00 00", "00 00 00 3f 00 00 80 bf"]
    other = ["", "02 01 00 00", "02 00 00 00", "00 00 00 40"]
    sent = wire.encode_response_burst([b"\x0a", b"\x0b"], [5, 258], DataType.FLOATS, outputs)
    assert hexes(sent) == ["0a", *five, "0b", *other]
    assert len(sent) == 2 * (1 + wire.RESPONSE_FRAMES)
    burst = wire.decode_response_burst([bytes.fromhex(frame) for frame in (*five, *other)])
    assert burst.request_ids.hex(" ") == "05 00 00 00 02 01 00 00"
    assert hexes(burst.output_types) == ["02 00 00 00"] * 2
    assert burst.outputs == outputs


def test_default_output_is_a_string_without_a_nul():
    """The seven bytes that the original's driver registers."""
    frames = wire.encode_response_burst([b"\x0a"], [1], DataType.STRINGS, [b"TIMEOUT"])
    assert hexes(frames) == ["0a", "", "01 00 00 00", "04 00 00 00", "54 49 4d 45 4f 55 54"]


def test_handshake():
    """Two empty frames out, the client id back."""
    assert hexes(wire.HANDSHAKE) == ["", ""]
    assert hexes(wire.encode_handshake_reply(3)) == ["", "03 00 00 00"]
    assert wire.decode_handshake_reply([b"", b"\x03\0\0\0"]) == 3
