"""What a saturating run suggests to type next."""

from dataclasses import replace
from pathlib import Path

import pytest
from sample_results import INVALID

from loadgen.cli import measuring
from loadgen.cli.next_step import next_step
from loadgen.results import files

RESULTS = files.read(Path(__file__).parents[2] / "golden" / "results-v2.json")


def after(*words, **changes):
    summary = replace(RESULTS.summary, throughput_rps=changes.pop("throughput_rps", 957.3))
    return next_step(replace(RESULTS, command=["x/loadgen", *words], summary=summary, **changes), "loadgen")


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("-m", "noop", "-d", "5s"), "-m noop"),
        (
            ("--model=noop", "--duration=5s", "--batch-size", "2", "--allow-invalid"),
            "--model=noop --batch-size 2 --allow-invalid",
        ),
        (("--requests", "9", "--max-in-flight", "4", "-m", "noop", "--warmup", "0"), "-m noop"),
        (("-m", "noop", "--fail-if", "p99>1s"), "-m noop --fail-if 'p99>1s'"),
    ],
)
def test_an_open_loop_of_the_same_deployment(words, kept):
    """At 80% of the throughput."""
    line = after("saturate", *words)
    assert (
        line
        == f"next        loadgen rate {kept} --rate 770 --arrivals poisson  # what users feel at 80% of this throughput"
    )


def test_the_rate_has_two_digits():
    """As text that `--rate` reads."""
    assert "--rate 0.013 " in after("saturate", throughput_rps=0.0161)
    assert "--rate 21000 " in after("saturate", throughput_rps=26_543.0)


def test_what_suggests_nothing():
    """An open loop, a server that runs already, a run that failed, is invalid or measured nothing."""
    assert after("rate", "--rate", "5") is None
    assert after("saturate", placement=[]) is None
    assert after("saturate", error="the server was lost") is None
    assert after("saturate", throughput_rps=None) is None
    assert after("saturate", certificate=[INVALID]) is None


@pytest.mark.parametrize(
    ("path", "program"),
    [
        (".venv/bin/loadgen", ".venv/bin/loadgen"),
        ("/somewhere/loadgen", "loadgen"),
        ("/clone/loadgen/__main__.py", "python -m loadgen"),
    ],
)
def test_the_program_as_typed(monkeypatch, path, program):
    """By its name where the shell finds it."""
    monkeypatch.setattr("sys.argv", [path])
    monkeypatch.setattr("shutil.which", lambda name: f"/somewhere/{name}")
    assert measuring._program() == program
