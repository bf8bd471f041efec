"""A server in virtual time that is slow at first, and a run with `--until-steady` on it."""

import heapq

import numpy as np

from loadgen.judging.early_stop import UntilSteady
from loadgen.load.arrivals import Arrivals
from loadgen.load.dispatcher import prepare
from loadgen.load.ending import Ending
from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.load.record import Record
from loadgen.load.target import Replies
from model_containers.model import TensorSpec
from model_containers.units import NS_PER_S

BEGAN_NS = 10**12
SLOW_S, TIMES = 5.0, 4
SERVICE_NS = 10_000_000


def simulated(
    arrivals: Arrivals | None = None,
    warmup_s: float = 0.0,
    timeout_s: float | None = None,
    client: int = 0,
    clients: int = 1,
) -> tuple[Record, int]:
    """A run on a server that takes one request after the other, in the first five seconds for four times as long.

    Returns:
        The record of the whole measured part, and the interval since which it was steady.
    """
    job = Job(
        target=None,  # type: ignore[arg-type]  # the server is this function
        inputs=SeededInputs(TensorSpec((4,), "float32"), None, 3, 0),
        window=4 if arrivals is None else 1000,
        duration_s=60.0,
        requests=None,
        warmup_s=warmup_s,
        timeout_s=timeout_s,
        stall_s=60.0,
        first_answer_s=None,
        log_every_s=0.5,
        drain_s=10.0,
        arrivals=arrivals,
        keep_requests=True,
        tally_ns=(100_000_000,),
        until_steady=True,
        client=client,
        clients=clients,
    )
    core, watcher = prepare(job)(BEGAN_NS), UntilSteady(job.log_every_s)
    now_ns, free_ns = BEGAN_NS, BEGAN_NS
    done: list[tuple[int, int]] = []
    while True:
        turn = core.turn(now_ns, _ready(done, now_ns))
        if turn.ended is not None:
            break
        for number in range(turn.first_id, turn.first_id + turn.send):
            slow = free_ns < BEGAN_NS + SLOW_S * NS_PER_S
            free_ns = max(free_ns, now_ns) + SERVICE_NS * (TIMES if slow else 1)
            heapq.heappush(done, (free_ns, number))
        if turn.send:
            core.sent(turn.send, now_ns)
        if turn.interval is not None and watcher.should_end(turn.interval):
            core.stop(Ending.ENOUGH)
        now_ns = max(now_ns + 1000, min(turn.wake_ns, done[0][0] if done else turn.wake_ns))
    drained = False
    while not drained:
        now_ns = done[0][0] if done else now_ns + NS_PER_S
        drained, _ = core.drain(now_ns, _ready(done, now_ns), now_ns + 20 * NS_PER_S)
    return core.finish(), watcher.first


def _ready(done: list[tuple[int, int]], now_ns: int) -> Replies:
    ready = []
    while done and done[0][0] <= now_ns:
        ready.append(heapq.heappop(done))
    ids = np.array([number for _, number in ready], np.int64)
    done_ns = np.array([done_ns for done_ns, _ in ready], np.int64)
    return Replies(ids, done_ns, np.zeros(len(ready), np.uint8), [b""] * len(ready))
