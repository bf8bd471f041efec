"""Finds out which model an address has, and what it takes."""

from __future__ import annotations

import pkgutil

from loadgen.targets.readiness import until_ready
from loadgen.targets.remote import Remote, TargetOptions


async def discover_remote(options: TargetOptions) -> Remote:
    """Find the model at an address.

    Raises:
        TargetError: the server does not answer, or has no such model.
        ConfigError: the options contradict each other.
    """
    remote_class: type[Remote] = pkgutil.resolve_name(options.address.protocol.remote_class)
    if options.wait_ready_s is None:
        return await remote_class.at(options)

    async def found() -> Remote:
        remote = await remote_class.at(options)
        await remote.check_ready()
        return remote

    return await until_ready(found, options.address, options.wait_ready_s)
