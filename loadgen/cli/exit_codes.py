"""The one table of exit codes and their meanings.

==== ==========================================================================================
code meaning
==== ==========================================================================================
0    the run ended as asked
1    a fault of the program itself, or standard output cannot be written, or a model does not match its description
     (``models verify``)
2    an option or a setting that makes no sense
3    the machine does not have what was asked of it (cores, GPUs, open files, ports for connections)
4    something could not be started, or was not ready in time (a port in use, a replica)
5    the server to connect to cannot be reached or does not answer
6    the run could not go on: nothing completed in the measured part, or frontends or replicas were lost
7    wrong answers (``--verify``)
8    a condition of ``--fail-if`` came true, no configuration was shown to do what was asked (``best``, ``size``), no
     rate was (``capacity``), or one configuration was shown to be worse (``compare``)
9    the run is invalid: a check of its certificate failed (``--allow-invalid`` takes it as it is)
10   undecided: what was measured does not say, such as a condition on an invalid run that was allowed, or one on a
     percentile of which too little is known (``saturate``, ``rate``, ``sweep``, ``best``, ``size``), or too few rounds
     (``compare``)
11   results or the rows of ``--requests-log`` could not be saved where asked: they are in another place, which is
     named, or there is the summary only; or a file of ``--output`` or ``--json`` could not be written
129  ended with SIGHUP, as by a terminal that is closed; under ``nohup`` it is ignored
130  interrupted with Ctrl-C
131  ended with SIGQUIT
143  ended with SIGTERM
==== ==========================================================================================

Where results exist, 6 to 10 and those of signals have saved them. A second signal, more than a second after the first,
ends the program at once, with its own code; results that are not saved by then are lost.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING

from frontend_launch.errors import AdminError, DescribeError, FrontendLaunchError, PlacementError, RequestError
from loadgen.errors import ClientLimitError, ConfigError, LoadgenError, NotSavedError, TargetError
from loadgen.load.ending import Ending

if TYPE_CHECKING:
    from loadgen.config import ExperimentConfig
    from loadgen.experiments.compare import Compared
    from loadgen.experiments.search import Capacity
    from loadgen.experiments.size_answer import Answer
    from loadgen.experiments.sweep import Sweep
    from loadgen.results.document import Results

OK = 0
FAULT = 1
CONFIG = 2
PLACEMENT = 3
LAUNCH = 4
TARGET = 5
RUN = 6
WRONG = 7
THRESHOLD = 8
INVALID = 9
UNDECIDED = 10
NOT_SAVED = 11

_BY_CLASS: tuple[tuple[type[Exception], int], ...] = (
    (NotSavedError, NOT_SAVED),
    (ConfigError, CONFIG),
    (DescribeError, CONFIG),
    (RequestError, CONFIG),
    (PlacementError, PLACEMENT),
    (AdminError, LAUNCH),
    (FrontendLaunchError, LAUNCH),
    (ClientLimitError, PLACEMENT),
    (TargetError, TARGET),
    (LoadgenError, RUN),
)
_BY_ENDING: Mapping[str, int] = {
    Ending.OVERRUN: RUN,
    Ending.STALLED: RUN,
    Ending.NO_ANSWER: TARGET,
    Ending.CLIENT_LOST: RUN,
    Ending.SERVER_LOST: RUN,
    Ending.STOPPED: 128 + signal.SIGINT,
    Ending.INTERRUPTED: 128 + signal.SIGINT,
}
"""Of runs that did not end as asked."""


def of_error(error: Exception) -> int:
    """The code for an error that ends the program."""
    return next((code for kind, code in _BY_CLASS if isinstance(error, kind)), FAULT)


def of_results(results: Results, allow_invalid: bool) -> int:
    """The code for a run that has results, wherever they are.

    Args:
        results: of the run.
        allow_invalid: a run that is invalid is taken as it is.
    """
    if results.ended in _BY_ENDING:
        return _BY_ENDING[results.ended]
    if results.answers is not None and results.answers.mismatched:
        return WRONG
    if not results.summary.measured.completed:
        return RUN
    if results.invalid is not None:
        return INVALID if not allow_invalid else UNDECIDED if results.thresholds else OK
    crossed = [threshold.crossed for threshold in results.thresholds or ()]
    return THRESHOLD if True in crossed else UNDECIDED if None in crossed else OK


def of_sweep(sweep: Sweep, config: ExperimentConfig) -> int:
    """The code for a sweep that came to its end.

    Args:
        sweep: what it measured.
        config: of each measurement: what becomes of invalid ones, and the conditions.
    """
    entries = sweep.entries
    if any(entry.elsewhere or entry.rows_not_saved is not None for entry in entries):
        return NOT_SAVED
    invalid = any(entry.invalid is not None for entry in entries)
    if any(entry.error is not None for entry in entries):
        return RUN
    if invalid and not config.allow_invalid:
        return INVALID
    if any(entry.crossed for entry in entries):
        return THRESHOLD
    undecided = invalid or any(entry.undecided for entry in entries)
    return UNDECIDED if undecided and config.fail_if else OK


def of_capacity(capacity: Capacity) -> int:
    """The code for a search that came to its end, wherever its results are."""
    return OK if capacity.confirmed else UNDECIDED if capacity.undecided else THRESHOLD


def of_size(answer: Answer) -> int:
    """The code for a search of the cheapest configuration that came to its end."""
    return OK if answer.best is not None else UNDECIDED if answer.undecided else THRESHOLD


def of_compared(compared: Compared) -> int:
    """The code for a comparison that came to its end."""
    if compared.elsewhere:
        return NOT_SAVED
    if not compared.rounds:
        return INVALID
    from loadgen.judging.comparison import Outcome  # noqa: PLC0415 - it loads numpy, and help loads this module

    by_outcome = {Outcome.NOT_WORSE: OK, Outcome.WORSE: THRESHOLD, Outcome.UNDECIDED: UNDECIDED}
    return OK if compared.comparison is None else by_outcome[compared.comparison.outcome]


def of_signal(number: signal.Signals) -> int:
    """The shell's code for a program that a signal ended."""
    return 128 + number
