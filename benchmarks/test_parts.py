"""What the parts of a request's way cost in this process: codecs, queue, recorder; compare within one run."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from frontend_launch import wire
from frontend_launch.frontends.batching import BatchQueue, Query
from frontend_launch.histogram import LatencyHistogram
from loadgen.load.in_flight import InFlight
from loadgen.load.recorder import Recorder
from loadgen.load.target import Outcome, Replies
from model_containers.data_types import Buffer, DataType
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    FromReplica,
    ReplyTimes,
    decode_from_frontend,
    decode_from_replica,
    encode_batch_request,
    encode_batch_response,
)

SIZES = {"8 B": 8, "8 KB": 8192, "299x299x3": 1_072_812}
BATCH = 32


@pytest.mark.parametrize("payload", SIZES)
def test_decode_request(benchmark: BenchmarkFixture, payload: str) -> None:
    """As the query frontend reads it."""
    request = wire.PredictRequest(0, 5, "app", DataType.FLOATS, bytes(SIZES[payload]))
    frames = wire.encode_request_burst(0, [5], "app", DataType.FLOATS, [request.payload])
    assert benchmark(wire.decode_request, frames) == request


@pytest.mark.parametrize("replies", [1, 32])
def test_encode_responses(benchmark: BenchmarkFixture, replies: int) -> None:
    """As the query frontend writes them: a batch at a time."""
    columns = ([b"id"] * replies, [5] * replies, DataType.FLOATS, [b"abcd"] * replies)
    assert len(benchmark(wire.encode_response_burst, *columns)) == 5 * replies


@pytest.mark.parametrize("replies", [1, 32])
def test_decode_responses(benchmark: BenchmarkFixture, replies: int) -> None:
    """As the client reads them: a burst at a time."""
    frames = wire.encode_response_burst([b"id"], [5], DataType.FLOATS, [b"abcd"])[1:] * replies
    assert len(benchmark(wire.decode_response_burst, frames).outputs) == replies


@pytest.mark.parametrize("payload", SIZES)
def test_encode_batch(benchmark: BenchmarkFixture, payload: str) -> None:
    """Joining the inputs, the one copy of a payload, and framing them."""
    inputs = [bytes(SIZES[payload])] * (8 if payload == "299x299x3" else BATCH)

    def encode() -> list[Buffer]:
        return encode_batch_request(BatchRequest.of(1, DataType.FLOATS, inputs))

    assert len(benchmark(encode)) == 8


@pytest.mark.parametrize("payload", SIZES)
def test_decode_batch(benchmark: BenchmarkFixture, payload: str) -> None:
    """As the replica reads it, without a copy."""
    inputs = [bytes(SIZES[payload])] * (8 if payload == "299x299x3" else BATCH)
    frames = encode_batch_request(BatchRequest.of(1, DataType.FLOATS, inputs))
    assert benchmark(decode_from_frontend, frames).count == len(inputs)


def test_batch_response(benchmark: BenchmarkFixture) -> None:
    """As the replica writes it and the frontend reads it."""
    response = BatchResponse(1, DataType.FLOATS, (b"abcd",) * BATCH, ReplyTimes(1, 2, 3))

    def there_and_back() -> FromReplica:
        return decode_from_replica(encode_batch_response(response))

    assert len(benchmark(there_and_back).outputs) == BATCH


def test_queue(benchmark: BenchmarkFixture) -> None:
    """A batch's queries through the queue of a model."""
    query = Query(0, 5, "app", b"abcdefgh", 0)
    queue = BatchQueue(0)

    def through() -> tuple[Query, ...]:
        for _ in range(BATCH):
            queue.push(query, 1)
        return queue.take(BATCH, 2)

    assert len(benchmark(through)) == BATCH


@pytest.mark.parametrize("replies", [1, 32, 512])
def test_record(benchmark: BenchmarkFixture, replies: int) -> None:
    """What happens to replies behind the socket: outcomes, latencies, room in the window."""
    in_flight, recorder = InFlight(10_000), Recorder()
    recorder.begin_measured(0, None)
    done_ns, outcomes = np.full(replies, 2_000_000), np.zeros(replies, dtype=np.uint8)

    def record() -> None:
        first = in_flight.sent
        in_flight.send(replies, 1_000_000)
        ids = np.arange(first, first + replies)
        recorder.replied(Replies(ids, done_ns, outcomes, ()), in_flight.settle(ids))

    benchmark(record)
    assert recorder.record.outcomes[Outcome.COMPLETED] == in_flight.sent


@pytest.mark.parametrize("values", [1, 32, 512])
def test_histogram(benchmark: BenchmarkFixture, values: int) -> None:
    """Values counted, as many at a time."""
    histogram = LatencyHistogram()
    benchmark(histogram.record, np.full(values, 2_000_000))
    assert histogram.total
