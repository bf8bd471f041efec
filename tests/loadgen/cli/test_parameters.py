"""What verbs make of their options: durations of zero, and groups of options."""

import functools
import inspect
import io
from types import SimpleNamespace
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from loadgen import ExperimentConfig
from loadgen.cli import console, exit_codes, measuring, sweep
from loadgen.cli.argv import list_options, normalise_argv
from loadgen.cli.groups import with_options
from loadgen.cli.verbs import app
from loadgen.feed.options import Endpoint, Live

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
    found: list[ExperimentConfig] = []
    monkeypatch.setattr(measuring, "show_plan", lambda config, *_: found.append(config))
    monkeypatch.setattr(sweep, "_show_plan", lambda config, _: found.append(config.base))

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
    assert (config.load.warmup_s, config.patience.drain_s) == (0.0, 0.0)


@pytest.mark.parametrize("zero", ["0", "0s", "0.0"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", ["--duration", "--timeout", "--stall", "--log-every", "--ready-timeout"])
def test_zero_is_refused_where_nothing_could_be_measured_with_it(configured, verb, option, zero):
    """A part without length, no patience at all, a line at each moment; it never stands for no limit."""
    said = configured(verb, option, zero).error
    assert said == f"loadgen: {option} {zero}: a duration above zero is needed; write 120, 120s or 2m\n"


@pytest.mark.parametrize("zero", ["0", "0.0", '"0s"'])
def test_zero_in_a_file(configured, tmp_path, zero):
    """TOML has numbers as well as texts."""
    path = tmp_path / "sweep.toml"
    path.write_text(f"warmup = {zero}\ndrain = {zero}\n")
    config = configured("sweep", "--file", str(path)).config
    assert (config.load.warmup_s, config.patience.drain_s) == (0.0, 0.0)
    path.write_text(f"duration = {zero}\n")
    assert "--duration " in configured("sweep", "--file", str(path)).error


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x = " + b"[" * 5000, "nested too deep; write a value for each option"),
        (b"warmup = " + b"9" * 5000, "not TOML: Exceeds the limit"),
        ("warmup = 3 # \u00e9".encode("latin-1"), "cannot be read: line 1 is not UTF-8; save it as UTF-8"),
        ("warmup = 3".encode("utf-16"), "cannot be read: it is UTF-16; save it as UTF-8"),
    ],
    ids=["brackets", "digits", "Latin-1", "UTF-16"],
)
def test_files_that_are_no_toml(configured, tmp_path, content, reason):
    """In one line, with the file."""
    path = tmp_path / "sweep.toml"
    path.write_bytes(content)
    error = configured("sweep", "--file", str(path)).error
    assert error.startswith(f"loadgen: --config {path}: {reason}")
    path.write_text("\ufeffwarmup = 3")
    assert configured("sweep", "--file", str(path)).config.load.warmup_s == 3
    assert configured("sweep", "--file", "/dev/full").error == (
        "loadgen: --config /dev/full: cannot be read: it has more than 16 MiB; name a smaller file\n"
    )


@pytest.mark.parametrize("verb", VERBS)
def test_the_ceiling_is_measured_unless_the_user_says_otherwise(configured, verb):
    """Of each verb that measures."""
    assert configured(verb).config.client.ceiling
    assert not configured(verb, "--no-ceiling").config.client.ceiling


def test_zero_is_no_patience_for_a_model():
    """Of the verb that checks models, likewise."""
    done = CliRunner().invoke(app, ["models", "verify", "noop", "--timeout", "0s"])
    assert done.stderr == "loadgen: --timeout 0s: a duration above zero is needed; write 120, 120s or 2m\n"


def first(context: typer.Context, size: Annotated[int, typer.Option("--size", "-s")] = 1):
    return {}


def second(context: typer.Context, other: Annotated[int, typer.Option()] = 1):
    return {}


def same_name(size: Annotated[int, typer.Option("--length")] = 1):
    return {}


def same_flag(length: Annotated[int, typer.Option("--length", "-s")] = 1):
    return {}


def default_flag(thing: Annotated[int, typer.Option("--other")] = 1):
    return {}


def verb(settings, context: typer.Context, duration: Annotated[int, typer.Option("--duration", "-d")] = 1):
    """A verb with an option of its own."""


def own(settings, seconds: Annotated[int, typer.Option("-d", "--size")] = 1):
    """A verb with an option that a group has too."""


@pytest.mark.parametrize(
    ("groups", "of", "twice"),
    [
        pytest.param([first, second, first], verb, "size, --size, -s", id="a group"),
        pytest.param([first, same_name], verb, "size", id="a name"),
        pytest.param([first, same_flag], verb, "-s", id="a flag"),
        pytest.param([second, default_flag], verb, "--other", id="a flag that follows from the name"),
        pytest.param([first], own, "--size", id="a flag of the verb"),
    ],
)
def test_what_is_defined_twice_is_refused(groups, of, twice):
    """The second would hide the first, or be evaluated twice."""
    with pytest.raises(ValueError, match=f"^{of.__name__} and its groups define {twice} more than once$"):
        with_options(*groups)(of)


def test_the_context_is_no_option():
    """Any number of groups look at it."""
    assert "context" in inspect.signature(with_options(first, second)(verb)).parameters


@pytest.mark.parametrize(
    ("words", "of_saturate"),
    [
        ("--model_name noop -d 3", {}),
        ("-m noop --duration_seconds 3 --num_replicas 2 --batch_sizes 4", {"replicas": 2, "batch_size": 4}),
        ("-m noop -d 3 --cpus_per_replica_nums 2 --model_cpus 0,1", {"cpus_per_replica": 2, "cpus": (0, 1)}),
        ("-m noop -d 3 --model_gpus none --num_clients 2", {"gpus": ()}),
    ],
)
def test_options_of_the_2017_driver(configured, words, of_saturate):
    """Are those of `saturate` and `sweep`."""
    for verb in ("saturate", "sweep"):
        config = configured(verb, *words.split()).config
        assert config.load.duration_s == 3.0
        assert config.client.processes == (2 if "--num_clients" in words else 1)
        for name, value in of_saturate.items() if verb == "saturate" else ():
            assert getattr(config.serve, name) == value


@pytest.mark.parametrize("verb", ["saturate", "rate", "capacity"])
@pytest.mark.parametrize("words", ["-r 1 2", "--num_replicas 1,2", "-b 1 2", "-p 1-2", "-r 1 -r 2"])
def test_several_sizes_are_for_a_sweep(configured, verb, words):
    """What else measures one size says so."""
    typed = normalise_argv([verb, *words.split()], list_options([verb]))
    said = configured(verb, *typed[1:]).error
    assert said.endswith("several numbers; name one, or use loadgen sweep, which measures each\n")
    assert said.startswith("loadgen: --")


@pytest.mark.parametrize("words", ["--rates 100,6/m", "--rates 100 6/m", "--rates 100 --rates 6/m"])
def test_rates_are_a_list_as_all_others(words):
    """None of them is lost."""
    typed = ["sweep", *words.split()]
    assert normalise_argv(typed, list_options(typed)) == ["sweep", "--rates", "100,6/m"]


def test_the_last_value_of_an_option_counts(configured):
    """So that a command can override what a script says."""
    assert configured("saturate", "-d", "5", "--duration", "6s").config.load.duration_s == 6.0


@pytest.mark.parametrize("text", ["x", "2.5", ""])
def test_a_size_that_is_no_number(configured, text):
    """Names the option."""
    assert configured("saturate", f"-r{text}" if text else "--replicas=").error.startswith("loadgen: --replicas ")


@pytest.mark.parametrize("verb", ["saturate", "rate", "sweep"])
def test_tags_and_live_outputs_become_fields(configured, verb):
    """Several tags, in their order; without a terminal there is no view."""
    config = configured(verb, "--tag", "commit=4f2a9c1", "--tag", "note=a=b, c", "--prometheus", "9464").config
    assert list(config.tags.items()) == [("commit", "4f2a9c1"), ("note", "a=b, c")]
    assert config.live == Live(False, Endpoint("127.0.0.1", 9464))
    assert configured(verb).config.live == Live()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--web", "70000"], "--web 70000: not a port; use 0 to 65535"),
        (["--tag", "a"], "--tag a: has no value; write NAME=VALUE, such as commit=4f2a9c1"),
        (["--tag", "a=1", "--tag", "a=2"], "--tag a=2: a is given already; leave one of them out"),
        (["--tag", "le=1"], "--tag le: a label of loadgen's metrics already; choose another name"),
        (["--tag", "a-b=1"], "--tag a-b: not the name of a tag; use letters, digits and _, and begin with a letter"),
        (["--tag", "__a=1"], "--tag __a: not the name of a tag; use letters, digits and _, and begin with a letter"),
        (
            ["--tag", "a=x\ny"],
            "--tag a: its value is too long or cannot be printed; use at most 200 printable characters",
        ),
        (
            ["--prometheus", "99999"],
            "--prometheus 99999: not a port; write 9464, or HOST:9464, or 0 for any free port",
        ),
        (["--prometheus", ":80"], "--prometheus :80: not a port; write 9464, or HOST:9464, or 0 for any free port"),
    ],
)
def test_tags_and_ports_that_make_no_sense_are_refused(configured, words, error):
    """In one line that says what to write."""
    assert configured("rate", *words).error == f"loadgen: {error}\n"


@pytest.mark.parametrize(
    ("words", "port"),
    [(["--web"], 0), (["--web", "--seed", "1"], 0), (["--web", "8080"], 8080), (["--web=8080"], 8080), ([], None)],
)
def test_a_page_may_have_any_free_port(configured, words, port):
    """Where none is named."""
    web = configured("saturate", *normalise_argv(words, list_options(["saturate"]))).config.live.web
    assert web == (None if port is None else Endpoint("127.0.0.1", port))


@pytest.mark.parametrize(
    ("tty", "term", "words", "shown"),
    [
        (True, "xterm", [], True),
        (True, "xterm", ["--no-live"], False),
        (True, "dumb", [], False),
        (False, "xterm", [], False),
    ],
)
def test_a_live_view_needs_a_terminal(configured, monkeypatch, tty, term, words, shown):
    """A terminal that can be drawn on, without `--no-live`."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: tty)
    monkeypatch.setattr(console, "shows_live", functools.partial(console.shows_live, stream))
    monkeypatch.setenv("TERM", term)
    assert configured("saturate", *words).config.live.terminal is shown
