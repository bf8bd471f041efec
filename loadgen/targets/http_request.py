"""Formats HTTP requests to external servers and what they carry, and reads error messages; pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import numpy as np

from loadgen.targets.access import Access
from loadgen.targets.address import Address


def error_text(status: int, body: bytes) -> str:
    """An HTTP answer that is an error, in one short line: its status, and why in the server's words, if it has any.

    Args:
        status: of HTTP.
        body: whole; JSON or any text.
    """
    try:
        document: Any = json.loads(body)
        found = document.get("error", document) if isinstance(document, Mapping) else document
        if isinstance(found, Mapping):
            found = found.get("message", found)
        text = found if isinstance(found, str) else json.dumps(found)
        if isinstance(found, Mapping) and isinstance(found.get("detail"), list):
            with contextlib.suppress(KeyError, TypeError):
                text = _complaints(found["detail"])
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
    return f"{status}: {' '.join(text.split())[:200] or _PHRASES.get(status, 'no reason given')}"


def _complaints(detail: list[Any]) -> str:
    """What FastAPI says of an input, a place and its problem each; without the input, which it echoes."""
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in detail[:3])


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def json_values(array: np.ndarray) -> list[Any]:
    """Numbers in nested lists as JSON writes them: exact integers, truth values, and the shortest text that reads back.

    Args:
        array: of at least one dimension.
    """
    if array.dtype.kind == "f" and array.itemsize < 8:
        # The shortest text of each, whose own float64 has no shorter one.
        array = np.array([float(text) for text in array.ravel().astype(str).tolist()]).reshape(array.shape)
    values: list[Any] = array.tolist()
    return values


def post(address: Address, path: str, access: Access, content_type: str, headers: dict[str, str], body: bytes) -> bytes:
    """A whole HTTP request that carries something.

    Args:
        address: whose host the request names.
        path: of the URL, from the leading slash on.
        access: its headers come last, and replace others of the same name.
        content_type: of the body.
        headers: further ones, by lower-case name.
        body: whole; sent as it is.
    """
    fields = {"content-type": content_type, "content-length": str(len(body)), **headers}
    return request("POST", address, path, access, fields, body)


def request(method: str, address: Address, path: str, access: Access, headers: dict[str, str], body: bytes) -> bytes:
    """A whole HTTP request.

    Args:
        method: such as ``GET``.
        address: whose host the request names.
        path: of the URL, from the leading slash on.
        access: its headers come last, and replace others of the same name.
        headers: of the body, by lower-case name.
        body: whole; sent as it is.
    """
    fields = {"host": address.authority, **headers, **dict(access.headers)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body
