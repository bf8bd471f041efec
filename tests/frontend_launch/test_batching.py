"""The queue of a model loses nothing, duplicates nothing, and keeps the order."""

from hypothesis import given
from hypothesis import strategies as st

from frontend_launch.frontends.batching import BatchQueue, Query, room


def query(number, client=0, size=4):
    return Query(client, number, "app", bytes(size), 0)


def dropped(queue, client):
    queue.begin_search()
    looked_at, found = queue.drop_some(lambda waiting: waiting.client_id == client, 1000, 0)
    assert looked_at <= 1000
    return found


def numbers(queries):
    return [query.request_id for query in queries]


@given(st.lists(st.one_of(st.just("push"), st.integers(1, 5), st.just("return")), max_size=60))
def test_batching_never_loses_duplicates_or_reorders(steps):
    """Whatever is pushed comes out once, in order; a returned batch comes out again first."""
    queue, pushed = BatchQueue(0), 0
    taken: list[int] = []
    last: tuple[Query, ...] = ()
    for step in steps:
        if step == "push":
            queue.push(query(pushed), 0)
            pushed += 1
        elif step == "return":
            del taken[len(taken) - len(last) :]
            queue.push_front(last, 0)
            last = ()
        else:
            before = len(queue)
            last = queue.take(step, 0)
            assert len(last) == min(step, before)
            taken += numbers(last)
        assert queue.queued_bytes == 4 * len(queue)
    assert taken + numbers(queue.take(1000, 0)) == list(range(pushed))


def test_dropping_a_clients_queries_leaves_the_others_in_order():
    """And gives their bytes back."""
    queue = BatchQueue(0)
    for number in range(6):
        queue.push(query(number, client=number % 2), 0)
    assert dropped(queue, 0) == 3
    assert queue.queued_bytes == 12
    assert numbers(queue.take(10, 0)) == [1, 3, 5]


@given(st.lists(st.tuples(st.sampled_from(("push", "take", "return", "begin", "look", "stale")), st.integers(0, 3))))
def test_while_queries_are_searched_the_others_stay_in_order(steps):
    """Whatever happens meanwhile: what waited all the time and is unwanted is gone when the search is over."""
    queue, pushed = BatchQueue(0), 0
    last: tuple[Query, ...] = ()
    waiting: list[Query] = []
    searched: set[int] = set()
    for step, number in steps:
        match step:
            case "push":
                waiting.append(query(pushed, client=number % 2))
                queue.push(waiting[-1], 0)
                pushed += 1
            case "take":
                last = queue.take(number, 0)
                assert list(last) == [*waiting[: len(last)]]
                assert len(last) == min(number, len(waiting))
                del waiting[: len(last)]
                searched -= set(numbers(last))
            case "stale":
                last = queue.take_stale(number, lambda _: True, 1 << 30, 0)
                assert list(last) == waiting[:number]
                del waiting[:number]
                searched -= set(numbers(last))
            case "return":
                queue.push_front(last, 0)
                waiting[:0], last = last, ()
            case "begin":
                queue.begin_search()
                searched = set(numbers(waiting))
            case "look":
                before = set(numbers(waiting))
                looked_at, found = queue.drop_some(lambda waiting: waiting.client_id == 1, number, 0)
                assert found <= looked_at <= number
                kept = set(numbers([*queue._looked_at, *queue._queries]))
                waiting = [each for each in waiting if each.request_id in kept]
                assert len(before) - len(waiting) == found
                if number and not looked_at:
                    assert not [each for each in waiting if each.client_id == 1 and each.request_id in searched]
                    searched = set()
        assert (len(queue), queue.queued_bytes) == (len(waiting), 4 * len(waiting))
    assert numbers(queue.take(1000, 0)) == numbers(waiting)


def test_what_a_replica_failed_on_goes_to_another_first():
    """It waits for one while that replica takes other queries, and goes back to it where there is no other."""
    queue = BatchQueue(0)
    for number in range(3):
        queue.push(query(number), 0)
    queue.push_front([query(number)._replace(failed_on=4) for number in (7, 8)], 0)
    assert (len(queue), queue.queued_bytes) == (5, 20)
    assert numbers(queue.take(2, 0, replica=4)) == [0, 1]
    assert numbers(queue.take(2, 0, replica=5)) == [7, 8]
    queue.push_front([query(9)._replace(failed_on=4)], 0)
    assert numbers(queue.take(2, 0)) == [9, 2]
    assert (len(queue), queue.queued_bytes) == (0, 0)
    queue.push_front([query(9, client=1)._replace(failed_on=4)], 0)
    assert queue.take(2, 0, replica=4) == ()
    assert dropped(queue, 1) == 1


def test_the_queue_says_whether_the_next_query_was_with_a_replica_before():
    """Also while queries of clients that are gone are looked for."""
    queue = BatchQueue(0)
    seen = [queue.again]
    first = Query(0, 1, "app", b"", 0)
    queue.push(first._replace(request_id=2), 0)
    seen.append(queue.again)
    for returned in (first._replace(requeued=True), first._replace(moves=1), first._replace(failed_on=3)):
        queue.push_front([returned], 0)
        queue.begin_search()
        queue.drop_some(lambda _: False, 1, 0)
        seen.append(queue.again)
        assert queue.take(1, 0) == (returned,)
        seen.append(queue.again)
    assert seen == [False, False, *(True, False) * 3]


def test_empty_time_runs_only_while_nothing_waits():
    """From the start, and again from the moment the last query leaves."""
    queue = BatchQueue(100)
    assert queue.empty_ns(110) == 10
    queue.push(query(0), 120)
    queue.push(query(1), 130)
    assert queue.empty_ns(150) == 20
    queue.take(1, 160)
    assert queue.empty_ns(170) == 20
    queue.take(1, 180)
    assert queue.take(1, 185) == ()
    assert queue.empty_ns(190) == 30


@given(st.dictionaries(st.integers(0, 5), st.integers(0, 2000), max_size=6), st.integers(100, 1000))
def test_only_one_model_that_is_alone_has_all_the_room(held, most):
    """Where there are others each has its part left, however much one of them holds."""
    full, free_bytes = room(held, most)
    if len(held) < 2:
        assert (full, free_bytes) == (frozenset(), most - sum(held.values()))
        return
    part = most // 2 // len(held)
    assert full == {model for model, of_model in held.items() if of_model >= part and sum(held.values()) >= most // 2}
    for model, of_model in held.items():
        assert model in full or free_bytes <= most - sum(held.values())
        assert model in full or of_model + free_bytes <= most // 2


def test_however_models_are_asked_the_queues_stay_within_the_bound():
    """And each model, with the others overloaded, has queries queued."""
    held, most = dict.fromkeys(range(5), 0), 1000
    full, free_bytes = room(held, most)
    for turn in range(5000):
        model = 0 if turn < 3000 else turn % 5
        if model not in full:
            held[model] += 1
            free_bytes -= 1
        if free_bytes <= 0:
            full, free_bytes = room(held, most)
            assert free_bytes > 0 or len(full) == 5
    assert sum(held.values()) <= most
    assert held == {0: 500, 1: 100, 2: 100, 3: 100, 4: 100}
