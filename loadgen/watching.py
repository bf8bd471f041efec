"""Has the hardware watched while load runs, by `loadgen.sampler` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from frontend_launch.errors import LaunchError
from frontend_launch.launch.process import Command, start
from loadgen.hardware import Reading

log = logging.getLogger(__name__)

EVERY_S = 1.0


class Watch:
    """What is being watched; it reads what was written so far."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def readings(self) -> list[Reading]:
        """All readings until now; a last line that is half written is left out."""
        found: list[Reading] = []
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            for line in self._path.read_text().splitlines() if self._path else ():
                found.append(Reading.from_row(json.loads(line)))
        return found


@contextlib.asynccontextmanager
async def watching(pids: Mapping[str, int], cores: Sequence[int]) -> AsyncIterator[Watch]:
    """Watch processes, by role, from these cores while the context lasts; a run goes on without, if it cannot be."""
    with tempfile.TemporaryDirectory(prefix="loadgen-") as name:
        path = Path(name) / "readings"
        arguments = ["-m", "loadgen.sampler", "--out", str(path), "--every", str(EVERY_S)]
        for role, pid in pids.items():
            arguments += ["--watch", f"{role}={pid}"]
        try:
            process = await start(Command("sampler", arguments, tuple(cores)), Path(name))
        except LaunchError as error:
            log.warning("the hardware is not watched: %s", error)
            yield Watch(None)
            return
        try:
            yield Watch(path)
        finally:
            await process.stop()
