"""Runs a model as a process: ``python -m model_containers VERB MODEL``.

All verbs but `serve` print JSON, so that a caller asks about a model without importing it.
"""

from __future__ import annotations

import os
import sys

# `-m` puts the working directory first, and a file there that has a module's name would be run in its place.
if __name__ == "__main__" and not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
    sys.path.pop(0)

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_containers import lifeline, printable
from model_containers.errors import ModelContainersError, SettingsError


def main() -> None:
    """Read the command line and do as it says; exit code 1 for a model that fails, 2 for settings."""
    lifeline.hold()
    printable.protect()
    from model_containers import settings  # noqa: PLC0415 - after the lifeline, which must come first

    arguments = _parser(settings).parse_args()
    if arguments.run is not _serve:
        # Whatever a model prints while it is imported or loaded must not get into the JSON.
        sys.stdout, arguments.out = sys.stderr, sys.stdout
    flags = {flag: getattr(arguments, flag.replace("-", "_"), None) for flag in settings.FLAGS}
    try:
        arguments.run(arguments, settings.read(flags, os.environ))
    except SettingsError as error:
        sys.exit(_report(error, 2))
    except ModelContainersError as error:
        if os.environ.get("LOADGEN_DEBUG") == "1":
            raise
        sys.exit(_report(error, 1))


def _parser(settings: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_containers", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, run, help_text in (
        ("serve", _serve, "be a replica"),
        ("catalogue", _catalogue, "list the names of the models there are"),
        ("describe", _describe, "say what the model takes and gives"),
        ("verify", _verify, "load the model and check its answers"),
        ("reference", _reference, "answer the inputs of a file, one by one"),
        ("train", _train, "make the artefact of a classifier, unless it is there"),
    ):
        verb = verbs.add_parser(name, help=help_text)
        verb.set_defaults(run=run)
        if name == "catalogue":
            continue
        verb.add_argument("model", help="a name of the catalogue, package.module:factory or onnx:FILE")
        for flag in settings.FLAGS if name == "serve" else settings.LOAD_FLAGS:
            verb.add_argument(f"--{flag}")
        if name == "reference":
            verb.add_argument("--input", type=Path, required=True, metavar="FILE.npy", help="inputs, (n, *shape)")
    return parser


def _report(error: Exception, code: int) -> int:
    print(error, file=sys.stderr)  # noqa: T201
    return code


def _serve(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415
    from model_containers.server import serve  # noqa: PLC0415

    serve(catalog.load(arguments.model, settings.load), settings)


def _catalogue(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415

    _print(arguments, {"names": catalog.NAMES})


def _describe(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415

    _print(arguments, catalog.describe(arguments.model, settings.load).to_row())


def _verify(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415
    from model_containers.verify import verify  # noqa: PLC0415

    description = catalog.describe(arguments.model, settings.load)
    checks = verify(catalog.load(arguments.model, settings.load), description, settings.load.seed)
    ok = all(check.ok for check in checks)
    _print(arguments, {"model": arguments.model, "ok": ok, "checks": [asdict(check) for check in checks]})
    sys.exit(0 if ok else 1)


def _reference(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415
    from model_containers.verify import read_inputs, reference  # noqa: PLC0415

    model = catalog.load(arguments.model, settings.load)
    outputs = reference(model, read_inputs(arguments.input, model))
    rows = [text.decode() for text in outputs] if outputs.dtype == object else outputs.tolist()
    _print(arguments, {"outputs": rows})


def _train(arguments: argparse.Namespace, settings: Any) -> None:
    from model_containers import catalog  # noqa: PLC0415

    path = catalog.train(arguments.model, settings.load.seed)
    _print(arguments, {"model": arguments.model, "artefact": None if path is None else str(path)})


def _print(arguments: argparse.Namespace, row: dict[str, Any]) -> None:
    print(json.dumps(row), file=arguments.out, flush=True)


if __name__ == "__main__":
    main()
