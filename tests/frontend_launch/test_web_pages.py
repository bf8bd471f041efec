"""What a web page may not ask of the frontends, by the headers of its requests."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from http_as_zmtp import frames, path_and_filling
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from peers import FrontendThread

from frontend_launch.frontends.http import own_names
from frontend_launch.frontends.management import make_app
from frontend_launch.frontends.store import MemoryStore
from frontend_launch.frontends.web_pages import refusal
from model_containers.credentials import Credentials, make
from model_containers.data_types import DataType
from model_containers.wire import Metadata, encode_heartbeat, encode_metadata

HERE = "127.0.0.1:1338"
CHROMIUM = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/138.0.0.0"
JSON = "application/json"


def asked(method: str, headers: dict[str, str], names: frozenset[str] = frozenset()) -> int:
    """The status of a refusal; 200 for none."""
    given = CIMultiDict({"Host": HERE} | headers)
    refused = refusal(method, given, names)
    return 200 if refused is None else refused.status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="loadgen and the client of 2017"),
        pytest.param(
            {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "curl/7.88.1"}, 200, id="curl -d"
        ),
        pytest.param({"Content-Type": JSON, "User-Agent": "python-requests/2.18.4"}, 200, id="admin class of 2017"),
        pytest.param(
            {"Origin": "http://evil.example", "Content-Type": "text/plain"}, 403, id="a page, without a preflight"
        ),
        pytest.param({"Origin": "http://evil.example", "Content-Type": JSON}, 403, id="a page, JSON"),
        pytest.param({"Origin": "null", "Content-Type": JSON}, 403, id="a file, or a frame in a sandbox"),
        pytest.param(
            {"Origin": "http://127.0.0.1:8888", "Content-Type": JSON}, 403, id="another server on this machine"
        ),
        pytest.param({"Origin": "http://localhost:1338", "Content-Type": JSON}, 403, id="another name of this server"),
        pytest.param({"Origin": f"http://{HERE}", "Content-Type": JSON}, 200, id="a page of this server"),
        pytest.param({"Origin": f"https://{HERE}", "Content-Type": f"{JSON}; charset=utf-8"}, 200, id="behind TLS"),
        pytest.param({"Origin": f"http://{HERE}", "Content-Type": "text/plain"}, 415, id="a page of this server, text"),
        pytest.param({"Origin": f"http://{HERE}"}, 415, id="a page of this server, no type"),
        pytest.param({"Sec-Fetch-Site": "cross-site", "Content-Type": JSON}, 403, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site", "Content-Type": JSON}, 403, id="same-site, another port"),
        pytest.param({"Sec-Fetch-Site": "none", "Content-Type": "text/plain"}, 415, id="a browser, text"),
        pytest.param({"Sec-Fetch-Site": "same-origin", "Content-Type": JSON}, 200, id="same-origin"),
        pytest.param({"User-Agent": CHROMIUM, "Content-Type": "multipart/form-data"}, 415, id="a form without Origin"),
    ],
)
def test_a_write(headers: dict[str, str], status: int) -> None:
    """A page of another server makes none, whatever it sends; other clients need no header."""
    assert asked("POST", headers) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="curl"),
        pytest.param({"User-Agent": CHROMIUM, "Sec-Fetch-Site": "none"}, 200, id="a person typed the address"),
        pytest.param({"User-Agent": CHROMIUM, "Sec-Fetch-Site": "cross-site"}, 403, id="a page's image or script"),
        pytest.param({"Origin": "http://evil.example"}, 403, id="a page's fetch"),
        pytest.param({"Host": "evil.example:1337"}, 403, id="a rebound name"),
    ],
)
def test_a_read(headers: dict[str, str], status: int) -> None:
    """Metrics are for pages of this server only."""
    assert asked("GET", headers) == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(
            (host, 200)
            for host in ("127.0.0.1", "127.0.0.1:1338", "[::1]:1338", "[::1]", "10.1.2.3:80", "[fe80::1%25eth0]:1")
        ),
        *((host, 200) for host in ("localhost", "LOCALHOST:1338", "box:1338", "Box", "box.lan:1338")),
        *(
            (host, 403)
            for host in ("evil.example", "evil.example:1338", "127.0.0.1.evil.example", "localhost.evil.example")
        ),
        *(
            (host, 403)
            for host in ("localhost@evil.example", "evil.example.", "[evil.example]:1338", "", "box.lan.evil.example")
        ),
        *(
            (host, 403)
            for host in ("127.0.0.1:80@evil.example", "127.0.0.1:evil", "[::1]evil.example", "[::1", "::1", "[box]:1:2")
        ),
    ],
)
def test_the_host(host: str, status: int) -> None:
    """An address, localhost, or a name that was given: no other name can lead here by accident."""
    assert asked("GET", {"Host": host}, own_names("box", ["Box.lan"])) == status


def test_without_a_host() -> None:
    """HTTP/1.0 needs none, and no browser speaks it; what has an Origin speaks another."""
    assert refusal("GET", CIMultiDict(), ()) is None
    assert refusal("GET", CIMultiDict(Origin="http://evil.example"), ()) is not None


@given(st.sampled_from(["Host", "Origin", "Sec-Fetch-Site", "Content-Type", "User-Agent"]), st.text(max_size=400))
def test_what_is_refused_is_told_in_one_line(name: str, value: str) -> None:
    """Of printable ASCII, and not long, whatever the header holds."""
    refused = refusal("POST", CIMultiDict({"Host": HERE, "Origin": f"http://{HERE}"} | {name: value}), ())
    assert refused is None or (refused.text.isascii() and refused.text.isprintable() and len(refused.text) < 1000)


def answers(application: web.Application, ask: Callable[[TestClient[Any, Any]], Any]) -> Any:
    async def act() -> Any:
        async with TestClient(TestServer(application, host="127.0.0.1")) as client:
            return await ask(client)

    return asyncio.run(act())


def test_the_management_frontend_refuses_a_page() -> None:
    """On every path, also those that it does not have, and nothing is registered."""
    store = MemoryStore()
    body = json.dumps({"name": "a", "input_type": "floats", "default_output": "", "latency_slo_micros": 1})

    async def ask(client: TestClient[Any, Any]) -> list[int]:
        headers = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
        refused = [
            await client.post("/admin/add_app", data=body, headers=headers),
            await client.options("/admin/add_app", headers=headers | {"Access-Control-Request-Method": "POST"}),
            await client.post("/nothing", data=body, headers=headers),
            await client.post("/admin/add_app", data=body, headers={"Host": "evil.example"}),
        ]
        assert not [name for answer in refused for name in answer.headers if name.startswith("Access-Control")]
        assert await store.applications() == ()
        accepted = await client.post("/admin/add_app", data=body)
        return [answer.status for answer in (*refused, accepted)]

    assert answers(make_app(store), ask) == [403, 403, 403, 403, 200]


def test_the_metrics_refuse_a_rebound_name() -> None:
    """A page whose name leads to this machine reads nothing; the server's own names do."""
    frontend = FrontendThread()
    with contextlib.closing(frontend), frontend.metrics() as port:
        paths = ("/metrics", "/metrics/loadgen", "/metrics/loadgen/stages", "/metrics/prometheus")
        assert {get(port, path, f"evil.example:{port}") for path in paths} == {403}
        assert {get(port, path, f"localhost:{port}") for path in paths} == {200}


def get(port: int, path: str, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status


@pytest.mark.parametrize("credentials", [None, make()], ids=["served to all", "with credentials"])
@pytest.mark.parametrize("port", ["request", "response", "replica"])
def test_http_is_no_message_of_zeromq(port: str, credentials: Credentials | None) -> None:
    """A page can send HTTP to these ports too, and the oldest version of ZeroMQ's protocol reads messages in it."""

    def head(path: str) -> bytes:
        return f"POST {path} HTTP/1.1\r\nHost: {HERE}\r\nOrigin: http://evil.example\r\n\r\n".encode()

    path, filling = path_and_filling(head)
    planted = frames(encode_heartbeat()) + frames(encode_metadata(Metadata("planted", "1", DataType.FLOATS)))
    frontend = FrontendThread(credentials=credentials)
    with (
        contextlib.closing(frontend),
        socket.create_connection(("127.0.0.1", getattr(frontend.ports, port)), timeout=10) as page,
    ):
        page.sendall(head(path) + filling + planted)
        with contextlib.suppress(ConnectionResetError):  # it leaves what it does not read
            while page.recv(4096):
                pass  # until the frontend closes the connection
        assert frontend.call(frontend.store.replicas()) == ()
        assert frontend.counters().dropped == {}
