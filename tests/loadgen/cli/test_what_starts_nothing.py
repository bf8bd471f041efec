"""Commands that end before they start anything: help, plans, and what is refused."""

import socket
from importlib.util import find_spec
from pathlib import Path

import pytest
from program import LOADGEN, asked, noop

from loadgen.cli import measuring

SEED_EXAMPLES = [
    "--duration_seconds 120 --model_name vgg --num_replicas 1 2 3 4 --batch_sizes 1 2 4 8 16 32 "
    "--model_cpus 20 21 22 23 24 25 26 27 --cpus_per_replica_nums 1,2",
    "--duration_seconds 120 --model_name vgg --num_replicas 1 2 3 4 --batch_sizes 1 2 4 8 16 32 "
    "--model_gpus 0,1 --model_cpus 20 21 22 23 --cpus_per_replica_nums 2",
    "-m vgg -d 30 -g 1 -c 20 21 22 23 24 25 26",
]


def test_a_verb_that_says_nothing_alone():
    """Gets its help."""
    run = asked([LOADGEN])
    assert run.returncode == 2
    assert "saturate" in run.stderr


def test_the_readmes_command_plans_two_gpus():
    """``--gpus 0 1`` is two GPUs, one replica on each."""
    machine = ["--topology", "cpus=0-31,gpus=0-1", "--dry-run"]
    run = asked([LOADGEN, "saturate", "--model", "inception", "--gpus", "0", "1", *machine])
    assert run.returncode == 0, run.stderr
    rows = [line.split() for line in run.stdout.splitlines() if "replica-" in line]
    assert [(row[1], row[3]) for row in rows] == [("replica-0", "0"), ("replica-1", "1")]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        pytest.param(["--model", "resnet"], 2, "--model resnet: no such model", id="an unknown model"),
        pytest.param(["--duration", "soon"], 2, "--duration soon: not a duration", id="no duration"),
        pytest.param(["--batch-size", "0"], 2, "--batch-size 0: not positive; use 1 or more", id="an empty batch"),
        pytest.param(["--cpus", "0", "4096"], 3, "4096", id="a core that is not there"),
        pytest.param(
            ["--model", "inception", "--gpus", "7"],
            3,
            "7",
            id="a GPU that is not there",
            marks=pytest.mark.skipif(find_spec("tensorflow") is None, reason="the model needs tensorflow"),
        ),
        pytest.param(["--json", "--dry-run"], 2, "--json --dry-run: looks like an option", id="a file left out"),
        pytest.param(["--gpus", "0"], 2, "no GPU code", id="a GPU for a model without GPU code"),
        pytest.param(["--replicas", "5000"], 3, "5,000 replicas", id="more replicas than cores"),
        pytest.param(["--topology", "cpus=0-3"], 2, "--dry-run", id="running on a described machine"),
        pytest.param(
            ["--dry-run", "--topology", "cpus=0-3", "--topology", "cpus=0-7"],
            2,
            "--topology cpus=0-7: a second machine needs a cluster; add --runtime ray, or describe one machine",
            id="several machines",
        ),
        pytest.param(["--app", "x"], 2, "--connect", id="an application without a connection"),
        pytest.param(["--connect", "127.0.0.1", "--replicas", "2"], 2, "--replicas", id="replicas with a connection"),
        pytest.param(["--runtime", "podman"], 2, "podman", id="an unknown runtime"),
        pytest.param(["--input-shape", "0x3"], 2, "0x3", id="an empty shape"),
        pytest.param(["--model", "inception", "--weights", "/no/file"], 2, "/no/file", id="weights that are not there"),
        pytest.param(["--results-dir", "/proc/none"], 2, "/proc/none", id="a directory that cannot be written"),
    ],
)
def test_bad_input_is_one_line_with_the_value(tmp_path, arguments, code, text):
    """No traceback, the documented code, and nothing is measured for nothing."""
    run = asked(noop(tmp_path, "saturate", "--duration", "60", *arguments))
    assert run.returncode == code, run.stderr
    assert text in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert "Traceback" not in run.stderr


def test_help_and_version_are_there():
    """And name the program."""
    for arguments, text in ((["--help"], "saturate"), (["--version"], "loadgen "), (["saturate", "--help"], "--gpus")):
        run = asked([LOADGEN, *arguments])
        assert text in run.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--requests", "5", "--duration", "3"],
            "--requests 5 and --duration 3: one ends by count, the other by time; leave",
        ),
        (["--app", "x"], "--app x: needs --connect; leave it out, or add --connect HOST"),
        (["--input", "/nowhere"], "/nowhere: not there"),
        (["--cpus", "0,0"], "more than once"),
    ],
)
def test_options_that_make_no_sense(tmp_path, arguments, text):
    """Code 2 and one line."""
    run = asked(noop(tmp_path, "saturate", *arguments))
    assert run.returncode == 2
    assert text in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


MODEL = ["-m", "noop"]
CONNECT = [*MODEL, "--connect", "h"]
TARGET = ["--target", "oip+grpc://h:1/m"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            [*CONNECT, *TARGET, "-r", "2"],
            "--replicas 2: belongs to a deployment, and --target names an external server; leave it out",
        ),
        ([*CONNECT, *TARGET], "--connect h and --target oip+grpc://h:1/m: two servers; leave one of them out"),
        ([*MODEL, *TARGET], "--model noop and --target oip+grpc://h:1/m: two models; leave one of them out"),
        ([*TARGET, "--app", "a"], "--app a: belongs to --connect, and --target names an external server; leave it out"),
        (
            [*TARGET, "-r", "2", "--cpus", "0", "1"],
            "--replicas 2 and --cpus 0,1: belong to a deployment, and --target names an external server; "
            "leave them out",
        ),
        (
            [*TARGET, "--verify", "3", "--xla", "--admin-port", "0"],
            "--xla, --verify 3 and --admin-port 0: belong to loadgen's frontends, "
            "and --target names an external server; "
            "leave them out",
        ),
        (
            [*CONNECT, "-r", "2"],
            "--replicas 2: belongs to a deployment, and --connect starts none; leave it out, or leave --connect out",
        ),
        (
            [*CONNECT, "-r", "2", "-c", "1"],
            "--replicas 2 and --cpus 1: belong to a deployment, and --connect starts none; "
            "leave them out, or leave --connect out",
        ),
        (
            [*CONNECT, "--header", "a: b"],
            "--header: needs --target; leave it out, or use --target URL in place of --connect",
        ),
        ([*MODEL, "--header", "a: b"], "--header: needs --target; leave it out, or add --target URL"),
        (
            [*MODEL, "--body", "a", "--connections", "2"],
            "--connections 2 and --body a: need --target; leave them out, or add --target URL",
        ),
        ([*MODEL, "--app", "a"], "--app a: needs --connect; leave it out, or add --connect HOST"),
        ([*TARGET, "--tls-ca", "x"], "--tls-ca: needs TLS; leave it out, or use oip+grpcs://h:1/m"),
        (
            [*TARGET, "--tls-cert", "x", "--tls-key", "y"],
            "--tls-cert and --tls-key: need TLS; leave them out, or use oip+grpcs://h:1/m",
        ),
        (["-m", "--dry-run"], "--model --dry-run: not a model; name one that `loadgen models` lists"),
        ([], "--model: missing; name one that `loadgen models` lists"),
        (["-m", "http://u:p@h/x?token=5"], "--model http://…@h/x?token=…: a URL; use --target http://…@h/x?token=…"),
        (["-m", "oip+grpc://h:1/m"], "--model oip+grpc://h:1/m: a URL; use --target oip+grpc://h:1/m"),
    ],
)
def test_options_that_exclude_each_other(tmp_path, arguments, text):
    """A sentence for each case, which says why and what to do."""
    done = asked([LOADGEN, "saturate", "--results-dir", str(tmp_path / "results"), *arguments])
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"loadgen: {text}\n")


def test_a_run_and_a_host():
    """Are two frontends."""
    done = asked([LOADGEN, "metrics", "a-run", "--host", "h"])
    assert (done.returncode, done.stderr) == (
        2,
        "loadgen: --host h: a frontend beside the run a-run; leave one of them out\n",
    )


def test_a_host_without_an_address_is_said_at_once():
    """Not after the patience for its answer."""
    run = asked([LOADGEN, "saturate", "-m", "noop", "--connect", "nowhere.invalid"])
    assert run.returncode == 5
    assert run.stderr.splitlines()[-1].startswith("loadgen: --connect nowhere.invalid: ")


@pytest.mark.parametrize("verb", ["saturate", "sweep"])
def test_a_server_that_is_down_is_said_before_anything_is_measured(tmp_path, verb):
    """Not after the trial of the client by itself, and once."""
    pytest.importorskip("httptools", reason="needs the extra oip")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/predict"
        run = asked([LOADGEN, verb, "--target", url, "--results-dir", str(tmp_path / "results")])
    assert run.returncode == 5
    assert run.stderr.splitlines() == [
        f"loadgen: {url}: cannot be reached: Connection refused; start the server, or correct the address"
    ]
    assert "ERROR" not in run.stdout
    assert "null server" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "loadgen: --arrivals constant: needs a rate; add --rate"),
        (["--rate", "5", "--arrivals", "ramp:1..2"], "--arrivals ramp:1..2: has rates of its own; leave --rate 5 out"),
        (["--arrivals", "steps:1x1s", "-d", "5"], "leave --duration 5 out"),
        (["--rate", "5", "--fail-if", "p98>1ms"], "--fail-if p98>1ms: there is no metric p98"),
        (["--rate", "5", "--fail-if", "p99<1s"], "--fail-if p99<1s: a lower p99 is better, so good runs fail; write"),
        (["--rate", "abc"], "--rate abc: not a rate; write requests a second such as 100, or 6/m or 360/h"),
        (["--rate", "nan"], "--rate nan: not a rate"),
        (["--rate", "0/m"], "--rate 0: not positive; use a number above 0"),
        (
            ["--rate", "1e6", "--warmup", "100h", "--duration", "1s"],
            "--warmup 360000 and constant 1,000,000 requests/s for 1 s: "
            "360,000,000,000 requests exceed 36,000,000; shorten it",
        ),
        (["--rate", "1", "--duration", "9" * 30], "too long; use at most 87600h"),
        (["--rate", "5", "--requests-log", "x.parquet"], "--requests-log x.parquet: does not end in .npz or .csv"),
    ],
)
def test_rates_that_make_no_sense(tmp_path, arguments, complaint):
    """One line that says so."""
    done = asked(noop(tmp_path, "rate", *arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("--slo", "quick"),
            "--slo quick: not a condition; write such as p99<250ms or failed<0.1%, joined by commas",
        ),
        (
            ("--slo", "p99<1s", "--slo", "throughput<9"),
            "--slo throughput<9: a higher throughput is better, so good servers miss this objective; "
            "write throughput>9",
        ),
        (("--slo", "p99<1s", "--tolerance", "0"), "--tolerance 0: out of bounds; use 0.1% to 50%"),
        (("--slo", "p99<1s", "--tolerance", "90%"), "--tolerance 90%: out of bounds; use 0.1% to 50%"),
        (("--slo", "p99<1s", "--tolerance", "0.90"), "--tolerance 0.90: out of bounds; use 0.1% to 50%"),
        (("--slo", "p99<1s", "--tolerance", "few"), "--tolerance few: not a share; write such as 2% or 0.02"),
        (
            ("--slo", "p99<1s", "--arrivals", "ramp:1..2"),
            "--arrivals ramp:1..2: its rate is varied already; use poisson, constant or gamma:cv=2",
        ),
        (("--slo", "p99<1s", "--start", "-5"), "--start -5: not positive; use a number above 0"),
        (("--slo", "p99<1s", "--start", "1e7"), "--start 10000000: out of bounds; use 0.01 to 119601"),
        (("--slo", "p99<1s", "--probes", "0"), "--probes 0: not positive; use 1 or more"),
        (("--slo", "p99<1s", "--probes", "0", "--dry-run"), "--probes 0: not positive; use 1 or more"),
    ],
)
def test_searches_that_make_no_sense(tmp_path, arguments, text):
    """In one line, before anything is started."""
    done = asked(noop(tmp_path, "capacity", *arguments))
    assert (done.returncode, done.stderr) == (2, f"loadgen: {text}\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-n", "0"), "loadgen: --clients 0: not positive; use 1 or more\n"),
        (("-n", "5", "--requests", "4"), "loadgen: --clients 5: more than --requests 4; use at most 4\n"),
        (("-n", "300"), "loadgen: --clients 300: too many; use at most 256\n"),
    ],
)
def test_numbers_of_clients_that_make_no_sense(tmp_path, arguments, text):
    """One line each."""
    done = asked(noop(tmp_path, "saturate", *arguments))
    assert (done.returncode, done.stderr) == (2, text)


def test_more_frontends_than_replicas(tmp_path):
    """Are refused before anything is started."""
    done = asked(noop(tmp_path, "saturate", "--frontends", "2", "-r", "1"))
    assert done.returncode == 2
    assert "--frontends 2: each needs a replica, and --replicas is 1; change one of them" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "iterations"),
    list(zip(SEED_EXAMPLES, ("48 iterations", "24 iterations", "1 iteration"), strict=True)),
    ids=["cpus", "gpus", "short options"],
)
def test_the_commands_of_the_original_driver(arguments, iterations):
    """Each is a plan on a machine that has what it names."""
    dry = ["--dry-run", "--topology", "cpus=0-31,gpus=0-1"]
    done = asked([LOADGEN, "sweep", *arguments.split(), *dry])
    assert done.returncode == 0, done.stderr
    assert f"\n{iterations}\n" in done.stdout
    added = "GPU 0, vgg's default, is used; --gpus none (--model_gpus none) leaves it out\n"
    assert (added in done.stdout) is ("gpu" not in arguments and "-g" not in arguments)


def test_the_plan_of_a_sweep_has_the_cores_of_all_replicas():
    """Those on GPUs have some too."""
    machine = ["--dry-run", "--topology", "cpus=0-31,gpus=0-1"]
    done = asked([LOADGEN, "sweep", "-m", "inception", "-g", "0", "1", "-r", "1", "3", *machine])
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.startswith("r")}
    assert rows["r1-c1-b2"][1:] == ["1", "1", "2", "31", "0", "4-7"]
    assert rows["r3-c1-b2"][1:] == ["3", "1", "2", "31", "30", "16", "0,1", "4-7"]


NODES = [
    *("--runtime", "ray", "--dry-run", "--topology", "cpus=0-3"),
    *("--topology", "cpus=0-7,gpus=0-1", "--topology", "cpus=0-5,gpus=0"),
]
"""A cluster of three nodes."""


def test_nodes_in_words_are_a_cluster():
    """Which needs neither a cluster nor its library; the node comes first."""
    done = asked([LOADGEN, "saturate", "-m", "inception", "--replicas", "4", "--frontends", "2", *NODES])
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("node-")]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("node-0", "client", "-"),
        ("node-1", "frontends-0", "-"),
        ("node-2", "frontends-1", "-"),
        ("node-1", "replica-0", "0"),
        ("node-2", "replica-1", "0"),
        ("node-1", "replica-2", "-"),
        ("node-2", "replica-3", "-"),
    ]


def test_nodes_in_words_have_clients_too():
    """Which need no cluster for a plan either: the first node is then the coordinator's."""
    done = asked([LOADGEN, "saturate", "-m", "noop", "--replicas", "2", "--workers", "ray", "--clients", "2", *NODES])
    assert done.returncode == 0, done.stderr
    assert ", from 2 client processes on ray\n" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("node-")]
    assert [(row[0], row[1]) for row in rows] == [
        ("node-0", "coordinator"),
        ("node-1", "frontends"),
        ("node-1", "replica-0"),
        ("node-2", "replica-1"),
    ]
    assert done.stdout.splitlines()[-1] == "clients     1 on node-0, 1 on node-2"


def test_the_plan_of_a_sweep_over_nodes_has_a_line_for_each():
    """What they have no room for is skipped as on one machine."""
    done = asked([LOADGEN, "sweep", "-m", "noop", "-r", "1,2,99", "-p", "1", "-b", "2", *NODES, "--skip-impossible"])
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "node-" in line]
    assert rows == [
        ["r1-c1-b2", "1", "1", "2", "node-1", "7", "-", "0-3"],
        ["r2-c1-b2", "2", "1", "2", "node-1", "7", "-", "0-3"],
        ["node-2", "5", "-"],
    ]
    assert "r99-c1: 99 replicas of 1 core: the 3 nodes of the cluster have room for 18" in done.stdout


def test_the_sizes_of_a_cluster_have_their_nodes():
    """GPUs of all nodes count, though their numbers are those of each."""
    asked_for = ["--rate", "50", "--slo", "p99<1s", "--gpus", "0,1", "-r", "1,2,3,9"]
    done = asked([LOADGEN, "size", "-m", "inception", *asked_for, *NODES])
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("r") and "-g" in line]
    assert [(row[0], row[-1]) for row in rows] == [("r1-c1-g1", "1"), ("r2-c1-g2", "2"), ("r3-c1-g3", "2")]
    assert "left out, for want of room on the cluster: 9 replicas" in done.stdout


def test_what_cannot_be_placed_is_refused_at_once():
    """All of it, before anything is started, and nothing of what can be."""
    done = asked([LOADGEN, "sweep", "-m", "noop", "-r", "1", "2", "4096", "-p", "1", "5000", "-b", "1", "2"])
    assert done.returncode == 3
    assert done.stderr.startswith("loadgen: 8 of 12 combinations cannot be placed:\n")
    assert "r1-c5000" in done.stderr
    assert "r1-c1:" not in done.stderr
    assert not done.stdout


def test_a_sweep_with_arrivals_and_without_rates():
    """Would ignore them."""
    done = asked([LOADGEN, "sweep", "-m", "noop", "--arrivals", "poisson", "--dry-run"])
    complaint = "--arrivals poisson: needs --rates; leave it out, or add --rates 100,200"
    assert (done.returncode, done.stderr) == (2, f"loadgen: {complaint}\n")


def test_a_file_describes_a_sweep(tmp_path):
    """The command line comes before it; a key that is no option is refused."""
    file = tmp_path / "sweep.toml"
    file.write_text('model = "noop"\nbatch-sizes = [1, 2, 4]\nreplicas = 3\n')
    plan = [LOADGEN, "sweep", "--file", str(file), "--dry-run", "--topology", "cpus=0-31"]
    assert "\n3 iterations\n" in asked(plan).stdout
    assert "\n1 iteration\n" in asked([*plan, "-b", "8"]).stdout
    file.write_text("replica = 3\n")
    done = asked(plan)
    assert (done.returncode, done.stderr) == (
        2,
        f"loadgen: --config {file}: the key 'replica' is not an option of sweep; did you mean 'replicas'?\n",
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--request-port", "99999"), "--request-port 99999: not a port; use 0, or 1 to 65535"),
        (
            ("--metrics-port", "4000", "--admin-port", "4000"),
            "--metrics-port and --admin-port: both 4000; choose different ones",
        ),
        (("--inputs", "0"), "--inputs 0: not positive; use 1 or more"),
        (("--requests", "0"), "--requests 0: not positive; use 1 or more"),
        (("--max-in-flight", "0"), "--max-in-flight 0: not positive; use 1 or more"),
        (("--batch-size", "1048576"), "--batch-size 1048576: too large; use at most 65536"),
        (("--runtime", "podman"), "--runtime podman: unknown; choose process, docker, ray"),
        (("--runtime", "ray:x"), "--runtime ray:x: names no cluster; use ray, ray://HOST:PORT or ray:local"),
        (("--runtime", "ray://head"), "--runtime ray://head: names no cluster; use ray, ray://HOST:PORT or ray:local"),
        (("--image", "x"), "--image x: needs --runtime docker; add that, or leave it out"),
        (("--redis-port", "5"), "--redis-port 5: needs --runtime docker; add that, or leave it out"),
        (("--abort-on-fail",), "--abort-on-fail: has no condition that could end the run; name one with --fail-if"),
    ],
)
def test_fields_have_the_names_of_options(tmp_path, arguments, text):
    """A Python user reads the names of fields for the same."""
    done = asked([LOADGEN, "saturate", "-m", "noop", "--results-dir", str(tmp_path / "results"), *arguments])
    assert (done.returncode, done.stderr) == (2, f"loadgen: {text}\n")


def test_a_sweep_names_options_too():
    """In each reason."""
    sizes = ["--frontends", "2", "-r", "1", "2", "-p", "1"]
    done = asked([LOADGEN, "sweep", "-m", "noop", *sizes, "--topology", "cpus=0-31", "--dry-run"])
    reason = "--frontends 2: each needs a replica, and --replicas is 1; change one of them"
    refusal = f"1 of 2 combinations cannot be placed:\n  r1-c1: {reason}\n"
    skip = "measure the others with --skip-impossible\n"
    assert (done.returncode, done.stderr) == (3, f"loadgen: {refusal}{skip}")
    done = asked([LOADGEN, "sweep", "-m", "noop", *sizes, "--topology", "cpus=0-31", "--dry-run", "--skip-impossible"])
    assert (done.returncode, done.stdout.endswith(refusal)) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("--repeat", "2147483648"),
            "--repeat 2147483648 and 1 cell are more than 20,000 measurements; measure fewer",
        ),
        (
            ("-b", "1-60000", "-r", "1-60000", "-p", "1-60000"),
            "--repeat 1 and 216,000,000,000,000 cells are more than 20,000 measurements; measure fewer",
        ),
        (
            ("--rates", "10,1e6", "--warmup", "1h", "--duration", "1s"),
            "--warmup 3600 and constant 1,000,000 requests/s for 1 s: "
            "3,600,000,000 requests exceed 36,000,000; shorten it",
        ),
        (("--in-flight", "100000000"), "--in-flight 100000000: too large; use at most 10000000"),
    ],
)
def test_sweeps_that_would_never_end(arguments, text):
    """Are refused before they are worked out."""
    done = asked([LOADGEN, "sweep", "-m", "noop", "--dry-run", *arguments])
    assert (done.returncode, done.stderr) == (2, f"loadgen: {text}\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("saturate", *MODEL, "--connect", ""), "--connect '': blank; name something, or leave it out"),
        (
            ("saturate", *MODEL, "--results-dir", ""),
            "--results-dir '': blank; name a directory, such as results or .",
        ),
        (
            ("saturate", *MODEL, "--connect", "x" * 64),
            f"--connect {'x' * 64}: not a host; write its name or number, without a port or a path",
        ),
        (
            ("saturate", *MODEL, "--connect", "http://h"),
            "--connect http://h: not a host; write its name or number, without a port or a path",
        ),
        (("saturate", *MODEL, "--runtime", "a\nb"), r"--runtime a\nb: unknown; choose process, docker, ray"),
        (
            ("saturate", *MODEL, "--image", "a\nb"),
            r"--image a\nb: has characters that cannot be printed; leave them out",
        ),
        (("saturate", *MODEL, "--seed", "9" * 20), f"--seed {'9' * 20}: too large; use at most 4294967295"),
        (
            ("saturate", *MODEL, "--requests", "9" * 20),
            f"--requests {'9' * 20}: too large; use at most 1000000000000000",
        ),
        (("metrics", "--host", ""), "--host '': blank; name one"),
        (("metrics", "--host", "h", "--metrics-port", "-1"), "--metrics-port -1: not a port; use 1 to 65535"),
        (("metrics", "--metrics-port", "5"), "--metrics-port 5: needs --host; add it"),
        (("metrics", "--credentials", "x"), "--credentials x: needs --host; add it"),
        (("metrics", "--host", "h:80"), "--host h:80: not a host; write its name or number"),
        (
            ("saturate", *MODEL, "--connect", "h:80"),
            "--connect h:80: not a host; write its name or number, without a port or a path",
        ),
        (("saturate", "-m", " "), "--model ' ': blank; name one that `loadgen models` lists"),
        (
            ("saturate", "--connect", "h"),
            "--model: missing; name one that `loadgen models` lists, "
            "or an application with --app, and the shape of its inputs with --input-shape",
        ),
        (
            ("saturate", *MODEL, "--input-type", "x"),
            "--input-type x: unknown input type 'x'; one of bytes, integers, floats, doubles, strings",
        ),
        (
            ("saturate", *MODEL, "--topology", "x", "--dry-run"),
            "--topology x: does not begin with a name; write cpus=0-31,gpus=0-1 and, if it matters, smt=2,numa=2",
        ),
        pytest.param(
            ("up", *MODEL, "--frontends-cpus", "0"),
            "--frontends-cpus 0: this runtime has no process 'frontends', only redis, management, query; "
            "use --query-cpus, or --runtime process",
            marks=pytest.mark.skipif(find_spec("aiodocker") is None, reason="needs the extra docker"),
        ),
        (
            ("rate", *MODEL, "--arrivals", "trace:x", "--time-scale", "nan"),
            "--time-scale nan: not a positive number; use such as 0.5 or 2",
        ),
        (
            ("images", "build", "--base", ""),
            "--base '': not the name of an image; write it as python:3.11-slim-bookworm",
        ),
    ],
)
def test_values_that_mean_nothing(arguments, text):
    """Are refused before anything is asked: no server, and no Docker engine."""
    done = asked([LOADGEN, *arguments])
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"loadgen: {text}\n")


@pytest.mark.parametrize("arguments", [("models", "verify", "abc"), ("images", "build", "abc")])
def test_models_that_do_not_exist(arguments, monkeypatch):
    """Are a mistake of the command line, whether or not an engine answers."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    done = asked([LOADGEN, *arguments])
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("loadgen: abc: ")


@pytest.mark.parametrize("verb", ["saturate", "sweep", ["capacity", "--slo", "p99<1s"], "compare"])
def test_a_dry_run_tries_the_directory_of_results(tmp_path, monkeypatch, verb):
    """As the run does, and leaves nothing behind; a plan for another machine tries none of this one."""
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text("model = 'noop'")
    Path("file").touch()
    words = [verb] if isinstance(verb, str) else verb
    options = ["--run", "run.toml", "--run", "run.toml"] if verb == "compare" else ["-m", "noop"]
    dry = [LOADGEN, *words, *options, "--dry-run", "--results-dir"]
    refused = asked([*dry, "file/results"])
    problem = "--results-dir file/results: not writable: Not a directory; name another directory"
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"loadgen: {problem}\n")
    assert asked([*dry, "made/for/it"]).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run.toml"]
    if verb != "compare":
        assert asked([*dry, "file/results", "--topology", "cpus=0-3"]).returncode == 0


def test_a_plan_names_the_ports(monkeypatch):
    """Those that were named, and why the others give way."""
    plan = [LOADGEN, "saturate", "-m", "noop", "--dry-run"]
    asked_for = []

    def chosen(ports, named, address):
        asked_for.append((ports.metrics, named, address))
        return ports, "" if named else "4456 on 127.0.0.1 in use; the frontends take 5 free ports"

    monkeypatch.setattr(measuring, "chosen", chosen)
    line = "\nports       4456 on 127.0.0.1 in use; the frontends take 5 free ports\n"
    assert asked(plan).stdout.endswith(line)
    line = "\nports       request 4456, response 4455, replica 7000, metrics 1337, admin 1338\n"
    assert asked([*plan, "--metrics-port", "1337"]).stdout.endswith(line)
    assert asked_for == [(1337, (), "127.0.0.1"), (1337, ("metrics",), "127.0.0.1")]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["saturate", "-d", "120"], ["time        about 0:02:09"]),
        (["saturate", "-d", "120", "--until-steady", "--no-ceiling"], ["time        at most 0:02:07"]),
        (
            ["saturate", "--requests", "5000"],
            [
                "time        as long as 5,000 requests take, and about 8 s to start and end",
                "sends       5,000 requests, 19.53 KiB",
            ],
        ),
        (["rate", "--rate", "50"], ["time        about 0:02:09", "sends       about 6,050 requests, 23.63 KiB"]),
        (
            ["rate", "--arrivals", "ramp:10..50", "-d", "20", "--no-ceiling"],
            ["time        about 0:00:27", "sends       about 610 requests, 2.383 KiB"],
        ),
        (
            ["sweep", "--rates", "10,20", "-d", "5"],
            ["3 measurements, 1 of them again: about 0:00:24", "sends       about 220 requests, 880 B"],
        ),
        (["sweep", "-d", "5", "-b", "1"], ["1 measurement: about 0:00:12"]),
    ],
)
def test_a_plan_says_how_long_it_takes(arguments, lines):
    """And what it sends, where that does not depend on the answers."""
    verb, *options = arguments
    done = asked([LOADGEN, verb, "-m", "noop", "--dry-run", "--topology", "cpus=0-7", *options])
    found = [line for line in done.stdout.splitlines() if line.startswith(("time ", "sends ")) or "measurement" in line]
    assert found == lines
