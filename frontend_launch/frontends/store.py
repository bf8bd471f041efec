"""The configuration store of both frontends: its interface, its events, and the one in memory.

Everything is a coroutine, so that a store behind a socket fits the same protocol. Applications and models are never
removed, as in the original: a store grows with what is registered, and with nothing else. The one in memory refuses
more than some number of them, and forgets the oldest replicas.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakSet

from typing_extensions import override

from frontend_launch.errors import StoreError
from frontend_launch.records import Application, ModelVersion, ReplicaRecord

MAX_APPLICATIONS = MAX_MODELS = 32_768
"""That a store in memory takes; of models each version counts."""

MAX_TEXT = 64 << 20
"""Characters of all their names and texts."""

MAX_REPLICAS = 16_384
"""Registrations that a process remembers; beyond it the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class ApplicationAdded:
    """An application was registered."""

    name: str


@dataclass(frozen=True, slots=True)
class LinksChanged:
    """An application has another set of linked models."""

    application: str


@dataclass(frozen=True, slots=True)
class VersionChanged:
    """A model has another current version."""

    model: str


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """A model version was registered; its batch size may be another."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class ReplicaAdded:
    """A replica registered."""

    model_name: str
    model_version: str
    replica_id: int


Event = ApplicationAdded | LinksChanged | VersionChanged | ModelChanged | ReplicaAdded
"""A change names what to read again, not what it became."""


class Store(Protocol):
    """The configuration of one deployment. Writing what exists replaces it; checks are for the caller.

    The layout in Redis, whose notifications are the events:

    ==================== == ============================== ====== ======= ==================
    kept                 DB key                            type   event   is
    ==================== == ============================== ====== ======= ==================
    selection state      1  ``APP:0:0``                    string
    model version        2  ``NAME:VERSION``               hash   hset    `ModelChanged`
    replica              3  ``NAME,VERSION,REPLICA ID``    hash   hset    `ReplicaAdded`
    application          5  ``APP``                        hash   hset    `ApplicationAdded`
    current version      6  ``CURRENT_MODEL_VERSION:NAME`` string set     `VersionChanged`
    linked models        7  ``APP``                        set    sadd    `LinksChanged`
    ==================== == ============================== ====== ======= ==================
    """

    async def watch(self) -> AsyncIterator[Event]:
        """Subscribe to changes: everything that is written after this returns comes out of the iterator.

        The iterator never ends; who waits for it is cancelled. A change that is not yet taken when the same
        happens again comes once. Letting go of the iterator ends the subscription.
        """
        ...

    async def add_application(self, application: Application) -> None:
        """Keep an application."""
        ...

    async def application(self, name: str) -> Application | None:
        """The application of this name."""
        ...

    async def applications(self) -> tuple[Application, ...]:
        """All of them, by name."""
        ...

    async def link_model(self, application: str, model: str) -> None:
        """Add a model to those that an application asks.

        Args:
            application: its name.
            model: its name, without a version.
        """
        ...

    async def linked_models(self, application: str) -> tuple[str, ...]:
        """Names of the models that an application asks, in order; empty for an unknown application."""
        ...

    async def add_selection_state(self, application: Application) -> None:
        """Keep the text behind an application's default answer."""
        ...

    async def selection_state(self, application: str) -> str:
        """The text behind an application's default answer; empty for an unknown application."""
        ...

    async def add_model(self, model: ModelVersion) -> None:
        """Keep a model version; it does not become the current one by this."""
        ...

    async def model(self, name: str, version: str) -> ModelVersion | None:
        """One version of a model.

        Args:
            name: of the model.
            version: of the model.
        """
        ...

    async def models(self) -> tuple[ModelVersion, ...]:
        """All versions of all models, by name and version."""
        ...

    async def set_current_version(self, model: str, version: str) -> None:
        """Send a model's queries to this version from now on.

        Args:
            model: its name.
            version: need not be registered; checks are for the caller.
        """
        ...

    async def current_version(self, model: str) -> str | None:
        """The version that a model's queries go to."""
        ...

    async def add_replica(self, replica: ReplicaRecord) -> None:
        """Keep a replica that registered."""
        ...

    async def replica(self, model_name: str, model_version: str, replica_id: int) -> ReplicaRecord | None:
        """One replica of a model version.

        Args:
            model_name: of the model.
            model_version: of the model.
            replica_id: as the query frontend numbers replicas of this version, from 0.
        """
        ...

    async def replicas(self) -> tuple[ReplicaRecord, ...]:
        """All replicas that ever registered, by model, version and id."""
        ...


class Changes:
    """One subscription, an `AsyncIterator` of events in the order of their first occurrence.

    What waits to be taken is bounded by what the store holds, since the same event waits only once.
    """

    def __init__(self) -> None:
        self._waiting: dict[Event, None] = {}
        self._any = asyncio.Event()

    def put(self, event: Event) -> None:
        """Tell of a change."""
        self._waiting[event] = None
        self._any.set()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            self._any.clear()
            await self._any.wait()
        event = next(iter(self._waiting))
        del self._waiting[event]
        return event


ReplicaKey = tuple[str, str, int]
"""Model name, version, and replica id."""


def remember(replicas: dict[ReplicaKey, ReplicaRecord], key: ReplicaKey, replica: ReplicaRecord) -> None:
    """Add a replica to those that are known; of very many the oldest is forgotten.

    Args:
        replicas: that are known.
        key: of the replica.
        replica: which.
    """
    replicas[key] = replica
    if len(replicas) > MAX_REPLICAS:
        del replicas[next(iter(replicas))]


class MemoryStore(Store):
    """The store of frontends that share one process and one loop; its operations never suspend."""

    def __init__(self) -> None:
        self._applications: dict[str, Application] = {}
        self._links: dict[str, set[str]] = {}
        self._models: dict[tuple[str, str], ModelVersion] = {}
        self._current: dict[str, str] = {}
        self._replicas: dict[ReplicaKey, ReplicaRecord] = {}
        self._text = 0
        # Weak, so that a watcher which is gone needs no farewell.
        self._watchers: WeakSet[Changes] = WeakSet()

    @override
    async def watch(self) -> AsyncIterator[Event]:
        changes = Changes()
        self._watchers.add(changes)
        return changes

    def _notify(self, event: Event) -> None:
        for changes in self._watchers:
            changes.put(event)

    def _make_room(self, what: str, known: int, most: int, *texts: str) -> None:
        """Account for an entry that is new.

        Raises:
            StoreError: there are too many.
        """
        length = sum(map(len, texts))
        if known >= most or self._text + length > MAX_TEXT:
            raise StoreError(f"no room for more {what}: {known} are here, with {self._text} characters of text in all")
        self._text += length

    @override
    async def add_application(self, application: Application) -> None:
        if application.name not in self._applications:
            texts = application.name, application.default_output
            self._make_room("applications", len(self._applications), MAX_APPLICATIONS, *texts)
        self._applications[application.name] = application
        self._notify(ApplicationAdded(application.name))

    @override
    async def application(self, name: str) -> Application | None:
        return self._applications.get(name)

    @override
    async def applications(self) -> tuple[Application, ...]:
        return tuple(application for _, application in sorted(self._applications.items()))

    @override
    async def link_model(self, application: str, model: str) -> None:
        links = self._links.setdefault(application, set())
        if model not in links:
            links.add(model)
            self._notify(LinksChanged(application))

    @override
    async def linked_models(self, application: str) -> tuple[str, ...]:
        return tuple(sorted(self._links.get(application, ())))

    @override
    async def add_selection_state(self, application: Application) -> None:
        """Nothing to do: the application's record has the text already."""

    @override
    async def selection_state(self, application: str) -> str:
        known = self._applications.get(application)
        return known.default_output if known else ""

    @override
    async def add_model(self, model: ModelVersion) -> None:
        if (model.name, model.version) not in self._models:
            texts = model.name, model.version, model.container_name, model.model_data_path, *model.labels
            self._make_room("models", len(self._models), MAX_MODELS, *texts)
        self._models[model.name, model.version] = model
        self._notify(ModelChanged(model.name, model.version))

    @override
    async def model(self, name: str, version: str) -> ModelVersion | None:
        return self._models.get((name, version))

    @override
    async def models(self) -> tuple[ModelVersion, ...]:
        return tuple(model for _, model in sorted(self._models.items()))

    @override
    async def set_current_version(self, model: str, version: str) -> None:
        self._current[model] = version
        self._notify(VersionChanged(model))

    @override
    async def current_version(self, model: str) -> str | None:
        return self._current.get(model)

    @override
    async def add_replica(self, replica: ReplicaRecord) -> None:
        key = (replica.model_name, replica.model_version, replica.replica_id)
        remember(self._replicas, key, replica)
        self._notify(ReplicaAdded(*key))

    @override
    async def replica(self, model_name: str, model_version: str, replica_id: int) -> ReplicaRecord | None:
        return self._replicas.get((model_name, model_version, replica_id))

    @override
    async def replicas(self) -> tuple[ReplicaRecord, ...]:
        return tuple(replica for _, replica in sorted(self._replicas.items()))
