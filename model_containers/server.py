"""The replica's shell: one DEALER socket, the model call, the log, reconnection; it blocks, and nothing else runs."""

from __future__ import annotations

import logging
import signal
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import zmq

from model_containers.batch_log import BatchLog, open_log
from model_containers.errors import ModelError, SettingsError, WireError
from model_containers.model import Model
from model_containers.session import Compute, Reconnect, Send, Session
from model_containers.settings import Settings
from model_containers.wire import (
    BatchRequest,
    BatchResponse,
    Buffer,
    Metadata,
    ReplyTimes,
    encode_batch_response,
)

_EMPTY = b""
"""The output for an input that the model cannot take."""


def serve(model: Model, name: str, settings: Settings, stop: zmq.Socket[bytes] | None = None) -> None:
    """Warm up, connect, and answer batches until SIGTERM.

    Args:
        model: loaded.
        name: what to register as, unless the settings say otherwise.
        settings: see there.
        stop: for a server in a thread: a socket whose first message ends it, instead of the signal.

    Raises:
        SettingsError: the model takes other inputs than the settings expect.
        ModelError: it fails already while it is warmed up.
    """
    replica = _Replica(model, name, settings)
    if stop is None:
        signal.signal(signal.SIGTERM, _leave)
    try:
        replica.warm_up()
        while replica.serve_connection(stop):
            pass
    except SystemExit:
        pass
    finally:
        replica.close()


def _leave(*_: object) -> None:
    raise SystemExit(0)


class _Replica:
    def __init__(self, model: Model, name: str, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._metadata = Metadata(settings.name or name, settings.version, model.input.data_type)
        if settings.input_type is not None and settings.input_type is not self._metadata.input_type:
            given, taken = settings.input_type, self._metadata.input_type
            raise SettingsError(f"CLIPPER_INPUT_TYPE={given.canonical}: {name} takes {taken.canonical}")
        self._log = open_log(settings.log_file)
        self._batches = BatchLog(self._log)
        self._faults: Counter[str] = Counter()
        self._context = zmq.Context()

    def warm_up(self) -> None:
        """Run the smallest and the largest batch, so that no request pays for what happens once."""
        shape = self._model.input.shape or (1,)
        for count in sorted({1, self._settings.max_batch}):
            began_ns = time.monotonic_ns()
            try:
                self._model.predict(np.zeros((count, *shape), dtype=self._model.input.dtype))
            except Exception as error:  # a model may raise anything
                raise ModelError(f"the model cannot compute a batch of {count}: {error!r}") from None
            self._log.info("warm at batch %d after %.3f s", count, (time.monotonic_ns() - began_ns) / 1e9)

    def close(self) -> None:
        """Write what is left of the log, and leave."""
        self._batches.flush()
        self._context.destroy(linger=0)
        logging.shutdown()

    def serve_connection(self, stop: zmq.Socket[bytes] | None) -> bool:
        """Serve one connection; True when there shall be another, because the frontend is gone."""
        address = f"tcp://{self._settings.host}:{self._settings.port}"
        with self._context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
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
        frames: list[Buffer] = [frame.buffer for frame in socket.recv_multipart(copy=False)]
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
                outputs = self._outputs(request)
                handled_ns = time.monotonic_ns()
                times = ReplyTimes(received_ns - began_ns, parsed_ns - received_ns, handled_ns - parsed_ns)
                self._answer(socket, request, outputs, times)
                session.answered(handled_ns)
                self._batches.batch(request.message_id, times, handled_ns)

    def _answer(
        self, socket: zmq.Socket[bytes], request: BatchRequest, outputs: tuple[Buffer, ...], times: ReplyTimes
    ) -> None:
        response = BatchResponse(
            request.message_id,
            self._model.output.data_type,
            outputs,
            times if self._settings.reply_times else None,
        )
        socket.send_multipart(encode_batch_response(response), copy=False)

    def _outputs(self, request: BatchRequest) -> tuple[Buffer, ...]:
        """One output per input; inputs that the model cannot take get an empty one, the others their answer."""
        spec = self._model.input
        if request.count * len(request.inputs[0]) == len(request.content) and len(request.inputs[0]) == (
            spec.nbytes or len(request.inputs[0])
        ):
            return self._predict(request.content, request.count)
        return self._predict_each(request.inputs)

    def _predict(self, content: Buffer, count: int) -> tuple[Buffer, ...]:
        """Outputs for inputs of one size, back to back: a view on what was received is the batch."""
        spec = self._model.output
        try:
            batch = np.frombuffer(content, dtype=self._model.input.dtype).reshape(
                count, *(self._model.input.shape or (-1,))
            )
            batch.flags.writeable = False
            outputs = np.ascontiguousarray(self._model.predict(batch))
            if outputs.shape != (count, *(spec.shape or outputs.shape[1:])) or outputs.dtype != spec.dtype:
                raise ValueError(f"the model answered with {outputs.dtype} {outputs.shape}")
        except Exception as error:  # a model may raise anything, and the replica goes on
            self._fault("model", f"a batch of {count} failed: {error!r}")
            return (_EMPTY,) * count
        whole = outputs.reshape(-1).view(np.uint8).data
        size = len(whole) // count
        return tuple(whole[index * size : (index + 1) * size] for index in range(count))

    def _predict_each(self, inputs: Sequence[Buffer]) -> tuple[Buffer, ...]:
        """Outputs for inputs of different sizes, one by one."""
        wanted = self._model.input.nbytes
        outputs: list[Buffer] = []
        for part in inputs:
            if wanted is not None and len(part) != wanted:
                self._fault("input_size", f"an input of {len(part)} bytes where the model takes {wanted}")
                outputs.append(_EMPTY)
            else:
                outputs += self._predict(part, 1)
        return tuple(outputs)

    def _fault(self, kind: str, text: str) -> None:
        """Count a fault; say so once per kind."""
        self._faults[kind] += 1
        if self._faults[kind] == 1:
            self._log.warning("%s (further ones of this kind, %s, are not logged)", text, kind)
