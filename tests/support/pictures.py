"""Draws the pictures in docs/pictures: `make pictures`. The drawings need nothing, the page's need chromium."""

from __future__ import annotations

import asyncio
import base64
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path

DIRECTORY = Path(__file__).parents[2] / "docs" / "pictures"

_COLOURS = """
.back { fill: #ffffff } .box { fill: #f4f6fa; stroke: #8793a8 } .group { fill: none; stroke: #c3cbd8 }
.title { fill: #14213d; font-weight: 600 } .text { fill: #4a5568 } .line { stroke: #3166c4; fill: none }
.head { fill: #3166c4 } .back-line { stroke: #b4540a; fill: none } .back-head { fill: #b4540a }
@media (prefers-color-scheme: dark) {
.back { fill: #131722 } .box { fill: #1e2433; stroke: #6b7890 } .group { stroke: #3a4357 }
.title { fill: #eef2f9 } .text { fill: #aeb8c9 } .line { stroke: #7aa7ff } .head { fill: #7aa7ff }
.back-line { stroke: #f0a35e } .back-head { fill: #f0a35e }
}
"""
_FONT = "font-family='system-ui, sans-serif' font-size='12.5'"
_CELL = 8.43
"""Width of a letter of the terminal: a font with another one is stretched."""
_MONO = "font-family='ui-monospace, Menlo, Consolas, monospace' font-size='14'"


def _svg(width: int, height: int, title: str, style: str, parts: Iterable[str]) -> str:
    size = f"width='{width}' height='{height}' viewBox='0 0 {width} {height}'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img'>"
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{style}</style>", *parts, "</svg>", ""])


# The architecture


def _box(x: int, y: int, width: int, title: str, *lines: str) -> str:
    height = 30 + 20 * len(lines)
    texts = [f"<text class='title' x='{x + 12}' y='{y + 21}'>{escape(title)}</text>"]
    texts += [
        f"<text class='text' x='{x + 12}' y='{y + 41 + 20 * i}'>{escape(text)}</text>" for i, text in enumerate(lines)
    ]
    return "\n".join([f"<rect class='box' x='{x}' y='{y}' width='{width}' height='{height}' rx='6'/>", *texts])


def _group(x: int, y: int, width: int, height: int, title: str) -> str:
    return (
        f"<rect class='group' x='{x}' y='{y}' width='{width}' height='{height}' rx='10'/>"
        f"<text class='text' x='{x + 12}' y='{y + 22}'>{escape(title)}</text>"
    )


def _arrow(points: str, label: str = "", at: tuple[int, int] = (0, 0), *, back: bool = False) -> str:
    kind, marker = ("back-line", "back") if back else ("line", "there")
    text = f"<text class='text' x='{at[0]}' y='{at[1]}' text-anchor='middle'>{escape(label)}</text>" if label else ""
    return f"<polyline class='{kind}' stroke-width='1.6' points='{points}' marker-end='url(#{marker})'/>{text}"


def architecture() -> str:
    """The processes of a run, and the way of a request and of its answer."""
    markers = "".join(
        f"<marker id='{name}' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
        f"<path class='{kind}' d='M0 0 L8 4 L0 8 z'/></marker>"
        for name, kind in (("there", "head"), ("back", "back-head"))
    )
    parts = [
        f"<defs>{markers}</defs><rect class='back' width='960' height='430'/><g {_FONT}>",
        _group(16, 16, 292, 398, "loadgen: load and measurement"),
        _group(356, 16, 252, 398, "frontend_launch: the serving side"),
        _group(656, 16, 288, 398, "model_containers: the replicas"),
        _box(36, 54, 252, "schedule or window", "when to send: open or closed loop"),
        _box(36, 130, 252, "client", "sends, receives, records", "on cores of its own"),
        _box(36, 226, 252, "certificate and verdict", "run valid? what is the limit?"),
        _box(36, 302, 252, "results", "JSON, table, page, exit code", "size, capacity, sweep, compare"),
        _box(376, 130, 212, "query frontend", "a queue per model, batches", "on cores of its own"),
        _box(376, 226, 212, "management frontend", "models, batch sizes"),
        _box(376, 302, 212, "sampler", "reads cores, GPUs, queues", "once per second"),
        *(
            _box(676, y, 248, f"replica-{number}", *lines)
            for number, y, lines in (
                (0, 54, ("one model, own cores or GPU",)),
                (1, 130, ("answers batches of requests,", "reports the times of each batch")),
                (2, 226, ("a model of the catalogue,", "a Python object, an ONNX file")),
            )
        ),
        _box(676, 330, 248, "or an external server", "Triton, KServe, MLServer, HTTP"),
        _arrow("162,104 162,128"),
        _arrow("288,150 374,150", "request", (332, 144)),
        _arrow("376,182 290,182", "answer", (332, 200), back=True),
        *(_arrow(f"588,150 632,150 632,{y} 674,{y}") for y in (80, 150, 252)),
        _arrow("676,182 590,182", "batches", (632, 200), back=True),
        _arrow("162,200 162,224", back=True),
        _arrow("162,276 162,300", back=True),
        _arrow("376,340 332,340 332,252 290,252", back=True),
        _arrow("288,168 342,168 342,394 640,394 640,360 674,360"),
        "</g>",
    ]
    return _svg(960, 430, "How a request goes through loadgen, a frontend and replicas", _COLOURS, parts)


# A terminal session

SESSION = """\
$ loadgen size -m onnx:churn.onnx --rate 200 --slo 'p99<100ms' --core-cost 0.04
size        r1-c1-b32: 1 replica x 1 core, batches up to 32 (1 core)
carries     200 requests/s with p99<100ms
shown by    Poisson arrivals for 100 s: p99 3.379 ms, wanted <100ms
capacity    27,870 requests/s (27,320 to 28,430, 95% confidence) at full speed;
            head-room 139 times the rate
cost        0.04 an hour, 0.05556 per million requests at 200 requests/s
cheaper     none: no size costs less
not known   what happens after more than 100 s, or with burstier arrivals
found by    3 of 18 cells measured in 0:03:21
"""


def terminal() -> str:
    """What a search prints, as a terminal shows it."""
    rows = SESSION.splitlines()
    width, height = 760, 64 + 22 * len(rows)
    style = (
        ".frame { fill: #10141c } .bar { fill: #232a38 } .dot { fill: #56607a } "
        ".prompt { fill: #8fd18f } .key { fill: #7aa7ff } .out { fill: #d8dee9 }"
    )
    parts = [
        f"<rect class='frame' width='{width}' height='{height}' rx='10'/>",
        f"<path class='bar' d='M0 34 V10 a10 10 0 0 1 10 -10 H{width - 10} a10 10 0 0 1 10 10 V34 z'/>",
        *(f"<circle class='dot' cx='{20 + 20 * number}' cy='17' r='6'/>" for number in range(3)),
        f"<g {_MONO}>",
    ]
    for number, row in enumerate(rows):
        cut = 2 if row.startswith("$") else 12
        words = (("prompt" if cut == 2 else "key", 0, row[:cut].rstrip()), ("out", cut, row[cut:]))
        parts += [
            f"<text class='{kind}' x='{18 + at * _CELL:.1f}' y='{60 + 22 * number}' "
            f"textLength='{len(text) * _CELL:.1f}' lengthAdjust='spacingAndGlyphs'>{escape(text)}</text>"
            for kind, at, text in words
            if text
        ]
    return _svg(width, height, "loadgen size answers in a terminal", style, [*parts, "</g>"])


DRAWINGS: Mapping[str, Callable[[], str]] = {"architecture.svg": architecture, "terminal.svg": terminal}
"""The drawings with what draws them."""


# The page


async def photograph() -> None:
    """The page of a report over sample runs: in a wide window, light, and on a phone, dark."""
    from browser import browser
    from sample_pages import collection
    from sample_results import results

    from loadgen.report.page import page

    sizes = [(r, c, b) for r in (1, 2, 4) for c in (1, 2) for b in (1, 2, 4, 8)]
    runs = [results(r, c, b, described=True, seconds=30) for r, c, b in sizes]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "report.html"
        path.write_text(page(collection(runs)), encoding="utf-8")
        async with browser() as tab:
            for name, scheme, width, height in (("page", "light", 1200, 1000), ("page-phone", "dark", 390, 844)):
                await tab.scheme(scheme)
                await tab.open(path, width, height)
                shot = await tab.command("Page.captureScreenshot")
                (DIRECTORY / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (DIRECTORY / name).write_text(draw())
    if sys.argv[1:] == ["--page"]:
        asyncio.run(photograph())
