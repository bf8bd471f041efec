"""Each ending has what the tables of the layers above say of it."""

import json
import pickle
from pathlib import Path

import pytest

from loadgen.load.ending import Ending
from loadgen.load.record import Record

SCHEMA = Path(__file__).parents[3] / "loadgen" / "results" / "results.schema.json"
OF_CLIENTS = {Ending.ENOUGH, Ending.STOPPED}
"""The endings that only the record of a client has; what is saved says why the client was told."""


def test_the_schema_knows_every_ending():
    """That results may have."""
    assert set(json.loads(SCHEMA.read_text())["properties"]["ended"]["enum"]) == set(Ending) - OF_CLIENTS


@pytest.mark.parametrize("ended", Ending)
def test_an_ending_is_the_same_in_another_process(ended):
    """By identity, as it is compared."""
    assert pickle.loads(pickle.dumps(Record(ended=ended))).ended is ended
