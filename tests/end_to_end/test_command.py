"""``loadgen saturate`` as a user types it, in processes of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import program
import pytest
from hdrh.histogram import HdrHistogram
from program import ANY_PORTS, alive, until

from loadgen.results import files as results_files

LOADGEN = [str(Path(sys.executable).with_name("loadgen"))]
DEADLINE_S = 60


def command(tmp_path, *arguments, ports=ANY_PORTS):
    return program.measuring(tmp_path, "saturate", "--model", "noop", *ports, *arguments)


def ran(tmp_path, *arguments, **options):
    return subprocess.run(
        command(tmp_path, *arguments, **options), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def document_of(output):
    last = output.splitlines()[-1]
    assert last.startswith("Saved results to ")
    return Path(last.removeprefix("Saved results to "))


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def those_that_run(module, pids):
    """The processes of one of our packages; their replicas are numbered in the order of their starts."""
    return [pid for pid in pids if module in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]


def started(tmp_path, *arguments):
    """The command, once its first line of measurements is out; and its children."""
    words = command(tmp_path, *program.BRIEFLY, "--log-every", "0.2s", *arguments)
    call = ["env", "--default-signal=HUP", *words]  # also under nohup
    process = program.started(call, start_new_session=True)
    return process, children_of(process.pid)


def test_a_run_ends_with_results_that_keep_their_schema(tmp_path):
    """Counts add up, and histograms read back."""
    run = ran(tmp_path, "--duration", "1", "--log-every", "0.25")
    assert run.returncode == 0, run.stderr
    path = document_of(run.stdout)
    document = json.loads(path.read_text())
    program.keeps_schema(document)
    summary = document["summary"]
    ended = ("completed", "defaulted", "timed_out", "failed", "abandoned")
    assert summary["sent"] == sum(summary[name] for name in ended)
    assert summary["measured"]["completed"] > 0
    assert summary["failed"] == summary["defaulted"] == summary["unexpected"] == 0
    total = HdrHistogram.decode(document["histograms"]["latency"].encode()).get_total_count()
    assert total == summary["measured"]["completed"]
    assert len(document["client_metrics"]["thrus"]) == 4
    assert document["node_configs"][0]["name"] == "noop"
    assert {row["role"] for row in document["placement"]} == {"client", "frontends", "replica-0"}
    names = [name for rows in document["clipper_metrics"].values() for row in rows for name in row]
    assert "model:noop:1:prediction_latency" in names
    assert results_files.read(path).document() == document
    assert "Got start of message 0" in (results_files.logs_beside(path) / "replica-0.log").read_text()
    line = r"\d\d-\d\d-\d\d:\d\d:\d\d:\d\d INFO     \[runner.py:\d+\] p99: [\d.e-]+, mean: [\d.e-]+, thruput: [\d.]+"
    assert len(re.findall(line, run.stdout)) == 4


@pytest.mark.serial
def test_a_do_nothing_model_is_not_the_limit(tmp_path):
    """What everything else costs is."""
    results = program.undisturbed(
        tmp_path,
        lambda at: results_files.read(document_of(ran(at, "--duration", "2").stdout)),
        program.invalid,
    )
    assert results.invalid is None
    assert results.verdict.saturated == "no"
    assert results.verdict.limit in ("frontend", "client")


@pytest.mark.serial
def test_the_hardware_is_watched_meanwhile(tmp_path):
    """Every process of the plan is in the results and in the summary, and so is the one that watches."""
    run = ran(tmp_path, *program.BRIEFLY, "--duration", "3")
    assert run.returncode == 0, run.stderr
    document = json.loads(document_of(run.stdout).read_text())
    program.keeps_schema(document)
    hardware = document["hardware"]
    assert hardware["processes"].keys() == {"client", "frontends", "replica-0", "sampler"}
    assert hardware["processes"]["client"]["cpu_mean"] > 0
    for row in document["placement"]:
        assert all(hardware["cores"][str(core)]["mean"] > 0 for core in row["cores"])
    assert set(hardware["findings"]) <= set(document["notes"])
    assert not any("not watched" in note for note in document["notes"])
    assert re.search(r"^cores       .*\(replica-0\)$", run.stdout, re.MULTILINE)
    assert re.search(r"^processes   client .*  frontends .*  replica-0 ", run.stdout, re.MULTILINE)


def test_stopping_by_count_answers_everything(tmp_path):
    """No request is abandoned."""
    run = ran(tmp_path, "--requests", "500", "--input-shape", "64x64x3", "--batch-size", "8")
    assert run.returncode == 0, run.stderr
    summary = json.loads(document_of(run.stdout).read_text())["summary"]
    assert (summary["sent"], summary["completed"]) == (500, 500)


@pytest.mark.parametrize(("side", "transport"), [(8, "ipc"), (255, "tcp"), (256, "ipc")])
def test_small_batches_and_large_inputs_go_through_unix_sockets(tmp_path, side, transport):
    """Of client and replicas alike; the results say so."""
    run = ran(tmp_path, "--requests", "50", "--input-shape", f"{side}x{side}", "--verify", "5")
    assert run.returncode == 0, run.stderr
    document = json.loads(document_of(run.stdout).read_text())
    assert document["transport"] == {"client": transport, "replicas": transport}
    assert document["summary"]["completed"] == 50
    assert document["answers"]["mismatched"] == 0
    assert "cannot be kept" not in run.stdout
    assert (results_files.logs_beside(document_of(run.stdout)) / "replica-0.log").exists()


def test_a_directory_with_too_long_a_name_for_sockets(tmp_path, monkeypatch):
    """TCP does."""
    temporary = tmp_path / ("x" * 100)
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    run = ran(tmp_path, "--requests", "20", "--input-shape", "299x299x3")
    assert run.returncode == 0, run.stderr
    document = json.loads(document_of(run.stdout).read_text())
    assert document["transport"] == {"client": "tcp", "replicas": "tcp"}
    assert list(temporary.iterdir()) == []


def test_results_are_never_overwritten(tmp_path):
    """Two runs, two files, even within a second."""
    paths = [document_of(ran(tmp_path, "--requests", "10").stdout) for _ in range(2)]
    assert len(set(paths)) == 2


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "SIGTERM", "a terminal is closed"],
)
def test_a_signal_keeps_what_was_measured(tmp_path, number, code):
    """One clear line, a results file, the documented code, and nothing left; a terminal signals the whole group."""
    process, children = started(tmp_path, "--duration", "60")
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code
    assert "Traceback" not in err
    document = json.loads(document_of(out).read_text())
    assert document["ended"] == "interrupted"
    assert document["summary"]["completed"] > 0
    assert not any(alive(child) for child in children)


def test_a_signal_during_start_up_leaves_nothing(tmp_path):
    """There is nothing to keep, and that is said."""
    process = subprocess.Popen(
        command(tmp_path, "--model", "inception"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    children = until(lambda: len(found := children_of(process.pid)) == 2 and found)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert err.startswith("loadgen: interrupted")
    assert not any(alive(child) for child in children)


def test_killing_the_command_ends_everything_it_started(tmp_path):
    """Even SIGKILL leaves no process behind."""
    process, children = started(tmp_path, "--duration", "60", "--replicas", "2")
    assert len(children) == 4, "frontends, two replicas, and who watches the hardware"
    process.kill()
    process.communicate()
    until(lambda: not any(alive(child) for child in children), deadline_s=1.0)


def test_killing_one_of_two_replicas_loses_nothing(tmp_path):
    """The other one answers everything, and the run says what happened."""
    process, children = started(tmp_path, "--requests", "60000", "--replicas", "2", "--batch-size", "8")
    os.kill(max(those_that_run("model_containers", children)), signal.SIGKILL)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert re.search(r"replica-[01] ended with exit code -9; 1 replica goes on", out)
    summary = json.loads(document_of(out).read_text())["summary"]
    assert (summary["sent"], summary["completed"]) == (60000, 60000)


def test_the_last_replicas_death_ends_the_run_with_its_log(tmp_path):
    """And the results so far."""
    process, children = started(tmp_path, "--duration", "60")
    os.kill(max(those_that_run("model_containers", children)), signal.SIGKILL)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 6
    assert "replica-0, the last replica, ended with exit code -9" in err
    results = results_files.read(document_of(out))
    assert results.ended == "server_lost"
    assert results.summary.completed > 0
    assert results.invalid is not None
    assert results.invalid.reason == "run complete: replica-0, the last replica, ended with exit code -9"


def test_dead_frontends_end_the_run(tmp_path):
    """Likewise. No frontend tells of the replicas any more; the program knows that they run."""
    process, children = started(tmp_path, "--duration", "60")
    (frontends,) = those_that_run("frontend_launch", children)
    os.kill(frontends, signal.SIGKILL)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 6
    assert "frontends ended with exit code -9" in err
    results = results_files.read(document_of(out))
    assert results.invalid is not None
    assert results.invalid.reason == "run complete: frontends ended with exit code -9"
    assert results.verdict.text == "undecided: the run is invalid"
    (alive,) = [check for check in results.certificate if check.name == "replicas alive"]
    assert (alive.verdict, alive.measured) == ("passed", "1 of 1")


def test_a_port_in_use_is_one_line(tmp_path):
    """It names the port and the option that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = ran(tmp_path, ports=[*ANY_PORTS[:1], f"--response-port={port}", *ANY_PORTS[2:]])
    assert run.returncode == 4
    assert f"port {port} on 127.0.0.1" in run.stderr
    assert "--response-port" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_replica_that_is_not_ready_in_time_is_one_line_and_its_log(tmp_path):
    """With the patience that it had."""
    run = ran(tmp_path, "--model", "inception", "--ready-timeout", "1s")
    assert run.returncode == 4
    assert run.stderr.splitlines()[-1] == "loadgen: 0 of 1 replicas ready within 1 s"
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["saturate", "--help"], [], ["saturate", "--nonsense"]], ids=str)
def test_the_module_is_the_command(arguments):
    """With the command's name in usage and errors, and its exit codes."""
    runs = [
        subprocess.run([*words, *arguments], capture_output=True, text=True, timeout=30, check=False)
        for words in (LOADGEN, [sys.executable, "-m", "loadgen"])
    ]
    command, module = ((run.returncode, run.stdout, run.stderr) for run in runs)
    assert module == command


def test_the_catalogue_is_listed():
    """By what is installed, each model with a line of its own."""
    run = subprocess.run([*LOADGEN, "models"], capture_output=True, text=True, timeout=30, check=True)
    assert {"inception", "vgg", "noop"} <= {line.split()[0] for line in run.stdout.splitlines() if line}


def test_help_imports_nothing_heavy():
    """So that it is instant."""
    code = "import sys; from loadgen.cli.verbs import app; print(*(set(sys.modules) & set(sys.argv[1:])))"
    heavy = ["numpy", "zmq", "uvloop", "aiohttp", "tensorflow", "hdrh"]
    run = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.strip() == ""


AT_THE_END = """
import atexit, sys
atexit.register(lambda: print("imported", *sys.modules))
from loadgen.cli import main
main()
"""
LARGER = {
    *("aiohttp", "aiodocker", "google.protobuf", "grpc", "hpack", "httptools", "PIL", "plotly"),
    *("prometheus_client", "redis", "rich", "sklearn", "tensorflow"),
}


def imported(words):
    """What of the larger libraries a command has imported when it ends."""
    command = [sys.executable, "-c", AT_THE_END, *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    return LARGER & set(done.stdout.splitlines()[-1].split())


def test_a_run_imports_what_it_needs(tmp_path):
    """Each of these libraries is some megabytes of the process, and a part of its start."""
    assert imported(command(tmp_path, "--duration", "0.2", "--warmup", "0")) == set()


def test_a_run_at_an_http_server_imports_what_it_needs(tmp_path):
    """Its parser of HTTP, and protocol buffers, which stand in a module of the Open Inference Protocol."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        words = program.target(tmp_path, "rate", url, "--rate", "50", "--duration", "0.2", "--warmup", "0")
        assert imported(words) <= {"google.protobuf", "httptools"}
        server.shutdown()


class Answers(BaseHTTPRequestHandler):
    """Answers each GET with nothing."""

    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


def test_doctor_says_what_works_here():
    """Each line is a finding, and what to do where there is something to do."""
    run = subprocess.run([*LOADGEN, "doctor"], capture_output=True, text=True, timeout=30, check=True)
    for name in ("cores", "open files", "packages", "libgomp", "docker", "gpus"):
        assert re.search(rf"^(ok|--)\s+{name}\s", run.stdout, re.MULTILINE)


def test_a_run_that_ends_within_its_warm_up_measured_nothing_and_says_so(tmp_path):
    """In the verdict and in a note, not as throughput, and by its code."""
    run = ran(tmp_path, "--requests", "100", "--warmup", "30s")
    assert run.returncode == 6
    assert run.stderr == "loadgen: no request completed in the measured part: 100 completed in the whole run\n"
    assert "saturated   undecided: nothing was measured" in run.stdout
    assert "note        nothing was measured, the run ended within --warmup" in run.stdout
    assert "note        certificate not judged: nothing was measured" in run.stdout
    assert not any(line.startswith("certificate") for line in run.stdout.splitlines())


AT_AN_IMPORT = """
import os, runpy, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)

wanted = sys.argv.pop(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
runpy.run_module("loadgen", run_name="__main__", alter_sys=True)
"""
"""The command, which gets a SIGINT at the import of a module."""


@pytest.mark.parametrize(
    "module",
    [
        *("loadgen.cli.verbs", "typer", "loadgen.cli.argv", "pydantic_core", "loadgen.cli.saturate", "asyncio.events"),
        *("loadgen.config", "loadgen.cli.measuring", "numpy", "loadgen.experiments.experiment", "uvloop"),
    ],
)
def test_a_signal_while_modules_are_imported(tmp_path, module):
    """One line and the code, wherever it comes."""
    words = command(tmp_path, "--requests", "1")[1:]
    run = subprocess.run(
        [sys.executable, "-c", AT_AN_IMPORT, module, *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "loadgen: interrupted\n")


NEVER_ENDS = """
import asyncio
from loadgen.cli import console, main
from loadgen.hardware.watch import Watch

async def notes(_):
    print("ending", flush=True)
    await asyncio.Event().wait()

Watch.notes = notes
console.AGAIN_S = 0.0
main()
"""
"""The command, whose measurements never come to their end; a second signal counts at once."""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_second_signal_ends_the_command_at_once(tmp_path, number, code):
    """With its own code; nothing is saved, and no process is left."""
    words = command(tmp_path, *program.BRIEFLY, "--duration", "60", "--log-every", "0.2s")[1:]
    process = program.started([sys.executable, "-c", NEVER_ENDS, *words], start_new_session=True)
    children = children_of(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while "ending" not in (line := process.stdout.readline()):
        assert line
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (code, "")
    assert not list((tmp_path / "results").glob("*.json"))
    until(lambda: not any(alive(child) for child in children))


def test_two_signals_at_once_are_one(tmp_path):
    """A terminal and a wrapper both pass it on; the results are saved."""
    process, _ = started(tmp_path, "--duration", "60")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert document_of(out).exists()


def test_output_that_cannot_be_written_is_one_line(tmp_path):
    """The results are saved all the same."""
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            command(tmp_path, *program.BRIEFLY, "--duration", "0.5"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert run.returncode == 1
    (path,) = (tmp_path / "results").glob("*.json")
    said = f"loadgen: the output cannot be written: No space left on device; the results are in {path}\n"
    assert run.stderr == said
