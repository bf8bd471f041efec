"""Replies one by one, and why requests failed."""

import logging
from collections import Counter

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


def test_whoever_asks_is_woken_once():
    """At once where something is there already."""
    mailbox, woken = Mailbox(), []
    mailbox.notify(lambda: woken.append(1))
    mailbox.completed(1)
    mailbox.completed(2)
    assert woken == [1]
    mailbox.notify(lambda: woken.append(2))
    assert woken == [1, 2]
