"""Formats the catalogue of models, and where this machine departs from their defaults."""

from __future__ import annotations

from collections.abc import Sequence

from frontend_launch.integers import core_ranges
from frontend_launch.launch.topology import Topology
from loadgen.model_defaults import model_defaults
from loadgen.report.columns import table
from model_containers.model import Description, TensorSpec


def models_text(models: Sequence[Description], topology: Topology, width: int | None = None) -> str:
    """The catalogue: a table, and below it where this machine departs from a model's defaults.

    Args:
        models: of the catalogue, in the order of the table.
        topology: of this machine.
        width: of the terminal, as in `table`.
    """
    rows = [("name", "framework", "input", "types", "output", "cores", "each", "gpus")]
    notes: list[str] = []
    for model in models:
        rows.append(
            (
                model.name,
                model.framework,
                _shape(model.input),
                ", ".join(model.takes),
                f"{_shape(model.output)} {model.answer}",
                core_ranges(model.cpus),
                str(model.cpus_per_replica),
                core_ranges(model.gpus),
            )
        )
        notes += model_defaults(model, topology).notes
    return "\n".join([table(rows, width), *(f"here: {note}" for note in notes)])


def _shape(spec: TensorSpec) -> str:
    return "any" if spec.shape is None else "x".join(map(str, spec.shape))
