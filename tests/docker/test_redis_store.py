"""What only a store behind a socket can go through: the schema as others see it, and Redis going away."""

import asyncio
import contextlib
import json
import logging

import pytest
from redis.asyncio import Redis
from redis_server import RedisServer

from frontend_launch.errors import StoreError
from frontend_launch.frontends.directory import Directory
from frontend_launch.frontends.management import make_app
from frontend_launch.frontends.metrics import Registry
from frontend_launch.frontends.redis_store import RedisStore, open_store
from frontend_launch.records import Application, ModelVersion, ReplicaRecord
from model_containers.data_types import DataType

APPLICATION = Application("app", DataType.INTS, "TIMEOUT", 500_000)
MODEL = ModelVersion("vgg", "1", DataType.FLOATS, ("a", "b"), "image", "path", 2)
REPLICA = ReplicaRecord("vgg", "1", 3, 5, DataType.FLOATS)


@pytest.fixture(scope="module")
def server():
    server = RedisServer()
    yield server
    server.remove()


def play(server, scenario):
    async def on_an_empty_store():
        async with Redis(port=server.port) as client:
            await client.flushall()
        async with open_store("127.0.0.1", server.port) as store, asyncio.timeout(60):
            await scenario(store)

    asyncio.run(on_an_empty_store())


async def until(condition):
    """Poll what happens in another task; the deadline makes a failure, never a pass."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


def test_the_schema_is_the_original_s(server):
    """Databases, keys, types and fields, as the specification has them."""

    async def scenario(store):
        await store.add_application(APPLICATION)
        await store.add_selection_state(APPLICATION)
        await store.link_model("app", "vgg")
        await store.add_model(MODEL)
        await store.set_current_version("vgg", "1")
        await store.add_replica(REPLICA)
        found = {}
        for database in range(8):
            async with Redis(port=server.port, db=database, decode_responses=True) as client:
                for key in await client.keys("*"):
                    kind = await client.type(key)
                    assert isinstance(kind, str)
                    read = {"string": client.get, "hash": client.hgetall, "set": client.smembers}[kind]
                    found[database, key] = await read(key)
        assert found == {
            (1, "app:0:0"): '{"y_hat":"TIMEOUT"}',
            (2, "vgg:1"): {
                "model_name": "vgg",
                "model_version": "1",
                "load": "0.000000",
                "input_type": "floats",
                "labels": "a,b",
                "container_name": "image",
                "model_data_path": "path",
                "batch_size": "2",
            },
            (3, "vgg,1,3"): {
                "model_id": "vgg:1",
                "model_name": "vgg",
                "model_version": "1",
                "model_replica_id": "3",
                "zmq_connection_id": "5",
                "batch_size": "1",
                "input_type": "floats",
            },
            (5, "app"): {
                "input_type": "integers",
                "policy": "DefaultOutputSelectionPolicy",
                "default_output": "TIMEOUT",
                "latency_slo_micros": "500000",
            },
            (6, "CURRENT_MODEL_VERSION:vgg"): "1",
            (7, "app"): {"vgg"},
        }

    play(server, scenario)


def test_what_another_component_writes_is_followed(server):
    """By its notifications: an application, its link, a version, a batch size."""

    async def scenario(store):
        directory = Directory(store, Registry())
        await directory.start()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(directory.stop)

            async def client(database):
                return await stack.enter_async_context(Redis(port=server.port, db=database))

            row = {"input_type": "floats", "policy": "p", "default_output": "no", "latency_slo_micros": 1}
            await (await client(5)).hset("other", mapping=row)
            await (await client(7)).sadd("other", "vgg")
            await (await client(6)).set("CURRENT_MODEL_VERSION:vgg", "9")
            model = {"model_name": "vgg", "model_version": "9", "load": 0, "input_type": "floats", "labels": ""}
            model |= {"container_name": "", "model_data_path": "", "batch_size": 16}
            await (await client(2)).hset("vgg:9", mapping=model)
            await until(lambda: directory.max_batch(("vgg", "9")) == 16)
            await until(lambda: "other" in directory.applications and directory.applications["other"].models)
            assert directory.model_of(directory.applications["other"]) == ("vgg", "9")
            assert json.loads(await (await client(1)).get("other:0:0")) == {"y_hat": "no"}

    play(server, scenario)


def test_what_cannot_be_read_is_left_out(server, caplog):
    """And said: another component may write what we do not know."""

    async def scenario(store):
        async with Redis(port=server.port, db=5) as client:
            await client.hset("odd", mapping={"input_type": "complex"})
        async with Redis(port=server.port, db=3) as client:
            await client.hset("no-commas", mapping={"model_id": "x"})
        assert await store.applications() == ()
        assert await store.replicas() == ()

    play(server, scenario)
    assert "key 'odd' cannot be read" in caplog.text


def test_redis_goes_away_and_comes_back_empty(server, caplog):
    """What is known stays; replicas are written again; what is new afterwards is followed; both are said once."""
    caplog.set_level(logging.INFO)

    async def scenario(store):
        directory = Directory(store, Registry())
        await store.add_application(APPLICATION)
        await store.add_replica(REPLICA)
        await directory.start()
        try:
            server.stop()
            await until(lambda: "is gone" in caplog.text)
            with pytest.raises(StoreError, match="does not answer"):
                await store.add_model(MODEL)
            assert "app" in directory.applications
            server.start()
            await until(lambda: "is back" in caplog.text)
            assert await store.replicas() == (REPLICA,)
            assert "app" in directory.applications
            await store.add_model(MODEL)
            await until(lambda: directory.max_batch(("vgg", "1")) == 2)
        finally:
            await directory.stop()

    play(server, scenario)
    assert caplog.text.count("is gone") == 1


def test_without_redis_nothing_can_begin(monkeypatch):
    """One line, within bounds."""
    monkeypatch.setattr("frontend_launch.frontends.redis_store.FIRST_TIMEOUT_S", 0.5)

    async def scenario():
        async with open_store("127.0.0.1", 1) as store:
            with pytest.raises(StoreError, match=r"Redis at 127\.0\.0\.1:1: cannot be reached"):
                await store.watch()

    asyncio.run(scenario())


def test_rest_says_when_the_store_is_gone(monkeypatch):
    """503: the fault is not the caller's."""
    from aiohttp.test_utils import TestClient, TestServer

    monkeypatch.setattr("frontend_launch.frontends.redis_store.RETRIES", 0)

    async def scenario():
        async with TestClient(TestServer(make_app(RedisStore("127.0.0.1", 1)))) as client:
            answer = await client.post("/admin/get_all_models", json={"verbose": False})
            assert answer.status == 503
            assert "127.0.0.1:1" in await answer.text()

    asyncio.run(scenario())
