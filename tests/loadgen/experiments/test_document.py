"""What the results say of how a run ended."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadgen.experiments.document import ended_because
from loadgen.load.dispatcher import MAX_UNANSWERED
from loadgen.load.ending import Ending
from loadgen.load.record import Record
from loadgen.load.target import Outcome


@pytest.mark.parametrize(
    ("timed_out", "late", "text"),
    [
        (0, 0, "300 requests are in flight, the most that --max-in-flight allows: the server is far behind"),
        (
            MAX_UNANSWERED + 5,
            5,
            "300 requests are in flight, the most that --max-in-flight allows: the server is far behind",
        ),
        (MAX_UNANSWERED + 6, 5, "1,000,000 requests timed out and have no answer yet: the server is far behind"),
    ],
)
def test_a_server_that_is_far_behind(timed_out, late, text):
    """The bound that ended the run is named: the window of the run, or that of timed-out requests."""
    record = Record(late=late)
    record.outcomes[Outcome.TIMED_OUT] = timed_out
    plan = cast(Any, SimpleNamespace(window=300))
    assert ended_because(Ending.OVERRUN, plan, cast(Any, None), record, None) == text
