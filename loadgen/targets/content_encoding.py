"""Takes the content encoding off an answer (RFC 9110, 8.4); pure."""

from __future__ import annotations

import zlib

MAX_BYTES = 1 << 28
"""Of a decoded answer; more is refused."""

_GZIP, _ZLIB, _RAW = 31, 15, -15
"""Window bits as zlib has them, with the wrapper that is expected."""


def decoded(body: bytes, encoding: bytes) -> bytes:
    """A body without its encoding.

    Args:
        body: as it came.
        encoding: the value of ``Content-Encoding``.

    Raises:
        ValueError: the encoding is unknown, or the body does not have it; the text is for users.
    """
    name = encoding.decode("latin-1").strip().lower()
    if name in ("", "identity") or not body:
        return body
    try:
        if name in ("gzip", "x-gzip"):
            return _members(body)
        if name == "deflate":  # with the wrapper of zlib, which some servers leave out
            return _inflated(body, _ZLIB if body[0] & 0x0F == 8 and not int.from_bytes(body[:2]) % 31 else _RAW)[0]
    except zlib.error:
        raise ValueError(f"the answer is not {name}, which its Content-Encoding says") from None
    remedy = "ask for gzip or none with the header Accept-Encoding"
    raise ValueError(f"the answer has the Content-Encoding {name[:40]}, which is not decoded; {remedy}")


def _members(body: bytes) -> bytes:
    """All members of a gzip, one after the other."""
    parts, size_bytes = [], 0
    while body:
        part, body = _inflated(body, _GZIP, MAX_BYTES - size_bytes)
        parts.append(part)
        size_bytes += len(part)
    return b"".join(parts)


def _inflated(body: bytes, bits: int, most_bytes: int = MAX_BYTES) -> tuple[bytes, bytes]:
    """What was deflated, and what follows it."""
    inflater = zlib.decompressobj(bits)
    content = inflater.decompress(body, most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"the answer has more than {MAX_BYTES >> 20} MiB when it is decoded; ask for smaller ones")
    if not inflater.eof:
        raise zlib.error
    return content, inflater.unused_data
