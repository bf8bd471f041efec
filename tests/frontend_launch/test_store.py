"""One suite for every configuration store: each is a factory in `STORES`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from redis_server import redis_port

from frontend_launch.frontends.redis_store import open_store as open_store_in_redis
from frontend_launch.frontends.store import (
    ApplicationAdded,
    Changes,
    Event,
    LinksChanged,
    MemoryStore,
    ModelChanged,
    ReplicaAdded,
    Store,
    VersionChanged,
)
from frontend_launch.records import Application, ModelVersion, ReplicaRecord
from model_containers.data_types import DataType

PATIENCE_S = 10.0
"""How long an event may take before a test fails."""

APPLICATION = Application("vgg app", DataType.INTS, "TIMEOUT", 500_000)
MODEL = ModelVersion("vgg", "1", DataType.FLOATS, ("a", ""), "image", "path", 2)
REPLICA = ReplicaRecord("vgg", "1", 0, 5, DataType.FLOATS)

OpenStore = Callable[[], contextlib.AbstractAsyncContextManager[Store]]


@contextlib.asynccontextmanager
async def memory() -> AsyncIterator[Store]:
    """An empty store in memory."""
    yield MemoryStore()


@contextlib.asynccontextmanager
async def redis() -> AsyncIterator[Store]:
    """An empty store in a real Redis."""
    port = redis_port()
    async with Redis(port=port) as client:
        await client.flushall()
    async with open_store_in_redis("127.0.0.1", port) as store:
        yield store


STORES = [pytest.param(memory, id="memory"), pytest.param(redis, id="redis", marks=pytest.mark.docker)]


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    """Opens an empty store."""
    opener: OpenStore = request.param
    return opener


def on(open_store: OpenStore, scenario: Callable[[Store], Awaitable[None]]) -> None:
    """Play a scenario on an empty store."""

    async def play() -> None:
        async with open_store() as store:
            await scenario(store)

    asyncio.run(play())


async def take(changes: AsyncIterator[Event], count: int) -> list[Event]:
    """The next events."""
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(changes) for _ in range(count)]


def test_empty(open_store: OpenStore) -> None:
    """An empty store knows nothing, and says so without an error."""

    async def scenario(store: Store) -> None:
        assert await store.applications() == ()
        assert await store.models() == ()
        assert await store.replicas() == ()
        assert await store.application("app") is None
        assert await store.model("vgg", "1") is None
        assert await store.current_version("vgg") is None
        assert await store.replica("vgg", "1", 0) is None
        assert await store.linked_models("app") == ()
        assert await store.selection_state("app") == ""

    on(open_store, scenario)


def test_applications(open_store: OpenStore) -> None:
    """Applications come back as they were given, in the order of their names; their state is the default output."""
    others = [replace(APPLICATION, name=name) for name in ("z", "a,b:c", "")]

    async def scenario(store: Store) -> None:
        for application in (APPLICATION, *others):
            await store.add_application(application)
        assert await store.application(APPLICATION.name) == APPLICATION
        assert [a.name for a in await store.applications()] == ["", "a,b:c", "vgg app", "z"]
        assert await store.selection_state("z") == "TIMEOUT"

    on(open_store, scenario)


def test_links(open_store: OpenStore) -> None:
    """Each application has its own set of linked models."""

    async def scenario(store: Store) -> None:
        for application, model in [("one", "b"), ("one", "a"), ("one", "a"), ("two", "b")]:
            await store.link_model(application, model)
        assert await store.linked_models("one") == ("a", "b")
        assert await store.linked_models("two") == ("b",)

    on(open_store, scenario)


def test_models(open_store: OpenStore) -> None:
    """Model versions come back as they were given, in order, and replace what was there."""
    second = replace(MODEL, version="2", labels=("",), batch_size=1)

    async def scenario(store: Store) -> None:
        for model in (second, MODEL, replace(MODEL, name="a"), replace(MODEL, batch_size=8)):
            await store.add_model(model)
        assert await store.model("vgg", "1") == replace(MODEL, batch_size=8)
        assert await store.model("vgg", "2") == second
        assert [(m.name, m.version) for m in await store.models()] == [("a", "1"), ("vgg", "1"), ("vgg", "2")]

    on(open_store, scenario)


def test_current_version(open_store: OpenStore) -> None:
    """The current version is set apart from the model, and the last one counts."""

    async def scenario(store: Store) -> None:
        await store.add_model(MODEL)
        assert await store.current_version("vgg") is None
        await store.set_current_version("vgg", "1")
        await store.set_current_version("vgg", "2")
        assert await store.current_version("vgg") == "2"

    on(open_store, scenario)


def test_replicas(open_store: OpenStore) -> None:
    """Replicas come back as they were given, in the order of their numbers, not of their texts."""
    ids = (10, 9, 0)

    async def scenario(store: Store) -> None:
        for replica_id in ids:
            await store.add_replica(replace(REPLICA, replica_id=replica_id))
        assert await store.replica("vgg", "1", 0) == REPLICA
        assert await store.replica("vgg", "2", 0) is None
        assert [r.replica_id for r in await store.replicas()] == sorted(ids)

    on(open_store, scenario)


def test_changes(open_store: OpenStore) -> None:
    """Every write is told of, in order, to every watcher; what it names can be read by then."""

    async def scenario(store: Store) -> None:
        await store.add_application(replace(APPLICATION, name="before"))
        first, second = await store.watch(), await store.watch()
        await store.add_application(APPLICATION)
        await store.add_model(MODEL)
        await store.set_current_version("vgg", "1")
        await store.link_model("vgg app", "vgg")
        await store.add_replica(REPLICA)
        expected = [
            ApplicationAdded("vgg app"),
            ModelChanged("vgg", "1"),
            VersionChanged("vgg"),
            LinksChanged("vgg app"),
            ReplicaAdded("vgg", "1", 0),
        ]
        assert await take(first, 5) == expected
        assert await take(second, 5) == expected

    on(open_store, scenario)


def test_waits_for_changes(open_store: OpenStore) -> None:
    """A watcher that waits is woken, again and again."""

    async def scenario(store: Store) -> None:
        changes = await store.watch()
        for name in ("a", "b"):
            async with asyncio.TaskGroup() as group:
                taken = group.create_task(take(changes, 1))
                group.create_task(store.add_application(replace(APPLICATION, name=name)))
            assert taken.result() == [ApplicationAdded(name)]

    on(open_store, scenario)


def test_linking_again_is_no_change(open_store: OpenStore) -> None:
    """A link that exists is not told of a second time."""

    async def scenario(store: Store) -> None:
        await store.link_model("app", "vgg")
        changes = await store.watch()
        await store.link_model("app", "vgg")
        await store.set_current_version("vgg", "1")
        assert await take(changes, 1) == [VersionChanged("vgg")]

    on(open_store, scenario)


def test_cancelled_waits_lose_nothing() -> None:
    """A cancelled wait leaves the next change to the next wait."""

    async def scenario() -> None:
        changes = Changes()
        waiting = asyncio.create_task(anext(changes))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        changes.put(VersionChanged("vgg"))
        assert await take(changes, 1) == [VersionChanged("vgg")]

    asyncio.run(scenario())


def test_what_waits_is_bounded() -> None:
    """A change that happens a thousand times before it is taken is one event, in its first place."""

    async def scenario() -> None:
        changes = Changes()
        for _ in range(1000):
            changes.put(ModelChanged("vgg", "1"))
            changes.put(VersionChanged("vgg"))
        changes.put(LinksChanged("last"))
        assert await take(changes, 3) == [ModelChanged("vgg", "1"), VersionChanged("vgg"), LinksChanged("last")]
        changes.put(VersionChanged("vgg"))
        assert await take(changes, 1) == [VersionChanged("vgg")]

    asyncio.run(scenario())


def test_subscriptions_end_by_themselves() -> None:
    """A store does not keep the changes that no reader holds any more."""

    async def scenario() -> None:
        store = MemoryStore()
        changes = await store.watch()
        gone = weakref.ref(changes)
        del changes
        gc.collect()
        assert gone() is None
        await store.add_application(APPLICATION)

    asyncio.run(scenario())
