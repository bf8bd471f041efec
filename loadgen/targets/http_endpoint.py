"""A server that answers over HTTP, JSON or anything: a template makes requests, a path finds the answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Self

from typing_extensions import override

from loadgen.errors import ConfigError, FieldError
from loadgen.load.inputs import DRAWN_INPUTS, InputSource, Pool, request_pool
from loadgen.targets.addresses import open_stream
from loadgen.targets.bodies import INPUT, INPUT_IN_TEXT, INPUTS, Body, Item, NoBody, WholeBody, with_input
from loadgen.targets.body_options import body_of, method_of
from loadgen.targets.client_limits import unreachable
from loadgen.targets.endpoint_inputs import endpoint_items
from loadgen.targets.http1 import HttpSpec
from loadgen.targets.http_answers import AnyAnswers, JsonAnswers, JudgeSpec, steps
from loadgen.targets.http_request import request
from loadgen.targets.remote import Remote, RequestOptions, TargetOptions
from model_containers.model import Description, TensorSpec

CALL_TIMEOUT_S = 5.0
_INFER = re.compile(r"/v2/models/.+/infer/?(?:\?|$)")

AGENT = {"accept": "*/*", "user-agent": "loadgen"}
"""Headers without which some servers refuse a request; the user's own replace them."""


@dataclass(frozen=True, slots=True)
class HttpEndpoint(Remote):
    """Any model that answers over HTTP.

    Attributes:
        options: where, and how to get in.
        body: of a request; None where each input is one, if there are inputs.
        answers: what they should be.
    """

    options: TargetOptions = field()  # `field()`, or the base's property would be its default
    body: Body | None
    answers: JudgeSpec

    @classmethod
    @override
    async def at(cls, options: TargetOptions) -> Self:
        """Reads the options only, since any request would cost the server work.

        Raises:
            ConfigError: they do not say what to send, or contradict each other.
        """
        strict = options.address.protocol.name == "json"
        scheme = options.address.text.partition(":")[0]
        if options.shared_memory:
            raise ConfigError(f"{{TargetOptions.shared_memory}}: means nothing with {scheme}://; leave it out")
        if any(options.shapes):
            problem = f"{{value}}: inputs of {scheme}:// have no names"
            raise FieldError("TargetOptions.shapes", next(iter(options.shapes)), problem, "leave it out")
        if options.parameters:
            name = next(iter(options.parameters))
            raise FieldError("TargetOptions.parameters", name, f"means nothing with {scheme}://", "leave it out")
        looked_at = (strict or options.answer is not None) and not options.trust_answers
        answers = JsonAnswers(steps(options.answer or "")) if looked_at else AnyAnswers()
        return cls(options, body_of(options), answers)

    @property
    @override
    def description(self) -> Description:
        text, strict = TensorSpec((), "str"), self.options.address.protocol.name == "json"
        return Description(
            name=self.options.address.model,
            framework="http+json" if strict else "http",
            input=text,
            output=text,
            takes=("JSON" if strict else "any",),
        )

    @property
    @override
    def places(self) -> int:
        return 1

    @override
    def inputs(self, request_options: RequestOptions, region: str | None = None) -> EndpointInputs:
        """What to send; without a body each input of files is one."""
        options, body = self.options, self.body
        in_path = INPUT_IN_TEXT.search(options.address.path) is not None
        if body is None:
            sends_files = request_options.input is not None and not in_path
            body = WholeBody(options.content_type) if sends_files else NoBody()
        if request_options.batch_size > 1 and not body.lists:
            problem = f'wants "{INPUTS}" in {{TargetOptions.body}}, which becomes a list'
            raise FieldError("External.batch_size", request_options.batch_size, problem)
        if not body.marked and not in_path:
            self._refuse_inputs(request_options)
        if isinstance(body, NoBody) and options.method is None and _INFER.search(options.address.path):
            problem = "takes tensors, and there is nothing to send"
            remedy = f"write oip+{options.address.text}, which finds out what, or name {{TargetOptions.body}}"
            raise FieldError("External.target", options.address.text, problem, remedy)
        return EndpointInputs(options, body, method_of(options, body), request_options, in_path)

    def _refuse_inputs(self, request_options: RequestOptions) -> None:
        """Refuse inputs that have no place in requests."""
        where = "{TargetOptions.body}" if self.body is not None else "the request"
        problem = f'has no place: {where} has no "{INPUT}"'
        for name, value in (("path", request_options.input), ("count", request_options.inputs)):
            if value is not None:
                raise FieldError(f"Inputs.{name}", value, problem, "put it where the input belongs")
        if self.options.shapes:
            written = "x".join(map(str, self.options.shapes[""]))
            raise FieldError("TargetOptions.shapes", written, problem, "put it where the input belongs")

    @override
    def spec(self, batch_size: int, connections: int, timeout_s: float | None) -> HttpSpec:
        options = self.options
        head = options.method == "HEAD"
        trusted = options.trust_answers
        return HttpSpec(options.address, options.access, self.answers, connections, timeout_s, head, trusted)

    @override
    async def check_ready(self) -> None:
        """Only a request shows it, see `loadgen.servers.remote_answer`."""

    @override
    async def check_available(self) -> None:
        """Connects only, since any request would cost the server work."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                _, writer = await open_stream(self.options.address)
            writer.close()
        except OSError as error:
            raise unreachable(f"{self.options.address.shown}: ", error.strerror or "no answer", error) from None


@dataclass(frozen=True, slots=True)
class EndpointInputs(InputSource):
    """Whole requests.

    Inputs of JSON are strings: drawn, or the lines of text files; with a shape, or from npy files, they are (nested)
    lists of numbers, or the strings of such files. An image is the base64 of its file. JSON, JSON Lines and CSV hold
    inputs of any kind, one an entry; a row of several named columns is an object. Elsewhere files are sent as they are.

    Attributes:
        options: where, and how to get in.
        body: of a request.
        method: of HTTP.
        request_options: what requests shall carry.
        in_path: the URL has a place for an input.
    """

    options: TargetOptions
    body: Body
    method: str
    request_options: RequestOptions
    in_path: bool = False

    @property
    def _fixed(self) -> bool:
        return not (self.body.marked or self.in_path)

    @property
    @override
    def text(self) -> str:
        if self._fixed:
            return f"one request, {self.method}"
        if self.request_options.input is not None:
            return f"inputs from {self.request_options.input}"
        shape = self.options.shapes.get("")
        kind = "text" if shape is None else "x".join(map(str, shape)) + " numbers"
        return f"{self.request_options.inputs or DRAWN_INPUTS} seeded inputs of {kind}"

    @property
    @override
    def payload_bytes(self) -> int:
        """Bytes of the first request; all inputs are looked at."""
        batches = self._batches()
        size_bytes = len(self._request(next(batches)))
        for _ in batches:
            pass
        return size_bytes

    @override
    def make(self) -> Pool:
        return request_pool(map(self._request, self._batches()), self.text)

    def _request(self, items: Sequence[Item]) -> bytes:
        try:
            content_type, body = self.body.made(items)
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{self.text}: JSON has no number so large; write it as a text") from None
        address, path = self.options.address, self.options.address.path
        headers = dict(AGENT) if address.protocol.name == "any" else {}
        if content_type is not None:
            headers["content-type"] = content_type
        if content_type is not None or self.method in ("POST", "PUT", "PATCH"):
            headers["content-length"] = str(len(body))
        path = with_input(path, items[0]) if self.in_path else path
        return request(self.method, address, path, self.options.access, headers, body)

    def _batches(self) -> Iterator[Sequence[Item]]:
        """The inputs of each request; the last is filled up with the first ones."""
        if self._fixed:
            yield ()
            return
        rows, shape = self.request_options.batch_size, self.options.shapes.get("")
        inputs = endpoint_items(self.request_options, shape, values=self.body.values)
        some = first = list(islice(inputs, rows))
        if not first:
            raise FieldError("Inputs.path", self.request_options.input, "holds no input", "save one at least")
        while some:
            yield [*some, *islice(cycle(first), rows - len(some))]
            some = list(islice(inputs, rows))
