"""Runs of the program on a Ray cluster of this machine, and the processes that they have on its nodes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ray_nodes import Head, Nodes

STARTED_S, ENDED_S = 120.0, 60.0
DEPLOYMENTS = ("up", "ps", "logs", "metrics", "down")
MEASURING = ("--no-ceiling", "--allow-invalid", "--log-every", "500ms")


class Runs:
    """The program on a cluster.

    Args:
        nodes: the cluster.
        directory: for results, and for temporary directories: no other deployment is listed, nor taken down.
        common: options of all verbs that measure.
    """

    def __init__(self, nodes: Nodes | Head, directory: Path, *common: str) -> None:
        self._directory, self._common = directory, common
        self._environment = {
            "RAY_ADDRESS": nodes.address,
            "TMPDIR": str(directory),
            "RAY_TMPDIR": tempfile.gettempdir(),  # names of Ray's sockets would be too long
            "DOCKER_HOST": f"unix://{directory}/no-engine",
        }

    def _options(self, environment: dict[str, str]) -> dict[str, Any]:
        return {"env": {**os.environ, **self._environment, **environment}, "text": True}

    def _words(self, verb: str, arguments: Sequence[str]) -> list[str]:
        """The command line of the program."""
        options: list[str] = []
        if verb not in DEPLOYMENTS:
            options = ["--results-dir", str(self._directory)]
        if verb not in (*DEPLOYMENTS, "compare"):  # whose files have options of their own
            options += [*self._common, *MEASURING]
        return [sys.executable, "-m", "loadgen", verb, *options, *arguments]

    def ran(self, verb: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The program when it has ended."""
        words, options = self._words(verb, arguments), self._options(environment)
        return subprocess.run(words, capture_output=True, timeout=STARTED_S + ENDED_S, check=False, **options)

    @contextmanager
    def running(self, verb: str, *arguments: str, until: str = "thruput", **environment: str) -> Iterator[Run]:
        """The program once it has said something; by default it has measured something."""
        pipe, words, options = subprocess.PIPE, self._words(verb, arguments), self._options(environment)
        with subprocess.Popen(words, stdout=pipe, stderr=subprocess.STDOUT, **options) as process:
            run = Run(process)
            try:
                run.until(until)
                yield run
            finally:
                process.kill()
                run.exit_code()

    def results(self) -> dict[str, Any]:
        """Of the one measurement."""
        (found,) = self.all_results()
        return found

    def all_results(self) -> list[dict[str, Any]]:
        """Of each measurement, in the order of their names."""
        return [json.loads(path.read_text()) for path in sorted(self._directory.rglob("results-*.json"))]


class Run:
    """A run whose output is read as it comes.

    Args:
        process: the program.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.log = process, ""
        self._told, self._ended = threading.Condition(), False
        self._reader = threading.Thread(target=self._read, name="output")
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._told:
                self.log += line
                self._told.notify_all()
        with self._told:
            self._ended = True
            self._told.notify_all()

    def until(self, text: str) -> None:
        """Wait until it says something."""
        with self._told:
            self._told.wait_for(lambda: text in self.log or self._ended, STARTED_S)
        assert text in self.log, self.log

    def exit_code(self) -> int:
        """Wait for its end."""
        code = self.process.wait(ENDED_S)
        self._reader.join()
        return code


def gone(pids: Iterable[int]) -> bool:
    """Whether processes end within the time that nothing may stay."""
    with ExitStack() as stack:
        left = select.poll()
        running = 0
        for pid in pids:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                left.register(descriptor, select.POLLIN)
                running += 1
        limit = time.monotonic() + ENDED_S
        while running:
            ended = left.poll(max(0, limit - time.monotonic()) * 1000)
            if not ended:
                return False
            for found, _ in ended:
                left.unregister(found)
            running -= len(ended)
    return True
