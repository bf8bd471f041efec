"""Asks a server about itself and its model, over gRPC or HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from typing_extensions import override

from loadgen.errors import ConfigError, FieldError, MisfitError, TargetError, UnreachableError
from loadgen.targets.access import Access, grpc_library
from loadgen.targets.address import Address
from loadgen.targets.client_limits import unreachable
from loadgen.targets.http_failures import place
from loadgen.targets.http_request import error_text
from loadgen.targets.oip.metadata import (
    ModelMetadata,
    ServerMetadata,
    model_config,
    model_metadata,
    optional_inputs,
    server_metadata,
    unsupported,
)
from loadgen.targets.oip.tensors import Tensor
from loadgen.targets.port_probe import explained

TIMEOUT_S = 10.0
"""Timeout of one answer."""

_NO_ANSWER = f"no answer within {TIMEOUT_S:.0f} s; is a server running there?"

_SERVICE = "/inference.GRPCInferenceService/"
_LIBRARY_WORDS = re.compile(
    r"failed to connect to all addresses; last error: \w+: \S+: (?:Failed to connect to remote host: )?"
)
"""What gRPC says before the reason."""


class NotOfferedError(TargetError):
    """The server does not have the requested extension."""


class OipAdmin(Protocol):
    """The questions to a server; all answers in the form of the protocol's JSON.

    Each method raises `TargetError` when the server cannot be reached or refuses, and `NotOfferedError` when it lacks
    the extension.
    """

    async def server_metadata(self) -> Mapping[str, Any]:
        """Server metadata."""
        ...

    async def model_metadata(self) -> Mapping[str, Any]:
        """Model metadata."""
        ...

    async def model_ready(self) -> bool:
        """Whether the model is ready."""
        ...

    async def config(self) -> Mapping[str, Any]:
        """Extension "model configuration"."""
        ...

    async def statistics(self) -> Mapping[str, Any]:
        """Extension "statistics"."""
        ...

    async def register_shared_memory(self, region: str, key: str, size_bytes: int) -> None:
        """Extension "system shared memory": register a region.

        Args:
            region: its name in later requests.
            key: of POSIX shared memory, with the leading slash.
            size_bytes: from its beginning.
        """
        ...

    async def unregister_shared_memory(self, region: str) -> None:
        """The same extension: unregister the region."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


def admin_at(address: Address, access: Access) -> OipAdmin:
    """The server at an address, not yet asked.

    Args:
        address: of the server and of the model to ask about.
        access: certificates and headers for it.

    Raises:
        ConfigError: a certificate cannot be used, or gRPC is not installed.
    """
    return _GrpcAdmin(address, access) if address.protocol.name == "grpc" else _HttpAdmin(address, access)


async def describe(
    address: Address, access: Access, inputs: tuple[Tensor, ...] = (), *, trusted: bool = False
) -> tuple[ServerMetadata, ModelMetadata]:
    """The server and the model at an address.

    Args:
        address: of the server and of the model.
        access: certificates and headers for it.
        inputs: what the model takes, in place of what the server says, which need not say anything then.
        trusted: see `model_metadata`.

    Raises:
        TargetError: it cannot be reached, or has no such model.
        ConfigError: see `admin_at`; or the model takes what cannot be sent.
    """
    server = admin_at(address, access)
    try:
        try:
            about = server_metadata(await server.server_metadata())
            model = model_metadata(await server.model_metadata(), inputs, trusted=trusted)
        except NotOfferedError:
            if not inputs:
                raise
            return ServerMetadata("server", "", ()), ModelMetadata(address.model, "", inputs, ())
        try:
            config = await server.config()
            max_batch, instances = model_config(config)
        except TargetError:  # an extension: a server without it is loaded all the same
            return about, model
        if (reason := unsupported(config)) is not None:
            raise ConfigError(f"{address.text}: {model.name} {reason}; name another model")
        optional = optional_inputs(config)
        return about, replace(model, max_batch=max_batch, instances=instances, optional=optional)
    except TargetError as error:
        known = type(error)(access.concealed(f"{address.shown}: {error.unworded}"))
        if isinstance(error, UnreachableError):
            raise await explained(known, address) from None
        raise type(error)(f"{known.unworded}{_other_name(address)}") from None
    finally:
        await server.close()


def _other_name(address: Address) -> str:
    """The remedy where the version may be the rest of a name with a slash."""
    if not address.version or address.version.isdigit():
        return ""
    model, version = address.model, address.version
    return f"; if the name of the model is {model}/{version}, write {model}%2F{version}"


class _HttpAdmin(OipAdmin):
    """A server that is asked over HTTP."""

    def __init__(self, address: Address, access: Access) -> None:
        import aiohttp  # noqa: PLC0415 - 11 MB that gRPC does not need

        self._address, self._errors = address, (aiohttp.ClientError, OSError)
        context = access.ssl_context() if address.tls else True
        path = address.unix_socket
        if path and address.tls:
            problem, remedy = "cannot be asked through TLS over HTTP", "use oip+grpcs://, or oip+http://"
            raise FieldError("Address.unix_socket", path, problem, remedy)
        connector = aiohttp.UnixConnector(path) if path else aiohttp.TCPConnector(ssl=context)
        self._session = aiohttp.ClientSession(
            address.base_url,
            headers={"host": address.authority, **dict(access.headers)},
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            connector=connector,
        )
        self._server, self._model = address.server_path, address.model_path

    @override
    async def server_metadata(self) -> Mapping[str, Any]:
        try:
            return await self._ask("GET", self._server)
        except NotOfferedError as error:
            other = f"any other HTTP server is loaded with http{'s' * self._address.tls}://"
            raise NotOfferedError(f"{error.unworded}; {other}") from None

    @override
    async def model_metadata(self) -> Mapping[str, Any]:
        try:
            return await self._ask("GET", self._model)
        except NotOfferedError as error:
            slash = (
                "; many servers take no slash in a name over HTTP; use oip+grpc://"
                if "/" in self._address.model
                else ""
            )
            raise TargetError(f"no model {self._address.model!r}: {error.unworded}{slash}") from None

    @override
    async def model_ready(self) -> bool:
        return (await self._ask("GET", f"{self._model}/ready")).get("ready", True) is True

    @override
    async def config(self) -> Mapping[str, Any]:
        return await self._ask("GET", f"{self._model}/config")

    @override
    async def statistics(self) -> Mapping[str, Any]:
        return await self._ask("GET", f"{self._model}/stats")

    @override
    async def register_shared_memory(self, region: str, key: str, size_bytes: int) -> None:
        body = {"key": key, "offset": 0, "byte_size": size_bytes}
        await self._ask("POST", f"{self._server}/systemsharedmemory/region/{region}/register", body)

    @override
    async def unregister_shared_memory(self, region: str) -> None:
        await self._ask("POST", f"{self._server}/systemsharedmemory/region/{region}/unregister", {})

    @override
    async def close(self) -> None:
        await self._session.close()

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        try:
            async with self._session.request(
                method, path, json=body, allow_redirects=False, server_hostname=self._address.tls_server_name or None
            ) as response:
                content = await response.read()
                status, location = response.status, response.headers.get("location")
        except TimeoutError:
            raise UnreachableError(_NO_ANSWER) from None
        except self._errors as error:
            raise unreachable("", _reason(error), getattr(error, "os_error", None) or error) from None
        if 300 <= status < 400 and location is not None:
            found = place(location.encode(), self._address)
            raise MisfitError(f"{path}: redirects to {found}; use that for {{External.target}}")
        if status in (404, 405, 501):
            raise NotOfferedError(f"{path}: answered with {error_text(status, content)}")
        if status >= 400:
            refused = MisfitError if status in (401, 403) else TargetError
            raise refused(f"{path}: answered with {error_text(status, content)}")
        try:
            document = json.loads(content or b"{}")
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, Mapping):
            raise TargetError(f"{path}: not answered with JSON; is this a server of the Open Inference Protocol?")
        return document


class _GrpcAdmin(OipAdmin):
    """A server that is asked over gRPC, through its own library."""

    def __init__(self, address: Address, access: Access) -> None:
        from loadgen.targets.oip import inference_pb2  # noqa: PLC0415 - behind an extra

        self._grpc = grpc_library()
        self._pb: Any = inference_pb2
        self._model = {"name": address.model, "version": address.version}
        self._channel = access.channel(address)
        self._metadata = access.metadata

    @override
    async def server_metadata(self) -> Mapping[str, Any]:
        return await self._ask("ServerMetadata", {})

    @override
    async def model_metadata(self) -> Mapping[str, Any]:
        return await self._ask("ModelMetadata", self._model)

    @override
    async def model_ready(self) -> bool:
        return (await self._ask("ModelReady", self._model)).get("ready") is True

    @override
    async def config(self) -> Mapping[str, Any]:
        answer: Mapping[str, Any] | None = (await self._ask("ModelConfig", self._model)).get("config")
        if answer is None:
            raise TargetError("ModelConfig is answered with none")
        return answer

    @override
    async def statistics(self) -> Mapping[str, Any]:
        return await self._ask("ModelStatistics", self._model)

    @override
    async def register_shared_memory(self, region: str, key: str, size_bytes: int) -> None:
        request = {"name": region, "key": key, "offset": 0, "byte_size": size_bytes}
        await self._ask("SystemSharedMemoryRegister", request)

    @override
    async def unregister_shared_memory(self, region: str) -> None:
        await self._ask("SystemSharedMemoryUnregister", {"name": region})

    @override
    async def close(self) -> None:
        await self._channel.close()

    async def _ask(self, method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - behind an extra

        call = self._channel.unary_unary(
            _SERVICE + method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=getattr(self._pb, f"{method}Response").FromString,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S + 1.0):
                answer = await call(
                    getattr(self._pb, f"{method}Request")(**fields), metadata=self._metadata, timeout=TIMEOUT_S
                )
        except TimeoutError:
            raise UnreachableError(_NO_ANSWER) from None
        except self._grpc.aio.AioRpcError as error:
            raise self._refusal(method, error) from None
        document: Mapping[str, Any] = MessageToDict(
            answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return document

    def _refusal(self, method: str, error: Any) -> TargetError:
        code, details = error.code(), " ".join((error.details() or "").split())[:300]
        if code is self._grpc.StatusCode.UNAVAILABLE:
            return unreachable("", _LIBRARY_WORDS.sub("", details), details)
        if code is self._grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnreachableError(_NO_ANSWER)
        if code is self._grpc.StatusCode.UNIMPLEMENTED:
            return NotOfferedError(f"{method} is not offered: {details}")
        codes = self._grpc.StatusCode
        refused = MisfitError if code in (codes.UNAUTHENTICATED, codes.PERMISSION_DENIED) else TargetError
        return refused(f"{method} is answered with {code.name}: {details}")


def _before_tls(cause: BaseException) -> bool:
    """Whether a handshake was cut off, which leaves neither an error number nor a text."""
    return isinstance(cause, ConnectionError) and not cause.errno


def _reason(error: Exception) -> str:
    """The cause of a connection's error in one line, without the address that the library adds."""
    import aiohttp  # noqa: PLC0415 - as above

    if isinstance(error, aiohttp.ClientResponseError):
        return "what answers there does not speak HTTP"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientConnectionResetError):
        return "it closed the connection without an answer, as a port that is not for HTTP does"
    cause: BaseException = getattr(error, "os_error", None) or error
    if isinstance(error, aiohttp.ClientConnectorSSLError | aiohttp.ClientConnectorError) and _before_tls(cause):
        return "it closed the connection instead of speaking TLS"
    if isinstance(cause, ssl.SSLError):  # its number is not the system's
        return " ".join(str(cause).split())[:200]
    number = getattr(cause, "errno", None)
    text = os.strerror(number) if number and number > 0 else getattr(cause, "strerror", None) or str(cause)
    return " ".join(text.split())[:200] or type(error).__name__
