"""Readings of counters: of several frontends as one, and what came between two of them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.counters import Counters, ModelCounters, ReplicaCounters
from frontend_launch.errors import AdminError

NUMBERS = st.integers(0, 10**12)


def readings(number):
    """Readings of a frontend whose replicas have ids of their own."""
    models = st.dictionaries(st.sampled_from(["a:1", "b:1"]), st.builds(ModelCounters, *[NUMBERS] * 7))
    replicas = st.dictionaries(
        st.sampled_from([f"a:1:{number}", f"a:1:{number + 2}"]),
        st.builds(ReplicaCounters, st.booleans(), *[NUMBERS] * 11),
    )
    dropped = st.dictionaries(st.sampled_from(["frames", "type"]), NUMBERS)
    return st.builds(Counters, *[NUMBERS] * 8, dropped, models, replicas)


@given(readings(0), readings(1))
def test_several_frontends_as_one(first, second):
    """Sums of everything but settings; replicas side by side."""
    both = Counters.merged([first, second])
    assert (both.now_ns, both.requests) == (first.now_ns + second.now_ns, first.requests + second.requests)
    assert both.unanswered == first.unanswered + second.unanswered
    assert both.replicas == {**first.replicas, **second.replicas}
    for key, model in both.models.items():
        rows = [reading.models[key] for reading in (first, second) if key in reading.models]
        assert model.batches == sum(row.batches for row in rows)
        assert model.queue_length == sum(row.queue_length for row in rows)
        assert model.max_batch == max(row.max_batch for row in rows)
    assert sum(both.dropped.values()) == sum(first.dropped.values()) + sum(second.dropped.values())
    assert Counters.merged([first]) == first


def test_a_replica_that_several_frontends_know_is_one():
    """Alive where one has it, with the age of its oldest batch; sums of the rest."""
    one = Counters(1, replicas={"a:1:0": ReplicaCounters(True, 1, oldest_batch_ns=5)})
    other = Counters(1, replicas={"a:1:0": ReplicaCounters(False, 2, oldest_batch_ns=7)})
    both = ReplicaCounters(True, 3, oldest_batch_ns=7)
    assert Counters.merged([one, other]).replicas == Counters.merged([other, one]).replicas == {"a:1:0": both}
    assert Counters.merged([one, other]).replicas["a:1:0"].alive is True


def test_the_age_of_a_batch_is_a_reading():
    """The later one's, whatever it was before."""
    earlier = Counters(1, replicas={"a:1:0": ReplicaCounters(oldest_batch_ns=9, full_batches=1, full_compute_ns=10)})
    later = Counters(2, replicas={"a:1:0": ReplicaCounters(oldest_batch_ns=4, full_batches=3, full_compute_ns=40)})
    assert later.since(earlier).replicas["a:1:0"] == ReplicaCounters(
        oldest_batch_ns=4, full_batches=2, full_compute_ns=30
    )


@given(readings(0))
def test_a_reading_survives_json_and_nothing_comes_between_it_and_itself(reading):
    """But for settings and what is read at a moment."""
    assert Counters.from_json(reading.to_json()) == reading
    nothing = reading.since(reading)
    assert nothing.now_ns == nothing.requests == nothing.unanswered == sum(nothing.dropped.values()) == 0
    assert {key: row.max_batch for key, row in nothing.models.items()} == {
        key: row.max_batch for key, row in reading.models.items()
    }


@pytest.mark.parametrize(
    ("earlier", "later", "same"),
    [
        (Counters(5, requests=3, started_ns=1), Counters(9, requests=8, started_ns=1), True),
        (Counters(5, requests=3, started_ns=1), Counters(9, requests=8, started_ns=7), False),
        (Counters(5, requests=3), Counters(9, requests=8), True),
        (Counters(5, requests=3), Counters(9, requests=2), False),
    ],
)
def test_readings_of_two_processes_do_not_subtract(earlier, later, same):
    """An earlier version does not say when it started: there a sum that went back tells."""
    assert later.continues(earlier) is same
    assert later.continues(later)


def test_members_of_a_later_version_are_ignored():
    """In the reading, and in those of models and replicas."""
    reading = Counters(7, requests=3, models={"a:1": ModelCounters(batches=1)}, replicas={"a:1:0": ReplicaCounters()})
    document = json.loads(reading.to_json())
    for members in (document, document["models"]["a:1"], document["replicas"]["a:1:0"]):
        members["of_a_later_version"] = [1]
    assert Counters.from_json(json.dumps(document)) == reading


def test_an_earlier_version_counts_no_failed_batches():
    """Its reading is read as if there were none."""
    document = json.loads(
        Counters(7, models={"a:1": ModelCounters(batches=1)}, replicas={"a:1:0": ReplicaCounters()}).to_json()
    )
    for members in (document["models"]["a:1"], document["replicas"]["a:1:0"]):
        assert members.pop("failed_batches") == 0
    assert Counters.from_json(json.dumps(document)).models["a:1"] == ModelCounters(batches=1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("{", "truncated", id="cut off"),
        pytest.param("[]", "Expected `object`, got `array`", id="a list"),
        pytest.param("{}", "missing required field `now_ns`", id="nothing in it"),
        pytest.param('{"now_ns": 1, "models": {"a:1": {"batches": "2"}}}', "at `$.models[...].batches`", id="a text"),
    ],
)
def test_what_is_no_reading_is_one_line(text, why):
    """It names what is wrong."""
    with pytest.raises(AdminError, match=f"^the frontend's counters cannot be read: .*{re.escape(why)}.*$"):
        Counters.from_json(text)
