"""The store in Redis when Redis is not there, refuses, or lost all that it had."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from copy import deepcopy
from dataclasses import replace

import pytest
from memory_redis import MemoryRedis, until

from frontend_launch.errors import StoreError
from frontend_launch.frontends import redis_store
from frontend_launch.frontends.assembly import redis
from frontend_launch.frontends.redis_store import open_store
from frontend_launch.records import Application, ModelVersion, ReplicaRecord
from model_containers.data_types import DataType

APPLICATION = Application("app", DataType.INTS, "TIMEOUT", 500_000)
MODEL = ModelVersion("vgg", "1", DataType.FLOATS, ("a", "b"), "image", "path", 2)
REPLICA = ReplicaRecord("vgg", "1", 3, 5, DataType.FLOATS)


async def fill(store):
    """All that frontends write."""
    await store.add_application(APPLICATION)
    await store.add_selection_state(APPLICATION)
    await store.add_model(MODEL)
    await store.set_current_version("vgg", "1")
    for model in ("vgg", "other"):
        await store.link_model("app", model)


async def read(store):
    """All that frontends read."""
    return (
        await store.applications(),
        await store.models(),
        await store.current_version("vgg"),
        await store.linked_models("app"),
        await store.selection_state("app"),
    )


def kept(server):
    """What Redis has, by database."""
    return {number: deepcopy(rows) for number, rows in server.databases.items() if rows}


@contextlib.asynccontextmanager
async def watching(server):
    """A store that knows when Redis is back."""
    async with open_store("127.0.0.1", server.port) as store, asyncio.timeout(60):
        await store.watch()
        yield store


async def restarted(server, caplog):
    """Redis has lost all, and all stores know."""
    caplog.clear()
    await server.stop()
    await until(lambda: "is gone" in caplog.text)
    await server.start()
    await until(lambda: "is back" in caplog.text)


@pytest.fixture(autouse=True)
def told(caplog):
    """What the store logs."""
    caplog.set_level(logging.INFO)


def test_what_was_written_is_written_again(caplog):
    """Into a Redis that comes back empty: by the process that wrote it, replicas too."""

    async def scenario():
        async with MemoryRedis() as server, watching(server) as store:
            await fill(store)
            await store.add_replica(REPLICA)
            before = kept(server)
            await restarted(server, caplog)
            assert kept(server) == before

    asyncio.run(scenario())


def test_what_was_read_is_written_again(caplog):
    """By a query frontend, where the management frontend is gone too; the replicas of others are theirs."""

    async def scenario():
        async with MemoryRedis() as server:
            async with open_store("127.0.0.1", server.port) as writer:
                await fill(writer)
            before = kept(server)
            async with watching(server) as reader:
                await read(reader)
                async with open_store("127.0.0.1", server.port) as writer:
                    await writer.add_replica(REPLICA)
                await reader.replicas()
                await restarted(server, caplog)
                assert kept(server) == before

    asyncio.run(scenario())


def test_what_is_there_is_not_written_again(caplog):
    """It may be newer."""

    async def scenario():
        async with MemoryRedis() as server, watching(server) as store:
            await fill(store)
            caplog.clear()
            await server.stop()
            await until(lambda: "is gone" in caplog.text)
            async with MemoryRedis() as scratch, open_store("127.0.0.1", scratch.port) as other:
                await other.add_model(replace(MODEL, batch_size=64))
                server.databases.update(deepcopy(scratch.databases))
            await server.start()
            await until(lambda: "is back" in caplog.text)
            assert (await store.model("vgg", "1")).batch_size == 64
            assert await store.application("app") == APPLICATION

    asyncio.run(scenario())


def test_a_redis_that_is_not_there_is_named_at_once(monkeypatch, caplog):
    """And given up after a time, with what to do."""
    monkeypatch.setattr(redis_store, "FIRST_TIMEOUT_S", 0.2)

    async def scenario():
        async with redis("127.0.0.1", 1):
            raise AssertionError("nothing is there")

    with pytest.raises(
        StoreError, match=r"^Redis at 127\.0\.0\.1:1: cannot be reached within 0 s .*; start it, or name"
    ):
        asyncio.run(scenario())
    (text,) = caplog.messages
    assert text.startswith("Redis at 127.0.0.1:1 does not answer (Error 111 connecting to 127.0.0.1:1.")


def test_a_redis_that_is_started_later(caplog):
    """Is waited for."""

    async def scenario():
        server = MemoryRedis()
        with socket.create_server(("127.0.0.1", 0)) as free:
            server.port = free.getsockname()[1]

        async def later():
            await until(lambda: "does not answer" in caplog.text)
            await server.start()

        async def reach():
            async with redis("127.0.0.1", server.port) as store:
                return await store.applications()

        found, _ = await asyncio.gather(reach(), later())
        await server.stop()
        assert found == ()

    asyncio.run(scenario())


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_redis_that_refuses_is_not_waited_for(password):
    """No time makes that better."""

    async def scenario():
        async with MemoryRedis("right") as server, redis("127.0.0.1", server.port, password):
            raise AssertionError("it refuses")

    with pytest.raises(StoreError, match=r"refuses this process: .*; name its password$"):
        asyncio.run(scenario())
