"""The head of a cluster: when it is lost, and what becomes of work on the cluster then."""

import asyncio
import contextlib
import threading

import pytest
import uvloop

from frontend_launch import cluster_head
from frontend_launch.cluster_head import ATTEMPTS, Head
from frontend_launch.errors import HeadLostError

DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(cluster_head, "EVERY_S", 0.001)
    monkeypatch.setattr(cluster_head, "LAST_TIMEOUT_S", 0.05)


class Asked:
    """A head that answers, fails or hangs, question by question, and then fails.

    Args:
        answers: of the first questions; True answers, False raises.
    """

    def __init__(self, *answers):
        self.answers, self.times = [*answers], 0

    def __call__(self):
        self.times += 1
        if not self.answers or not self.answers.pop(0):
            raise RuntimeError


@pytest.mark.parametrize(
    ("answers", "times"),
    [
        ((), ATTEMPTS),
        ((False, False), ATTEMPTS),
        ((True,) * 10, 10 + ATTEMPTS),
        ((False, False, True), 3 + ATTEMPTS),
        ((False, True, False, True), 4 + ATTEMPTS),
    ],
)
def test_a_head_is_lost_after_questions_in_a_row_without_an_answer(answers, times):
    """One answer between them is enough."""

    async def scenario():
        head = Head(asked := Asked(*answers))
        async with asyncio.timeout(DEADLINE_S):
            await head.watch()
        return head.lost, asked.times, await head.answers(), asked.times

    assert uvloop.run(scenario()) == (True, times, False, times)


def test_a_head_that_hangs_is_lost(monkeypatch):
    """Its threads do not keep the program from going on."""
    monkeypatch.setattr(cluster_head, "ANSWER_TIMEOUT_S", 0.01)
    released = threading.Event()

    async def scenario():
        head = Head(released.wait)
        async with asyncio.timeout(DEADLINE_S):
            await head.watch()
        return head.lost

    assert uvloop.run(scenario())
    released.set()


def test_a_head_that_answers_is_not_lost():
    """However often it is asked."""

    async def scenario():
        enough, loop = asyncio.Event(), asyncio.get_running_loop()
        asked = iter(range(10))
        head = Head(lambda: next(asked, None) is None and loop.call_soon_threadsafe(enough.set))
        watching = asyncio.create_task(head.watch())
        async with asyncio.timeout(DEADLINE_S):
            await enough.wait()
        watching.cancel()
        return head.lost, await head.answers()

    assert uvloop.run(scenario()) == (False, True)


async def returned(value):
    return value


async def raised(error):
    raise error


def test_work_without_a_loss():
    """What it returns, and what it raises."""

    async def scenario():
        head = Head(Asked())
        with pytest.raises(KeyError):
            await head.result_of(asyncio.ensure_future(raised(KeyError())))
        return await head.result_of(asyncio.ensure_future(returned(3)))

    assert uvloop.run(scenario()) == 3


def test_work_whose_head_is_lost():
    """What a node that is still there answers is taken; what hangs ends."""

    async def scenario():
        head, hangs = Head(Asked()), asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(head.result_of(hangs))
        async with asyncio.timeout(DEADLINE_S):
            await head.watch()
            with pytest.raises(HeadLostError, match="the connection to the head of the cluster is lost"):
                await waiting
        assert not hangs.done()
        return await head.result_of(asyncio.ensure_future(returned(3)))

    assert uvloop.run(scenario()) == 3


def test_work_goes_on_without_its_caller():
    """Ray's client reports an error where an answer is cancelled."""

    async def scenario():
        head, work = Head(Asked()), asyncio.get_running_loop().create_future()
        caller = asyncio.create_task(head.result_of(work))
        await asyncio.sleep(0)
        caller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caller
        return work.cancelled()

    assert not uvloop.run(scenario())
