"""Runs frontends as a process: ``python -m frontend_launch serve|query|management``.

`serve` is both in one process and one loop, over one store in memory; `query` and `management` are one each, over a
store in Redis. Once every port is bound a line of JSON says which; then they serve until SIGTERM, or until the
process that started them is gone.
"""

from __future__ import annotations

import os
import sys

# `-m` puts the working directory first, and a file there that has a module's name would be run in its place.
if __name__ == "__main__" and not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
    sys.path.pop(0)

import argparse
import asyncio
import contextlib
import json
import logging
import re
import resource
import signal
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path

from frontend_launch import wire
from frontend_launch.errors import FrontendLaunchError
from frontend_launch.ports import FRONTEND_PORTS, Ports, is_loopback
from model_containers import credentials, lifeline, printable

log = logging.getLogger(__name__)

FRONTENDS_FILE, CLIENTS_FILE = "frontends.json", "clients.json"
"""The files that the verb credentials writes."""

MAX_QUEUED_BYTES = 2 << 30

MAX_DESCRIPTORS = 1 << 20
"""The limit of the process, where the system allows this many: each connection is one; many shells allow 1024."""

REDIS_PASSWORD = "LOADGEN_REDIS_PASSWORD"  # noqa: S105 - the name of a variable
"""The environment variable: a list of processes shows their flags."""

_PORTS = {
    "serve": FRONTEND_PORTS,
    "query": ("request", "response", "replica", "metrics"),
    "management": ("admin",),
}
"""The ports that each verb binds."""


def main() -> None:
    """Read the flags and serve."""
    arguments = _parser().parse_args()
    if arguments.verb == "credentials":
        _make_credentials(arguments.directory)
        return
    lifeline.hold()
    printable.protect()
    handler = logging.StreamHandler()
    handler.setFormatter(printable.RecordFormatter("%(asctime)s %(levelname)-8s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    arguments.credentials = _credentials(arguments)
    _raise_descriptor_limit()
    import uvloop  # noqa: PLC0415 - a wrong flag is told without it

    try:
        uvloop.run(_serve(arguments))
    except FrontendLaunchError as error:
        sys.exit(str(error))
    except asyncio.CancelledError:  # a signal came before it served
        return


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="frontend_launch", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    defaults = {port.name: port.default for port in fields(Ports)}
    for name, help_text in (
        ("serve", "serve both frontends"),
        ("query", "serve the query frontend"),
        ("management", "serve the management frontend"),
    ):
        verb = verbs.add_parser(name, help=help_text)
        verb.add_argument("--host", type=_host, default="127.0.0.1", help="IPv4 address to bind, or a name")
        verb.add_argument(
            "--credentials",
            type=Path,
            metavar="FILE",
            help="serve only peers that have the same credentials, encrypted; the verb credentials makes them",
        )
        verb.add_argument(
            "--insecure", action="store_true", help="do not warn where other machines reach this without credentials"
        )
        verb.add_argument(
            "--allow-host",
            type=_name,
            action="append",
            default=[],
            metavar="NAME",
            help="a name that HTTP requests may address this by, beside its addresses and this machine's name",
        )
        for port in _PORTS[name]:
            verb.add_argument(f"--{port}-port", type=int, default=defaults[port], metavar="PORT")
        if name != "management":
            verb.add_argument("--max-queued-bytes", type=_bytes, default=MAX_QUEUED_BYTES, metavar="BYTES")
            verb.add_argument(
                "--max-message-bytes",
                type=_bytes,
                default=wire.MAX_MESSAGE_BYTES,
                metavar="BYTES",
                help="a peer that sends a message with a larger part is disconnected (default: 256 MiB)",
            )
            verb.add_argument(
                "--ipc-directory", type=Path, metavar="DIR", help="have sockets for clients and replicas here too"
            )
            verb.add_argument(
                "--shard", type=_shard, default=(0, 1), metavar="I/N", help="this is the I-th, from 0, of N"
            )
        if name != "serve":
            # The spelling with underscores is that of the original's frontends.
            verb.add_argument("--redis-ip", "--redis_ip", default="localhost", metavar="HOST")
            verb.add_argument("--redis-port", "--redis_port", type=int, default=6379, metavar="PORT")
    made = verbs.add_parser("credentials", help="make credentials of a deployment")
    made.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help=f"for {FRONTENDS_FILE} and, for clients and replicas, {CLIENTS_FILE}",
    )
    return parser


def _make_credentials(directory: Path) -> None:
    made = credentials.make()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.write(directory / FRONTENDS_FILE)
        made.for_clients().write(directory / CLIENTS_FILE)
    except OSError as error:
        sys.exit(f"{error.filename}: cannot be written: {error.strerror}; choose another directory")


def _credentials(arguments: argparse.Namespace) -> credentials.Credentials | None:
    """Those of the flag, else of the environment, if any; warns where other machines need none."""
    path: Path | None = arguments.credentials
    source = credentials.VARIABLE if path is None else f"--credentials {path}"
    try:
        found = credentials.of_environment() if path is None else credentials.read(path)
    except ValueError as error:
        sys.exit(f"{source}: {error}")
    if found is not None and not found.server_secret:
        sys.exit(f"{source}: these are a client's; give those of {FRONTENDS_FILE}")
    if found is None and not arguments.insecure and not is_loopback(arguments.host):
        log.warning(
            "--host %s: other machines reach these ports without credentials; add --credentials FILE, or --insecure",
            arguments.host,
        )
    return found


def _bytes(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:20]) < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: not a number of bytes; use 1 to 2^63 - 1")
    return int(text)


def _host(text: str) -> str:
    if ":" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: IPv6 is not supported; give an IPv4 address")
    return text


def _name(text: str) -> str:
    if not re.fullmatch("[^:/]+", text):
        raise argparse.ArgumentTypeError(f"{text!r}: not a name alone; leave out scheme, port and path")
    return text


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch("([0-9]{1,4})/([0-9]{1,4})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: not I/N with I below N; write such as 0/2")
    return int(match[1]), int(match[2])


async def _serve(arguments: argparse.Namespace) -> None:
    from frontend_launch.frontends import garbage  # noqa: PLC0415 - a wrong flag is told without it

    stop, starting = asyncio.Event(), asyncio.current_task()

    def end() -> None:
        if starting is not None:
            starting.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    async with _frontends(arguments) as bound:
        starting = None
        garbage.full_ones_when_told()
        ports = {name: getattr(bound, name) for name in _PORTS[arguments.verb]}
        print(json.dumps(ports), flush=True)  # noqa: T201
        await stop.wait()


@contextlib.asynccontextmanager
async def _frontends(arguments: argparse.Namespace) -> AsyncIterator[Ports]:
    from frontend_launch.frontends import assembly  # noqa: PLC0415 - a wrong flag is told without it

    wanted = Ports(**{name: getattr(arguments, f"{name}_port") for name in _PORTS[arguments.verb]})
    async with contextlib.AsyncExitStack() as stack:
        if arguments.verb == "serve":
            store = assembly.memory()
        else:
            password = os.environ.get(REDIS_PASSWORD)
            store = await stack.enter_async_context(assembly.redis(arguments.redis_ip, arguments.redis_port, password))
        if arguments.verb != "management":
            query = assembly.query(
                store,
                arguments.host,
                wanted,
                arguments.max_queued_bytes,
                arguments.max_message_bytes,
                arguments.ipc_directory,
                arguments.shard,
                arguments.allow_host,
                arguments.credentials,
            )
            wanted = await stack.enter_async_context(query)
        if arguments.verb != "query":
            wanted = await stack.enter_async_context(
                assembly.management(store, arguments.host, wanted, arguments.allow_host, arguments.credentials)
            )
        yield wanted


if __name__ == "__main__":
    main()
