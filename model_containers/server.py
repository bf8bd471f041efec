"""The shell of a replica: one DEALER socket, the model call, the log, reconnection; all in one blocking loop."""

from __future__ import annotations

import logging
import signal
import time
from collections import Counter

import numpy as np
import zmq

from model_containers.answers import checked
from model_containers.batch_log import BatchLog, open_log
from model_containers.credentials import secure_client
from model_containers.data_types import Buffer, DataType
from model_containers.errors import ModelError, WireError
from model_containers.model import Model
from model_containers.session import Compute, Reconnect, Send, Session
from model_containers.settings import Settings
from model_containers.units import NS_PER_S
from model_containers.verify import samples
from model_containers.wire import BatchRequest, BatchResponse, Metadata, ReplyTimes, encode_batch_response

_EMPTY = b""
"""The output for an input that the model cannot take."""


def serve(model: Model, settings: Settings, stop: zmq.Socket[bytes] | None = None) -> None:
    """Warm up, connect, and answer batches until SIGTERM.

    Args:
        model: loaded.
        settings: see there; the name there, if any, is registered instead of the model's own.
        stop: for a server in a thread: a socket whose first message ends it, instead of the signal.

    Raises:
        ModelError: it fails already while it is warmed up.
    """
    replica = _ReplicaRuntime(model, settings)
    if stop is None:
        signal.signal(signal.SIGTERM, _leave)
    try:
        replica.warm_up()
        while replica.serve_connection(stop):
            pass
    except _Terminated:
        pass
    finally:
        replica.close()


def _received(socket: zmq.Socket[bytes]) -> list[Buffer]:
    """The frames of a message that is there; asking the socket for more after each would cost more than the frame."""
    frame = socket.recv(copy=False)
    frames: list[Buffer] = [frame.buffer]
    while frame.more:
        frame = socket.recv(copy=False)
        frames.append(frame.buffer)
    return frames


_MORE = int(zmq.SNDMORE)
"""A plain number: the library's enumerations cost more than the calls that take them."""


def _send(socket: zmq.Socket[bytes], frames: list[Buffer]) -> None:
    """Send a message by the socket's compiled method, without what pyzmq puts around it in Python."""
    send = super(zmq.Socket, socket).send
    for frame in frames[:-1]:
        send(frame, _MORE, False)
    send(frames[-1], 0, False)


class _Terminated(BaseException):
    """SIGTERM came; what a model catches, and the SystemExit that it raises, are its own."""


def _leave(*_: object) -> None:
    raise _Terminated


class _ReplicaRuntime:
    def __init__(self, model: Model, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._metadata = Metadata(settings.name or model.name, settings.version, model.input.data_type, settings.role)
        self._output_type = model.output.data_type
        self._log = open_log(settings.log_file)
        self._batches = BatchLog(self._log)
        self._faults: Counter[str] = Counter()
        self._context = zmq.Context()

    def warm_up(self) -> None:
        """Run the smallest and the largest batch, so that no request pays for what happens once."""
        for count in sorted({1, self._settings.load.max_batch}):
            began_ns = time.monotonic_ns()
            try:
                inputs = samples(self._model, count, seed=0)
                inputs.flags.writeable = False
                checked(self._model.predict(inputs), self._model.output, count)
            except (Exception, SystemExit) as error:  # a model may raise anything
                raise ModelError(f"the model cannot compute a batch of {count}: {error!r}") from None
            self._log.info("warm at batch %d after %.3f s", count, (time.monotonic_ns() - began_ns) / NS_PER_S)

    def close(self) -> None:
        """Write what is left of the log, and leave."""
        self._batches.flush()
        for kind, count in self._faults.items():
            self._log.warning("faults of the kind %s: %d in all", kind, count)
        self._context.destroy(linger=0)
        logging.shutdown()

    def serve_connection(self, stop: zmq.Socket[bytes] | None) -> bool:
        """Serve one connection; True to connect anew, because the frontend is gone."""
        address = self._settings.address
        with self._context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            secure_client(socket, self._settings.credentials)
            socket.connect(address)
            session = Session(self._metadata, time.monotonic_ns())
            socket.send_multipart(session.start().frames)
            poller = zmq.Poller()
            for watched in (socket, stop):
                if watched is not None:
                    poller.register(watched, zmq.POLLIN)
            while True:
                ready = dict(poller.poll(max(0, session.due_ns - time.monotonic_ns()) // 1_000_000 + 1))
                if stop is not None and stop in ready:
                    return False
                if socket in ready:
                    self._receive(socket, session, address)
                elif self._idle(socket, session):
                    self._log.info("nothing heard from %s for 30 s: connecting anew", address)
                    return True

    def _idle(self, socket: zmq.Socket[bytes], session: Session) -> bool:
        """Nothing arrived in time; True to reconnect."""
        self._batches.flush()
        match session.idle(time.monotonic_ns()):
            case Send(frames):
                socket.send_multipart(frames)
            case Reconnect():
                return True
        return False

    def _receive(self, socket: zmq.Socket[bytes], session: Session, address: str) -> None:
        began_ns = time.monotonic_ns()
        frames = _received(socket)
        received_ns = time.monotonic_ns()
        try:
            action = session.received(frames, received_ns)
        except WireError as error:
            self._fault(error.kind, str(error))
            return
        parsed_ns = time.monotonic_ns()
        match action:
            case Send(answer):
                socket.send_multipart(answer)
                self._log.info(
                    "registered as %s:%s at %s", self._metadata.model_name, self._metadata.model_version, address
                )
            case Compute(request):
                failures = self._failures
                outputs = self._outputs(request)
                handled_ns = time.monotonic_ns()
                failed = self._failures > failures if self._settings.reply_failures else None
                times = ReplyTimes(received_ns - began_ns, parsed_ns - received_ns, handled_ns - parsed_ns, failed)
                self._answer(socket, request, outputs, times)
                session.answered(handled_ns)
                self._batches.batch(request.message_id, times, handled_ns)

    def _answer(
        self, socket: zmq.Socket[bytes], request: BatchRequest, outputs: tuple[Buffer, ...], times: ReplyTimes
    ) -> None:
        response = BatchResponse(
            request.message_id,
            self._output_type,
            outputs,
            times if self._settings.reply_times else None,
        )
        _send(socket, encode_batch_response(response))

    def _outputs(self, request: BatchRequest) -> tuple[Buffer, ...]:
        """One output per input; inputs that the model cannot take get an empty one, the others their answer."""
        if self._metadata.input_type is DataType.STRINGS:
            batch = np.empty(request.count, dtype=object)
            batch[:] = [bytes(part) for part in request.inputs]
            return self._predict(batch)
        size = request.input_bytes
        shape = None if size is None else self._model.input.shape_of(size)
        if shape is not None:
            # Inputs of one size lie back to back: a view on what was received is the batch.
            return self._predict(self._array(request.content, (request.count, *shape)))
        return tuple(self._predict_one(part) for part in request.inputs)

    def _predict_one(self, part: Buffer) -> Buffer:
        """The output for one input among others of different sizes."""
        shape = self._model.input.shape_of(len(part))
        if shape is None:
            self._fault("input_size", f"an input of {len(part)} bytes where the model takes {self._model.input}")
            return _EMPTY
        return self._predict(self._array(part, (1, *shape)))[0]

    def _array(self, content: Buffer, shape: tuple[int, ...]) -> np.ndarray:
        array = np.frombuffer(content, dtype=self._model.input.dtype).reshape(shape)
        array.flags.writeable = False
        return array

    def _predict(self, batch: np.ndarray) -> tuple[Buffer, ...]:
        """Outputs of a batch; where it fails, those of its inputs one by one, so that a bad one fails alone."""
        count = len(batch)
        try:
            outputs = checked(self._model.predict(batch), self._model.output, count)
        except (Exception, SystemExit) as error:  # a model may raise anything, and the replica goes on
            self._fault("model", f"a batch of {count} failed: {error!r}")
            if count == 1:
                return (_EMPTY,)
            return tuple(self._predict(batch[index : index + 1])[0] for index in range(count))
        if self._output_type is DataType.STRINGS:
            return tuple(outputs)
        whole = outputs.reshape(-1).view(np.uint8).data
        size = len(whole) // count
        return tuple(whole[index * size : (index + 1) * size] for index in range(count))

    @property
    def _failures(self) -> int:
        """Failures of which outputs alone may not tell: where answers are texts, an empty one may be right."""
        wrong_size = self._faults["input_size"] if self._output_type is DataType.STRINGS else 0
        return self._faults["model"] + wrong_size

    def _fault(self, kind: str, text: str) -> None:
        """Count a fault; say so once per kind."""
        self._faults[kind] += 1
        if self._faults[kind] == 1:
            self._log.warning("%s (further ones of this kind, %s, are not logged)", text, kind)
