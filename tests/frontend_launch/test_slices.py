"""Long work of a loop, a little at a time."""

import asyncio

from frontend_launch.frontends import slices


def test_others_have_their_turn_between_two_slices(monkeypatch):
    """As often as a slice is over, and what was made is whole."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    turns = []

    async def main():
        async def others():
            while True:
                turns.append(1)
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        made = await slices.joined_in_slices(b"%d," % number for number in range(100))
        beside.cancel()
        return made

    blocks = asyncio.run(main())
    assert b"".join(blocks) == b"".join(b"%d," % number for number in range(100))
    assert len(blocks) >= 100
    assert len(turns) >= 99
