"""A connection to a cluster, in a thread of its own: Ray blocks while it connects, and takes over SIGTERM."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import signal
import threading
from collections.abc import Callable

from frontend_launch.cluster_head import Head
from frontend_launch.tasks import BLOCKING, to_completion

END_TIMEOUT_S = 20.0
"""Patience for the end of a connection, and of a cluster on this machine."""

GIVE_UP_TIMEOUT_S = 1.0
"""The same for a connection that is being made, or that has no head any more."""


class Session:
    """A connection to a cluster, in a thread of its own.

    Ray blocks while it connects, and a cluster on this machine ends with the thread that started it.

    Args:
        connect: called in the thread; it may block.
        disconnect: called there at the end. An exit of this program calls it too, where `connect` has registered it.
    """

    def __init__(self, connect: Callable[[], object], disconnect: Callable[[], object]) -> None:
        self._connect, self._disconnect, self._loop = connect, disconnect, asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._ended, self._ending = asyncio.Event(), threading.Event()
        # An exit of this program does not wait for it.
        threading.Thread(target=self._run, name=BLOCKING, daemon=True).start()

    async def connected(self, timeout_s: float) -> None:
        """Wait for the connection; one that takes too long, or is not wanted any more, is abandoned.

        Raises:
            TimeoutError: it takes longer.
            Exception: that Ray raised.
        """
        done = set[asyncio.Future[None]]()
        try:
            done, _ = await asyncio.wait({self._connected}, timeout=timeout_s)
        finally:
            if done:
                _keep_termination()
            else:
                await to_completion(self._end_within(GIVE_UP_TIMEOUT_S))
        if not done:
            raise TimeoutError
        self._connected.result()

    async def end(self, head: Head) -> None:
        """Disconnect; without a head there is nothing to wait for.

        Args:
            head: of the cluster.
        """
        await self._end_within(END_TIMEOUT_S if await head.answers() else GIVE_UP_TIMEOUT_S)

    async def _end_within(self, timeout_s: float) -> None:
        """Disconnect.

        Ray's own shutdown at the exit of this program would wait for ever for a connection that is half made, or has
        no head: without an end in time it is left out, and processes of a cluster on this machine end with this one.
        """
        self._ending.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            atexit.unregister(self._disconnect)
        _keep_termination()

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            self._connect()
        except Exception as error:  # whatever it is, it is for the task that waits
            failure = error
        self._tell(lambda: self._settle(failure))
        try:
            if failure is None:
                self._ending.wait()
                self._disconnect()
        finally:
            self._tell(self._ended.set)

    def _settle(self, failure: Exception | None) -> None:
        if failure is None:
            self._connected.set_result(None)
        else:
            self._connected.set_exception(failure)
            self._connected.exception()  # there may be nothing that asks for it any more

    def _tell(self, what: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(what)


def _keep_termination() -> None:
    """Install this program's handler of SIGTERM again.

    While Ray is connected its own one is there, and after that the default, which ends the process at once.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
