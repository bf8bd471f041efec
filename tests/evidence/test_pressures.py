"""What a client that behaves well has beside peers that do not: all of its answers, and some latency more."""

import contextlib
import multiprocessing

import evidence
import numpy as np
import pressures
import pytest
from served import WINDOW, Beside, Served

MORE_BYTES, MORE_DESCRIPTORS = 1 << 30, 300
LONGEST_TURN_MS = 10.0
MOST_TO_CONTROL = 2.0
"""Of the p99, on a quiet machine: what exceeds the control, which shares the cores in the same way, is the frontend's
own doing."""

ROWS: dict[int, str] = {}
HEAD = (
    f"A frontend with one replica; a client with {WINDOW} requests in flight asks all the time, and each of its\n"
    "requests is answered once, by the model. Peers, client and frontend share the cores: for the control the same\n"
    "peers press another frontend of the machine, and the client is beside them only. The longest turn of the\n"
    "frontend's loop is CPU time of its thread, of a further run on a loop that keeps it.\n\n"
    "| peers | answers beside | p99 alone, ms | p99 control, ms | p99 beside, ms | to alone | to control |"
    " longest, ms | longest turn, ms | memory, MiB more | lines of the log |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def beside_peers(stack, beside, pressure, pressed):
    """The latencies of a client while peers press a frontend, its own or another one."""
    peers = multiprocessing.get_context("spawn").Process(target=pressure, args=(pressed.ports,))
    peers.start()
    stack.callback(peers.kill)
    latencies = beside.run(peers.is_alive)
    assert peers.exitcode == 0
    return latencies


def longest_turn(directory, pressure):
    """What held the loop up for longest, and for how long in ms of CPU time."""
    with contextlib.ExitStack() as stack:
        served = Served(stack, directory, directory / "turns.json")
        beside = Beside(stack, served.ports)
        served.begin_turns()
        beside_peers(stack, beside, pressure, served)
        return next(iter(served.end_turns().items()))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", range(len(pressures.ALL)), ids=[pressure.__name__ for pressure in pressures.ALL])
def test_nobody_beside_loses_anything(tmp_path, place):
    """Whatever the peers do; the frontend goes on, and has no more than it may."""
    pressure = pressures.ALL[place]
    with contextlib.ExitStack() as stack:
        served, other = Served(stack, tmp_path / "served"), Served(stack, tmp_path / "other")
        beside = Beside(stack, served.ports)
        quiet = np.percentile(beside.alone(), 99)
        control = np.percentile(beside_peers(stack, beside, pressure, other), 99)
        other.process.terminate()
        resident, descriptors, lines = served.resident_bytes(), served.descriptors(), served.log().count("\n")
        latencies = beside_peers(stack, beside, pressure, served)
        beside.alone()
        more, log = served.resident_bytes() - resident, served.log()
        assert served.process.poll() is None
        assert "Traceback" not in log
        assert more < MORE_BYTES
        assert served.descriptors() < descriptors + MORE_DESCRIPTORS
    what, turn = longest_turn(tmp_path / "turns", pressure)
    assert pressure.__doc__ is not None
    p99, said = np.percentile(latencies, 99), pressure.__doc__.strip().rstrip(".")
    ROWS[place] = (
        f"| {said} | {len(latencies):,} | {quiet:.2f} | {control:.2f} | {p99:.2f} | {p99 / quiet:.1f} | "
        f"{p99 / control:.1f} | {latencies.max():.0f} | {turn:.1f} | {more / 2**20:.0f} | "
        f"{log.count(chr(10)) - lines} |"
    )
    evidence.keep_whole("pressures", "One peer and the others", HEAD, ROWS, len(pressures.ALL))
    assert turn < LONGEST_TURN_MS, what
    assert p99 < MOST_TO_CONTROL * max(control, quiet)
