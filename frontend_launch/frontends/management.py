"""The management frontend: REST on port 1338 over the configuration store.

The routes, their checks and the order of those are the original's; the bodies are in `rest`. Success is
``200``, every refusal ``400`` with one line of plain text. Where this differs from the original:

- An unknown path is answered with ``404``, another method than ``POST`` with ``405``; the original closes the
  connection without a word.
- Responses say that they are ``text/plain``, and end where their Content-Length says; the original names no
  type and sends one newline more.
- A batch size below 1 is refused, since no replica could ever be given a batch.
- The batch size of a model can be changed, by a route that the original does not have.
- While the configuration store does not answer, neither does this: ``503``.
- A body is at most `MAX_BODY_BYTES` long.
- A request that a web page of another server made is refused, see `web_pages`: ``403``, or ``415`` for a body of a
  browser that is not JSON.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import replace
from typing import TypeVar

from aiohttp import web

from frontend_launch import rest
from frontend_launch.errors import FrontendLaunchError, RestError, StoreError
from frontend_launch.frontends.http import MAX_BODY_BYTES, guarded
from frontend_launch.frontends.slices import Slices
from frontend_launch.frontends.store import Store
from frontend_launch.records import Application, ModelVersion

log = logging.getLogger(__name__)

BODY_TIMEOUT_S = 300.0
"""Patience for the transfer of one body, as the original."""

MAX_ERROR_CHARACTERS = 2000
"""Errors name values that come from a body; one that is longer is cut."""

B = TypeVar("B", bound=rest.Body)
R = TypeVar("R", Application, ModelVersion)


def make_app(store: Store, names: Collection[str] = (), token: str = "") -> web.Application:
    """The REST API as an application for any aiohttp server.

    Args:
        store: the configuration.
        names: from `http.own_names`.
        token: that requests have to bear; empty for none.
    """
    # One act at a time, as the original's single thread: each checks first and writes afterwards.
    turn = asyncio.Lock()

    def route(body_type: type[B], act: Callable[[Store, B], Awaitable[str]]) -> web.RouteDef:
        async def handle(request: web.Request) -> web.Response:
            body = rest.parse(body_type, await _read(request))
            async with turn:
                return web.Response(text=await act(store, body))

        return web.post(body_type.path, handle)

    application = guarded(names, token, _one_line)
    application.add_routes(
        [
            route(rest.AddApplication, _add_application),
            route(rest.AddModel, _add_model),
            route(rest.AddModelLinks, _add_model_links),
            route(rest.SetModelVersion, _set_model_version),
            route(rest.SetBatchSize, _set_batch_size),
            route(rest.GetAllApplications, _get_all_applications),
            route(rest.GetApplication, _get_application),
            route(rest.GetLinkedModels, _get_linked_models),
            route(rest.GetAllModels, _get_all_models),
            route(rest.GetModel, _get_model),
            route(rest.GetAllContainers, _get_all_containers),
            route(rest.GetContainer, _get_container),
            route(rest.GetState, _get_state),
        ]
    )
    return application


@web.middleware
async def _one_line(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Word every refusal as one line of text."""
    try:
        return await handler(request)
    except StoreError as error:
        return web.Response(status=503, text=str(error)[:MAX_ERROR_CHARACTERS])
    except FrontendLaunchError as error:
        return web.Response(status=400, text=str(error)[:MAX_ERROR_CHARACTERS])
    except web.HTTPNotFound:
        text = f"no route {request.path!a}: this is a management frontend, its routes begin with /admin/"
        return web.Response(status=404, text=text[:MAX_ERROR_CHARACTERS])


async def _read(request: web.Request) -> bytes:
    """The body of a request.

    Raises:
        RestError: too long, too slow, or not encoded as its header says.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise RestError(f"the body is longer than {MAX_BODY_BYTES} bytes") from None
    except web.RequestPayloadError:
        raise RestError("the body is not encoded as its headers say") from None
    except TimeoutError:
        raise RestError(f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from None


async def _add_application(store: Store, body: rest.AddApplication) -> str:
    if await store.application(body.name) is not None:
        raise RestError(f"application {body.name!r} exists already")
    slo = body.latency_slo_micros
    await store.add_application(Application(body.name, body.input_type, body.default_output, slo))
    return rest.SUCCESS


async def _add_model(store: Store, body: rest.AddModel) -> str:
    name, version = body.model_name, body.model_version
    for text in (name, version, *body.labels):
        if "," in text or ":" in text:
            raise RestError(f"{text!r} holds a comma or a colon; a model's name, version and labels cannot")
    _check_batch_size(body.batch_size)
    if await store.model(name, version) is not None:
        raise RestError(f"model {name!r} version {version!r} exists already")
    model = ModelVersion(
        name=name,
        version=version,
        input_type=body.input_type,
        labels=body.labels or ("",),
        container_name=body.container_name,
        model_data_path=body.model_data_path,
        batch_size=body.batch_size,
    )
    await _check_links(store, model)
    await store.add_model(model)
    await store.set_current_version(name, version)
    return rest.SUCCESS


async def _add_model_links(store: Store, body: rest.AddModelLinks) -> str:
    application = await _known_application(store, body.app_name)
    models = [await _current_model(store, name) for name in body.model_names]
    for model in models:
        _check_input_type(application, model)
    if not models:
        raise RestError(f"no model to link application {application.name!r} to; name one")
    if len(models) > 1:
        raise RestError(f"{len(models)} models to link application {application.name!r} to; name only one")
    others = set(await store.linked_models(application.name)) - set(body.model_names)
    if others:
        raise RestError(f"application {application.name!r} is already linked to model {min(others)!r}")
    await store.link_model(application.name, models[0].name)
    return rest.SUCCESS


async def _set_model_version(store: Store, body: rest.SetModelVersion) -> str:
    model = await _known_model(store, body.model_name, body.model_version)
    await _check_links(store, model)
    await store.set_current_version(model.name, model.version)
    return rest.SUCCESS


async def _set_batch_size(store: Store, body: rest.SetBatchSize) -> str:
    _check_batch_size(body.batch_size)
    model = await _known_model(store, body.model_name, body.model_version)
    await store.add_model(replace(model, batch_size=body.batch_size))
    return rest.SUCCESS


async def _get_all_applications(store: Store, body: rest.GetAllApplications) -> str:
    applications = await store.applications()
    if not body.verbose:
        return rest.encode([application.name for application in applications])
    return await _encoded(applications, lambda application: _application_reply(store, application))


async def _get_application(store: Store, body: rest.GetApplication) -> str:
    application = await store.application(body.name)
    return rest.encode(await _application_reply(store, application) if application else {})


async def _get_linked_models(store: Store, body: rest.GetLinkedModels) -> str:
    application = await _known_application(store, body.app_name)
    return rest.encode(await store.linked_models(application.name))


async def _get_all_models(store: Store, body: rest.GetAllModels) -> str:
    models = await store.models()
    if not body.verbose:
        return rest.encode([f"{model.name}:{model.version}" for model in models])
    return await _encoded(models, lambda model: _model_reply(store, model))


async def _get_model(store: Store, body: rest.GetModel) -> str:
    model = await store.model(body.model_name, body.model_version)
    return rest.encode(await _model_reply(store, model) if model else {})


async def _get_all_containers(store: Store, body: rest.GetAllContainers) -> str:
    replicas = [rest.ReplicaReply.of(replica) for replica in await store.replicas()]
    if not body.verbose:
        return rest.encode([f"{replica.model_id}:{replica.model_replica_id}" for replica in replicas])
    return rest.encode(replicas)


async def _get_container(store: Store, body: rest.GetContainer) -> str:
    replica = await store.replica(body.model_name, body.model_version, body.replica_id)
    return rest.encode(rest.ReplicaReply.of(replica) if replica else {})


async def _get_state(store: Store, body: rest.GetState) -> str:
    if body.uid != 0:
        log.info("the state of user %d is asked for; there is only that of user 0", body.uid)
    return await store.selection_state(body.app_name)


async def _encoded(records: Iterable[R], reply: Callable[[R], Awaitable[object]]) -> str:
    """JSON of a list of replies, of which there may be very many.

    Args:
        records: of the store.
        reply: what is said of one.
    """
    slices, texts = Slices(), []
    for record in records:
        texts.append(rest.encode(await reply(record)))
        await slices.between()
    return f"[{','.join(texts)}]"


async def _application_reply(store: Store, application: Application) -> rest.ApplicationReply:
    return rest.ApplicationReply.of(application, await store.linked_models(application.name))


async def _model_reply(store: Store, model: ModelVersion) -> rest.ModelReply:
    current = await store.current_version(model.name)
    return rest.ModelReply.of(model, is_current_version=model.version == current)


async def _known_application(store: Store, name: str) -> Application:
    application = await store.application(name)
    if application is None:
        raise RestError(f"application {name!r} is unknown; register it first")
    return application


async def _known_model(store: Store, name: str, version: str) -> ModelVersion:
    model = await store.model(name, version)
    if model is None:
        versions = [known.version for known in await store.models() if known.name == name]
        if not versions:
            raise RestError(f"model {name!r} is unknown")
        raise RestError(f"model {name!r} has no version {version!r}; it has {', '.join(map(repr, versions))}")
    return model


async def _current_model(store: Store, name: str) -> ModelVersion:
    version = await store.current_version(name)
    model = None if version is None else await store.model(name, version)
    if model is None:
        raise RestError(f"model {name!r} has no current version; register it first")
    return model


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise RestError(f"batch_size is {batch_size}; it must be at least 1")


async def _check_links(store: Store, model: ModelVersion) -> None:
    """Refuse a version of a model whose applications send it something else."""
    slices = Slices()
    for application in await store.applications():
        await slices.between()
        if model.name in await store.linked_models(application.name):
            _check_input_type(application, model)


def _check_input_type(application: Application, model: ModelVersion) -> None:
    if application.input_type is not model.input_type:
        raise RestError(
            f"application {application.name!r} sends {application.input_type.canonical}, "
            f"model {model.name!r} version {model.version!r} takes {model.input_type.canonical}"
        )
