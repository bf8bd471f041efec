"""The shell lines of docs/kubernetes.md as four pods run them, each in namespaces of its own, under the names of pods.

It needs root, and the extras ray and oip.
"""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from contextlib import ExitStack
from pathlib import Path

import pytest
from network import connect, namespaces, process

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
PODS, SERVER = [f"10.77.23.{number}" for number in range(1, 5)], "10.77.23.9"
SERVE = f"""
import sys
from cluster_of_tests import counting_server
with counting_server("{SERVER}", 8000) as server:
    print("ready", flush=True)
    sys.stdin.read()
    print(server.requests, flush=True)
"""
ENDED_S = 280.0


def script(results: Path) -> str:
    """What the container of the manifest runs, with a load that one machine can carry.

    Args:
        results: instead of the volume.
    """
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    lines = textwrap.dedent(text.partition("        - |\n")[2].partition("        volumeMounts:")[0])
    for theirs, ours in (("--rate 10000 -d 120s", "--rate 200 -d 3s --allow-invalid"), ("/results", str(results))):
        assert theirs in lines
        lines = lines.replace(theirs, ours)
    return lines


@pytest.fixture
def enter():
    """The words before a command in the namespaces of an address, all with the names that Kubernetes would resolve."""
    if os.geteuid() != 0:
        pytest.skip("network and process namespaces need root")
    hosts = [f"{address} load-{number} load-{number}.load" for number, address in enumerate(PODS)]
    with namespaces("pod0", "pod1", "pod2", "pod3", "server") as made, ExitStack() as stack:
        names = dict(zip((*PODS, SERVER), made, strict=True))
        connect(names)
        for name in names.values():
            directory = Path("/etc/netns", name)  # what `ip netns exec` has in /etc instead
            directory.mkdir(parents=True)
            stack.callback(directory.rmdir)
            content = "\n".join(["127.0.0.1 localhost", *hosts, f"{SERVER} server", ""])
            for file, text in (("hosts", content), ("resolv.conf", "nameserver 127.0.0.1\n")):
                (directory / file).write_text(text)
                stack.callback((directory / file).unlink)
        yield lambda address: ["ip", "netns", "exec", names[address]]


@pytest.mark.timeout(400)
def test_the_pods_of_the_manifest_run_and_end(enter, tmp_path):
    """Three of them with clients; those end with the one that leads."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    modules = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    own = {"PATH": path, "PYTHONPATH": modules, "RAY_USAGE_STATS_ENABLED": "0"}
    with ExitStack() as stack:
        words, environment = [*enter(SERVER), sys.executable, "-c", SERVE], {**os.environ, **own}
        server = stack.enter_context(process(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        pods = []
        for number, address in enumerate(PODS):
            short = stack.enter_context(tempfile.TemporaryDirectory(prefix="lgpod"))  # sockets are in it
            index = {"JOB_COMPLETION_INDEX": str(number), "RAY_TMPDIR": short, "HOME": short}
            words = [*enter(address), "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
            words += ["bash", "-c", script(tmp_path)]
            log = stack.enter_context((tmp_path / f"pod-{number}.log").open("w"))
            pods.append(subprocess.Popen(words, env={**environment, **index}, stdout=log, stderr=log))
            stack.callback(pods[-1].wait)
            stack.callback(pods[-1].kill)
        codes = [pod.wait(ENDED_S) for pod in pods]
        assert codes == [0, 0, 0, 0], (tmp_path / "pod-0.log").read_text()
        counted, _ = server.communicate(timeout=30)
    (found,) = [json.loads(file.read_text()) for file in tmp_path.rglob("results-*.json")]
    workers = found["workers"]["workers"]
    assert {row["address"] for row in workers} == {*PODS[1:]}
    assert [len(row["clients"]) for row in workers] == [3, 3, 3]
    assert sum(row["sent"] for row in workers) == int(counted)
