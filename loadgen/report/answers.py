"""Says what to deploy: from searches, or from runs for a rate and an objective; or the command that finds out."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from frontend_launch.quantities import number, plural
from loadgen.experiments.choice import Candidate, Choice, Shown, choose
from loadgen.experiments.search import UNDER_WAY
from loadgen.experiments.size_knowledge import SERVER
from loadgen.judging.slo import Condition, check_direction, check_rate
from loadgen.report.found import FoundCapacity, FoundSize
from loadgen.report.reading import Collection, UnfinishedSize
from loadgen.results.cells import Cell, Configuration

MOST_NAMED = 3
"""Configurations or models about which nothing is known that are named."""

OBJECTIVE = "p99<250ms"
"""An example, where the user named no objective."""

_MODEL_FLAGS = ("-m", "--model", "--model_name")
_TARGET_FLAGS = (
    *("--target", "--body", "--answer", "--method", "--content-type", "--form", "--parameter", "--unix-socket"),
    *("--token-file", "--tls-ca", "--tls-cert", "--tls-key", "--tls-server-name", "--metrics-url"),
    *("--input", "--input-shape", "--input-type", "--input-range", "--batch-size", "-b", "--clients", "--workers"),
)
"""Options that define what a server is asked, and by whom."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to deploy, or that it is not known.

    Attributes:
        known: whether there is something to deploy.
        text: in a line.
        facts: head-room, cores, cost and evidence, by name.
        command: finds out what is not known; None where no command does.
    """

    known: bool
    text: str
    facts: tuple[tuple[str, str], ...] = ()
    command: str | None = None

    @property
    def lines(self) -> list[str]:
        """For a terminal."""
        facts = [*self.facts, *([] if self.command is None else [("find out", self.command)])]
        return [f"{name:<12}{text}" for name, text in (("deploy", self.text), *facts)]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about what was measured.

    Attributes:
        rate: as typed.
        rate_rps: requests a second.
        slo: as typed.
        objective: its conditions.
    """

    rate: str
    rate_rps: float
    slo: str
    objective: tuple[Condition, ...]

    def __post_init__(self) -> None:
        check_direction("Asked.objective", self.objective, objective=True)
        check_rate("Asked.objective", self.objective, self.rate_rps)

    @property
    def text(self) -> str:
        """For a reader."""
        return f"{self.rate_rps:g} requests/s with {','.join(map(str, self.objective))}"


def answers(collection: Collection, asked: Asked | None = None) -> list[Answer]:
    """What to deploy, of each model: by the question, else by its newest search; one at least, but for comparisons.

    Args:
        collection: what was measured.
        asked: a rate and an objective; None where the user asked nothing.
    """
    if asked is not None:
        return [_of_choice(choose(collection.cells, asked.rate_rps, asked.objective), collection, asked)]
    # The newest is the last; a search of sizes says more than one for capacity.
    searches: dict[str, FoundCapacity | FoundSize] = {found.model: found for found in collection.capacities}
    searches |= {found.model: found for found in collection.sizes}
    found = [
        _of_size(one) if isinstance(one, FoundSize) else _of_capacity(one, collection) for one in searches.values()
    ]
    for one in collection.unfinished:
        if one.model not in searches and any(_within(cell, [one.directory]) for cell in collection.cells):
            found.append(_of_unfinished(one))
    inside = [*(one.directory for one in collection.sizes), *(one.directory for one in collection.capacities)]
    inside += [one.directory for one in collection.unfinished]
    compared = [one.directory for one in collection.comparisons]  # which asked something else
    covered = {cell.configuration.model for cell in collection.cells if _within(cell, inside)}
    models: dict[str, list[Cell]] = {}
    for cell in collection.cells:
        if cell.configuration.model not in covered and not _within(cell, compared):
            models.setdefault(cell.configuration.model, []).append(cell)
    found += [_unknown(model, cells) for model, cells in list(models.items())[:MOST_NAMED]]
    found.sort(key=lambda answer: not answer.known)
    return found if found or compared else [Answer(False, "not known: nothing was measured")]


def _within(cell: Cell, directories: Sequence[Path]) -> bool:
    parents = cell.runs[0].path.resolve().parents
    return any(directory.resolve() in parents for directory in directories)


# Searches --------------------------------------------------------------------------------------------------


def _of_size(found: FoundSize) -> Answer:
    wanted = f"{number(found.rate_rps)} requests/s with {found.objective}"
    source = ("source", str(found.directory))
    best = found.best
    if best is None:
        if found.state != "undecided":
            text = f"none on this machine: no configuration of {found.model} carries {wanted}"
            return Answer(False, text, (source,))
        command = None
        if found.command and found.within_s:
            command = _resumed(found)
        text = f"not known: no configuration of {found.model} was shown to carry {wanted}; {found.ended}"
        return Answer(False, text, (source,), command)
    facts = [("cores", _cost(best.cores, best.gpus))]
    if found.capacity_rps is None or found.headroom is None:
        facts.append(("head-room", "not known: no valid saturating run"))
    else:
        least = "at least " * found.capacity_at_least
        ends = f"{number(found.capacity_rps.low)} to {number(found.capacity_rps.high)}"
        full = f"{number(found.capacity_rps.value)} requests/s ({ends}) at full speed"
        facts.append(("head-room", f"{least}{found.headroom:.3g} times the rate: {full}"))
    if found.cost_per_hour is not None:
        per_million = found.cost_per_million_requests or 0.0
        facts.append(("cost", f"{found.cost_per_hour:.4g} an hour, {per_million:.4g} per million requests"))
    if found.shown_by is not None:
        shown = f"Poisson arrivals for {found.shown_by.duration_s:.0f} s: {found.shown_by.text}"
        facts.append(("evidence", shown))
    if found.limit:
        facts.append(("limit", found.limit.partition(";")[0]))
    size = f"{plural(best.replicas, 'replica')} x {plural(best.cpus_per_replica, 'core')}"
    text = f"{best.name} of {found.model}: {size}, batches up to {best.batch_size}, for {wanted}"
    return Answer(True, text, (*facts, source))


def _of_capacity(found: FoundCapacity, collection: Collection) -> Answer:
    capacity, source = found.capacity, ("source", str(found.directory))
    cell = next((cell for cell in collection.cells if _within(cell, [found.directory])), None)
    what = found.model if cell is None else _server(cell)
    if not capacity.confirmed or capacity.rate_rps is None or capacity.failed_rps is None:
        command = None
        ended = capacity.ended != UNDER_WAY
        if found.command and (not ended or capacity.undecided or capacity.rate_rps is not None):
            option, times = ("--within", 20) if "size" in found.command[1:2] else ("--confirm-for", 2)
            longer = {option: f"{times * capacity.confirm_s:.0f}s"} if ended and capacity.confirm_s else {}
            command = _again(found.command, longer)
        text = f"not known: the capacity of {what} with {found.objective} is {capacity.state}; {capacity.bracket}"
        return Answer(False, text, (source,), command)
    rate = number(capacity.rate_rps)
    text = f"{what}, for up to {rate} requests/s with {found.objective}"
    facts = [] if cell is None or cell.configuration.cores is None else [("cores", _configured(cell.configuration))]
    facts += [
        ("head-room", f"none at {rate} requests/s, the highest rate that holds"),
        ("interval", interval_text(found)),
        ("evidence", evidence_text(found)),
    ]
    return Answer(True, text, (*facts, source))


def answer_text(found: FoundCapacity) -> str:
    """The rate with its interval and evidence, in a sentence; or that it is not known."""
    capacity = found.capacity
    if not capacity.confirmed or capacity.rate_rps is None:
        return f"{capacity.state.capitalize()}; {capacity.bracket}."
    return f"{number(capacity.rate_rps)} requests/s ({interval_text(found)}). {evidence_text(found)}."


def interval_text(found: FoundCapacity) -> str:
    """Between which rates capacity is, and how sure that is."""
    capacity = found.capacity
    known = "with 95% confidence"
    if unsure := capacity.without_interval:
        known = f"as measured: {', '.join(unsure)} {'has' if len(unsure) == 1 else 'have'} no interval"
    return f"{number(capacity.rate_rps or 0.0)} to {number(capacity.failed_rps or 0.0)} requests/s, {known}"


def evidence_text(found: FoundCapacity) -> str:
    """What the probes that decide show."""
    capacity = found.capacity
    runs = f"Runs of {capacity.confirm_s:.0f} s" if capacity.confirm_s else "Probes"
    held, broken = (number(rate_rps or 0.0) for rate_rps in (capacity.rate_rps, capacity.failed_rps))
    invalid = f"; {plural(len(capacity.invalid), 'probe')} of them invalid" if capacity.invalid else ""
    return f"{runs}: the objective held at {held} requests/s and did not at {broken}{invalid}"


def _server(cell: Cell) -> str:
    """A configuration, or the server that runs already."""
    inputs, configuration = cell.runs[0].results.inputs, cell.configuration
    if configuration.cores is None and inputs is not None and inputs.target:
        return f"{configuration.model} at {inputs.target}"
    return f"{configuration.name} of {configuration.model}"


# Questions -------------------------------------------------------------------------------------------------


def _of_choice(choice: Choice, collection: Collection, asked: Asked) -> Answer:
    best, cells = choice.best, collection.cells
    facts: list[tuple[str, str]] = []
    if best is None:
        state = "not known" if choice.undecided else "none"
        text = f"{state}: {unshown('', choice.candidates, f'shown to carry {asked.text}')}"
        facts += [("perhaps", f"{described(one)}: {one.text}") for one in choice.unknown[:MOST_NAMED]]
        facts += [("invalid", f"{one.name}: {one.text}") for one in choice.candidates if one.shown == Shown.INVALID]
        return Answer(False, text, tuple(facts), command_for(collection, asked))
    facts.append(("cores", _configured(best.configuration)))
    facts.append(("head-room", _headroom(best, cells, asked.rate_rps)))
    p99 = "" if best.p99_ms is None else f"; p99 {'~' * best.p99_uncertain}{number(best.p99_ms)} ms"
    facts.append(("evidence", f"{best.text}{p99}"))
    if best.limit is not None:
        facts.append(("limit", best.limit))
    if best.shown == Shown.WINDOW:
        facts.append(("but", "for senders that wait for replies; arrivals that do not wait: not measured"))
    if best.caution is not None:
        facts.append(("caution", best.caution))
    if choice.runner_up is not None:
        facts.append(("runner-up", f"{described(choice.runner_up)}: {choice.runner_up.text}"))
    facts += [("cheaper?", f"{described(one)}: {one.text}") for one in choice.unknown[:MOST_NAMED]]
    model = best.configuration.model
    name = best.name if best.name.startswith(model) else f"{best.name} of {model}"
    return Answer(True, f"{name}, for {asked.text}", tuple(facts))


def _headroom(best: Candidate, cells: Sequence[Cell], rate_rps: float) -> str:
    """What the configuration carries beyond a rate, by its own saturating runs, else by its open loops."""
    own = [cell for cell in cells if cell.configuration == best.configuration and cell.invalid is None]
    saturated = [cell for cell in own if cell.load.arrivals is None]
    if saturated:
        most = max(saturated, key=lambda cell: cell.throughput_rps.median)
        most_rps = most.throughput_rps.median
        least = "" if most.verdicts("limit") in SERVER else "at least "
        return f"{least}{most_rps / rate_rps:.3g} times the rate: {number(most_rps)} requests/s at full speed"
    return "not known: no valid saturating run"


# What is not known -----------------------------------------------------------------------------------------


def _unknown(model: str, cells: Sequence[Cell]) -> Answer:
    """That runs alone do not say what to deploy, and the command that does."""
    if any(cell.load.arrivals is not None and cell.invalid is None for cell in cells):
        text = f"not known for {model}; name a rate and an objective, --rate RATE --slo '{OBJECTIVE}'"
    elif any(cell.load.arrivals is not None for cell in cells):
        text = f"not known for {model}: no valid run at a rate"
    else:
        text = f"not known for {model}: runs at full speed have no latency at a rate"
    return Answer(False, text, (), size_command(cells, None, OBJECTIVE))


def command_for(collection: Collection, asked: Asked) -> str | None:
    """The command that answers a question: it goes on with the search that asked it, if there is one.

    Args:
        collection: what was measured.
        asked: the question.
    """
    question = (asked.rate_rps, ",".join(map(str, asked.objective)))
    for one in reversed(collection.unfinished):
        if one.command and (one.rate_rps, one.objective) == question:
            return _again(one.command, {"--resume": None})
    for sized in reversed(collection.sizes):
        if sized.command and sized.state == "undecided" and (sized.rate_rps, sized.objective) == question:
            return _resumed(sized)
    return size_command(collection.cells, asked.rate, asked.slo)


def size_command(cells: Iterable[Cell], rate: str | None, slo: str) -> str | None:
    """The command that finds out what was not measured; None where nothing that was measured can be measured again.

    Args:
        cells: what was measured.
        rate: as typed; None where it is for the user to name.
        slo: as typed.
    """
    for cell in cells:
        words = cell.runs[0].results.command
        program = _program(words, "loadgen")
        if cell.configuration.cpus_per_replica is not None:
            model = next(_values(words, _MODEL_FLAGS), cell.configuration.model)
            return shlex.join([*program, "size", "-m", model, "--rate", rate or "RATE", "--slo", slo])
        if any(_values(words, ("--target",))):
            own = [word for flag in _TARGET_FLAGS for value in _values(words, (flag,)) for word in (flag, value)]
            verb = ["capacity"] if rate is None else ["size", "--rate", rate]
            return shlex.join([*program, *verb, *own, "--slo", slo])
    return None


def _values(words: Sequence[str], flags: Sequence[str]) -> Iterator[str]:
    """What options were given, by any of their names."""
    for flag, after in pairwise(words):
        if flag in flags:
            yield after
    for word in words:
        name, sign, value = word.partition("=")
        if sign and name in flags:
            yield value


_MISSING = {
    Shown.OPEN_LOOP: "of unknown cores",
    Shown.WINDOW: "by a saturating run only",
    Shown.UNDECIDED: "not known well enough",
    Shown.THROUGHPUT: "without a latency at this rate",
    Shown.NOTHING: "without a run that decides",
    Shown.INVALID: "with an invalid run that would decide",
    Shown.NOT: "ruled out",
    Shown.BARRED: "barred",
}


def unshown(other: str, candidates: Sequence[Candidate], claim: str) -> str:
    """How many configurations were measured without what was asked for, and what each of them lacks.

    Args:
        other: stands before the noun; empty for all configurations.
        candidates: them.
        claim: what was not shown of them.
    """
    if not candidates:
        return f"no {other}configuration was measured"
    lacking = Counter(
        _MISSING[Shown.OPEN_LOOP if c.shown <= Shown.WINDOW and c.cost is None else c.shown] for c in candidates
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in lacking.items())
    return f"{plural(len(candidates), f'{other}configuration')} measured, none {claim} ({reasons})"


def described(candidate: Candidate) -> str:
    """A configuration with its cores and GPUs."""
    return f"{candidate.name} ({_configured(candidate.configuration)})"


def _configured(configuration: Configuration) -> str:
    if configuration.cores is None or configuration.gpus is None:
        return "its cores and GPUs are not known"
    return _cost(configuration.cores, configuration.gpus)


def _cost(cores: int, gpus: int) -> str:
    return f"{plural(cores, 'core')}, {plural(gpus, 'GPU')}"


def _of_unfinished(found: UnfinishedSize) -> Answer:
    wanted = f"{number(found.rate_rps)} requests/s with {found.objective}"
    text = f"not known for {found.model}: the search of a configuration for {wanted} has no answer yet"
    command = _again(found.command, {"--resume": None}) if found.command else None
    return Answer(False, text, (("source", str(found.directory)),), command)


def _resumed(found: FoundSize) -> str:
    """The command that goes on with a search of sizes, in a longer time."""
    longer = {"--within": f"{3 * found.within_s:.0f}s"} if found.within_s else {}
    return _again(found.command, {"--resume": None, **longer})


def _again(command: Sequence[str], options: Mapping[str, str | None]) -> str:
    """A command as a user types it again, with other values of some options.

    Args:
        command: as it was recorded.
        options: by name; None for one without a value.
    """
    kept, words = list[str](), iter(command[1:])
    for word in words:
        name, sign, _ = word.partition("=")
        if name not in options:
            kept.append(word)
        elif not sign and options[name] is not None:
            next(words, None)
    added = [word for name, value in options.items() for word in (name, value) if word is not None]
    return shlex.join([*_program(command, Path(command[0]).name), *kept, *added])


def _program(command: Sequence[str], otherwise: str) -> list[str]:
    """What a user types before the verb, to run the program of a command again.

    Args:
        command: as it was recorded.
        otherwise: where that does not name the module.
    """
    module = command and command[0].endswith("loadgen/__main__.py")
    return ["python", "-m", "loadgen"] if module else [otherwise]
