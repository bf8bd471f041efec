"""The page, in a real browser."""

import asyncio
from dataclasses import replace

import browser
import pytest
from sample_pages import collection, large, small
from sample_results import INVALID, at_a_rate, results
from sample_searches import make_capacity, make_comparison

from loadgen.judging.validity import Check
from loadgen.load.worker_use import WorkersUse, WorkerUse
from loadgen.report.answers import answers
from loadgen.report.page import page
from loadgen.report.reading import Missing, collect
from loadgen.results.sections import ServedModel

DESKTOP, NARROW = (1280, 900), (390, 800)
SHOWN = """[...document.querySelectorAll('.plot')].map(plot => ({
    title: plot.parentElement.querySelector('h3').textContent,
    traces: plot.data.length,
    drawn: plot.querySelectorAll('.trace .js-line, .trace .point').length,
    titles: [...plot.querySelectorAll('.xtitle, .ytitle')].map(title => title.textContent),
    ink: getComputedStyle(plot.querySelector('.xtick text')).fill,
}))"""
FITS = """[...document.querySelectorAll('.plot')].every(
    plot => Math.abs(plot.querySelector('.main-svg').getBoundingClientRect().width - plot.clientWidth) <= 1)"""
OVERVIEW = ["Throughput over batch size", "Throughput per core"]
WITHIN = """[...document.querySelectorAll('table, td, th, pre, h1, h2, dd')].filter(element =>
    element.getClientRects().length && element.getBoundingClientRect().right > WIDTH + 1).map(
    element => element.tagName + ': ' + element.textContent.slice(0, 80))"""


async def look(path, act):
    """Open the page, and do something with it; nothing may complain, and nothing be asked for."""
    async with browser.browser() as tab:
        await tab.open(path, *DESKTOP)
        found = await act(tab)
        assert tab.complaints == []
        assert tab.requests == []
        return found


def opened(tmp_path, what, act):
    browser.required()
    path = tmp_path / "report.html"
    path.write_text(page(what), encoding="utf-8")
    return asyncio.run(look(path, act))


@pytest.mark.parametrize(
    ("what", "titles"),
    [
        pytest.param(
            small,
            ["Latency spectrum of both", *OVERVIEW, "Throughput", "p99 latency", "Latency spectrum"],
            id="two cells",
        ),
        pytest.param(
            large,
            [
                *OVERVIEW,
                "Throughput against cores",
                "Throughput against GPUs",
                "Scaling over replicas",
                "Latency spectrum",
                *("Throughput", "p99 latency", "Batch fill", "Queue length", "CPU", "Latency spectrum"),
            ],
            id="200 cells",
        ),
    ],
)
def test_every_plot_is_drawn_in_light_and_dark_wide_and_narrow(tmp_path, what, titles):
    """With labelled axes, and in colours of the scheme."""

    async def act(tab):
        found = []
        for size in (DESKTOP, NARROW):
            await tab.resize(*size)
            for scheme in ("light", "dark"):
                await tab.scheme(scheme)
                await tab.until(FITS)
                assert size == DESKTOP or await tab.evaluate(WITHIN.replace("WIDTH", "390")) == []
                assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
                found.append(await tab.evaluate(SHOWN))
        return found

    views = opened(tmp_path, what(), act)
    assert len(views) == 4
    for plots in views:
        assert [plot["title"] for plot in plots] == titles
        for plot in plots:
            assert plot["traces"] >= 1
            assert plot["drawn"] >= 1, plot["title"]
            assert len(plot["titles"]) == 2
            assert all(plot["titles"])
    light, dark = views[:2]
    assert all(one["ink"] != other["ink"] for one, other in zip(light, dark, strict=True))


def test_paper_is_light_and_narrow(tmp_path):
    """Whatever the screen is: plots have the width of A4 and light colours before they are printed, and then return."""
    right = "p => p.querySelector('.main-svg').getBoundingClientRect().right"
    widths = f"[...document.querySelectorAll('.plot')].map({right})"
    ink = "getComputedStyle(document.querySelector('.xtick text')).fill"

    async def act(tab):
        await tab.scheme("dark")
        before = await tab.evaluate(f"[{widths}, {ink}]")
        await tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        await tab.until("document.querySelector('.main-svg').getBoundingClientRect().width < 400")
        on_paper = await tab.evaluate(f"[Math.max(...{widths}), {ink}]")
        sticking_out = await tab.evaluate(WITHIN.replace("WIDTH", "document.body.getBoundingClientRect().right"))
        await tab.evaluate("dispatchEvent(new Event('afterprint'))")
        await tab.until(FITS)
        return before, on_paper, sticking_out, await tab.evaluate(f"[{widths}, {ink}]")

    made = [results(1, 1, b, seconds=10, seed=s, model=m) for m in ("elastic-net", "x") for b in (1, 2) for s in (0, 1)]
    what = collection([*made, at_a_rate(50.0)])  # with every column
    before, (right, ink_on_paper), sticking_out, after = opened(tmp_path, what, act)
    assert sticking_out == []
    assert right <= 1000  # 45rem, in the middle of 1280 pixels
    assert ink_on_paper == "rgb(100, 107, 117)" != before[1]
    assert after == before


def test_a_search_for_capacity_and_a_comparison_are_shown(tmp_path):
    """The rate with its interval first, each probe with its run, and both spectra in one plot."""
    make_capacity(tmp_path / "capacity-1")
    make_comparison(tmp_path / "compare-1")
    browser.required()
    found = collect([tmp_path])
    path = tmp_path / "report.html"
    path.write_text(page(found, answers(found)), encoding="utf-8")

    async def act(tab):
        text = await tab.evaluate("document.body.innerText")
        plots = await tab.evaluate(SHOWN)
        spectra = "document.querySelectorAll('#searches .plot')[1].data.map(({ name, line }) => [name, line.dash])"
        lines = await tab.evaluate(spectra)
        await tab.evaluate("document.querySelector('#searches td button').click()")
        return text, [plot["title"] for plot in plots], lines, await tab.evaluate("location.hash")

    text, titles, lines, address = asyncio.run(look(path, act))
    assert "Deploy r1-c1-b2 of noop, for up to 100 requests/s with p99<50ms" in text
    assert "100 requests/s (100 to 110 requests/s, with 95% confidence)." in text
    assert "not worse: B is not worse than A by 5% or more, in 1 round" in text
    assert titles[:2] == ["Probes", "Latency spectrum"]
    assert lines == [["A (window)", "solid"], ["B (window)", "dash"]]
    assert address.startswith("#run-")


def test_two_results_are_laid_over_each_other(tmp_path):
    """With their figures, also where one is invalid; the lines are told apart without colour."""
    made = [results(1, seconds=3), results(2, seconds=3, certificate=[INVALID])]

    async def act(tab):
        lines = "document.querySelector('#overview .plot').data.map(({ name, line }) => [name, line.dash])"
        return await tab.evaluate(lines), await tab.evaluate("document.querySelector('#overview').innerText")

    lines, text = opened(tmp_path, collection(made), act)
    assert lines == [["A: 0.json (queue)", "solid"], ["B: 1.json (queue)", "dash"]]
    assert "B is invalid: outside load: somebody used core 3" in text
    assert "p99 ms" in text


def test_no_latency_of_a_queue_is_a_headline(tmp_path):
    """Only that of a rate that was carried."""
    rate = at_a_rate(50.0)
    tiles = "[...document.querySelectorAll('.figures > div')].map(tile => tile.innerText.split('\\n'))"

    async def act(tab):
        return await tab.evaluate(tiles)

    saturated = opened(tmp_path, collection([results(1, seconds=3), results(2, seconds=3)]), act)
    assert not any("p99" in tile[0] for tile in saturated)
    both = opened(tmp_path, collection([results(1, seconds=3), rate]), act)
    (tile,) = [tile for tile in both if "p99" in tile[0]]
    assert tile[0] == "lowest p99 at a rate"
    assert "poisson 50 requests/s" in tile[2]


def test_lines_are_told_apart_without_colour(tmp_path):
    """By dash or marker: no two lines of a plot have both in common."""
    shapes = """[...document.querySelectorAll('.plot')].map(plot => plot.data.filter(trace => trace.line).map(
        trace => `${trace.line.dash} ${trace.mode.includes('markers') ? trace.marker.symbol : ''}`))"""

    async def act(tab):
        return await tab.evaluate(shapes)

    made = [results(r, 1, b, described=True, seconds=10) for r in (1, 2, 3) for b in (1, 2, 4)]
    for plot in opened(tmp_path, collection(made), act):
        assert len(plot) == len(set(plot))


def test_a_run_is_shown_when_it_is_chosen(tmp_path):
    """By its cell in the table, by the next button, and by its address; only one is in the page at a time."""
    heading = "document.querySelector('#run select').selectedOptions[0].textContent"
    press = "document.querySelector('{}').click()"

    async def act(tab):
        first = await tab.evaluate(heading)
        count = await tab.evaluate("document.querySelectorAll('.plot').length")
        await tab.evaluate(press.format('#cells tr[data-cell="7"] button'))
        await tab.settle()
        chosen = await tab.evaluate(heading), await tab.evaluate("location.hash")
        await tab.evaluate(press.format("#run .after"))
        await tab.settle()
        after = await tab.evaluate(heading)
        await tab.evaluate("location.hash = '#run-1'")
        await tab.settle()
        assert await tab.evaluate("document.querySelectorAll('.plot').length") == count
        return first, chosen, after, await tab.evaluate(heading)

    found = opened(tmp_path, large(), act)
    assert found == ("r8-c8-b512", ("r1-c2-b128", "#run-8"), "r1-c2-b256", "r1-c2-b1")


def test_the_table_sorts_by_keyboard(tmp_path):
    """Enter on a head sorts by it, again the other way round; what was not measured stays last."""
    names = "[...document.querySelectorAll('#cells tbody tr')].map(row => row.cells[0].textContent)"

    async def act(tab):
        await tab.evaluate(
            "[...document.querySelectorAll('#cells th button')].find(b => b.textContent == 'p99 ms').focus()"
        )
        orders = []
        for _ in range(2):
            for kind in ("keyDown", "keyUp"):
                await tab.command("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r")
            orders.append(await tab.evaluate(names))
        return orders

    rising, falling = opened(tmp_path, large(), act)
    assert rising[0].startswith("r8-c8-b512")
    assert rising[-2:] == ["r1-c1-g1-b1", "r9-c8-b1"]
    assert falling[0] == "r1-c1-g1-b1"


def test_an_invalid_run_is_marked(tmp_path):
    """In the table with its reason, and on no plot over cells; the run shows its certificate."""
    made = [results(1, seconds=3), results(2, seconds=3), results(4, seconds=3, certificate=[INVALID])]

    async def act(tab):
        marked = await tab.evaluate(
            "[...document.querySelectorAll('#cells td[title]')].map(cell => [cell.textContent, cell.title])"
        )
        plotted = await tab.evaluate(
            "document.querySelectorAll('#overview .plot')[0].data.flatMap(trace => trace.text)"
        )
        await tab.evaluate("chooseCell(2)")
        rows = await tab.evaluate("[...document.querySelectorAll('.certificate td')].map(cell => cell.textContent)")
        return marked, plotted, rows, await tab.evaluate("document.querySelector('.verdict').innerText")

    marked, plotted, rows, verdict = opened(tmp_path, collection(made), act)
    assert marked == [["invalid", INVALID.reason]]
    assert plotted == ["r1-c1-b2", "r2-c1-b2"]
    assert rows == ["outside load", "failed", "somebody used core 3", "nobody does", "end it"]
    assert f"Invalid: {INVALID.reason}" in verdict


def test_a_sweep_without_results_says_why(tmp_path):
    """And draws nothing."""

    async def act(tab):
        return await tab.evaluate("document.body.innerText"), await tab.evaluate(
            "document.querySelectorAll('.plot').length"
        )

    text, plots = opened(tmp_path, collection([], [Missing("r1-c1-b1", "a port is in use")]), act)
    assert "not measured: a port is in use" in text
    assert plots == 0


def test_what_files_say_is_text_and_never_html(tmp_path):
    """Whatever a note, a command or a model's name holds."""
    evil = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><b>"
    made = replace(
        results(seconds=3),
        notes=[evil],
        command=[evil],
        model=ServedModel(evil, evil, evil),
        error=evil,
        certificate=[Check(evil, evil, evil, "failed", evil)],
        workers=WorkersUse(
            evil, 1.0, 2.0, [WorkerUse(evil, evil, evil, [evil], 1, 1, 0, 1.0, {}, 0.5, 7, 0.25, 1.0, [evil])]
        ),
    )

    async def act(tab):
        rows = "document.querySelectorAll('.workers td').length"
        return await tab.evaluate(
            f"[document.title, document.querySelectorAll('#run img, #summary img').length, {rows}]"
        )

    title, images, cells = opened(tmp_path, collection([made]), act)
    assert title == f"{evil} · loadgen report"
    assert cells == 11
    assert images == 0


def test_a_name_in_a_plot_is_text(tmp_path):
    """Plotly reads some HTML in texts: a link there would lead where the file's author wants."""
    evil = '<a href="https://evil.example">evil</a>'
    sizes = [(name, batch) for name in (evil, "other") for batch in (1, 2)]
    made = [replace(results(batch=b, seconds=3), model=ServedModel(name, "none", name)) for name, b in sizes]
    texts = "[...document.querySelectorAll('.plot')].flatMap(plot => plot.data.flatMap(trace => trace.text ?? []))"

    async def act(tab):
        return await tab.evaluate(texts)

    shown = opened(tmp_path, collection(made), act)
    assert any(text.startswith('&lt;a href="https://evil.example">evil&lt;/a> ') for text in shown)
    assert not any("<" in text for text in shown)
