"""A real browser for tests: Debian's chromium without a window, driven by the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium")
TIMEOUT_S = 60.0


def required() -> None:
    """Skip where there is no browser, unless there has to be one."""
    if CHROMIUM is None and not os.environ.get("LOADGEN_REQUIRE_BROWSER"):
        pytest.skip("needs chromium: apt-get install chromium")
    assert CHROMIUM, "LOADGEN_REQUIRE_BROWSER is set and there is no chromium"


class Page:
    """One tab.

    Attributes:
        complaints: errors and warnings of the console, uncaught exceptions, and policy violations.
        requests: addresses that the page asked for, other than its own.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._next = socket, 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def listen(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
            else:
                self._on_event(event["method"], event.get("params", {}))

    def _on_event(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent" and params["request"]["url"].startswith(("http", "ws", "ftp")):
            self.requests.append(params["request"]["url"])

    async def command(self, method: str, **params: object) -> Any:
        """Send a command; returns its result."""
        self._next += 1
        answer = self._answers[self._next] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": self._next, "method": method, "params": params}))
        event = await asyncio.wait_for(answer, TIMEOUT_S)
        assert "error" not in event, event
        return event["result"]

    async def open(self, path: Path, width: int, height: int) -> None:
        """Load a file, and wait until it is drawn."""
        await self.resize(width, height)
        await self.visit(path.as_uri())
        await self.settle()

    async def visit(self, url: str) -> None:
        """Load an address."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")
        self._loaded.clear()
        await self.command("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), TIMEOUT_S)

    async def resize(self, width: int, height: int) -> None:
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def scheme(self, name: str) -> None:
        """Prefer ``light`` or ``dark``."""
        await self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])
        await self.settle()

    async def settle(self) -> None:
        """Wait for two frames: whatever was asked to be drawn is."""
        frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        await self.evaluate(f"{frames}.then(() => true)")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        look = f"const look = () => {expression} ? done(true) : requestAnimationFrame(look); look();"
        await self.evaluate(f"new Promise(done => {{ {look} }})")

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression, awaited."""
        result = await self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        size = (await self.command("Page.getLayoutMetrics"))["cssContentSize"]
        shot = await self.command("Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1})
        path.write_bytes(base64.b64decode(shot["data"]))  # noqa: ASYNC240 - the tab sends nothing meanwhile


@contextlib.asynccontextmanager
async def browser(*names: str) -> AsyncIterator[Page]:
    """A tab in a browser with a profile of its own, which is gone afterwards.

    Args:
        names: of hosts that lead to 127.0.0.1; no other name has an address.
    """
    profile = Path(tempfile.mkdtemp(prefix="loadgen-browser-"))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
    flags += ["--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"]
    rules = [*(f"MAP {name} 127.0.0.1" for name in names), "MAP * ~NOTFOUND"]
    flags += [f"--host-resolver-rules={', '.join(rules)}"]
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *flags,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    draining = None
    try:
        address = await asyncio.wait_for(_port(process.stderr), TIMEOUT_S)
        draining = asyncio.create_task(_drain(process.stderr))
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/json/list") as answer:
                tab = next(row for row in await answer.json() if row["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                yield page
                listening.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()
        if draining is not None:
            await draining
        shutil.rmtree(profile, ignore_errors=True)


async def _port(stream: asyncio.StreamReader) -> str:
    """The address that the browser says it listens on."""
    async for line in stream:
        if b"DevTools listening on ws://" in line:
            return line.decode().split("ws://")[1].split("/")[0]
    raise AssertionError("chromium ended before it listened")


async def _drain(stream: asyncio.StreamReader) -> None:
    async for _ in stream:
        pass
