"""An ingress: passes HTTP requests on for one host name, path and bearer token, and refuses all others."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator

import aiohttp
from aiohttp import web

PATIENCE_S = 10


@contextlib.contextmanager
def ingress(backend: str, host: str, token: str, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Serve on a port of this machine; gives ``host:port`` and the list of requests that were passed on."""
    passed: list[str] = []
    started: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def main() -> None:
        stop = asyncio.Event()

        async def handle(request: web.Request) -> web.Response:
            if request.headers.get("host") != host or not request.path.startswith(f"{prefix}/"):
                return web.json_response({"error": f"no route for {request.headers.get('host')}"}, status=404)
            if request.headers.get("authorization") != f"Bearer {token}":
                return web.json_response({"error": "no token"}, status=401)
            path = request.path.removeprefix(prefix)
            passed.append(path)
            body = await request.read()
            kept = ("content-type", "inference-header-content-length")
            headers = {name: request.headers[name] for name in kept if name in request.headers}
            async with session.request(request.method, f"http://{backend}{path}", data=body, headers=headers) as got:
                answer = await got.read()
                return web.Response(
                    body=answer, status=got.status, headers={k: v for k, v in got.headers.items() if k.lower() in kept}
                )

        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application)
        async with aiohttp.ClientSession() as session:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            started.put((runner.addresses[0][1], asyncio.get_running_loop(), stop))
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    port, loop, stop = started.get(timeout=PATIENCE_S)
    try:
        yield f"127.0.0.1:{port}", passed
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
