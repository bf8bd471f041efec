"""Screens of the live view, drawn from records."""

import live_screens
import pytest
from live_screens import BEGAN_NS, SCREENS, SNAPSHOTS, WIDTHS, snapshots

from loadgen.feed.messages import Begin, IntervalDone, LoadBegins
from loadgen.live.screen import number
from loadgen.live.state import State
from loadgen.live.terminal import rendered
from model_containers.units import NS_PER_S


def test_the_screens_are_those_of_the_snapshots():
    """At 80 and at 120 columns."""
    assert "\n".join(snapshots()) + "\n" == SNAPSHOTS.read_text(), "python tests/support/live_screens.py"


@pytest.mark.parametrize("width", [60, *WIDTHS, 240])
@pytest.mark.parametrize("name", SCREENS)
def test_no_line_is_wider_than_the_terminal(name, width):
    """Whatever its width: a terminal would wrap it."""
    lines = rendered(SCREENS[name](), width, BEGAN_NS + 30 * NS_PER_S, colours=False)
    assert max(map(len, lines)) <= width
    assert len(lines) <= 16


def test_a_run_whose_time_is_over_waits_for_its_last_answers():
    """The end is later than the plan says."""
    lines = rendered(live_screens.measuring(), 80, BEGAN_NS + 121 * NS_PER_S, colours=False)
    assert lines[1].rstrip() == "time        2 min 00 s measured, the last answers are awaited"


def test_an_interval_without_answers_has_no_percentiles():
    """A server that does not answer."""
    state = State()
    state.take(Begin("rate"))
    state.take(live_screens.planned())
    state.take(LoadBegins(BEGAN_NS))
    state.take(IntervalDone(live_screens.interval(1, completed=0)))
    assert "latency ms  no answer yet" in "\n".join(rendered(state, 80, BEGAN_NS + 5 * NS_PER_S, colours=False))


def test_colours_need_a_terminal_that_wants_them(monkeypatch):
    """NO_COLOR asks for none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in "".join(rendered(live_screens.failing(), 80, BEGAN_NS + 30 * NS_PER_S))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in "".join(rendered(live_screens.failing(), 80, BEGAN_NS + 30 * NS_PER_S))


@pytest.mark.parametrize(("value", "text"), [(0.012346, "0.01235"), (999.4, "999.4"), (1234567.8, "1,234,568")])
def test_numbers_have_four_digits_and_separators(value, text):
    """For people."""
    assert number(value) == text
