"""The client's own ceiling and floor, from trials against a null server, and their shares of a run. Pure.

The ceiling is the highest rate of the same client with the same load, in a closed loop. Its window is that of the run;
for an open loop, the window that a closed loop would have.

The floor is the latency of the same client and its sockets with a server that answers at once: at the run's rate in an
open loop, with one request in flight for each client in a closed one. The floor is what remains of the client at little
load.

By Little's law, a closed loop with window `w` at `X` requests a second has the mean latency `w / X`. No server can
bring it below `w / ceiling`, so the share of the ceiling is also the client's share of the mean latency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from frontend_launch.quantities import number
from loadgen.constraints import Count

BUSY_SHARE = 0.9
"""From this share of its cores on, the client is the limit of a trial; below it, the client can do more."""

DISTURBED_SHARE = 0.05
"""From this share of time waited for a core, or of its cores used by others, other load disturbed a trial."""

NEAR_CEILING = 0.8
LARGE_FLOOR = 0.25
"""Shares from which on the reader is warned."""

RUNGS = 10
"""Rates of floors in a decade: close rates share a trial, whose rate is at most 12% off."""

LEAST_FLOOR_RPS = 100.0
"""Lower rates have too few requests in a trial for a p99."""

FLOOR_BELOW = 0.9
"""A floor is measured up to this share of the ceiling; above it, requests would wait for the client."""

PERCENTILES = ("p50", "p99")


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of a short run against a null server.

    Attributes:
        answers: answers in its measured part.
        rate_rps: answers a second.
        latency_ms: p50 and p99, as those of a run.
        client_busy: CPU time of the clients as a share of their cores, or of one core each if they have more.
        server_busy: CPU time of the null server, in cores.
        waited: share of the time that a client process waited for a core, other processes of loadgen aside.
        others_busy: share of the client's cores that other processes used.
    """

    answers: int
    rate_rps: float
    latency_ms: Mapping[str, float]
    client_busy: float
    server_busy: float
    waited: float
    others_busy: float

    @property
    def is_lower_bound(self) -> bool:
        """Whether something else was the limit: the null server, or other load on their cores."""
        return self.client_busy < BUSY_SHARE

    @property
    def is_disturbed(self) -> bool:
        """Other load slowed the client: it can do more than the trial says."""
        return max(self.waited, self.others_busy) >= DISTURBED_SHARE


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The trials of a client.

    Attributes:
        burst: as much load as the client can make.
        floor: little load; None where the rate of the run is above the ceiling.
        floor_load: the load of the floor, in words.
    """

    burst: Trial
    floor: Trial | None
    floor_load: str


@dataclass(frozen=True, slots=True)
class ClientCeiling:
    """What the client can do by itself, against a null server, and how much of that the run used.

    Attributes:
        ceiling_rps: requests a second at most, with the load of the run.
        at_least: the client was not the limit of that trial, or was disturbed: its ceiling may be higher, and its share
            lower.
        used_share: throughput of the run as a share of the ceiling; None where nothing was measured.
        null_server_busy: cores that the null server used in that trial.
        floor_load: the load of the floor, in words.
        floor_requests: answers that the floor rests on; 0 where it was not measured.
        floor_ms: latency of the client against the null server: p50 and p99; None where it was not measured.
        floor_share: the floor as a share of the latency of the run: p50 and p99; None where one is not known.
        disturbed: other load slowed the client in the trial of the ceiling.
        floor_disturbed: the same in the trial of the floor, which may be lower.
    """

    ceiling_rps: float
    at_least: bool
    used_share: float | None
    null_server_busy: float
    floor_load: str
    floor_requests: Count
    floor_ms: Mapping[str, float | None]
    floor_share: Mapping[str, float | None]
    disturbed: bool = False
    floor_disturbed: bool = False


def floor_rate_rps(rate_rps: float, ceiling_rps: float) -> float | None:
    """The rate of the floor's trial for a run; None where the run's rate is too close to the ceiling.

    Args:
        rate_rps: of the run, above 0.
        ceiling_rps: of the client.
    """
    if rate_rps > FLOOR_BELOW * ceiling_rps:
        return None
    rung = max(LEAST_FLOOR_RPS, 10 ** (round(RUNGS * math.log10(rate_rps)) / RUNGS))
    return min(float(f"{rung:.3g}"), max(rate_rps, FLOOR_BELOW * ceiling_rps))


def of_run(ceiling: Ceiling, throughput_rps: float, latency_ms: Mapping[str, float | None]) -> ClientCeiling:
    """The ceiling beside a run.

    Args:
        ceiling: of its client.
        throughput_rps: of the run; 0 where nothing was measured.
        latency_ms: of the run, by name.
    """
    burst, floor = ceiling.burst, ceiling.floor
    floor_ms: dict[str, float | None] = {
        name: None if floor is None else floor.latency_ms.get(name) for name in PERCENTILES
    }
    return ClientCeiling(
        ceiling_rps=burst.rate_rps,
        at_least=burst.is_lower_bound or burst.is_disturbed,
        used_share=throughput_rps / burst.rate_rps if throughput_rps else None,
        null_server_busy=burst.server_busy,
        floor_load=ceiling.floor_load,
        floor_requests=0 if floor is None else floor.answers,
        floor_ms=floor_ms,
        floor_share={name: _share(own_ms, latency_ms.get(name)) for name, own_ms in floor_ms.items()},
        disturbed=burst.is_disturbed,
        floor_disturbed=floor is not None and floor.is_disturbed,
    )


def refuted(ceiling: ClientCeiling) -> tuple[bool, bool]:
    """Whether a run did more than the ceiling that was found, and whether it was faster than the floor."""
    faster = any(share is not None and share > 1 for share in ceiling.floor_share.values())
    return (ceiling.used_share or 0.0) > 1, faster


def _share(own_ms: float | None, whole_ms: float | None) -> float | None:
    return None if own_ms is None or not whole_ms else own_ms / whole_ms


def warnings(ceiling: ClientCeiling) -> list[str]:
    """Notes on a run in which the client itself made a large part of the figures; disturbed trials give no note."""
    lines: list[str] = []
    if not ceiling.disturbed and ceiling.used_share is not None and ceiling.used_share >= NEAR_CEILING:
        if ceiling.at_least:
            lines.append(
                f"this run did {ceiling.used_share:.0%} of what the client did against a null server "
                f"({number(ceiling.ceiling_rps, 3)} requests/s), where the client was not the limit: whether it limits "
                "this run is not known"
            )
        else:
            lines.append(
                f"this run used {ceiling.used_share:.0%} of what the client can do "
                f"({number(ceiling.ceiling_rps, 3)} requests/s): the client may be the limit; try more client processes"
            )
    if ceiling.floor_disturbed:
        return lines
    large = [
        f"{share:.0%} of the {name}"
        for name, share in ceiling.floor_share.items()
        if share is not None and LARGE_FLOOR <= share <= 1
    ]
    if large:
        lines.append(
            f"the client and its sockets take up to {' and '.join(large)} (a null server at {ceiling.floor_load}): "
            "the server's own latency is lower than what is reported"
        )
    if disturbed := [name for name, share in ceiling.floor_share.items() if share is not None and share > 1]:
        lines.append(
            f"the client's part of the {' and '.join(disturbed)} is not known: against a null server at "
            f"{ceiling.floor_load} it was more than in this run, so other load disturbed it"
        )
    return lines
