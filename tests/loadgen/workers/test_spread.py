"""How clients are dealt to the nodes of a cluster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.launch.cluster import Node
from loadgen.workers.spread import beside, spread


def node(name, cpus=4):
    return Node(f"id-{name}", name, f"10.0.0.{name}", cpus)


@pytest.mark.parametrize(
    ("nodes", "clients", "replicas", "dealt"),
    [
        ([node("1"), node("2"), node("3")], 3, (), {"1": (0,), "2": (1,), "3": (2,)}),
        ([node("1"), node("2"), node("3")], 5, (), {"1": (0, 3), "2": (1, 4), "3": (2,)}),
        ([node("1"), node("2"), node("3")], 2, ("1",), {"2": (0,), "3": (1,)}),
        ([node("1"), node("2")], 2, ("1",), {"2": (0,), "1": (1,)}),
        ([node("1", 2), node("2", 8)], 1, (), {"2": (0,)}),
        ([node("1", 0), node("2")], 2, (), {"2": (0, 1)}),
        ([node("1", 0)], 2, (), {}),
    ],
    ids=["one each", "in turn", "beside replicas", "with replicas last", "most cores", "no cores", "none"],
)
def test_clients_are_dealt_in_turn(nodes, clients, replicas, dealt):
    """To nodes without replicas first, to those with most cores before others."""
    assert {seat.node.name: seat.clients for seat in spread(nodes, clients, replicas)} == dealt


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ({}, {"b (2)": ((0,), ()), "a (1)": ((1,), ())}),
        ({"b (2)": (7,)}, {"a (1)": ((0,), ()), "b (2)": ((1,), (7,))}),
        ({"b": (7,)}, {"a (1)": ((0,), ()), "b (2)": ((1,), (7,))}),
        ({"a (1)": (0, 1), "b (2)": tuple(range(8))}, {"b (2)": ((0,), tuple(range(8))), "a (1)": ((1,), (0, 1))}),
    ],
    ids=["none", "of a node", "of its host", "all cores"],
)
def test_clients_go_beside_what_replicas_have(taken, expected):
    """By the names of nodes; where replicas have all cores, clients share them."""
    nodes = {"a (1)": node("a", 2), "b (2)": node("b", 8)}
    found = beside(nodes, 2, taken)
    assert {name: (seat.clients, seat.taken) for name, seat in found.items()} == expected
    assert [*found] == [*expected]


@given(st.lists(st.integers(0, 64), max_size=20), st.integers(1, 256), st.sets(st.integers(0, 19)))
def test_each_client_has_one_node(cores, clients, replicas):
    """And nodes differ by one client at most."""
    nodes = [node(str(number), cpus) for number, cpus in enumerate(cores)]
    seats = spread(nodes, clients, {*map(str, replicas)})
    if any(cores):
        assert sorted(number for seat in seats for number in seat.clients) == list(range(clients))
        counts = [len(seat.clients) for seat in seats]
        assert max(counts) - min(counts) <= 1
        assert min(counts) >= 1
        assert all(1 <= seat.cpus <= seat.node.cpus for seat in seats)
    else:
        assert seats == []
