"""Runs that were brought about on real deployments, with the right answer to each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadgen.judging.evidence import ClientGaps, Evidence, ReplicaUse, RoleUse
from loadgen.judging.validity import certificate, invalid, notes
from loadgen.judging.verdict import judge

SITUATIONS = json.loads((Path(__file__).parent / "situations.json").read_text())

SATURATED = {"replicas": ("yes", "near"), "frontend": ("no",), "client": ("no",), "load": ("yes", "near", "no")}

ROUNDING = 0.005
"""Outside load was recorded in whole percents: it is taken at the least that it can have been."""

FAULTS = {"client": "client on time", "hung": "replicas answer", "quota": "CPU quota", "outside": "outside load"}
NOTES = {"note": "outside load", "straggler": "straggler", "died": "replicas alive"}


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation["situation"])
def test_the_conclusion_is_right(situation):
    """The fault that makes the run invalid, or the limit with what has to be said beside it."""
    evidence = evidence_of(situation)
    checks = certificate(evidence)
    verdict, failed = judge(evidence, checks), invalid(checks)
    said = {line.partition(":")[0] for line in notes(evidence, checks)}
    if failed is not None:
        assert (verdict.saturated, verdict.limit) == ("undecided", "unknown")
        assert failed.name in {FAULTS[right.partition(":")[2]] for right in situation["right"] if ":" in right}
        assert failed.remedy
    else:
        assert verdict.saturated in SATURATED[verdict.limit]
        assert any(
            verdict.limit == limit and (not note or NOTES[note] in said)
            for limit, _, note in (right.partition("+") for right in situation["right"])
        )


def evidence_of(situation: dict[str, Any]) -> Evidence:
    """The evidence of a recorded run, which has no run-queue wait, with what was injected beside the counters."""
    counters, injected = situation["frontend_counters"], situation["injected"]
    recorded = situation["evidence"]
    duration_s = counters["now_ns"] / 1e9
    stall_s = injected["client_stall_s"]
    return Evidence(
        **recorded | {"throughput_rps": recorded["throughput_rps"] or situation["throughput_rps"]},
        duration_s=duration_s,
        latency_p99_ms=situation["latency_ms"]["p99"],
        roles=_roles(situation, duration_s),
        client_gaps=_gaps(stall_s, recorded["in_flight_mean"] / situation["throughput_rps"]) if stall_s else None,
        replica_use=_replicas(counters["replicas"], injected["longest_batch_s"]),
        lost={"defaulted": counters["defaults"]},
    )


def _gaps(stall_s: float, covered_s: float) -> ClientGaps:
    return ClientGaps(1, stall_s, stall_s, 1.0, max(0.0, stall_s - covered_s))


def _roles(situation: dict[str, Any], duration_s: float) -> list[RoleUse]:
    placement = {row["role"]: row["cores"] for row in situation["placement"]}
    outside, processes = situation["outside_cpu_on_the_cores_of"], situation["processes"]
    roles = []
    for role, cores in placement.items():
        sharing = [other for other, others in placement.items() if set(cores) & set(others)]
        roles.append(
            RoleUse(
                role=role,
                cores=cores,
                cpu_share=processes[role]["cpu_mean"],
                held_back_share=min(1.0, processes[role]["throttled_s"] / duration_s),
                own_share=sum(processes[other]["cpu_mean"] for other in sharing) / len(cores),
                outside_share=max(0.0, outside.get(role, 0.0) - ROUNDING) / len(cores),
            )
        )
    return roles


def _replicas(rows: dict[str, Any], longest_s: float) -> list[ReplicaUse]:
    replicas = [
        ReplicaUse(
            name=name,
            alive=row["alive"],
            batches=row["batches"],
            compute_ms=row["compute_ns"] / row["timed_batches"] / 1e6,
            median_batch_s=row["in_flight_ns"] / row["batches"] / 1e9,
        )
        for name, row in rows.items()
    ]
    hung = min(replicas, key=lambda replica: replica.batches)
    return [replace(each, longest_batch_s=longest_s) if each is hung else each for each in replicas]
