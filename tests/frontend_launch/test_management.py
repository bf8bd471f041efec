"""The management frontend on a real server: bodies in, status and text out."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch import rest
from frontend_launch.frontends import management, slices
from frontend_launch.frontends.http import MAX_BODY_BYTES
from frontend_launch.frontends.store import MemoryStore
from frontend_launch.records import Application, ReplicaRecord
from model_containers.data_types import DataType

TIMEOUT = aiohttp.ClientTimeout(total=10)

APP = {"name": "app", "input_type": "floats", "default_output": "TIMEOUT", "latency_slo_micros": 500_000}
MODEL = {
    "model_name": "vgg",
    "model_version": "1",
    "labels": [],
    "input_type": "floats",
    "container_name": "image",
    "model_data_path": "DEPRECATED",
    "batch_size": 2,
}
LINK: dict[str, object] = {"app_name": "app", "model_names": ["vgg"]}
ROUTES = [
    "add_app",
    "add_model",
    "add_model_links",
    "set_model_version",
    "set_batch_size",
    "get_all_applications",
    "get_application",
    "get_linked_models",
    "get_all_models",
    "get_model",
    "get_all_containers",
    "get_container",
    "get_state",
]


class Served:
    """A management frontend on a port of its own, and a client that posts to it."""

    def __init__(self, runner: asyncio.Runner, store: MemoryStore) -> None:
        self._runner = runner
        self.store = store
        self._stack = contextlib.AsyncExitStack()

    async def open(self) -> None:
        """Serve, until `close`."""
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession(timeout=TIMEOUT))
        runner = web.AppRunner(management.make_app(self.store), shutdown_timeout=1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop serving."""
        await self._stack.aclose()

    def ask(self, path: str, data: object = b"", method: str = "POST", **headers: str) -> tuple[int, str]:
        """Send a body as it is; gives status and text."""
        return self.ask_at_once(1, path, data, method, **headers)[0]

    def ask_at_once(
        self, times: int, path: str, data: object, method: str = "POST", **headers: str
    ) -> list[tuple[int, str]]:
        """Send the same body several times at once."""

        async def exchange() -> tuple[int, str]:
            async with self._session.request(method, self._url + path, data=data, headers=headers) as response:
                return response.status, await response.text()

        async def exchanges() -> list[tuple[int, str]]:
            return await asyncio.gather(*(exchange() for _ in range(times)))

        return self._runner.run(exchanges())

    def post(self, route: str, body: dict[str, object]) -> tuple[int, str]:
        """Send a JSON body to a route under /admin."""
        return self.ask(f"/admin/{route}", json.dumps(body).encode())

    def add_replica(self, *replica: Any) -> None:
        """What the query frontend does when a replica registers."""
        self._runner.run(self.store.add_replica(ReplicaRecord(*replica)))


@contextlib.contextmanager
def served(store: MemoryStore | None = None) -> Iterator[Served]:
    """A management frontend over a store, by default an empty one."""
    with asyncio.Runner() as runner:
        server = Served(runner, store or MemoryStore())
        runner.run(server.open())
        try:
            yield server
        finally:
            runner.run(server.close())


@pytest.fixture
def server() -> Iterator[Served]:
    """An empty management frontend."""
    with served() as server:
        yield server


OK = (200, "Success!")


def test_registration(server: Served) -> None:
    """An application, two versions of a model and their link, as the original's client registers them."""
    assert server.post("add_app", APP) == OK
    assert server.post("add_model", MODEL | {"cache_size": 33_554_432}) == OK
    assert server.post("add_model_links", LINK) == OK
    assert server.post("add_model_links", LINK) == OK
    assert server.post("add_model", MODEL | {"model_version": "2", "labels": ["a", "b"]}) == OK
    assert server.post("set_model_version", {"model_name": "vgg", "model_version": "1"}) == OK


@pytest.fixture
def full(server: Served) -> Served:
    """A frontend with a bit of everything."""
    server.post("add_app", APP)
    server.post("add_app", APP | {"name": "ints app", "input_type": "ints", "default_output": 'say "Ω"'})
    server.post("add_model", MODEL)
    server.post("add_model_links", LINK)
    server.post("add_model", MODEL | {"model_version": "2", "labels": ["a", "b"]})
    server.post("add_model", MODEL | {"model_name": "lgbm"})
    server.post("add_model", MODEL | {"model_name": "svm", "input_type": "i"})
    server.add_replica("vgg", "1", 0, 0, DataType.FLOATS)
    server.add_replica("vgg", "1", 1, 1, DataType.FLOATS)
    return server


VGG_APP = (
    '{"input_type":"floats","default_output":"TIMEOUT","latency_slo_micros":500000,'
    '"name":"app","linked_models":["vgg"]}'
)
INTS_APP = (
    '{"input_type":"integers","default_output":"say \\"Ω\\"","latency_slo_micros":500000,'
    '"name":"ints app","linked_models":[]}'
)
VGG_2 = (
    '{"model_name":"vgg","model_version":"2","input_type":"floats","labels":["a","b"],'
    '"container_name":"image","model_data_path":"DEPRECATED","is_current_version":true}'
)
VGG_1 = VGG_2.replace('"version":"2"', '"version":"1"').replace('"model_version":"2"', '"model_version":"1"')
VGG_1 = VGG_1.replace('["a","b"]', '[""]').replace("true", "false")
LGBM = (
    VGG_2.replace('"vgg"', '"lgbm"').replace('"model_version":"2"', '"model_version":"1"').replace('["a","b"]', '[""]')
)
SVM = LGBM.replace('"lgbm"', '"svm"').replace("floats", "integers")
REPLICA_0 = '{"model_id":"vgg:1","model_name":"vgg","model_version":"1","model_replica_id":0,"input_type":"floats"}'
REPLICA_1 = REPLICA_0.replace('"model_replica_id":0', '"model_replica_id":1')


@pytest.mark.parametrize(
    ("route", "body", "text"),
    [
        pytest.param("get_all_applications", {"verbose": False}, '["app","ints app"]', id="names of applications"),
        pytest.param("get_all_applications", {"verbose": True}, f"[{VGG_APP},{INTS_APP}]", id="applications"),
        pytest.param("get_application", {"name": "app"}, VGG_APP, id="application"),
        pytest.param("get_application", {"name": "nobody"}, "{}", id="unknown application"),
        pytest.param("get_linked_models", {"app_name": "app"}, '["vgg"]', id="linked models"),
        pytest.param("get_linked_models", {"app_name": "ints app"}, "[]", id="no linked models"),
        pytest.param(
            "get_all_models", {"verbose": False}, '["lgbm:1","svm:1","vgg:1","vgg:2"]', id="names of model versions"
        ),
        pytest.param("get_all_models", {"verbose": True}, f"[{LGBM},{SVM},{VGG_1},{VGG_2}]", id="model versions"),
        pytest.param("get_model", {"model_name": "vgg", "model_version": "1"}, VGG_1, id="former version, no labels"),
        pytest.param("get_model", {"model_name": "vgg", "model_version": "2"}, VGG_2, id="current version, labels"),
        pytest.param("get_model", {"model_name": "vgg", "model_version": "3"}, "{}", id="unknown version"),
        pytest.param("get_all_containers", {"verbose": False}, '["vgg:1:0","vgg:1:1"]', id="names of replicas"),
        pytest.param("get_all_containers", {"verbose": True}, f"[{REPLICA_0},{REPLICA_1}]", id="replicas"),
        pytest.param(
            "get_container", {"model_name": "vgg", "model_version": "1", "replica_id": 1}, REPLICA_1, id="replica"
        ),
        pytest.param(
            "get_container", {"model_name": "vgg", "model_version": "1", "replica_id": 2}, "{}", id="unknown replica"
        ),
        pytest.param("get_state", {"app_name": "ints app", "uid": 0}, 'say "Ω"', id="state is raw text"),
        pytest.param("get_state", {"app_name": "app", "uid": 7}, "TIMEOUT", id="state of any user"),
        pytest.param("get_state", {"app_name": "nobody", "uid": 0}, "", id="state of an unknown application"),
    ],
)
def test_answers(full: Served, route: str, body: dict[str, object], text: str) -> None:
    """Everything that can be asked, with the exact text of its answer."""
    assert full.post(route, body) == (200, text)


@pytest.mark.parametrize(
    ("route", "body", "text"),
    [
        pytest.param("add_app", APP, "application 'app' exists already", id="application exists"),
        pytest.param(
            "add_app",
            APP | {"name": "x", "input_type": "float32"},
            "unknown input type 'float32'; one of bytes, integers, floats, doubles, strings",
            id="application of an unknown type",
        ),
        pytest.param("add_model", MODEL, "model 'vgg' version '1' exists already", id="model version exists"),
        pytest.param(
            "add_model",
            MODEL | {"model_name": "a:b"},
            "'a:b' holds a comma or a colon; a model's name, version and labels cannot",
            id="colon in a name",
        ),
        pytest.param(
            "add_model",
            MODEL | {"model_version": "1,2"},
            "'1,2' holds a comma or a colon; a model's name, version and labels cannot",
            id="comma in a version",
        ),
        pytest.param(
            "add_model",
            MODEL | {"model_version": "3", "labels": ["ok", "a,b"]},
            "'a,b' holds a comma or a colon; a model's name, version and labels cannot",
            id="comma in a label",
        ),
        pytest.param(
            "add_model",
            MODEL | {"model_version": "3", "batch_size": 0},
            "batch_size is 0; it must be at least 1",
            id="no batch at all",
        ),
        pytest.param(
            "add_model",
            MODEL | {"model_version": "3", "input_type": "strings"},
            "application 'app' sends floats, model 'vgg' version '3' takes strings",
            id="new version of another type than a linked application",
        ),
        pytest.param(
            "add_model_links",
            {"app_name": "nobody", "model_names": []},
            "application 'nobody' is unknown; register it first",
            id="links: application unknown, before the length",
        ),
        pytest.param(
            "add_model_links",
            {"app_name": "app", "model_names": ["svm", "none"]},
            "model 'none' has no current version; register it first",
            id="links: model unknown, before the types",
        ),
        pytest.param(
            "add_model_links",
            {"app_name": "app", "model_names": ["vgg", "svm"]},
            "application 'app' sends floats, model 'svm' version '1' takes integers",
            id="links: types differ, before the length",
        ),
        pytest.param(
            "add_model_links",
            {"app_name": "app", "model_names": []},
            "no model to link application 'app' to; name one",
            id="links: none",
        ),
        pytest.param(
            "add_model_links",
            {"app_name": "app", "model_names": ["vgg", "lgbm"]},
            "2 models to link application 'app' to; name only one",
            id="links: two, before the one that is there",
        ),
        pytest.param(
            "add_model_links",
            {"app_name": "app", "model_names": ["lgbm"]},
            "application 'app' is already linked to model 'vgg'",
            id="links: another one is there",
        ),
        pytest.param(
            "set_model_version",
            {"model_name": "none", "model_version": "1"},
            "model 'none' is unknown",
            id="current version of an unknown model",
        ),
        pytest.param(
            "set_model_version",
            {"model_name": "vgg", "model_version": "3"},
            "model 'vgg' has no version '3'; it has '1', '2'",
            id="unknown current version",
        ),
        pytest.param(
            "set_batch_size",
            {"model_name": "vgg", "model_version": "3", "batch_size": 4},
            "model 'vgg' has no version '3'; it has '1', '2'",
            id="batch size of an unknown version",
        ),
        pytest.param(
            "set_batch_size",
            {"model_name": "vgg", "model_version": "1", "batch_size": 0},
            "batch_size is 0; it must be at least 1",
            id="batch size: none",
        ),
        pytest.param(
            "get_linked_models",
            {"app_name": "nobody"},
            "application 'nobody' is unknown; register it first",
            id="linked models of an unknown application",
        ),
    ],
)
def test_refusals(full: Served, route: str, body: dict[str, object], text: str) -> None:
    """Everything that is refused, with its text; nothing is changed by it."""
    before = [full.post(f"get_all_{what}", {"verbose": True}) for what in ("applications", "models")]
    assert full.post(route, body) == (400, text)
    assert [full.post(f"get_all_{what}", {"verbose": True}) for what in ("applications", "models")] == before


def test_current_version_keeps_types(full: Served) -> None:
    """A version of another type, registered before the link, cannot become current after it."""
    full.post("add_model", MODEL | {"model_name": "m", "input_type": "floats"})
    full.post("add_model", MODEL | {"model_name": "m", "model_version": "2", "input_type": "ints"})
    full.post("add_model_links", {"app_name": "ints app", "model_names": ["m"]})
    text = "application 'ints app' sends integers, model 'm' version '1' takes floats"
    assert full.post("set_model_version", {"model_name": "m", "model_version": "1"}) == (400, text)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        pytest.param("batch_size", 'key "batch_size" is missing; expected {"model_name": string, ', id="batch size"),
        pytest.param("labels", 'key "labels" is missing; expected {"model_name": string, ', id="labels"),
    ],
)
def test_missing_keys(server: Served, missing: str, expected: str) -> None:
    """A missing key is named, with the schema; the batch size is no exception."""
    status, text = server.post("add_model", {key: value for key, value in MODEL.items() if key != missing})
    assert status == 400
    assert text.startswith(expected)


@pytest.mark.parametrize(
    ("path", "method", "status", "text"),
    [
        pytest.param(
            "/admin/add_app/",
            "POST",
            404,
            "no route '/admin/add_app/': this is a management frontend, its routes begin with /admin/",
            id="not exactly the path",
        ),
        pytest.param(
            "/metrics",
            "GET",
            404,
            "no route '/metrics': this is a management frontend, its routes begin with /admin/",
            id="metrics are elsewhere",
        ),
        pytest.param(
            "/%ED%A0%80%0A",
            "POST",
            404,
            "no route '/%ED%A0%80\\n': this is a management frontend, its routes begin with /admin/",
            id="odd characters",
        ),
        pytest.param("/admin/add_app", "GET", 405, "405: Method Not Allowed", id="another method"),
    ],
)
def test_unknown_paths(server: Served, path: str, method: str, status: int, text: str) -> None:
    """What is not a route is told so in one line."""
    assert server.ask(path, method=method) == (status, text)


def test_long_bodies(server: Served) -> None:
    """A body beyond the bound is refused; one just below it is read."""
    body = json.dumps(APP | {"default_output": "x"}).encode()
    fitting = body.replace(b'"x"', b'"%s"' % (b"x" * (MAX_BODY_BYTES - len(body))))
    assert server.ask("/admin/add_app", io.BytesIO(fitting)) == OK
    assert server.ask("/admin/add_app", io.BytesIO(fitting + b" " * 16)) == (
        400,
        "the body is longer than 1048576 bytes",
    )


def test_broken_encodings(server: Served) -> None:
    """A body that is not encoded as its header says is refused."""
    answer = server.ask("/admin/add_app", b"not gzip", **{"Content-Encoding": "gzip"})
    assert answer == (400, "the body is not encoded as its headers say")


def test_slow_bodies(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come is not waited for without end."""
    monkeypatch.setattr(management, "BODY_TIMEOUT_S", 0.01)
    answered = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await answered.wait()

    assert server.ask("/admin/add_app", stalled()) == (400, "the body did not arrive within 0 s")


class SlowStore(MemoryStore):
    """A store that lets others go first, as one behind a socket does."""

    async def application(self, name: str) -> Application | None:
        """As the base does, late."""
        found = await super().application(name)
        for _ in range(100):
            await asyncio.sleep(0)
        return found


def test_one_act_at_a_time() -> None:
    """Of registrations that come at once, one finds the name free."""
    with served(SlowStore()) as server:
        answers = server.ask_at_once(5, "/admin/add_app", json.dumps(APP).encode())
    assert sorted(answers) == [OK] + [(400, "application 'app' exists already")] * 4


def test_errors_are_cut(server: Served) -> None:
    """A refusal that names a long value does not repeat all of it."""
    status, text = server.post("add_model", MODEL | {"model_name": ":" * 100_000})
    assert status == 400
    assert len(text) == management.MAX_ERROR_CHARACTERS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from([*APP, *MODEL, *LINK, "verbose", "replica_id", "uid"])
plausible = st.sampled_from(["floats", "vgg", "app", "1", 0, 1, True, ["vgg"], []])
bodies = st.one_of(
    st.binary(),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(keys, plausible | json_values).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries({}, optional=dict.fromkeys([*APP, *MODEL, *LINK], plausible)).map(
        lambda value: json.dumps(value).encode()
    ),
)


def test_any_body_is_answered() -> None:
    """Whatever bytes a body holds, the answer is 200, or 400 with one line."""
    with served() as server:

        @given(st.sampled_from(ROUTES), bodies)
        def check(route: str, body: bytes) -> None:
            status, text = server.ask(f"/admin/{route}", body)
            assert status in (200, 400)
            assert status == 200 or (text and text.isprintable())

        check()


def test_very_many_applications_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have their turn while these are looked through, and while they are told."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    store = MemoryStore()
    for number in range(30):
        asyncio.run(store.add_application(Application(f"{number:02}", DataType.FLOATS, "", 1)))

    def turns_of(act: Coroutine[Any, Any, str]) -> tuple[int, str]:
        turns = 0
        while True:
            try:
                act.send(None)
            except StopIteration as end:
                return turns, end.value
            turns += 1

    model = rest.AddModel("vgg", "1", (), DataType.FLOATS, "image", "", 2)
    assert turns_of(management._add_model(store, model)) == (30, rest.SUCCESS)
    turns, text = turns_of(management._get_all_applications(store, rest.GetAllApplications(verbose=True)))
    assert turns == 30
    assert [row["name"] for row in json.loads(text)] == [f"{number:02}" for number in range(30)]
