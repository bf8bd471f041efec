"""Whether the head of a cluster answers: without it Ray waits for ever, or ends this process after a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from frontend_launch.errors import HeadLostError
from frontend_launch.tasks import in_daemon

EVERY_S = 1.0
"""Between two questions to the head."""

ANSWER_TIMEOUT_S = 2.0
"""Patience for an answer of the head."""

LAST_TIMEOUT_S = 3.0
"""Patience for what is under way when the head is lost: a node that is still there answers."""

ATTEMPTS = 3
"""Questions in a row without an answer after which the head is lost. A pause of this process costs one of them."""

HEAD_LOST = "the connection to the head of the cluster is lost"

T = TypeVar("T")


class Head:
    """The head of the cluster that this process is connected to.

    Args:
        ask: something that the head only can answer; it may block for ever.
    """

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._lost = asyncio.get_running_loop().create_future()

    @property
    def lost(self) -> bool:
        """Whether it has not answered for long."""
        return self._lost.done()

    async def answers(self) -> bool:
        """Whether it answers now; one that is lost does not, whatever it does later."""
        if self._lost.done():
            return False
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await in_daemon(self._ask)
        except Exception:  # whatever it is, it is no answer
            return False
        return True

    async def watch(self) -> None:
        """Ask it until it is lost."""
        failed = 0
        while failed < ATTEMPTS:
            await asyncio.sleep(EVERY_S)
            failed = 0 if await self.answers() else failed + 1
        self._lost.set_result(None)

    async def result_of(self, work: asyncio.Future[T]) -> T:
        """What work on the cluster returns; the work goes on where the caller is cancelled.

        Raises:
            HeadLostError: the head is lost, and the work takes long.
            Exception: that the work raised.
        """
        work.add_done_callback(lambda done: done.cancelled() or done.exception())  # there may be nothing that waits
        await asyncio.wait({work, self._lost}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=0 if work.done() else LAST_TIMEOUT_S)
        if not work.done():
            raise HeadLostError(HEAD_LOST)
        return work.result()
