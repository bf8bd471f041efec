"""Where a model's replicas run when the user does not say: its own defaults, as far as a machine has room."""

from __future__ import annotations

from dataclasses import dataclass, replace

from frontend_launch.integers import core_ranges
from frontend_launch.launch.cluster import ClusterTopology
from frontend_launch.launch.topology import Topology
from loadgen.served import Deploy
from model_containers.model import Description


@dataclass(frozen=True, slots=True)
class ModelDefaults:
    """Where a model's replicas run on a machine when the user does not say.

    Attributes:
        cpus: the cores of all replicas; None leaves them to the planner.
        cpus_per_replica: of each.
        gpus: the model's that exist.
        notes: a line for each of the model's own defaults that the machine does not have.
    """

    cpus: tuple[int, ...] | None
    cpus_per_replica: int
    gpus: tuple[int, ...]
    notes: tuple[str, ...]


def model_defaults(
    model: Description,
    topology: Topology,
    replicas: int = 1,
    cpus: tuple[int, ...] | None = None,
    cpus_per_replica: int | None = None,
    gpus: tuple[int, ...] | None = None,
) -> ModelDefaults:
    """A model's defaults, as far as a machine has room for them.

    Args:
        model: the model.
        topology: the machine.
        replicas: how many are to run.
        cpus: the cores of those that get no GPU, if the user said.
        cpus_per_replica: the cores of each, if the user said.
        gpus: if the user said.
    """
    notes = []
    if gpus is None:
        gpus = tuple(gpu for gpu in model.gpus if gpu in topology.gpus)
        if gpus != model.gpus:
            notes.append(f"{model.name}'s default GPU {core_ranges(model.gpus)}: not here")
    on_cpus = replicas - min(replicas, len(gpus))
    # Client and frontends want one core at least, unless the user says what the replicas take.
    room = (len(topology.cores) - (cpus is None)) // replicas
    if cpus is not None and on_cpus:
        room = min(len(cpus) // on_cpus, room)
    each = cpus_per_replica or max(1, min(model.cpus_per_replica, room))
    if each < model.cpus_per_replica and cpus_per_replica is None:
        notes.insert(0, f"{model.name}'s default {model.cpus_per_replica} cores per replica: there is room for {each}")
    if cpus is None and model.cpus:
        if set(model.cpus) <= set(topology.cores) and on_cpus * each <= len(model.cpus):
            cpus = model.cpus
        else:
            notes.append(
                f"{model.name}'s default cores {core_ranges(model.cpus)}: not here, or too few; others are planned"
            )
    return ModelDefaults(cpus, each, gpus, tuple(notes))


def defaults_on(cluster: ClusterTopology, model: Description, replicas: int, serve: Deploy) -> ModelDefaults:
    """A model's defaults on the node with most cores, with its share of the replicas; cores are not named there.

    Args:
        cluster: whose nodes have the replicas.
        model: the model.
        replicas: how many are to run.
        serve: what the user said.
    """
    gpus = tuple(sorted({gpu for node in cluster.nodes for gpu in node.gpus}))
    largest = replace(max(cluster.nodes, key=lambda node: len(node.cores)), gpus=gpus)
    share = -(-replicas // len(cluster.nodes))
    return model_defaults(replace(model, cpus=()), largest, share, None, serve.cpus_per_replica, serve.gpus)
