"""Patience does not count the time in which a process did not run."""

from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.running_time import RunningTime

STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=6)


@given(STEPS, st.integers(0, 5), st.integers(0, 40))
def test_what_began_before_has_waited_for_its_patience(steps, last, patience):
    """As counted one tick after the other: patience passes in those in which the process ran."""
    running, ran, now = RunningTime(), [], 0
    for run, gap in steps:
        ran += [True] * run + [False] * gap
        running.missed(now + run, now + run + gap)
        now += run + gap
    ran += [True] * last
    now += last
    before = running.before_ns(now, patience)
    waited = [sum(ran[began:]) for began in range(now)] + [0]
    assert {began for began in range(now + 1) if waited[began] >= patience} == set(range(before + 1))
