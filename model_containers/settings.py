"""The settings of a replica: flags, else environment variables, else defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from model_containers import credentials
from model_containers.credentials import Credentials
from model_containers.data_types import DataType
from model_containers.errors import SettingsError, WireError
from model_containers.model import LoadOptions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """One replica's settings.

    Attributes:
        name: what it registers as; None for the model's name.
        version: of the model.
        host: the query frontend's host.
        port: its port for replicas.
        role: its role in the deployment that it belongs to; empty outside of one.
        frontend: its address for replicas, as ZeroMQ writes it; empty for TCP to host and port.
        credentials: of the deployment, where its frontends want them.
        reply_times: append its times to each answer.
        reply_failures: append to them whether the model failed on the batch.
        log_file: where its log goes; None for standard output.
        load: how the model is loaded.
    """

    name: str | None = None
    version: str = "1"
    host: str = "127.0.0.1"
    port: int = 7000
    reply_times: bool = False
    reply_failures: bool = False
    log_file: Path | None = None
    load: LoadOptions = field(default_factory=LoadOptions)
    frontend: str = ""
    role: str = ""
    credentials: Credentials | None = None

    @property
    def address(self) -> str:
        """What the replica connects to."""
        return self.frontend or f"tcp://{self.host}:{self.port}"


def read(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Args:
        flags: by the names of `FLAGS`, None where not given.
        environment: of the process.

    Raises:
        SettingsError: a value makes no sense; the text names it and where it came from.
    """

    def value(flag: str | None, variable: str, parse: Callable[[str], T], default: T) -> T:
        given = flags.get(flag) if flag is not None else None
        source = f"--{flag}" if given is not None else variable
        text = given if given is not None else environment.get(variable)
        if text is None or text == "":
            return default
        try:
            return parse(text)
        except (ValueError, WireError) as error:
            raise SettingsError(f"{source} {text}: {error}") from None

    weights_file = value(None, "CLIPPER_MODEL_PATH", str, "")
    return Settings(
        name=value("name", "CLIPPER_MODEL_NAME", str, "") or None,
        version=value("version", "CLIPPER_MODEL_VERSION", str, "1"),
        host=value("host", "CLIPPER_IP", str, "127.0.0.1"),
        port=value("port", "CLIPPER_PORT", _between(1, 65535), 7000),
        reply_times=value(None, "LOADGEN_REPLY_TIMES", _truth, False),
        reply_failures=value(None, "LOADGEN_REPLY_FAILURES", _truth, False),
        log_file=value("log-file", "LOADGEN_LOG_FILE", Path, None),
        frontend=value(None, "LOADGEN_FRONTEND_ADDRESS", str, ""),
        role=value(None, "LOADGEN_ROLE", str, ""),
        credentials=_credentials(flags.get("credentials"), environment.get(credentials.VARIABLE)),
        load=LoadOptions(
            weights=value("weights", "LOADGEN_WEIGHTS", str, weights_file or "seeded"),
            seed=value("seed", "LOADGEN_SEED", _between(0, 2**63 - 1), 0),
            threads=value("threads", "LOADGEN_THREADS", _between(1, 4096), len(os.sched_getaffinity(0))),
            max_batch=value("max-batch", "LOADGEN_MAX_BATCH", _between(1, 65536), 1),
            gpu=value("gpu", "LOADGEN_GPU", _truth, False),
            gpu_memory_fraction=value(None, "CLIPPER_GPU_MEM_FRAC", _fraction, 0.9),
            xla=value("xla", "LOADGEN_XLA", _truth, False),
            input_shape=value("input-shape", "LOADGEN_INPUT_SHAPE", _shape, None),
            input_type=value("input-type", "CLIPPER_INPUT_TYPE", DataType.parse, None),
        ),
    )


LOAD_FLAGS = ("weights", "seed", "threads", "max-batch", "gpu", "xla", "input-shape", "input-type")
"""The flags that say how a model is loaded, each with a text."""

FLAGS = ("name", "version", "host", "port", "log-file", "credentials", *LOAD_FLAGS)
"""The flags of ``serve``."""


def _credentials(path: str | None, text: str | None) -> Credentials | None:
    """Those of a file, else of the environment; an error repeats nothing of them."""
    try:
        if path is not None:
            return credentials.read(Path(path))
        return credentials.parse(text) if text else None
    except ValueError as error:
        raise SettingsError(f"{credentials.VARIABLE if path is None else f'--credentials {path}'}: {error}") from None


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _truth(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise ValueError("must be a number above 0 and at most 1")
    return number


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.lower().split("x")
    if not all(size.isascii() and size.isdigit() and int(size) for size in sizes):
        raise ValueError("must be dimensions of at least 1, such as 299x299x3")
    return tuple(map(int, sizes))
