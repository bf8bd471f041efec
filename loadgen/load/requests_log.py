"""The log of requests: a row each, kept in arrays and written after the run."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.errors import FieldError
from loadgen.load.in_flight import Lost
from loadgen.load.target import Outcome

MAX_ROWS = 10_000_000
"""Most rows that are kept, 410 MB; of what comes after them only the number is."""

SUFFIXES = (".npz", ".csv")
COLUMNS = ("id", "input", "planned_ns", "sent_ns", "done_ns", "outcome", "client", "read_late")
NOT_DONE = -1
"""In place of the time of an answer that never came."""


class RequestsLog:
    """Rows as they come, in bulk; picklable.

    Attributes:
        left_out: requests beyond `MAX_ROWS`.
    """

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []
        self._late: list[np.ndarray] = []
        self._rows = self.left_out = 0

    def replied(
        self, ids: np.ndarray, planned_ns: np.ndarray, sent_ns: np.ndarray, done_ns: np.ndarray, outcomes: np.ndarray
    ) -> None:
        """Requests were answered, in whatever way: arrays of one length.

        Args:
            ids: int64.
            planned_ns: int64, monotonic clock.
            sent_ns: int64, monotonic clock.
            done_ns: int64, monotonic clock.
            outcomes: uint8, `Outcome` of each.
        """
        self._add(np.stack([ids, planned_ns, sent_ns, done_ns, outcomes.astype(np.int64)]))

    def lost(self, lost: Lost, outcome: Outcome) -> None:
        """Requests ended without an answer.

        Args:
            lost: which; there may be none.
            outcome: of all of them.
        """
        if len(lost.ids):
            ending = np.broadcast_to(np.array([[NOT_DONE], [int(outcome)]]), (2, len(lost.ids)))
            self._add(np.concatenate([np.stack(lost), ending]))

    def read_late(self, ids: np.ndarray) -> None:
        """Requests whose answers were read later than they arrived, since the client did not run: int64."""
        self._late.append(ids)

    def _add(self, rows: np.ndarray) -> None:
        room = MAX_ROWS - self._rows
        self.left_out += max(0, rows.shape[1] - room)
        if room > 0:
            self._chunks.append(rows[:, :room])
            self._rows += min(room, rows.shape[1])

    def shift(self, by_ns: int) -> None:
        """Move the times of all rows to another clock, which is this much ahead."""
        for rows in self._chunks:
            times_ns = rows[1:4]
            times_ns[:] = np.where(times_ns == NOT_DONE, NOT_DONE, times_ns + by_ns)

    def table(self, inputs: int, client: int = 0) -> dict[str, np.ndarray]:
        """The columns, int64 and of one length, in the order of the ids.

        Args:
            inputs: how many distinct inputs were sent, one after the other.
            client: number of the process that sent them.
        """
        rows = np.concatenate(self._chunks, axis=1) if self._chunks else np.empty((5, 0), dtype=np.int64)
        ids, planned_ns, sent_ns, done_ns, outcomes = rows[:, np.argsort(rows[0], kind="stable")]
        late = np.isin(ids, np.concatenate(self._late) if self._late else []).astype(np.int64)
        columns = (ids, ids % inputs, planned_ns, sent_ns, done_ns, outcomes, np.full(len(ids), client), late)
        return dict(zip(COLUMNS, columns, strict=True))


def numbered(path: Path | None, which: str) -> Path | None:
    """The file of one of several measurements, ``rows-r1-c1-b2-0.npz`` for ``rows.npz``; None for none.

    Args:
        path: of all measurements; None where no rows are kept.
        which: goes between the name and its suffix.
    """
    return None if path is None else path.with_stem(f"{path.stem}-{which}")


def check(path: Path) -> None:
    """Refuse a file that could not be written, before anything is measured for it.

    Raises:
        ConfigError: its name does not end in .npz or .csv, or it or its directory cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise FieldError("Output.requests_log", path, f"does not end in {' or '.join(SUFFIXES)}", "name such a file")
    if not os.path.isdir(path.parent) or not os.access(path.parent, os.W_OK):
        raise FieldError(
            "Output.requests_log",
            path,
            f"{{value}}: {path.parent} is not a directory that can be written to",
            "name another",
        )
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise FieldError("Output.requests_log", path, f"cannot be written: {error.strerror}") from None
    if not stat.S_ISREG(mode) or not os.access(path, os.W_OK):
        raise FieldError(
            "Output.requests_log", path, "exists, and is not a file that can be written to", "name another"
        )


def save(path: Path, tables: list[dict[str, np.ndarray]]) -> None:
    """Write the tables of all clients to one file, in the order of the planned times.

    ``outcome`` is a number in an npz file and its name in a CSV file (`loadgen.load.target.Outcome`). Times are of
    the machine's monotonic clock.

    Args:
        path: ends in ``.npz``, or the file is CSV.
        tables: one for each client, with int64 columns of one length.

    Raises:
        ConfigError: it cannot be written.
    """
    table = {name: np.concatenate([table[name] for table in tables]) for name in COLUMNS}
    order = np.argsort(table["planned_ns"], kind="stable")
    table = {name: column[order] for name, column in table.items()}
    try:
        if path.suffix == ".npz":
            columns: dict[str, Any] = dict(table)
            np.savez(path, **columns)
            return
        names = [outcome.name.lower() for outcome in Outcome]
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for row in zip(*(table[name].tolist() for name in COLUMNS), strict=True):
                writer.writerow([*row[:5], names[row[5]], *row[6:]])
    except OSError as error:
        raise FieldError("Output.requests_log", path, f"cannot be written: {error.strerror}") from None
