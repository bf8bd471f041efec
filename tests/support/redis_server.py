"""A real Redis in a container, for the tests that need one."""

import atexit
import functools
import socket
import subprocess
import time

IMAGE = "redis:7-bookworm"
PORT = 6380


class RedisServer:
    """One container; it can be stopped and started, and keeps nothing when it is."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.container = _docker(
            *("run", "--detach", "--publish", f"127.0.0.1:{self.port}:{PORT}", IMAGE),
            *("redis-server", "--port", str(PORT), "--protected-mode", "no", "--save", ""),
        )
        atexit.register(self.remove)
        self.wait()

    def wait(self) -> None:
        """Until it answers."""
        give_up = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            assert time.monotonic() < give_up, _docker("logs", self.container)
            time.sleep(0.02)

    def stop(self) -> None:
        """It is gone, with all that it held."""
        _docker("stop", "--time", "0", self.container)

    def start(self) -> None:
        """It is back, empty."""
        _docker("start", self.container)
        self.wait()

    def remove(self) -> None:
        """For good."""
        subprocess.run(["docker", "rm", "--force", "--volumes", self.container], capture_output=True, check=False)


@functools.cache
def shared() -> RedisServer:
    """The one that tests share."""
    return RedisServer()


def redis_port() -> int:
    """The port of the shared one."""
    return shared().port


def _docker(*arguments: str) -> str:
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()
