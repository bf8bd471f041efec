"""The interface of a model on an external server, whatever its protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

from loadgen.checks import finite, instance, whole
from loadgen.constraints import MAX_DURATION_S
from loadgen.errors import ConfigError, FieldError, without_secrets
from loadgen.load.drawing import Range
from loadgen.load.image_layout import ImageOptions
from loadgen.load.inputs import InputSource
from loadgen.load.target import TargetSpec
from loadgen.targets.access import Access
from loadgen.targets.address import Address, secure
from model_containers.model import Description

MOST_CONNECTIONS = 1000
"""Of a client, over HTTP/1.1, where each carries one request at a time."""


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """Where an external server is, and how it is asked.

    Attributes:
        address: of the model.
        access: how the server lets us in.
        shapes: of inputs, without the batch, by name; under the empty name that of the only one.
        connections: how many; None to find out.
        shared_memory: inputs lie in shared memory.
        body: over any HTTP: the template of a request, or ``@FILE`` that holds it.
        answer: over any HTTP: where the answer is in the response.
        metrics_url: of the server's Prometheus metrics; None for where such a server usually has them.
        method: over any HTTP: of requests; None for POST with something to send, and GET without.
        content_type: over any HTTP: of the body; None to see it by the body.
        form: over any HTTP: the fields of a form in place of a body, ``NAME=VALUE`` or ``NAME=@FILE``.
        datatypes: of the Open Inference Protocol: of all inputs, each of which has a shape then, in place of what the
            server says; empty for that.
        parameters: of the Open Inference Protocol: of each request.
        trust_answers: any answer without an error status is good.
        wait_ready_s: patience for the server and the model to be ready; None for none.
    """

    address: Address
    access: Access = field(default_factory=Access)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    connections: int | None = None
    shared_memory: bool = False
    body: str | None = None
    answer: str | None = None
    metrics_url: str | None = None
    method: str | None = None
    content_type: str | None = None
    form: tuple[str, ...] = ()
    datatypes: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    trust_answers: bool = False
    wait_ready_s: float | None = None

    def __post_init__(self) -> None:
        instance(self, "address", of=(Address,))
        instance(self, "access", of=(Access,))
        instance(self, "shapes", "datatypes", "parameters", of=(Mapping,))
        instance(self, "body", "answer", "metrics_url", "method", "content_type", of=(str,))
        instance(self, "form", of=(str,), each=True)
        whole(self, "connections")
        finite(self, "wait_ready_s", most=MAX_DURATION_S)
        tls = [f"{{Access.{name}}}" for name in ("ca", "certificate", "key") if getattr(self.access, name) is not None]
        if tls and not self.address.tls:
            s, them = ("s", "it") if len(tls) == 1 else ("", "them")
            remedy = f"leave {them} out, or use {secure(self.address.text)}"
            raise ConfigError(f"{' and '.join(tls)}: need{s} TLS; {remedy}")
        if self.metrics_url is not None and not _is_url(self.metrics_url):
            remedy = "write it as http://HOST:PORT/metrics"
            raise FieldError("TargetOptions.metrics_url", without_secrets(self.metrics_url), "is not a URL", remedy)
        if self.method is not None and (not _METHOD.fullmatch(self.method) or self.method == "CONNECT"):
            problem = "is not a method that can be sent"
            raise FieldError("TargetOptions.method", self.method, problem, "use one such as GET, POST or PUT")
        if self.content_type is not None and not _CONTENT_TYPE.fullmatch(self.content_type):
            problem = "is not a content type"
            raise FieldError("TargetOptions.content_type", self.content_type, problem, "write it such as text/csv")

        if self.datatypes and (self.datatypes.keys() != self.shapes.keys() or "" in self.shapes):
            problem = "{TargetOptions.shapes}: some inputs have a datatype, and some have none or no name"
            raise ConfigError(f"{problem}; write NAME:DATATYPE:SHAPE for each input, or leave all datatypes out")
        if self.trust_answers and self.answer is not None:
            raise ConfigError(
                "{TargetOptions.trust_answers} and {TargetOptions.answer}: exclude each other; leave one out"
            )
        if not all(isinstance(value, bool | int | float | str) for value in self.parameters.values()):
            raise ConfigError("{TargetOptions.parameters}: not all numbers, truth values and texts; use those")

    def most_in_flight(self, clients: int) -> int | None:
        """Requests that the connections of all client processes can carry at once; None for any number."""
        if self.address.protocol.multiplexed:
            return None
        return (self.connections or MOST_CONNECTIONS) * clients


_METHOD = re.compile(r"[A-Z][A-Z-]{0,30}")
_CONTENT_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}(?: *;[ -~]{0,200})?", re.ASCII)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What requests shall carry.

    Attributes:
        batch_size: rows of a request.
        input: a file or directory; None draws them.
        inputs: how many distinct ones; None means 32 that are drawn, or all of the files.
        seed: of what is drawn.
        ranges: of numbers that are drawn, see `loadgen.config.Inputs`.
        dtype: of numbers that are drawn for JSON, which has no dtypes; None for the usual one.
        image_options: what is done with images.
        allow_nan: floats of files may be no numbers.
    """

    batch_size: int
    input: Path | None
    inputs: int | None
    seed: int
    ranges: Mapping[str, Range] = field(default_factory=dict)
    dtype: str | None = None
    image_options: ImageOptions = ImageOptions()  # noqa: RUF009 - frozen
    allow_nan: bool = False


class Remote(Protocol):
    """A model that is there."""

    __slots__ = ()

    @classmethod
    async def at(cls, options: TargetOptions) -> Self:
        """Find the model at an address.

        Raises:
            TargetError: the server does not answer, or has no such model.
            ConfigError: an option means nothing here, or contradicts another.
        """
        ...

    @property
    def options(self) -> TargetOptions:
        """Where, and how to get in."""
        ...

    @property
    def description(self) -> Description:
        """What is known of it, in the form of the catalogue's models."""
        ...

    @property
    def places(self) -> int:
        """Requests of one row that the server computes at once, as far as it says so; otherwise 1."""
        ...

    def inputs(self, request_options: RequestOptions, region: str | None = None) -> InputSource:
        """What to send.

        Args:
            request_options: what requests shall carry.
            region: the shared memory where inputs lie, if they do.

        Raises:
            ConfigError: the model does not take that.
        """
        ...

    def spec(self, batch_size: int, connections: int, timeout_s: float | None) -> TargetSpec:
        """How to send it.

        Args:
            batch_size: rows of a request.
            connections: at most, of one client.
            timeout_s: patience for one reply; None for any.
        """
        ...

    async def check_ready(self) -> None:
        """See whether the server says that the model takes requests; only `wait_ready_s` asks for it.

        Raises:
            TargetError: it does not take any yet.
        """
        ...

    async def check_available(self) -> None:
        """See whether the server still answers.

        Raises:
            TargetError: it does not.
        """
        ...
