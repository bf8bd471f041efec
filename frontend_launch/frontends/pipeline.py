"""One model's way through the frontend: queue, metrics and sums. Pure: told the time, never reads it."""

from __future__ import annotations

from collections.abc import Iterable

from frontend_launch.counters import ModelCounters
from frontend_launch.frontends.batching import BatchQueue, Query
from frontend_launch.frontends.metric_definitions import InternalMetrics, ModelMetrics
from frontend_launch.frontends.metrics import Registry
from frontend_launch.frontends.replica import Batch, ModelKey, Replica
from frontend_launch.stages import Stages
from model_containers.data_types import DataType
from model_containers.wire import BatchResponse


class ModelPipeline:
    """One model version that has, or had, a replica.

    Args:
        key: name and version.
        input_type: that of its first replica.
        registry: where its metrics are made.
        internal: the metrics of the whole frontend, which it feeds too.
        now_ns: the time.
    """

    def __init__(
        self, key: ModelKey, input_type: DataType, registry: Registry, internal: InternalMetrics, now_ns: int
    ) -> None:
        self.key, self.input_type = key, input_type
        self.queue = BatchQueue(now_ns)
        self._metrics, self._internal = ModelMetrics(registry, *key, now_ns), internal
        self._stages = Stages()
        """Of replicas that are gone; and of all, how long queries waited."""
        self._batches = self._full_batches = self._batch_size_sum = self._failed_batches = self._uncounted = 0

    def forget(self) -> None:
        """Remove its metrics."""
        self._metrics.remove()

    def push(self, query: Query, now_ns: int) -> None:
        """Queue a query; the metrics have it after `count`.

        Args:
            query: for this pipeline's model.
            now_ns: monotonic clock.
        """
        self._uncounted += 1
        self.queue.push(query, now_ns)

    def count(self) -> None:
        """Tell the metrics of the queries that were queued since the last time, all at once."""
        self._internal.scheduled(self._uncounted)
        self._metrics.queued(self._uncounted)
        self._uncounted = 0

    def sent(self, queries: tuple[Query, ...], maximum: int, now_ns: int) -> None:
        """A batch was sent to a replica.

        Args:
            queries: of the batch, at least one, the oldest first.
            maximum: largest batch at that time, in queries.
            now_ns: monotonic clock.
        """
        self._batches += 1
        self._full_batches += len(queries) == maximum
        self._batch_size_sum += len(queries)
        self._internal.sent(now_ns - queries[0].arrived_ns)
        self._stages.queue_wait.record_few([now_ns - query.arrived_ns for query in queries])

    def answered(self, replica: Replica, batch: Batch, response: BatchResponse, latency_ns: int, now_ns: int) -> None:
        """A replica answered a batch.

        Args:
            replica: which; its stages are added to.
            batch: what it was sent.
            response: with the replica's times, if it reports them.
            latency_ns: since the batch was sent, or since the answer to the one before it.
            now_ns: monotonic clock.
        """
        queries, times = len(batch.queries), response.times
        self._failed_batches += times is not None and bool(times.failed)
        self._internal.answered(queries, now_ns)
        self._metrics.answered(queries, latency_ns, now_ns)
        replica.stages.answered(queries, latency_ns, None if times is None else times.handle_ns)

    def failed(self) -> None:
        """A replica's answer to a batch could not be read."""
        self._failed_batches += 1

    def lost(self, replica: Replica) -> None:
        """A replica is gone; what it did stays."""
        self._stages.add(replica.stages)

    def stages(self, replicas: Iterable[Replica]) -> Stages:
        """All there was until now, with that of the replicas that are there."""
        stages = Stages()
        stages.add(self._stages)
        for replica in replicas:
            stages.add(replica.stages)
        return stages

    def counters(self, maximum: int, now_ns: int) -> ModelCounters:
        """The sums until now.

        Args:
            maximum: largest batch at present, in queries.
            now_ns: monotonic clock.
        """
        return ModelCounters(
            max_batch=maximum,
            queue_length=len(self.queue),
            batches=self._batches,
            full_batches=self._full_batches,
            batch_size_sum=self._batch_size_sum,
            queue_empty_ns=self.queue.empty_ns(now_ns),
            failed_batches=self._failed_batches,
        )
