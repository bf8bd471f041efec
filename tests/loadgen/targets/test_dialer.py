"""When connections are made: to servers that are away, that are of no use, and that are well. Time is made up."""

import asyncio
import itertools
import selectors

import pytest

from loadgen.targets.dialer import Dialer

WANTED = 64
PAUSES_S = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


class NoWaiting(selectors.DefaultSelector):
    """Time passes when there is nothing to do but to wait, and only then."""

    now_s = 0.0

    def select(self, timeout=None):
        self.now_s += timeout or 0.0
        return super().select(0)


class Timeless(asyncio.SelectorEventLoop):
    """Its clock is its selector's."""

    def __init__(self):
        self.waits = NoWaiting()
        super().__init__(self.waits)

    def time(self):
        return self.waits.now_s


class Server:
    """Says of each attempt what becomes of it.

    Attributes:
        under_way: for each attempt, how many were under way when it began, with it.
        began_s: when it began.
    """

    def __init__(self, fates):
        self._fates = iter(fates)
        self._connected = self._now = 0
        self.under_way, self.began_s = [], []
        self.dialer = Dialer("server", self._connect, lambda: WANTED - self._connected)
        self._over = asyncio.Event()

    async def _connect(self):
        self._now += 1
        self.under_way.append(self._now)
        self.began_s.append(asyncio.get_running_loop().time())
        fate = next(self._fates, None)
        if fate != "refused at once":
            await asyncio.sleep(0)  # the others begin
        self._now -= 1
        match fate:
            case "refused" | "refused at once":
                raise ConnectionRefusedError
            case "lost":
                self.dialer.unused()
                self.dialer.open_more()
            case "answers":
                self._connected += 1
                self.dialer.answered()
            case "answers and is lost":
                self.dialer.answered()
                self.dialer.open_more()
            case "connected":
                self._connected += 1
            case None:
                self._over.set()
                await asyncio.Event().wait()
        if self._connected == WANTED:
            self._over.set()

    async def dialed(self, first):
        """Until all connections that are wanted are made, or nothing is said of an attempt."""
        async with asyncio.timeout(1000):
            await self.dialer.first(first)
            self.dialer.open_more()
            await self._over.wait()
            await self.dialer.close()


def dialed(*fates, first=1):
    """How connections were made to a server."""

    async def main():
        server = Server(fates)
        await server.dialed(first)
        return server

    with asyncio.Runner(loop_factory=Timeless) as runner:
        return runner.run(main())


def pauses_s(server, first):
    """Between the attempts from one on."""
    times_s = server.began_s[first - 1 :]
    return [later - earlier for earlier, later in itertools.pairwise(times_s)]


def test_of_a_server_that_is_well_all_that_are_wanted_are_made_at_once():
    """Beside each other and without a pause."""
    server = dialed(*["connected"] * WANTED)
    assert server.under_way == [1, *range(1, WANTED)]
    assert set(server.began_s) == {0.0}


@pytest.mark.parametrize("refused", ["refused", "refused at once"])
def test_while_the_server_is_away_one_attempt_is_under_way(refused):
    """With longer and longer pauses; when one succeeds the others are made."""
    server = dialed("connected", *[refused] * (WANTED - 1), *[refused] * 5, *["connected"] * (WANTED - 1))
    assert set(server.began_s[:WANTED]) == {0.0}
    assert server.under_way[WANTED : WANTED + 6] == [1] * 6
    assert pauses_s(server, WANTED)[:6] == pytest.approx(PAUSES_S)
    assert server.under_way[WANTED + 6 :] == [*range(1, WANTED - 1)]
    assert server.dialer.notes == ["server: no connection (ConnectionRefusedError); requests waited for the next one"]
    assert len(set(server.began_s[WANTED + 5 :])) == 1


def test_what_is_lost_unused_is_replaced_as_if_it_had_not_been_made():
    """Until one answers; that it could be connected to does not count."""
    lost, waits = ["lost"] * (WANTED - 1 + 3), ["connected"] * 2
    server = dialed("connected", *lost, *waits, "answers", *["connected"] * (WANTED - 4))
    assert server.under_way[WANTED : WANTED + 6] == [1] * 6
    assert pauses_s(server, WANTED)[:6] == pytest.approx(PAUSES_S)
    assert max(server.under_way[WANTED + 6 :]) > 1
    assert len(set(server.began_s[WANTED + 5 :])) == 1


def test_what_was_of_use_is_replaced_at_once():
    """As at servers that close each connection after an answer."""
    server = dialed("connected", *["answers and is lost"] * 1000, *["connected"] * (WANTED - 1))
    assert set(server.began_s) == {0.0}
    assert server.dialer.notes == []


def test_what_is_lost_while_the_first_are_made_is_replaced_after_them():
    """And not twice, by those who make the first and by those who make more."""
    server = dialed("answers and is lost", *["connected"] * WANTED, first=WANTED)
    assert server.under_way == [1] * (WANTED + 1)
