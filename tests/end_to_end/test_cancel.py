"""A Python user cancels the task of an experiment, a search or a sweep."""

import asyncio
import json
import logging
import os
from pathlib import Path

import pytest
import uvloop
import zmq
import zmq.asyncio
from aiohttp import web

from frontend_launch.ports import Ports
from loadgen.config import Client, ExperimentConfig, Output, Saturate
from loadgen.errors import Interrupted
from loadgen.experiments import experiment
from loadgen.experiments.capacity import CapacityConfig, find_capacity
from loadgen.experiments.experiment import ExperimentInterrupted, run_experiment
from loadgen.experiments.sweep import SweepConfig, prepare_sweep, run_sweep
from loadgen.judging.slo import parse
from loadgen.results.files import logs_beside
from loadgen.served import Deploy, External, Frontend
from loadgen.servers.frontend import FrontendServer
from loadgen.targets.address import parse_address
from loadgen.targets.remote import TargetOptions

DEADLINE_S = 60
INTERVAL = "p99: "


def config(tmp_path, serve=None, load=None, **changes):
    serve = serve or Deploy("noop", ports=Ports(0, 0, 0, 0, 0))
    load = load or Saturate(60.0, warmup_s=0.1)
    changes = {"client": Client(ceiling=False), **changes}
    return ExperimentConfig(serve, load, output=Output(tmp_path, log_every_s=0.2), **changes)


def children():
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


async def cancelled_at(work, text, times=1, cancels=1, apart=1):
    """Do something, and cancel it when a text is logged.

    Args:
        work: what to do.
        text: that is logged.
        times: that it is logged before.
        cancels: cancellations of the task.
        apart: turns of the loop between two of them.
    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    seen = []

    def cancel(left, wait=0):
        if wait:
            loop.call_soon(cancel, left, wait - 1)
        elif task.cancel() and left > 1:
            loop.call_soon(cancel, left - 1, apart - 1)

    class Watch(logging.Handler):
        def emit(self, record):
            if text in record.getMessage():
                seen.append(record)
                if len(seen) == times:
                    loop.call_soon_threadsafe(cancel, cancels)

    logger, watch = logging.getLogger("loadgen"), Watch()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(watch)
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await task
    finally:
        logger.removeHandler(watch)
        logger.setLevel(level)


@pytest.mark.parametrize(("cancels", "apart"), [(1, 1), (2, 1), (3, 1), (3, 50), (4, 10), (5, 1), (5, 200)])
def test_an_experiment_keeps_what_was_measured(tmp_path, cancels, apart):
    """The error has the results, which are saved; nothing is left running."""
    before = children()
    with pytest.raises(ExperimentInterrupted) as interrupted:
        uvloop.run(cancelled_at(run_experiment(config(tmp_path)), INTERVAL, cancels=cancels, apart=apart))
    results = interrupted.value.results
    assert results.ended == "interrupted"
    assert results.summary.completed > 0
    assert str(results.path) in str(interrupted.value)
    assert json.loads(results.saved_at.read_text())["ended"] == "interrupted"
    assert logs_beside(results.saved_at).exists()
    assert children() == before


@pytest.mark.parametrize(("cancels", "apart"), [(1, 1), (3, 1), (5, 50)])
def test_an_experiment_before_load_begins(tmp_path, cancels, apart):
    """Is cancelled like any task."""
    before, text = children(), "requests in flight, "
    with pytest.raises(asyncio.CancelledError):
        uvloop.run(cancelled_at(run_experiment(config(tmp_path)), text, cancels=cancels, apart=apart))
    assert not list(tmp_path.glob("*.json"))
    assert children() == before


def test_an_experiment_while_its_client_is_measured(tmp_path, monkeypatch):
    """The null server ends too."""
    monkeypatch.setenv("LOADGEN_CACHE", str(tmp_path / "cache"))
    before = children()
    with pytest.raises(asyncio.CancelledError):
        uvloop.run(cancelled_at(run_experiment(config(tmp_path, client=Client())), "measuring the client"))
    assert not list(tmp_path.iterdir())
    assert children() == before


def test_an_experiment_while_it_is_taken_down(tmp_path, monkeypatch):
    """Keeps its results and its logs, and takes all of it down."""
    keep_logs = FrontendServer.keep_logs
    kept: list[Path] = []
    tasks: list[asyncio.Task[object]] = []

    async def cancelled_meanwhile(server, directory):
        tasks[0].cancel()
        await asyncio.sleep(0)
        await keep_logs(server, directory)
        kept.append(directory)

    async def act():
        tasks.append(asyncio.ensure_future(run_experiment(config(tmp_path, load=Saturate(requests=100)))))
        return await tasks[0]

    monkeypatch.setattr(FrontendServer, "keep_logs", cancelled_meanwhile)
    before = children()
    with pytest.raises(ExperimentInterrupted) as interrupted:
        uvloop.run(act())
    results = interrupted.value.results
    assert (results.ended, results.error, results.summary.completed) == ("requests", None, 100)
    assert [directory.exists() for directory in kept] == [True]
    assert children() == before


def test_a_sweep_keeps_what_was_finished(tmp_path):
    """The measurement under way is not in the ledger; the sweep can go on."""
    sweep = SweepConfig(config(tmp_path, load=Saturate(0.5, warmup_s=0.1), allow_invalid=True), batch_sizes=(1, 2, 4))

    async def act(resume=False):
        return await run_sweep(await prepare_sweep(sweep), resume=resume)

    before = children()
    with pytest.raises(Interrupted, match="with resume to go on"):
        uvloop.run(cancelled_at(act(), INTERVAL, times=4))
    assert children() == before
    (ledger,) = tmp_path.glob("*/*.jsonl")
    assert 1 <= len(ledger.read_text().splitlines()) < 4
    assert len(uvloop.run(act(resume=True)).entries) == 4


def test_a_search_keeps_its_probes(tmp_path):
    """And says where they are."""
    search = CapacityConfig(config(tmp_path), tuple(parse("p99<10s")), start_rps=300.0)
    before = children()
    with pytest.raises(Interrupted, match=r"the probes are in .*capacity-"):
        uvloop.run(cancelled_at(find_capacity(search), INTERVAL, times=2))
    assert children() == before


@pytest.mark.parametrize("answers", [1, 0], ids=["at the end", "at the beginning"])
def test_an_external_server_that_does_not_give_its_numbers(tmp_path, monkeypatch, answers):
    """They are not waited for long once the experiment is cancelled, and a note says so."""
    monkeypatch.setattr(experiment, "LAST_READINGS_S", 0.1)
    asked = []

    async def metrics(_):
        asked.append(True)
        if len(asked) > answers:
            await asyncio.Event().wait()
        return web.Response(text="a_total 1\n")

    async def answer(_):
        return web.json_response(1)

    async def act():
        app = web.Application()
        app.add_routes([web.post("/", answer), web.get("/metrics", metrics)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        at = "{}:{}".format(*runner.addresses[0])
        target = TargetOptions(parse_address(f"http+json://{at}/"), body='"$input"', metrics_url=f"http://{at}/metrics")
        try:
            await cancelled_at(run_experiment(config(tmp_path, External(target))), INTERVAL)
        finally:
            await runner.cleanup()

    with pytest.raises(ExperimentInterrupted) as interrupted:
        uvloop.run(act())
    results = interrupted.value.results
    assert results.summary.completed > 0
    assert any("the server's own numbers are left out" in note for note in results.notes)


def test_an_experiment_that_still_connects(tmp_path):
    """Ends at once, and not after the patience for a handshake."""

    async def act():
        with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as silent:
            port = silent.bind_to_random_port("tcp://127.0.0.1")
            frontend = Frontend("noop", host="127.0.0.1", ports=Ports(port, port, port, port, port))
            task = asyncio.ensure_future(run_experiment(config(tmp_path, frontend)))
            await silent.recv_multipart()  # the handshake
            task.cancel()
            await task

    with pytest.raises(asyncio.CancelledError):
        uvloop.run(act())
    assert not list(tmp_path.glob("*.json"))
