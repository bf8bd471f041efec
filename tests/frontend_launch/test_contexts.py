"""The end of ZeroMQ contexts."""

import zmq

from frontend_launch.contexts import end_context


def test_a_context_ends_with_its_sockets():
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect("tcp://127.0.0.1:1")
    socket.send(b"never read")
    end_context(context)
    assert context.closed
    assert socket.closed


def test_what_keeps_a_context_open_does_not_keep_the_caller():
    """A socket that the context does not know of as its own."""
    context = zmq.Context()
    foreign: zmq.Socket[bytes] = zmq.Context.shadow(context.underlying).socket(zmq.PAIR)
    end_context(context, patience_s=0.01)
    assert not foreign.closed
    foreign.close(0)
