"""Two network namespaces with a cable between them, which a test may cut; needs root and the program ``ip``."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

SERVER, CLIENT = "10.77.20.1", "10.77.20.2"
"""The addresses of both ends."""


@dataclass(frozen=True, slots=True)
class Cable:
    """What connects the namespaces.

    Attributes:
        server: the words before a command that is to run at the server's end.
        client: the same at the client's end.
    """

    server: list[str]
    client: list[str]
    _end: list[str]

    def cut(self) -> None:
        """Nothing gets through any more, and neither end is told."""
        ip(*self._end, "down")

    def mend(self) -> None:
        """All gets through again."""
        ip(*self._end, "up")


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """Two namespaces, while the context lasts; skips the test where none can be made."""
    if shutil.which("ip") is None:
        pytest.skip("the program ip (iproute2) is missing")
    names = [f"loadgen-{end}-{os.getpid()}" for end in ("server", "client")]
    ends = [f"lg{letter}{os.getpid()}" for letter in "sc"]
    with contextlib.ExitStack() as stack:
        try:
            for name in names:
                ip("netns", "add", name)
                stack.callback(ip, "netns", "del", name)
            ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces can be made: {error.stderr.strip()}")
        for name, end, address in zip(names, ends, (SERVER, CLIENT), strict=True):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", end)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", end, "up")
        server, client = (["ip", "netns", "exec", name] for name in names)
        yield Cable(server, client, ["-n", names[1], "link", "set", ends[1]])


def ip(*words: str) -> str:
    """What the program ``ip`` prints."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
