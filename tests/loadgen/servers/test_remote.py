"""External servers: shared memory, and what they say of themselves."""

import asyncio
import contextlib
import errno
import os
import re
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import ClientLimitError, ConfigError
from loadgen.load import open_files
from loadgen.load.record import Record
from loadgen.load.runner import Phase
from loadgen.servers import remote_readings
from loadgen.servers.remote import SHARED_MEMORY, RemoteServer, shared
from loadgen.servers.remote_readings import RemoteReadings, samples
from loadgen.targets.address import parse_address
from loadgen.targets.http_endpoint import HttpEndpoint
from loadgen.targets.remote import TargetOptions

NAME = f"loadgen-test-{os.getpid()}"


def test_shared_memory_is_there_as_long_as_it_is_needed():
    """With the contents."""
    with shared(NAME, b"abc"):
        assert (SHARED_MEMORY / NAME).read_bytes()[:3] == b"abc"
    assert not (SHARED_MEMORY / NAME).exists()


def test_shared_memory_that_there_is_not_enough_of(monkeypatch):
    """Is refused before anything is written, which would end the process; nothing stays."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(ConfigError, match=r"shared_memory: 3 bytes cannot be had in /dev/shm \(No space left"),
        shared(NAME, b"abc"),
    ):
        pass
    assert not (SHARED_MEMORY / NAME).exists()


def test_what_goes_wrong_meanwhile_is_no_matter_of_shared_memory():
    """Errors of a run stay what they are."""
    with pytest.raises(ConnectionError), shared(NAME, b"abc"):
        raise ConnectionError
    assert not (SHARED_MEMORY / NAME).exists()


@pytest.mark.parametrize(
    ("asked", "wanted", "arrivals", "found"),
    [
        (None, 36, None, 36),
        (36, 99, None, 36),
        (None, 37, "a schedule", 36),
        (
            None,
            37,
            None,
            "a client wants 37 connections, and its limit of open files allows 36; use connections 36, ",
        ),
        (37, 1, "a schedule", "a client wants 37 connections, and its limit of open files allows 36"),
    ],
)
def test_connections_that_open_files_do_not_allow(monkeypatch, asked, wanted, arrivals, found):
    """Are refused; a schedule, which may not need them all, has as many as fit."""
    monkeypatch.setattr(open_files, "raise_limit", lambda: 36 + open_files.MARGIN)
    options = TargetOptions(parse_address("http+json://localhost:1/"), body='"$input"', connections=asked)
    server = RemoteServer(uvloop.run(HttpEndpoint.at(options)))
    plan = cast(Any, SimpleNamespace(load=SimpleNamespace(most_connections=wanted, arrivals=arrivals)))
    if isinstance(found, int):
        assert uvloop.run(server._connections(plan, cast(Any, None))) == found
    else:
        with pytest.raises(ClientLimitError, match=re.escape(found)):
            uvloop.run(server._connections(plan, cast(Any, None)))


def test_the_number_of_connections_is_logged_once(caplog):
    """However many probes a search makes; the single request that looks whether a server is idle needs no line."""
    caplog.set_level("INFO")
    options = TargetOptions(parse_address("http+json://localhost:1/"), body='"$input"')
    server = RemoteServer(uvloop.run(HttpEndpoint.at(options)))
    for most in (1, 1000, 1, 1000, 4):
        plan = cast(Any, SimpleNamespace(load=SimpleNamespace(most_connections=most, arrivals=None)))
        assert uvloop.run(server._choose_connections(plan, cast(Any, None))) == most
    numbers = [line.removeprefix("connections: ").partition(" at most")[0] for line in caplog.messages]
    assert numbers == ["1,000", "4"]


@pytest.mark.parametrize(("asked", "arrivals"), [(None, None), (7, None), (None, "a schedule")])
def test_where_no_connection_fits_only_more_open_files_help(monkeypatch, asked, arrivals):
    """No number of connections is one that the client could have."""
    monkeypatch.setattr(open_files, "raise_limit", lambda: open_files.MARGIN)
    options = TargetOptions(parse_address("http+json://localhost:1/"), body='"$input"', connections=asked)
    server = RemoteServer(uvloop.run(HttpEndpoint.at(options)))
    plan = cast(Any, SimpleNamespace(load=SimpleNamespace(most_connections=99, arrivals=arrivals)))
    with pytest.raises(ClientLimitError) as raised:
        uvloop.run(server._connections(plan, cast(Any, None)))
    assert str(raised.value) == (
        "the limit of open files leaves a client no connection (it needs 64 for itself); raise the limit (ulimit -Hn)"
    )


async def read(*answers, phases=tuple(Phase)):
    """The readings of a server whose metrics are answered so, one after the other; None is an error."""
    waiting, handlers = list(answers), set[asyncio.Task[None]]()

    async def serve(reader, writer):
        handlers.add(cast(asyncio.Task[None], asyncio.current_task()))
        if await reader.readline():
            text = waiting.pop(0)
            status, body = (503, b"") if text is None else (200, text.encode())
            writer.write(
                b"HTTP/1.1 %d x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
            )
        writer.close()
        await writer.wait_closed()

    async with asyncio.timeout(20), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        options = TargetOptions(
            parse_address(f"http+json://{at}/"), body='"$input"', metrics_url=f"http://{at}/metrics"
        )
        async with RemoteReadings(await HttpEndpoint.at(options)) as readings:
            for phase in phases:
                await readings.on_phase(phase)
            await asyncio.gather(*handlers, return_exceptions=True)
            return readings.measurements.server_metrics, readings.notes


def test_metrics_before_and_after():
    """One that is new was nothing before."""
    metrics, notes = uvloop.run(read("a_total 1\n", "a_total 3\nb_total 2\n"))
    assert (metrics, notes) == ({"a_total": [1.0, 3.0], "b_total": [0.0, 2.0]}, [])


def test_metrics_that_are_no_numbers_are_unknown():
    """Prometheus has NaN and infinity, results have neither."""
    metrics, _ = uvloop.run(read("a NaN\nb 1\n", "a 3\nb +Inf\n"))
    assert metrics == {"a": [None, 3.0], "b": [1.0, None]}


@pytest.mark.parametrize("answers", [(None, "a_total 3\n"), ("a_total 3\n", None)])
def test_metrics_that_could_be_read_once(answers):
    """Say nothing of the time between, and are left out."""
    metrics, notes = uvloop.run(read(*answers))
    assert metrics is None
    assert notes[0].endswith("/metrics cannot be read: answered with 503")
    assert notes[1] == "the server's metrics are left out: they could be read once only"


def test_a_first_reading_that_did_not_end_in_time():
    """Is said as well."""
    metrics, notes = uvloop.run(read("a_total 3\n", phases=[Phase.MEASURED_ENDS]))
    assert (metrics, notes) == (None, ["the server's metrics are left out: they could be read once only"])


@pytest.mark.parametrize("bad", ["oops", 'b_total{c="d', "b_total one", "# TYPE b_total", "# TYPE b_total huge", "=\0"])
def test_a_malformed_line_of_the_metrics_is_left_out_alone(bad):
    """The others are kept, with the names that their types give them."""
    page = "# HELP a so\n# TYPE a counter\na %d\n{}\nz 2\n"
    metrics, notes = uvloop.run(read(page.format(bad) % 1, page.format(bad) % 3))
    assert metrics == {"a_total": [1.0, 3.0], "z": [2.0, 2.0]}
    assert notes == [f"the server's metrics have a malformed line, which is left out: {bad!r}"]


def test_malformed_lines_are_counted():
    """One is shown; what the first page may have lost is unknown, not 0."""
    metrics, notes = uvloop.run(read("a 1\nb one\nc\n", "a 3\nb 1\nc 2\n"))
    assert metrics == {"a": [1.0, 3.0], "b": [None, 1.0], "c": [None, 2.0]}
    assert notes == ["the server's metrics have 2 malformed lines, which are left out: 'b one', …"]


@pytest.mark.parametrize("page", ["<html>", 'x{"q", =""} 1', 'x{a="b"} ', "# TYPE"])
def test_metrics_that_are_none(page):
    """Whatever the page is."""
    metrics, notes = uvloop.run(read(page, page))
    assert metrics is None
    assert len(notes) == 1
    assert notes[0].startswith("the server's metrics cannot be read: ")


@pytest.mark.parametrize(
    ("addresses", "counted", "kept"),
    [({}, 50, True), ({"a": 100, "b": 0}, 50, True), ({"a": 50, "b": 50}, 50, False), ({"a": 50, "b": 50}, 98, True)],
    ids=["one", "one that was used", "two servers", "two ways to one server"],
)
def test_statistics_of_one_address_of_several_are_left_out(addresses, counted, kept):
    """They miss what the others answered, unless they count all of it."""
    options = TargetOptions(parse_address("http+json://models.test:1/"), body='"$input"')
    readings = RemoteReadings(uvloop.run(HttpEndpoint.at(options)))
    count = SimpleNamespace(count=counted)
    readings.statistics = cast(Any, SimpleNamespace(succeeded=count, failed=SimpleNamespace(count=0)))
    readings._check_addresses(Record(replies=100, addresses=Counter(addresses)))
    assert (readings.statistics is not None) == kept
    note = "the server's statistics are left out: they are those of one of 2 addresses"
    assert readings.notes == ([] if kept else [note])


@pytest.mark.parametrize(("asked", "found"), [(None, 3), (1, 1)])
def test_over_grpc_each_address_has_a_connection(monkeypatch, asked, found):
    """Unless fewer were asked for."""

    async def resolve(host, port):
        return ["127.0.0.1", "127.0.0.2", "127.0.0.3"]

    monkeypatch.setattr("loadgen.servers.remote.resolve", resolve)
    options = TargetOptions(parse_address("oip+grpc://models.test:1/m"), connections=asked)
    server = RemoteServer(cast(Any, SimpleNamespace(options=options)))
    plan = cast(Any, SimpleNamespace(load=SimpleNamespace(duration_s=None, arrivals=None)))
    assert uvloop.run(server._connections(plan, cast(Any, None))) == found


def test_a_server_that_the_client_cannot_ask_is_not_gone(monkeypatch):
    """For want of files of its own; that it could not ask is a note."""

    async def check_available(_):
        raise ClientLimitError("no more files")

    monkeypatch.setattr(HttpEndpoint, "check_available", check_available)

    async def main():
        options = TargetOptions(parse_address("http+json://localhost:1/"), body='"$input"')
        async with RemoteReadings(await HttpEndpoint.at(options)) as readings:
            await readings.on_phase(Phase.MEASURED_ENDS)
            return readings

    readings = uvloop.run(main())
    assert readings.lost is None
    assert readings.notes == ["whether the server was still there at the end is not known: no more files"]


def test_a_page_of_metrics_without_an_end(monkeypatch):
    """Is left out, with a note."""
    monkeypatch.setattr(remote_readings, "MOST_METRICS_BYTES", 1000)
    metrics, notes = asyncio.run(read("x 1\n" * 300, "x 1\n"))
    assert metrics is None
    assert any("cannot be read: more than" in note for note in notes)


@given(st.text('x{"q", =}1\\#\n_'), st.text('x{"q", =}1\\#\n_'))
def test_no_page_is_too_much_for_the_reader(page, more):
    """It reads samples, or says that it cannot."""
    with contextlib.suppress(ValueError):
        samples(f"x{page}\n{more}")
