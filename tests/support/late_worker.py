"""Ray's setup hook of a runtime environment for a worker that starts one client late, as on an overloaded node."""

import asyncio
import time

from loadgen.workers.messages import Order
from loadgen.workers.supervisor import Supervisor

CLIENT, LATE_S = 1, 0.2


def install() -> None:
    """Let the worker of one client pass its start on after the agreed moment."""
    on_time = Supervisor.tell

    async def tell(self: Supervisor, orders: list[Order]) -> None:
        for order in orders:
            if order.what == "start" and order.client == CLIENT:
                # The fault itself, an overloaded node; nothing waits for it to have happened.
                await asyncio.sleep((order.at_ns - time.monotonic_ns()) / 1e9 + LATE_S)
        await on_time(self, orders)

    Supervisor.tell = tell  # type: ignore[method-assign]
