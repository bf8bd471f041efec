"""When to send: the planned time of every request of an open loop, computed before the run.

Times are int64 nanoseconds from the beginning of the measured part, ascending. The warm-up has negative times, at the
rate that the schedule begins with. `constant`, `ramp` and `steps` are as regular as their rate allows: request k is due
where the rate, integrated from the beginning, passes k. `poisson` has independent exponential times between requests.
`gamma` has independent times with a chosen coefficient of variation: 1 is Poisson's, more is burstier. A trace is a
recording; it alone reads a file.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from typing_extensions import override

from frontend_launch.quantities import exact, grouped, number
from loadgen import files
from loadgen.checks import finite, whole
from loadgen.errors import ConfigError, FieldError
from loadgen.parsing import parse_duration, parse_rate
from model_containers.units import NS_PER_S

MAX_REQUESTS = 36_000_000
"""Most requests of one schedule: ten thousand a second for an hour, 288 MB of times."""

MAX_TRACE_S = 366 * 86_400.0
"""The longest trace; a longer one is most likely in another unit."""

FAR_FUTURE_S = 1e11
"""The year 5138, in seconds since 1970; a time beyond it is most likely in another unit."""

_TIMES = re.compile(r"time|arriv|(?:^|_)(?:ts|t|start|sent|planned|offset|date)(?:$|[_ (\[])")
_ROWS = re.compile(r"|#|n|no|nr|row|idx|(?:.*[_ ])?id|(?:.*[_ ])?index|unnamed.*")
"""A column that counts the rows or names them."""

_UNIT = re.compile(r"(?:^|[_ (\[])(ms|milli\w*|us|µs|micro\w*|ns|nano\w*|min|minutes?|h|hours?)[)\]]?$")
_SCALES = {
    **{"ms": "0.001", "milli": "0.001", "us": "1e-6", "µs": "1e-6", "micro": "1e-6", "ns": "1e-9", "nano": "1e-9"},
    **{"min": "60", "h": "3600"},
}

_NUMBER = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_RATE = r"((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:/[A-Za-z]+)?)"


@runtime_checkable
class Arrivals(Protocol):
    """A schedule: picklable, and the same times each time it is made."""

    __slots__ = ()

    def described(self, write: Callable[[float], str]) -> str:
        """What it is, in a few words.

        Args:
            write: writes a rate or a count.
        """
        ...

    @property
    def text(self) -> str:
        """What it is; the same schedule has the same text in each results file."""
        return self.described(exact)

    @property
    def shown(self) -> str:
        """The same for readers: with thousands separators."""
        return self.described(grouped)

    @property
    def duration_s(self) -> float:
        """Seconds of the measured part."""
        ...

    @property
    def mean_rps(self) -> float:
        """Requests a second, averaged over the measured part."""
        ...

    @property
    def initial_rps(self) -> float:
        """Requests a second at the beginning of the measured part."""
        ...

    def times_ns(self, warmup_s: float) -> np.ndarray:
        """The planned times, int64."""
        ...


@dataclass(frozen=True, slots=True)
class Renewal(Arrivals):
    """Requests with independent times between them.

    Attributes:
        rate_rps: requests a second.
        duration_s: of the measured part.
        cv: coefficient of variation of the time between two requests: 0 for constant, 1 for Poisson.
        seed: of the generator.
    """

    rate_rps: float
    duration_s: float = field()  # `field()`, or the base's property would be its default
    cv: float
    seed: int

    def __post_init__(self) -> None:
        finite(self, "rate_rps", "duration_s")
        finite(self, "cv", zero=True)
        whole(self, "seed", least=0)

    @override
    def described(self, write: Callable[[float], str]) -> str:
        kind = {0.0: "constant", 1.0: "poisson"}.get(self.cv, f"gamma (cv {exact(self.cv)})")
        return f"{kind} {write(self.rate_rps)} requests/s"

    @property
    @override
    def mean_rps(self) -> float:
        return self.rate_rps

    @property
    @override
    def initial_rps(self) -> float:
        return self.rate_rps

    @override
    def times_ns(self, warmup_s: float) -> np.ndarray:
        if not self.cv:
            first = -math.floor(warmup_s * self.rate_rps)
            return _rounded(np.arange(first, _whole(self.duration_s * self.rate_rps)) / self.rate_rps)
        generator = np.random.default_rng(self.seed)
        length_s = warmup_s + self.duration_s
        expected = length_s * self.rate_rps
        # A gamma distribution of shape 1/cv² has this coefficient of variation; shape 1 is the exponential one.
        shape, scale_s = 1 / self.cv**2, self.cv**2 / self.rate_rps
        # The beginning falls into a gap, more likely into a long one. So this gap has the density of all gaps weighted
        # by length: a gamma distribution whose shape is larger by one. A uniform share of it is left. So on average any
        # part of the schedule has the requests of its rate.
        times_s = np.array([generator.random() * generator.gamma(shape + 1, scale_s)])
        # The number of requests in this time has the mean `expected` and a deviation of about `cv` times its root. Six
        # deviations more make a second draw rare.
        while times_s[-1] < length_s:
            count = int(expected + 6 * self.cv * math.sqrt(expected)) + 16
            times_s = np.concatenate([times_s, times_s[-1] + np.cumsum(generator.gamma(shape, scale_s, count))])
        return _rounded(times_s[: np.searchsorted(times_s, length_s)] - warmup_s)


@dataclass(frozen=True, slots=True)
class Ramp(Arrivals):
    """A rate that changes evenly, requests as regular as that allows.

    Attributes:
        from_rps: at the beginning of the measured part.
        to_rps: at its end.
        duration_s: of the measured part.
    """

    from_rps: float
    to_rps: float
    duration_s: float = field()  # `field()`, or the base's property would be its default

    def __post_init__(self) -> None:
        finite(self, "from_rps", "to_rps", zero=True)
        finite(self, "duration_s")

    @override
    def described(self, write: Callable[[float], str]) -> str:
        return f"ramp {write(self.from_rps)} to {write(self.to_rps)} requests/s"

    @property
    @override
    def mean_rps(self) -> float:
        return (self.from_rps + self.to_rps) / 2

    @property
    @override
    def initial_rps(self) -> float:
        return self.from_rps

    @override
    def times_ns(self, warmup_s: float) -> np.ndarray:
        slope = (self.to_rps - self.from_rps) / self.duration_s
        number = np.arange(_whole(self.mean_rps * self.duration_s))
        # The root of slope/2 t² + from t = k that does not cancel: 2k / (from + sqrt(from² + 2 slope k)).
        root = np.sqrt(np.maximum(0.0, self.from_rps**2 + 2 * slope * number))
        times_s = np.divide(2 * number, self.from_rps + root, out=np.zeros(len(number)), where=number > 0)
        return np.concatenate([_warmup(self.from_rps, warmup_s), _rounded(times_s)])


@dataclass(frozen=True, slots=True)
class Steps(Arrivals):
    """One constant rate after the other.

    Attributes:
        steps: rate in requests a second and duration in seconds of each; a rate of 0 is a pause.
    """

    steps: tuple[tuple[float, float], ...]

    @override
    def described(self, write: Callable[[float], str]) -> str:
        return "steps " + ", ".join(
            f"{write(rate_rps)} requests/s for {exact(each_s)} s" for rate_rps, each_s in self.steps
        )

    @property
    @override
    def duration_s(self) -> float:
        return math.fsum(each_s for _, each_s in self.steps)

    @property
    @override
    def mean_rps(self) -> float:
        return math.fsum(rate_rps * each_s for rate_rps, each_s in self.steps) / self.duration_s

    @property
    @override
    def initial_rps(self) -> float:
        return self.steps[0][0]

    @override
    def times_ns(self, warmup_s: float) -> np.ndarray:
        parts, begins_s = [_warmup(self.initial_rps, warmup_s)], 0.0
        first, passed = 0, list[float]()
        for rate_rps, each_s in self.steps:
            before = math.fsum(passed)
            passed.append(rate_rps * each_s)
            number = np.arange(first, end := max(first, _whole(math.fsum(passed))))
            if rate_rps:
                parts.append(_rounded(begins_s + np.maximum(0.0, number - before) / rate_rps))
            first, begins_s = end, begins_s + each_s
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class Trace(Arrivals):
    """Requests at the times that a file names, the first of them at once.

    Attributes:
        path: of the file: a time in seconds a line, or a CSV file with them in its first column; ascending.
        time_scale: stretch the timestamps of the file by this factor.
        duration_s: from the first to the last request, and the mean time between two beyond it.
        count: how many.
    """

    path: Path
    time_scale: float
    duration_s: float = field()  # `field()`, or the base's property would be its default
    count: int

    def __post_init__(self) -> None:
        finite(self, "time_scale", "duration_s")
        whole(self, "count")

    @override
    def described(self, write: Callable[[float], str]) -> str:
        stretched = "" if self.time_scale == 1 else f", time x {exact(self.time_scale)}"
        return f"trace {self.path}, {write(self.count)} request{'s' * (self.count != 1)}{stretched}"

    @property
    @override
    def mean_rps(self) -> float:
        return self.count / self.duration_s

    @property
    @override
    def initial_rps(self) -> float:
        """The mean, since a single time has no rate."""
        return self.mean_rps

    @override
    def times_ns(self, warmup_s: float) -> np.ndarray:
        times_s = _read_times(self.path, self.time_scale)
        measured = _rounded((times_s - times_s[0]) * self.time_scale)
        return np.concatenate([_warmup(self.mean_rps, warmup_s), measured])


@dataclass(frozen=True, slots=True)
class _Options:
    """What a schedule is made from.

    Attributes:
        text: as it was written, ``KIND`` or ``KIND:DETAILS``.
        kind: in lower case.
        details: what stands behind the kind.
        rate_rps: None where the details name it.
        duration_s: of kinds whose details do not name it.
        seed: of what is drawn.
        time_scale: of a recording.
    """

    text: str
    kind: str
    details: str
    rate_rps: float | None
    duration_s: float
    seed: int
    time_scale: float


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of schedule.

    Attributes:
        example: how it is written.
        read: makes the schedule.
        has_rates: its details name the rates.
        has_duration: its details name the duration.
        recorded: its times are a recording, which may be stretched.
    """

    example: str
    read: Callable[[_Options], Arrivals]
    has_rates: bool = False
    has_duration: bool = False
    recorded: bool = False


def kind_of(text: str) -> str:
    """The name of a schedule's kind."""
    return text.partition(":")[0].strip().lower()


def parse_arrivals(
    text: str, rate_rps: float | None, duration_s: float | None, seed: int, time_scale: float = 1.0
) -> Arrivals:
    """Read a schedule.

    Args:
        text: ``constant``, ``poisson``, ``gamma:cv=2``, ``ramp:50..500``, ``steps:50x30s,100x30s`` or ``trace:FILE``.
        rate_rps: for those that do not name one; else None.
        duration_s: for those that do not name one; else None.
        seed: of what is drawn.
        time_scale: of a trace.

    Raises:
        ConfigError: it is not a schedule, or contradicts the rate or the duration.
    """
    name = kind_of(text)
    kind = KINDS.get(name)
    if kind is None:
        *examples, last = (each.example for each in KINDS.values())
        raise ConfigError(f"{text!r}: not a schedule; write {', '.join(examples)} or {last}")
    if kind.has_rates and rate_rps is not None:
        raise ConfigError(f"{text!r}: has rates of its own; leave {{Renewal.rate_rps}} {exact(rate_rps)} out")
    if kind.has_duration and duration_s is not None:
        raise ConfigError(f"{text!r}: has a duration of its own; leave {{Renewal.duration_s}} {exact(duration_s)} out")
    if not kind.recorded and time_scale != 1:
        raise FieldError("Trace.time_scale", time_scale, f"is for a trace, not for {text!r}", "leave it out")
    seconds = 120.0 if duration_s is None else duration_s
    arrivals = kind.read(_Options(text, name, text.partition(":")[2], rate_rps, seconds, seed, time_scale))
    if (count := arrivals.mean_rps * arrivals.duration_s) > MAX_REQUESTS:
        raise ConfigError(
            f"{arrivals.shown}: {number(count, 3)} requests are more than {MAX_REQUESTS:,}; take less time"
        )
    return arrivals


def _renewal(options: _Options) -> Renewal:
    cv = _cv(options.text, options.kind, options.details)
    return Renewal(_rate(options.text, options.rate_rps), options.duration_s, cv, options.seed)


def _rate(text: str, rate_rps: float | None) -> float:
    if rate_rps is None:
        raise ConfigError(f"{text!r}: needs a rate; add {{Renewal.rate_rps}}, in requests a second")
    return rate_rps


def _cv(text: str, kind: str, details: str) -> float:
    if kind != "gamma":
        if details:
            raise ConfigError(f"{text!r}: {kind} takes no {details!r}; write {kind}")
        return 0.0 if kind == "constant" else 1.0
    match = re.fullmatch(rf"\s*cv\s*=\s*{_NUMBER}\s*", details)
    if match is None or not 0.01 <= float(match[1]) <= 100:
        raise ConfigError(f"{text!r}: names no coefficient of variation; write gamma:cv=2, from 0.01 to 100")
    return float(match[1])


def _ramp(options: _Options) -> Ramp:
    match = re.fullmatch(rf"\s*{_RATE}\s*\.\.\s*{_RATE}\s*", options.details)
    from_rps, to_rps = (0.0, 0.0) if match is None else (parse_rate(match[1]), parse_rate(match[2]))
    if not from_rps + to_rps > 0:
        raise ConfigError(f"{options.text!r}: names no two rates; write ramp:50..500")
    return Ramp(from_rps, to_rps, options.duration_s)


def _steps(options: _Options) -> Steps:
    steps = Steps(tuple(_step(options.text, part) for part in options.details.split(",")))
    if not steps.mean_rps:
        raise ConfigError(f"{options.text!r}: names pauses only; give one step a rate above 0")
    return steps


def _step(text: str, part: str) -> tuple[float, float]:
    match = re.fullmatch(rf"\s*{_RATE}\s*x\s*(\S+)\s*", part)
    if match is None:
        raise ConfigError(f"{text!r}: {part!r} is not a step; write a rate and a time, such as 50x30s")
    return parse_rate(match[1]), parse_duration(match[2])


def _trace(details: str, time_scale: float) -> Trace:
    if not 0 < time_scale < math.inf:
        raise FieldError("Trace.time_scale", time_scale, "is not a positive number", "use such as 0.5 or 2")
    if not details:
        raise ConfigError("trace: names no file; write trace:FILE")
    path = Path(details)
    times_s = _read_times(path, time_scale)
    spread_s = (float(times_s[-1]) - float(times_s[0])) * time_scale
    if not spread_s > 0:
        named = f"{len(times_s):,} times that do not differ" if len(times_s) > 1 else "one time only"
        raise ConfigError(f"{path}: names {named}; write two that differ")
    if spread_s > MAX_TRACE_S:
        problem = f"{path}: lasts {number(spread_s, 3)} s, more than a year"
        raise ConfigError(f"{problem}; write its times in seconds, or shorten it with {{Trace.time_scale}}")
    if len(times_s) - 1 > MAX_REQUESTS * spread_s:
        problem = f"{path}: names {len(times_s):,} times within {number(spread_s, 3)} s"
        raise ConfigError(f"{problem}; write its times in seconds, or stretch it with {{Trace.time_scale}}")
    return Trace(path, time_scale, spread_s * len(times_s) / (len(times_s) - 1), len(times_s))


def _recording(options: _Options) -> Trace:
    return _trace(options.details, options.time_scale)


KINDS = {
    "constant": Kind("constant", _renewal),
    "poisson": Kind("poisson", _renewal),
    "gamma": Kind("gamma:cv=2", _renewal),
    "ramp": Kind("ramp:50..500", _ramp, has_rates=True),
    "steps": Kind("steps:50x30s,100x30s", _steps, has_rates=True, has_duration=True),
    "trace": Kind("trace:FILE", _recording, has_rates=True, has_duration=True, recorded=True),
}
"""The kinds of schedules by their names."""


def _read_times(path: Path, time_scale: float) -> np.ndarray:
    """The times of a trace, float64 seconds, ascending; a first line without a digit in its first field is a heading.

    Args:
        path: of the file.
        time_scale: of another unit, where it is not 1.

    Raises:
        ConfigError: it cannot be read, or names something else.
    """
    times_s: list[float] = []
    columns = 0
    if os.path.exists(path) and not os.path.isfile(path):
        raise ConfigError(f"{path}: not a file on disk, and a trace is read several times; save it first")
    try:
        rows = csv.reader(io.StringIO(files.read_text(path), newline=""))
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            where = f"{path}, line {rows.line_num}"
            if not times_s and not columns and not re.search(r"\d", row[0]) and row[0].strip().lower() != "nan":
                _check_heading([field.strip().lower() for field in row], time_scale, where)
                columns = len(row)
                continue
            time_s = _time_s(row, columns, where)
            if times_s and time_s < times_s[-1]:
                raise ConfigError(f"{where}: {row[0]!r} comes before the time above it; sort the file")
            times_s.append(time_s)
            if len(times_s) > MAX_REQUESTS:
                raise ConfigError(f"{path}: names more than {MAX_REQUESTS} times; cut it")
    except (files.UnreadableError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if not times_s:
        raise ConfigError(f"{path}: names no time; write one a line")
    if time_scale == 1 and times_s[0] >= FAR_FUTURE_S:
        problem = f"{path}: begins at {exact(times_s[0])}, which is a date of the far future in seconds"
        raise ConfigError(f"{problem}; use {{Trace.time_scale}} 0.001 for milliseconds, 1e-9 for nanoseconds")
    return np.array(times_s)


def _check_heading(names: Sequence[str], time_scale: float, where: str) -> None:
    """Refuse a heading whose first column is not of times in seconds.

    Args:
        names: of its columns, in lower case.
        time_scale: of another unit, where it is not 1.
        where: file and line, for refusals.

    Raises:
        ConfigError: it is not.
    """
    timed = [name for name in names if _TIMES.search(name)]
    if len(names) > 1 and names[0] not in timed and (timed or _ROWS.fullmatch(names[0])):
        found = f", and {timed[0]!r} later" if timed else ""
        raise ConfigError(f"{where}: has {names[0]!r} first{found}; put the column of times first")
    if time_scale == 1 and (unit := _UNIT.search(names[0])) is not None:
        scale = next(scale for start, scale in _SCALES.items() if unit[1].startswith(start))
        raise ConfigError(f"{where}: names {names[0]!r}, and times are in seconds; use {{Trace.time_scale}} {scale}")


def _time_s(row: Sequence[str], columns: int, where: str) -> float:
    """The time in a row of a trace.

    Args:
        row: its fields.
        columns: how many the heading names; 0 without a heading.
        where: file and line, for refusals.

    Raises:
        ConfigError: it names none.
    """
    text = row[0].strip()
    if any(";" in field for field in row[:2]):
        raise ConfigError(f"{where}: has semicolons; separate columns by commas, and write decimals with a point")
    comma = text if len(row) == 1 else ",".join(row) if len(row) == 2 and columns < 2 else ""
    if match := re.fullmatch(r"\s*([+-]?[0-9]+),([0-9]+)\s*", comma):
        written = f"{match[1]}.{match[2]}"
        problem = f"{where}: {comma.strip()!r} may be {written} or two columns"
        raise ConfigError(f"{problem}; write {written}, or name the columns in line 1")
    if re.fullmatch(rf"[+-]?{_NUMBER}(?:e[+-]?[0-9]+)?", text, re.IGNORECASE) is None:
        raise ConfigError(f"{where}: {row[0]!r} is not a time in seconds; write a number such as 1.5")
    return float(text)


def _whole(passed: float) -> int:
    """How many requests are due until the integrated rate has passed a number.

    Rounding may make a whole number a little larger, which would add a request at the very end.
    """
    return math.ceil(passed - 1e-9 - 1e-12 * passed)


def _warmup(rate_rps: float, warmup_s: float) -> np.ndarray:
    if not rate_rps:
        return np.empty(0, dtype=np.int64)
    return _rounded(np.arange(-math.floor(warmup_s * rate_rps), 0) / rate_rps)


def _rounded(times_s: np.ndarray) -> np.ndarray:
    times_ns: np.ndarray = np.rint(times_s * NS_PER_S).astype(np.int64)
    return times_ns
