"""A client that does not run for a time reads what has arrived before it judges any deadline; in virtual time."""

import heapq
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend_launch.running_time import LATE_NS
from loadgen.load.arrivals import Renewal
from loadgen.load.dispatcher import LONGEST_CATCH_UP_NS, MAX_WAIT_NS, prepare
from loadgen.load.ending import Ending
from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.load.target import NO_REPLIES, Outcome, Replies
from model_containers.model import TensorSpec

MS = 1_000_000
S = 1000 * MS
START_NS = 10**9
SEND_NS, LOOK_NS = 2_000, 1_000
DRAIN_NS = S

JOB = Job(
    target=cast(Any, None),
    inputs=SeededInputs(TensorSpec((1,), "float32"), None, 3, 0),
    window=5,
    duration_s=1.0,
    requests=None,
    warmup_s=0.0,
    timeout_s=0.2,
    stall_s=0.5,
    first_answer_s=0.4,
    log_every_s=0.1,
    drain_s=DRAIN_NS / S,
    keep_requests=True,
)
CLOSED, OPEN = JOB, replace(JOB, arrivals=Renewal(200.0, 1.0, 0.0, 0), window=10**6)
LOOPS = st.sampled_from([CLOSED, OPEN, replace(CLOSED, timeout_s=None), replace(CLOSED, warmup_s=0.3)])


class Machine:
    """A client on a machine that stops it once, and a server that goes on; the client drains as the runner does.

    Args:
        job: what to do.
        answer_ns: what the server takes for each request in turn; None for one that it never answers.
        stopped_ns: from when the client does not run, from its start on, and for how long.
        hidden_ns: from when it runs again, so long nothing that arrived meanwhile can be read.
    """

    def __init__(self, job, answer_ns, stopped_ns, hidden_ns=0):
        self.now_ns = START_NS
        self.job, self.answer_ns, self.hidden_ns = job, answer_ns, hidden_ns
        self.stops_ns, self.goes_on_ns = START_NS + stopped_ns[0], START_NS + sum(stopped_ns)
        self.answers = []
        self.arrived_ns = {}

    def until(self, wake_ns):
        """Sleep, if the client is not stopped meanwhile."""
        next_ns = self.answers[0][0] if self.answers else wake_ns
        if self.goes_on_ns <= self.now_ns < self.goes_on_ns + self.hidden_ns:
            next_ns = max(next_ns, self.goes_on_ns + self.hidden_ns)
        self.now_ns = max(self.now_ns + LOOK_NS, min(wake_ns, next_ns))
        if self.stops_ns < self.now_ns < self.goes_on_ns:
            self.now_ns = self.goes_on_ns

    def drain(self):
        ids = []
        hidden = self.goes_on_ns <= self.now_ns < self.goes_on_ns + self.hidden_ns
        while self.answers and self.answers[0][0] <= self.now_ns and not hidden:
            arrived_ns, number = heapq.heappop(self.answers)
            self.arrived_ns[number] = arrived_ns
            ids.append(number)
        if not ids:
            return NO_REPLIES
        count = len(ids)
        return Replies(np.array(ids), np.full(count, self.now_ns), np.zeros(count, np.uint8), [b""] * count)

    def send(self, turn):
        for number in range(turn.first_id, turn.first_id + turn.send):
            if (after_ns := self.answer_ns[number % len(self.answer_ns)]) is not None:
                heapq.heappush(self.answers, (self.now_ns + SEND_NS + after_ns, number))
        self.now_ns += SEND_NS

    def run(self):
        """The record."""
        core, read = prepare(self.job)(self.now_ns), NO_REPLIES
        while (turn := core.turn(self.now_ns, read)).ended is None:
            if turn.send:
                self.send(turn)
                core.sent(turn.send, self.now_ns)
            read = self.drain()
            self.until(self.now_ns if len(read.ids) else turn.wake_ns)
        self.ended_ns, read, until_ns = self.now_ns, NO_REPLIES, self.now_ns + DRAIN_NS
        while not (found := core.drain(self.now_ns, read, until_ns))[0]:
            read = self.drain()
            self.until(self.now_ns if len(read.ids) else found[1])
        return core.finish()


@settings(max_examples=25, deadline=None)
@given(
    LOOPS,
    st.lists(st.integers(10 * MS, 150 * MS), min_size=1, max_size=5),
    st.integers(0, 1500 * MS),
    st.integers(0, 100 * S),
    st.integers(0, LONGEST_CATCH_UP_NS // 2),
)
def test_no_request_is_lost_that_the_server_answered_in_time(loop, answer_ns, from_ns, for_ns, hidden_ns):
    """However long the client did not run: before the first answer, while it measures, or while it drains."""
    machine = Machine(loop, answer_ns, (from_ns, for_ns), hidden_ns if for_ns > hidden_ns else 0)
    record = machine.run()
    assert record.ended in (Ending.DURATION, Ending.SCHEDULE)
    assert record.outcomes[Outcome.COMPLETED] == record.sent
    paused = [(until_ns - since_ns) for since_ns, until_ns in record.pauses]
    assert len(paused) <= (for_ns >= 500 * MS)
    assert all(for_ns - MAX_WAIT_NS - LATE_NS <= pause_ns <= for_ns for pause_ns in paused)
    # Each answer that arrived in the pause has an upper bound in place of its latency.
    late = {
        number
        for number, arrived_ns in machine.arrived_ns.items()
        if machine.stops_ns + MAX_WAIT_NS + LATE_NS < arrived_ns < machine.goes_on_ns
    }
    rows = record.requests[0].table(inputs=3)
    assert late <= set(rows["id"][rows["read_late"] == 1].tolist())
    assert record.upper_bounds == int(rows["read_late"].sum())


@settings(max_examples=30, deadline=None)
@given(st.integers(10 * MS, 150 * MS), st.integers(0, 100 * S))
def test_without_a_pause_nothing_is_an_upper_bound(answer_ns, from_ns):
    """Whenever it would have been."""
    record = Machine(CLOSED, [answer_ns], (from_ns, 0)).run()
    assert (record.upper_bounds, record.pauses) == (0, [])


@pytest.mark.parametrize(
    ("changes", "ended"),
    [
        ({"timeout_s": None, "first_answer_s": None}, Ending.STALLED),
        ({"timeout_s": None}, Ending.NO_ANSWER),
        ({"timeout_s": None, "duration_s": 0.3}, Ending.DURATION),
    ],
)
@given(st.integers(1, 200 * MS), st.integers(2 * S, 100 * S))
@settings(max_examples=20, deadline=None)
def test_a_server_that_does_not_answer_is_found_out(changes, ended, from_ns, for_ns):
    """By the patience that is left after the pause."""
    machine = Machine(replace(CLOSED, **{"duration_s": 300.0, **changes}), [None], (from_ns, for_ns))
    record = machine.run()
    assert record.ended is ended
    assert record.outcomes[Outcome.COMPLETED] == record.upper_bounds == 0
    assert machine.ended_ns <= machine.goes_on_ns + 500 * MS + LONGEST_CATCH_UP_NS + 2 * MAX_WAIT_NS


@given(st.integers(250 * MS, 800 * MS), st.integers(0, 100 * S))
@settings(max_examples=30, deadline=None)
def test_requests_that_the_server_forgets_time_out_all_the_same(from_ns, for_ns):
    """Every other request."""
    record = Machine(replace(CLOSED, drain_s=1.0), [20 * MS, None], (from_ns, for_ns)).run()
    assert record.outcomes[Outcome.TIMED_OUT] == record.sent // 2
    assert record.outcomes[Outcome.COMPLETED] == record.sent - record.sent // 2


@pytest.mark.parametrize("late_ns", [LATE_NS + MS, 30 * MS])
def test_a_client_that_is_always_late_still_ends(late_ns):
    """It is slow, not stopped."""

    class Slow(Machine):
        def until(self, wake_ns):
            super().until(wake_ns)
            self.now_ns += late_ns

    record = Slow(replace(CLOSED, stall_s=5.0), [20 * MS, None], (0, 0)).run()
    assert record.ended is Ending.DURATION
    assert record.outcomes[Outcome.TIMED_OUT] > 0
