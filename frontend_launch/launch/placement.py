"""A plan of which process runs on which cores and GPU, and where a machine departs from it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from frontend_launch.integers import core_ranges


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where one process runs.

    Attributes:
        node: the machine's name.
        role: ``client``, a role of the infrastructure, or ``replica-0``, ``replica-1``, …
        cores: its cores, ascending.
        gpu: the number of its GPU, or None.
        shared: whether another process of the plan has one of its cores.
        numa_nodes: the numbers of the memory nodes of its cores, ascending; empty when they are unknown.
        shares_physical: whether another process of the plan has a thread of one of its physical cores.
        siblings: its cores that are threads of one physical core, for each that has several of them.
    """

    node: str
    role: str
    cores: tuple[int, ...]
    gpu: int | None
    shared: bool
    numa_nodes: tuple[int, ...] = ()
    shares_physical: bool = False
    siblings: tuple[tuple[int, ...], ...] = ()

    @property
    def text(self) -> str:
        """Its role and cores, in words."""
        return f"{self.role}: cores {core_ranges(self.cores)}{f' ({self.sharing})' if self.sharing else ''}"

    @property
    def sharing(self) -> str:
        """What it shares with other processes, in words; empty for nothing."""
        return "shared" if self.shared else "physical core shared" if self.shares_physical else ""


COORDINATOR = "coordinator"
"""The role of this process where all clients are workers' on other machines."""

OWN_ROLES = ("client", COORDINATOR)
"""Roles of this process."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A plan.

    Attributes:
        assignments: one per process, the client first, then the infrastructure, then the replicas, all in order.
        overlaps: a line for each overlap that is there because the request allowed it.
    """

    assignments: tuple[Assignment, ...]
    overlaps: tuple[str, ...] = ()

    def __getitem__(self, role: str) -> Assignment:
        for assignment in self.assignments:
            if assignment.role == role:
                return assignment
        raise KeyError(role)

    def of(self, service: str) -> tuple[Assignment, ...]:
        """The assignments of a service's processes, one or several, in order."""
        return tuple(row for row in self.assignments if row.role == service or row.role.startswith(f"{service}-"))

    @property
    def own(self) -> Assignment:
        """The assignment of this process: the client, or the coordinator of clients elsewhere."""
        return self.assignments[0]

    @property
    def started(self) -> tuple[Assignment, ...]:
        """The assignments of what a launcher starts, in order."""
        return tuple(row for row in self.assignments if row.role not in OWN_ROLES)

    def coordinated(self) -> Placement:
        """The same with this process as the coordinator of clients elsewhere, which sends nothing."""
        return replace(self, assignments=(replace(self.own, role=COORDINATOR), *self.assignments[1:]))

    @property
    def here(self) -> tuple[Assignment, ...]:
        """The assignments on the machine of the first, which is that of this process where it has one."""
        return tuple(row for row in self.assignments if row.node == self.assignments[0].node)

    def text_of(self, row: Assignment) -> str:
        """An assignment in words, with its machine where that is not the one of the first."""
        return row.text if row in self.here else f"{row.text} of {row.node}"

    @property
    def replicas(self) -> tuple[Assignment, ...]:
        """The replicas' assignments, in order."""
        return self.of("replica")


def difference(placement: Placement, observed: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Where the kernel's affinity is not the plan's: a line for each role that differs; empty when all agree.

    Args:
        placement: the plan.
        observed: the cores that the kernel reports for each role that was looked at; none for one that does not run.
    """
    lines = []
    for role, cores in observed.items():
        planned = placement[role].cores
        if set(cores) != set(planned):
            found = f"may run on {core_ranges(cores)}" if cores else "does not run"
            lines.append(f"{role} is planned on {core_ranges(planned)} and {found}")
    return lines
