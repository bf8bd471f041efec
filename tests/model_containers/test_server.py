"""A replica against a frontend's socket."""

import contextlib
import threading

import numpy as np
import pytest
import zmq

from model_containers.data_types import DataType
from model_containers.errors import ModelError
from model_containers.model import LoadOptions, TensorSpec
from model_containers.server import serve
from model_containers.settings import Settings
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    Heartbeat,
    HeartbeatKind,
    Metadata,
    decode_from_replica,
    encode_batch_request,
    encode_heartbeat_reply,
)


class Doubling:
    """Twice the first element; remembers the batches it saw."""

    name = "double"
    output = TensorSpec((1,), "float32")

    def __init__(self, shape):
        self.input = TensorSpec(shape, "float32")
        self.batches = []

    def predict(self, batch):
        assert not (batch.any() and batch.flags.writeable), "a view on what was received is read-only"
        self.batches.append(batch.shape)
        if (batch == 13).any():
            raise RuntimeError("thirteen")
        return 2 * batch.reshape(len(batch), -1)[:, :1]


class Leaving(Doubling):
    """Calls `sys.exit` for thirteen."""

    def predict(self, batch):
        if (batch == 13).any():
            raise SystemExit("enough")
        return super().predict(batch)


class Wrong(Doubling):
    """Answers to ones with another dtype than it says."""

    def predict(self, batch):
        return super().predict(batch).astype(np.float64 if (batch == 1).any() else np.float32)


@contextlib.contextmanager
def replica(model, tmp_path, max_batch=1, input_type=DataType.FLOATS, **settings):
    """A frontend's ROUTER, the identity of the one replica that registered there, and what it said."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.RCVTIMEO, 10_000)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        told, stop = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        told.bind("inproc://stop")
        stop.connect("inproc://stop")
        options = Settings(
            port=port, log_file=tmp_path / "replica.log", load=LoadOptions(max_batch=max_batch), **settings
        )
        thread = threading.Thread(target=serve, args=(model, options, stop))
        thread.start()
        try:
            identity, *message = router.recv_multipart()
            assert decode_from_replica(message) == Heartbeat()
            router.send_multipart([identity, *encode_heartbeat_reply(HeartbeatKind.REQUEST_METADATA)])
            assert decode_from_replica(router.recv_multipart()[1:]) == Metadata("double", "1", input_type)
            yield router, identity
        finally:
            told.send(b"")
            thread.join(10)
            told.close()
            stop.close()
    assert not thread.is_alive()


def ask(router, identity, inputs, message_id=1):
    """Send a batch; the frames of the answer."""
    payloads = [np.array(values, "<f4").tobytes() for values in inputs]
    request = BatchRequest.of(message_id, DataType.FLOATS, payloads)
    router.send_multipart([identity, *encode_batch_request(request)])
    return router.recv_multipart()[1:]


def values_of(response):
    return [np.frombuffer(output, "<f4").tolist() for output in response.outputs]


def test_a_batch_reaches_the_model_as_one_array_and_its_outputs_come_back_in_order(tmp_path):
    """After a warm-up at 1 and at the largest batch."""
    model = Doubling((3,))
    with replica(model, tmp_path, max_batch=4) as (router, identity):
        response = decode_from_replica(ask(router, identity, [[1, 0, 0], [2, 0, 0]], message_id=77))
    assert isinstance(response, BatchResponse)
    assert (response.message_id, response.output_type, values_of(response)) == (77, DataType.FLOATS, [[2.0], [4.0]])
    assert model.batches == [(1, 3), (4, 3), (2, 3)]


@pytest.mark.parametrize(("reply_times", "frames"), [(False, 6), (True, 7)])
def test_times_go_only_to_a_frontend_that_asked_for_them(tmp_path, reply_times, frames):
    """One of 2017 never sees the seventh frame."""
    with replica(Doubling((1,)), tmp_path, reply_times=reply_times) as (router, identity):
        answer = ask(router, identity, [[1]])
    assert len(answer) == frames
    response = decode_from_replica(answer)
    assert isinstance(response, BatchResponse)
    times = response.times
    assert (times is not None) == reply_times
    if times is not None:
        assert times.handle_ns > 0


@pytest.mark.parametrize(
    ("reply_failures", "inputs", "failed"),
    [
        (True, [[1], [2]], False),
        (True, [[1], [13]], True),
        (True, [[13]], True),
        (False, [[1], [13]], None),
    ],
)
def test_a_batch_on_which_the_model_failed_is_reported(tmp_path, reply_failures, inputs, failed):
    """Only to a frontend that reads it, and of that batch alone."""
    settings = {"reply_times": True, "reply_failures": reply_failures}
    with replica(Doubling((1,)), tmp_path, **settings) as (router, identity):
        response = decode_from_replica(ask(router, identity, inputs))
        after = decode_from_replica(ask(router, identity, [[1]]))
    assert isinstance(response, BatchResponse)
    assert isinstance(after, BatchResponse)
    assert response.times is not None
    assert after.times is not None
    assert (response.times.failed, after.times.failed) == (failed, False if reply_failures else None)


class Spelling(Doubling):
    """Texts; an empty one for zero."""

    output = TensorSpec((), "str")

    def predict(self, batch):
        return ["x" * int(row[0]) for row in batch]


@pytest.mark.parametrize(
    ("inputs", "failures"), [([[1, 0], [2]], [1]), ([[1, 0, 0]], [0]), ([[0, 0], [1, 0]], []), ([[0, 0]], [])]
)
def test_a_text_is_empty_for_an_input_of_the_wrong_size_and_that_is_said(tmp_path, inputs, failures):
    """So that it is not taken for the answer that an empty text may be."""
    settings = {"reply_times": True, "reply_failures": True}
    with replica(Spelling((2,)), tmp_path, **settings) as (router, identity):
        response = decode_from_replica(ask(router, identity, inputs))
    assert isinstance(response, BatchResponse)
    assert response.failures == failures


def test_an_input_of_the_wrong_size_fails_alone(tmp_path):
    """Its output is empty, the others' are not."""
    with replica(Doubling((2,)), tmp_path) as (router, identity):
        response = decode_from_replica(ask(router, identity, [[1, 0], [2, 0, 0], [3, 0]]))
    assert values_of(response) == [[2.0], [], [6.0]]


def test_faults_are_counted(tmp_path):
    """A frontend of 2017 passes the empty output on, and its client cannot tell; the log says how many there were."""
    with replica(Doubling((2,)), tmp_path) as (router, identity):
        for _ in range(3):
            ask(router, identity, [[1, 0], [2, 0, 0]])
    assert (tmp_path / "replica.log").read_text().splitlines()[-1].endswith("faults of the kind input_size: 3 in all")


@pytest.mark.parametrize(("model", "why"), [(Doubling, "RuntimeError('thirteen')"), (Leaving, "SystemExit('enough')")])
def test_a_model_that_raises_does_not_end_the_replica(tmp_path, model, why):
    """The bad input's output is empty, the others are answered, and the log says why once."""
    with replica(model((1,)), tmp_path) as (router, identity):
        for _ in range(2):
            assert values_of(decode_from_replica(ask(router, identity, [[1], [13]]))) == [[2.0], []]
        assert values_of(decode_from_replica(ask(router, identity, [[4]]))) == [[8.0]]
    assert (tmp_path / "replica.log").read_text().count(why) == 1


def test_an_answer_of_another_dtype_than_described_is_a_fault(tmp_path):
    """It is not sent as if it were right."""
    with replica(Wrong((1,)), tmp_path) as (router, identity):
        assert values_of(decode_from_replica(ask(router, identity, [[1]]))) == [[]]


def test_a_model_of_any_shape_takes_what_comes(tmp_path):
    """Inputs of one size together, of different sizes one by one."""
    model = Doubling(None)
    with replica(model, tmp_path) as (router, identity):
        assert values_of(decode_from_replica(ask(router, identity, [[1, 1], [2, 2]]))) == [[2.0], [4.0]]
        assert values_of(decode_from_replica(ask(router, identity, [[1], [2, 2]]))) == [[2.0], [4.0]]
    assert model.batches[1:] == [(2, 2), (1, 1), (1, 2)]


def test_garbage_and_batches_of_another_type_are_ignored(tmp_path):
    """And counted in the log, once per kind."""
    with replica(Doubling((1,)), tmp_path) as (router, identity):
        for frames in ([b"x"], [b"", b"\x09\0\0\0"], [b"", b"\x09\0\0\0"]):
            router.send_multipart([identity, *frames])
        ints = BatchRequest.of(1, DataType.INTS, [b"\0" * 4])
        router.send_multipart([identity, *encode_batch_request(ints)])
        assert values_of(decode_from_replica(ask(router, identity, [[1]]))) == [[2.0]]
    log = (tmp_path / "replica.log").read_text()
    assert log.count("unknown message type 9") == 1
    assert "a batch of integers" in log


def test_the_log_has_two_lines_for_a_batch(tmp_path):
    """In the seed's form."""
    with replica(Doubling((1,)), tmp_path) as (router, identity):
        ask(router, identity, [[1]], message_id=5)
    log = (tmp_path / "replica.log").read_text()
    assert "Got start of message 5\nrecv: " in log


class Broken(Doubling):
    """Fails at once."""

    def predict(self, batch):
        raise RuntimeError("no weights")


def test_a_model_that_fails_its_warm_up_never_registers(tmp_path):
    """And says which batch it was."""
    with pytest.raises(ModelError, match=r"a batch of 1: RuntimeError\('no weights'\)"):
        serve(Broken((1,)), Settings(log_file=tmp_path / "log"))


def test_a_model_that_answers_otherwise_than_it_says_never_registers(tmp_path):
    """It would fail every query."""

    class Otherwise(Doubling):
        def predict(self, batch):
            return np.zeros((len(batch), 2), np.float32)

    with pytest.raises(ModelError, match=r"answers with float32 \(1, 2\), not float32 \(1, 1\)"):
        serve(Otherwise((1,)), Settings(log_file=tmp_path / "log"))


class Lengths:
    """The length of each text."""

    name, input, output = "double", TensorSpec((), "str"), TensorSpec((1,), "float32")

    def predict(self, batch):
        return np.array([[len(text)] for text in batch], np.float32)


def test_strings_reach_the_model_as_bytes(tmp_path):
    """Of any length, together."""
    with replica(Lengths(), tmp_path, input_type=DataType.STRINGS) as (router, identity):
        request = BatchRequest.of(1, DataType.STRINGS, [b"a", b"", b"ccc"])
        router.send_multipart([identity, *encode_batch_request(request)])
        assert values_of(decode_from_replica(router.recv_multipart()[1:])) == [[1.0], [0.0], [3.0]]


class Echo:
    """Each text as it came, but for those that start with a digit."""

    name, input, output = "double", TensorSpec((), "str"), TensorSpec((), "str")

    def predict(self, batch):
        if any(text[:1].isdigit() for text in batch):
            return np.array([[3.0]] * len(batch))
        return [text.decode() for text in batch]


def test_texts_are_sent_one_for_each_query(tmp_path):
    """Unpadded, in UTF-8; one that is no text fails alone."""
    with replica(Echo(), tmp_path, input_type=DataType.STRINGS) as (router, identity):
        request = BatchRequest.of(1, DataType.STRINGS, ["dé".encode(), b"1", b"abc"])
        router.send_multipart([identity, *encode_batch_request(request)])
        response = decode_from_replica(router.recv_multipart()[1:])
    assert isinstance(response, BatchResponse)
    assert response.output_type is DataType.STRINGS
    assert [bytes(output) for output in response.outputs] == ["dé".encode(), b"", b"abc"]


def test_inputs_whose_sizes_only_add_up_are_not_mixed_up(tmp_path):
    """Three sizes with the first one's average: each is answered for itself."""
    with replica(Doubling(None), tmp_path) as (router, identity):
        assert values_of(decode_from_replica(ask(router, identity, [[1, 1], [2], [3, 3, 3]]))) == [[2.0], [4.0], [6.0]]


def test_a_model_takes_its_other_shapes_as_well(tmp_path):
    """Told apart by their size."""
    model = Doubling((2,))
    model.input = TensorSpec((2,), "float32", ((3,),))
    with replica(model, tmp_path) as (router, identity):
        assert values_of(decode_from_replica(ask(router, identity, [[1, 1, 1], [2, 2, 2]]))) == [[2.0], [4.0]]
        assert values_of(decode_from_replica(ask(router, identity, [[1, 1], [2, 2, 2], [3]]))) == [[2.0], [4.0], []]
