"""A million messages with something wrong on each socket of a frontend, with a client beside that loses nothing.

``LOADGEN_FUZZ`` says how many, and a tenth of them go to the HTTP servers.
"""

import contextlib
import multiprocessing
import os

import evidence
import fuzzing
import numpy as np
import pytest
from served import WINDOW, Beside, Served

MESSAGES = int(os.environ.get("LOADGEN_FUZZ", "1000000"))
SEED = int(os.environ.get("LOADGEN_FUZZ_SEED", "1"))
LOG_BYTES, MORE_BYTES, MORE_DESCRIPTORS = 100_000, 200 << 20, 20


@pytest.mark.timeout(3600)
def test_fuzz(tmp_path):
    """No crash, no traceback, nothing that grows; the counts of all are in the table."""
    rows = []
    with contextlib.ExitStack() as stack:
        served = Served(stack, tmp_path)
        beside = Beside(stack, served.ports)
        quiet = beside.alone()
        for place, name in enumerate((*fuzzing.SOCKETS, "http")):
            count = MESSAGES if name in fuzzing.SOCKETS else MESSAGES // 10
            before, bytes_before, descriptors = served.counters(), served.resident_bytes(), served.descriptors()
            storm = multiprocessing.get_context("spawn").Process(
                target=fuzzing.storm, args=(name, served.ports, 10 * SEED + place, count)
            )
            storm.start()
            stack.callback(storm.kill)
            latencies = beside.run(storm.is_alive)
            assert storm.exitcode == 0
            after = served.counters().since(before)
            more_bytes = served.resident_bytes() - bytes_before
            assert served.process.poll() is None
            log = served.log()
            assert "Traceback" not in log
            assert len(log) < LOG_BYTES
            assert more_bytes < MORE_BYTES
            assert served.descriptors() < descriptors + MORE_DESCRIPTORS
            p99, quiet_p99 = np.percentile(latencies, 99), np.percentile(quiet, 99)
            rows.append(
                f"| {name} | {count:,} | {sum(after.dropped.values()):,} | {len(latencies):,} | {quiet_p99:.2f} | "
                f"{p99:.2f} | {more_bytes / 2**20:.0f} |"
            )
        counters = served.counters()
        assert counters.unanswered == 0
    head = (
        f"A frontend with one replica; a client with {WINDOW} requests in flight asks all the time, and each of its\n"
        "requests is answered once, by the model. The p99 alone is that of the client before the storm.\n\n"
        "| socket | messages | refused | answers beside | p99 alone, ms | p99 beside, ms | memory, MiB more |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    text = head + "\n".join(rows)
    if MESSAGES >= 1_000_000:
        evidence.keep("fuzz", "What messages with something wrong do to a frontend", text)
    else:
        print(f"\n{text}")  # noqa: T201 - a shorter run was asked for by name
