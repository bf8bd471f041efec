"""The ports of a deployment; 0 means any free one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of both frontends.

    Attributes:
        request: where the query frontend reads requests.
        response: where it hands out client ids and answers.
        replica: where replicas connect.
        metrics: its metrics over HTTP.
        admin: the management frontend's REST.
        redis: the store of frontends that are containers; None where only they reach it.
    """

    request: int = 4456
    response: int = 4455
    replica: int = 7000
    metrics: int = 1337
    admin: int = 1338
    redis: int | None = None
