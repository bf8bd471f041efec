"""Memory is given back when a large queue has been worked off."""

import asyncio

import uvloop

from frontend_launch.frontends import memory
from frontend_launch.frontends.memory import LARGE_BYTES, MemoryReturn


def given_back(monkeypatch, *scenario):
    """How often, when so much was queued at each look; at None the loop turns, and what is due is done."""
    monkeypatch.setattr(memory, "QUIET_S", 0.0)
    queued, trims = [0], []

    async def main():
        returned = MemoryReturn(lambda: queued[0], lambda: trims.append(1))
        for step in scenario:
            if step is None:
                for _ in range(3):
                    await asyncio.sleep(0)
            else:
                queued[0] = step
                returned.update()
        returned.close()

    uvloop.run(main())
    return len(trims)


def test_once_after_a_large_queue(monkeypatch):
    """Not before it is empty, and not again before the next large one."""
    assert given_back(monkeypatch, LARGE_BYTES, 5, None) == 0
    assert given_back(monkeypatch, LARGE_BYTES, 5, 0, 0, None, 0, None) == 1
    assert given_back(monkeypatch, LARGE_BYTES, 0, None, LARGE_BYTES, 0, None) == 2


def test_not_for_small_ones_and_not_while_there_is_work(monkeypatch):
    """It takes time."""
    assert given_back(monkeypatch, LARGE_BYTES - 1, 0, None) == 0
    assert given_back(monkeypatch, LARGE_BYTES, 0, 7, None) == 0
    assert given_back(monkeypatch, LARGE_BYTES, 0, 7, None, 0, None) == 1


def test_the_library_takes_the_call():
    """Whether there is anything to give back or not."""

    async def main():
        MemoryReturn(lambda: 0)._trim_if_idle()

    uvloop.run(main())
