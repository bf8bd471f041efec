"""Reads a query frontend's metrics over HTTP (port 1337)."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any

from frontend_launch import stages
from frontend_launch.admin import ask, quote
from frontend_launch.counters import Counters
from frontend_launch.errors import AdminError
from frontend_launch.http_client import ClosedError
from frontend_launch.stages import Stages

TIMEOUT_S = 5.0


class _ClosedError(AdminError):
    """The connection was closed without an answer, which is how a frontend of 2017 answers an unknown path."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url}: cannot be read: the connection was closed without an answer; check --metrics-port")
        self.url = url


class MetricsClient:
    """Use as an async context manager.

    Args:
        base_url: such as ``http://127.0.0.1:1337``.
        token: that the frontend wants; empty for none.
    """

    def __init__(self, base_url: str, token: str = "") -> None:
        self._base_url, self._token = base_url, token

    async def __aenter__(self) -> MetricsClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def counters(self) -> Counters:
        """The monotone counters of loadgen.

        Raises:
            AdminError: the frontend cannot be reached, or has none, because it is not ours.
        """
        try:
            return Counters.from_json(await self._get("/metrics/loadgen"))
        except _ClosedError as error:
            await self.metrics()
            raise AdminError(
                f"{error.url}: does not exist, as on a frontend of 2017; replicas and stages are known only as far as "
                "/metrics says"
            ) from None

    async def stages(self) -> dict[str, Stages]:
        """Where the time went, by model and by replica.

        Raises:
            AdminError: the frontend cannot be reached, or has none, because it is not ours.
        """
        return stages.from_json(await self._get("/metrics/loadgen/stages"))

    async def metrics(self) -> dict[str, Any]:
        """The metrics in the shape of the original.

        Raises:
            AdminError: the frontend cannot be reached, or answers something else.
        """
        text = await self._get("/metrics")
        try:
            document: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise AdminError(f"{self._base_url}/metrics: does not answer with JSON: {error}") from None
        return document

    async def _get(self, path: str) -> bytes:
        url = self._base_url + path
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await ask(url, self._token)
        except ClosedError:
            raise _ClosedError(url) from None
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error)
            why = "no answer in time" if isinstance(error, TimeoutError) else said or type(error).__name__
            raise AdminError(f"{url}: cannot be read: {why}; check --metrics-port") from None
        if answer.status != 200:
            raise AdminError(f"{url}: refuses: {quote(answer.body)} (status {answer.status})")
        return answer.body
