"""Replies one by one, and why requests failed."""

import logging
from collections import Counter

import numpy as np
import pytest

from loadgen.load.in_flight import Settled
from loadgen.load.recorder import Recorder
from loadgen.targets.mailbox import Mailbox
from loadgen.targets.reasons import MOST_REASONS, OTHER_REASONS


def test_each_reason_is_logged_once_and_counted_with_the_others_beyond_a_number(caplog):
    """Servers that put an id into each error do not fill the log."""
    mailbox = Mailbox()
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            mailbox.failed(number, f"no place for {number}")
            mailbox.failed(number, "no place for 0")
    assert len(caplog.records) == MOST_REASONS + 1
    replies = mailbox.drain()
    assert Counter(replies.reasons).most_common(2) == [("no place for 0", 101), (OTHER_REASONS, 100 - MOST_REASONS)]
    assert len(replies.ids) == 200
    assert mailbox.drain().reasons == ()


def counted(texts, requests):
    """What a recorder makes of the failures of requests; the first is read before the others come."""
    return recorded(texts, requests).failures


def recorded(texts, requests):
    """The record of such failures."""
    mailbox, recorder = Mailbox(), Recorder()
    for number, (text, request) in enumerate(zip(texts, requests, strict=True)):
        mailbox.failed(number, text, memoryview(request))
        if number in (0, 7):
            read(mailbox, recorder)
    read(mailbox, recorder)
    return recorder.record


def read(mailbox, recorder):
    replies = mailbox.drain()
    known, times = np.ones(len(replies.ids), bool), np.zeros(len(replies.ids), np.int64)
    recorder.replied(replies, Settled(known, times, times, times))


INPUTS = [f"quick{chr(ord('a') + number % 26)}fox{number}" for number in range(40)]
REQUESTS = [f'POST /x HTTP/1.1\r\nhost: a\r\n\r\n{{"text": "{text}"}}'.encode() for text in INPUTS]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("422: cannot parse '{}' as a number", "422: cannot parse '…' as a number"),
        ("422: bad input: {}", "422: bad input: …"),
        ('400: {{"detail": "no such thing", "input": "{}"}}', '400: {{"detail": "no such thing", "input": "…"}}'),
        (
            "INVALID_ARGUMENT: [id 8a31{1:04d}] odd value {0}",
            "INVALID_ARGUMENT: [id …] odd value …",
        ),
        ("503: queue is full, {1} requests wait", "503: queue is full, … requests wait"),
        ("500: at 2026-11-29T02:11:{1:02d}.123Z: overloaded", "500: at …T…Z: overloaded"),
        ("500: 123e4567-e89b-12d3-a456-4266141740{1:02d} failed", "500: … failed"),
    ],
)
def test_reasons_that_differ_in_what_is_echoed_are_one(said, reason):
    """In the request's own words, or numbers; all failures are counted under it, those that were read before too."""
    texts = [said.format(text, number) for number, text in enumerate(INPUTS)]
    assert counted(texts, REQUESTS) == {reason.format(): 40}


@pytest.mark.parametrize("clients", [2, 27, 40])
def test_reasons_are_one_whichever_client_counted_them(clients):
    """One client that saw a single text of a group, and one that saw several, count the same reason."""
    texts = [f"422: cannot parse '{text}' as a number" for text in INPUTS] + ["400: text has 3 dimensions, not 2"] * 40
    requests = REQUESTS * 2
    whole = recorded(texts[::clients], requests[::clients])
    for client in range(1, clients):
        whole.merge(recorded(texts[client::clients], requests[client::clients]))
    assert whole.failures == {"422: cannot parse '…' as a number": 40, "400: text has 3 dimensions, not 2": 40}


def test_reasons_that_are_one_text_stay_as_they_are():
    """With its numbers, and with words of the request."""
    text = "400: text has 3 dimensions, not 2"
    assert counted([text] * 40, REQUESTS) == {text: 40}


def test_reasons_of_several_statuses_are_apart():
    """Whatever they say."""
    texts = [f"{400 + number % 2}: cannot parse {text}" for number, text in enumerate(INPUTS)]
    assert counted(texts, REQUESTS) == {"400: cannot parse …": 20, "401: cannot parse …": 20}


def test_beyond_a_number_reasons_are_counted_by_status():
    """Words that are nowhere in the request cannot be told from the server's own."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [f"{500 + number % 2}: {letters[number % 26]}{letters[number // 26]}!" for number in range(40)]
    found = counted(texts, REQUESTS)
    assert len(found) == MOST_REASONS + 2
    assert (found["500: other texts"], found["501: other texts"]) == (12, 12)
    texts = [f"status {number}: x" for number in range(400)]
    assert len(counted(texts, REQUESTS * 10)) == 2 * MOST_REASONS + 1


def test_whoever_asks_is_woken_once():
    """At once where something is there already."""
    mailbox, woken = Mailbox(), []
    mailbox.notify(lambda: woken.append(1))
    mailbox.completed(1)
    mailbox.completed(2)
    assert woken == [1]
    mailbox.notify(lambda: woken.append(2))
    assert woken == [1, 2]
