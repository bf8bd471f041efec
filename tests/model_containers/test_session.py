"""A replica's side of the protocol, told the time."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_containers.data_types import DataType
from model_containers.errors import WireError
from model_containers.session import GIVE_UP_NS, IDLE_NS, Compute, Reconnect, Send, Session
from model_containers.wire import (
    BatchRequest,
    HeartbeatKind,
    Metadata,
    encode_batch_request,
    encode_heartbeat,
    encode_heartbeat_reply,
    encode_metadata,
)

METADATA = Metadata("vgg", "1", DataType.FLOATS)
BATCH = BatchRequest.of(7, DataType.FLOATS, [b"1234"])
KEEP_ALIVE = encode_heartbeat_reply(HeartbeatKind.KEEP_ALIVE)
ASK = encode_heartbeat_reply(HeartbeatKind.REQUEST_METADATA)


def test_it_begins_with_a_heartbeat_and_introduces_itself_when_asked():
    """A keep-alive asks for nothing."""
    session = Session(METADATA, 0)
    assert session.start() == Send(encode_heartbeat())
    assert session.received(ASK, 1) == Send(encode_metadata(METADATA))
    assert session.received(KEEP_ALIVE, 2) is None


def test_a_batch_is_work():
    """Whatever was said before."""
    assert Session(METADATA, 0).received(encode_batch_request(BATCH), 1) == Compute(BATCH)


def test_a_batch_of_another_type_is_refused():
    """It would be read as other numbers than were sent."""
    with pytest.raises(WireError) as refusal:
        Session(METADATA, 0).received(encode_batch_request(BatchRequest.of(7, DataType.INTS, [b"1234"])), 1)
    assert refusal.value.kind == "input_type"


def test_before_the_frontend_answers_it_only_waits():
    """The first heartbeat is delivered when the frontend is there; a second would introduce it twice."""
    session = Session(METADATA, 0)
    for turn in range(1, 20):
        assert session.due_ns == turn * IDLE_NS
        assert session.idle(session.due_ns) is None


def test_idle_it_sends_heartbeats_and_gives_up_after_long_silence():
    """Silence counts from what was heard last."""
    session = Session(METADATA, 0)
    session.received(ASK, 0)
    actions = []
    while not isinstance(action := session.idle(session.due_ns), Reconnect):
        actions.append(action)
    assert actions == [Send(encode_heartbeat())] * (GIVE_UP_NS // IDLE_NS - 1)


def test_computing_is_not_silence():
    """A minute inside the model does not end the connection."""
    session = Session(METADATA, 0)
    session.received(encode_batch_request(BATCH), 0)
    session.answered(2 * GIVE_UP_NS)
    assert session.idle(session.due_ns) == Send(encode_heartbeat())


def test_nothing_is_due_early():
    """Looking in between sends nothing."""
    session = Session(METADATA, 0)
    session.received(KEEP_ALIVE, 0)
    assert session.idle(session.due_ns - 1) is None


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_garbage(frames):
    """Whatever arrives is taken in or a WireError."""
    with contextlib.suppress(WireError):
        Session(METADATA, 0).received(frames, 1)
