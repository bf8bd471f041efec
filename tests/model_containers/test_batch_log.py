"""The log of a replica: the seed's lines, rarely written, thinned, and bounded."""

import logging
import re

import pytest

from model_containers import batch_log
from model_containers.batch_log import BATCHES_PER_S, BatchLog, open_log
from model_containers.units import NS_PER_S
from model_containers.wire import ReplyTimes

TIMES = ReplyTimes(172_000, 195_000, 123_944_000)


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


@pytest.fixture
def lines():
    handler = Lines()
    log = logging.getLogger("batch log under test")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


@pytest.fixture
def batches(lines):
    return BatchLog(logging.getLogger("batch log under test"))


def test_an_entry_has_the_seeds_form(batches, lines):
    """Two lines: microseconds, microseconds, seconds."""
    batches.batch(1042, TIMES, 0)
    batches.flush()
    assert lines.texts == [
        "Got start of message 1042\nrecv: 172.000000 us, parse: 195.000000 us, handle: 0.123944 seconds"
    ]


def test_entries_are_written_together_once_a_second(batches, lines):
    """Not one by one."""
    for number in range(5):
        batches.batch(number, TIMES, number * NS_PER_S // 10)
    assert lines.texts == []
    batches.batch(5, TIMES, NS_PER_S)
    assert lines.texts[0].count("Got start") == 5


def test_above_the_limit_entries_are_left_out_and_counted(batches, lines):
    """Each second anew."""
    for second in range(2):
        for number in range(BATCHES_PER_S + 7):
            batches.batch(number, TIMES, second * NS_PER_S)
    batches.flush()
    for text in lines.texts:
        assert text.count("Got start") == BATCHES_PER_S
        assert text.endswith("\n7 batches left out")
    assert len(lines.texts) == 2


def test_flushing_nothing_writes_nothing(batches, lines):
    """However often."""
    batches.flush()
    batches.flush()
    assert lines.texts == []


def test_a_log_file_is_rotated_and_bounded(tmp_path, monkeypatch):
    """The file and one before it."""
    monkeypatch.setattr(batch_log, "MAX_BYTES", 10_000)
    path = tmp_path / "replica.log"
    batches = BatchLog(open_log(path))
    for second in range(100):
        for number in range(20):
            batches.batch(number, TIMES, second * NS_PER_S)
    batches.flush()
    logging.getLogger("model_containers.replica").handlers[0].close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["replica.log", "replica.log.1"]
    assert all(file.stat().st_size <= 10_000 for file in files)


def test_without_a_file_it_goes_to_standard_output(capsys):
    """As a container's log does."""
    open_log(None).info("%s", "hello")
    assert capsys.readouterr().out == "hello\n"


def test_times_are_printed_with_six_decimals(batches, lines):
    """However small or large."""
    batches.batch(0, ReplyTimes(1, 0, 60 * NS_PER_S), 0)
    batches.flush()
    assert re.search(r"recv: 0\.001000 us, parse: 0\.000000 us, handle: 60\.000000 seconds", lines.texts[0])
