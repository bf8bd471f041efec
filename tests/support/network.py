"""Network namespaces, two of them with a cable that a test may cut, and processes; needs root and ``ip``."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    ends = [f"lg{letter}{os.getpid()}" for letter in "sc"]
    with namespaces("server", "client") as names:
        ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        for name, end, address in zip(names, ends, (SERVER, CLIENT), strict=True):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", end)
            ip("-n", name, "link", "set", end, "up")
        server, client = (["ip", "netns", "exec", name] for name in names)
        yield Cable(server, client, ["-n", names[1], "link", "set", ends[1]])


@contextlib.contextmanager
def namespaces(*ends: str) -> Iterator[list[str]]:
    """The names of network namespaces, each with its loopback device, while the context lasts.

    Skips the test where none can be made.

    Args:
        ends: what the names say.
    """
    if shutil.which("ip") is None:
        pytest.skip("the program ip (iproute2) is missing")
    names = [f"loadgen-{end}-{os.getpid()}" for end in ends]
    with contextlib.ExitStack() as stack:
        for name in names:
            try:
                ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no network namespaces can be made: {error.stderr.strip()}")
            stack.callback(ip, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names


def connect(names: Mapping[str, str]) -> None:
    """Give namespaces an address each, and connect them by a bridge in the first.

    Args:
        names: of the namespaces, by address.
    """
    (hub, *_) = names.values()
    ip("-n", hub, "link", "add", "hub", "type", "bridge")
    for number, (address, name) in enumerate(names.items()):
        device = "hub"
        if name != hub:
            device, port = f"lge{number}", f"lgp{number}"
            ip("-n", hub, "link", "add", port, "type", "veth", "peer", "name", device, "netns", name)
            ip("-n", hub, "link", "set", port, "master", "hub")
            ip("-n", hub, "link", "set", port, "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
        ip("-n", name, "link", "set", device, "up")
        ip("-n", name, "route", "add", "default", "dev", device)  # by which programs find out their own address


@contextlib.contextmanager
def process(words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that is gone at the end.

    Args:
        words: of its command line.
        options: of `subprocess.Popen`.
    """
    with subprocess.Popen(words, text=True, **options) as started:
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(30)
            except subprocess.TimeoutExpired:
                started.kill()


def ip(*words: str) -> str:
    """What the program ``ip`` prints."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
