"""When replicas are replaced, in virtual time; and a deployment that replaces them, over a launcher of a test."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from frontend_launch.counters import ReplicaCounters
from frontend_launch.errors import LaunchError
from frontend_launch.launch.deployment import Deployment
from frontend_launch.launch.launcher import DeploymentConfig, Endpoint
from frontend_launch.launch.placement import Assignment, Placement
from frontend_launch.launch.restarts import LASTED_S, Restarts
from frontend_launch.ports import Ports
from model_containers.model import Description, TensorSpec


def test_a_replica_that_serves_for_a_while_is_replaced_at_once_however_often():
    """It may be killed again and again."""
    restarts, now_s = Restarts(), 0.0
    for _ in range(100):
        assert restarts.delay_s("replica-1", "ended with exit code -9", now_s) == 0.0
        now_s += LASTED_S
    assert restarts.remarks() == ["replica-1 was replaced 100 times, the last time because it ended with exit code -9"]


def test_one_that_does_not_last_is_given_up_after_a_number_of_times():
    """With growing delays; the others go on."""
    restarts, now_s, delays = Restarts(), 0.0, []
    while (delay_s := restarts.delay_s("replica-0", "ended with exit code 1", now_s)) is not None:
        delays.append(delay_s)
        now_s += delay_s + 1
    assert delays == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert restarts.delay_s("replica-1", "ended with exit code 1", now_s) == 0.0


def row(role, *, overdue=False, alive=True):
    return ReplicaCounters(alive=alive, overdue=overdue, role=role)


def test_a_replica_hangs_when_two_readings_say_so():
    """One that is gone does not hang, nor does one that nothing started here."""
    restarts = Restarts()
    hanging = [row("a", overdue=True), row("b"), row("c", overdue=True, alive=False), row("", overdue=True)]
    assert restarts.hung(hanging, 0.0, 60.0) == {}
    assert restarts.hung([*hanging, row("b", overdue=True)], 1.0, 60.0) == {"a": "did not answer in time"}
    assert restarts.hung([row("a"), row("b", overdue=True)], 2.0, 60.0) == {"b": "did not answer in time"}


def test_a_replacement_that_never_registers_hangs_too():
    """After the time that replicas have to become ready."""
    restarts = Restarts()
    restarts.delay_s("a", "ended", 10.0)
    assert restarts.hung([row("a", alive=False)], 69.0, 60.0) == {}
    assert restarts.hung([row("a", alive=False)], 71.0, 60.0) == {"a": "was not ready within 60 s"}
    assert restarts.hung([row("a")], 72.0, 60.0) == {}


class Part:
    """A part that a test ends."""

    def __init__(self, role: str, pid: int) -> None:
        self.role, self.pid, self.here, self.stopped = role, pid, True, 0
        self.end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.exited = asyncio.create_task(self._wait())

    async def _wait(self) -> int:
        return await self.end

    async def log_tail(self, lines: int = 15) -> str:
        return ""

    async def keep_log(self) -> None: ...

    async def stop(self) -> None:
        self.stopped += 1
        if not self.end.done():
            self.end.set_result(-15)


class Launcher:
    """Starts parts of a test; may refuse to."""

    def __init__(self) -> None:
        self.log_directory, self.stays = Path(), False
        self.started: list[Part] = []
        self.refusals = 0
        self.services = ["frontends"]
        self.parts: list[Part] = []

    async def __aenter__(self) -> Launcher:
        return self

    async def __aexit__(self, *error: object) -> None: ...

    async def start_frontends(self, started):
        self.parts = [Part(role, number) for number, role in enumerate(self.services, 1)]
        for part in self.parts:
            started(part)
        return [Endpoint("127.0.0.1", Ports())]

    async def start_replica(self, assignment: Assignment, endpoint: Endpoint) -> Part:
        if self.started and self.refusals:
            self.refusals -= 1
            raise LaunchError("no memory")
        self.started.append(Part(assignment.role, 100 + len(self.started)))
        return self.started[-1]

    async def cores_of(self, running: Part) -> tuple[int, ...]:
        return (1,)


SPEC = TensorSpec((1,), "float32")
DESCRIPTION = Description(name="noop", framework="numpy", input=SPEC, output=SPEC, takes=("floats",))


def placed(role: str, core: int) -> Assignment:
    return Assignment("here", role, (core,), None, False)


class Deployed(Deployment):
    """Without management frontends."""

    async def _bring_up(self) -> None:
        self._stack.push_async_callback(self._stop)
        self.endpoints = await self._launcher.start_frontends(self._watch)
        await self._start_replicas()
        self._up = True


def deployed(replicas: int, *, restart: bool = True) -> tuple[Deployed, Launcher]:
    rows = [placed(f"replica-{number}", 1) for number in range(replicas)]
    placement = Placement((placed("frontends", 0), *rows))
    config = DeploymentConfig(DESCRIPTION, "noop", placement, 2, restart_replicas=restart)
    launcher = Launcher()
    return Deployed(config, launcher), launcher  # type: ignore[arg-type]


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def no_delays(monkeypatch):
    monkeypatch.setattr("frontend_launch.launch.restarts.FIRST_DELAY_S", 0.0)


@pytest.mark.parametrize(("restart", "slo_micros"), [(False, 500_000), (True, 180_000_000)])
def test_queries_wait_for_a_replacement_for_as_long_as_one_may_take(restart, slo_micros):
    """Without one they get the default output soon."""

    class Admin:
        async def register_application(self, name, input_type, default_output, latency_slo_micros):
            slos.append(latency_slo_micros)

        async def register_model(self, *_, **__): ...

        async def link_model(self, *_): ...

    async def main() -> None:
        deployment, _ = deployed(1, restart=restart)
        await deployment._register(Admin())  # type: ignore[arg-type]

    slos: list[int] = []
    asyncio.run(main())
    assert slos == [slo_micros]


@pytest.mark.usefixtures("no_delays")
def test_a_replica_that_dies_is_replaced():
    """Also the last one, and the deployment goes on; its remains are cleared away once."""

    async def main() -> None:
        deployment, launcher = deployed(1)
        async with deployment:
            for number in range(3):
                launcher.started[number].end.set_result(-9)
                await turns()
            assert not deployment.failed.is_set()
            assert [part.stopped for part in launcher.started] == [1, 1, 1, 0]
            assert deployment.parts["replica-0"].pid == 103
            assert deployment.losses == [
                "replica-0 was replaced 3 times, the last time because it ended with exit code -9"
            ]
        assert [part.stopped for part in launcher.started] == [1, 1, 1, 1]

    asyncio.run(main())


def test_one_that_hangs_is_ended_and_replaced():
    """Its own end is no second reason."""

    async def main() -> None:
        deployment, launcher = deployed(2)
        async with deployment:
            await deployment._replace_hung(launcher.started[1], "did not answer in time")
            await turns()
            assert [part.role for part in launcher.started] == ["replica-0", "replica-1", "replica-1"]
            assert [part.stopped for part in launcher.started] == [0, 1, 0]
            assert deployment.losses == ["replica-1 was replaced once, because it did not answer in time"]

    asyncio.run(main())


@pytest.mark.usefixtures("no_delays")
def test_one_that_cannot_be_started_again_is_tried_again_and_given_up():
    """Then it is a loss; the last one ends the deployment."""

    async def main() -> None:
        deployment, launcher = deployed(2)
        async with deployment:
            launcher.refusals = 2
            launcher.started[0].end.set_result(1)
            await turns()
            assert [part.role for part in launcher.started] == ["replica-0", "replica-1", "replica-0"]
            launcher.refusals = 99
            launcher.started[1].end.set_result(1)
            await turns()
            assert not deployment.failed.is_set()
            assert "replica-1 ended with exit code 1; 1 replica goes on" in deployment.losses
            launcher.started[2].end.set_result(1)
            await turns()
            assert deployment.failed.is_set()
            assert "the last replica" in str(deployment.failure)

    asyncio.run(main())


def test_without_the_option_none_is_replaced():
    """As before."""

    async def main() -> None:
        deployment, launcher = deployed(2, restart=False)
        async with deployment:
            launcher.started[0].end.set_result(1)
            await turns()
            assert len(launcher.started) == 2
            assert deployment.losses == ["replica-0 ended with exit code 1; 1 replica goes on"]

    asyncio.run(main())


def test_what_no_query_needs_may_end():
    """Redis and the management frontend are losses, which the results name."""

    async def main() -> None:
        deployment, launcher = deployed(1, restart=False)
        launcher.services = ["redis", "management", "query"]
        async with deployment:
            for role in ("redis", "management"):
                next(part for part in launcher.parts if part.role == role).end.set_result(137)
            await turns()
            assert not deployment.failed.is_set()
            assert deployment.losses == [
                f"{role} ended with exit code 137; queries are served without it" for role in ("redis", "management")
            ]

    asyncio.run(main())


def test_a_deployment_that_is_stopped_replaces_nothing_more():
    """Nor is anything left of what it was about to start."""

    async def main() -> None:
        deployment, launcher = deployed(1)
        async with deployment:
            launcher.started[0].end.set_result(1)
        assert all(part.stopped for part in launcher.started)
        await turns()
        assert all(part.stopped for part in launcher.started)

    asyncio.run(main())


@pytest.mark.parametrize("role", ["frontends", "replica-1"])
def test_a_part_that_stays_stopped_ends_the_start(role):
    """Nothing can be measured before all are ready, and nothing is left; the reason is not how long that may take."""

    async def main() -> None:
        deployment, launcher = deployed(2)
        frontends: list[Part] = []

        async def never_ready() -> None:
            await Deployed._bring_up(deployment)
            deployment._up = False
            frontends.append(deployment.parts["frontends"])  # type: ignore[arg-type]
            asyncio.get_running_loop().call_soon(deployment._stays_stopped, role)
            await asyncio.get_running_loop().create_future()

        deployment._bring_up = never_ready  # type: ignore[method-assign]
        with pytest.raises(LaunchError, match=f"^{role} is stopped by a signal or a debugger for 10 s"):
            await deployment.__aenter__()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert [part.stopped for part in (*frontends, *launcher.started)] == [1, 1, 1]

    asyncio.run(main())
