"""The replica's side of the protocol, without sockets or clocks: frames and times in, frames and work out.

One `Session` lives as long as one connection. The replica introduces itself with a heartbeat and is asked for
its metadata; from then on it gets batches. It sends heartbeats only while it has nothing to do. It closes the
connection when a frontend that has answered before stays silent for too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from model_containers.data_types import Buffer
from model_containers.errors import WireError
from model_containers.units import NS_PER_S
from model_containers.wire import (
    BatchRequest,
    HeartbeatKind,
    HeartbeatReply,
    Metadata,
    decode_from_frontend,
    encode_heartbeat,
    encode_metadata,
)

IDLE_NS = 5 * NS_PER_S
"""Silence after which an idle replica sends a heartbeat."""

GIVE_UP_NS = 30 * NS_PER_S
"""Silence after which a frontend that has answered before counts as gone."""


class Send(NamedTuple):
    """Send these frames."""

    frames: list[Buffer]


class Compute(NamedTuple):
    """Compute this batch and send the answer."""

    request: BatchRequest


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Close the socket; go on with a new one and a new session."""


class Session:
    """One connection of a replica.

    Args:
        metadata: how it introduces itself.
        now_ns: when the connection was begun.

    Attributes:
        due_ns: when `idle` wants to be called if nothing arrives before.
    """

    def __init__(self, metadata: Metadata, now_ns: int) -> None:
        self._metadata = metadata
        self._heard_ns: int | None = None
        self.due_ns = now_ns + IDLE_NS

    def start(self) -> Send:
        """What to send first."""
        return Send(encode_heartbeat())

    def received(self, frames: Sequence[Buffer], now_ns: int) -> Send | Compute | None:
        """Take in a message.

        Args:
            frames: of one whole message.
            now_ns: monotonic clock.

        Raises:
            WireError: it does not follow the protocol; nothing else comes of it.
        """
        self._heard_ns = now_ns
        self.due_ns = now_ns + IDLE_NS
        message = decode_from_frontend(frames)
        if isinstance(message, HeartbeatReply):
            if message.kind is HeartbeatKind.KEEP_ALIVE:
                return None
            return Send(encode_metadata(self._metadata))
        if message.input_type is not self._metadata.input_type:
            given, taken = message.input_type.canonical, self._metadata.input_type.canonical
            raise WireError("input_type", f"a batch of {given} for a model that takes {taken}")
        return Compute(message)

    def answered(self, now_ns: int) -> None:
        """An answer was sent: computing was not silence of the frontend."""
        self._heard_ns = now_ns
        self.due_ns = now_ns + IDLE_NS

    def idle(self, now_ns: int) -> Send | Reconnect | None:
        """Nothing has arrived until now."""
        if now_ns < self.due_ns:
            return None
        self.due_ns = now_ns + IDLE_NS
        if self._heard_ns is None:
            return None  # ZeroMQ delivers the first heartbeat when the frontend is there
        if now_ns - self._heard_ns >= GIVE_UP_NS:
            return Reconnect()
        return Send(encode_heartbeat())
