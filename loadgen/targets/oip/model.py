"""A model on a server of the Open Inference Protocol."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from typing_extensions import override

from loadgen.errors import ConfigError, FieldError, MisfitError, TargetError
from loadgen.load.drawing import check_ranges
from loadgen.load.inputs import DRAWN_INPUTS
from loadgen.load.target import TargetSpec
from loadgen.targets.http1 import HttpSpec, TensorAnswers
from loadgen.targets.http_answers import AnyAnswers
from loadgen.targets.oip.admin import NotOfferedError, admin_at, describe
from loadgen.targets.oip.grpc_target import OipGrpcSpec
from loadgen.targets.oip.metadata import ModelMetadata, ServerMetadata
from loadgen.targets.oip.requests import Contents, FileContents, RequestInputs, SeededContents, seeded_count
from loadgen.targets.oip.tensors import BYTES, DTYPES, Tensor, check_datatype, number_dtype, resolve, with_rows
from loadgen.targets.remote import Remote, RequestOptions, TargetOptions
from model_containers.model import Description, TensorSpec


@dataclass(frozen=True, slots=True)
class OipModel(Remote):
    """A model, as its server describes it.

    Attributes:
        options: address and access.
        server: the server's metadata.
        model: the model's metadata.
    """

    options: TargetOptions = field()  # `field()`, or the base's property would be its default
    server: ServerMetadata
    model: ModelMetadata

    @classmethod
    @override
    async def at(cls, options: TargetOptions) -> Self:
        """Ask the server.

        Raises:
            TargetError: it cannot be reached, has no such model, or cannot share memory where that is wanted.
            ConfigError: an option does not apply to this server.
        """
        for name in ("body", "answer", "method", "content_type", "form"):
            value = getattr(options, name)
            if value not in (None, ()):
                problem = "means something with http:// and http+json:// only"
                shown = value if isinstance(value, str) else ", ".join(value)
                raise FieldError(f"TargetOptions.{name}", shown, problem, "leave it out")
        inputs = tuple(
            Tensor(name, datatype, (-1, *options.shapes[name])) for name, datatype in options.datatypes.items()
        )
        for tensor in inputs:
            check_datatype(tensor)
        server, model = await describe(options.address, options.access, inputs, trusted=options.trust_answers)
        if model.max_batch == 0:  # without a batch before their own dimensions
            inputs = tuple(replace(tensor, shape=tensor.shape[1:]) for tensor in inputs)
            model = replace(model, inputs=inputs or model.inputs)
        if options.shared_memory and "system_shared_memory" not in server.extensions:
            raise MisfitError(
                f"{{TargetOptions.shared_memory}}: {server.name} does not have the extension; leave it out"
            )
        return cls(options, server, model)

    @property
    @override
    def description(self) -> Description:
        model, server = self.model, self.server
        return Description(
            name=self.options.address.model,
            framework=" ".join(filter(None, (server.name, server.version))),
            input=_spec(model.inputs),
            output=_spec(model.outputs),
            takes=tuple(tensor.datatype for tensor in model.inputs),
        )

    @property
    @override
    def places(self) -> int:
        return max(1, self.model.max_batch or 1) * (self.model.instances or 1)

    @override
    def inputs(self, request_options: RequestOptions, region: str | None = None) -> RequestInputs:
        contents = self.contents(request_options)
        address, access = self.options.address, self.options.access
        outputs = self._outputs(request_options.batch_size)
        return RequestInputs(contents, address, access, outputs, self._binary, region, self.options.parameters)

    @property
    def _binary(self) -> bool:
        """Whether requests over HTTP have tensors as bytes."""
        return self.options.shared_memory or "binary_tensor_data" in self.server.extensions

    def contents(self, request_options: RequestOptions) -> Contents:
        """The inputs of requests.

        Raises:
            ConfigError: the model does not take them.
        """
        model, batch_size = self.model, request_options.batch_size
        self._check(batch_size)
        rows = batch_size if model.batched else None
        only = self.options.shapes.get("")
        given = [self.options.shapes.get(tensor.name, only) for tensor in model.inputs]
        if request_options.input is None:
            sent = self._drawn(request_options)
            shaped = zip(model.inputs, given, strict=True)
            tensors = tuple(resolve(tensor, rows, shape) for tensor, shape in shaped if tensor in sent)
            count = seeded_count(tensors, request_options.inputs or DRAWN_INPUTS)
            if request_options.dtype is not None:
                problem = "means nothing for a model that says what it takes"
                raise FieldError("Inputs.dtype", request_options.dtype, problem, "leave it out")
            check_ranges(request_options.ranges, {tensor.name: number_dtype(tensor.datatype) for tensor in tensors})
            return SeededContents(tensors, count, request_options.seed, request_options.ranges, model.optional)
        for tensor, shape in zip(model.inputs, given, strict=True):
            if shape is not None:
                resolve(tensor, rows, shape)
        as_json = self.options.address.protocol.name != "grpc" and not self._binary
        if as_json and request_options.allow_nan:
            raise ConfigError("{Inputs.allow_nan}: this server takes JSON over HTTP, which has none; use oip+grpc://")
        return FileContents(
            path=request_options.input,
            tensors=tuple(tensor if rows is None else with_rows(tensor, rows) for tensor in model.inputs),
            batched=model.batched,
            most=request_options.inputs,
            shapes=tuple(given),
            as_json=as_json,
            image_options=request_options.image_options,
            allow_nan=request_options.allow_nan,
            optional=model.optional,
        )

    def _drawn(self, request_options: RequestOptions) -> tuple[Tensor, ...]:
        """The inputs of drawn requests: optional ones that the user names; all of known shape where none is shaped."""
        model, shapes = self.model, self.options.shapes
        named = {*shapes, *request_options.ranges}
        sent = tuple(
            tensor
            for tensor in model.inputs
            if tensor.name in named
            or tensor.name not in model.optional
            or (not shapes and min(tensor.shape[model.batched :], default=1) >= 0)
        )
        return sent or model.inputs

    def _check(self, batch_size: int) -> None:
        """Refuse options that the model does not take."""
        model, shapes = self.model, self.options.shapes
        if not model.inputs:
            problem = f"{self.options.address.text}: the server does not say what {model.name} takes"
            raise ConfigError(f"{problem}; name it for each input, as {{TargetOptions.shapes}} NAME:FP32:4")
        if not model.batched and batch_size > 1:
            raise FieldError(
                "External.batch_size", batch_size, f"{{value}}: {model.name} takes no batches", "leave it out"
            )
        if model.max_batch and batch_size > model.max_batch:
            raise FieldError(
                "External.batch_size", batch_size, f"{{value}}: {model.name} takes {model.max_batch} at most"
            )
        unknown = [name for name in shapes if name and name not in {tensor.name for tensor in model.inputs}]
        if unknown:
            names = ", ".join(tensor.name for tensor in model.inputs)
            problem = f"{{value}}: {model.name} has no such input"
            raise FieldError("TargetOptions.shapes", unknown[0], problem, f"name one of {names}")
        if "" in shapes and len(model.inputs) > 1:
            names = ",".join(f"{tensor.name}:…" for tensor in model.inputs)
            problem = f"{{TargetOptions.shapes}}: {model.name} has several inputs"
            raise ConfigError(f"{problem}; write {{TargetOptions.shapes}} {names}")

    def _outputs(self, batch_size: int) -> tuple[Tensor, ...]:
        """The outputs that answers must carry, with the rows of the request."""
        outputs = self.model.outputs
        if not self.model.batched:
            return outputs
        return tuple(
            replace(tensor, shape=(batch_size, *tensor.shape[1:])) if tensor.shape[:1] == (-1,) else tensor
            for tensor in outputs
        )

    @override
    def spec(self, batch_size: int, connections: int, timeout_s: float | None) -> TargetSpec:
        address, access, outputs = self.options.address, self.options.access, self._outputs(batch_size)
        if address.protocol.name == "grpc":
            return OipGrpcSpec(address, access, outputs, connections, timeout_s, self.options.trust_answers)
        answers = AnyAnswers() if self.options.trust_answers else TensorAnswers(outputs)
        return HttpSpec(address, access, answers, connections, timeout_s, trusted=self.options.trust_answers)

    @override
    async def check_ready(self) -> None:
        server = admin_at(self.options.address, self.options.access)
        try:
            ready = await server.model_ready()
        except NotOfferedError:  # it has told of the model, which is all that can be known
            return
        finally:
            await server.close()
        if not ready:
            raise TargetError(f"{self.options.address.shown}: {self.model.name} is not ready")

    @override
    async def check_available(self) -> None:
        server = admin_at(self.options.address, self.options.access)
        try:
            await server.server_metadata()
        finally:
            await server.close()


def _spec(tensors: tuple[Tensor, ...]) -> TensorSpec:
    """The first tensor, in the form of the catalogue's models."""
    if not tensors:
        return TensorSpec(None, "uint8")
    first = tensors[0]
    return TensorSpec(None, "str" if first.datatype == BYTES else _WIRE.get(DTYPES[first.datatype], "uint8"))


_WIRE = {"int32": "int32", "float32": "float32", "float64": "float64"}
"""Dtypes that our own models' descriptions have too."""
