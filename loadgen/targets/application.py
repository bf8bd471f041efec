"""What is known of an application on a frontend that runs, where no model is named that it serves."""

from __future__ import annotations

from frontend_launch.admin import AdminClient
from frontend_launch.errors import AdminError
from frontend_launch.ports import Ports
from loadgen.errors import ConfigError
from model_containers.data_types import DataType
from model_containers.errors import WireError
from model_containers.model import Description, TensorSpec


async def describe_application(
    host: str, ports: Ports, name: str, input_type: str | None, shape: tuple[int, ...] | None
) -> Description:
    """An application as a model of which only the inputs are known; any answer is one of its answers.

    Args:
        host: of the frontends.
        ports: of theirs; the management frontend is asked for the inputs' type.
        name: of the application.
        input_type: of its inputs; None to ask for it.
        shape: of one input; None for any.

    Raises:
        ConfigError: there is no such application, or its inputs' type is not known.
    """
    try:
        known = await _input_type(host, ports, name) if input_type is None else DataType.parse(input_type)
    except WireError as error:
        raise ConfigError(f"{{Deploy.input_type}} {input_type}: {error}") from None
    spec = TensorSpec(shape, known.dtype)
    return Description(
        name=name,
        framework="unknown",
        input=spec,
        output=TensorSpec(None, "float32"),
        takes=(spec.data_type.canonical,),
        weights="unknown",
    )


async def _input_type(host: str, ports: Ports, name: str) -> DataType:
    try:
        async with AdminClient(f"http://{host}:{ports.admin}") as admin:
            application = await admin.application(name)
    except AdminError as error:
        raise ConfigError(f"{error}: say what {name!r} takes with {{Deploy.input_type}}") from None
    if application is None:
        raise ConfigError(f"{host} has no application {name!r}: name one that it has with {{Frontend.application}}")
    return application.input_type
