"""Hypothesis strategies that several test files share."""

from collections.abc import Sequence

from hypothesis import strategies as st

from model_containers.data_types import OUTPUT_TYPES, Buffer, DataType
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    Heartbeat,
    HeartbeatKind,
    HeartbeatReply,
    Metadata,
    ReplyTimes,
)

I32 = st.integers(-(2**31), 2**31 - 1)
U64 = st.integers(0, 2**64 - 1)
FRAMES = st.lists(st.binary(max_size=40), max_size=9)
"""Any multipart message."""


def elements(data_type: DataType, max_size: int = 6) -> st.SearchStrategy[bytes]:
    """The raw bytes of up to max_size elements; a string has no NUL of its own."""
    if data_type is DataType.STRINGS:
        return st.binary(max_size=max_size).map(lambda text: text.replace(b"\0", b""))
    return st.integers(0, max_size).flatmap(
        lambda count: st.binary(min_size=count * data_type.element_bytes, max_size=count * data_type.element_bytes)
    )


@st.composite
def batch_requests(draw: st.DrawFn) -> BatchRequest:
    """A batch of one to five inputs, ragged, possibly empty ones among them."""
    data_type = draw(st.sampled_from(DataType))
    return BatchRequest.of(draw(I32), data_type, draw(st.lists(elements(data_type), min_size=1, max_size=5)))


@st.composite
def batch_responses(draw: st.DrawFn) -> BatchResponse:
    """An answer of up to five outputs, with reply times or without."""
    data_type = draw(st.sampled_from(sorted(OUTPUT_TYPES)))
    outputs = tuple(draw(st.lists(elements(data_type), max_size=5)))
    times = draw(st.none() | st.builds(ReplyTimes, U64, U64, U64))
    return BatchResponse(draw(I32), data_type, outputs, times)


def metadata() -> st.SearchStrategy[Metadata]:
    """A replica's introduction; the names are any text that UTF-8 can carry."""
    text = st.text(st.characters(codec="utf-8"), max_size=20)
    return st.builds(Metadata, text, text, st.sampled_from(DataType), text)


FROM_REPLICA = st.just(Heartbeat()) | metadata() | batch_responses()
"""Every message that a replica sends."""

ANSWERS = st.builds(
    BatchResponse,
    st.integers(0, 3),
    st.sampled_from([DataType.FLOATS, DataType.INTS, DataType.STRINGS]),
    st.lists(st.sampled_from([b"", b"1234"]), max_size=3).map(tuple),
    st.none() | st.builds(ReplyTimes, U64, U64, U64, st.none() | st.booleans()),
)
"""Answers to one of a replica's first batches: right ones, and such as are of another size, type or time."""

FROM_FRONTEND = st.builds(HeartbeatReply, st.sampled_from(HeartbeatKind)) | batch_requests()
"""Every message that a frontend sends to a replica."""


@st.composite
def mutated(draw: st.DrawFn, frames: Sequence[Buffer]) -> list[bytes]:
    """A valid message with one thing wrong: a frame lost, doubled, cut, prolonged, or one bit of it turned over."""
    parts = [bytes(frame) for frame in frames]
    at = draw(st.integers(0, len(parts) - 1))
    frame = parts[at]
    parts[at : at + 1] = draw(st.sampled_from([_lose, _double, _cut, _prolong, _flip]))(draw, frame)
    return parts


def _lose(_draw: st.DrawFn, _frame: bytes) -> list[bytes]:
    return []


def _double(_draw: st.DrawFn, frame: bytes) -> list[bytes]:
    return [frame, frame]


def _cut(draw: st.DrawFn, frame: bytes) -> list[bytes]:
    return [frame[: draw(st.integers(0, len(frame)))]]


def _prolong(draw: st.DrawFn, frame: bytes) -> list[bytes]:
    return [frame + draw(st.binary(min_size=1, max_size=9))]


def _flip(draw: st.DrawFn, frame: bytes) -> list[bytes]:
    if not frame:
        return [frame]
    turned = bytearray(frame)
    turned[draw(st.integers(0, len(frame) - 1))] ^= 1 << draw(st.integers(0, 7))
    return [bytes(turned)]
