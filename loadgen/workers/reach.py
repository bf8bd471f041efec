"""Whether a target can be reached from other machines."""

from __future__ import annotations

from collections.abc import Iterator

from frontend_launch.ports import is_loopback
from loadgen.load.target import TargetSpec
from loadgen.targets.address import Address
from loadgen.targets.balanced import BalancedSpec
from loadgen.targets.clipper import ClipperSpec


def only_here(target: TargetSpec) -> str | None:
    """An address of a target that means something on this machine only; None without one."""
    return next(_local(target), None)


def _local(target: TargetSpec) -> Iterator[str]:
    match target:
        case BalancedSpec(specs):
            for spec in specs:
                yield from _local(spec)
        case ClipperSpec(request_address=address):
            way, _, place = address.partition("://")
            if way == "ipc" or is_loopback(place.rpartition(":")[0].strip("[]")):
                yield address
        case _:
            found = getattr(target, "address", None)  # all others have one
            if isinstance(found, Address) and (found.unix_socket or is_loopback(found.host)):
                yield found.unix_socket or found.text
