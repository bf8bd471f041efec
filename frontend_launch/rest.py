"""The bodies of the management API: JSON in and out of dataclasses, port 1338, all routes ``POST``.

Pure. Each request body is one dataclass that knows its path; what a field may hold follows from its type, and
so do the errors. A request is answered with `SUCCESS`, or with JSON: an object, ``{}`` for what is unknown, or
a list. Members that a body does not name are ignored. Integers are 32 bits wide, signed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, NoReturn, TypeVar, get_type_hints

from frontend_launch.errors import RestError
from frontend_launch.records import Application, ModelVersion, ReplicaRecord
from model_containers.data_types import DataType
from model_containers.errors import WireError

SUCCESS = "Success!"

T = TypeVar("T")


class Body:
    """What is posted to one path."""

    __slots__ = ()
    path: ClassVar[str]


@dataclass(frozen=True, slots=True)
class AddApplication(Body):
    """Register an application; answered with `SUCCESS`."""

    path: ClassVar[str] = "/admin/add_app"
    name: str
    input_type: DataType
    default_output: str
    latency_slo_micros: int


@dataclass(frozen=True, slots=True)
class AddModel(Body):
    """Register a model version and make it the current one; answered with `SUCCESS`."""

    path: ClassVar[str] = "/admin/add_model"
    model_name: str
    model_version: str
    labels: tuple[str, ...]
    input_type: DataType
    container_name: str
    model_data_path: str
    batch_size: int


@dataclass(frozen=True, slots=True)
class AddModelLinks(Body):
    """Link an application to a model, of which the list holds exactly one; answered with `SUCCESS`."""

    path: ClassVar[str] = "/admin/add_model_links"
    app_name: str
    model_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetModelVersion(Body):
    """Make a version the current one; answered with `SUCCESS`."""

    path: ClassVar[str] = "/admin/set_model_version"
    model_name: str
    model_version: str


@dataclass(frozen=True, slots=True)
class SetBatchSize(Body):
    """Change the largest batch that replicas of a model version are given; answered with `SUCCESS`. Ours alone."""

    path: ClassVar[str] = "/admin/set_batch_size"
    model_name: str
    model_version: str
    batch_size: int


@dataclass(frozen=True, slots=True)
class GetAllApplications(Body):
    """Answered with a list of names, or of `ApplicationReply` when verbose."""

    path: ClassVar[str] = "/admin/get_all_applications"
    verbose: bool


@dataclass(frozen=True, slots=True)
class GetApplication(Body):
    """Answered with an `ApplicationReply`, or ``{}``."""

    path: ClassVar[str] = "/admin/get_application"
    name: str


@dataclass(frozen=True, slots=True)
class GetLinkedModels(Body):
    """Answered with a list of model names."""

    path: ClassVar[str] = "/admin/get_linked_models"
    app_name: str


@dataclass(frozen=True, slots=True)
class GetAllModels(Body):
    """Answered with a list of ``name:version``, or of `ModelReply` when verbose."""

    path: ClassVar[str] = "/admin/get_all_models"
    verbose: bool


@dataclass(frozen=True, slots=True)
class GetModel(Body):
    """Answered with a `ModelReply`, or ``{}``."""

    path: ClassVar[str] = "/admin/get_model"
    model_name: str
    model_version: str


@dataclass(frozen=True, slots=True)
class GetAllContainers(Body):
    """Answered with a list of ``name:version:replica``, or of `ReplicaReply` when verbose."""

    path: ClassVar[str] = "/admin/get_all_containers"
    verbose: bool


@dataclass(frozen=True, slots=True)
class GetContainer(Body):
    """Answered with a `ReplicaReply`, or ``{}``."""

    path: ClassVar[str] = "/admin/get_container"
    model_name: str
    model_version: str
    replica_id: int


@dataclass(frozen=True, slots=True)
class GetState(Body):
    """Answered with the application's default output as it is, not JSON; empty when it is unknown."""

    path: ClassVar[str] = "/admin/get_state"
    app_name: str
    uid: int


@dataclass(frozen=True, slots=True)
class ApplicationReply:
    """What REST tells of an application, in the order of its members."""

    input_type: DataType
    default_output: str
    latency_slo_micros: int
    name: str
    linked_models: tuple[str, ...]

    @classmethod
    def of(cls, application: Application, linked_models: tuple[str, ...]) -> ApplicationReply:
        """From what the store keeps.

        Args:
            application: as kept.
            linked_models: names, in order.
        """
        slo = application.latency_slo_micros
        return cls(application.input_type, application.default_output, slo, application.name, linked_models)


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What REST tells of a model version, in the order of its members; the batch size is not among them."""

    model_name: str
    model_version: str
    input_type: DataType
    labels: tuple[str, ...]
    container_name: str
    model_data_path: str
    is_current_version: bool

    @classmethod
    def of(cls, model: ModelVersion, *, is_current_version: bool) -> ModelReply:
        """From what the store keeps.

        Args:
            model: as kept.
            is_current_version: queries of the model go to it.
        """
        what = (model.name, model.version, model.input_type, model.labels)
        return cls(*what, model.container_name, model.model_data_path, is_current_version)


@dataclass(frozen=True, slots=True)
class ReplicaReply:
    """What REST tells of a replica, in the order of its members; ``model_id`` is ``name:version``."""

    model_id: str
    model_name: str
    model_version: str
    model_replica_id: int
    input_type: DataType

    @classmethod
    def of(cls, replica: ReplicaRecord) -> ReplicaReply:
        """From what the store keeps."""
        name, version = replica.model_name, replica.model_version
        return cls(f"{name}:{version}", name, version, replica.replica_id, replica.input_type)


def encode(value: object) -> str:
    """Compact JSON of a body, a reply, or a list of replies or names; a type goes by its canonical name."""
    return json.dumps(value, default=_members, separators=(",", ":"), ensure_ascii=False)


def parse(body_type: type[T], body: bytes) -> T:
    """Read the JSON object of a body or a reply.

    Args:
        body_type: the dataclass of the body or the reply.
        body: as received.

    Raises:
        RestError: not JSON; not an object; a member that is missing or of another type; an unknown input type.
    """
    schema = _schema(body_type)
    return _read(body_type, _load(body, schema), schema)


def parse_optional(reply_type: type[T], body: bytes) -> T | None:
    """Read a reply; None for the ``{}`` that stands for what is unknown.

    Args:
        reply_type: the dataclass of the reply.
        body: as received.

    Raises:
        RestError: see `parse`.
    """
    schema = _schema(reply_type)
    document = _load(body, schema)
    return None if document == {} else _read(reply_type, document, schema)


def parse_list(reply_type: type[T], body: bytes) -> tuple[T, ...]:
    """Read a list of replies.

    Args:
        reply_type: the dataclass of each reply.
        body: as received.

    Raises:
        RestError: not a JSON list, or see `parse`.
    """
    schema = f"a list of {_schema(reply_type)}"
    document = _load(body, schema)
    if not isinstance(document, list):
        raise RestError(f"the body is {_found(document)}; expected {schema}")
    return tuple(_read(reply_type, member, schema) for member in document)


def parse_names(body: bytes) -> tuple[str, ...]:
    """Read a list of names.

    Raises:
        RestError: not a JSON list of strings.
    """
    kind = _KINDS[tuple[str, ...]]
    document = _load(body, kind.name)
    if not kind.admits(document):
        raise RestError(f"the body is {_found(document)}; expected {kind.name}")
    return tuple(document)


@dataclass(frozen=True, slots=True)
class _FieldType:
    """What a field's type asks of its JSON, and how the value is made from it."""

    name: str
    admits: Callable[[Any], bool]
    make: Callable[[Any], Any]


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON's escapes can spell half a surrogate pair, which no UTF-8 can carry back
        return False
    return True


def _is_i32(value: object) -> bool:
    return type(value) is int and -(2**31) <= value < 2**31


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _data_type(text: str) -> DataType:
    if text != text.strip().lower():
        raise RestError(f"unknown input type {text!r}; types are written in lower case, without spaces")
    try:
        return DataType.parse(text)
    except WireError as error:
        raise RestError(str(error)) from None


_KINDS: dict[object, _FieldType] = {
    str: _FieldType("string", _is_text, str),
    int: _FieldType("32-bit integer", _is_i32, int),
    bool: _FieldType("boolean", lambda value: isinstance(value, bool), bool),
    tuple[str, ...]: _FieldType("list of strings", _is_texts, tuple),
    DataType: _FieldType("string", _is_text, _data_type),
}


def _kinds(body_type: type) -> dict[str, _FieldType]:
    hints = get_type_hints(body_type)
    return {field.name: _KINDS[hints[field.name]] for field in fields(body_type)}


def _schema(body_type: type) -> str:
    return "{" + ", ".join(f'"{key}": {kind.name}' for key, kind in _kinds(body_type).items()) + "}"


def _load(body: bytes, schema: str) -> Any:
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.pos}"
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}, which is not UTF-8"
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:  # a constant or a number that Python will not read; neither has a position
        reason = str(error)
    raise RestError(f"the body is not JSON: {reason}; expected {schema}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _read(body_type: type[T], document: Any, schema: str) -> T:
    if not isinstance(document, dict):
        raise RestError(f"the body is {_found(document)}, not an object; expected {schema}")
    kinds = _kinds(body_type)
    for key, kind in kinds.items():
        if key not in document:
            raise RestError(f'key "{key}" is missing; expected {schema}')
        if not kind.admits(document[key]):
            raise RestError(f'key "{key}" must be a {kind.name}, found {_found(document[key])}; expected {schema}')
    return body_type(**{key: kind.make(document[key]) for key, kind in kinds.items()})


def _found(value: object) -> str:
    if isinstance(value, list) and not _is_texts(value):
        return f"a list that holds {_noun(next(member for member in value if not _is_text(member)))}"
    return _noun(value)


def _noun(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer" if _is_i32(value) else "an integer beyond 32 bits"
        case float():
            return "a fractional number"
        case str():
            return "a string" if _is_text(value) else "a string with half a surrogate pair"
        case list():
            return "a list"
    return "an object"


def _members(value: object) -> dict[str, object]:
    """What `json` asks for when it meets one of our dataclasses."""
    assert is_dataclass(value)
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: object) -> object:
    return value.canonical if isinstance(value, DataType) else value
