"""Finds processes that a signal holds (SIGSTOP, or a debugger), names them, and acts on those that stay so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from frontend_launch.quantities import times

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""Between two looks; a process that is stopped in two of them is named."""

PATIENCE_S = 10.0
"""A process that is stopped for this time is acted on."""


@dataclass(slots=True)
class _History:
    """Of one process.

    Attributes:
        looks: in a row that found it stopped.
        times: it was stopped for two looks and more.
        all_looks: of these times.
    """

    looks: int = 0
    times: int = 0
    all_looks: int = 0


class StoppedProcesses:
    """The processes of some roles. Looks are counted, not time: a pause of the process that looks does not count.

    Args:
        pids: the processes of now, by role.
        act: called with a role whose process is stopped for `PATIENCE_S`, once for each time.
    """

    def __init__(self, pids: Callable[[], Mapping[str, int]], act: Callable[[str], object] = lambda _: None) -> None:
        self._pids, self._act = pids, act
        self._histories: dict[str, _History] = {}

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Look once."""
        for role, pid in self._pids().items():
            history = self._histories.setdefault(role, _History())
            if not is_stopped(pid):
                if history.looks > 1:
                    log.warning("%s goes on", role)
                history.looks = 0
                continue
            history.looks += 1
            if history.looks == 2:
                history.times += 1
                history.all_looks += 1
                log.warning("%s is stopped by a signal or a debugger; continue it with kill -CONT %d", role, pid)
            history.all_looks += history.looks > 1
            if history.looks == round(PATIENCE_S / LOOK_EVERY_S):
                self._act(role)

    @property
    def notes(self) -> list[str]:
        """A line for each role whose process was stopped."""
        return [
            f"{role} was stopped by a signal or a debugger {times(one.times)}, "
            f"for about {one.all_looks * LOOK_EVERY_S:.0f} s"
            for role, one in self._histories.items()
            if one.times
        ]


def is_stopped(pid: int) -> bool:
    """Whether a process runs no more until it gets SIGCONT, or until its debugger lets it go."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):  # it is gone
        return False
