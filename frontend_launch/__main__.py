"""``python -m frontend_launch serve``: both frontends in one process and one loop, over one store in memory.

Once every port is bound it prints them as one line of JSON; then it serves until SIGTERM, or until the
process that started it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from dataclasses import fields

from frontend_launch.errors import FrontendLaunchError
from frontend_launch.ports import Ports
from model_containers import lifeline

MAX_QUEUED_BYTES = 2 << 30


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(prog="frontend_launch", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="serve both frontends")
    serve.add_argument("--host", default="127.0.0.1")
    for port in fields(Ports):
        serve.add_argument(f"--{port.name}-port", type=int, default=port.default, metavar="PORT")
    serve.add_argument("--max-queued-bytes", type=int, default=MAX_QUEUED_BYTES, metavar="BYTES")
    arguments = parser.parse_args()
    lifeline.hold()
    logging.basicConfig(format="%(asctime)s %(levelname)-8s %(message)s", level=logging.INFO)
    import uvloop  # noqa: PLC0415 - a wrong flag is told without it

    ports = Ports(**{port.name: getattr(arguments, f"{port.name}_port") for port in fields(Ports)})
    try:
        uvloop.run(_serve(arguments.host, ports, arguments.max_queued_bytes))
    except FrontendLaunchError as error:
        sys.exit(str(error))


async def _serve(host: str, ports: Ports, max_queued_bytes: int) -> None:
    from frontend_launch.frontends.embedded import frontends  # noqa: PLC0415

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with frontends(host, ports, max_queued_bytes) as bound:
        print(json.dumps({port.name: getattr(bound, port.name) for port in fields(Ports)}), flush=True)  # noqa: T201
        await stop.wait()


if __name__ == "__main__":
    main()
