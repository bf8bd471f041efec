"""The page of a measurement under way."""

import http.client
import json
import socket

import live_screens
import pytest
from live_screens import BEGAN_NS, interval

from loadgen.feed.messages import Begin, IntervalDone
from loadgen.live import served as module
from loadgen.live.page import page
from loadgen.live.served import Served
from loadgen.live.snapshot import MOST_POINTS, snapshot
from loadgen.live.state import State
from model_containers.units import NS_PER_S

NOW_NS = BEGAN_NS + 30 * NS_PER_S


@pytest.mark.parametrize("name", live_screens.SCREENS)
def test_a_snapshot_is_json(name):
    """Of each state, without what JSON has no number for."""
    found = snapshot(live_screens.SCREENS[name](), NOW_NS)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_snapshot_has_what_the_view_shows():
    """The same counts, percentiles, checks and cores."""
    found = snapshot(live_screens.failing(), NOW_NS)
    run = found["run"]
    assert (found["command"], found["tags"]["host"], found["closed"]) == ("rate", "lab-3", False)
    assert (run["sent"], run["completed"], run["lost"], run["elapsed"]) == (60_100, 60_000, 100, 30)
    assert run["latency"] == {"p50": 20.02, "p90": 34.9, "p99": 39.55, "p99.9": None}
    assert [check["fails"] for check in run["checks"]] == [True, True, True, False, False, False]
    assert run["cores"][0] == {"cores": "0", "roles": "client, frontends, sampler, live", "share": 0.9}
    assert run["queues"] == [{"name": "elastic-net:1", "fill": 0.95, "length": 1234}]
    assert run["points"]["seconds"] == [3.0 * number for number in range(1, 11)]


def test_progress_counts_down():
    """From when it was told."""
    progress = snapshot(live_screens.searching(), NOW_NS)["progress"]
    assert progress == {
        "unit": "probes",
        "done": 4,
        "total": None,
        "now": "narrow 2,000 requests/s",
        "left": 270,
        "atMost": True,
    }


def test_a_long_line_is_thinned_and_keeps_its_end():
    """The page stays small."""
    state = live_screens.measuring()
    for number in range(11, MOST_POINTS + 60):
        state.take(IntervalDone(interval(number, completed=0)))
    seconds = snapshot(state, NOW_NS)["run"]["points"]["seconds"]
    assert len(seconds) <= MOST_POINTS
    assert seconds[-1] == float(f"{3.0 * (MOST_POINTS + 59):.4g}")


def test_before_a_run_there_is_what_is_waited_for():
    """And no run."""
    found = snapshot(live_screens.starting(), BEGAN_NS)
    assert (found["run"], found["waits"]["seconds"]) == (None, 12)
    assert snapshot(State(), 0, closed=True)["closed"]


def test_the_page_holds_its_first_snapshot():
    """As text that cannot end its element."""
    text = page({"tags": {"a": "</script>"}})
    assert '{"tags": {"a": "\\u003c/script>"}}' in text
    assert "{{" not in text.partition("<body>")[0]
    assert "connect-src 'self'" in text


@pytest.fixture
def address():
    """Where a page is served, and what is served."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    found = Served()
    found.listen(None, listener.detach())
    yield port, found
    found.close()


def asked(port, path, host=None):
    """The answer to a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    return connection, connection.getresponse()


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/", None, 200),
        ("/", "localhost:80", 200),
        ("/?x", None, 200),
        ("/", "example.org", 403),
        ("/events", "example.org:8080", 403),
        ("/other", None, 404),
    ],
)
def test_only_this_machine_reads_the_page(address, path, host, status):
    """Under a name of its own: another page could have a name that leads here."""
    connection, answer = asked(address[0], path, host)
    assert answer.status == status
    answer.read()
    connection.close()


def test_the_stream_has_snapshots_until_the_end(address, monkeypatch):
    """The last one says so."""
    monkeypatch.setattr(module, "STREAM_EVERY_S", 0.001)
    port, found = address
    connection, answer = asked(port, "/events")
    assert answer.headers["Content-Type"] == "text/event-stream"
    first = json.loads(answer.readline().removeprefix(b"data: "))
    assert first["command"] == ""
    with found.changing():
        found.state.take(Begin("rate"))
    lines = iter(answer)
    assert any(line != b"\n" and json.loads(line.removeprefix(b"data: "))["command"] == "rate" for line in lines)
    with found.changing():
        found.closing = True
        found.changed.notify_all()
    *_, last = [line for line in lines if line != b"\n"]
    assert json.loads(last.removeprefix(b"data: "))["closed"]
    connection.close()
