"""Draws the state of a measurement for a terminal of any width. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from frontend_launch.integers import core_ranges
from loadgen.feed.messages import Progress
from loadgen.live.state import Run, State
from model_containers.units import NS_PER_S

LABEL = 12
"""Width of the column of labels, as in the summary of a run."""

MANY = 10_000
"""From this number of answers on, p99.9 is shown."""

_WRAPPING = Console(width=LABEL)
"""Text asks a console how to wrap; its width does not matter."""

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 24
_MOST_LINES = 4
"""Of a row; what does not fit ends with an ellipsis."""


def screen(state: State, width: int, now_ns: int) -> RenderableType:
    """The view.

    Args:
        state: of the measurement.
        width: of the terminal, in characters.
        now_ns: the clock of the state.
    """
    table = Table.grid(padding=0)
    table.add_column(width=LABEL, style="dim", no_wrap=True)
    table.add_column(width=max(10, width - LABEL))
    for label, value in _rows(state, width - LABEL, now_ns):
        table.add_row(label, value)
    return Group(Rule(_title(state), align="left", style="dim"), table)


def _title(state: State) -> Text:
    tags = ", ".join(f"{key}={value}" for key, value in state.begin.tags.items())
    parts = [f"loadgen {state.begin.command}".rstrip()]
    if state.run is not None:
        parts += [state.run.planned.title, state.run.planned.load]
    return Text(" · ".join(filter(None, [*parts, tags])), overflow="ellipsis", no_wrap=True)


def _rows(state: State, width: int, now_ns: int) -> Iterable[tuple[str, RenderableType]]:
    if state.progress is not None:
        yield state.progress.unit, _progress(state.progress, width, now_ns)
    run = state.run
    if state.waits is not None:
        yield "waiting", Text(f"for {state.waits.what}, {_time((now_ns - state.waits.at_ns) / NS_PER_S)}")
    if run is None or run.began_ns is None:
        return
    yield "time", _run_time(run, width, now_ns)
    if run.last is not None:
        yield "throughput", _throughput(run, width)
        yield "latency ms", _latency(run, width)
        yield "in flight", _in_flight(run)
    if run.sample is not None:
        yield "cores", _clipped(_cores(run), width)
    if run.last is not None or run.checks:
        yield "checks", _clipped(_checks(run), width)


def _run_time(run: Run, width: int, now_ns: int) -> RenderableType:
    """How far a run is: by time, or by requests where their number ends it."""
    planned, began_ns = run.planned, run.began_ns
    assert began_ns is not None
    elapsed_s = (now_ns - began_ns) / NS_PER_S - planned.warmup_s
    if elapsed_s < 0:
        return Text(f"warming up, {_time(-elapsed_s)} left")
    if run.over:
        return Text(f"{_time(run.measured_s)} measured")
    if planned.measured_s is not None:
        total_s, left_s = planned.measured_s, planned.measured_s - elapsed_s
        if left_s <= 0:
            return Text(f"{_time(total_s)} measured, the last answers are awaited")
        return _bar(elapsed_s, total_s, f"{_time(elapsed_s)} of {_time(total_s)}, {_time(left_s)} left", width)
    done = run.counts.completed + run.counts.lost
    if planned.requests is None or not done or not run.throughput_rps:
        return Text(_time(elapsed_s))
    left_s = max(0.0, (planned.requests - done) / run.throughput_rps)
    text = f"{number(done)} of {number(planned.requests)} requests, about {_time(left_s)} left"
    return _bar(done, planned.requests, text, width)


def _bar(done: float, total: float, text: str, width: int) -> RenderableType:
    length = max(0, min(40, width - len(text) - 2))
    if length < 8:
        return Text(text)
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_row(ProgressBar(total=total, completed=min(done, total), width=length), Text(text, no_wrap=True))
    return line


def _progress(progress: Progress, width: int, now_ns: int) -> RenderableType:
    left = ""
    if progress.left_s is not None:
        left_s = max(0.0, progress.left_s - (now_ns - progress.at_ns) / NS_PER_S)
        left = f", {'at most' if progress.at_most else 'about'} {_time(left_s)} left"
    now = f", now {progress.now}" if progress.now else ""
    if progress.total is None:
        return Text(f"{progress.done} done{now}{left}", overflow="ellipsis", no_wrap=True)
    return _bar(progress.done, progress.total, f"{progress.done} of {progress.total}{now}{left}", width)


def _throughput(run: Run, width: int) -> Text:
    last, whole = run.last, run.throughput_rps
    assert last is not None
    text = f"{number(last.throughput_rps)} requests/s"
    if whole is not None and len(run.points) > 1:
        text += f", {number(whole)} over the run"
    bars = _sparkline([point.throughput_rps for point in run.points], min(_MOST_BARS, width - len(text) - 2))
    return Text(f"{text}  {bars}".rstrip())


def _sparkline(values: Sequence[float], width: int) -> str:
    """A bar for each of the latest values, from 0 to the largest."""
    if width < 4 or len(values) < 2:
        return ""
    shown = values[-width:]
    largest = max(shown) or 1.0
    return "".join(_BARS[round(value / largest * (len(_BARS) - 1))] for value in shown)


def _latency(run: Run, width: int) -> Text:
    """Percentiles over the run; as far as there is room, whose they are, and the p99 of the last interval."""
    counts, last = run.counts, run.last
    assert last is not None
    if not counts.completed:
        return Text("no answer yet")
    names = (50, 90, 99, 99.9) if run.planned.open_loop and counts.completed >= MANY else (50, 90, 99)
    parts = [f"p{each:g} {_known(counts.percentile_ms(each))}" for each in names]
    text = "  ".join([*parts, f"max {number(counts.latency.max_ns / 1e6)}"])
    optional = [] if run.planned.open_loop else [", with the queue"]
    if last.p99_s is not None and len(run.points) > 1:
        optional.append(f"; last {last.duration_s:.2g} s: p99 {number(1000 * last.p99_s)}")
    for part in optional:
        text += part if len(text) + len(part) <= width else ""
    return Text(text)


def _known(value_ms: float | None) -> str:
    return "among lost requests" if value_ms is None else number(value_ms)


def _in_flight(run: Run) -> Text:
    last = run.last
    assert last is not None
    parts = [f"{number(last.in_flight)} requests"]
    if run.counts.lost:
        parts.append(f"{number(run.counts.lost)} lost")
    if run.sample is not None:
        fills = {key: fill for key, fill in run.sample.batch_fill.items() if fill is not None}
        for key, fill in fills.items():
            of = f" of {key}" if len(fills) > 1 else ""
            waiting = run.queue_length.get(key, 0)
            parts.append(f"batches{of} {fill:.0%} full, {number(waiting)} queued")
    return Text("   ".join(parts))


def core_groups(run: Run) -> list[tuple[str, str, float]]:
    """Cores that the same roles of the plan have: their numbers, the roles, and how busy they were; nothing before."""
    if run.sample is None:
        return []
    busy, roles = run.sample.busy, dict[int, list[str]]()
    for row in run.planned.assignments:
        if not row.role.startswith("client-"):
            for core in row.cores:
                roles.setdefault(core, []).append(row.role)
    groups = dict[tuple[str, ...], list[int]]()
    for core in sorted(busy):
        groups.setdefault(tuple(roles.get(core, ())), []).append(core)
    return [
        (core_ranges(cores), ", ".join(names), sum(busy[core] for core in cores) / len(cores))
        for names, cores in groups.items()
    ]


def _cores(run: Run) -> str:
    return "  ".join(f"{cores}: {share:.0%} ({roles or 'others'})" for cores, roles, share in core_groups(run))


def _checks(run: Run) -> Text:
    if not run.checks:
        return Text("none near its limit")
    text = Text()
    for check in run.checks:
        if text:
            text.append("\n")
        text.append("fails: " if check.fails else "near: ", style="bold red" if check.fails else "yellow")
        text.append(check.reason)
    return text


def _clipped(text: Text | str, width: int) -> Text:
    """A text of few lines: what does not fit ends with an ellipsis."""
    lines = (Text(text) if isinstance(text, str) else text).wrap(_WRAPPING, max(10, width))
    shown = lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        shown[-1].truncate(max(10, width) - 2, pad=False)
        shown[-1].append(" …")
    return Text("\n").join(shown)


def _time(seconds: float) -> str:
    """Seconds below two minutes, then minutes and seconds, then hours and minutes."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def number(value: float) -> str:
    """Four significant digits, with separators of thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
