"""The client's trials against the real null server, and their cache."""

import asyncio
import json
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from frontend_launch.launch.placement import Assignment, Placement
from frontend_launch.launch.topology import describe
from loadgen.config import Client, ExperimentConfig, OpenLoop, Output, Saturate
from loadgen.experiments import ceiling, ceiling_cache
from loadgen.experiments.ceiling import (
    WAKING_NS,
    MeasuredCeiling,
    Use,
    idle_ns,
    measure_ceiling,
    null_server_cores,
    outside,
    with_ceiling,
)
from loadgen.experiments.ceiling_cache import Situation, TrialCache, cache_directory
from loadgen.judging.ceiling import Ceiling, Trial
from loadgen.load.arrivals import Renewal
from loadgen.load.inputs import SeededInputs
from loadgen.plan import Plan, PlanContext, plan_on
from loadgen.results.environment import Environment
from loadgen.results.files import read
from loadgen.served import Deploy
from loadgen.servers.null_process import null_server
from loadgen.servers.null_server import NullAnswer
from loadgen.servers.server import Workload
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.clipper import ClipperSpec
from loadgen.targets.http1 import HttpSpec, TensorAnswers
from loadgen.targets.http_answers import JsonAnswers
from loadgen.targets.http_endpoint import HttpEndpoint
from loadgen.targets.oip.grpc_target import OipGrpcSpec
from loadgen.targets.oip.requests import RequestInputs, SeededContents
from loadgen.targets.oip.tensors import Tensor
from loadgen.targets.remote import RequestOptions, TargetOptions
from model_containers.data_types import DataType
from model_containers.model import Description, TensorSpec

TRIAL_S, ATTEMPTS = 0.1, 6
"""A trial of a tenth of a second; where a busy machine leaves no time for an answer, the next one is twice as long."""
RESULTS = read(Path(__file__).parents[2] / "golden" / "results-v2.json")
MACHINE = Environment("3.11", "Linux", {"loadgen": "0.1.0"}, "a CPU", 2, [0, 1], 1 << 30, {}, None)
SPEC = TensorSpec((2,), "float32")
TRIAL = Trial(100, 1000.0, {"p50": 1.0, "p99": 2.0}, 0.95, 0.3, 0.0, 0.0)
SITUATION = Situation(
    machine=("host", "a CPU", "Linux"),
    software={"loadgen": "0.1.0"},
    protocol="clipper-ipc",
    connections=None,
    servers=1,
    payload_bytes=8,
    inputs="4 inputs",
    answer_bytes=4,
    clients=1,
    client_cores=(0,),
    server_cores=(1,),
    verify=None,
    keep_requests=False,
    load="16 requests in flight",
    seconds=0.5,
)


def planned(load=None, **client) -> Plan:
    """A plan for this machine, which is never carried out."""
    config = ExperimentConfig(
        Deploy("x"), load or Saturate(1.0, max_in_flight=16), client=Client(**client), output=Output(Path("nowhere"))
    )
    model = Description(name="x", framework="none", input=SPEC, output=TensorSpec((1,), "float32"), takes=("floats",))
    cores = len(os.sched_getaffinity(0))
    plan = plan_on(config, PlanContext(model, SeededInputs(SPEC, None, 4, 0), describe(f"cpus=0-{max(1, cores - 1)}")))
    here = tuple(sorted(os.sched_getaffinity(0)))
    rows = tuple(replace(row, cores=here) for row in plan.placement.assignments)
    return replace(plan, placement=Placement(rows))


def workload(output_bytes: int = 4) -> Workload:
    """Requests to a frontend that there is not."""
    spec = ClipperSpec("ipc://none/x", "ipc://none/y", "x", DataType.FLOATS, output_bytes, b"", keep_outputs=False)
    return Workload(SeededInputs(SPEC, None, 4, 0), spec)


def external(protocol: str, port: int) -> Workload:
    """Requests to an external server."""
    if protocol == "json":
        address = parse_address(f"http+json://127.0.0.1:{port}/x")
        endpoint = asyncio.run(HttpEndpoint.at(TargetOptions(address, body='"$input"', answer="text")))
        return Workload(endpoint.inputs(RequestOptions(1, None, 4, 0)), endpoint.spec(1, 4, None), 4)
    address = parse_address(f"oip+{protocol}://127.0.0.1:{port}/x")
    tensors = (Tensor("x", "FP32", (1, 2)),)
    inputs = RequestInputs(SeededContents(tensors, 4, 0), address, Access(), tensors, binary=True)
    if protocol == "grpc":
        return Workload(inputs, OipGrpcSpec(address, Access(), tensors), 1)
    return Workload(inputs, HttpSpec(address, Access(), TensorAnswers(tensors), 4), 4)


def trials(plan: Plan, cache: TrialCache, load: Workload | None = None) -> MeasuredCeiling | str:
    for attempt in range(ATTEMPTS):
        before = len(STARTS)
        found = asyncio.run(measure_ceiling(plan, load or workload(), None, MACHINE, cache, TRIAL_S * 2**attempt))
        if not isinstance(found, str) or ceiling.NO_ANSWER not in found:
            break
        del STARTS[before:]
    return found


def measured(plan: Plan, cache: TrialCache, load: Workload | None = None) -> Ceiling | str:
    found = trials(plan, cache, load)
    return found if isinstance(found, str) else found.ceiling


def children() -> str:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


@pytest.fixture
def cache(tmp_path) -> TrialCache:
    return TrialCache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch) -> None:
    """Whatever else this machine does meanwhile."""
    monkeypatch.setattr(ceiling, "outside", lambda *_: (0.0, 0.0))


STARTS: list[str] = []
"""A protocol for each null server that is started."""


@pytest.fixture
def starts(monkeypatch) -> list[str]:
    STARTS.clear()

    def start(answer, cores):
        STARTS.append(answer.protocol)
        return null_server(answer, cores)

    monkeypatch.setattr(ceiling, "null_server", start)
    return STARTS


def test_a_window(cache, starts):
    """The ceiling at the window, the floor with one request in flight; the null server is gone afterwards."""
    before = children()
    found = measured(planned(), cache)
    assert isinstance(found, Ceiling)
    assert found.burst.answers > 0
    assert found.burst.rate_rps > 0
    assert found.floor is not None
    assert found.floor.answers > 0
    assert 0 < found.floor.latency_ms["p50"] <= found.floor.latency_ms["p99"]
    assert found.floor_load == "1 request in flight"
    assert starts == ["clipper-ipc"]
    assert children() == before


def test_the_floor_is_measured_with_the_event_loop(cache):
    """As a slow server's replies are waited for; the ceiling at that window is another trial."""
    found = trials(planned(Saturate(max_in_flight=1)), cache)
    assert isinstance(found, MeasuredCeiling)
    assert [each.load for each in found.situations] == [
        "1 request in flight",
        "1 request in flight, with the event loop",
    ]


def test_a_rate(cache):
    """The floor has the rate's schedule; the ceiling is that of a closed loop."""
    found = measured(planned(OpenLoop(Renewal(200.0, 60.0, 1.0, 0))), cache)
    assert isinstance(found, Ceiling)
    assert found.floor is not None
    assert found.floor_load == "poisson 200 requests/s"
    assert found.burst.answers > 0


def test_a_rate_beyond_the_ceiling(cache):
    """It has no floor, and no trial at that rate."""
    found = measured(planned(OpenLoop(Renewal(1e6, 10.0, 0.0, 0))), cache)
    assert isinstance(found, Ceiling)
    assert found.floor is None


def test_several_client_processes(cache):
    """Each has its share; the floor has one request in flight for each."""
    found = measured(planned(processes=2), cache)
    assert isinstance(found, Ceiling)
    assert found.floor is not None
    assert found.floor_load == "2 requests in flight"


def test_what_is_in_the_cache_is_not_measured_again(cache, starts):
    """Nor is the null server started."""
    first = measured(planned(), cache)
    assert measured(planned(), cache) == first
    assert len(starts) == 1


def test_a_disturbed_trial_is_not_kept(cache, starts, monkeypatch):
    """The next run measures again."""
    monkeypatch.setattr(ceiling, "outside", lambda *_: (0.0, 0.42))
    found = measured(planned(), cache)
    assert isinstance(found, Ceiling)
    assert found.burst.is_disturbed
    assert measured(planned(), cache) != found
    assert len(starts) == 2


NO_USE = Use(0, 0, 0, 0, 0, 0, 0)
SECOND = Use(1000, 300, 600, 400, 0, 0, 400)
"""The client used 600 ns of its core, 200 of them in its helper threads; the core was idle for the rest."""


@pytest.mark.parametrize(
    ("use", "clients", "cores", "beside", "found"),
    [
        (SECOND, 1, 1, True, (0.0, 0.0)),
        (replace(SECOND, waited_ns=200), 1, 1, True, (0.0, 0.0)),
        (replace(SECOND, waited_ns=300), 1, 1, True, (0.1, 0.0)),
        (replace(SECOND, waited_ns=300 + WAKING_NS, slices=1), 1, 1, True, (0.1, 0.0)),
        (replace(SECOND, waited_ns=700), 1, 1, False, (0.2, 0.0)),
        (replace(SECOND, waited_ns=800), 2, 1, True, (0.0, 0.0)),
        (replace(SECOND, waited_ns=800), 2, 2, True, (0.3, 0.5)),
        (replace(SECOND, idle_ns=300), 1, 1, True, (0.0, 0.1)),
        (replace(SECOND, idle_ns=100), 1, 1, False, (0.0, 0.0)),
    ],
    ids=[
        "alone",
        "for its own threads",
        "for others",
        "to wake up",
        "for the null server and others",
        "for each other",
        "two cores",
        "others used the core",
        "the null server used the core",
    ],
)
def test_load_from_outside(use, clients, cores, beside, found):
    """Threads of loadgen do not count as outside load to each other."""
    assert outside(NO_USE, use, clients, cores, beside) == pytest.approx(found)


def test_idle_time_of_cores():
    """Of those that are asked for."""
    text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 40 5 6 7 8 9 10\ncpu1 1 2 3 4 5 6 7 8 9 10\ncpu10 1 1 1 1 1 1 1 1\n"
    assert idle_ns(text, (0,), 10) == 580
    assert idle_ns(text, (0, 1), 1) == 80


def test_another_window_shares_the_floor(cache, starts):
    """Each trial is kept by itself."""
    first, second = (measured(planned(Saturate(1.0, max_in_flight=window)), cache) for window in (16, 8))
    assert isinstance(first, Ceiling)
    assert isinstance(second, Ceiling)
    assert first.floor == second.floor
    assert first.burst != second.burst
    assert len(starts) == 2


def test_a_damaged_cache_is_measured_again(cache, starts):
    """And replaced."""
    measured(planned(), cache)
    files = sorted(cache.directory.iterdir())
    for file in files:
        file.write_bytes(b"{")
    found = measured(planned(), cache)
    assert isinstance(found, Ceiling)
    assert len(starts) == 2
    assert measured(planned(), cache) == found
    assert sorted(cache.directory.iterdir()) == files


@pytest.mark.parametrize(("used", "floor_ms", "left"), [(0.5, 1.0, 2), (1.5, 1.0, 1), (0.5, 1e6, 1), (1.5, 1e6, 0)])
def test_a_trial_that_the_run_refutes_is_not_kept(cache, used, floor_ms, left):
    """A run that did more than its client can, or was faster than its client is, shows that other load disturbed it."""
    summary = RESULTS.summary
    ceiling = Ceiling(
        replace(TRIAL, rate_rps=summary.throughput_rps / used),
        replace(TRIAL, latency_ms={"p50": 1.0, "p99": floor_ms}),
        "1 request in flight",
    )
    situations = (SITUATION, replace(SITUATION, load="1 request in flight"))
    for situation in situations:
        cache.put(situation, TRIAL)
    results = with_ceiling(RESULTS, MeasuredCeiling(ceiling, cache, situations))
    assert results.client_ceiling is not None
    assert results.client_ceiling.used_share == pytest.approx(used)
    assert len(list(cache.directory.iterdir())) == left


def test_why_there_is_no_ceiling_is_a_note():
    """And nothing else changes."""
    assert with_ceiling(RESULTS, "why") == replace(RESULTS, notes=[*RESULTS.notes, "why"])


@pytest.mark.parametrize("protocol", ["json", "http", "grpc"])
def test_an_external_server_gets_no_request(cache, protocol):
    """Not even a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        found = measured(planned(), cache, external(protocol, server.getsockname()[1]))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert isinstance(found, Ceiling)
    assert found.burst.answers > 0


def test_behind_tls_there_is_no_null_server(cache, starts):
    """The reader is told."""
    spec = HttpSpec(parse_address("https+json://127.0.0.1:1/x"), Access(), JsonAnswers(()), 1)
    assert "TLS" in str(measured(planned(), cache, Workload(SeededInputs(SPEC, None, 1, 0), spec)))
    assert starts == []


def test_a_null_server_that_does_not_start_ends_no_run(cache, monkeypatch):
    """The reader is told why the ceiling is not known."""
    monkeypatch.setattr(ceiling, "null_answer", lambda *_: NullAnswer("none", b"", 1))  # type: ignore[arg-type]
    assert str(measured(planned(), cache)).startswith("the client's ceiling was not measured: the null server did not")
    assert not cache.directory.exists()


def test_a_trial_without_an_answer_is_no_ceiling(cache):
    """It is too short for one here; the null server is not to blame."""
    found = asyncio.run(measure_ceiling(planned(), workload(), None, MACHINE, cache, 1e-9))
    assert found == f"the client's ceiling was not measured: {ceiling.NO_ANSWER}"


def test_answers_that_are_not_as_they_should_be_are_no_ceiling(cache, monkeypatch):
    """They would be cheaper, or dearer, than those of the server."""
    monkeypatch.setattr(ceiling, "null_answer", lambda *_: NullAnswer("clipper-ipc", bytes(8), 2))
    assert "not as they should be" in str(measured(planned(), cache))


# Where the null server runs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "frontends", "replicas", "spare", "cores"),
    [
        ((0,), (1,), (2,), (3,), (1,)),
        ((0,), (0,), (1,), (), (1,)),
        ((0, 1), (1, 2), (3,), (), (2,)),
        ((0, 1), (), (), (2, 3), (2, 3)),
        ((0, 1), (), (), (), (0, 1)),
    ],
    ids=["frontends", "replicas", "no core of the client", "spare cores", "one machine for all"],
)
def test_the_null_server_has_cores_of_a_server(client, frontends, replicas, spare, cores):
    """And none of the client's, if there are others."""
    rows = {"client": client, "frontends": frontends, "replica-0": replicas}
    placement = Placement(tuple(Assignment("n", role, own, None, False) for role, own in rows.items() if own))
    assert null_server_cores(replace(planned(), placement=placement, spare_cores=spare)) == cores


# The cache -------------------------------------------------------------------------------------------------


def test_a_trial_is_read_as_it_was_written(cache):
    """In another process too: the file has all of it."""
    assert cache.get(SITUATION) is None
    cache.put(SITUATION, TRIAL)
    assert TrialCache(cache.directory).get(SITUATION) == TRIAL


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b"\xff", b"{}", b'{"situation": {}, "measured_at": 0, "trial": {}}']
)
def test_a_damaged_file_counts_as_missing(cache, damaged):
    """Whatever is in it; the next trial replaces it."""
    cache.put(SITUATION, TRIAL)
    (path,) = cache.directory.iterdir()
    path.write_bytes(damaged)
    assert cache.get(SITUATION) is None
    cache.put(SITUATION, TRIAL)
    assert cache.get(SITUATION) == TRIAL


@pytest.mark.parametrize(
    "change",
    [
        {"machine": ("host", "another CPU", "Linux")},
        {"software": {"loadgen": "0.2.0"}},
        {"protocol": "clipper-tcp"},
        {"payload_bytes": 9},
        {"answer_bytes": 5},
        {"connections": 4},
        {"servers": 2},
        {"clients": 2},
        {"client_cores": (0, 1)},
        {"server_cores": (0,)},
        {"verify": 3},
        {"keep_requests": True},
        {"load": "17 requests in flight"},
        {"seconds": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_other_situation_has_its_own_trial(cache, change):
    """Everything that a client's speed depends on."""
    cache.put(SITUATION, TRIAL)
    assert cache.get(replace(SITUATION, **change)) is None


def test_a_file_of_another_situation_counts_as_missing(cache):
    """Such as one that was renamed."""
    cache.put(SITUATION, TRIAL)
    (path,) = cache.directory.iterdir()
    other = replace(SITUATION, clients=2)
    path.rename(cache._path(other))
    assert cache.get(other) is None


@pytest.mark.parametrize("age_s", [ceiling_cache.MAX_AGE_S, -3600.0])
def test_an_old_trial_counts_as_missing(cache, age_s):
    """As does one from the future, whose age is not known."""
    cache.put(SITUATION, TRIAL)
    (path,) = cache.directory.iterdir()
    entry = json.loads(path.read_text())
    entry["measured_at"] -= age_s
    path.write_text(json.dumps(entry))
    assert cache.get(SITUATION) is None


def test_the_cache_has_a_bound(cache, monkeypatch):
    """The oldest go first."""
    monkeypatch.setattr(ceiling_cache, "MAX_ENTRIES", 3)
    situations = [replace(SITUATION, payload_bytes=size) for size in range(5)]
    for at, situation in enumerate(situations):
        cache.put(situation, TRIAL)
        os.utime(cache._path(situation), (at, at))
    assert [cache.get(situation) is not None for situation in situations] == [False, False, True, True, True]


def test_runs_at_once_do_not_break_it(cache):
    """Each reads a whole trial, of any writer, or none."""
    trials = [replace(TRIAL, answers=number) for number in range(4)]

    def write(trial):
        for _ in range(50):
            cache.put(SITUATION, trial)
            assert cache.get(SITUATION) in trials

    threads = [threading.Thread(target=write, args=(trial,)) for trial in trials]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(cache.directory.iterdir())) == 1


def test_a_cache_that_cannot_be_written_keeps_nothing(tmp_path):
    """And is no error."""
    file = tmp_path / "file"
    file.touch()
    cache = TrialCache(file / "cache")
    cache.put(SITUATION, TRIAL)
    assert cache.get(SITUATION) is None


@pytest.mark.parametrize(
    ("variables", "directory"),
    [
        ({"LOADGEN_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a/client-ceilings"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/loadgen/client-ceilings"),
        ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/loadgen/client-ceilings"),
    ],
)
def test_where_it_is(monkeypatch, variables, directory):
    """Beside the artefacts of models."""
    for name in ("LOADGEN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == Path(directory)
