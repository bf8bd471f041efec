"""External servers, the real ones: every verb, what they count, and what goes wrong with them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trustme
from inference_servers import kserve, mlserver, triton, uvicorn
from ingress import ingress
from program import BRIEFLY, DEADLINE_S, asked, invalid, keeps_schema, ran, searched, started, target, undisturbed
from tls_proxy import tls_proxy

from loadgen.cli import exit_codes
from loadgen.results import files as results_files

SHORT = ("-d", "1s", "--warmup", "200ms")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with triton(tmp_path_factory.mktemp("triton")) as running:
        yield running


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    with mlserver(tmp_path_factory.mktemp("mlserver")) as running:
        yield running


@pytest.fixture(scope="module")
def doubling(tmp_path_factory):
    """KServe's own model server."""
    with kserve(tmp_path_factory.mktemp("kserve")) as running:
        yield running


def results_of(done):
    assert done.returncode == 0, done.stdout + done.stderr
    path = Path(done.stdout.splitlines()[-1].removeprefix("Saved results to "))
    keeps_schema(json.loads(path.read_text()))
    return replace(results_files.read(path), path=path)


def url(running, protocol, model):
    return f"oip+{protocol}://{running.grpc if protocol == 'grpc' else running.http}/{model}"


BOTH = pytest.mark.parametrize("protocol", ["grpc", "http"])


@pytest.mark.serial
@BOTH
def test_a_model_that_takes_its_time_and_the_server_says_with_which_batches(server, tmp_path, protocol):
    """The verdict names its statistics, compared with what the client saw, and concludes nothing from them."""
    options = (*SHORT, "--connections", "32", "--metrics-url", f"http://{server.metrics}/metrics")
    results = undisturbed(
        tmp_path,
        lambda at: results_of(ran(target(at, "saturate", url(server, protocol, "slow"), *options))),
        invalid,
    )
    assert results.summary.sent == results.summary.completed + results.summary.abandoned
    assert (results.verdict.saturated, results.verdict.limit) == ("undecided", "unknown")
    assert "the server says its instances were busy" in results.verdict.text
    assert results.verdict.text.endswith("the limit is the server or the way to it")
    evidence = results.verdict.evidence
    assert (evidence.max_batch, evidence.replicas, evidence.instances) == (8, None, 1)
    assert evidence.mean_batch > 7
    counted = results.server_statistics
    assert counted.failed == 0
    assert counted.inferences == counted.succeeded
    assert abs(counted.succeeded - results.summary.measured.completed) <= 24
    (stages,) = results.stages.values()
    assert stages.compute_infer.time_ms["mean"] >= 50
    assert stages.queue.time_ms["mean"] > stages.compute_input.time_ms["mean"]
    before, after = results.server_metrics['nv_inference_request_success_total{model="slow",version="1"}']
    assert abs(after - before - counted.succeeded) <= 2 * evidence.max_batch  # batches between two readings


@BOTH
@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("pair", ()),
        ("every_dtype", ()),
        ("words", ("--input-shape", "3")),
        ("noop", ("--input-shape", "INPUT:16", "-b", "4")),
        ("noop/1", ("--input-shape", "16", "--shared-memory", "-b", "2")),
        ("image", ("-b", "2")),
        ("noop", ("--input-shape", "8", "--clients", "2")),
    ],
    ids=["several inputs", "every datatype", "strings", "batches", "shared memory", "images", "clients"],
)
def test_requests_that_a_model_takes_are_answered(server, tmp_path, protocol, model, arguments):
    """All of them, and the server counts none that failed."""
    words = target(tmp_path, "saturate", url(server, protocol, model), "--connections", "4", "--max-in-flight", "8")
    results = results_of(ran([*words, "--requests", "200", *arguments]))
    assert (results.summary.sent, results.summary.completed) == (200, 200)
    assert results.failures == {}
    assert not list(Path("/dev/shm").glob("loadgen-*"))  # ours; the backend's begin otherwise


def test_a_plan_is_shown_and_secrets_are_not_kept(server, tmp_path):
    """Of a header its name stays in the results."""
    words = target(tmp_path, "saturate", url(server, "grpc", "slow"), "--header", "x-key: secret", "--requests", "2")
    done = ran([*words, "--dry-run"])
    assert done.returncode == 0, done.stderr
    assert "slow (triton" in done.stdout
    assert "32 seeded inputs INPUT FP32 1x8" in done.stdout
    results = results_of(ran([*words, "--connections", "1"]))
    assert "secret" not in results.saved_at.read_text()
    assert "x-key: …" in results.command


@BOTH
@pytest.mark.parametrize("how", [(), ("--shared-memory",)], ids=["sent", "shared"])
def test_what_arrives_is_what_the_files_hold(server, tmp_path, protocol, how):
    """The model refuses where A is not what B says; and it does look."""
    file = tmp_path / "inputs.npz"
    numbers = np.arange(9)
    marks = np.column_stack((numbers, np.full(9, 99)))
    np.savez(file, A=np.repeat(numbers, 4).reshape(9, 4).astype(np.float32), B=marks)
    words = target(tmp_path, "saturate", url(server, protocol, "pair"), "--input", str(file), "--requests", "90", *how)
    results = results_of(ran(words))
    assert (results.summary.completed, results.failures) == (90, {})
    np.savez(file, A=np.repeat(numbers, 4).reshape(9, 4).astype(np.float32) + (marks[:, :1] == 4), B=marks)
    results = results_of(ran(words))
    assert results.summary.completed == 80
    ((reason, count),) = results.failures.items()
    assert count == 10
    assert "A is [5.0, 5.0, 5.0, 5.0], not 4" in reason


@pytest.mark.parametrize(
    ("protocol", "model", "name", "content", "how"),
    [
        (
            "grpc",
            "pair",
            "x.json",
            '{"data": [{"A": [5, 5, 5, 5], "B": {"content": [5, 99], "shape": [2]}},'
            ' {"A": {"b64": "AADAQAAAwEAAAMBAAADAQA=="}, "B": [6, 99]}]}',
            (),
        ),
        ("http", "noop", "x.jsonl", '[1, 2]\n{"content": [1, 2, 3], "shape": [3]}\n', ("--shared-memory",)),
        ("http", "words", "x.csv", '\ufefftext\r\n"one, two"\r\nzwö\r\n', ()),
    ],
    ids=["perf_analyzer", "JSON Lines in shared memory", "CSV"],
)
def test_entries_of_files_arrive(server, tmp_path, protocol, model, name, content, how):
    """With the shape that each brings."""
    (tmp_path / name).write_text(content)
    words = target(tmp_path, "saturate", url(server, protocol, model), "--input", str(tmp_path / name), *how)
    results = results_of(ran([*words, "--requests", "12", "--no-ceiling", "--connections", "1"]))
    assert (results.summary.completed, results.failures) == (12, {})


@BOTH
def test_a_rate_is_offered_and_answered(server, tmp_path, protocol):
    """With both latencies."""
    words = target(tmp_path, "rate", url(server, protocol, "noop"), "--rate", "200", *SHORT, "--input-shape", "8")
    results = results_of(ran(words))
    assert results.summary.planned == 200
    assert results.summary.measured.completed == 200
    assert results.summary.service_ms["p50"] <= results.summary.latency_ms["p50"]


@pytest.mark.serial
def test_more_than_the_server_can_do(server, tmp_path):
    """Its count is of what it answered meanwhile, and is compared with that."""
    words = target(tmp_path, "rate", url(server, "grpc", "slow"), "--rate", "400", *SHORT)
    done = ran(words)
    results = results_of(done)
    assert results.summary.measured.completed == 400, "in the end all were answered"
    ((counted, seen),) = re.findall(r"server +(\d+) answered, 0 failed.*; the client saw (\d+)", done.stdout)
    assert abs(int(counted) - int(seen)) <= 24
    assert int(counted) < 250


@pytest.mark.serial
def test_a_sweep_varies_what_a_client_can(server, tmp_path):
    """Rows of a request, requests in flight, rates."""
    words = target(tmp_path, "sweep", url(server, "grpc", "slow"), *SHORT, "-b", "1", "8", "--in-flight", "1", "16")
    done = ran([*words, "--rates", "20", "--connections", "1"])
    assert done.returncode == 0, done.stderr
    entries = results_file_entries(done.stdout)
    cells = {entry["cell"]: entry["throughput_rps"] for entry in entries if entry["kind"] == "cell"}
    assert cells.keys() == {f"b{rows}-{load}" for rows in (1, 8) for load in ("i1", "i16", "q20")}
    assert cells["b1-i16"] > 4 * cells["b1-i1"]  # batches of eight in the server
    resumed = ran([*words, "--rates", "20", "--connections", "1", "--resume"])
    assert "0 of 7 measurements to make" in resumed.stdout + resumed.stderr


def results_file_entries(output):
    directory = Path(output.splitlines()[-1].removeprefix("Saved the sweep to "))
    return [json.loads(line) for line in (directory / "ledger.jsonl").read_text().splitlines()]


@pytest.mark.serial
@BOTH
def test_a_search_for_capacity(server, tmp_path, protocol):
    """Its first two probes: 160 rows a second is what the model can do at most.

    What a probe that was ended early has left in the server's queue is not in the way of the next one.
    """
    load = (*BRIEFLY, "--slo", "p95<250ms", "--probes", "2", "-d", "3s", "--start", "260")
    done, where, document = searched(tmp_path, lambda at: target(at, "capacity", url(server, protocol, "slow"), *load))
    assert done.returncode == exit_codes.THRESHOLD, done.stdout + done.stderr
    probes = document["capacity"]["probes"]
    again = [(260, "fail")] * (probes[0]["invalid"] is not None)
    assert [(probe["rate_rps"], probe["outcome"]) for probe in probes] == [(260, "fail"), *again, (130, "pass")]
    assert json.loads((where / probes[0]["results"]).read_text())["ended"] == "decided"


@BOTH
@pytest.mark.parametrize("verb", ["saturate", "rate"])
def test_mlserver_answers(other, tmp_path, protocol, verb):
    """It has neither statistics nor binary tensors over HTTP, which is found out."""
    words = target(tmp_path, verb, url(other, protocol, "noop"), *SHORT, "-b", "2")
    load = ("--rate", "50") if verb == "rate" else ("--connections", "4", "--max-in-flight", "8")
    results = results_of(ran([*words, *load, "--metrics-url", f"http://{other.metrics}/metrics"]))
    assert results.summary.completed == results.summary.sent > 40
    assert results.server_statistics is None
    assert any(name.startswith("model_infer_request_success_total") for name in results.server_metrics)
    assert results.model.framework.startswith("mlserver")


@BOTH
def test_kserve_answers(doubling, tmp_path, protocol):
    """What it leaves null is nothing."""
    words = target(tmp_path, "saturate", url(doubling, protocol, "double"), "--requests", "50", "-b", "2")
    results = results_of(ran([*words, "--connections", "2", "--max-in-flight", "4"]))
    assert results.summary.completed == 50
    assert results.model.framework.startswith("kserve")


def test_kserve_behind_an_ingress(doubling, tmp_path):
    """Which knows the model by its host and a path, and asks for a token."""
    (tmp_path / "token").write_text("secret\n")
    behind = ingress(doubling.http, "double.models.example.com", "secret", "/serving/team")
    with behind as (address, passed):
        path = f"{address}/serving/team/v2/models/double"
        words = target(tmp_path, "saturate", f"oip+http://{path}", "--requests", "50")
        host = ("--header", "Host: double.models.example.com")
        results = results_of(ran([*words, *host, "--token-file", f"{tmp_path}/token"]))
        assert results.summary.completed == 50
        assert passed.count("/v2/models/double/infer") == 50
        assert "secret" not in results.saved_at.read_text()
        for refused, reason in ((words, "no route for"), ([*words, *host], "no token")):
            done = ran(refused)
            assert done.returncode == exit_codes.TARGET
            assert reason in done.stderr


def test_any_json(server, other, tmp_path):
    """A template makes requests, a path finds the answer: text to text, and numbers to numbers."""
    load = ("--requests", "50", "--connections", "4", "--max-in-flight", "8")
    generate = f"http+json://{server.http}/v2/models/words/generate"
    words = target(tmp_path, "saturate", generate, "--body", '{"INPUT": "$input"}', "--answer", "OUTPUT", *load)
    assert results_of(ran(words)).summary.completed == 50
    body = {"inputs": [{"name": "INPUT", "shape": [2, 8], "datatype": "FP32", "data": "$inputs"}]}
    infer = f"http+json://{other.http}/v2/models/noop/infer"
    words = target(tmp_path, "saturate", infer, "--body", json.dumps(body), "--input-shape", "8", "-b", "2", *load)
    assert results_of(ran([*words, "--answer", "outputs[0].data[1]"])).summary.completed == 50
    done = ran([*words, "--answer", "outputs[0].data[2]"])
    assert done.returncode != 0
    assert "the answer has no outputs[0].data[2]" in done.stdout


# What goes wrong --------------------------------------------------------------------------------------------


@BOTH
def test_a_server_that_answers_with_errors(server, tmp_path, protocol):
    """Each request failed, for the reason that it gave."""
    words = target(tmp_path, "saturate", url(server, protocol, "failing"), "--requests", "40", "--connections", "2")
    done = ran([*words, "--input-shape", "4"])
    assert done.returncode == exit_codes.RUN
    assert "no request completed: 40 failed" in done.stderr
    (path,) = (tmp_path / "results").glob("*.json")
    results = results_files.read(path)
    ((reason, count),) = results.failures.items()
    assert "it always fails" in reason
    assert count == 40
    (answers,) = [check for check in results.certificate if check.name == "answers"]
    found = "no answer in the measured part; 100.00% lost: 40 failed"
    assert (answers.verdict, answers.measured) == ("failed", found)


@pytest.mark.parametrize("rate", ["0.8", "1"])
def test_connections_that_uvicorn_closes_as_idle(tmp_path, rate):
    """After a second: before a request is sent, or just when one is on its way."""
    with uvicorn(tmp_path) as running:
        words = target(tmp_path, "rate", f"http+json://{running.http}/p", "--body", '{"p": "$input"}')
        results = results_of(ran([*words, "--rate", rate, "-d", "5s", "--warmup", "0", "--answer", "answer"]))
    summary = results.summary
    assert (summary.sent, summary.completed) == (5 * float(rate),) * 2
    assert results.failures == {}


@BOTH
def test_a_server_that_is_started_again(tmp_path, protocol):
    """What it had not answered failed; the others waited for it, and the run goes on."""
    with triton(tmp_path, models=("noop",)) as running:
        words = target(tmp_path, "rate", url(running, protocol, "noop"), "--rate", "200", "-d", "5s", "--drain", "60s")
        words += [*BRIEFLY, "--input-shape", "8", "--log-every", "300ms"]
        process = started(words)
        running.restart()
        output, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output + errors
    assert "connected again" in output
    results = results_files.read(Path(output.splitlines()[-1].removeprefix("Saved results to ")))
    summary = results.summary
    assert summary.sent == summary.completed + summary.failed
    assert summary.failed < 200
    assert sum(results.failures.values()) == summary.failed


@BOTH
def test_a_server_that_is_gone(tmp_path, protocol):
    """What was measured is kept, and it is said in one line."""
    with triton(tmp_path, models=("noop",)) as running:
        words = target(tmp_path, "saturate", url(running, protocol, "noop"), "-d", "60s", "--stall", "1s", *BRIEFLY)
        words += ["--drain", "100ms", "--input-shape", "8", "--log-every", "300ms", "--connections", "2"]
        process = started(words)
        running.kill()
        output, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == exit_codes.RUN, output + errors
    (line,) = errors.splitlines()
    assert line.startswith("loadgen: the server was gone at the end: cannot be reached: ")
    (path,) = (tmp_path / "results").glob("*.json")
    results = results_files.read(path)
    assert results.summary.completed > 0
    assert results.invalid is not None
    assert results.invalid.reason == f"run complete: {line.removeprefix('loadgen: ')}"


@pytest.mark.parametrize(
    ("protocol", "model", "arguments", "said"),
    [
        ("grpc", "nope", (), "nope: ModelMetadata is answered with NOT_FOUND"),
        ("http", "nope", (), "no model 'nope'"),
        ("grpc", "noop", (), "INPUT: has the shape -1, -1 may vary; name it with --input-shape"),
        ("grpc", "slow", ("--input-shape", "9"), "--input-shape 9: not a shape of INPUT, which has 8"),
        ("grpc", "pair", ("--input-shape", "4"), "--input-shape: pair has several inputs; write --input-shape A:…,B:…"),
        ("grpc", "pair", ("--input-shape", "C:4"), "--input-shape C: pair has no such input; name one of A, B"),
        ("http", "slow", ("-b", "9"), "--batch-size 9: slow takes 8 at most"),
        ("grpc", "pair", ("-b", "2"), "--batch-size 2: pair takes no batches"),
        (
            "grpc",
            "slow",
            ("--verify", "1"),
            "--verify 1: belongs to loadgen's frontends, and --target names an external server; leave it out",
        ),
        ("grpc", "slow", ("--model", "noop"), ": two models; leave one of them out"),
        ("grpc", "slow", ("--body", "{}"), "--body {}: means something with http:// and http+json:// only"),
        ("grpcs", "slow", (), "the server speaks no TLS; use oip+grpc://"),
        ("https", "slow", (), "the server speaks no TLS; use oip+http://"),
        ("grpc", "decoupled", (), "decoupled is decoupled (model_transaction_policy): "),
        ("http", "decoupled", (), "decoupled is decoupled (model_transaction_policy): "),
        ("grpc", "sequence", (), "sequence takes sequences (sequence_batching): "),
        ("http", "sequence", (), "sequence takes sequences (sequence_batching): "),
        ("grpc", "org/m", (), "if the name of the model is org/m, write org%2Fm"),
        (
            "http",
            "slow",
            ("--tls-ca", "x.pem"),
            "--tls-ca: needs TLS; leave it out, or use oip+https",
        ),
        ("http", "slow", ("--metrics-url", "nonsense"), "--metrics-url nonsense: not a URL"),
        ("grpc", "slow", ("--header", "x-a: ü"), "--header: the value of 'x-a' is not printable ASCII"),
        ("grpc", "slow", ("--header", "x-bin: a"), "--header: 'x-bin' is set by the protocol"),
        ("http", "slow", ("--header", "a: 1", "--header", "A: 2"), "--header a: given twice; give it once"),
        ("http", "slow", ("--header", "content-length: 5"), "--header: 'content-length' is set by the protocol"),
    ],
)
def test_what_is_refused_before_any_load(server, tmp_path, protocol, model, arguments, said):
    """In one line, with a code of its own."""
    address = server.grpc if protocol.startswith("grpc") else server.http
    done = asked(target(tmp_path, "saturate", f"oip+{protocol}://{address}/{model}", *arguments))
    (line,) = done.stderr.splitlines()
    assert said in line
    assert done.returncode in (exit_codes.CONFIG, exit_codes.TARGET)
    assert not (tmp_path / "results").exists()


def test_tls(tmp_path):
    """With the right authority it works; without, it is said what is wrong."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    files = (f"--grpc-server-cert={tmp_path}/cert.pem", f"--grpc-server-key={tmp_path}/key.pem")
    with triton(tmp_path, models=("noop",), arguments=("--grpc-use-ssl=1", *files)) as running:
        address = f"oip+grpcs://{running.grpc}/noop"
        words = target(tmp_path, "saturate", address, "--requests", "20", "--connections", "1", "--input-shape", "8")
        assert results_of(ran([*words, "--tls-ca", f"{tmp_path}/ca.pem"])).summary.completed == 20
        done = ran(words)
        assert done.returncode == exit_codes.TARGET
        assert "certificate is not accepted" in done.stderr


def test_tls_over_http(server, tmp_path):
    """With certificates on both sides, tensors and JSON alike; a server without one, or of another name, is refused."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client = authority.issue_cert("client@example.com")
    client.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    client.private_key_pem.write_to_path(tmp_path / "key.pem")
    files = ["--tls-cert", f"{tmp_path}/cert.pem", "--tls-key", f"{tmp_path}/key.pem"]
    with tls_proxy(server.http, authority.issue_cert("127.0.0.1"), authority) as address:
        words = target(tmp_path, "saturate", f"oip+https://{address}/noop", "--requests", "20", "--connections", "2")
        words += ["--input-shape", "300000", *files]
        assert results_of(ran([*words, "--tls-ca", f"{tmp_path}/ca.pem"])).summary.completed == 20
        body = '{"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 2], "data": "$input"}]}'
        endpoint = target(tmp_path, "saturate", f"https+json://{address}/v2/models/noop/infer", "--requests", "20")
        endpoint += ["--body", body, "--answer", "outputs[0].data", "--input-shape", "2", *files]
        assert results_of(ran([*endpoint, "--tls-ca", f"{tmp_path}/ca.pem"])).summary.completed == 20
        for refused in (words, endpoint):
            done = ran(refused)
            assert done.returncode == exit_codes.TARGET, done.stdout
            assert "certificate" in done.stderr.lower()
    with tls_proxy(server.http, authority.issue_cert("elsewhere.example.com"), authority) as address:
        words = target(tmp_path, "saturate", f"oip+https://{address}/noop", "--requests", "20", *files)
        done = ran([*words, "--tls-ca", f"{tmp_path}/ca.pem"])
        assert done.returncode == exit_codes.TARGET
        assert "not valid for '127.0.0.1'" in done.stderr
