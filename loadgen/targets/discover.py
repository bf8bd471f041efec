"""Finds out which model an address has, and what it takes."""

from __future__ import annotations

from loadgen.errors import ConfigError
from loadgen.targets.remote import Remote, TargetOptions


async def discover_remote(options: TargetOptions) -> Remote:
    """Find the model at an address.

    Raises:
        TargetError: the server does not answer, or has no such model.
        ConfigError: the options contradict each other.
    """
    try:
        from loadgen.targets.json_endpoint import JsonEndpoint  # noqa: PLC0415 - behind an extra
        from loadgen.targets.oip.model import OipModel  # noqa: PLC0415 - behind an extra
    except ImportError as error:
        raise ConfigError(f"{{External.target}} needs {error.name}: pip install 'loadgen[oip]'") from None
    return JsonEndpoint.of(options) if options.address.protocol == "json" else await OipModel.at(options)
