"""Nodes with an address each: counts reconcile, bytes cross interfaces, and a slow link is latency, not start skew."""

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
OVER_THE_WIRE = 5
"""Requests of a schedule that may be on their way when frontends are asked."""

SMALLEST_BYTES = 60
"""Of a request: its header, without those of TCP, IP and Ethernet."""


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="lgray") as directory, networked_cluster(Path(directory)) as found:
        yield found


def measured(cluster, directory, *arguments):
    """The results of a run of the program on the head, one document for each measurement."""
    words = [sys.executable, "-m", "loadgen", *arguments, "--no-ceiling", "--allow-invalid"]
    words += ["--results-dir", str(directory)]
    run = subprocess.run(
        cluster.command(HEAD, *words), env=ENVIRONMENT, capture_output=True, text=True, timeout=200, check=False
    )
    assert run.returncode in (0, 8), run.stderr
    found = [json.loads(path.read_text()) for path in directory.rglob("results-*.json")]
    assert found
    return found


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_a_slow_link_is_latency_and_no_skew(cluster, tmp_path, load):
    """The clocks of all namespaces are one, so that the true offset is 0: it lies within the error that is stated."""
    left = {address: cluster.sent_bytes(address) for address in (NEAR, FAR)}
    with cluster.server() as (url, counted):
        found = measured(cluster, tmp_path, *load, "--target", url, "--workers", "ray", "--clients", "2")
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
    print(sent, counted, crossed)  # noqa: T201 - the figures of docs/cluster.md
    assert all(crossed[address] >= sent[address] * SMALLEST_BYTES for address in sent)


@pytest.mark.parametrize("workers", [(), ("--workers", "ray", "--clients", "2")], ids=["client", "workers"])
@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_replicas_on_nodes_with_an_address_each(cluster, tmp_path, load, workers):
    """Clients, frontends and replicas count the same requests, which cross both interfaces."""
    left = {address: cluster.sent_bytes(address) for address in (NEAR, FAR)}
    replicas = ("-m", "noop", "--runtime", "ray", "--replicas", "2", "--frontends", "2")
    all_counted = () if load[0] == "saturate" else ("--warmup", "0")
    found = measured(cluster, tmp_path, *load, *all_counted, *replicas, *workers)
    answered = 0
    for each in found:
        replies = each["frontend_counters"]["replies"]
        assert sum(row["queries"] for row in each["frontend_counters"]["replicas"].values()) == replies
        assert abs(replies - each["summary"]["completed"]) <= OVER_THE_WIRE
        nodes = {row["node"] for row in each["placement"] if row["role"].startswith(("replica", "frontends"))}
        assert len(nodes) == 2
        answered += replies
    crossed = {address: cluster.sent_bytes(address) - before for address, before in left.items()}
    print(answered, crossed)  # noqa: T201 - the figures of docs/cluster.md
    assert sum(crossed.values()) >= answered * SMALLEST_BYTES
    assert min(crossed.values()) > answered // 4 * SMALLEST_BYTES
