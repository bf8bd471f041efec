"""Keeps the trials of clients against null servers for an hour: a file each in the user's cache directory.

A file is written whole or not at all, and names all that its trial depends on. A file that is damaged, old, or of
another situation counts as missing. So concurrent runs need no lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from loadgen.judging.ceiling import Trial

log = logging.getLogger(__name__)

MAX_AGE_S = 3600.0
"""Age at which a trial expires, since clocks and other load of a machine change."""

MAX_ENTRIES = 256


@dataclass(frozen=True, slots=True)
class Situation:
    """What a trial depends on.

    Attributes:
        machine: name, processor and kernel.
        software: version of each package, of Python and of the checkout.
        protocol: of the null server.
        connections: of each client, at most; None where the protocol fixes them.
        servers: query frontends that the client loads.
        payload_bytes: of a request.
        inputs: in words.
        answer_bytes: of an answer.
        clients: client processes.
        client_cores: theirs.
        server_cores: of the null server.
        verify: one answer in this many is compared; None for none.
        keep_requests: the client keeps a row of each request.
        load: a window or a rate, in words.
        seconds: length of the trial.
    """

    machine: tuple[str, ...]
    software: dict[str, str]
    protocol: str
    connections: int | None
    servers: int
    payload_bytes: int
    inputs: str
    answer_bytes: int
    clients: int
    client_cores: tuple[int, ...]
    server_cores: tuple[int, ...]
    verify: int | None
    keep_requests: bool
    load: str
    seconds: float


class _CachedTrial(msgspec.Struct):
    situation: Situation
    measured_at: float
    trial: Trial


def cache_directory() -> Path:
    """Where trials are kept: below ``LOADGEN_CACHE``, else ``XDG_CACHE_HOME``, else ``~/.cache``."""
    root = os.environ.get("LOADGEN_CACHE")
    whole = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loadgen"
    return whole / "client-ceilings"


@dataclass(frozen=True, slots=True)
class TrialCache:
    """The trials of this user on this machine.

    Attributes:
        directory: of the files.
    """

    directory: Path = field(default_factory=cache_directory)

    def get(self, situation: Situation) -> Trial | None:
        """The trial of a situation, if it was made within the last hour."""
        try:
            entry = msgspec.json.decode(self._path(situation).read_bytes(), type=_CachedTrial)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        fresh = 0 <= time.time() - entry.measured_at < MAX_AGE_S
        return entry.trial if fresh and entry.situation == situation else None

    def put(self, situation: Situation, trial: Trial) -> None:
        """Keep a trial, unless the directory cannot be written."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.directory, suffix=".new", delete=False) as file:
                file.write(msgspec.json.encode(_CachedTrial(situation, time.time(), trial)))
            os.replace(file.name, self._path(situation))
            self._forget_oldest()
        except OSError as error:
            log.debug("the client's ceiling is not kept in %s: %s", self.directory, error)

    def forget(self, situation: Situation) -> None:
        """Forget a trial, so that the next run measures it again."""
        with contextlib.suppress(OSError):
            self._path(situation).unlink(missing_ok=True)

    def _path(self, situation: Situation) -> Path:
        digest = hashlib.sha256(msgspec.json.encode(situation, order="deterministic")).hexdigest()
        return self.directory / f"{digest[:32]}.json"

    def _forget_oldest(self) -> None:
        """Delete the oldest files above the bound, those that a killed run left behind among them."""
        written: dict[Path, float] = {}
        for path in self.directory.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another run has just removed or renamed it
                written[path] = path.stat().st_mtime
        for path in sorted(written, key=written.__getitem__)[:-MAX_ENTRIES]:
            path.unlink(missing_ok=True)
