"""The sections of the results document that no other module makes: plain values, checked when a file is read.

Units end names: ``_s`` seconds, ``_ms`` milliseconds, ``_ns`` nanoseconds, ``_rps`` requests a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from frontend_launch.counters import Counters
from loadgen.constraints import Count, Positive
from loadgen.load.summary import LatenciesMs

Way = Annotated[str, Meta(extra_json_schema={"enum": ["tcp", "ipc"]})]
Runtime = Annotated[str, Meta(extra_json_schema={"enum": ["process", "docker", "ray"]})]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What was served.

    Attributes:
        name: in the catalogue, or on the server.
        framework: that computes it, or the server's name.
        weights: which weights.
        xla: the model was compiled with XLA.
    """

    name: str
    framework: str
    weights: str
    xla: bool = False


@dataclass(frozen=True, slots=True)
class PlacementRow:
    """Where one process ran.

    Attributes:
        node: the machine's name.
        role: ``client``, a role of the infrastructure, or ``replica-0``, ``replica-1``, …
        pid: the process.
        cores: its cores, ascending.
        gpu: the number of its GPU; None without one.
        shared: another process of the plan has one of its cores.
        numa_nodes: memory nodes of its cores; empty where they are unknown.
        shares_physical: another process of the plan has a thread of one of its physical cores.
    """

    node: str
    role: str
    pid: Count
    cores: list[Count]
    gpu: Count | None
    shared: bool
    numa_nodes: list[Count] = field(default_factory=list)
    shares_physical: bool = False


@dataclass(frozen=True, slots=True)
class SentInputs:
    """What was sent.

    Attributes:
        source: where the inputs come from, in words.
        type: their data type.
        rows: inputs that one request to an external server carries; None for a query frontend.
        target: the address of the model on an external server; None for a query frontend.
    """

    source: str
    type: str
    rows: Positive | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedArrivals:
    """The schedule of an open loop.

    Attributes:
        text: the schedule in words.
        rate_rps: its rate; None for a schedule that varies.
    """

    text: str
    rate_rps: float | None


@dataclass(frozen=True, slots=True)
class ComparedAnswers:
    """Answers that were compared with the right ones.

    Attributes:
        every: one answer in this many was compared.
        tolerance: the largest difference of a right answer.
        compared: answers compared.
        mismatched: those that were wrong.
    """

    every: Positive
    tolerance: Annotated[float, Meta(ge=0)]
    compared: Count
    mismatched: Count


@dataclass(frozen=True, slots=True)
class InFlightWindow:
    """What may be in flight at most.

    Attributes:
        requests: number of requests.
        payload_bytes: payload of one request.
        bytes: payload of all of them.
    """

    requests: Count
    payload_bytes: Count
    bytes: Count


@dataclass(frozen=True, slots=True)
class Threshold:
    """A condition that was not to come true.

    Attributes:
        condition: as it was asked for.
        found: what was measured, in words.
        crossed: the condition came true; None where undecided: the run is invalid, or too little is known.
    """

    condition: str
    found: str
    crossed: bool | None


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The 2017 description of a deployment; of a frontend that ran already, what it says of itself.

    Attributes:
        name: of the model.
        input_type: the data type of its inputs.
        model_image: its container image; empty where that is unknown.
        allocated_cpus: cores of all replicas; none where they are unknown.
        cpus_per_replica: cores of each; 0 where that is unknown.
        slo: the latency objective, microseconds; 0 where that is unknown.
        num_replicas: number of replicas; 0 where that is unknown.
        gpus: GPUs of the replicas that have one; none where they are unknown.
        batch_size: the largest batch a replica may be given; 0 where that is unknown.
        runtime: how its parts were started; None where that is unknown.
    """

    name: str
    input_type: str
    model_image: str
    allocated_cpus: list[Count]
    cpus_per_replica: Count
    slo: Count
    num_replicas: Count
    gpus: list[Count]
    batch_size: Count
    runtime: Runtime | None = "process"


@dataclass(frozen=True, slots=True)
class Transport:
    """How the query frontend was reached, as far as it is known.

    Attributes:
        client: how the client reached it; None where that is unknown.
        replicas: how the replicas reached it; None where that is unknown.
    """

    client: Way | None = None
    replicas: Way | None = None


@dataclass(frozen=True, slots=True)
class StageTime:
    """The time of one stage.

    Attributes:
        count: how many times were measured.
        time_ms: mean and percentiles by name; the mean alone from an external server.
        histogram: the times, as those of `Histograms`; None from an external server.
    """

    count: Positive
    time_ms: LatenciesMs
    histogram: str | None = None


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Where the time of one model or one replica went; None for a stage that was not counted.

    Attributes:
        batch_sizes: batches by their size.
        queue_wait: from when the query frontend read a query until its batch was sent; of models only.
        rpc: a batch with a replica, as the frontend saw it.
        compute: the model call, as the replica says.
        queue: a request in the queue of an external server.
        compute_input: an external server prepares a request's inputs.
        compute_infer: an external server runs the model.
        compute_output: an external server prepares a request's outputs.
    """

    batch_sizes: Mapping[str, Positive]
    queue_wait: StageTime | None = None
    rpc: StageTime | None = None
    compute: StageTime | None = None
    queue: StageTime | None = None
    compute_input: StageTime | None = None
    compute_infer: StageTime | None = None
    compute_output: StageTime | None = None


@dataclass(frozen=True, slots=True)
class RequestStage:
    """One stage of the requests that were timed.

    Attributes:
        count: requests of which it is known, with those that they stand for.
        mean_ms: mean time.
        p50_ms: its median.
        p99_ms: its 99th percentile.
        share: its part of the latencies of all these requests.
    """

    count: Positive
    mean_ms: float
    p50_ms: float
    p99_ms: float
    share: float


@dataclass(frozen=True, slots=True)
class RequestStages:
    """Where the time of single requests went; the shares add up to 1. None for a stage that is not known of any.

    Attributes:
        timed: requests that were timed: all, or evenly spread ones.
        requests: how many these stand for: each for those since the one before it.
        schedule_lag: from the planned time until the client set about sending.
        client_queue: until ZeroMQ, or the connection, had taken the request.
        way_there: until the query frontend read it.
        frontend_queue: until its batch was the batch under way of a replica.
        rpc: from then until the frontend handed the response on, less the model call.
        model: the model call, as the replica says; part of `rpc` where it says nothing.
        way_back: until the response lay with the client.
        client_reading: until the client had read it.
        network: the ways there and back together, where client and frontend have two clocks.
        server: everything between sending and reading, where the server does not say.
    """

    timed: Positive
    requests: Positive
    schedule_lag: RequestStage | None = None
    client_queue: RequestStage | None = None
    way_there: RequestStage | None = None
    frontend_queue: RequestStage | None = None
    rpc: RequestStage | None = None
    model: RequestStage | None = None
    way_back: RequestStage | None = None
    client_reading: RequestStage | None = None
    network: RequestStage | None = None
    server: RequestStage | None = None


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """What a server of the Open Inference Protocol counted in the measured part.

    Attributes:
        succeeded: requests answered.
        failed: requests that failed.
        inferences: inputs computed.
        executions: batches computed.
        mean_batch: mean size of a batch; None without any.
        request_mean_ms: mean time of a request in the server; None without any.
        client_replies: replies of any kind that the client got; None in files from before it was recorded.
    """

    succeeded: int
    failed: int
    inferences: int
    executions: int
    mean_batch: float | None
    request_mean_ms: float | None
    client_replies: int | None = None


@dataclass(frozen=True, slots=True)
class ClientMetrics:
    """The 2017 series, one entry per logging interval.

    Attributes:
        thrus: requests a second.
        p99_lats: 99th percentile of the latency, seconds; None where nothing completed, or among lost requests.
        mean_lats: mean latency, seconds; None where nothing completed.
    """

    thrus: list[float]
    p99_lats: list[float | None]
    mean_lats: list[float | None]


@dataclass(frozen=True, slots=True)
class Histograms:
    """Latencies as base64 HdrHistogram V2 blobs, nanoseconds.

    Attributes:
        latency: of the measured part.
        intervals: one per logging interval; None for an interval without answers.
        service: from when a request was sent; None where a window says when to send.
        lag: how much later than planned requests were sent; None where a window says when to send.
    """

    latency: str
    intervals: list[str | None]
    service: str | None = None
    lag: str | None = None


ClipperMetrics = Mapping[str, list[Mapping[str, Mapping[str, str]]]]
"""The query frontend's metrics in the shape of 2017, which names its members after what they count: a free mapping."""

ServerMetrics = Mapping[str, Annotated[list[float | None], Meta(min_length=2, max_length=2)]]
"""Prometheus metrics by name and labels, before and after; None for a value that is NaN or infinite."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the server itself said of the measured part; each None where it did not.

    Attributes:
        clipper_metrics: the query frontend's metrics at the end.
        frontend_counters: our frontend's counters.
        stages: where the time went, by model and replica.
        server_statistics: counts of a server of the Open Inference Protocol.
        server_metrics: its Prometheus metrics before and after, by name and labels.
    """

    clipper_metrics: ClipperMetrics | None = None
    frontend_counters: Counters | None = None
    stages: Mapping[str, StageTimes] | None = None
    server_statistics: ServerStatistics | None = None
    server_metrics: ServerMetrics | None = None
