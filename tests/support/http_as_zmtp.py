"""HTTP requests that version 1.0 of ZeroMQ's protocol reads as messages: what a web page can send to a ZeroMQ port.

That version has no greeting. A frame is its length, counted with one byte of flags, then the flags and the content.
The lowest bit of the flags says that more frames follow. So each character of a request is a length, a flag or content.
The beginning of the body ends the frame that the headers began; the rest of the body holds any frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from model_containers.data_types import Buffer

MORE = 1


def frames(message: Iterable[Buffer]) -> bytes:
    """A message, as that version writes it."""
    parts = [bytes(part) for part in message]
    return b"".join(
        bytes([len(part) + 1, MORE if number < len(parts) else 0]) + part for number, part in enumerate(parts, 1)
    )


def path_and_filling(head: Callable[[str], bytes]) -> tuple[str, bytes]:
    """A path with which the last frame of the headers is the last of its message, and what ends it in the body.

    Args:
        head: makes the bytes of a request up to its body from a path.
    """
    for length in range(200):
        path = "/" + "A" * length
        begun, at, more = head(path), 0, True
        while at < len(begun) - 1:
            more = bool(begun[at + 1] & MORE)
            at += 1 + begun[at]
        if not more and at >= len(begun):
            return path, bytes(at - len(begun))
    raise AssertionError("no path does")
