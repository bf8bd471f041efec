"""The page of a run under way, in a real browser."""

import asyncio
import os
import socket
import time
from pathlib import Path

import browser
import live_screens
import pytest

from loadgen.feed.messages import IntervalDone, LoadBegins
from loadgen.live import served as module
from loadgen.live.served import Served
from model_containers.units import NS_PER_S

pytestmark = [pytest.mark.browser]

DESKTOP, NARROW = (1280, 900), (390, 800)
DRAWN = """[...document.querySelectorAll('.plot')].map(
    plot => plot.data.map(trace => trace.x.length)).flat()"""


async def look(url, act):
    """Visit the page, and do something with it; nothing may complain, and only the page's process may be asked."""
    async with browser.browser("127.0.0.1") as tab:
        await tab.resize(*DESKTOP)
        await tab.visit(url)
        await act(tab)
        assert tab.complaints == []
        assert {request.partition("?")[0] for request in tab.requests} <= {url, f"{url}events"}


def test_the_page_follows_the_run(monkeypatch):
    """Plots grow with each interval, checks and progress are said, and the end too; at the width of a phone as well."""
    browser.required()
    monkeypatch.setattr(module, "STREAM_EVERY_S", 0.25)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    found = Served()
    found.state = live_screens.failing()
    found.state.take(LoadBegins(time.monotonic_ns() - 31 * NS_PER_S))
    found.listen(None, listener.detach())

    async def act(tab):
        await tab.until("document.querySelector('.eyebrow')?.textContent.includes('live')")
        assert await tab.evaluate(DRAWN) == [10, 10, 10, 10]
        text = await tab.evaluate("document.body.innerText")
        assert "Fails: p50 20.02 ms, wanted <=15ms" in text
        assert "commit=4f2a9c1" in text
        assert "of 2 min 00 s" in text
        with found.changing():
            found.state.take(IntervalDone(live_screens.interval(11)))
        await tab.until("document.querySelector('.plot').data[0].x.length === 11")
        for size in (NARROW, DESKTOP):
            await tab.resize(*size)
            assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
            for scheme in ("dark", "light"):
                await tab.scheme(scheme)
                if directory := os.environ.get("LOADGEN_SCREENSHOTS"):
                    await tab.screenshot(Path(directory) / f"live-{size[0]}-{scheme}.png")
        await asyncio.get_running_loop().run_in_executor(None, found.close)
        await tab.until("document.querySelector('.eyebrow')?.textContent.includes('ended')")

    asyncio.run(look(url, act))
