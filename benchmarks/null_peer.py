"""A frontend that does nothing: answers each request with one float, as fast as Python can; prints its ports."""

from __future__ import annotations

import json

import zmq

from frontend_launch import wire
from model_containers.data_types import Buffer, DataType

OUTPUT = bytes(4)
REQUEST_ID, RESPONSE_ID = 1 + wire.REQUEST_ID, 1 + wire.RESPONSE_ID
"""Places of the ids behind the routing identity."""


def main() -> None:
    context = zmq.Context()
    responses, requests = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    for socket in (responses, requests):
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
    ports = {
        "response": responses.bind_to_random_port("tcp://127.0.0.1"),
        "request": requests.bind_to_random_port("tcp://127.0.0.1"),
    }
    print(json.dumps(ports), flush=True)
    poller = zmq.Poller()
    poller.register(responses, zmq.POLLIN)
    poller.register(requests, zmq.POLLIN)
    response: list[Buffer] = []
    while True:
        ready = dict(poller.poll())
        if responses in ready:
            client = responses.recv_multipart()[0]
            responses.send_multipart([client, *wire.encode_handshake_reply(0)])
            response = wire.encode_response_burst([client], [0], DataType.FLOATS, [OUTPUT])
        if requests in ready:
            try:
                while True:
                    frames = requests.recv_multipart(zmq.NOBLOCK, copy=False)
                    response[RESPONSE_ID] = frames[REQUEST_ID].bytes
                    responses.send_multipart(response)
            except zmq.Again:
                pass


if __name__ == "__main__":
    main()
