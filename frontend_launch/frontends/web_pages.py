"""Tells requests of web pages from those of clients by their headers, and says why one is refused; pure.

A browser sends requests of any page to any address, also to loopback ports that only this machine reaches. It marks
them: ``Origin`` and ``Sec-Fetch-Site`` say which page asks, ``Host`` says by which name. Clients of 2017, curl and
loadgen send none of these marks and reach the frontends by an address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

SAFE_METHODS = frozenset({"GET", "HEAD"})
MAX_QUOTED_CHARACTERS = 200
"""How much of a header a refusal repeats, as escaped text."""

_HOST = re.compile(r"(\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[^:\[\]]+))(:[0-9]*)?")
"""An address or a name, and perhaps a port."""

_OWN_SITE = ("none", "same-origin")
"""Of ``Sec-Fetch-Site``: a person typed the address, or a page of the same server asks."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served.

    Attributes:
        status: of the answer.
        text: one line that names the header and the remedy.
    """

    status: int
    text: str


def refusal(method: str, headers: Mapping[str, str], names: Collection[str] | None) -> Refusal | None:
    """Why a request is refused, or None.

    Args:
        method: of the request.
        headers: of the request; names are found in any case.
        names: in lower case, by which the server may be asked, beside addresses and ``localhost``; None for any.
    """
    host, origin, site = headers.get("Host"), headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if host is not None and names is not None and not _known(host, names):
        # A page's own host name may lead to this machine; it is the page's, and no name of this server.
        return Refusal(
            403, f"Host {_quoted(host)}: not a name of this server; use its address, or start it with --allow-host NAME"
        )
    if origin is not None and (host is None or origin.lower() not in _origins(host.lower())):
        return Refusal(403, f"Origin {_quoted(origin)}: a page of another server; requests of web pages are refused")
    if site is not None and site not in _OWN_SITE:
        return Refusal(403, f"Sec-Fetch-Site {_quoted(site)}: a page of another server; open the address itself")
    if method not in SAFE_METHODS and _from_browser(headers) and not _is_json(headers.get("Content-Type", "")):
        return Refusal(415, "Content-Type: a browser has to send application/json")
    return None


def _origins(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"


def _known(host: str, names: Collection[str]) -> bool:
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return False
    name = match["name"] or match["ipv6"]
    return name == "localhost" or name in names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _from_browser(headers: Mapping[str, str]) -> bool:
    marks = ("Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
    return any(mark in headers for mark in marks) or headers.get("User-Agent", "").startswith("Mozilla/")


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _quoted(text: str) -> str:
    return ascii(text)[:MAX_QUOTED_CHARACTERS]
