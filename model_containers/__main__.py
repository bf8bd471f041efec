"""``python -m model_containers serve|describe|verify|reference MODEL``: a model as a process.

`describe`, `verify` and `reference` print JSON; nobody has to import a model to ask about it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_containers import lifeline
from model_containers.errors import ModelContainersError, SettingsError


def main() -> None:
    """Read the command line and do as it says; exit code 1 for a model that fails, 2 for settings."""
    lifeline.hold()
    arguments = _parser().parse_args()
    from model_containers import settings  # noqa: PLC0415 - after the lifeline, which must come first

    flags = {flag: getattr(arguments, flag.replace("-", "_"), None) for flag in settings.FLAGS}
    try:
        arguments.run(arguments, settings.read(flags, os.environ))
    except SettingsError as error:
        sys.exit(_say(error, 2))
    except ModelContainersError as error:
        if os.environ.get("LOADGEN_DEBUG") == "1":
            raise
        sys.exit(_say(error, 1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_containers", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, run, help_text in (
        ("serve", _serve, "be a replica"),
        ("describe", _describe, "say what the model takes and gives"),
        ("verify", _verify, "load the model and check its answers"),
        ("reference", _reference, "answer the inputs of a file, one by one"),
    ):
        verb = verbs.add_parser(name, help=help_text)
        verb.set_defaults(run=run)
        verb.add_argument("model")
        for flag in ("weights", "seed", "threads", "gpu", "input-shape"):
            verb.add_argument(f"--{flag}")
        if name == "serve":
            for flag in ("name", "version", "host", "port", "max-batch", "log-file"):
                verb.add_argument(f"--{flag}")
        if name == "reference":
            verb.add_argument("--input", type=Path, required=True, metavar="FILE.npy", help="inputs, (n, *shape)")
    return parser


def _say(error: Exception, code: int) -> int:
    print(error, file=sys.stderr)  # noqa: T201
    return code


def _serve(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415
    from model_containers.server import serve  # noqa: PLC0415

    serve(catalog.load(arguments.model, settings.load), arguments.model, settings)


def _describe(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415

    description = catalog.describe(arguments.model, settings.load)
    row = asdict(description)
    for side in ("input", "output"):
        spec = getattr(description, side)
        row[side] |= {"type": spec.data_type.canonical, "nbytes": spec.nbytes}
    print(json.dumps(row))  # noqa: T201


def _verify(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415
    from model_containers.verify import verify  # noqa: PLC0415

    checks = verify(catalog.load(arguments.model, settings.load), settings.load.seed)
    ok = all(check.ok for check in checks)
    print(json.dumps({"model": arguments.model, "ok": ok, "checks": [asdict(check) for check in checks]}))  # noqa: T201
    sys.exit(0 if ok else 1)


def _reference(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415
    from model_containers.verify import read_inputs, reference  # noqa: PLC0415

    model = catalog.load(arguments.model, settings.load)
    outputs = reference(model, read_inputs(arguments.input, model))
    print(json.dumps({"outputs": outputs.tolist()}))  # noqa: T201


if __name__ == "__main__":
    main()
