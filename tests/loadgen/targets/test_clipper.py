"""The client's target against a frontend and a replica on real sockets."""

import asyncio
import contextlib
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import uvloop
import zmq
import zmq.asyncio
from peers import Client, FrontendThread, Replica

from frontend_launch import wire
from frontend_launch.wire import ResponseBurst, ipc_addresses
from loadgen.errors import TargetError, UnreachableError
from loadgen.load.inputs import SeededInputs
from loadgen.load.job import Job
from loadgen.load.runner import run
from loadgen.load.target import NO_REPLIES, Outcome, Single
from loadgen.targets import clipper
from loadgen.targets.clipper import ClipperSpec
from model_containers.data_types import DataType
from model_containers.model import TensorSpec


@pytest.fixture
def frontend():
    thread = FrontendThread()
    yield thread
    thread.close()


def spec_of(ports, output_bytes=4):
    request, response = (f"tcp://127.0.0.1:{port}" for port in (ports.request, ports.response))
    return ClipperSpec(request, response, "app", DataType.FLOATS, output_bytes, b"TIMEOUT")


def job(ports, requests, shape=(8,), output_bytes=4):
    return Job(
        target=spec_of(ports, output_bytes),
        inputs=SeededInputs(TensorSpec(shape, "float32"), None, 4, 0),
        window=100,
        duration_s=None,
        requests=requests,
        warmup_s=0.0,
        timeout_s=None,
        stall_s=20.0,
        first_answer_s=None,
        log_every_s=60.0,
        drain_s=0.0,
    )


@contextlib.contextmanager
def serving(frontend):
    """A replica that answers everything until the end, on its own thread."""
    with contextlib.ExitStack() as stack:
        replica = Replica(frontend, stack)
        replica.socket.setsockopt(zmq.RCVTIMEO, 50)
        done = threading.Event()

        def serve():
            while not done.is_set():
                with contextlib.suppress(zmq.Again):
                    replica.answer(replica.receive_batch())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize("shape", [(8,), (64, 64, 3)])
def test_every_request_is_answered(frontend, shape):
    """Small payloads, which are copied, and large ones, which are not."""
    frontend.register(batch_size=4)
    with serving(frontend):
        record = uvloop.run(run(job(frontend.ports, 2000, shape)))
    assert (record.sent, record.outcomes[Outcome.COMPLETED]) == (2000, 2000)
    assert record.late == record.unexpected == 0


def test_defaults_and_wrong_answers_are_no_completions(frontend):
    """The default output is told from an answer of the wrong size."""
    frontend.register()
    record = uvloop.run(run(job(frontend.ports, 100)))
    assert record.outcomes[Outcome.DEFAULTED] == 100
    with serving(frontend):
        record = uvloop.run(run(job(frontend.ports, 100, output_bytes=8)))
    assert record.outcomes[Outcome.FAILED] == 100
    assert record.failures == {"1 float came, 2 floats expected": 100}


def test_an_answer_of_any_size_will_do_where_the_size_may_vary(frontend):
    """No expectation, no failure."""
    frontend.register()
    with serving(frontend):
        record = uvloop.run(run(job(frontend.ports, 10, output_bytes=None)))
    assert record.outcomes[Outcome.COMPLETED] == 10


async def opened(requests, responses):
    """Open a target at these addresses, and close it."""
    target = ClipperSpec(requests, responses, "app", DataType.FLOATS, 4, b"").make()
    try:
        await target.open(SeededInputs(TensorSpec((1,), "float32"), None, 1, 0).make())
    finally:
        await target.close()


def test_nobody_there_is_one_clear_line(monkeypatch):
    """With what to check."""
    monkeypatch.setattr(clipper, "HANDSHAKE_TIMEOUT_S", 0.05)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as silent:
        port = silent.bind_to_random_port("tcp://127.0.0.1")
        address = f"tcp://127.0.0.1:{port}"
        with pytest.raises(TargetError, match=rf"tcp://127.0.0.1:{port}: no handshake within .*the port response"):
            asyncio.run(opened(address, address))


@pytest.mark.parametrize("run_loop", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("name", ["request", "response"])
def test_a_port_at_which_nothing_listens_is_refused_at_once(name, run_loop):
    """Each of the two, by its name."""
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as silent,
        socket.socket() as closed,
    ):
        closed.bind(("127.0.0.1", 0))
        ports = dict.fromkeys(("request", "response"), silent.bind_to_random_port("tcp://127.0.0.1"))
        ports[name] = closed.getsockname()[1]
        refused = rf"^tcp://127.0.0.1:{ports[name]}: cannot be reached: Connection refused; .* the port {name}$"
        with pytest.raises(UnreachableError, match=refused):
            run_loop(opened(*(f"tcp://127.0.0.1:{port}" for port in ports.values())))


def test_ids_are_complete_again_after_they_wrapped_on_the_wire():
    """Request ids are 31 bits there and without end here."""
    target = clipper.ClipperTarget(spec_of(clipper_ports()))
    target._sent = (1 << 31) + 10
    try:
        full = target._full_ids(np.array([5, 9, (1 << 31) - 1, 20, -1]))
    finally:
        asyncio.run(target.close())
    # 20 has not been sent a second time yet, so it is the first one.
    assert full.tolist() == [(1 << 31) + 5, (1 << 31) + 9, (1 << 31) - 1, 20, -1]


def clipper_ports():
    return type("Ports", (), {"request": 1, "response": 1})


def test_a_client_of_our_own_and_a_foreign_one_live_together(frontend):
    """Each gets its own answers."""
    frontend.register()
    with contextlib.ExitStack() as stack, serving(frontend):
        foreign = Client(frontend, stack)
        foreign.send(3, [4.0])
        record = uvloop.run(run(job(frontend.ports, 200)))
        assert record.outcomes[Outcome.COMPLETED] == 200
        assert np.frombuffer(foreign.receive().output, "<f4")[0] == 8.0


def test_the_frontend_has_sockets_of_this_machine_too(tmp_path):
    """Beside its ports."""
    frontend = FrontendThread(ipc_directory=tmp_path)
    try:
        frontend.register()
        request_address, response_address, _ = ipc_addresses(tmp_path)
        with serving(frontend):
            over_ipc = job(frontend.ports, 100)
            spec = replace(over_ipc.target, request_address=request_address, response_address=response_address)
            records = [uvloop.run(run(wanted)) for wanted in (replace(over_ipc, target=spec), over_ipc)]
        assert [record.outcomes[Outcome.COMPLETED] for record in records] == [100, 100]
    finally:
        frontend.close()


@pytest.mark.parametrize("output", [b"", b"abc"])
def test_an_answer_that_cannot_be_one_has_failed(output):
    """Of any size, but not of none, which is how a replica says that it could not answer, nor of half a number."""
    target = ClipperSpec("tcp://h:1", "tcp://h:2", "app", DataType.FLOATS, None, b"TIMEOUT").make()
    outcome = target._outcome
    assert outcome(b"\2\0\0\0", output) is Outcome.FAILED
    assert outcome(b"\2\0\0\0", b"abcd") is Outcome.COMPLETED
    uvloop.run(target.close())


def test_the_default_output_is_no_answer_of_a_model_of_texts():
    """Though of its type."""
    target = ClipperSpec("tcp://h:1", "tcp://h:2", "app", DataType.STRINGS, None, b"TIMEOUT").make()
    assert target._outcome(b"\4\0\0\0", b"TIMEOUT") is Outcome.DEFAULTED
    assert target._outcome(b"\4\0\0\0", b"time out") is Outcome.COMPLETED
    assert target._outcome(b"\4\0\0\0", b"") is Outcome.COMPLETED
    uvloop.run(target.close())


@pytest.mark.parametrize(
    ("expected", "size", "given", "output", "reason"),
    [
        (DataType.FLOATS, 4, DataType.FLOATS, bytes(8), "2 floats came, 1 float expected"),
        (DataType.FLOATS, None, DataType.INTS, bytes(4), "1 integer came, floats expected"),
        (DataType.FLOATS, None, DataType.FLOATS, bytes(3), "3 bytes of floats came, floats expected"),
        (DataType.FLOATS, 4, DataType.STRINGS, b"sorry", "a text such as 'sorry' came, 1 float expected"),
        (DataType.STRINGS, None, DataType.BYTES, b"a", "1 byte came, text expected"),
        (DataType.FLOATS, 4, DataType.FLOATS, b"", "the model failed on the input: the log of its replica says why"),
        (None, None, DataType.FLOATS, bytes(8), None),
        (None, None, DataType.STRINGS, b"sorry", None),
        (None, None, DataType.INTS, b"", "the model failed on the input: the log of its replica says why"),
        (None, None, 9, bytes(4), "an answer of the type 09 00 00 00, which does not exist"),
    ],
)
def test_a_failed_request_says_what_came_and_what_was_expected(expected, size, given, output, reason):
    """Where any answer will do, only what is not an answer has failed."""
    target = ClipperSpec("tcp://h:1", "tcp://h:2", "app", expected, size, b"TIMEOUT").make()
    reasons: list[str] = []
    burst = ResponseBurst(b"", [int(given).to_bytes(4, "little")] * 2, [output] * 2, {})
    outcomes = target._outcomes(burst, reasons)
    uvloop.run(target.close())
    assert set(outcomes) == {Outcome.COMPLETED if reason is None else Outcome.FAILED}
    assert reasons == ([] if reason is None else [reason] * 2)


def test_texts_where_numbers_were_expected_are_one_reason():
    """Each may be another."""
    target = ClipperSpec("tcp://h:1", "tcp://h:2", "app", DataType.FLOATS, 4, b"TIMEOUT").make()
    text = int(DataType.STRINGS).to_bytes(4, "little")
    reasons = {target._reason(text, output) for output in (b"", b"0.851", b"0.308")}
    uvloop.run(target.close())
    assert reasons == {"a text such as '' came, 1 float expected"}


def test_an_answer_of_no_numbers_by_replicas_that_are_not_known():
    """It need not be a model that failed, and loadgen has no log of it."""
    target = ClipperSpec("tcp://h:1", "tcp://h:2", "app", None, None, b"TIMEOUT", own_replicas=False).make()
    reason = target._reason(int(DataType.INTS).to_bytes(4, "little"), b"")
    uvloop.run(target.close())
    assert reason == "no integers came, as from a replica whose model failed, integers expected"


def test_a_default_output_is_none_of_any_answers():
    """Also where any answer will do."""
    target = ClipperSpec("tcp://h:1", "tcp://h:2", "app", None, None, b"TIMEOUT").make()
    assert target._outcome(b"\4\0\0\0", b"TIMEOUT") is Outcome.DEFAULTED
    uvloop.run(target.close())


@contextlib.contextmanager
def scripted(messages):
    """A server that hands out client id 7 and then sends these messages to each client that shook hands."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as responses:
        responses.setsockopt(zmq.LINGER, 0)
        responses.setsockopt(zmq.RCVTIMEO, 10_000)
        port = responses.bind_to_random_port("tcp://127.0.0.1")

        def serve():
            client = responses.recv_multipart()[0]
            responses.send_multipart([client, b"", b"\7\0\0\0"])
            for message in messages:
                responses.send_multipart([client, *message])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            thread.join()


def drained(messages, count, **fields):
    """What a target that has sent 100 requests makes of messages: ids, outcomes and outputs of `count` replies."""

    async def drain(port):
        target = replace(spec_of(type("Ports", (), {"request": port, "response": port})), **fields).make()
        try:
            await target.open(SeededInputs(TensorSpec((1,), "float32"), None, 3, 0).make())
            target.send(0, 100, 0)
            ids: list[int] = []
            outputs: list[bytes] = []
            outcomes, done_ns = [], []
            async with asyncio.timeout(10):
                while len(ids) < count:
                    arrived = asyncio.Event()
                    target.notify(arrived.set)
                    await arrived.wait()
                    replies = target.drain()
                    ids += replies.ids.tolist()
                    outcomes += replies.outcomes.tolist()
                    outputs += map(bytes, replies.outputs)
                    done_ns += replies.done_ns.tolist()
                    assert not replies.more or len(replies.ids) >= min(sum(clipper._READS), len(clipper._LARGE_READS))
            assert not target.drain().more
            assert done_ns == sorted(done_ns)
            return ids, outcomes, outputs
        finally:
            await target.close()

    with scripted(messages) as port:
        return uvloop.run(drain(port))


def reply(request_id, output=b"abcd", output_type=2):
    return [b"", request_id.to_bytes(4, "little"), output_type.to_bytes(4, "little"), output]


@pytest.mark.parametrize(
    ("answer", "output_bytes", "reason"),
    [
        (reply(1, b"abcd", 1), 4, "1 integer came, 1 float expected"),
        (reply(1, b"abcd", 77), 4, "an answer of the type 4d 00 00 00, which does not exist"),
        (reply(1, b"other", 4), 4, "a text such as 'other' came, 1 float expected"),
        (reply(1, b""), None, "the model failed on the input: the log of its replica says why"),
        (reply(1, b"abc"), None, "3 bytes of floats came, floats expected"),
        ([b"", b"x"], 4, "a message that is not an answer"),
    ],
)
def test_an_answer_that_has_failed_says_why(answer, output_bytes, reason):
    """Beside one that has not."""

    async def drain(port):
        spec = spec_of(type("Ports", (), {"request": port, "response": port}))
        target = replace(spec, output_bytes=output_bytes).make()
        try:
            await target.open(SeededInputs(TensorSpec((1,), "float32"), None, 3, 0).make())
            target.send(0, 100, 0)
            reasons: list[str] = []
            async with asyncio.timeout(10):
                while not reasons:
                    arrived = asyncio.Event()
                    target.notify(arrived.set)
                    await arrived.wait()
                    reasons += target.drain().reasons
            return reasons
        finally:
            await target.close()

    with scripted([reply(0), answer, reply(2)]) as port:
        assert uvloop.run(drain(port)) == [reason]


def test_messages_that_are_no_replies_shift_no_others():
    """They answer nothing, and the replies around them are read as they are."""
    messages = [reply(1), [b"", b"x"], reply(2), [b""] * 6, *map(reply, range(3, 40))]
    ids, outcomes, outputs = drained(messages, 41)
    assert ids == [1, -1, 2, -1, *range(3, 40)]
    assert [outcomes[index] for index in (0, 1, 3)] == [Outcome.COMPLETED, Outcome.FAILED, Outcome.FAILED]
    assert outputs[2] == b"abcd"


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("size", [4, clipper._MEDIUM_OUTPUT_BYTES, clipper._LARGE_OUTPUT_BYTES])
def test_outputs_are_kept_where_they_are_wanted(size, keep):
    """Small ones, which are copied, and large ones, which are not; they are judged in any case."""
    sent = [bytes([number]) * size for number in range(60)]
    messages = [
        *(reply(number, output) for number, output in enumerate(sent)),
        reply(60, b"TIMEOUT", 4),
        reply(61, b""),
    ]
    ids, outcomes, outputs = drained(messages, 62, output_bytes=size, keep_outputs=keep)
    assert ids == list(range(62))
    assert outcomes == [Outcome.COMPLETED] * 60 + [Outcome.DEFAULTED, Outcome.FAILED]
    assert outputs == ([*sent, b"TIMEOUT", b""] if keep else [])


def test_a_client_goes_on_with_a_frontend_that_was_restarted():
    """It shakes hands again; what the first one had is answered no more, and what follows is."""
    first = FrontendThread()
    first.register()
    frontends = [first]

    async def main() -> tuple[list[int], list[int]]:
        target = spec_of(first.ports).make()
        found: list[list[int]] = []
        try:
            await target.open(SeededInputs(TensorSpec((1,), "float32"), None, 3, 0).make())
            for first_id in (0, 10):
                target.send(first_id, 10, 0)
                ids: list[int] = []
                async with asyncio.timeout(10):
                    while len(ids) < 10:
                        await drained_once(target, ids)
                found.append(sorted(ids))
                if first_id == 0:
                    client_id = target._requests[1]
                    first.close()
                    frontends[0] = FrontendThread(ports=first.ports)
                    frontends[0].register()
                    async with asyncio.timeout(10):
                        while target._requests[1] == client_id:
                            await drained_once(target, ids)
                    (note,) = target.delivery.notes
                    assert note.startswith(f"the connection to tcp://127.0.0.1:{first.ports.response} broke: ")
                else:
                    assert len(target.delivery.notes) == 1
        finally:
            await target.close()
        return found[0], found[1]

    async def drained_once(target: clipper.ClipperTarget, ids: list[int]) -> None:
        arrived = asyncio.Event()
        target.notify(arrived.set)
        await arrived.wait()
        ids += target.drain().ids.tolist()

    try:
        assert uvloop.run(main()) == (list(range(10)), list(range(10, 20)))
        assert frontends[0].counters().requests == 10
    finally:
        frontends[0].close()


def test_a_drain_that_is_full_says_so(monkeypatch):
    """And the one that finds the last reply does not."""
    monkeypatch.setattr(clipper, "_READS", (1, 2))
    ids, _, _ = drained([*map(reply, range(64))], 64)
    assert ids == list(range(64))


def test_whatever_number_a_socket_has_it_is_heard(frontend, monkeypatch):
    """Also where the one before had the same, and its handshake was answered before anybody waited for it."""

    async def quick(socket, frames):
        socket._shadow_sock.send_multipart(frames)
        while not socket._shadow_sock.poll(0):
            pass

    async def slow(socket, frames):
        asyncio.get_running_loop().call_later(0.01, socket._shadow_sock.send_multipart, frames)

    async def scenario():
        numbers = []
        for send in (quick, slow):
            monkeypatch.setattr(zmq.asyncio.Socket, "send_multipart", send)
            target = spec_of(frontend.ports).make()
            await target.open(SeededInputs(TensorSpec((8,), "float32"), None, 1, 0).make())
            numbers.append(target._receiving.fileno())
            for _ in range(3):  # turns in which the loop begins to watch it
                await asyncio.sleep(0)
            await target.close()
        return numbers

    monkeypatch.setattr(clipper, "HANDSHAKE_TIMEOUT_S", 3.0)
    first, second = uvloop.run(scenario())
    assert first == second, "otherwise this shows nothing"


@pytest.mark.parametrize("first_id", [0, 5, clipper._ID_MASK - 3])
def test_ids_are_the_same_on_the_wire_however_many_are_sent_together(first_id):
    """One by one, and with numpy; beyond the highest they begin again."""
    together = clipper._wire_ids(first_id, 40)
    assert together == [each for number in range(40) for each in clipper._wire_ids(first_id + number, 1)]
    assert int.from_bytes(together[3], "little") == (first_id + 3) & clipper._ID_MASK


def answered_one_by_one(frontend, requests, look):
    """Send requests, each when the one before it is answered; `look` awaits a reply; how often the socket was asked."""
    frontend.register()

    async def main():
        target = spec_of(frontend.ports).make()
        asked = []
        get = target._get

        def counted(option):
            if option == clipper._EVENTS:
                asked.append(option)
            return get(option)

        try:
            await target.open(SeededInputs(TensorSpec((1,), "float32"), None, 3, 0).make())
            assert not len(target.drain().ids)
            target._get = counted
            async with asyncio.timeout(10):
                for number in range(requests):
                    target.send(number, 1, 0)
                    replies = target.drain()
                    while not len(replies.ids):
                        await look(target)
                        replies = target.drain()
                    assert replies.ids.tolist() == [number]
        finally:
            await target.close()
        return len(asked)

    with serving(frontend):
        return uvloop.run(main())


async def until_told(target):
    arrived = asyncio.Event()
    target.notify(arrived.set)
    await arrived.wait()


async def without_the_loop(target):
    """As a run does that is always late: it never awaits."""


async def after_a_look(target):
    """Which takes what the descriptor would have told."""
    await until_told(target)
    assert target._readable() or not target._quiet


def test_the_socket_is_asked_once_for_each_reply(frontend):
    """Whether there is another; the rest its descriptor tells."""
    assert answered_one_by_one(frontend, 30, until_told) == 30


@pytest.mark.parametrize("look", [without_the_loop, after_a_look])
def test_no_reply_is_overlooked(frontend, look):
    """Though the loop did not tell, or somebody else looked first."""
    assert answered_one_by_one(frontend, 30, look) >= 30


def waited(frontend, turns, requests=1, first_id=0, **changes):
    """What comes of waiting in turns, each of which sends this number of requests and waits for their answers."""

    async def main():
        target = replace(spec_of(frontend.ports), **{"keep_outputs": False, **changes}).make()
        came, owed, ends_s = [], 0, time.monotonic() + 10
        try:
            await target.open(SeededInputs(TensorSpec((1,), "float32"), None, 3, 0).make())
            assert target.wait() is NO_REPLIES  # nothing was sent
            target._received = first_id
            for turn in range(turns):
                target.send(first_id + turn * requests, requests, 0)
                owed += requests
                while owed:
                    assert time.monotonic() < ends_s
                    reply = target.wait()
                    if isinstance(reply, Single) or len(reply.ids):
                        came.append(reply)
                        owed -= 1 if isinstance(reply, Single) else len(reply.ids)
            assert not len(target.drain().ids)
            return came
        finally:
            await target.close()

    with serving(frontend):
        return uvloop.run(main())


@pytest.mark.parametrize("first_id", [0, (1 << 31) + 5], ids=["from the first", "ids that begin anew on the wire"])
def test_a_reply_is_waited_for(frontend, first_id, monkeypatch):
    """And handed out by itself, where no times come with it."""
    monkeypatch.setattr(wire, "encode_announcement", lambda clock: wire.HANDSHAKE)
    frontend.register()
    before_ns = time.monotonic_ns()
    came = waited(frontend, 5, first_id=first_id)
    alone = [reply for reply in came if isinstance(reply, Single)]
    assert [reply.request_id for reply in alone] == [first_id + number for number in range(5)]
    assert alone == came
    assert before_ns < alone[0].done_ns < time.monotonic_ns()


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [({"keep_outputs": True}, Outcome.COMPLETED), ({"output_bytes": 8}, Outcome.FAILED)],
    ids=["kept", "another size"],
)
def test_a_reply_of_which_more_is_to_be_said(frontend, changes, outcome):
    """Is handed out as any other."""
    frontend.register()
    came = waited(frontend, 3, **changes)
    assert [reply.outcomes.tolist() for reply in came] == [[outcome]] * 3
    assert sum(len(reply.outputs) for reply in came) == (3 if "keep_outputs" in changes else 0)


def test_of_several_replies_all_are_handed_out(frontend):
    """Together, but for the last one that is owed."""
    frontend.register()
    came = waited(frontend, 2, requests=3)
    assert sum(1 if isinstance(reply, Single) else len(reply.ids) for reply in came) == 6
