"""What is known of an application on a frontend that runs, where no model is named that it serves."""

from __future__ import annotations

from pathlib import Path

from frontend_launch.admin import AdminClient
from frontend_launch.errors import AdminError
from frontend_launch.ports import Ports
from loadgen.errors import ConfigError, FieldError
from model_containers import credentials
from model_containers.credentials import Credentials
from model_containers.data_types import DataType
from model_containers.errors import WireError
from model_containers.model import Description, TensorSpec


async def describe_application(
    host: str,
    ports: Ports,
    name: str,
    input_type: str | None,
    shape: tuple[int, ...] | None,
    credentials_file: Path | None = None,
) -> Description:
    """An application as a model of which only the inputs are known; any answer is one of its answers.

    Args:
        host: of the frontends.
        ports: of theirs; the management frontend is asked for the inputs' type.
        name: of the application.
        input_type: of its inputs; None to ask for it.
        shape: of one input; None for any.
        credentials_file: that of the deployment; None where it wants none.

    Raises:
        ConfigError: there is no such application, or its inputs' type is not known; or the file cannot be read.
    """
    token = "" if credentials_file is None else read_credentials(credentials_file).token
    try:
        known = await _input_type(host, ports, name, token) if input_type is None else DataType.parse(input_type)
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


def read_credentials(path: Path) -> Credentials:
    """The credentials of the deployment that is connected to.

    Raises:
        FieldError: they cannot be read.
    """
    try:
        return credentials.read(path)
    except ValueError as error:
        raise FieldError("Frontend.credentials", path, str(error)) from None


async def _input_type(host: str, ports: Ports, name: str, token: str) -> DataType:
    try:
        async with AdminClient(f"http://{host}:{ports.admin}", token=token) as admin:
            application = await admin.application(name)
    except AdminError as error:
        raise ConfigError(f"{error}; name what {name!r} takes with {{Deploy.input_type}}") from None
    if application is None:
        raise ConfigError(f"application {name!r}: {host} has none of that name; name one with {{Frontend.application}}")
    return application.input_type
