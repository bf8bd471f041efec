"""The configuration as the query frontend looks it up for every request: dictionaries that follow the store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from frontend_launch.errors import StoreError
from frontend_launch.frontends import garbage
from frontend_launch.frontends.metric_definitions import ApplicationMetrics
from frontend_launch.frontends.metrics import Registry
from frontend_launch.frontends.replica import ModelKey
from frontend_launch.frontends.store import (
    ApplicationAdded,
    Event,
    LinksChanged,
    ModelChanged,
    ReplicaAdded,
    Store,
    VersionChanged,
)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ApplicationEntry:
    """An application.

    Attributes:
        name: on the wire.
        default_output: the bytes to answer with when there is no prediction.
        metrics: its own.
        objective_ns: after this time a query of a model without replicas gets the default output.
        models: names of the models it asks.
    """

    name: str
    default_output: bytes
    metrics: ApplicationMetrics
    objective_ns: int
    models: tuple[str, ...] = ()


class Directory:
    """Follows a store from `start` to `stop`.

    Args:
        store: the configuration.
        registry: where applications get their metrics.

    Attributes:
        applications: by name.
    """

    def __init__(self, store: Store, registry: Registry) -> None:
        self.applications: dict[str, ApplicationEntry] = {}
        self._store, self._registry = store, registry
        self._versions: dict[str, str] = {}
        self._batch_sizes: dict[ModelKey, int] = {}

    def model_of(self, application: ApplicationEntry) -> ModelKey | None:
        """The first model that an application asks and that has a current version."""
        for model in application.models:
            version = self._versions.get(model)
            if version is not None:
                return model, version
        return None

    def max_batch(self, model: ModelKey) -> int:
        """The largest batch a replica is given; 1 for a model that is not registered."""
        return self._batch_sizes.get(model, 1)

    async def start(self) -> None:
        """Read everything, and every change from then on."""
        # Watched before it is read, so that nothing falls between; what arrives twice is the same twice.
        changes = await self._store.watch()
        for application in await self._store.applications():
            await self._read_application(application.name)
            await self._read_links(application.name)
        for model in await self._store.models():
            await self._read_version(model.name)
            await self._read_batch_size(model.name, model.version)
        self._following = asyncio.create_task(self._follow(changes), name="configuration changes")

    async def stop(self) -> None:
        """Follow no more."""
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self, changes: AsyncIterator[Event]) -> None:
        async for change in changes:
            try:
                await self._read(change)
            except StoreError as error:  # what is known stays; when the store is back it tells of everything again
                log.warning("%s", error)

    async def _read(self, change: Event) -> None:
        match change:
            case ApplicationAdded(name):
                await self._read_application(name)
            case LinksChanged(application):
                await self._read_links(application)
            case VersionChanged(model):
                await self._read_version(model)
            case ModelChanged(name, version):
                await self._read_batch_size(name, version)
            case ReplicaAdded():
                pass  # the frontend knows its replicas first

    async def _read_application(self, name: str) -> None:
        stored = await self._store.application(name)
        if stored is None:
            return
        known = self.applications.get(name)
        if not known and len(self.applications) % garbage.AFTER_APPLICATIONS == garbage.AFTER_APPLICATIONS - 1:
            garbage.keep()
        metrics = known.metrics if known else ApplicationMetrics(self._registry, name, time.monotonic_ns())
        models = known.models if known else ()
        default_output, objective_ns = stored.default_output.encode(), stored.latency_slo_micros * 1000
        self.applications[name] = ApplicationEntry(name, default_output, metrics, objective_ns, models)
        await self._store.add_selection_state(stored)

    async def _read_links(self, name: str) -> None:
        models = await self._store.linked_models(name)
        if name in self.applications:
            self.applications[name].models = models

    async def _read_version(self, name: str) -> None:
        version = await self._store.current_version(name)
        if version is not None:
            self._versions[name] = version

    async def _read_batch_size(self, name: str, version: str) -> None:
        model = await self._store.model(name, version)
        if model is not None:
            self._batch_sizes[name, version] = model.batch_size
