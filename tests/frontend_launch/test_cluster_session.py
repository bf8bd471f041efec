"""A connection to a cluster in a thread of its own: made, refused, given up, and ended with a head and without one."""

import asyncio
import atexit
import ctypes
import signal
import threading

import pytest

from frontend_launch import cluster_session
from frontend_launch.cluster_head import Head
from frontend_launch.cluster_session import Session
from frontend_launch.tasks import BLOCKING

DEADLINE_S = 60.0


class Cluster:
    """What a session connects to.

    Args:
        open: whether it takes connections, and lets them go; it blocks until then.

    Attributes:
        calls: connections and ends of them, with the thread of each.
        given_up: functions that an exit of this program calls no more.
    """

    def __init__(self, *, open: bool = True) -> None:
        self.open = threading.Event()
        self.calls: list[tuple[str, int]] = []
        self.given_up: list[object] = []
        if open:
            self.open.set()

    def connect(self) -> None:
        self.open.wait(DEADLINE_S)
        self.calls.append(("connect", threading.get_ident()))

    def disconnect(self) -> None:
        self.open.wait(DEADLINE_S)
        self.calls.append(("disconnect", threading.get_ident()))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(cluster_session, "GIVE_UP_TIMEOUT_S", 0.01)


def refuse():
    """A head that does not answer."""
    raise ConnectionError("no head")


def test_a_session_has_one_thread():
    """A cluster on this machine ends with the thread that started it."""
    cluster = Cluster()

    async def scenario():
        session = Session(cluster.connect, cluster.disconnect)
        await session.connected(DEADLINE_S)
        await session.end(Head(list))

    asyncio.run(scenario())
    (connect, thread), (disconnect, other) = cluster.calls
    assert (connect, disconnect) == ("connect", "disconnect")
    assert thread == other != threading.get_ident()


def test_what_the_connecting_raised_is_raised():
    """And there is nothing to disconnect."""
    cluster = Cluster()

    async def scenario():
        session = Session(refuse, cluster.disconnect)
        with pytest.raises(ConnectionError, match="no head"):
            await session.connected(DEADLINE_S)
        await session.end(Head(list))

    asyncio.run(scenario())
    assert cluster.calls == []


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_connection_that_is_not_made_in_time_is_given_up(monkeypatch, cancelled):
    """An exit of this program would wait for it; it ends by itself where it is made later."""
    cluster = Cluster(open=False)
    monkeypatch.setattr(atexit, "unregister", cluster.given_up.append)

    async def scenario():
        session = Session(cluster.connect, cluster.disconnect)
        connecting = asyncio.create_task(session.connected(DEADLINE_S if cancelled else 0.01))
        await asyncio.sleep(0)
        if cancelled:
            connecting.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else TimeoutError):
            await connecting
        assert cluster.given_up == [cluster.disconnect]
        cluster.open.set()
        async with asyncio.timeout(DEADLINE_S):
            await session._ended.wait()

    asyncio.run(scenario())
    assert [name for name, _ in cluster.calls] == ["connect", "disconnect"]


def test_without_a_head_the_end_is_not_waited_for(monkeypatch):
    """It may never come."""
    cluster = Cluster()
    monkeypatch.setattr(atexit, "unregister", cluster.given_up.append)
    monkeypatch.setattr(cluster_session, "END_TIMEOUT_S", DEADLINE_S)

    async def scenario():
        session = Session(cluster.connect, cluster.disconnect)
        await session.connected(DEADLINE_S)
        cluster.open.clear()
        async with asyncio.timeout(DEADLINE_S / 2):
            await session.end(Head(refuse))
        assert cluster.given_up == [cluster.disconnect]
        cluster.open.set()
        async with asyncio.timeout(DEADLINE_S):
            await session._ended.wait()

    asyncio.run(scenario())


def test_an_end_that_raises_is_an_end(monkeypatch):
    """It is not waited for, and the error is not lost."""
    raised = list[object]()
    monkeypatch.setattr(threading, "excepthook", lambda error: raised.append(error.exc_type))
    monkeypatch.setattr(cluster_session, "END_TIMEOUT_S", DEADLINE_S)

    async def scenario():
        session = Session(list, refuse)
        await session.connected(DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S / 2):
            await session.end(Head(list))

    asyncio.run(scenario())
    for thread in threading.enumerate():
        if thread.name == BLOCKING:
            thread.join(DEADLINE_S)
    assert raised == [ConnectionError]


def test_sigterm_stays_this_programs():
    """Ray puts a handler of its own below Python's while it connects, and takes it away at the end."""
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p

    def default():
        """Install the default, which ends the process; None where it was there already."""
        return libc.signal(int(signal.SIGTERM), None)

    async def scenario():
        session = Session(default, default)
        await session.connected(DEADLINE_S)
        kept_while_connected = default() is not None
        await session.end(Head(list))
        return kept_while_connected, default() is not None

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert asyncio.run(scenario()) == (True, True)
    finally:
        signal.signal(signal.SIGTERM, before)
