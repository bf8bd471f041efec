"""Reaches a server that cannot be asked whether it is ready, and waits for its first answer where that is asked for."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from itertools import count

from loadgen.errors import TargetError
from loadgen.load.inputs import Pool
from loadgen.plan import Plan
from loadgen.targets.http_answers import AnyAnswers
from loadgen.targets.http_endpoint import HttpEndpoint
from loadgen.targets.readiness import until_ready
from loadgen.targets.remote import Remote

ANSWER_TIMEOUT_S = 10.0
"""Timeout of one answer."""

_LATER = re.compile(r"(?:404|408|425|429|5[0-9]{2}): ")
"""Status codes that a server, or a proxy before it, may send until it is ready."""


async def wait_for_answer(plan: Plan, remote: Remote) -> None:
    """Connect, as each client of the run will; where the user allows time, send the first request until it is answered.

    Args:
        plan: of the run.
        remote: the server; one that reports its own readiness has been asked already.

    Raises:
        TargetError: it cannot be reached, or the answer was not final within the time that the user allows.
        ConfigError: a certificate cannot be used.
    """
    options = remote.options
    if not isinstance(remote, HttpEndpoint):
        return
    made = plan.inputs.make()
    pool = Pool(made.arrays[:1], made.data_type)
    # Whatever comes with 2xx is an answer, and what is wrong with it is so later too.
    spec = replace(remote.spec(plan.config.serve.batch_size, 1, ANSWER_TIMEOUT_S), answers=AnyAnswers(), trusted=True)
    target, opened, ids = spec.make(), False, count()

    async def look() -> None:
        nonlocal opened
        if not opened:
            await target.open(pool)
            opened = True
        answered = asyncio.Event()
        target.send(next(ids), 1, time.monotonic_ns())
        target.notify(answered.set)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await answered.wait()
        except TimeoutError:
            raise TargetError(f"{options.address.shown}: no answer within {ANSWER_TIMEOUT_S:g} s") from None
        for reason in target.drain().reasons:
            if _LATER.match(reason) or not reason[:3].isdigit():
                raise TargetError(f"{options.address.shown}: {reason}")

    try:
        if options.wait_ready_s is None:
            await target.open(pool)
        else:
            await until_ready(look, options.address, options.wait_ready_s)
    finally:
        await target.close()
