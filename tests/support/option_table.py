"""Every option of every verb with wrong values, generated from the command itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from program import LOADGEN, asked

from frontend_launch import models
from frontend_launch.errors import DescribeError
from loadgen import plan
from loadgen.cli import exit_codes
from loadgen.cli.verbs import commands
from model_containers import catalog, settings
from model_containers.errors import ModelContainersError
from model_containers.model import Description

ANSWERS = (exit_codes.OK, exit_codes.THRESHOLD, exit_codes.UNDECIDED)
"""Codes of what was done as asked; `best` decides, though it measures nothing."""

CODES = (*ANSWERS, exit_codes.CONFIG, exit_codes.PLACEMENT, exit_codes.LAUNCH, exit_codes.TARGET)
"""How a command may end that measures nothing."""


FILE = "FILE"
"""Stands for a results file of the test's own, which a wrong value may overwrite."""

MODEL = ("-m", "noop")
NEEDED: dict[str, tuple[str, ...]] = {
    "saturate": (*MODEL, "--dry-run"),
    "rate": (*MODEL, "--dry-run", "--rate", "5"),
    "sweep": (*MODEL, "--dry-run"),
    "capacity": (*MODEL, "--dry-run", "--slo", "p99<1s"),
    "size": (*MODEL, "--dry-run", "--rate", "5", "--slo", "p50<1s"),
    "up": MODEL,
    "report": (FILE,),
    "compare": (FILE, FILE),
    "best": (FILE, "--rate", "5", "--slo", "p99<1s"),
    "models verify": ("noop",),
    "images build": ("noop",),
}
"""What a verb wants beside the option."""

BESIDE: dict[str, tuple[str, ...]] = {
    "app": ("--connect", "127.0.0.1"),
    "topology": ("--dry-run",),
    "image": ("--runtime", "docker"),
    "arrivals": ("--rates", "5"),
}
"""What an option wants beside it."""

ENDPOINTS = ("body", "method", "content_type", "form")
"""Options of requests to any server that speaks HTTP."""

TARGETS = (
    *("connections", "header", "token_file", "tls_ca", "tls_cert", "tls_key", "answer", "metrics_url", "parameter"),
    *("unix_socket", "tls_server_name", "wait_ready"),
    *ENDPOINTS,
)
"""Options that want an external server."""

FEW = ("", "-1", "1e309", "x" * 5000, "line\nline", "٣")
WRONG = (
    *FEW,
    *("text", "/", " ", "0", "0.5", "-1e309", "nan", "9" * 30, "9" * 5000, "\x1b[31m\x07", "\x00", "\udcff", "@", ","),
    *("1" + ",1" * 70_000, "/nowhere/at/all", "/dev/full", FILE),
)
"""Values that are wrong for most options; what is right for some is shown to be harmless."""


@dataclass(frozen=True, slots=True)
class Case:
    """An option of a verb.

    Attributes:
        verb: the words that name it.
        parameter: as typer has it.
    """

    verb: str
    parameter: Any

    @property
    def name(self) -> str:
        """For the test's own name."""
        return f"{self.verb} {self.parameter.name}"

    def words(self, value: str, file: str) -> list[str]:
        """The command with the option's value, in one word.

        Args:
            value: of the option.
            file: a results file.
        """
        return [file if word == FILE else word.replace(f"={FILE}", f"={file}") for word in self._words(value)]

    def _words(self, value: str) -> list[str]:
        parameter, base = self.parameter, list(NEEDED.get(self.verb, ()))
        if parameter.param_type_name == "argument":
            return [*self.verb.split(), "--", value]
        given = set(parameter.opts)
        for at in range(len(base) - 1, -1, -1):  # given once
            if base[at] in given:
                del base[at : at + 2]
        base += BESIDE.get(parameter.name, ()) if self.verb != "capacity" else ()
        if parameter.name in TARGETS:
            base = [word for word in base if word not in MODEL]
            scheme = "http" if parameter.name in ENDPOINTS else "http+json"
            scheme = "oip+grpcs" if parameter.name.startswith("tls") else scheme
            base += ["--target", f"{scheme}://127.0.0.1:9/x", *(("--body", "@") if parameter.name == "answer" else ())]
        if parameter.name in ("connect", "target"):
            base = [word for word in base if parameter.name == "connect" or word not in MODEL]
        flag = max(parameter.opts, key=len)
        return [*self.verb.split(), *base, f"{flag}={value}"]


def cases(*, once: bool) -> list[Case]:
    """Every option that takes a value.

    Args:
        once: an option that several verbs share is one case, of the first of them.
    """
    seen: set[tuple[str, ...]] = set()
    found = []
    for verb, command in commands():
        for parameter in command.params:
            key = (parameter.name, *parameter.opts)
            if getattr(parameter, "is_flag", False) or (once and key in seen):
                continue
            seen.add(key)
            found.append(Case(verb, parameter))
    return found


def asked_without_starting(patch: pytest.MonkeyPatch, directory: Path) -> Callable[[list[str]], str | None]:
    """Runs commands in a directory, with models that answer in this process and no Docker engine.

    Returns:
        Takes the words of a command, and says what is wrong with how it ended; None where it ended as it should.
    """
    patch.chdir(directory)
    patch.setenv("DOCKER_HOST", f"unix://{directory}/no-engine")
    for module in (plan, models):
        patch.setattr(module, "describe", _describe)
    patch.setattr(models, "verify", _verify)
    patch.setattr(models, "catalogue", _catalogue)
    return lambda words: complaint(asked([LOADGEN, *words]))


async def _describe(model: str, options: Sequence[str] = ()) -> Description:
    flags = {flag.removeprefix("--"): value for flag, value in zip(options[::2], options[1::2], strict=True)}
    try:
        return catalog.describe(model, settings.read(flags, {}).load)
    except ModelContainersError as error:
        raise DescribeError(str(error)) from None


async def _verify(model: str, timeout_s: float) -> dict[str, Any]:
    return {"ok": True, "checks": []}


async def _catalogue() -> list[str]:
    return list(catalog.NAMES)


def complaint(done: subprocess.CompletedProcess[str]) -> str | None:
    """What is wrong with how a command ended; None where it ended as it should."""
    code, out, err = done.returncode, done.stdout, done.stderr
    if code not in CODES:
        return f"code {code}: {err[-300:]}"
    if "Traceback" in out + err:
        return err[-1000:]
    if code not in ANSWERS and (err.count("\n") != 1 or not err.startswith("loadgen: ") or len(err) > 2000):
        return f"{err.count(chr(10))} lines, {len(err)} letters: {err[:300]!r}"
    if not err.removesuffix("\n").isprintable():
        return f"control characters: {err!r}"
    return None
