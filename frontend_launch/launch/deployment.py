"""One deployment: up, registered and warm on entry, gone on exit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Coroutine
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import TracebackType

from frontend_launch.admin import AdminClient
from frontend_launch.affinity import affinity
from frontend_launch.errors import AdminError, LaunchError
from frontend_launch.launch.launcher import (
    HEAD_GONE,
    MODEL_VERSION,
    DeploymentConfig,
    Endpoint,
    Launcher,
    Running,
    ending,
)
from frontend_launch.launch.placement import OWN_ROLES, Assignment, difference
from frontend_launch.launch.restarts import Restarts
from frontend_launch.metrics_client import MetricsClient
from frontend_launch.ports import Ports
from frontend_launch.quantities import plural
from frontend_launch.stopped import PATIENCE_S, StoppedProcesses
from frontend_launch.tasks import gather_all, to_completion

log = logging.getLogger(__name__)

DEFAULT_OUTPUT = "TIMEOUT"
LATENCY_SLO_MICROS = 500_000
"""What the original's driver registers: after this time without a replica queries get the default output."""

CARRIERS = ("frontends", "query")
"""Services that every query goes through."""

SETTLE_TIMEOUT_S = 60.0
"""Patience for the query frontend to follow a change, and to be rid of what was asked for before it."""

TELL_EVERY_S = 5.0
POLL_S = 0.05
LOOK_EVERY_S = 1.0
"""Between two looks for replicas that hang; one that hangs in two of them is replaced."""


class Deployment:
    """Use as an async context manager.

    Args:
        config: what to bring up.
        launcher: what starts it.

    Attributes:
        endpoints: where the frontends are reached; replica ``i`` belongs to the ``i`` modulo their number.
        parts: what runs, by role.
        failed: set when the deployment can serve no more: a frontend ended, or the last replica.
        failure: why.
        losses: parts that ended while the others go on, replicas that were replaced, and parts that were stopped, a
            line each.
        log_directory: the logs of all parts; gone with the deployment.

    Raises:
        LaunchError: something cannot be started, or is not ready in time; nothing is left behind.
        AdminError: the management frontend refuses the registration.
    """

    def __init__(self, config: DeploymentConfig, launcher: Launcher) -> None:
        self.endpoints: list[Endpoint] = []
        self.parts: dict[str, Running] = {}
        self.failed = asyncio.Event()
        self.failure: LaunchError | None = None
        self._config, self._launcher = config, launcher
        self._losses: list[str] = []
        self._stopped = StoppedProcesses(self._pids, self._stays_stopped)
        self._restarts = Restarts() if config.restart_replicas else None
        self._replacing: set[str] = set()
        """Roles whose replica is being replaced."""
        self._stack = contextlib.AsyncExitStack()
        self._up = self._stopping = False
        self._starting: asyncio.Task[object] | None = None
        self._stuck = ""
        """Why the start was ended."""
        self._watching: set[asyncio.Task[None]] = set()

    @property
    def losses(self) -> list[str]:
        """Parts that ended while the others go on, replicas that were replaced, and what was stopped, a line each."""
        replaced = [] if self._restarts is None else self._restarts.remarks()
        return [*self._losses, *replaced, *self._stopped.notes]

    @property
    def log_directory(self) -> Path:
        """Logs of all parts; gone with the deployment."""
        return self._launcher.log_directory

    @property
    def credentials_file(self) -> Path | None:
        """What clients need, where the deployment has credentials."""
        return self._launcher.credentials_file

    async def __aenter__(self) -> Deployment:
        starting = self._starting = asyncio.current_task()
        assert starting is not None
        try:
            await self._bring_up()
        except BaseException as error:  # cancelled too
            tails = await self._log_tails() if self._stuck else ""
            await to_completion(self._stack.aclose())
            if self._stuck and isinstance(error, asyncio.CancelledError) and starting.uncancel() == 0:
                raise LaunchError(self._stuck, tails) from None
            raise
        return self

    async def _bring_up(self) -> None:
        stack = self._stack
        await stack.enter_async_context(self._launcher)
        stack.push_async_callback(self._stop)
        self._in_background(self._stopped.watch(), "looking for processes that are stopped")
        self.endpoints = await self._launcher.start_frontends(self._watch)
        for endpoint in self.endpoints:
            if replace(endpoint.ports, redis=None) != Ports():
                log.info("ports on %s: %s", endpoint.host, endpoint.ports.text)
        addresses = {f"http://{endpoint.host}:{endpoint.ports.admin}": endpoint.token for endpoint in self.endpoints}
        self._admins = [
            await stack.enter_async_context(AdminClient(address, token=token)) for address, token in addresses.items()
        ]
        for admin in self._admins:
            await self._register(admin)
        await self._start_replicas()
        await self._until_ready()
        await self._check_placement()
        self._up = True
        if self._restarts is not None:
            self._in_background(self._look_for_hung(self._restarts), "looking for replicas that hang")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await to_completion(self._stack.__aexit__(kind, error, trace))

    def leave_running(self) -> None:
        """On the way out, take nothing down; for containers only: processes end with the one that started them."""
        self._launcher.stays = True

    async def set_batch_size(self, batch_size: int) -> None:
        """Give the replicas batches up to this size from now on, and nothing that was asked for before.

        Raises:
            LaunchError: the query frontend does not follow in time, or is not rid of earlier queries.
            AdminError: a frontend does not answer.
        """
        for admin in self._admins:
            await admin.set_batch_size(self._config.model.name, MODEL_VERSION, batch_size)
        for endpoint in self.endpoints:
            await self._until_settled(endpoint, batch_size)

    async def _until_settled(self, endpoint: Endpoint, batch_size: int) -> None:
        model = self._config.model.name
        async with MetricsClient(f"http://{endpoint.host}:{endpoint.ports.metrics}", endpoint.token) as metrics:
            give_up_s = time.monotonic() + SETTLE_TIMEOUT_S
            while True:
                counters = await metrics.counters()
                follows = counters.models[f"{model}:{MODEL_VERSION}"].max_batch == batch_size
                if follows and not counters.unanswered:
                    return
                if time.monotonic() > give_up_s:
                    state = f"{counters.unanswered} queries" if follows else "the old batch size"
                    raise LaunchError(f"the query frontend still has {state} after {SETTLE_TIMEOUT_S:.0f} s")
                await asyncio.sleep(POLL_S)

    async def keep_logs(self) -> None:
        """Have the logs of all parts in the log directory, whole."""
        await asyncio.gather(*(part.keep_log() for part in self.parts.values()))

    async def _start_replicas(self) -> None:
        """All at once; the first that cannot be started ends the others' start."""

        async def start(assignment: Assignment, endpoint: Endpoint) -> None:
            self._watch(await self._launcher.start_replica(assignment, endpoint))

        replicas = self._config.placement.replicas
        await gather_all(*(start(replica, endpoint) for replica, endpoint in zip(replicas, cycle(self.endpoints))))

    def _watch(self, part: Running) -> None:
        """A part was started: it belongs to this from now on."""
        self.parts[part.role] = part
        self._in_background(self._until_exit(part), f"watching {part.role}")

    def _in_background(self, work: Coroutine[None, None, None], name: str) -> None:
        """Do something until the deployment is stopped."""
        task = asyncio.create_task(work, name=name)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _register(self, admin: AdminClient) -> None:
        """Through REST, in every runtime: the application, the model with its batch size, their link."""
        model, config = self._config.model, self._config
        input_type = model.input.data_type
        slo = LATENCY_SLO_MICROS if self._restarts is None else round(config.ready_timeout_s * 1e6)  # one comes back
        await admin.register_application(model.name, input_type, DEFAULT_OUTPUT, slo)
        await admin.register_model(model.name, MODEL_VERSION, input_type, batch_size=config.max_batch)
        await admin.link_model(model.name, model.name)

    async def _until_ready(self) -> None:
        """Wait until every replica has registered, which it does when it is loaded and warm."""
        wanted = len(self._config.placement.replicas)
        began_s = told_s = time.monotonic()
        while (ready := await self._ready()) < wanted:
            now_s = time.monotonic()
            await self._check_alive()
            if now_s - began_s > self._config.ready_timeout_s:
                text = f"{ready} of {wanted} replicas ready within {self._config.ready_timeout_s:.0f} s"
                raise LaunchError(text, await self._log_tails())
            if now_s - told_s >= TELL_EVERY_S:
                log.info("%d of %d replicas ready after %.0f s", ready, wanted, now_s - began_s)
                told_s = now_s
            await asyncio.sleep(POLL_S)
        log.info("%d of %d replicas ready after %.1f s", wanted, wanted, time.monotonic() - began_s)

    async def _ready(self) -> int:
        """How many replicas have registered.

        Raises:
            AdminError: the management frontend does not answer, though it is there.
            LaunchError: it is gone.
        """
        try:
            return sum([len(await admin.replicas(self._config.model.name, MODEL_VERSION)) for admin in self._admins])
        except AdminError:
            await self._check_alive()
            raise

    async def _check_alive(self) -> None:
        """While not all is ready, nothing may end.

        Raises:
            LaunchError: something did.
        """
        gone = [part for part in self.parts.values() if part.exited.done()]
        if gone:
            text = f"{gone[0].role} {ending(gone[0].exited.result())} before all was ready"
            raise LaunchError(text, await gone[0].log_tail())

    async def _log_tails(self) -> str:
        """The end of each part's log."""
        tails = [(role, await part.log_tail()) for role, part in self.parts.items()]
        return "\n".join(f"--- {role}\n{tail}" for role, tail in tails if tail)

    async def _check_placement(self) -> None:
        """Compare the plan with what the kernel says.

        Raises:
            LaunchError: they differ.
        """
        observed = {role: await self._launcher.cores_of(part) for role, part in self.parts.items()}
        if (own := self._config.placement.own).role in OWN_ROLES:
            observed[own.role] = affinity(os.getpid())
        differences = difference(self._config.placement, observed)
        if differences:
            raise LaunchError("the kernel does not run the plan: " + "; ".join(differences))

    async def _until_exit(self, part: Running) -> None:
        """A part ended: expected while stopping, else it is said, and a frontend or its last replica fails us."""
        code = await asyncio.shield(part.exited)
        if self._stopping or self.parts.get(part.role) is not part:
            return
        service, _, number = part.role.partition("-")
        if service in CARRIERS:
            await self._fail(f"{part.role} {ending(code)}", part)
        elif service != "replica":
            self._lost(f"{part.role} {ending(code)}; queries are served without it")
        elif self._up and code != HEAD_GONE and await self._replaced(part, ending(code)):
            return
        elif not self._left(int(number) % len(self.endpoints)):
            whose = "" if len(self.endpoints) == 1 else " of its frontend"
            await self._fail(f"{part.role}, the last replica{whose}, {ending(code)}", part)
        else:
            left = sum(map(self._left, range(len(self.endpoints))))
            self._lost(f"{part.role} {ending(code)}; {plural(left, 'replica goes', 'replicas go')} on")

    def _lost(self, text: str) -> None:
        log.warning("%s", text)
        self._losses.append(text)

    def _left(self, frontend: int) -> int:
        """How many of a frontend's replicas go on."""
        of_it = self._config.placement.replicas[frontend :: len(self.endpoints)]
        return sum(
            row.role in self._replacing or (row.role in self.parts and not self.parts[row.role].exited.done())
            for row in of_it
        )

    # Replacement ---------------------------------------------------------------------------------------

    async def _look_for_hung(self, restarts: Restarts) -> None:
        """Replace replicas whose batch is past its deadline, as their frontends say."""
        async with contextlib.AsyncExitStack() as stack:
            addresses = [f"http://{endpoint.host}:{endpoint.ports.metrics}" for endpoint in self.endpoints]
            frontends = [
                await stack.enter_async_context(MetricsClient(address, endpoint.token))
                for address, endpoint in zip(addresses, self.endpoints, strict=True)
            ]
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                try:
                    readings = [await frontend.counters() for frontend in frontends]
                except AdminError as error:
                    log.debug("%s", error)
                    continue
                rows = [row for reading in readings for row in reading.replicas.values()]
                for role, reason in restarts.hung(rows, time.monotonic(), self._config.ready_timeout_s).items():
                    if role in self.parts and role not in self._replacing:
                        self._in_background(self._replace_hung(self.parts[role], reason), f"replacing {role}")

    async def _replace_hung(self, part: Running, reason: str) -> None:
        await self._replaced(part, reason)

    async def _replaced(self, part: Running, reason: str) -> bool:
        """Replace a replica on its cores, if it may be; False where it is not replaced.

        Args:
            part: that died or hangs.
            reason: why, after its name.
        """
        role = part.role
        if self._restarts is None or role in self._replacing:
            return False
        self._replacing.add(role)
        replicas = self._config.placement.replicas
        number = next(number for number, row in enumerate(replicas) if row.role == role)
        try:
            while (delay_s := self._restarts.delay_s(role, reason, time.monotonic())) is not None:
                log.warning("%s %s: it is replaced%s", role, reason, f" in {delay_s:.0f} s" if delay_s else "")
                if self.parts.pop(role, None) is not None:
                    await part.stop()
                await asyncio.sleep(delay_s)
                endpoint = self.endpoints[number % len(self.endpoints)]
                try:
                    started = await self._launcher.start_replica(replicas[number], endpoint)
                except LaunchError as error:
                    reason = f"cannot be started: {error}"
                    continue
                self._replacing.discard(role)  # from now on it may end, and be replaced, again
                self._watch(started)
                return True
            log.warning("%s %s: it is not replaced any more", role, reason)
            return False
        finally:
            self._replacing.discard(role)

    def _pids(self) -> dict[str, int]:
        return {role: part.pid for role, part in self.parts.items() if part.here}

    def _stays_stopped(self, role: str) -> None:
        """A part stays stopped: nothing continues it. Without a frontend nothing can be measured.

        Nor can anything be before all parts are ready.
        """
        text = f"{role} is stopped by a signal or a debugger for {PATIENCE_S:g} s"
        if not self._up and not self._stopping and not self._stuck and self._starting is not None:
            self._stuck = text
            self._starting.cancel()
        elif self._up and role.partition("-")[0] in CARRIERS:
            self._in_background(self._fail(text, self.parts[role]), f"failing because of {role}")

    async def _fail(self, text: str, part: Running) -> None:
        if self.failure is not None:
            return
        self.failure = LaunchError(text)
        tail = await part.log_tail()
        self.failure = LaunchError(text, tail)
        if tail:
            log.error("%s; the end of its log:\n%s", text, tail)
        self.failed.set()

    async def _stop(self) -> None:
        self._stopping = True
        watching = tuple(self._watching)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        if self._launcher.stays:
            for part in self.parts.values():
                part.exited.cancel()
            return
        await asyncio.gather(*(part.stop() for part in reversed(self.parts.values())))
