"""Options from a file and from the environment, for each verb."""

import json
import logging

import pytest
from program import LOADGEN, asked

from loadgen.cli import measuring, verbs
from loadgen.cli.option_sources import CONFIG
from loadgen.cli.verbs import commands

PLAN = [LOADGEN, "saturate", "-m", "noop", "--dry-run", "--topology", "cpus=0-7"]


@pytest.fixture
def file(tmp_path):
    """Writes a file, and says how the command line names it."""

    def written(text):
        path = tmp_path / "options.toml"
        path.write_text(text)
        return [CONFIG, str(path)]

    return written


@pytest.fixture
def planned(monkeypatch):
    """The configurations whose plans were asked for."""
    found = []
    monkeypatch.setattr(measuring, "show_plan", lambda config, *_: found.append(config))
    return found


def test_each_verb_takes_a_file_and_the_environment():
    """But one without options."""
    for name, command in commands():
        options = [each for each in command.params if each.param_type_name == "option"]
        assert not options or any(CONFIG in each.opts for each in options), name
        assert all(each.envvar[0].startswith("LOADGEN_") for each in options), name


def test_precedence(monkeypatch, planned, file):
    """The command line, the environment, the file, the default."""
    given = file('duration = "3s"\nseed = 3\nstall = 3\n')
    monkeypatch.setenv("LOADGEN_DURATION", "2s")
    monkeypatch.setenv("LOADGEN_SEED", "2")
    done = asked([*PLAN, *given, "-d", "1s"])
    config = planned[0]
    assert (config.load.duration_s, config.seed, config.patience.stall_s) == (1, 2, 3)
    assert config.output.log_every_s == 3.0
    assert done.stdout == f"--seed: from LOADGEN_SEED\n--stall: from {given[1]}\n"


def test_a_file_from_the_environment(monkeypatch, planned, file):
    """Is one for all commands."""
    monkeypatch.setenv("LOADGEN_CONFIG", file("seed = 7")[1])
    done = asked(PLAN)
    assert planned[0].seed == 7
    assert done.stdout.endswith(": from LOADGEN_CONFIG\n")


def test_options_that_may_be_repeated(monkeypatch, planned, file):
    """A list or one value in a file, a line each in a variable."""
    asked([*PLAN, *file('fail-if = "p99>1s"')])
    monkeypatch.setenv("LOADGEN_FAIL_IF", "p50 > 1s\nfailed>0")
    asked(PLAN)
    assert [[str(each) for each in config.fail_if] for config in planned] == [["p99>1s"], ["p50>1s", "failed>0"]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("duratoin = 3", "the key 'duratoin' is not an option of saturate; did you mean 'duration'?"),
        ("zzz = 3", "the key 'zzz' is not an option of saturate; see `loadgen saturate --help`"),
        ("rate = 100", "the key 'rate' is not an option of saturate; size, rate, report and best take it"),
        ("within = 5", "the key 'within' is not an option of saturate; size takes it"),
        ('config = "x"', "the key 'config' is not an option of saturate; see `loadgen saturate --help`"),
        ("[model]", "the key 'model' has a table; write its value, as of --model"),
    ],
)
def test_keys_that_are_no_options(file, text, complaint):
    """One line, which names the nearest."""
    given = file(text)
    done = asked([*PLAN, *given])
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"loadgen: {CONFIG} {given[1]}: {complaint}\n")


def test_errors_say_where_an_option_is_from(monkeypatch, file):
    """Whether the parser finds the mistake, or the verb."""
    monkeypatch.setenv("LOADGEN_DURATION", "soon")
    assert asked(PLAN).stderr.endswith(" or 250ms (--duration is from LOADGEN_DURATION)\n")
    monkeypatch.setenv("LOADGEN_DURATION", "1s")
    monkeypatch.setenv("LOADGEN_SEED", "soon")
    assert asked(PLAN).stderr.endswith("such as 5 (--seed is from LOADGEN_SEED)\n")
    monkeypatch.delenv("LOADGEN_SEED")
    given = file("requests = 5")
    assert asked([*PLAN, *given]).stderr.endswith(
        f" (--duration is from LOADGEN_DURATION, --requests is from {given[1]})\n"
    )


def test_variables_that_are_misspelt(monkeypatch, planned):
    """Are refused; those of other verbs and of other programs are left alone."""
    names = ("RATES", "SERVICE_PORT", "SERVICE_HOST", "PORT", "PORT_80_TCP", "FUZZ", "WITHIN", "GPU", "HOME", "VERSION")
    for name in names:
        monkeypatch.setenv(f"LOADGEN_{name}", "1")
    assert asked(PLAN).returncode == 0
    for wrong, right in (("DURATOIN", "DURATION"), ("CPU", "CPUS"), ("SEDE", "SEED"), ("FRONTEND", "FRONTENDS")):
        monkeypatch.setenv(f"LOADGEN_{wrong}", "1s")
        done = asked(PLAN)
        complaint = f"LOADGEN_{wrong}: no option has this name; did you mean LOADGEN_{right}?"
        assert (done.returncode, done.stderr) == (2, f"loadgen: {complaint}\n")
        monkeypatch.delenv(f"LOADGEN_{wrong}")


def test_variables_of_other_processes(monkeypatch, planned):
    """Of replicas and frontends, as in a shell inside their container: nothing is said."""
    for name in ("FRONTEND_ADDRESS", "FRONTEND_KIND", "LOG_FILE", "PARENT_FD", "REDIS_PASSWORD", "ROLE"):
        monkeypatch.setenv(f"LOADGEN_{name}", "1")
    done = asked(PLAN)
    assert (done.returncode, done.stderr) == (0, "")
    assert "LOADGEN_" not in done.stdout


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("BATCH_SIZES", "batch-size"), ("NUM_REPLICAS", "replicas"), ("CPUS_PER_REPLICA_NUMS", "cpus-per-replica")),
        *(("MODEL_NAME", "model"), ("NUM_CLIENTS", "clients"), ("DURATION_SECONDS", "duration")),
    ],
)
def test_a_variable_may_have_any_long_name_of_an_option(monkeypatch, name, option):
    """As on the command line, and in a file; `LOADGEN_BATCH_SIZES` was ignored."""
    monkeypatch.setattr(measuring, "show_plan", lambda *_: None)
    monkeypatch.setenv(f"LOADGEN_{name}", "noop" if option == "model" else "2")
    done = asked([LOADGEN, "saturate", *(() if option == "model" else ("-m", "noop")), "--dry-run"])
    assert (done.stdout, done.stderr) == (f"--{option}: from LOADGEN_{name}\n", "")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("RATES", "not an option of saturate, but of sweep"),
        ("IN_FLIGHT", "not an option of saturate, but of sweep; did you mean LOADGEN_MAX_IN_FLIGHT?"),
        ("RATE", "not an option of saturate, but of size and rate"),
        ("BATCH", "not an option of saturate; did you mean LOADGEN_BATCH_SIZE?"),
        ("SERVICE_HOST", None),
        ("REQUIRE_DOCKER", None),
        ("THREADS", None),
    ],
)
def test_variables_that_are_no_options_of_the_verb(monkeypatch, planned, name, line):
    """The plan says so of those of other verbs, and of those that resemble an option."""
    monkeypatch.setenv(f"LOADGEN_{name}", "1")
    done = asked(PLAN)
    assert (done.stdout, done.stderr) == ("" if line is None else f"LOADGEN_{name}: {line}\n", "")


def test_the_sides_of_a_comparison_are_what_their_files_say(monkeypatch, tmp_path):
    """No variable makes them alike."""
    from loadgen.cli.compare import _configuration

    monkeypatch.setenv("LOADGEN_SEED", "9")
    path = tmp_path / "a.toml"
    path.write_text('model = "noop"')
    assert _configuration(path).seed == 0


def test_a_log_names_the_sources(monkeypatch, caplog):
    """Of a run, which has no plan to say it."""
    from loadgen.cli import console, option_sources

    monkeypatch.setenv("LOADGEN_JSON", "-")
    command = verbs.verb("report")
    with command.make_context("report", [json.dumps("x")]) as context, caplog.at_level("INFO"):
        monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
        option_sources.invoked(context, console.set_up_logging)
    assert caplog.messages == ["--json: from LOADGEN_JSON"]
