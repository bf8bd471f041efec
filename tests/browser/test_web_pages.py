"""What a web page can do to the frontends of this machine, in a real browser."""

import asyncio
import contextlib
import json

import browser
import pytest
from aiohttp import web
from http_as_zmtp import frames, path_and_filling
from peers import FrontendThread

from frontend_launch.frontends.http import listening
from frontend_launch.frontends.management import make_app
from frontend_launch.records import Application, ModelVersion
from model_containers.data_types import DataType
from model_containers.wire import Metadata, encode_metadata

EVIL = "evil.example"
OWN = ("127.0.0.1", "localhost")
BODY_BYTES = 500
TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
PLANT = json.dumps({"name": "planted", "input_type": "floats", "default_output": "x", "latency_slo_micros": 1})
BATCH_SIZE = json.dumps({"model_name": "own", "model_version": "1", "batch_size": 99})
FORM = """
const form = document.createElement('form');
[form.method, form.enctype, form.target, form.action] = ['POST', 'text/plain', 'frame', %s];
const field = document.createElement('input');
[field.name, field.value] = [%s, '"}'];
form.append(field);
const frame = document.createElement('iframe');
frame.name = 'frame';
document.body.append(frame, form);
new Promise(done => { frame.onload = () => done(true); form.submit(); })
"""
WEB_SOCKET = """
new Promise(done => { const socket = new WebSocket(%s); socket.onopen = socket.onerror = event => done(event.type); })
"""


@pytest.fixture
def frontends():
    """A query frontend that has an application and a model, with the ports of its metrics and of the management API."""
    browser.required()
    frontend = FrontendThread()
    frontend.call(frontend.store.add_application(Application("own", DataType.FLOATS, "x", 1)))
    frontend.call(frontend.store.add_model(ModelVersion("own", "1", DataType.FLOATS, ("",), "", "", 2)))
    management = listening(make_app(frontend.store), "127.0.0.1", 0, "--admin-port")
    with contextlib.closing(frontend), frontend.metrics() as metrics:
        admin = frontend.call(management.__aenter__())
        yield frontend, metrics, admin
        frontend.call(management.__aexit__(None, None, None))


def configuration(frontend):
    """The names of the applications, and the batch size of the model."""
    model = frontend.call(frontend.store.model("own", "1"))
    return [application.name for application in frontend.call(frontend.store.applications())], model.batch_size


UNCHANGED = (["own"], 2)


@contextlib.asynccontextmanager
async def page():
    """A tab that shows a page of another site, which is on this machine too."""

    async def get(_):
        return web.Response(text="<!doctype html><title>evil</title>", content_type="text/html")

    application = web.Application()
    application.router.add_get("/", get)
    async with listening(application, "127.0.0.1", 0, "") as port, browser.browser(EVIL, *OWN) as tab:
        await tab.visit(f"http://{EVIL}:{port}/")
        yield tab


def fetch(url, **options):
    """JavaScript that asks, and tells the type of the answer or of the error."""
    return f"fetch({json.dumps(url)}, {json.dumps(options)}).then(answer => answer.type, error => error.name)"


@pytest.mark.parametrize("host", OWN)
def test_a_page_of_another_site_changes_nothing(frontends, host):
    """Not with what a browser sends unasked, not with JSON, not with a form, not with a WebSocket."""
    frontend, _, admin = frontends
    add, resize = (f"http://{host}:{admin}/admin/{route}" for route in ("add_app", "set_batch_size"))

    async def act():
        async with page() as tab:
            for url, body in ((add, PLANT), (resize, BATCH_SIZE)):
                await tab.evaluate(fetch(url, method="POST", body=body, mode="no-cors", headers=TEXT))
                assert await tab.evaluate(fetch(url, method="POST", body=body, headers=JSON)) == "TypeError"
                assert await tab.evaluate(WEB_SOCKET % json.dumps(url.replace("http", "ws", 1))) == "error"
            await tab.evaluate(FORM % (json.dumps(add), json.dumps(PLANT[:-1] + ', "more": "')))

    asyncio.run(act())
    assert configuration(frontend) == UNCHANGED


def test_a_page_of_another_site_registers_no_replica(frontends):
    """With HTTP in which the oldest version of ZeroMQ's protocol reads messages; its own server tells the headers."""
    frontend, _, _ = frontends
    port = frontend.ports.replica
    # What follows is the beginning of a long frame.
    planted = frames(encode_metadata(Metadata("planted", "1", DataType.FLOATS))) + b"\xff" + bytes(7) + b"\xff"
    heads: asyncio.Queue[bytes] = asyncio.Queue()

    async def keep(reader, writer):
        heads.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    def send(port, path, body):
        body = f"new Uint8Array({list(body)})"
        url = json.dumps(f"http://127.0.0.1:{port}{path}")
        return f"fetch({url}, {{method: 'POST', mode: 'no-cors', body: {body}}}).then(_ => '', error => error.name)"

    async def act():
        async with asyncio.timeout(browser.TIMEOUT_S), page() as tab:
            async with await asyncio.start_server(keep, "127.0.0.1", 0) as keeper:
                own = keeper.sockets[0].getsockname()[1]
                await tab.evaluate(send(own, "/known", bytes(BODY_BYTES)))
            known = (await heads.get()).replace(b":%d\r" % own, b":%d\r" % port)
            path, filling = path_and_filling(lambda path: known.replace(b"/known ", f"{path} ".encode()))
            return await tab.evaluate(send(port, path, (filling + planted).ljust(BODY_BYTES)))

    assert asyncio.run(act()) == "TypeError"
    assert frontend.call(frontend.store.replicas()) == ()


def test_a_page_of_another_site_reads_no_metrics(frontends):
    """The browser gives it no answer."""
    _, metrics, _ = frontends

    async def act():
        async with page() as tab:
            return await tab.evaluate(fetch(f"http://127.0.0.1:{metrics}/metrics/loadgen"))

    assert asyncio.run(act()) == "TypeError"


def test_a_page_whose_name_leads_here_reads_and_changes_nothing(frontends):
    """DNS rebinding: to the browser it is a page of the same server, under the page's name."""
    frontend, metrics, admin = frontends

    async def act():
        async with browser.browser(EVIL, *OWN) as tab:
            await tab.visit(f"http://{EVIL}:{metrics}/metrics")
            read = await tab.evaluate("fetch('/metrics/loadgen').then(answer => answer.text())")
            shown = await tab.evaluate("document.body.innerText")
            await tab.visit(f"http://{EVIL}:{admin}/")
            await tab.evaluate(fetch("/admin/add_app", method="POST", body=PLANT, headers=JSON))
            return read, shown

    read, shown = asyncio.run(act())
    assert read == shown
    assert read.startswith(f"Host '{EVIL}:{metrics}': not a name of this server")
    assert configuration(frontend) == UNCHANGED


def test_a_person_reads_the_metrics(frontends):
    """Who types the address, or a page of the frontend itself."""
    _, metrics, _ = frontends

    async def act():
        async with browser.browser(*OWN) as tab:
            await tab.visit(f"http://127.0.0.1:{metrics}/metrics/loadgen")
            return await tab.evaluate("fetch('/metrics/loadgen').then(answer => answer.json())")

    assert "models" in asyncio.run(act())
