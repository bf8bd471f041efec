"""What the parser refuses: one line with the value and the remedy, which names the help of the verb."""

import pytest
from program import LOADGEN, asked

from loadgen.cli import option_sources
from loadgen.cli.verbs import commands


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("saturate --zzz", "--zzz: not an option of loadgen saturate; see `loadgen saturate --help`"),
        (
            "saturate --dryrun",
            "--dryrun: not an option of loadgen saturate; did you mean --dry-run or --drain? "
            "see `loadgen saturate --help`",
        ),
        (
            "saturate --rate 5",
            "--rate: not an option of loadgen saturate; size, rate, report and best take it, "
            "see `loadgen saturate --help`",
        ),
        (
            "saturate --within 5",
            "--within: not an option of loadgen saturate; size takes it, see `loadgen saturate --help`",
        ),
        (
            "-m noop",
            "-m: not an option of loadgen; size, saturate, rate, sweep, capacity and up take it, see `loadgen --help`",
        ),
        (
            "sweep --rate 5",
            "--rate: not an option of loadgen sweep; did you mean --rates? size, rate, report and best take --rate, "
            "see `loadgen sweep --help`",
        ),
        ("models verify --x", "--x: not an option of loadgen models verify; see `loadgen models verify --help`"),
        ("saturate -m noop -d", "-d: its value is missing; see `loadgen saturate --help`"),
        ("models verify --timeout", "--timeout: its value is missing; see `loadgen models verify --help`"),
        (
            "models --timeout 5",
            "--timeout: not an option of loadgen models; size, saturate, rate, sweep, capacity and models verify "
            "take it, see `loadgen models --help`",
        ),
        ("saturate --dry-run=5", "--dry-run: takes no value; write it alone, see `loadgen saturate --help`"),
        ("capacity -m noop", "--slo: missing; see `loadgen capacity --help`"),
        ("report", "PATH: missing; see `loadgen report --help`"),
        ("saturate noop", "noop: saturate takes only options; name a model with -m, see `loadgen saturate --help`"),
        ("saturate a b", "a b: saturate takes only options; see `loadgen saturate --help`"),
        ("doctor a", "a: doctor takes only options; see `loadgen doctor --help`"),
        ("logs a b", "b: more than logs takes; see `loadgen logs --help`"),
        ("sature", "sature: no such command; did you mean saturate or rate? see `loadgen --help`"),
        ("sat", "sat: no such command; did you mean saturate? see `loadgen --help`"),
        ("zzz", "zzz: no such command; see `loadgen --help`"),
        ("models x", "x: no such command; see `loadgen models --help`"),
        ("rate --seed abc", "--seed abc: not a whole number; write digits, such as 5"),
        ("rate --seed=", "--seed '': not a whole number; write digits, such as 5"),
        ("rate -m noop --rate 5 --web -1", "--web -1: not a port; use 0 to 65535"),
        ("rate -m noop --rate 5 --input x --input-layout x", "--input-layout x: unknown; choose NCHW or NHWC"),
        ("saturate -m noop b", "b: saturate takes only options; see `loadgen saturate --help`"),
        ("rate --web 0.5", "--web 0.5: not a whole number; write digits, such as 5"),
        ("rate --time-scale x", "--time-scale x: not a number; write such as 0.5"),
        ("size --core-cost x --slo p99<1s", "--core-cost x: not a number; write such as 0.5"),
        ("rate --seed " + "9" * 5000, f"--seed {'9' * 200}…{'9' * 99}: too large; use a smaller number"),
    ],
)
def test_what_cannot_be_parsed_is_one_line(arguments, line):
    """Without the names of the libraries that read it."""
    done = asked([LOADGEN, *arguments.split()])
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"loadgen: {line}\n")


def test_a_blank_command():
    """Is shown as such."""
    done = asked([LOADGEN, ""])
    assert (done.returncode, done.stderr) == (2, "loadgen: '': no such command; see `loadgen --help`\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("sweep -b 1 2 x", "--batch-sizes 1,2,x: 'x': neither a whole number nor a range"),
        ("size -b 1 2 x", "--batch-sizes 1,2,x: 'x': neither a whole number nor a range"),
        ("sweep -b 1 x", "--batch-sizes 1,x: 'x': neither a whole number nor a range"),
        ("saturate -b 1 x", "--batch-size 1,x: 'x': neither a whole number nor a range"),
        ("saturate --cpus 0 x -d 1", "--cpus 0,x: 'x': neither a whole number nor a range"),
        ("saturate --gpus 0 x", "--gpus 0,x: 'x': neither a whole number nor a range"),
    ],
)
def test_a_list_with_a_word_that_is_no_number(arguments, problem):
    """Is refused as a whole, with the option."""
    needed = ["--rate", "5", "--slo", "p99<1s"] if arguments.startswith("size") else []
    done = asked([LOADGEN, *arguments.split(), *needed, "-m", "noop", "--dry-run"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"loadgen: {problem}")


def test_a_url_is_no_model():
    """Where models are checked there is no `--target` to use."""
    for words in (["models", "verify", "noop", "http://h/x"], ["up", "-m", "http://h/x"]):
        done = asked([LOADGEN, *words])
        assert done.returncode == 2
        assert done.stderr.endswith("http://h/x: a URL; name one that `loadgen models` lists\n")


FILES = [
    *(("saturate", option) for option in ("--json", "--output", "-o", "--results-dir", "--config", "--requests-log")),
    *(("saturate", option) for option in ("--input", "--token-file", "--credentials", "--tls-ca", "--unix-socket")),
    *(("report", option) for option in ("--html", "--csv", "--json")),
    *(("compare", option) for option in ("--junit", "--markdown", "--run", "--baseline")),
    *(("size", "--trace"), ("report", "--"), ("best", "--"), ("compare", "--")),
]


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize(("verb", "option"), FILES)
def test_a_blank_name_of_a_file(verb, option, blank):
    """Was the working directory, or an odd sentence."""
    done = asked([LOADGEN, verb, option, blank])
    name = {"-o": "--output", "--": "A.json B.json" if verb == "compare" else "PATH"}.get(option, option)
    remedy = "a directory, such as results or ." if option == "--results-dir" else "a file"
    remedy += ", or - for standard output" if option in ("--json", "--csv", "--markdown") else ""
    assert (done.returncode, done.stderr) == (2, f"loadgen: {name} {blank!r}: blank; name {remedy}\n")


def test_a_blank_name_of_a_file_in_a_file(tmp_path):
    """Likewise."""
    path = tmp_path / "options.toml"
    path.write_text('output = ["a.json", ""]')
    done = asked([LOADGEN, "rate", "--config", str(path)])
    assert (done.returncode, done.stderr) == (2, "loadgen: --output '': blank; name a file\n")


@pytest.mark.parametrize("name", ["QUIET", "DRY_RUN", "NO_LIVE"])
def test_a_switch_in_the_environment(monkeypatch, name):
    """Is true or false."""
    monkeypatch.setenv(f"LOADGEN_{name}", "maybe")
    done = asked([LOADGEN, "saturate", "-m", "noop"])
    option = f"--{name.lower().replace('_', '-')}"
    problem = f"{option} maybe: neither true nor false; use true or false ({option} is from LOADGEN_{name})"
    assert (done.returncode, done.stderr) == (2, f"loadgen: {problem}\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed = 0.5", "--seed 0.5: not a whole number; write digits, such as 5"),
        ("xla = 'no way'", "--xla 'no way': neither true nor false; use true or false"),
        ("time-scale = [1, 2]", "--time-scale 1,2: not a number; write such as 0.5"),
    ],
)
def test_a_value_of_another_type_in_a_file(tmp_path, text, problem):
    """Says which file it is from."""
    path = tmp_path / "options.toml"
    path.write_text(text)
    done = asked([LOADGEN, "rate", "--config", str(path)])
    option = problem.partition(" ")[0]
    assert (done.returncode, done.stderr) == (2, f"loadgen: {problem} ({option} is from {path})\n")


OPTIONS = {
    (name, option_sources.flag(option)): option
    for name, command in commands(("size", "saturate", "rate", "sweep", "capacity", "up"))
    for option in command.params
    if option.param_type_name == "option" and option.name not in ("help", "path")
}


def written(tmp_path, verb, option, text):
    """What a verb says of a file with a value for an option, and how its line begins."""
    flag, path = option_sources.flag(option), tmp_path / "options.toml"
    path.write_text(f"{flag[2:]} = {text}")
    done = asked([LOADGEN, verb, "--config", str(path)])
    assert done.returncode == 2
    return done.stderr, f"loadgen: {flag} ", f" ({flag} is from {path})\n"


@pytest.mark.no_cover  # two thousand commands
@pytest.mark.parametrize("key", OPTIONS, ids=" ".join)
def test_a_value_of_no_type_that_an_option_takes(tmp_path, key):
    """True was read as 1 where a number is wanted, and 1 as true; a list may have neither lists nor dates."""
    kind = OPTIONS[key].type_descriptor.annotation
    values = {bool: ["1", "0.5", "[1]"], int: ["true", "5.0", "1.5"]}.get(kind, ["false"])
    for text in (*values, "1979-05-27", "[[1]]", "07:32:00"):
        said, begin, end = written(tmp_path, key[0], OPTIONS[key], text)
        assert said.startswith(begin)
        assert said.endswith(end)
        assert text.strip("[]") in said
        assert "; " in said
