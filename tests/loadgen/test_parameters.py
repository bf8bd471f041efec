"""What verbs make of their options: durations of zero, and groups of options."""

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from loadgen.cli import app, console, exit_codes, sweep

VERBS = {
    "saturate": [],
    "rate": ["--rate", "10"],
    "capacity": ["--slo", "p99<1s"],
    "sweep": [],
}
ZEROS = ["0", "0s", "0ms", "0.0", "0m", ".0h", " 0 "]


@pytest.fixture
def configured(monkeypatch):
    """Runs a verb up to its configuration: what it said of errors, and the configuration, None where it refused."""
    found = []
    monkeypatch.setattr(console, "show_plan", found.append)
    monkeypatch.setattr(sweep, "_show_plan", lambda config: found.append(config.base))

    def run(verb, *words):
        found.clear()
        done = CliRunner().invoke(app, [verb, "-m", "noop", *VERBS[verb], "--dry-run", *words])
        assert done.exit_code == (exit_codes.OK if found else exit_codes.CONFIG), done.output
        return SimpleNamespace(error=done.stderr, config=found[0] if found else None)

    return run


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("verb", VERBS)
def test_zero_means_none(configured, verb, zero):
    """However it is written: no warm-up, and no waiting at the end."""
    config = configured(verb, "--warmup", zero, "--drain", zero).config
    assert (config.warmup_s, config.drain_s) == (0.0, 0.0)


@pytest.mark.parametrize("zero", ["0", "0s", "0.0"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", ["--duration", "--timeout", "--stall", "--log-every", "--ready-timeout"])
def test_zero_is_refused_where_nothing_could_be_measured_with_it(configured, verb, option, zero):
    """A part without length, no patience at all, a line at each moment; it never stands for no limit."""
    said = configured(verb, option, zero).error
    assert said == f"loadgen: {option}: {zero!r} is no time at all: write 120, 120s or 2m\n"


@pytest.mark.parametrize("zero", ["0", "0.0", '"0s"'])
def test_zero_in_a_file(configured, tmp_path, zero):
    """TOML has numbers as well as texts."""
    path = tmp_path / "sweep.toml"
    path.write_text(f"warmup = {zero}\ndrain = {zero}\n")
    config = configured("sweep", "--file", str(path)).config
    assert (config.warmup_s, config.drain_s) == (0.0, 0.0)
    path.write_text(f"duration = {zero}\n")
    assert "--duration: " in configured("sweep", "--file", str(path)).error


def test_zero_is_no_patience_for_a_model():
    """Of the verb that checks models, likewise."""
    done = CliRunner().invoke(app, ["models", "verify", "noop", "--timeout", "0s"])
    assert done.stderr == "loadgen: --timeout: '0s' is no time at all: write 120, 120s or 2m\n"
