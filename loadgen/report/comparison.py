"""Formats comparisons: two results described, and rounds judged; for a terminal, as Markdown and as JUnit's XML."""

from __future__ import annotations

import datetime
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from frontend_launch.histogram import LatencyHistogram
from frontend_launch.quantities import number, plural
from loadgen.experiments.compare import Compared, ComparePlan
from loadgen.judging.comparison import METRICS, THROUGHPUT, Comparison, Effect, Outcome, figure, is_wide, spread
from loadgen.report import junit as junit_xml
from loadgen.report.columns import table
from loadgen.report.plan_text import plan_text, sent_text
from loadgen.report.tables import markdown_table
from loadgen.results.cells import Run, run_of
from loadgen.results.document import Results, strict
from loadgen.results.environment import Environment
from model_containers.printable import printable_line

SPECTRUM = (25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
"""Percentiles that are shown side by side, as far as there are requests beyond them."""

WIDTH = 32
"""Characters of the spectrum."""

SETUP = ("machine", "memory", "transport")
"""Differences that a comparison of rounds names too."""

Rows = Sequence[Sequence[str]]

# Two results, described ------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Something that two runs do not share.

    Attributes:
        what: it is.
        a: of A.
        b: of B.
    """

    what: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Description:
    """How two results compare, without a judgement.

    Attributes:
        figures: a table of figures, their ratio and the spectrum of latencies, with a line of headings.
        differences: in configuration, load, machine, software and validity.
        summary: what they differ by, and why nothing follows from that.
    """

    figures: Rows
    differences: tuple[Difference, ...]
    summary: str

    def text(self, width: int | None = None) -> str:
        """For a terminal.

        Args:
            width: of the terminal, as in `table`; the figures are a drawing, and keep theirs.
        """
        rows = (
            [("differs", "A", "B"), *self.differences] if self.differences else [("differs", "nothing that is known")]
        )
        lines = [*table(rows, width).splitlines(), "", *table(self.figures).splitlines(), ""]
        return "\n".join(map(printable_line, lines))

    @property
    def markdown(self) -> str:
        """For a page of a change."""
        figures = [row[:-1] for row in self.figures]
        differences = [("differs", "A", "B"), *self.differences] if self.differences else []
        return "\n\n".join(filter(None, (markdown_table(figures), markdown_table(differences), self.summary))) + "\n"


def described(a: Run, b: Run, *, baseline: Sequence[Results] = ()) -> Description:
    """Describe what two runs differ by.

    Args:
        a: the first.
        b: the other one.
        baseline: the runs of which A is that of median throughput.
    """
    found = tuple(differences(a, b))
    if _same(a, b):
        return Description(_figures(a, b), found, "A and B are the same run")
    return Description(
        _figures(a, b), found, f"{_differs_by(a, b)}; not comparable because {'; '.join(_reasons(a, b, baseline))}"
    )


def _same(a: Run, b: Run) -> bool:
    """Whether two files hold one run: two runs do not begin at the same time and measure the same."""
    first, second = a.results, b.results
    return (first.started_at, first.summary, first.histograms) == (second.started_at, second.summary, second.histograms)


def differences(a: Run, b: Run) -> Iterator[Difference]:
    """What two runs do not share, as far as their files tell."""
    for (what, first), second in zip(_properties(a).items(), _properties(b).values(), strict=True):
        if first != second:
            yield Difference(what, first or "unknown", second or "unknown")
    if a.transport and b.transport and a.transport != b.transport:
        yield Difference("transport", a.transport, b.transport)
    environments = a.results.environment, b.results.environment
    for kind in ("packages", "variables", "frequency_governors"):
        one, other = (getattr(environment, kind) for environment in environments)
        if kind == "packages" and not (one and other):
            continue  # of 2017
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                yield Difference(name, one.get(name, "-"), other.get(name, "-"))


def _properties(run: Run) -> dict[str, str]:
    """What describes a run, by what it is called; empty where its file does not tell."""
    c, load, results = run.configuration, run.load, run.results
    environment, summary = results.environment, results.summary
    known = {
        "model": c.model,
        "weights": c.weights,
        "XLA": "yes" if c.xla else "no",
        "inputs": c.inputs,
        "target": c.target,
        "replicas": c.replicas,
        "cores per replica": c.cpus_per_replica,
        "cores of replicas": c.cores,
        "GPUs": c.gpus,
        "batch size": c.batch_size,
        "frontends": c.frontends,
        "clients": c.clients,
        "load": load.arrivals or "saturating",
        "in flight": load.window if load.arrivals is None else "as scheduled",
        "measured": f"{summary.measured.duration_s:.0f} s",
        "machine": c.machine,
        "memory": _memory(environment),
        "platform": environment.platform,
        "python": environment.python,
        "commit": environment.git_commit,
        "validity": _validity(run),
        "ended": results.error or "as asked",
    }
    return {name: "" if value is None else str(value) for name, value in known.items()}


def _validity(run: Run) -> str:
    if run.invalid is not None:
        return f"invalid: {run.invalid}"
    return "valid" if run.results.certificate else "not checked"


def _reasons(a: Run, b: Run, baseline: Sequence[Results]) -> Iterator[str]:
    """Why nothing follows from what two runs differ by.

    Args:
        a: the first.
        b: the other one.
        baseline: as of `described`.
    """
    runs = "they are one run each"
    if len(baseline) > 1:
        ratio = spread([results.summary for results in baseline], THROUGHPUT)
        runs = f"A is the median of {len(baseline)} runs that differ by {_share(ratio - 1)} in throughput, B is one run"
    yield f"{runs}, {_apart(a, b)}, which does not tell a difference from chance"
    if (a.load.arrivals, a.load.window) != (b.load.arrivals, b.load.window):
        yield "their loads differ"
    if _machine(a.results.environment) is None or _machine(b.results.environment) is None:
        yield "a machine is unknown"
    elif _machine(a.results.environment) != _machine(b.results.environment):
        yield "their machines differ"
    for name, run in (("A", a), ("B", b)):
        if run.results.error is not None:
            yield f"{name} did not end as asked: {run.results.error}"
        elif run.invalid is not None:
            yield f"{name} is invalid: {run.invalid}"
        elif not run.results.certificate:
            yield f"nothing says whether {name} is valid"


def _machine(environment: Environment) -> tuple[str, int, str] | None:
    return (environment.cpu_model, environment.cores, _memory(environment)) if environment.cores else None


def _memory(environment: Environment) -> str:
    return f"{environment.memory_bytes / 2**30:.1f} GiB" if environment.memory_bytes else ""


def _apart(a: Run, b: Run) -> str:
    """How long two runs lie apart, in the largest unit of which there is one."""
    try:
        times = [datetime.datetime.fromisoformat(run.results.started_at) for run in (a, b)]
    except ValueError:  # of a damaged file
        return "measured at times that are not known"
    first, second = (time if time.tzinfo else time.astimezone() for time in times)
    seconds = abs((second - first).total_seconds())
    units = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
    length, unit = next((unit for unit in units if seconds >= unit[0]), (1, "second"))
    return f"measured {plural(int(seconds // length), unit)} apart"


def _differs_by(a: Run, b: Run) -> str:
    found = []
    for name in METRICS:
        first, second = figure(a.results.summary, name), figure(b.results.summary, name)
        if first and second and name in (THROUGHPUT, "p50", "p99"):
            found.append(f"{second / first - 1:+.1%} in {name}")
    return f"B differs by {', '.join(found)}" if found else "no figure is known of both"


def _figures(a: Run, b: Run) -> Rows:
    """Throughput, mean and the spectrum of both, with intervals where they are known."""
    rows: list[Sequence[str]] = [("", "A", "B", "B / A", "")]
    firsts, seconds = a.results.summary, b.results.summary
    pairs = (firsts.throughput_interval_rps, seconds.throughput_interval_rps)
    rows.append(_row("requests/s", (figure(firsts, THROUGHPUT), figure(seconds, THROUGHPUT)), pairs))
    lines = {"mean": (figure(firsts, "mean"), figure(seconds, "mean"))}
    lines |= {f"p{each:g}": (_percentile(a, each), _percentile(b, each)) for each in SPECTRUM}
    known = {name: pair for name, pair in lines.items() if pair != (None, None)}
    scale = [value for pair in known.values() for value in pair if value]
    for name, pair in known.items():
        ends = tuple((summary.intervals_ms or {}).get(name) for summary in (firsts, seconds))
        rows.append(_row(f"{name} ms", pair, (ends[0], ends[1]), _marks(pair, scale)))
    return rows


Ends = tuple[float, float] | None
Pair = tuple[float | None, float | None]


def _row(name: str, pair: Pair, ends: tuple[Ends, Ends], marks: str = "") -> tuple[str, ...]:
    (first, second), (low, high) = pair, ends
    ratio = f"{second / first:.3f}" if first and second else "-"
    if ratio != "-" and low and high and min(*low, *high) > 0:
        ratio += f" ({high[0] / low[1]:.3f} to {high[1] / low[0]:.3f})"
    return name, _value(first, low), _value(second, high), ratio, marks


def _value(value: float | None, ends: Ends = None) -> str:
    if value is None:
        return "-"
    between = "" if ends is None else f" ({number(ends[0])} to {number(ends[1])})"
    return number(value) + between


def _percentile(run: Run, percentile: float) -> float | None:
    """Of all requests, in ms; None where fewer than one is slower, or it falls among those without an answer."""
    latency = LatencyHistogram.decode(run.results.histograms.latency)
    requests = latency.total + run.lost
    if not latency.total or requests * (1 - percentile / 100) < 1:
        return None
    value_ns = latency.percentile_ns(percentile, run.lost)
    return value_ns / 1e6 if value_ns else None


def _marks(pair: Pair, scale: Sequence[float]) -> str:
    """Where both lie between the least and the most of all, on a logarithmic axis; ``*`` where that is one place."""
    least, most = math.log(min(scale)), math.log(max(scale))
    line = [" "] * WIDTH
    for mark, value in zip("AB", pair, strict=True):
        if value:
            at = round((math.log(value) - least) / (most - least) * (WIDTH - 1)) if most > least else 0
            line[at] = mark if line[at] == " " else "*"
    return "".join(line).rstrip()


# Rounds, judged --------------------------------------------------------------------------------------------


def compare_plan_text(plan: ComparePlan) -> str:
    """What will be measured, and what that can show."""
    config, metrics = plan.config, ", ".join(plan.metrics)
    lines = [
        f"{'' if number else side:<12}{line}"
        for side, each in plan.sides.items()
        for number, line in enumerate(plan_text(each).splitlines())
    ]
    if config.other_load is not None:
        lines.append(f"baseline    of another load ({config.other_load}), so figures differ for that reason alone")
    order = ", ".join(" ".join(plan.order(number)) for number in range(min(2, plan.rounds)))
    time = datetime.timedelta(seconds=round(plan.expected_s))
    lines.append(f"rounds      {plan.rounds}, in the order {order}{', …' * (plan.rounds > 2)}; about {time}")
    if sent := sent_text([each for each in plan.sides.values() for _ in range(plan.rounds)]):
        lines.append(f"sends       {sent}")
    lines.append(f"metrics     {metrics}{'; ' * bool(plan.notes)}{'; '.join(plan.notes)}")
    if config.gates:
        lines.append(f"margin      B may be worse by {_share(config.margin)}")
    if config.allow_unpaired:
        lines += _unpaired_lines(plan)
    elif config.gates:
        lines.append(
            f"power       {_share(config.margin)} worse is found in 90% of comparisons "
            f"where ratios of rounds scatter by {_share(plan.scatter)} at most"
        )
    return "\n".join(map(printable_line, lines))


def _unpaired_lines(plan: ComparePlan) -> list[str]:
    """How B is judged by earlier runs."""
    config = plan.config
    summaries = [results.summary for results in config.baseline]
    spreads = {name: spread(summaries, name) for name in plan.metrics}
    differ = ", ".join(f"{name} by {_share(ratio - 1)}" for name, ratio in spreads.items())
    length = number(statistics.median(summary.measured.duration_s for summary in summaries), 3)
    lines = [
        f"baseline    {plural(len(summaries), 'run')} of {length} s, which differ in {differ}",
        "not worse   if B's loss plus the difference of these runs is below the margin",
        "worse       if B's loss is above the margin, and above the difference of these runs",
    ]
    if wide := [name for name, ratio in spreads.items() if is_wide(ratio, config.margin)]:
        lines.append(f"undecided   if B equals A: the runs differ by the margin or more in {', '.join(wide)}")
    return lines


def _share(share: float) -> str:
    return f"{100 * share:.3g}%"


Rounds = Sequence[tuple[Results | None, Results]]


def comparison_rows(rounds: Rounds, found: Comparison) -> Rows:
    """A line for each metric, after one of headings; A and B are geometric means of the rounds.

    Args:
        rounds: the results of both sides; None for a side that is not known.
        found: what they show.
    """
    rows: list[Sequence[str]] = [("metric", "A", "B", "B / A", "95% interval", "")]
    for effect in found.effects:
        figures = effect.figures or (_mean(rounds, effect.metric, 0), _mean(rounds, effect.metric, 1))
        sides = [_value(figure) for figure in figures]
        if effect.ratio is None:
            rows.append((_named(effect.metric), *sides, "-", "-", _verdict(effect)))
            continue
        ends = "-" if effect.interval is None else " to ".join(f"{end - 1:+.1%}" for end in effect.interval)
        rows.append((_named(effect.metric), *sides, f"{effect.ratio - 1:+.1%}", ends, _verdict(effect)))
    return rows


def setup_lines(rounds: Rounds) -> list[str]:
    """A line for each thing that the sides do not share though their configurations do not ask for it."""
    for a, b in rounds:
        if a is not None:
            found = differences(*(run_of(results, results.path or Path()) for results in (a, b)))
            return [f"differs     {row.what}: A {row.a}, B {row.b}" for row in found if row.what in SETUP]
    return []


def _named(metric: str) -> str:
    return "requests/s" if metric == THROUGHPUT else f"{metric} ms"


def _mean(rounds: Rounds, metric: str, side: int) -> float | None:
    """Geometric, as that of the ratios, so that the columns agree with B / A; of files without these figures."""
    measured = [results for pair in rounds if (results := pair[side]) is not None]
    known = [value for results in measured if (value := figure(results.summary, metric)) is not None]
    return statistics.geometric_mean(known) if known else None


def _verdict(effect: Effect) -> str:
    if effect.outcome is None:
        return effect.text
    if effect.text:
        return f"{effect.outcome}: {effect.text}"
    margin = f"the margin of {effect.margin - 1:+.1%}"
    if effect.spread is not None:
        margin += f"; the baseline's runs differ by {_share(effect.spread - 1)}"
    if effect.outcome is Outcome.WORSE:
        return f"worse, beyond {margin}" if effect.beyond else f"worse, perhaps within {margin}"
    return f"{effect.outcome}, within {margin}" if effect.outcome is Outcome.NOT_WORSE else f"undecided, {margin}"


def outcome_text(found: Comparison) -> str:
    """What was decided, in a sentence."""
    rounds = plural(found.rounds, "round")
    if not found.rounds:
        return "undecided: no round was measured"
    if found.outcome is Outcome.NOT_WORSE:
        return f"not worse: B is not worse than A by {_share(found.margin)} or more, in {rounds}"
    concerned = [effect for effect in found.effects if effect.outcome is found.outcome]
    named = ", ".join(effect.metric for effect in concerned)
    if found.outcome is Outcome.WORSE:
        return f"worse: B is worse than A in {named}, in {rounds}"
    if found.more is None and any(is_wide(effect.spread, found.margin) for effect in concerned):
        wide = f"the baseline's runs differ by the margin of {_share(found.margin)} or more"
        return f"undecided: {named} in {rounds}; {wide}: measure both sides in turns, or allow a larger margin"
    if found.more is None:
        return f"undecided: {named or 'no metric'} in {rounds}; measure longer runs, or allow a larger margin"
    more = plural(found.more, "more round", "more rounds")
    return f"undecided: {named} in {rounds}; about {more} would decide: --rounds {found.rounds + found.more}"


def compared_text(compared: Compared, width: int | None = None) -> str:
    """What a comparison found, in a few lines.

    Args:
        compared: what was measured.
        width: of the terminal, as in `table`.
    """
    found = compared.comparison
    assert found is not None
    lines = table(comparison_rows(compared.rounds, found), width).splitlines()
    lines += setup_lines(compared.rounds)
    lines += [f"left out    {line}" for line in compared.left_out]
    if compared.interrupted:
        lines.append(f"interrupted {found.rounds} of {plural(compared.plan.rounds, 'round')} measured")
    return "\n".join(map(printable_line, [*lines, f"outcome     {outcome_text(found)}"]))


def compared_markdown(compared: Compared) -> str:
    """The same for a page of a change."""
    found = compared.comparison
    assert found is not None
    lines = [f"**{outcome_text(found)}**", markdown_table(comparison_rows(compared.rounds, found))]
    listed = [*(line.split(maxsplit=1)[1] for line in setup_lines(compared.rounds)), *compared.left_out]
    return "\n\n".join([*lines, *(f"* {printable_line(line)}" for line in listed)]) + "\n"


def junit(compared: Compared) -> str:
    """A test case per metric: what is worse is a failure, what is undecided an error, what is not gated is skipped."""
    found = compared.comparison
    assert found is not None
    kinds: Mapping[Outcome | None, junit_xml.Kind] = {
        Outcome.WORSE: "failure",
        Outcome.UNDECIDED: "error",
        None: "skipped",
    }
    cases = [
        junit_xml.Case(
            "loadgen.compare",
            effect.metric,
            kinds.get(effect.outcome, "passed"),
            f"A {row[1]}, B {row[2]}, B / A {row[3]} ({row[4]}): {row[5]}",
        )
        for effect, row in zip(found.effects, list(comparison_rows(compared.rounds, found))[1:], strict=True)
    ]
    return junit_xml.suite("loadgen compare", cases)


def compared_json(compared: Compared) -> str:
    """The verdicts for machines."""
    found = compared.comparison
    effects = [] if found is None else [asdict(effect) for effect in found.effects]
    document = {
        "schema_version": 1,
        "outcome": None if found is None else found.outcome,
        "effects": effects,
        "rounds": [[str(results.path) for results in pair] for pair in compared.rounds],
        "left_out": compared.left_out,
        "interrupted": compared.interrupted,
        "directory": str(compared.directory),
    }
    return json.dumps(strict(document), indent=2, allow_nan=False) + "\n"
