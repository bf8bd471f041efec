"""A proxy that ends TLS in front of a server that speaks none, as an ingress does."""

import asyncio
import contextlib
import queue
import ssl
import threading
from collections.abc import Iterator

import trustme

PATIENCE_S = 10


@contextlib.contextmanager
def tls_proxy(backend: str, certificate: trustme.LeafCert, authority: trustme.CA) -> Iterator[str]:
    """Serve TLS on a port of this machine, to clients with a certificate of an authority; gives ``host:port``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    host, _, port = backend.rpartition(":")
    started: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend_reader, backend_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pump(reader, backend_writer), _pump(backend_reader, writer))

    async def main() -> None:
        stop = asyncio.Event()
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            started.put((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    own_port, loop, stop = started.get(timeout=PATIENCE_S)
    try:
        yield f"127.0.0.1:{own_port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
