"""What one model, or clients that are gone, may take of the queue of a query frontend: the others are served."""

import asyncio
import contextlib
import itertools

from peers import Beside, Client, Replica, started

from frontend_launch.frontends import query, replica_link


def leave(frontend, replica, name):
    """End a replica, and wait until the frontend knows."""
    replica.socket.close()
    frontend.until(lambda: (name, "1") not in frontend.frontend._served)


def asked(client, replica, name, queries):
    """Have a replica hold one of this number of queries, while the others wait in the queue."""
    for number in range(queries):
        client.send(number, application=name)
    return replica.receive_batch()


def test_where_the_last_replica_has_left_queries_get_the_default_output(stack):
    """After the objective of the application, also those that come later; a replica that comes back gets the next."""
    frontend = started(stack)
    beside = Beside(frontend, stack)
    frontend.register("left", objective_s=0.01, batch_size=1)
    client, replica = Client(frontend, stack), Replica(frontend, stack, "left")
    asked(client, replica, "left", 4)
    with beside.waiting():
        leave(frontend, replica, "left")
        for number in range(4, 8):
            client.send(number, application="left")
        answers = [client.receive() for _ in range(8)]
    assert sorted(answer.request_id for answer in answers) == list(range(8))
    assert {answer.output for answer in answers} == {b"TIMEOUT"}
    assert frontend.counters().default_reasons == {"no_replica": 8}
    back = Replica(frontend, stack, "left")
    client.send(8, application="left")
    back.answer(back.receive_batch())
    assert client.receive().request_id == 8
    assert frontend.counters().unanswered == 0


def test_queries_wait_for_a_replica_up_to_the_objective(stack):
    """One that comes before it is over serves them."""
    frontend = started(stack)
    frontend.register("left", objective_s=600, batch_size=8)
    client, replica = Client(frontend, stack), Replica(frontend, stack, "left")
    asked(client, replica, "left", 4)
    leave(frontend, replica, "left")
    frontend.call(turn(frontend.frontend._link._sweep))
    back = Replica(frontend, stack, "left")
    back.answer(back.receive_batch())
    assert sorted(client.receive().request_id for _ in range(4)) == [0, 1, 2, 3]
    assert frontend.counters().defaults == 0


async def turn(act):
    """Do something on the loop, and what it has scheduled."""
    act()
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_model_without_replicas_has_a_part_of_the_queue(stack):
    """What comes beyond it gets the default output at once; the others are read and served."""
    frontend = started(stack, max_queued_bytes=1000 * (256 + 4))
    beside = Beside(frontend, stack)
    frontend.register("left", objective_s=600, batch_size=1)
    client, replica = Client(frontend, stack), Replica(frontend, stack, "left")
    asked(client, replica, "left", 1)
    leave(frontend, replica, "left")
    for number in range(1, 3000):
        client.send(number, application="left")
        if number % 500 == 0:
            beside.ask()
    kept = 1000 // query.UNSERVED_SHARE
    answers = {client.receive().request_id for _ in range(3000 - kept)}
    assert answers == set(range(kept, 3000))
    beside.ask()
    counters = frontend.counters()
    assert (counters.models["left:1"].queue_length, counters.paused_ns) == (kept, 0)


def test_a_full_queue_whose_last_replica_leaves_stops_nobody(stack):
    """The oldest queries beyond the model's part get the default output, a few at a time."""
    frontend = started(stack, max_queued_bytes=4000 * (256 + 4))
    frontend.register("left", objective_s=600, batch_size=1)
    client, replica = Client(frontend, stack), Replica(frontend, stack, "left")
    asked(client, replica, "left", 4500)
    frontend.until(lambda: frontend.frontend._incoming.paused)
    leave(frontend, replica, "left")
    kept = 4000 // query.UNSERVED_SHARE
    assert {client.receive().request_id for _ in range(4500 - kept)} >= set(range(1, 3500))
    Beside(frontend, stack).ask()
    assert frontend.counters().models["left:1"].queue_length == kept


def test_what_nobody_serves_is_answered_a_few_at_a_time(stack, monkeypatch):
    """At most `EXPIRED_AT_ONCE` of all models in one turn of the loop, and those in one go."""
    monkeypatch.setattr(replica_link, "EXPIRED_AT_ONCE", 3)
    frontend = started(stack)
    client = Client(frontend, stack)
    for name in ("left", "gone"):
        frontend.register(name, objective_s=600, batch_size=1)
        replica = Replica(frontend, stack, name)
        asked(client, replica, name, 5)
        leave(frontend, replica, name)
    waiting = frontend.counters().models
    assert sum(model.queue_length for model in waiting.values()) == 10
    for entry in frontend.frontend._directory.applications.values():
        entry.objective_ns = 0
    done, expire = [0], frontend.frontend._link._expire

    def noted():
        expire()
        done.append(frontend.frontend._defaults)

    frontend.frontend._link._expire = noted
    assert len({client.receive().request_id for _ in range(10)}) == 5
    assert {after - before for before, after in itertools.pairwise(done)} <= {0, 1, 2, 3}


def test_an_overloaded_model_leaves_room_for_the_others(stack):
    """Beyond its part its queries get the default output; what was queued is served, and nothing stops being read."""
    frontend = started(stack, max_queued_bytes=1000 * (256 + 4))
    beside = Beside(frontend, stack)
    frontend.register("busy", batch_size=1000)
    client, replica = Client(frontend, stack), Replica(frontend, stack, "busy")
    first = asked(client, replica, "busy", 1)
    for number in range(1, 2001):
        client.send(number, application="busy")
        if number % 500 == 0:
            beside.ask()
    declined = {client.receive().request_id for _ in range(2000 - 500)}
    assert len(declined) == 1500
    beside.ask()
    counters = frontend.counters()
    assert (counters.default_reasons, counters.paused_ns) == ({"overloaded": 1500}, 0)
    replica.answer(first)
    replica.answer(replica.receive_batch())
    assert {client.receive().request_id for _ in range(501)} == set(range(2001)) - declined
    client.send(2001, application="busy")
    replica.answer(replica.receive_batch())
    assert client.receive().request_id == 2001


def test_the_queries_of_clients_that_are_gone_are_searched_a_few_at_a_time(stack, monkeypatch):
    """However many wait."""
    monkeypatch.setattr(query, "LOOKED_AT_ONCE", 10)
    frontend = started(stack)
    frontend.register("busy", batch_size=4)
    replica = Replica(frontend, stack, "busy")
    first = asked(Client(frontend, stack), replica, "busy", 1)
    with contextlib.ExitStack() as life:
        gone = [Client(frontend, life) for _ in range(4)]
        for number in range(50):
            for client in gone:
                client.send(number, application="busy")
        frontend.until(lambda: frontend.frontend._requests == 201)
    dropped, search = [0], frontend.frontend._search_some

    def noted():
        search()
        dropped.append(frontend.frontend._dropped_queries)

    async def note():
        frontend.frontend._search_some = noted

    frontend.call(note())
    replica.answer(first)
    while frontend.counters().unanswered:
        if replica.socket.poll(10):
            replica.answer(replica.receive_batch())
    assert max(later - earlier for earlier, later in itertools.pairwise(dropped)) <= 10
    assert dropped[-1] > 150
