"""What the results say of how a run ended."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from frontend_launch.launch.launcher import ACTOR_GONE, ENGINE_GONE, HEAD_GONE
from loadgen.config import OpenLoop, Saturate
from loadgen.experiments.document import broke_off, end_of_run, ended_because, running_replicas, varies
from loadgen.load.arrivals import parse_arrivals
from loadgen.load.dispatcher import MAX_UNANSWERED
from loadgen.load.ending import Ending
from loadgen.load.record import ClientUse, Offered, Record
from loadgen.load.target import Outcome


@pytest.mark.parametrize(
    ("timed_out", "late", "text"),
    [
        (0, 0, "300 requests are in flight, the most that --max-in-flight allows: the server is far behind"),
        (
            MAX_UNANSWERED + 5,
            5,
            "300 requests are in flight, the most that --max-in-flight allows: the server is far behind",
        ),
        (MAX_UNANSWERED + 6, 5, "1,000,000 requests timed out and have no answer yet: the server is far behind"),
    ],
)
def test_a_server_that_is_far_behind(timed_out, late, text):
    """The bound that ended the run is named: the window of the run, or that of timed-out requests."""
    record = Record(late=late)
    record.outcomes[Outcome.TIMED_OUT] = timed_out
    plan = cast(Any, SimpleNamespace(window=300))
    assert ended_because(Ending.OVERRUN, plan, cast(Any, None), record, None) == text


@pytest.mark.parametrize(
    ("unsent", "cpu_share", "says"),
    [
        (0, 0.5, "the server is far behind"),
        (80, 0.5, "the server is far behind"),
        (
            49_000,
            0.5,
            "the client had sent 1,000 of 50,000 due requests when the run ended; use a lower rate, or more client "
            "processes (--clients)",
        ),
        (
            0,
            0.97,
            "the client used 97% of a core, so whether the server is behind is not known; use a lower rate, or more "
            "client processes (--clients)",
        ),
    ],
)
@pytest.mark.parametrize("timed_out", [0, MAX_UNANSWERED + 1])
def test_a_client_that_is_behind_itself(unsent, cpu_share, says, timed_out):
    """By its own figures: what it did not send, or what it used of its core."""
    client = ClientUse(cpu_ns=round(cpu_share * 10**9))
    record = Record(sent=1000, measured_ns=10**9, clients=[client], offered=Offered(unsent=unsent))
    record.outcomes[Outcome.TIMED_OUT] = timed_out
    text = ended_because(Ending.OVERRUN, cast(Any, SimpleNamespace(window=300)), cast(Any, None), record, None)
    assert text is not None
    assert text.endswith(f": {says}")


@pytest.mark.parametrize(
    ("ended", "workers", "measured_ns", "says"),
    [
        (Ending.CLIENT_LOST, ["worker-1 on b: lost"], 9, "worker-1 on b: lost; what the clients measured is kept"),
        (Ending.CLIENT_LOST, ["worker-1 on b: lost"], 0, "worker-1 on b: lost; nothing was measured"),
        (Ending.CLIENT_LOST, None, 0, "a client process ended early, was stopped or fell silent: nothing was measured"),
        (Ending.INTERRUPTED, None, 9, "interrupted; what was measured until then is kept"),
        (Ending.INTERRUPTED, None, 0, "interrupted before anything was measured"),
    ],
)
def test_what_is_kept_was_measured(ended, workers, measured_ns, says):
    """A run that ends in its warm-up has nothing to keep."""
    record = Record(measured_ns=measured_ns)
    assert ended_because(ended, cast(Any, None), cast(Any, None), record, None, workers) == says


@pytest.mark.parametrize(
    ("ended", "failure", "lost", "found"),
    [
        (Ending.DURATION, None, None, (Ending.DURATION, None)),
        (Ending.STOPPED, None, None, (Ending.INTERRUPTED, None)),
        (Ending.STOPPED, "frontends ended", None, (Ending.SERVER_LOST, "frontends ended")),
        (Ending.DURATION, None, "no page", (Ending.SERVER_LOST, "no page")),
        (Ending.STOPPED, None, "no page", (Ending.SERVER_LOST, "no page")),
        (Ending.STOPPED, "frontends ended", "no page", (Ending.SERVER_LOST, "frontends ended")),
        (Ending.CLIENT_LOST, "frontends ended", "no page", (Ending.SERVER_LOST, "frontends ended")),
        (Ending.CLIENT_LOST, "frontends ended", None, (Ending.CLIENT_LOST, None)),
        (Ending.DURATION, "frontends ended", None, (Ending.DURATION, None)),
    ],
)
def test_a_server_that_is_lost(ended, failure, lost, found):
    """What saw the process end says more than a page of metrics that cannot be read."""
    server = cast(Any, SimpleNamespace(deployment=SimpleNamespace(failure=failure)))
    assert end_of_run(server, Record(ended=ended), lost) == found


@pytest.mark.parametrize(
    ("ended", "running"),
    [
        (None, {"replica-0": True, "replica-1": False}),
        (-9, {"replica-0": False, "replica-1": False}),
        (ACTOR_GONE, {"replica-0": False, "replica-1": False}),
        (ENGINE_GONE, {"replica-1": False}),
        (HEAD_GONE, {"replica-1": False}),
    ],
    ids=["runs", "ended", "lost", "engine", "head"],
)
def test_a_replica_that_is_not_watched_may_run(ended, running):
    """One that is being replaced does not."""

    async def scenario():
        exited = asyncio.get_running_loop().create_future()
        if ended is not None:
            exited.set_result(ended)
        rows = [SimpleNamespace(role=role) for role in ("replica-0", "replica-1")]
        plan = SimpleNamespace(placement=SimpleNamespace(replicas=rows))
        server = SimpleNamespace(deployment=SimpleNamespace(parts={"replica-0": SimpleNamespace(exited=exited)}))
        return running_replicas(cast(Any, plan), cast(Any, server))

    assert asyncio.run(scenario()) == running


@pytest.mark.parametrize(
    ("load", "found"),
    [
        (Saturate(), False),
        (OpenLoop(parse_arrivals("constant", 5, 9, 0)), False),
        (OpenLoop(parse_arrivals("poisson", 5, 9, 0)), False),
        (OpenLoop(parse_arrivals("gamma:cv=0.5", 5, 9, 0)), False),
        (OpenLoop(parse_arrivals("gamma:cv=2", 5, 9, 0)), True),
        (OpenLoop(parse_arrivals("ramp:5..50", None, 9, 0)), True),
        (OpenLoop(parse_arrivals("steps:5x3s,0x3s,50x3s", None, None, 0)), True),
    ],
)
def test_a_schedule_that_varies_is_no_server_that_changed(load, found):
    """Throughput follows it, so it is not compared."""
    assert varies(load) == found


@pytest.mark.parametrize(
    ("ended", "workers", "found"),
    [
        (Ending.SERVER_LOST, None, True),
        (Ending.SERVER_LOST, ["worker-0 began late"], True),
        (Ending.STALLED, None, True),
        (Ending.NO_ANSWER, None, True),
        (Ending.OVERRUN, None, True),
        (Ending.CLIENT_LOST, None, True),
        (Ending.CLIENT_LOST, [], True),
        (Ending.CLIENT_LOST, ["worker-0 is lost"], False),
        (Ending.INTERRUPTED, None, False),
        (Ending.DURATION, None, False),
        (Ending.DECIDED, None, False),
    ],
)
def test_a_run_that_could_not_go_on(ended, workers, found):
    """The user may end one, and of a worker that is lost another check tells."""
    assert broke_off(ended, workers) is found
