"""Our client and perf_analyzer on the same Triton, one after the other, round by round.

``python benchmarks/oip_vs_perf_analyzer.py [ROUNDS]``: the server on core 0, the client on core 1, one gRPC connection,
and a model that does nothing. Prints, for each size of input and number in flight: CPU of the client per request, its
memory, throughput and p50; medians of the rounds, and least and most of the CPU.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from inference_servers import Running, environment, triton
from triton_noop import build

SIZES = ("small", "image")
IN_FLIGHT = (1, 4, 16)
SERVER_CORE, CLIENT_CORE = 0, 1
TIMEOUT_S = 120
Row = tuple[float, float, float, float]
"""CPU in microseconds a request, memory in bytes, requests a second, p50 in microseconds."""


def libraries(directory: Path) -> Path:
    """What perf_analyzer is linked with and its wheel lacks, from Triton's; returns the directory of links."""
    links = directory / "libraries"
    links.mkdir()
    for wanted in ("libb64", "libcudart"):
        (found,) = environment("triton").glob(f"lib/python*/site-packages/nvidia_pytriton.libs/{wanted}-*")
        links.joinpath({"libb64": "libb64.so.0d", "libcudart": "libcudart.so.12"}[wanted]).symlink_to(found)
    return links


def perf_analyzer(server: Running, model: str, in_flight: int, shared: bool, links: Path) -> Row:
    """CPU seconds and requests of its whole life, peak memory in bytes, and what it says of throughput and p50."""
    program = environment("perf_analyzer") / "bin" / "perf_analyzer"
    before = answered(server, model)
    command = ["taskset", "-c", str(CLIENT_CORE), str(program), "-m", model, "-u", server.grpc, "-i", "grpc"]
    command += ["--concurrency-range", f"{in_flight}:{in_flight}", "-p", "1000", "-s", "999", "-r", "3"]
    command += ["--percentile=50", "--shared-memory", "system" if shared else "none"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "LD_LIBRARY_PATH": str(links)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    throughput, p50 = re.search(r"Throughput: ([\d.]+)", said), re.search(r"p50 latency: (\d+)", said)
    if throughput is None or p50 is None:
        raise SystemExit(f"perf_analyzer failed:\n{said}")
    done = answered(server, model) - before
    cpu_us = (usage.ru_utime + usage.ru_stime) / done * 1e6
    return cpu_us, usage.ru_maxrss * 1024, float(throughput[1]), float(p50[1])


def answered(server: Running, model: str) -> int:
    """Requests that the server has answered since it started."""
    with urllib.request.urlopen(f"http://{server.http}/v2/models/{model}/stats", timeout=10) as response:
        count: int = json.load(response)["model_stats"][0]["inference_count"]
    return count


def ours(server: Running, model: str, in_flight: int, shared: bool, protocol: str = "grpc") -> Row:
    """The same of our client; CPU in the measured part, which has no start of Python in it."""
    with tempfile.TemporaryDirectory() as directory:
        address = server.grpc if protocol == "grpc" else server.http
        connections = 1 if protocol == "grpc" else in_flight
        command = [
            str(Path(sys.executable).with_name("loadgen")),
            "saturate",
            "--allow-invalid",
            "--target",
            f"oip+{protocol}://{address}/{model}",
        ]
        command += ["--no-ceiling", "-d", "3s", "--max-in-flight", str(in_flight), "--connections", str(connections)]
        command += [
            "--client-cpus",
            str(CLIENT_CORE),
            "--results-dir",
            directory,
            *(["--shared-memory"] if shared else []),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
        (path,) = Path(directory).glob("*.json")
        results = json.loads(path.read_text())
    summary, evidence = results["summary"], results["verdict"]["evidence"]
    cpu_us = evidence["client_cpu_share"] / summary["throughput_rps"] * 1e6
    memory = results["hardware"]["processes"]["client"]["rss_max_bytes"]
    return cpu_us, memory, summary["throughput_rps"], summary["latency_ms"]["p50"] * 1e3


def line(name: str, rows: list[Row]) -> str:
    """One client's rounds in a line."""
    cpu, memory, throughput, p50 = zip(*rows, strict=True)
    middle = statistics.median
    return (
        f"  {name:18} {middle(cpu):7.1f} µs ({min(cpu):.1f}–{max(cpu):.1f})  {middle(memory) / 1e6:6.0f} MB  "
        f"{middle(throughput):8.0f}/s  p50 {middle(p50):7.0f} µs"
    )


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        links = libraries(directory)
        with triton(directory, repository=build(directory), cores=[SERVER_CORE]) as server:
            for model in SIZES:
                for in_flight in IN_FLIGHT:
                    clients: dict[str, Callable[[], Row]] = {
                        "perf_analyzer": partial(perf_analyzer, server, model, in_flight, False, links),
                        "ours": partial(ours, server, model, in_flight, False),
                        "ours, HTTP": partial(ours, server, model, in_flight, False, "http"),
                        "perf_analyzer, shm": partial(perf_analyzer, server, model, in_flight, True, links),
                        "ours, shm": partial(ours, server, model, in_flight, True),
                    }
                    found: dict[str, list[Row]] = {name: [] for name in clients}
                    for _ in range(rounds):
                        for name, measure in clients.items():
                            found[name].append(measure())
                    print(f"{model}, {in_flight} in flight")
                    for name, rows in found.items():
                        print(line(name, rows), flush=True)


if __name__ == "__main__":
    main()
