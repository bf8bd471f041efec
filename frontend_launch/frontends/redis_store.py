"""The configuration store in Redis, for frontends that are several processes or containers.

Databases, keys, hash fields and notifications are those of the original (the table at `Store`), so that one of its
components can take part. While Redis cannot be reached its readers keep what they know. When it is back, this process
writes again what Redis lost of its writes and reads. Then it tells its watchers of everything that is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from weakref import WeakSet

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError
from typing_extensions import override

from frontend_launch.errors import StoreError
from frontend_launch.frontends.store import (
    ApplicationAdded,
    Changes,
    Event,
    LinksChanged,
    ModelChanged,
    ReplicaAdded,
    Store,
    VersionChanged,
    remember,
)
from frontend_launch.records import Application, ModelVersion, ReplicaRecord
from model_containers.data_types import DataType
from model_containers.errors import WireError

log = logging.getLogger(__name__)

STATES, MODELS, REPLICAS, APPLICATIONS, METADATA, LINKS = 1, 2, 3, 5, 6, 7
"""Numbers of the databases."""

CURRENT = "CURRENT_MODEL_VERSION:"
POLICY = "DefaultOutputSelectionPolicy"
"""The only selection policy of the original."""

TIMEOUT_S = 5.0
"""Patience for one answer of Redis."""

FIRST_TIMEOUT_S = 30.0
"""Patience for a Redis that is started at the same time."""

RETRIES = 5
FIRST_DELAY_S, LAST_DELAY_S = 0.1, 5.0
"""Between two attempts to reach a Redis that is gone."""

_KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3}
"""A machine that vanished is noticed after some 11 s."""

_EVENTS = {MODELS: "hset", REPLICAS: "hset", APPLICATIONS: "hset", METADATA: "set", LINKS: "sadd"}


class RedisStore(Store):
    """The store of frontends that are containers, in Redis; `open_store` opens one.

    Args:
        host: of Redis.
        port: of Redis.
        password: of Redis; None for none.
    """

    def __init__(self, host: str, port: int, password: str | None = None) -> None:
        self._address = f"{host}:{port}"
        self._clients = {
            database: _client(host, port, password, database, Retry(ExponentialBackoff(cap=0.5, base=0.05), RETRIES))
            for database in (STATES, *_EVENTS)
        }
        # Does not retry by itself: changes made while Redis was away would be missed silently.
        self._listening = _client(host, port, password, 0, Retry(NoBackoff(), 0), socket_timeout=None)
        self._watchers: WeakSet[Changes] = WeakSet()
        self._listener: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._own_replicas: dict[tuple[str, str, int], ReplicaRecord] = {}
        self._known: dict[tuple[int, str], Mapping[str, str] | str | frozenset[str]] = {}
        """Hashes, strings and sets that are not replicas, by database and key."""

    async def reach(self) -> None:
        """Wait until Redis answers, which may be started at the same time.

        Raises:
            StoreError: it does not, or not to this process.
        """
        give_up_s, told = time.monotonic() + FIRST_TIMEOUT_S, False
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    answer: Any = self._listening.ping()
                    await answer
                return
            except (AuthenticationError, AuthorizationError) as error:
                raise StoreError(
                    f"Redis at {self._address}: refuses this process: {error}; name its password"
                ) from None
            except (RedisError, OSError) as error:
                reason = str(error) or type(error).__name__
            if time.monotonic() > give_up_s:
                problem = f"Redis at {self._address}: cannot be reached within {FIRST_TIMEOUT_S:.0f} s ({reason})"
                raise StoreError(f"{problem}; start it, or name another one")
            if not told:
                log.warning(
                    "Redis at %s does not answer (%s): trying for %.0f s", self._address, reason, FIRST_TIMEOUT_S
                )
                told = True
            await asyncio.sleep(FIRST_DELAY_S)

    async def close(self) -> None:
        """Let go of all connections."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        for client in (*self._clients.values(), self._listening):
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()

    # Changes -------------------------------------------------------------------------------------------

    @override
    async def watch(self) -> AsyncIterator[Event]:
        """Subscribe to changes; a first call waits until Redis has confirmed the subscription.

        Raises:
            StoreError: Redis cannot be reached.
        """
        changes = Changes()
        self._watchers.add(changes)
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name="changes in Redis")
        try:
            async with asyncio.timeout(FIRST_TIMEOUT_S):
                await self._subscribed.wait()
        except TimeoutError:
            raise StoreError(f"Redis at {self._address}: cannot be reached within {FIRST_TIMEOUT_S:.0f} s") from None
        return changes

    async def _listen(self) -> None:
        """Subscribe and pass on changes; when Redis was gone, tell of all there is as if it had changed."""
        delay_s, gone = FIRST_DELAY_S, False
        while True:
            try:
                async with self._listening.pubsub() as pubsub:
                    await self._subscribe(pubsub)
                    if gone:
                        await self._catch_up()
                        log.info("Redis at %s is back: everything was read again", self._address)
                    delay_s, gone = FIRST_DELAY_S, False
                    self._subscribed.set()
                    async for message in pubsub.listen():
                        self._on_message(message)
            except (RedisError, StoreError, OSError) as error:
                if not gone:
                    log.warning("Redis at %s is gone (%s): going on with what is known", self._address, error)
                gone = True
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LAST_DELAY_S)

    async def _subscribe(self, pubsub: PubSub) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self._listening.config_set("notify-keyspace-events", "AKE")
            await pubsub.psubscribe(*(f"__keyspace@{database}__:*" for database in _EVENTS))
            for _ in _EVENTS:  # a subscription holds once it is confirmed
                await pubsub.get_message(timeout=TIMEOUT_S)

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message["type"] != "pmessage":
            return
        topic, _, key = message["channel"].partition(":")
        database = int(topic.removeprefix("__keyspace@").removesuffix("__"))
        if message["data"] == _EVENTS[database]:
            self._notify(database, key)

    def _notify(self, database: int, key: str) -> None:
        event = _event(database, key)
        if event is not None:
            for changes in self._watchers:
                changes.put(event)

    async def _catch_up(self) -> None:
        for (database, key), value in tuple(self._known.items()):
            if not await self._do(self._clients[database].exists(key)):
                await self._write(database, key, value)
        for replica in tuple(self._own_replicas.values()):
            await self.add_replica(replica)
        for database in _EVENTS:
            for key in await self._keys(database):
                self._notify(database, key)

    # Applications --------------------------------------------------------------------------------------

    @override
    async def add_application(self, application: Application) -> None:
        row = {
            "input_type": application.input_type.canonical,
            "policy": POLICY,
            "default_output": application.default_output,
            "latency_slo_micros": str(application.latency_slo_micros),
        }
        await self._write(APPLICATIONS, application.name, row)

    @override
    async def application(self, name: str) -> Application | None:
        row = await self._hash(APPLICATIONS, name)
        found: Application | None = None
        with _readable(APPLICATIONS, name):
            if row is not None:
                found = Application(
                    name, DataType.parse(row["input_type"]), row["default_output"], int(row["latency_slo_micros"])
                )
        return found

    @override
    async def applications(self) -> tuple[Application, ...]:
        found = [await self.application(name) for name in await self._keys(APPLICATIONS)]
        return tuple(application for application in found if application is not None)

    @override
    async def link_model(self, application: str, model: str) -> None:
        linked = self._known.get((LINKS, application), frozenset())
        assert isinstance(linked, frozenset)
        await self._do(self._clients[LINKS].sadd(application, model))
        self._known[LINKS, application] = linked | {model}

    @override
    async def linked_models(self, application: str) -> tuple[str, ...]:
        linked: set[str] = await self._do(self._clients[LINKS].smembers(application))
        if linked:
            self._known[LINKS, application] = frozenset(linked)
        return tuple(sorted(linked))

    @override
    async def add_selection_state(self, application: Application) -> None:
        state = json.dumps({"y_hat": application.default_output}, separators=(",", ":"))
        await self._write(STATES, f"{application.name}:0:0", state)

    @override
    async def selection_state(self, application: str) -> str:
        state = await self._do(self._clients[STATES].get(f"{application}:0:0"))
        if state is not None:
            self._known[STATES, f"{application}:0:0"] = str(state)
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return str(json.loads(state)["y_hat"])
        known = await self.application(application)
        return known.default_output if known else ""

    # Models --------------------------------------------------------------------------------------------

    @override
    async def add_model(self, model: ModelVersion) -> None:
        row = {
            "model_name": model.name,
            "model_version": model.version,
            "load": "0.000000",
            "input_type": model.input_type.canonical,
            "labels": ",".join(model.labels),
            "container_name": model.container_name,
            "model_data_path": model.model_data_path,
            "batch_size": str(model.batch_size),
        }
        await self._write(MODELS, f"{model.name}:{model.version}", row)

    @override
    async def model(self, name: str, version: str) -> ModelVersion | None:
        key = f"{name}:{version}"
        row = await self._hash(MODELS, key)
        found: ModelVersion | None = None
        with _readable(MODELS, key):
            if row is not None:
                found = ModelVersion(
                    name=row["model_name"],
                    version=row["model_version"],
                    input_type=DataType.parse(row["input_type"]),
                    labels=tuple(row["labels"].split(",")),
                    container_name=row["container_name"],
                    model_data_path=row["model_data_path"],
                    batch_size=int(row["batch_size"]),
                )
        return found

    @override
    async def models(self) -> tuple[ModelVersion, ...]:
        keys = [key.partition(":") for key in await self._keys(MODELS)]
        found = [await self.model(name, version) for name, _, version in sorted(keys)]
        return tuple(model for model in found if model is not None)

    @override
    async def set_current_version(self, model: str, version: str) -> None:
        await self._write(METADATA, CURRENT + model, version)

    @override
    async def current_version(self, model: str) -> str | None:
        version = await self._do(self._clients[METADATA].get(CURRENT + model))
        if version is None:
            return None
        self._known[METADATA, CURRENT + model] = str(version)
        return str(version)

    # Replicas ------------------------------------------------------------------------------------------

    @override
    async def add_replica(self, replica: ReplicaRecord) -> None:
        identity = (replica.model_name, replica.model_version, replica.replica_id)
        remember(self._own_replicas, identity, replica)
        row: dict[Any, Any] = {
            "model_id": f"{replica.model_name}:{replica.model_version}",
            "model_name": replica.model_name,
            "model_version": replica.model_version,
            "model_replica_id": str(replica.replica_id),
            "zmq_connection_id": str(replica.connection_id),
            "batch_size": "1",  # as the original, which keeps the real one with the model
            "input_type": replica.input_type.canonical,
        }
        await self._do(self._clients[REPLICAS].hset(",".join(map(str, identity)), mapping=row))

    @override
    async def replica(self, model_name: str, model_version: str, replica_id: int) -> ReplicaRecord | None:
        key = f"{model_name},{model_version},{replica_id}"
        row = await self._hash(REPLICAS, key)
        found: ReplicaRecord | None = None
        with _readable(REPLICAS, key):
            if row is not None:
                found = ReplicaRecord(
                    row["model_name"],
                    row["model_version"],
                    int(row["model_replica_id"]),
                    int(row["zmq_connection_id"]),
                    DataType.parse(row["input_type"]),
                )
        return found

    @override
    async def replicas(self) -> tuple[ReplicaRecord, ...]:
        events = [_event(REPLICAS, key) for key in await self._keys(REPLICAS)]
        keys = sorted((e.model_name, e.model_version, e.replica_id) for e in events if isinstance(e, ReplicaAdded))
        found = [await self.replica(*key) for key in keys]
        return tuple(replica for replica in found if replica is not None)

    # Redis ---------------------------------------------------------------------------------------------

    async def _write(self, database: int, key: str, value: Mapping[str, str] | str | frozenset[str]) -> None:
        """Write a hash, a string, or members of a set in one command, which is one event; and know them from now on."""
        client = self._clients[database]
        match value:
            case str():
                await self._do(client.set(key, value))
            case frozenset():
                await self._do(client.sadd(key, *sorted(value)))
            case _:
                row: dict[Any, Any] = dict(value)
                await self._do(client.hset(key, mapping=row))
        self._known[database, key] = value

    async def _hash(self, database: int, key: str) -> dict[str, str] | None:
        row: dict[str, str] = await self._do(self._clients[database].hgetall(key))
        if row and database != REPLICAS:
            self._known[database, key] = row
        return row or None

    async def _keys(self, database: int) -> list[str]:
        async def scan() -> list[str]:
            return sorted([key async for key in self._clients[database].scan_iter(count=1000)])

        keys: list[str] = await self._do(scan())
        return keys

    async def _do(self, operation: Any) -> Any:
        """Wait for Redis, within bounds.

        Raises:
            StoreError: it cannot be reached, or refuses.
        """
        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                return await operation
        except (RedisError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise StoreError(f"the configuration store, Redis at {self._address}, does not answer: {reason}") from None


@contextlib.asynccontextmanager
async def open_store(host: str, port: int, password: str | None = None) -> AsyncIterator[RedisStore]:
    """A store while the context lasts.

    Args:
        host: of Redis.
        port: of Redis.
        password: of Redis; None for none.
    """
    store = RedisStore(host, port, password)
    try:
        yield store
    finally:
        await store.close()


def _client(
    host: str, port: int, password: str | None, database: int, retry: Retry, socket_timeout: float | None = TIMEOUT_S
) -> Redis:
    return Redis(
        host=host,
        port=port,
        password=password,
        db=database,
        decode_responses=True,
        encoding_errors="replace",
        retry=retry,
        socket_timeout=socket_timeout,
        socket_connect_timeout=TIMEOUT_S,
        socket_keepalive=True,
        socket_keepalive_options=_KEEPALIVE,
    )


def _event(database: int, key: str) -> Event | None:
    """What the change of a key means; None for a key of another program."""
    if database == APPLICATIONS:
        return ApplicationAdded(key)
    if database == LINKS:
        return LinksChanged(key)
    if database == METADATA:
        return VersionChanged(key.removeprefix(CURRENT)) if key.startswith(CURRENT) else None
    if database == MODELS:
        name, colon, version = key.partition(":")
        return ModelChanged(name, version) if colon else None
    parts = key.split(",")
    return ReplicaAdded(parts[0], parts[1], int(parts[2])) if len(parts) == 3 and parts[2].isdecimal() else None


@contextlib.contextmanager
def _readable(database: int, key: str) -> Iterator[None]:
    """What another component wrote and we cannot read is left out, and said."""
    try:
        yield
    except (KeyError, ValueError, WireError) as error:
        log.warning("database %d, key %r cannot be read and is left out: %r", database, key, error)
