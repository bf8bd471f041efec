"""Frontends whose loop keeps how long its turns are, in CPU time of its thread.

``python turns.py FILE serve ...`` serves as ``python -m frontend_launch serve ...`` does, on asyncio's own loop, whose
callbacks can be seen. When it ends `FILE` gets the longest turns since the last SIGUSR1, by what they did.
"""

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import uvloop

from frontend_launch import __main__


class Turns:
    """The turns of a loop, and the garbage collections that are parts of them."""

    def __init__(self) -> None:
        self._longest_ns: dict[str, int] = {}
        self._began_ns = 0

    def run(self, handle: asyncio.Handle) -> None:
        """Run one, and note how long it took."""
        callback = handle._callback  # type: ignore[attr-defined]
        began_ns = time.thread_time_ns()
        RUN(handle)
        self._note(_name(callback), time.thread_time_ns() - began_ns)

    def collected(self, phase: str, info: Mapping[str, int]) -> None:
        """A garbage collection begins or ends.

        Args:
            phase: which of the two.
            info: of the collection.
        """
        if phase == "start":
            self._began_ns = time.thread_time_ns()
        else:
            self._note(f"garbage collection {info['generation']}", time.thread_time_ns() - self._began_ns)

    def _note(self, name: str, took_ns: int) -> None:
        self._longest_ns[name] = max(took_ns, self._longest_ns.get(name, 0))

    def begin(self) -> None:
        """Forget what was until now."""
        self._longest_ns.clear()

    def save(self, path: Path) -> None:
        """Write what took how long, in ms, the longest first."""
        rows = sorted(self._longest_ns.items(), key=lambda item: -item[1])
        path.write_text(json.dumps({name: took_ns / 1e6 for name, took_ns in rows}))


RUN = asyncio.Handle._run


def _name(callback: object) -> str:
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"task {getattr(owner.get_coro(), '__qualname__', '')}"
    handle = getattr(owner, "_handle", None)  # of a reader of sockets
    return f"{getattr(callback, '__qualname__', callback)} {getattr(handle, '__qualname__', '')}"


def main() -> None:
    """Serve."""
    path, turns = Path(sys.argv.pop(1)), Turns()
    setattr(asyncio.Handle, "_run", lambda handle: turns.run(handle))  # noqa: B010 - it is not public
    setattr(uvloop, "run", asyncio.run)  # noqa: B010 - of another type
    gc.callbacks.append(turns.collected)
    signal.signal(signal.SIGUSR1, lambda *_: turns.begin())
    try:
        __main__.main()
    finally:
        turns.save(path)


if __name__ == "__main__":
    main()
