"""Lists deployments that are processes: each keeps a file that says what it consists of, as long as it is up."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frontend_launch.scratch import LOCK, PREFIX

FILE = "deployment.json"
"""In the directory of a deployment."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process of a deployment.

    Attributes:
        role: in the placement.
        pid: of the process.
        model: that the deployment serves.
        cores: as ranges.
        gpu: its GPU; empty for none.
        ports: that it listens on, in words; empty for none.
        started_s: when, on the clock of this machine that all its processes share.
        node: of a cluster; empty for this machine.
    """

    role: str
    pid: int
    model: str
    cores: str
    gpu: str
    ports: str
    started_s: float
    node: str = ""

    @property
    def running(self) -> bool | None:
        """Whether the process is there; None for one on another machine."""
        return None if self.node else Path(f"/proc/{self.pid}").exists()


class Kept:
    """What a deployment consists of, in its file.

    Args:
        directory: of the deployment.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._parts: dict[str, Part] = {}

    def add(
        self, role: str, pid: int, model: str, cores: str, gpu: int | None, ports: str = "", node: str = ""
    ) -> None:
        """Note a process, in place of an earlier one of its role; a full disk costs the note only.

        Args:
            role: of the process.
            pid: of it.
            model: that the deployment serves.
            cores: as ranges.
            gpu: its GPU; None for none.
            ports: that it listens on, in words.
            node: of a cluster that it runs on; empty for this machine.
        """
        card = "" if gpu is None else str(gpu)
        self._parts[role] = Part(role, pid, model, cores, card, ports, time.monotonic(), node)
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            draft.write_text(json.dumps({"pid": os.getpid(), "parts": [asdict(part) for part in self._parts.values()]}))
            draft.replace(self._path)


def listed() -> list[tuple[int, Part]]:
    """The processes of all deployments of this user, each with the process that started it."""
    found = []
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{FILE}")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # gone by now, or no file of a deployment
            if path.parent.lstat().st_uid == os.geteuid() and _held(path.parent):
                document: dict[str, Any] = json.loads(path.read_text())
                found += [(int(document["pid"]), Part(**row)) for row in document["parts"]]
    return found


def _held(directory: Path) -> bool:
    """Whether the process that made a directory is there: it holds the lock."""
    lock = os.open(directory / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
