"""What one client process has to do, in values only, so that another process can do it."""

from __future__ import annotations

from dataclasses import dataclass

from loadgen.load.answers import AnswerCheck
from loadgen.load.arrivals import Arrivals
from loadgen.load.inputs import InputSource
from loadgen.load.target import TargetSpec


@dataclass(frozen=True, slots=True)
class Job:
    """What one client process has to do.

    Attributes:
        target: the server and how to speak to it.
        inputs: what to send.
        window: most requests in flight; with a schedule, at more the run has failed.
        duration_s: length of the measured part; None to stop by count, or as the schedule says.
        requests: how many requests to send in all; None to stop by time.
        warmup_s: time before the measured part.
        timeout_s: patience for one reply, from its planned time if there is one; None for any.
        stall_s: time without any answer to what is in flight after which the run has failed.
        first_answer_s: the same for the very first answer; None for `stall_s`.
        log_every_s: length of a logging interval.
        drain_s: after the run, wait so long for what is outstanding.
        check: compares answers with the right ones; None to believe them.
        arrivals: when to send; None for as soon as the window allows.
        keep_requests: keep a row of each request.
        until_steady: what a schedule planned for each logging interval is kept apart, for `loadgen.load.last_part`.
        tally_ns: bounds of latencies by which ended requests are counted; None where no condition needs the counts.
        near: with one request in flight, wait for quick replies without the event loop.
        client: this client's number, from 0, ...
        clients: ... of this number: of N clients, each sends every Nth request of the schedule.
    """

    target: TargetSpec
    inputs: InputSource
    window: int
    duration_s: float | None
    requests: int | None
    warmup_s: float
    timeout_s: float | None
    stall_s: float
    first_answer_s: float | None
    log_every_s: float
    drain_s: float
    check: AnswerCheck | None = None
    arrivals: Arrivals | None = None
    keep_requests: bool = False
    until_steady: bool = False
    tally_ns: tuple[int, ...] | None = None
    near: bool = True
    client: int = 0
    clients: int = 1
