"""Where queries spend their time inside a deployment: exact histograms per model and per replica.

``GET /metrics/loadgen/stages`` answers with them. They only ever grow, so two readings subtract. Pure values and
their JSON form, shared by the frontend that fills them and the client that reads them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from frontend_launch.errors import AdminError
from frontend_launch.histogram import LatencyHistogram


class Stages:
    """The stages of one model, or of one of its replicas.

    Attributes:
        queue_wait: from when the frontend read a query until its batch was sent; of models only.
        rpc: of each batch, the time it was a replica's batch under way, as the frontend saw it.
        compute: of each batch, the model call, as the replica says; a foreign one says nothing.
        batch_sizes: batches answered, by the number of their queries.
    """

    __slots__ = ("batch_sizes", "compute", "queue_wait", "rpc")

    def __init__(self) -> None:
        self.queue_wait = LatencyHistogram()
        self.rpc = LatencyHistogram()
        self.compute = LatencyHistogram()
        self.batch_sizes: Counter[int] = Counter()

    def answered(self, queries: int, rpc_ns: int, compute_ns: int | None) -> None:
        """A batch was answered; `compute_ns` is None where the replica did not say.

        Args:
            queries: of the batch.
            rpc_ns: since the batch was sent, or since the answer to the one before it.
            compute_ns: in the model call; None where the replica did not say.
        """
        self.rpc.record_few((rpc_ns,))
        if compute_ns is not None:
            self.compute.record_few((compute_ns,))
        self.batch_sizes[queries] += 1

    def add(self, other: Stages) -> None:
        """Add what another counted."""
        self.queue_wait.add(other.queue_wait)
        self.rpc.add(other.rpc)
        self.compute.add(other.compute)
        self.batch_sizes.update(other.batch_sizes)

    def since(self, earlier: Stages) -> Stages:
        """What was counted between an earlier reading and this one."""
        later = Stages()
        later.queue_wait = self.queue_wait.since(earlier.queue_wait)
        later.rpc = self.rpc.since(earlier.rpc)
        later.compute = self.compute.since(earlier.compute)
        later.batch_sizes = self.batch_sizes - earlier.batch_sizes
        return later

    def to_row(self) -> dict[str, Any]:
        """As JSON takes it: histograms in HdrHistogram's format, what is empty left out."""
        histograms = {"queue_wait": self.queue_wait, "rpc": self.rpc, "compute": self.compute}
        return {
            **{name: histogram.encode() for name, histogram in histograms.items() if histogram.total},
            "batch_sizes": {str(size): count for size, count in sorted(self.batch_sizes.items())},
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Stages:
        """Read what `to_row` made."""
        stages = cls()
        for name in ("queue_wait", "rpc", "compute"):
            if name in row:
                setattr(stages, name, LatencyHistogram.decode(row[name]))
        stages.batch_sizes = Counter({int(size): count for size, count in row["batch_sizes"].items()})
        return stages


def json_parts(stages: Iterable[tuple[str, Stages]]) -> Iterator[bytes]:
    """JSON of all of a frontend in parts, by ``name:version`` and ``name:version:replica id``."""
    before = "{"
    for key, row in stages:
        yield f"{before}{json.dumps(key)}: {json.dumps(row.to_row())}".encode()
        before = ", "
    yield b"{}" if before == "{" else b"}"


def from_json(text: str | bytes) -> dict[str, Stages]:
    """Read what `json_parts` wrote.

    Raises:
        AdminError: the text is not such a reading.
    """
    try:
        return {key: Stages.from_row(row) for key, row in json.loads(text).items()}
    except Exception as error:  # HdrHistogram's decoder raises whatever its layers do
        raise AdminError(f"the frontend's stages cannot be read: {error}") from None


def merged(readings: Iterable[Mapping[str, Stages]]) -> dict[str, Stages]:
    """What several frontends counted, all in all."""
    whole: dict[str, Stages] = {}
    for reading in readings:
        for key, row in reading.items():
            whole.setdefault(key, Stages()).add(row)
    return whole


def since(later: Mapping[str, Stages], earlier: Mapping[str, Stages]) -> dict[str, Stages]:
    """What was counted between two readings, of everything the later one knows.

    Args:
        later: by model, or by model and replica.
        earlier: the same at an earlier time; what it does not know counts from nothing.
    """
    none = Stages()
    return {key: row.since(earlier.get(key, none)) for key, row in later.items()}
