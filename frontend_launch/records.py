"""The values that the configuration store keeps: applications, models, replicas; pure."""

from __future__ import annotations

from dataclasses import dataclass

from model_containers.data_types import DataType


@dataclass(frozen=True, slots=True)
class Application:
    """What clients send queries to.

    Attributes:
        name: any text.
        input_type: of its queries.
        default_output: the answer when there is no prediction.
        latency_slo_micros: how long a query waits for a replica where its model has none any more.
    """

    name: str
    input_type: DataType
    default_output: str
    latency_slo_micros: int


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a model.

    Attributes:
        name: without commas and colons, which separate the parts of a store's keys.
        version: likewise.
        input_type: of its queries.
        labels: likewise; at least one, since they are kept joined by commas: no labels are one empty label.
        container_name: the image that serves it.
        model_data_path: kept and handed out, otherwise unused.
        batch_size: the largest batch a replica is given.
    """

    name: str
    version: str
    input_type: DataType
    labels: tuple[str, ...]
    container_name: str
    model_data_path: str
    batch_size: int


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """One replica that registered.

    Attributes:
        model_name: what it serves.
        model_version: likewise.
        replica_id: number of earlier registrations of the same model version, never reused.
        connection_id: number of earlier registrations of any.
        input_type: the type it registered with.
    """

    model_name: str
    model_version: str
    replica_id: int
    connection_id: int
    input_type: DataType
