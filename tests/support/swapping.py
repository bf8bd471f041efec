"""A run with `--verify 1` on frontends that swap two answers, or do not."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import uvloop

from frontend_launch.admin import AdminClient
from frontend_launch.ports import FRONTEND_PORTS, Ports
from model_containers import catalog
from model_containers.model import Description

SWAPPING_FRONTENDS = """
from frontend_launch.__main__ import main
from frontend_launch.frontends import replica_link
from model_containers.wire import BatchResponse

decode, swapped = replica_link.decode_from_replica, False

def swap_once(frames):
    global swapped
    message = decode(frames)
    if isinstance(message, BatchResponse) and not swapped and len({bytes(output) for output in message.outputs}) == 2:
        swapped = True
        return message._replace(outputs=message.outputs[::-1])
    return message

replica_link.decode_from_replica = swap_once
main()
"""
HONEST_FRONTENDS = "from frontend_launch.__main__ import main; main()"
NETWORKS = ("vgg", "inception")


async def until_registered(ports: Ports, model: Description) -> None:
    """Register the application, then wait for its replica."""
    async with AdminClient(f"http://127.0.0.1:{ports.admin}") as admin:
        data_type = model.input.data_type
        await admin.register_application(model.name, data_type, "TIMEOUT", 500_000)
        await admin.register_model(model.name, "1", data_type, batch_size=2)
        await admin.link_model(model.name, model.name)
        async with asyncio.timeout(120):
            while not await admin.replicas(model.name, "1"):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.05)


def verified(code: str, name: str, tmp_path: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run frontends made by `code` and one replica; load them with `--verify 1`; the command and its results."""
    flags = [f"--{port}-port=0" for port in FRONTEND_PORTS]
    frontends = subprocess.Popen(
        [sys.executable, "-c", code, "serve", *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert frontends.stdout is not None
    replica = None
    try:
        ports = Ports(**json.loads(frontends.stdout.readline()))
        serve = [sys.executable, "-m", "model_containers", "serve", name, "--port", str(ports.replica)]
        replica = subprocess.Popen(
            [*serve, "--max-batch", "2", "--log-file", str(tmp_path / "replica.log")], stderr=subprocess.DEVNULL
        )
        uvloop.run(until_registered(ports, catalog.describe(name)))
        client = [f"--{port}-port={getattr(ports, port)}" for port in FRONTEND_PORTS if port != "replica"]
        command = [str(Path(sys.executable).with_name("loadgen")), "saturate", "--connect", "127.0.0.1", *client]
        run = subprocess.run(
            [
                *command,
                "--allow-invalid",
                "--no-ceiling",
                "-m",
                name,
                "--requests",
                "20",
                "--verify",
                "1",
                "--results-dir",
                str(tmp_path),
            ],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    finally:
        for process in (replica, frontends):
            if process is not None:
                process.terminate()
                process.wait(20)
        frontends.stdout.close()
    last = run.stdout.splitlines()[-1]
    return run, json.loads(Path(last.removeprefix("Saved results to ")).read_text())


def check_that_swaps_are_found(name: str, tmp_path: Path) -> None:
    """Both are counted, said in one line, and the exit code says so."""
    run, results = verified(SWAPPING_FRONTENDS, name, tmp_path)
    assert (results["answers"]["compared"], results["answers"]["mismatched"]) == (20, 2)
    assert (run.returncode, run.stderr.splitlines()[-1]) == (
        7,
        "loadgen: 2 of 20 answers that were compared are wrong",
    )
    assert results["summary"]["completed"] == 20
