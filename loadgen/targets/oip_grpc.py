"""The Open Inference Protocol over gRPC: messages are bytes that were made before, one stream for each request.

gRPC's own objects cost most of what a request costs here; so a request is one call, made by one of as many coroutines
as requests were ever in flight, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from loadgen.errors import TargetError
from loadgen.inputs import Pool
from loadgen.oip.access import Access, grpc_library
from loadgen.oip.address import Address
from loadgen.oip.messages import AnswerJudge
from loadgen.oip.tensors import Tensor
from loadgen.targets.mailbox import Mailbox
from loadgen.targets.target import Replies

log = logging.getLogger(__name__)

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CONNECT_TIMEOUT_S = 10.0
DEADLINE_BEYOND_S = 1.0
"""So long after the runner has given up on a request its call ends too."""


@dataclass(frozen=True, slots=True)
class OipGrpcSpec:
    """A model on a server; requests are whole ``ModelInferRequest`` messages.

    Attributes:
        address: of the model.
        access: what the server wants besides.
        outputs: what a good answer carries.
        connections: over which calls are spread in turn.
        timeout_s: patience for one reply; None for any.
    """

    address: Address
    access: Access
    outputs: tuple[Tensor, ...]
    connections: int = 1
    timeout_s: float | None = None

    def make(self) -> OipGrpcTarget:
        """Make the target, not yet open."""
        return OipGrpcTarget(self)


class OipGrpcTarget:
    """See `OipGrpcSpec`; implements `loadgen.targets.target.Target`."""

    def __init__(self, spec: OipGrpcSpec) -> None:
        self._spec = spec
        self._mailbox = Mailbox()
        self._judge = AnswerJudge(spec.outputs)
        self._messages: list[bytes] = []
        self._channels: list[Any] = []
        self._idle: list[asyncio.Future[int]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def failures(self) -> dict[str, int]:
        """See `Target`."""
        return self._mailbox.failures

    async def open(self, pool: Pool) -> None:
        """Connect.

        Raises:
            TargetError: the server cannot be reached within 10 s.
        """
        self._messages = [bytes(payload) for payload in pool.payloads()]
        self._error: type[Exception] = grpc_library().aio.AioRpcError
        self._channels = [self._spec.access.channel(self._spec.address) for _ in range(self._spec.connections)]
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.gather(*(channel.channel_ready() for channel in self._channels))
        except TimeoutError:
            raise TargetError(
                f"{self._spec.address.text}: no connection within {CONNECT_TIMEOUT_S:.0f} s: is a server running there?"
            ) from None
        self._calls = cycle([channel.unary_unary(METHOD) for channel in self._channels])
        self._watching = asyncio.create_task(self._watch(self._channels[0]), name="state of the connection")

    def send(self, first_id: int, count: int, now_ns: int) -> None:
        """Hand requests to coroutines that wait for one; where all are at work there is one more from then on."""
        for request_id in range(first_id, first_id + count):
            if self._idle:
                self._idle.pop().set_result(request_id)
            else:
                task = asyncio.create_task(self._work(request_id))
                self._tasks.add(task)

    async def _work(self, request_id: int) -> None:
        """Make one call after the other."""
        loop, metadata = asyncio.get_running_loop(), self._spec.access.metadata or None
        timeout_s = None if self._spec.timeout_s is None else self._spec.timeout_s + DEADLINE_BEYOND_S
        while True:
            message = self._messages[request_id % len(self._messages)]
            call = next(self._calls)
            try:
                # Ready or not: while the server is away requests wait for it, as they would at a server that is busy.
                answer = await call(message, timeout=timeout_s, metadata=metadata, wait_for_ready=True)
            except self._error as error:
                self._mailbox.failed(request_id, _reason(error))
            else:
                wrong = self._judge.grpc(answer)
                if wrong is None:
                    self._mailbox.completed(request_id)
                else:
                    self._mailbox.failed(request_id, wrong)
            idle: asyncio.Future[int] = loop.create_future()
            self._idle.append(idle)
            request_id = await idle

    async def _watch(self, channel: Any) -> None:
        """Say when a connection is lost, and when there is one again."""
        ready = grpc_library().ChannelConnectivity.READY
        state, lost = ready, False
        while True:
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
            if state is ready and lost:
                log.warning("%s: connected again", self._spec.address.text)
            elif state is not ready and not lost:
                log.warning("%s: the connection is lost; requests wait for another", self._spec.address.text)
            lost = state is not ready

    def drain(self) -> Replies:
        """See `Target`."""
        return self._mailbox.drain()

    def notify(self, wake: Callable[[], None]) -> None:
        """See `Target`."""
        self._mailbox.notify(wake)

    async def close(self) -> None:
        """Disconnect; calls that are outstanding are cancelled."""
        tasks = [*self._tasks, *([self._watching] if hasattr(self, "_watching") else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self._channels))
        self._messages = []  # copies, which are many bytes; what else refers to this may take its time to go


def _reason(error: Any) -> str:
    """Status and words of an error, in one short line."""
    return f"{error.code().name}: {' '.join((error.details() or '').split())[:200]}"
