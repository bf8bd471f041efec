"""How long a report of a long night takes: 200 cells, each with its results file."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sample_results import results

from loadgen.report.page import page
from loadgen.report.reading import Collection, collect
from loadgen.report.tables import csv_text, terminal_table
from loadgen.results import files as results_files

GRID = list(product(range(1, 6), range(1, 6), (1, 2, 4, 8, 16, 32, 64, 128)))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sweep")
    for replicas, cpus, batch in GRID:
        results_files.save(results(replicas, cpus, batch, described=True), directory)
    return directory


def test_reading(benchmark: BenchmarkFixture, directory: Path) -> None:
    """From files to cells."""
    assert len(benchmark(collect, [directory]).cells) == len(GRID) == 200


@pytest.mark.parametrize("make", [terminal_table, csv_text, page], ids=["table", "csv", "page"])
def test_writing(benchmark: BenchmarkFixture, directory: Path, make: Callable[[Collection], object]) -> None:
    """From cells to what is looked at; the page's bytes are in the extra info."""
    collection = collect([directory])
    made = benchmark(make, collection)
    benchmark.extra_info["bytes"] = len(made) if isinstance(made, str) else None
