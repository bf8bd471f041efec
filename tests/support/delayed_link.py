"""A cable of two TAP devices, one way of which takes longer: ``delayed_link.py SLOW OTHER SECONDS``; needs root.

Frames from `SLOW` reach `OTHER` after the time, those of the other way at once, as with ``tc netem`` at the slow end.
"""

import asyncio
import fcntl
import os
import struct
import sys
from collections import deque

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x2, 0x1000
MOST_BYTES = 65_536


def tap(name: str) -> int:
    """The descriptor of a new device."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


async def main(slow: int, other: int, delay_s: float) -> None:
    """Pass frames on until a signal ends it."""
    loop, waiting = asyncio.get_running_loop(), deque[bytes]()

    def later() -> None:
        waiting.append(os.read(slow, MOST_BYTES))
        loop.call_later(delay_s, lambda: write(other, waiting.popleft()))

    def write(end: int, frame: bytes) -> None:
        try:
            os.write(end, frame)
        except OSError:  # not up yet: as an unplugged cable
            return

    loop.add_reader(slow, later)
    loop.add_reader(other, lambda: write(slow, os.read(other, MOST_BYTES)))
    print("ready", flush=True)  # noqa: T201 - for the process that started this one
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(tap(sys.argv[1]), tap(sys.argv[2]), float(sys.argv[3])))
