"""Collections of results that pages are made of."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sample_results import GOLDEN, results

from loadgen.report.reading import Collection, Missing
from loadgen.results.cells import cells_of, run_of
from loadgen.results.document import Results


def collection(runs: Iterable[Results], missing: Iterable[Missing] = ()) -> Collection:
    sweep = Path("sweep")
    cells = cells_of(run_of(made, Path(f"{n}.json"), sweep=sweep) for n, made in enumerate(runs))
    return Collection(cells, tuple(missing), ())


def small() -> Collection:
    """What two real runs left behind, before hardware was watched."""
    larger = replace(GOLDEN.node_configs[0], batch_size=4)
    return collection([GOLDEN, replace(GOLDEN, node_configs=[larger])])


def large() -> Collection:
    """200 cells, with everything that there is."""
    sizes = [(r, c, b) for r in (1, 2, 3, 4, 8) for c in (1, 2, 4, 8) for b in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)]
    made = [results(r, c, b, gpus=(0, 1) if c == 1 else (), described=True, seconds=30) for r, c, b in sizes]
    return collection(made, [Missing("r9-c8-b1", "9 replicas of 8 cores do not fit")])
