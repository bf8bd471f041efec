"""Says why an answer over HTTP is a failure: its status, the server's words, and what its headers say."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urljoin

from loadgen.errors import one_line, without_secrets
from loadgen.targets.address import Address
from loadgen.targets.http_request import error_text

LOCATION, RETRY_AFTER = b"location", b"retry-after"
"""Headers that say more of a failure, in lower case."""


def failure_text(status: int, body: bytes, noted: Mapping[bytes, bytes], address: Address) -> str:
    """An answer with a status of failure, in one line.

    Args:
        status: of HTTP.
        body: whole.
        noted: headers of it, by lower-case name.
        address: of the server.
    """
    location, retry_after = noted.get(LOCATION), noted.get(RETRY_AFTER)
    if 300 <= status < 400 and location is not None:
        return f"{status}: it redirects to {place(location, address)}; use that for the target"
    text = error_text(status, body)
    return text if retry_after is None else f"{text} (Retry-After: {one_line(retry_after.decode('latin-1'))[:40]})"


def place(location: bytes, address: Address) -> str:
    """Where a redirect leads to, without secrets.

    Args:
        location: as the server says it, maybe relative.
        address: of the server that says it.
    """
    base = f"http{'s' if address.tls else ''}://{address.authority}{address.path}"
    try:
        found = urljoin(base, location.decode("latin-1").strip())
    except ValueError:
        found = location.decode("latin-1")
    return one_line(without_secrets(found))[:200]
