"""The channel to the live process: bounded, and sending never waits."""

import live_screens
import pytest

from loadgen.feed.channel import Receiver, pair
from loadgen.feed.messages import Closed, IntervalDone, LogLine


@pytest.fixture
def channel():
    """Both ends."""
    sender, other = pair()
    with other:
        yield sender, Receiver(other), other
    sender.close()


def test_messages_arrive_whole_and_in_order(channel):
    """Each as it was sent."""
    sender, receiver, _ = channel
    sent = [IntervalDone(live_screens.interval(1)), LogLine("x" * 5000), Closed()]
    assert all(map(sender.offer, sent))
    assert [receiver.receive() for _ in sent] == sent


def test_what_does_not_fit_is_dropped_and_counted(channel):
    """A receiver that does not read never stops the sender, and takes a bounded number of messages."""
    sender, receiver, _ = channel
    accepted = 0
    while sender.offer(LogLine("x" * 10_000)):
        accepted += 1
        assert accepted < 1000
    assert not sender.offer(LogLine("x" * 10_000))
    assert (sender.dropped, sender.broken) == (2, False)
    for _ in range(accepted):
        receiver.receive()
    assert sender.offer(Closed())
    assert receiver.receive() == Closed()


def test_a_message_larger_than_the_socket_is_dropped(channel):
    """It would never fit."""
    sender, _, _ = channel
    assert not sender.offer(LogLine("x" * 10_000_000))
    assert (sender.dropped, sender.broken) == (1, False)


def test_a_receiver_that_is_gone_is_noticed(channel):
    """Nothing is sent any more, and nothing counts as dropped."""
    sender, _, other = channel
    other.close()
    assert not sender.offer(Closed())
    assert not sender.offer(Closed())
    assert (sender.dropped, sender.broken) == (0, True)


def test_the_end_follows_the_last_message(channel):
    """What was sent before can still be read."""
    sender, receiver, _ = channel
    sender.offer(Closed())
    sender.finish()
    assert receiver.receive() == Closed()
    with pytest.raises(EOFError):
        receiver.receive()


def test_shown_lines_are_acknowledged(channel):
    """The latest count is what is known."""
    sender, receiver, _ = channel
    assert sender.shown() == 0
    receiver.acknowledge(3)
    receiver.acknowledge(5)
    assert sender.shown() == 5
    assert sender.shown() == 5
