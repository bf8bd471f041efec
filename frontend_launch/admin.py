"""The REST client of a management frontend, port 1338."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from frontend_launch import http_client, rest
from frontend_launch.errors import AdminError, RestError
from model_containers.data_types import DataType

TIMEOUT_S = 10.0
NO_CONTAINER = "NO_CONTAINER"
"""The container name of a model without an image."""
MAX_ANSWER_BYTES = 64 << 20
"""Of a frontend; the port may be another server's, whose answers have no end."""

MAX_QUOTED_CHARACTERS = 500
"""How much of a server's text an error repeats."""

T = TypeVar("T")


class AdminClient:
    """Use as an async context manager.

    Every method raises AdminError, one line with the URL, when the frontend cannot be reached, refuses, or
    answers something else than the protocol says.

    Args:
        base_url: such as ``http://127.0.0.1:1338``.
        timeout_s: patience for one request.
        token: that the frontend wants; empty for none.
    """

    def __init__(self, base_url: str, timeout_s: float = TIMEOUT_S, token: str = "") -> None:
        self._base_url, self._timeout_s, self._token = base_url.rstrip("/"), timeout_s, token

    async def __aenter__(self) -> AdminClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def register_application(
        self, name: str, input_type: DataType, default_output: str, latency_slo_micros: int
    ) -> None:
        """Register an application; refused when there is one of this name.

        Args:
            name: of an application that is not there yet.
            input_type: of its queries.
            default_output: answered when there is no answer of a model.
            latency_slo_micros: objective in microseconds, see `Application`.
        """
        await self._act(rest.AddApplication(name, input_type, default_output, latency_slo_micros))

    async def register_model(
        self,
        name: str,
        version: str,
        input_type: DataType,
        *,
        batch_size: int,
        labels: tuple[str, ...] = (),
        container_name: str = NO_CONTAINER,
        model_data_path: str = "DEPRECATED",
    ) -> None:
        """Register a model version, which becomes the current one; refused when there is such a version.

        The defaults are what the original's client sends; `batch_size` is the largest batch a replica is given.

        Args:
            name: of the model.
            version: any text; unique for the model.
            input_type: of its inputs.
            batch_size: largest batch, in queries.
            labels: free texts, kept and not interpreted.
            container_name: kept and not interpreted.
            model_data_path: kept and not interpreted.
        """
        await self._act(rest.AddModel(name, version, labels, input_type, container_name, model_data_path, batch_size))

    async def link_model(self, application: str, model: str) -> None:
        """Send an application's queries to a model; refused when they go to another.

        Args:
            application: its name.
            model: its name; the current version is asked.
        """
        await self._act(rest.AddModelLinks(application, (model,)))

    async def set_batch_size(self, name: str, version: str, batch_size: int) -> None:
        """Give a model's replicas batches up to this size from now on; a route that the original does not have.

        Args:
            name: of the model.
            version: of the model.
            batch_size: largest batch, in queries.
        """
        await self._act(rest.SetBatchSize(name, version, batch_size))

    async def applications(self) -> tuple[rest.ApplicationReply, ...]:
        """All applications."""
        body = rest.GetAllApplications(verbose=True)
        return await self._ask(body, lambda answer: rest.parse_list(rest.ApplicationReply, answer))

    async def application(self, name: str) -> rest.ApplicationReply | None:
        """One application; None when it is unknown."""
        body = rest.GetApplication(name)
        return await self._ask(body, lambda answer: rest.parse_optional(rest.ApplicationReply, answer))

    async def linked_models(self, application: str) -> tuple[str, ...]:
        """Names of the models that an application's queries go to."""
        return await self._ask(rest.GetLinkedModels(application), rest.parse_names)

    async def model(self, name: str, version: str) -> rest.ModelReply | None:
        """One model version; None when it is unknown.

        Args:
            name: of the model.
            version: of the model.
        """
        body = rest.GetModel(name, version)
        return await self._ask(body, lambda answer: rest.parse_optional(rest.ModelReply, answer))

    async def current_models(self) -> list[rest.ModelReply]:
        """The current version of each model."""
        body = rest.GetAllModels(verbose=True)
        models = await self._ask(body, lambda answer: rest.parse_list(rest.ModelReply, answer))
        return [model for model in models if model.is_current_version]

    async def replicas(self, model_name: str, model_version: str) -> list[rest.ReplicaReply]:
        """All replicas of a model version that ever registered, gone or not.

        Args:
            model_name: of the model.
            model_version: of the model.
        """
        body = rest.GetAllContainers(verbose=True)
        replicas = await self._ask(body, lambda answer: rest.parse_list(rest.ReplicaReply, answer))
        return [r for r in replicas if (r.model_name, r.model_version) == (model_name, model_version)]

    async def _act(self, body: rest.Body) -> None:
        answer = await self._post(body)
        if answer.strip() != rest.SUCCESS.encode():
            raise AdminError(f"{self._base_url}{body.path}: answers {quote(answer)!r}, not {rest.SUCCESS!r}")

    async def _ask(self, body: rest.Body, read: Callable[[bytes], T]) -> T:
        answer = await self._post(body)
        try:
            return read(answer)
        except RestError as error:
            raise AdminError(f"{self._base_url}{body.path}: answers {quote(answer)!r}: {error}") from None

    async def _post(self, body: rest.Body) -> bytes:
        # One connection per request. A server may close a kept connection (the original after 5 s) just when it is
        # used again; a POST that meets this cannot be sent again. With one connection each, the original's newline
        # after a response never stands before the next.
        url = self._base_url + body.path
        try:
            content = rest.encode(body).encode()
        except UnicodeEncodeError as error:
            raise AdminError(f"{url}: cannot be told {error.object!a}, which is not UTF-8") from None
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await ask(url, self._token, content)
        except TimeoutError:
            raise AdminError(f"{url}: did not answer within {self._timeout_s:g} s; check --admin-port") from None
        except (OSError, ValueError) as error:
            text = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
            raise AdminError(f"{url}: cannot be asked: {text}; check --admin-port") from None
        if answer.status != 200:
            raise AdminError(f"{url}: refuses: {quote(answer.body)} (status {answer.status})")
        return answer.body


def bearing(token: str) -> dict[str, str]:
    """The headers of a request that bears a token; none where it is empty."""
    return {"Authorization": f"Bearer {token}"} if token else {}


async def ask(url: str, token: str, body: bytes | None = None) -> http_client.Answer:
    """Ask a frontend; see `http_client.ask`.

    Args:
        url: of the frontend, with the path.
        token: that the frontend wants; empty for none.
        body: of a POST; None for a GET.

    Raises:
        AdminError: the answer is longer than any of a frontend.
    """
    try:
        return await http_client.ask(url, bearing(token), body, most_bytes=MAX_ANSWER_BYTES)
    except http_client.TooLongError:
        raise AdminError(f"{url}: answers with more than {MAX_ANSWER_BYTES >> 20} MiB; check the port") from None


def quote(answer: bytes) -> str:
    """A server's text on one line, cut when it is long."""
    return " ".join(answer.decode(errors="replace").split())[:MAX_QUOTED_CHARACTERS]
