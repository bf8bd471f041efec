"""``loadgen compare``: which configurations files come to, and how it ends."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from option_table import asked_without_starting
from program import LOADGEN, asked
from sample_results import INVALID, results

from loadgen.cli import console
from loadgen.experiments import compare
from loadgen.results.files import save
from loadgen.results.sections import Transport

GOLDEN = Path(__file__).parents[2] / "golden"
V1, V2 = (str(GOLDEN / f"results-v{version}.json") for version in (1, 2))


@pytest.fixture
def compared(monkeypatch, tmp_path):
    """Runs `compare` on files a.toml and b.toml, whose runs measure these throughputs."""
    asked_without_starting(monkeypatch, tmp_path)
    monkeypatch.setattr(console, "set_up_logging", lambda *_: None)
    configs = []

    def act(*words, a="model='noop'\nduration='1s'", b="model='noop'\nduration='1s'", rates=(100.0, 100.0), **members):
        async def run_plan(plan, view):
            configs.append(plan.config)
            side = plan.config.output.results_dir.name
            made = results(seconds=3, throughput_rps=rates[side == "b"], **{"certificate": [], **members})
            return replace(made, path=save(made, plan.config.output.results_dir))

        monkeypatch.setattr(compare, "run_plan", run_plan)
        Path("a.toml").write_text(a)
        Path("b.toml").write_text(b)
        done = asked([LOADGEN, "compare", *words])
        return done, configs

    return act


BOTH = ("--run", "a.toml", "--run", "b.toml")


@pytest.mark.parametrize(
    ("rates", "certificate", "code"), [((100.0, 101.0), [], 0), ((100.0, 80.0), [], 8), ((100.0, 80.0), [INVALID], 9)]
)
def test_codes(compared, rates, certificate, code):
    """Not worse, worse, nothing to judge by."""
    done, _ = compared(*BOTH, rates=rates, certificate=certificate)
    assert (done.returncode, done.stderr) == (code, "")
    assert "5% worse is found in 90% of comparisons where ratios of rounds scatter by 2.31% at most" in done.stdout
    assert "Saved the comparison to" in done.stdout


def test_files_for_machines(compared):
    """They are written where options name, and refused in one line where that cannot be."""
    done, configs = compared(*BOTH, "--junit", "j.xml", "--markdown", "-", rates=(100.0, 80.0))
    assert done.returncode == 8
    assert "| requests/s | 100 | 80 | -20.0% |" in done.stdout
    assert 'failures="1"' in Path("j.xml").read_text()
    words = [word for form in ("json", "csv", "md", "html", "xml") for word in ("-o", f"made.{form}")]
    assert compared(*BOTH, *words, "--quiet", rates=(100.0, 80.0))[0].stdout == ""
    assert json.loads(Path("made.json").read_text())["outcome"] == "worse"
    assert Path("made.xml").read_text() == Path("j.xml").read_text()
    assert Path("made.csv").read_text().count("\n") > 2
    made = len(configs)
    done, _ = compared(*BOTH, "--junit", "/nowhere/j.xml")
    assert (done.returncode, len(configs)) == (2, made)  # nothing is measured for what cannot be written
    assert (
        done.stderr
        == "loadgen: --junit /nowhere/j.xml: cannot be written: No such file or directory; name another file\n"
    )


def test_options_of_a_side(compared):
    """They are those of saturate, with the same defaults; a rate makes them those of rate."""
    done, configs = compared(*BOTH, b="model='noop'\nduration='1s'\nbatch-size=8\nmax_in_flight=64")
    assert done.returncode == 0
    assert [config.serve.batch_size for config in configs[:2]] == [2, 8]
    assert [config.load.max_in_flight for config in configs[:2]] == [None, 64]
    rate = "model='noop'\nduration='20s'\nrate=100\narrivals='poisson'"
    done, _ = compared(*BOTH, "--dry-run", a=rate, b=rate)
    assert done.returncode == 0
    assert "metrics     throughput, p50, p95, p99\n" in done.stdout
    assert "rounds      8, in the order A B, B A, …; about" in done.stdout


def test_a_baseline_is_described(compared):
    """With a warning, and a code that says nothing of it."""
    done, _ = compared("--baseline", V2, "--run", "b.toml", "--markdown", "m.md")
    assert done.returncode == 0
    assert "not comparable because" in done.stdout
    assert done.stderr == (
        "loadgen: a baseline of another time decides nothing; measure both sides with --run, or --allow-unpaired\n"
    )
    assert "requests/s" in Path("m.md").read_text()


def test_a_baseline_of_several_runs_decides(compared):
    """The directory of a side of an earlier comparison is one."""
    done, _ = compared(*BOTH)
    (side,) = Path("results").glob("compare-*/a")
    done, _ = compared("--baseline", str(side), "--run", "b.toml", "--allow-unpaired", rates=(100.0, 50.0))
    assert (done.returncode, done.stderr) == (8, "")


def test_a_baseline_of_several_runs_is_described(compared):
    """By the run of median throughput, with how far the runs lie apart."""
    for rps, number in ((90.0, 1), (120.0, 2), (100.0, 3)):
        save(results(seconds=3, throughput_rps=rps, started_at=f"2026-11-29T10:00:0{number}+00:00"), Path("earlier"))
    done, _ = compared("--baseline", "earlier", "--run", "b.toml", rates=(0.0, 50.0))
    assert "B differs by -50.0% in throughput" in done.stdout
    assert "A is the median of 3 runs that differ by 33.3% in throughput, B is one run, measured" in done.stdout


def test_a_baseline_of_several_transports(compared):
    """Its runs are no repeats of one configuration."""
    for way in ("ipc", "tcp"):
        save(results(seconds=3, transport=Transport(way, way)), Path("earlier"))
    done, _ = compared("--baseline", "earlier", "--run", "b.toml")
    assert done.returncode == 2
    assert done.stderr == (
        "loadgen: --baseline earlier: holds runs of several transports "
        "(client ipc, replicas ipc; client tcp, replicas tcp); name a file of one\n"
    )


def test_a_baseline_of_another_load(compared):
    """It judges nothing, and the plan of a description says so."""
    compared(*BOTH)
    (side,) = Path("results").glob("compare-*/a")
    rate, baseline = "model='noop'\nduration='20s'\nrate=100", ("--baseline", str(side), "--run", "b.toml")
    done, _ = compared(*baseline, "--allow-unpaired", b=rate)
    assert (done.returncode, done.stderr) == (
        2,
        "loadgen: --baseline: measured under another load (saturating); give B that load, "
        "or leave --allow-unpaired out\n",
    )
    done, _ = compared(*baseline, "--dry-run", b=rate)
    assert "baseline    of another load (saturating)" in done.stdout


def test_two_results(compared):
    """They are described, whatever their versions."""
    done, _ = compared(V1, V2)
    assert (done.returncode, done.stderr) == (0, "")
    assert "B differs by -23.6% in throughput" in done.stdout
    done, _ = compared(V1, V2, "--quiet", "-o", "two.html", "-o", "two.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert len(json.loads(Path("two.json").read_text())["cells"]) == 2
    done, _ = compared(V1, V2, "-o", "two.xml")
    assert done.stderr == "loadgen: --output two.xml: a description has no verdicts; leave it out\n"
    done, _ = compared(V1, V2, "--markdown", "-")
    assert done.stdout.startswith("|  | A | B | B / A |\n|---|---|---|---|\n| requests/s | 4,948 | 3,778 | 0.764 |")


PLAIN = "model='noop'"


@pytest.mark.parametrize(
    ("words", "files", "text"),
    [
        ((), {}, "A.json B.json: missing; name two, or measure with --run twice"),
        ((V1,), {}, f"{V1}: 1 results file; name two, or measure with --run twice"),
        ((V1, "."), {}, ".: a directory; name a results file"),
        ((V1, V2, "--rounds", "8"), {}, "--rounds 8: needs --run; name the configurations"),
        ((V1, *BOTH), {}, f"{V1}: measured already, and --run measures; leave one of them out"),
        (("--run", "a.toml"), {}, "--run a.toml: given once; give it twice, for A and for B, or once with"),
        ((*BOTH, "--baseline", V1), {}, "--run b.toml: given twice; give it once"),
        ((*BOTH, "--allow-unpaired"), {}, "--allow-unpaired: needs --baseline; leave it out"),
        ((*BOTH, "--margin", "x"), {}, "--margin x: not a share"),
        ((*BOTH, "--margin", "0%"), {}, "--margin 0%: not positive; use a number above 0"),
        ((*BOTH, "--rounds", "6,8"), {}, "--rounds 6,8: several numbers; give one, or auto"),
        ((*BOTH, "--rounds", "30"), {}, "--rounds 30"),
        ((*BOTH, "--metrics", "p98"), {}, "--metrics p98: unknown; use throughput, mean, p50"),
        (("--run", "a.toml", "--run", "c.toml"), {}, "--run c.toml: cannot be read: No such file or directory"),
        (BOTH, {"a": "model="}, "--run a.toml: not TOML: Invalid value"),
        (
            BOTH,
            {"b": "modle='noop'"},
            "--run b.toml: the key 'modle' is not an option of saturate; did you mean 'model'?",
        ),
        (BOTH, {"b": "rate=5\nreqests=2"}, "--run b.toml: the key 'reqests' is not an option of rate"),
        (BOTH, {"b": f"{PLAIN}\nresults-dir='x'"}, "--run b.toml: the key 'results-dir' means nothing"),
        (BOTH, {"b": "[model]\nx=1"}, "--run b.toml: the key 'model' has a table; write its value, as of --model"),
        (BOTH, {"b": "batch-size=8"}, "--run b.toml: --model: missing"),
        (BOTH, {"b": f"{PLAIN}\nreplicas='x'"}, "--run b.toml: --replicas"),
        (BOTH, {"b": f"{PLAIN}\nseed='x'"}, "--run b.toml: --seed x: not a whole number; write digits"),
        (BOTH, {"a": PLAIN, "b": f"{PLAIN}\nseed=1"}, "--run: the seeds 0 and 1 differ"),
        (BOTH, {"a": PLAIN, "b": f"{PLAIN}\nduration='3s'"}, "--run: the loads differ"),
        (("--baseline", V1, *BOTH[:2], "--allow-unpaired"), {}, "--baseline: has 1 valid run, and a spread needs 3"),
        (("--baseline", V1, *BOTH[:2], "--junit", "j"), {}, "--junit j: a description has no verdicts; leave it out"),
    ],
)
def test_what_makes_no_sense(compared, words, files, text):
    """One line that names it and the remedy, and code 2."""
    done, configs = compared(*words, **files)
    assert done.returncode == 2
    assert done.stderr.startswith(f"loadgen: {text}")
    assert (done.stderr.count("\n"), configs) == (1, [])


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"b": f"{PLAIN}\nreplicas=999"}, "B: 999 replicas of 1 core need 999 cores"),
        ({"a": f"{PLAIN}\nreplicas=999"}, "A: 999 replicas of 1 core need 999 cores"),
        ({"b": "model='nope'"}, "B: --model nope: no such model"),
        ({"b": f"{PLAIN}\ngpus='7'"}, "B: --gpus 7"),
    ],
)
def test_a_side_that_cannot_be_planned(compared, files, text):
    """Is named, for both are planned alike."""
    done, configs = compared(*BOTH, **{"a": PLAIN, "b": PLAIN, **files})
    assert done.returncode in (2, 3)
    assert done.stderr.startswith(f"loadgen: {text}")
    assert (done.stderr.count("\n"), configs) == (1, [])
