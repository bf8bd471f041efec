"""How many connections are enough, with servers whose rates are known."""

import asyncio

import pytest

from loadgen.servers.connections import BACKLOG_S, choose_connections

WINDOW = 64


def tried(rate_rps, payload_bytes=8, window=WINDOW):
    """The number that is found, and all that was tried, as connections and requests in flight."""
    trials = []

    async def trial(connections, in_flight):
        trials.append((connections, in_flight))
        return rate_rps(connections, in_flight)

    found, _ = asyncio.run(choose_connections(trial, window, payload_bytes))
    return found, trials


@pytest.mark.parametrize(
    ("rate_rps", "payload_bytes", "most_in_flight"),
    [
        pytest.param(lambda _connections, _in_flight: 0.0, 8, 1, id="none in the time of a trial"),
        pytest.param(lambda _connections, _in_flight: 2.0, 1 << 30, 4, id="one after the other, large"),
        pytest.param(lambda _connections, _in_flight: 50.0, 8, 4, id="one after the other, small"),
        pytest.param(lambda _connections, in_flight: 20.0 * min(in_flight, 8), 8, 16, id="batches"),
    ],
)
def test_a_slow_server_is_not_tried_with_the_whole_window(rate_rps, payload_bytes, most_in_flight):
    """One connection is enough, and nothing is queued that would be in the way of the run."""
    found, trials = tried(rate_rps, payload_bytes)
    assert found == 1
    assert trials[-1] == (1, most_in_flight)
    assert all(in_flight <= max(4, BACKLOG_S * rate_rps(1, in_flight)) for _, in_flight in trials)


@pytest.mark.parametrize("limit", [1, 2, 4, 8])
def test_the_fewest_that_carry_nearly_as_much(limit):
    """When each carries so much, up to what the server can do."""
    found, trials = tried(lambda connections, in_flight: min(1000.0 * in_flight, 5000.0 * min(connections, limit)))
    assert found == limit
    assert {trial for trial in trials if trial[1] == WINDOW} >= {(count, WINDOW) for count in (1, 2, 4, 8)}


def test_no_more_connections_than_requests():
    """Are of any use."""
    _, trials = tried(lambda connections, in_flight: 5000.0 * in_flight * connections, window=3)
    assert max(connections for connections, _ in trials) == 2
    assert max(in_flight for _, in_flight in trials) == 3
