"""The metrics of a query frontend, under the original's names, and the events that feed them."""

from __future__ import annotations

from frontend_launch.frontends.metrics import Counter, Histogram, M, Meter, RatioCounter, Registry


class InternalMetrics:
    """Metrics of the whole frontend.

    Args:
        registry: gets the metrics.
        now_ns: monotonic clock; rates begin here.
    """

    def __init__(self, registry: Registry, now_ns: int) -> None:
        self._delay = registry.add("internal:rpc_request_queueing_delay", Histogram("microseconds", 2056))
        self._throughput = registry.add("internal:aggregate_model_throughput", Meter(now_ns))
        self._scheduled = registry.add("internal:aggregate_num_predictions", Counter())

    def scheduled(self, queries: int) -> None:
        """Queries were given to a model's queue."""
        self._scheduled.add(queries)

    def sent(self, waited_ns: int) -> None:
        """A batch was sent whose oldest query waited this time; the original has this histogram but never fed it."""
        self._delay.record((waited_ns // 1000,))

    def answered(self, queries: int, now_ns: int) -> None:
        """A replica answered a batch.

        Args:
            queries: of the batch.
            now_ns: monotonic clock.
        """
        self._throughput.mark(queries, now_ns)


class ApplicationMetrics:
    """Metrics of one application.

    Args:
        registry: gets the metrics.
        application: name, part of the metrics' names.
        now_ns: monotonic clock; rates begin here.
    """

    def __init__(self, registry: Registry, application: str, now_ns: int) -> None:
        prefix = f"app:{application}:"
        self._latency = registry.add(prefix + "prediction_latency", Histogram("microseconds", 4096))
        self._throughput = registry.add(prefix + "prediction_throughput", Meter(now_ns))
        self._predictions = registry.add(prefix + "num_predictions", Counter())
        self._defaults = registry.add(prefix + "default_prediction_ratio", RatioCounter())

    def answered(self, arrived_ns: list[int], *, default: bool, now_ns: int) -> None:
        """Queries that arrived at these times were answered now.

        Args:
            arrived_ns: one for each query, monotonic clock.
            default: they got the application's default output.
            now_ns: monotonic clock.
        """
        self._latency.record([(now_ns - arrived) // 1000 for arrived in arrived_ns])
        self._throughput.mark(len(arrived_ns), now_ns)
        self._predictions.add(len(arrived_ns))
        self._defaults.add(len(arrived_ns) if default else 0, len(arrived_ns))


class ModelMetrics:
    """Metrics of one model version; made when its first replica registers.

    Args:
        registry: gets the metrics.
        name: of the model.
        version: of the model.
        now_ns: monotonic clock; rates begin here.
    """

    def __init__(self, registry: Registry, name: str, version: str, now_ns: int) -> None:
        self._names: list[str] = []
        self._registry, self._prefix = registry, f"model:{name}:{version}:"
        self._latency = self._add("prediction_latency", Histogram("microseconds", 4096))
        self._throughput = self._add("prediction_throughput", Meter(now_ns))
        self._predictions = self._add("num_predictions", Counter())
        self._cache_hits = self._add("cache_hit_ratio", RatioCounter())
        self._batch_size = self._add("batch_size", Histogram("queries", 4096))

    def _add(self, name: str, metric: M) -> M:
        self._names.append(self._prefix + name)
        return self._registry.add(self._names[-1], metric)

    def remove(self) -> None:
        """Have the registry forget them."""
        self._registry.remove(self._names)

    def queued(self, queries: int) -> None:
        """Queries were queued; there is no cache, so they never hit."""
        self._cache_hits.add(0, queries)

    def answered(self, queries: int, latency_ns: int, now_ns: int) -> None:
        """A replica answered a batch.

        Args:
            queries: of the batch.
            latency_ns: since the batch was sent, or since the answer to the one before it.
            now_ns: monotonic clock.
        """
        self._latency.record([latency_ns // 1000])
        self._throughput.mark(queries, now_ns)
        self._predictions.add(queries)
        self._batch_size.record([queries])
