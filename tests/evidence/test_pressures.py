"""What a client that behaves well has beside peers that do not: all of its answers, and some latency more."""

import contextlib
import multiprocessing

import evidence
import numpy as np
import pressures
import pytest
from served import WINDOW, Beside, Served

MORE_BYTES, MORE_DESCRIPTORS = 1 << 30, 300
ROWS: dict[int, str] = {}
HEAD = (
    f"A frontend with one replica; a client with {WINDOW} requests in flight asks all the time, and each of its\n"
    "requests is answered once, by the model. Peers, client and frontend share the cores.\n\n"
    "| peers | answers beside | p99 alone, ms | p99 beside, ms | longest, ms | memory, MiB more | lines of the log |\n"
    "|---|---|---|---|---|---|---|"
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", range(len(pressures.ALL)), ids=[pressure.__name__ for pressure in pressures.ALL])
def test_nobody_beside_loses_anything(tmp_path, place):
    """Whatever the peers do; the frontend goes on, and has no more than it may."""
    pressure = pressures.ALL[place]
    with contextlib.ExitStack() as stack:
        served = Served(stack, tmp_path)
        beside = Beside(stack, served.ports)
        quiet = np.percentile(beside.alone(), 99)
        resident, descriptors, lines = served.resident_bytes(), served.descriptors(), served.log().count("\n")
        peers = multiprocessing.get_context("spawn").Process(target=pressure, args=(served.ports,))
        peers.start()
        stack.callback(peers.kill)
        latencies = beside.run(peers.is_alive)
        assert peers.exitcode == 0
        beside.alone()
        more, log = served.resident_bytes() - resident, served.log()
        assert served.process.poll() is None
        assert "Traceback" not in log
        assert more < MORE_BYTES
        assert served.descriptors() < descriptors + MORE_DESCRIPTORS
    assert pressure.__doc__ is not None
    p99, said = np.percentile(latencies, 99), pressure.__doc__.strip().rstrip(".")
    ROWS[place] = (
        f"| {said} | {len(latencies):,} | {quiet:.2f} | {p99:.2f} | "
        f"{latencies.max():.0f} | {more / 2**20:.0f} | {log.count(chr(10)) - lines} |"
    )
    evidence.keep_whole("pressures", "One peer and the others", HEAD, ROWS, len(pressures.ALL))
