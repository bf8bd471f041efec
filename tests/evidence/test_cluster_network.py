"""Workers on nodes with an address each: counts reconcile, bytes cross interfaces, and a slow link is no start skew."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from cluster_network import DELAY_S, ENVIRONMENT, FAR, HEAD, NEAR, networked_cluster

pytestmark = pytest.mark.ray
LOADS = {
    "saturate": ("saturate", "--requests", "3000", "--max-in-flight", "4"),
    "rate": ("rate", "--rate", "200", "-d", "5s"),
    "capacity": ("capacity", "--slo", "p99<10s", "--start", "50", "--probes", "2", "-d", "1s", "--confirm-for", "1s"),
}
SMALLEST_BYTES = 60
"""Of a request: its header, without those of TCP, IP and Ethernet."""


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="lgray") as directory, networked_cluster(Path(directory)) as found:
        yield found


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_a_slow_link_is_latency_and_no_skew(cluster, tmp_path, load):
    """The clocks of all namespaces are one, so that the true offset is 0: it lies within the error that is stated."""
    left = {address: cluster.sent_bytes(address) for address in (NEAR, FAR)}
    with cluster.server() as (url, counted):
        words = [sys.executable, "-m", "loadgen", *load, "--target", url, "--workers", "ray", "--clients", "2"]
        words += ["--no-ceiling", "--allow-invalid", "--results-dir", str(tmp_path)]
        run = subprocess.run(
            cluster.command(HEAD, *words), env=ENVIRONMENT, capture_output=True, text=True, timeout=200, check=False
        )
    assert run.returncode in (0, 8), run.stderr
    found = [json.loads(path.read_text()) for path in tmp_path.rglob("results-*.json")]
    assert found
    sent = dict.fromkeys((NEAR, FAR), 0)
    for each in found:
        workers = {row["address"]: row for row in each["workers"]["workers"]}
        assert set(workers) == {NEAR, FAR}
        assert sum(row["sent"] for row in workers.values()) == each["summary"]["sent"]
        for address, row in workers.items():
            sent[address] += row["sent"]
            assert abs(row["clock_offset_ns"]) <= row["clock_error_ms"] * 1e6
            assert not [fault for fault in row["faults"] if "began" in fault]
        assert workers[FAR]["latency_ms"]["min"] >= DELAY_S * 1e3
        assert workers[FAR]["latency_ms"]["min"] > workers[NEAR]["latency_ms"]["min"]
        assert each["workers"]["start_skew_error_ms"] >= DELAY_S * 1e3 / 2
    if load[0] == "capacity":  # which tries one request before each probe
        assert sum(sent.values()) <= counted[0]
    else:
        assert sum(sent.values()) == counted[0]
    crossed = {address: cluster.sent_bytes(address) - before for address, before in left.items()}
    print(run.stdout, sent, counted, crossed)  # noqa: T201 - the figures of docs/cluster.md
    assert all(crossed[address] >= sent[address] * SMALLEST_BYTES for address in sent)
