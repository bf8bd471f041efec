"""What the markers mean: which tests have them, where they are skipped, and which run one after another."""

import functools
import gc
import importlib.util
import os
import socket
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

HERE = Path(__file__).parent
FOLDERS = ("browser", "docker", "end_to_end", "evidence", "models", "ray", "servers")
"""A folder of this name marks its tests with its name; `make test-quick` runs the tests without such a mark."""

TOGETHER = ("docker", "servers", "models", "ray", "browser")
"""Marks whose tests share something: with several workers one runs all of them, and the longest begin first."""

SERIAL_FOLDERS = ("end_to_end", "servers")
"""Where `make test` looks for serial tests."""

DOCKER_SOCKET = "/var/run/docker.sock"
PROBE_TIMEOUT_S = 5.0
REQUIRE_DOCKER = "LOADGEN_REQUIRE_DOCKER"

# What the support modules assert is checked under `python -O` too, as what the tests do.
pytest.register_assert_rewrite(*(path.stem for path in (HERE / "support").glob("*.py")))

# An example takes longer on a busy machine; that is no fault of the code.
settings.register_profile("loadgen", deadline=None)
settings.register_profile("evidence", deadline=None, max_examples=2000)
settings.load_profile("loadgen")

# Threads of a framework that spin while they wait take the core from the workers beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.hookimpl(tryfirst=True)  # before pytest-cov starts to measure in a worker
def pytest_sessionstart(session):
    """Stop what pytest-cov 7 starts before: when it pauses one of two for `no_cover`, the other goes on."""
    plugin = session.config.pluginmanager.getplugin("_cov")
    if hasattr(session.config, "workerinput") and plugin is not None and plugin.cov_controller is not None:
        plugin.cov_controller.cov.stop()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect no garbage meanwhile, which took two fifths of the time, and look at no test again that was collected."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before the workers read the groups
def pytest_collection_modifyitems(items):
    """Give each test the marks of its folder, and a worker that it shares with its like."""
    groups = {}
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        if folder in FOLDERS:
            item.add_marker(folder)
        if is_hypothesis_test(item.obj):  # many examples take the branches of one: they run at their own speed
            item.add_marker("no_cover")
        assert folder in SERIAL_FOLDERS or item.get_closest_marker("serial") is None, item.nodeid
        marks = {mark.name for mark in item.iter_markers()}
        groups[item] = next((name for name in TOGETHER if name in marks), None)
        if groups[item] is not None:
            item.add_marker(pytest.mark.xdist_group(groups[item]))
    items.sort(key=lambda item: (*TOGETHER, None).index(groups[item]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Of what is not shared, a worker runs a file at a time: what a file sets up is then set up once."""
    from xdist.scheduler.loadgroup import LoadGroupScheduling

    class GroupsAndFiles(LoadGroupScheduling):  # type: ignore[misc]  # of no type information
        def _split_scope(self, nodeid):
            scope = super()._split_scope(nodeid)
            return nodeid.partition("::")[0] if scope == nodeid else scope

    return GroupsAndFiles(config, log)


@functools.cache
def docker_is_missing():
    """Why no Docker engine can be used, or None: a ping over its socket, without any library."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PROBE_TIMEOUT_S)
            connection.connect(DOCKER_SOCKET)
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
            status = connection.makefile("rb").readline()
    except OSError as error:
        return f"no Docker engine answers at {DOCKER_SOCKET}: {error}"
    if b" 200 " not in status:
        return f"{DOCKER_SOCKET} answers {status!r}"
    if importlib.util.find_spec("aiodocker") is None:
        return "aiodocker is not installed: make install"
    return None


@functools.cache
def models_are_missing():
    """Why no model of a framework can be loaded, or None."""
    if importlib.util.find_spec("tensorflow") is None:
        return "tensorflow is not installed: make install"
    return None


def pytest_runtest_setup(item):
    """Skip what cannot run here; LOADGEN_REQUIRE_DOCKER=1 makes it fail instead."""
    if item.get_closest_marker("docker") and (reason := docker_is_missing()):
        if os.environ.get(REQUIRE_DOCKER) == "1":
            pytest.fail(f"{reason} ({REQUIRE_DOCKER}=1)", pytrace=False)
        pytest.skip(reason)
    if item.get_closest_marker("ray") and not all(importlib.util.find_spec(name) for name in ("ray", "grpc")):
        pytest.skip("ray or grpc is not installed: make install EXTRAS=ray,oip")
    if item.get_closest_marker("models") and (reason := models_are_missing()):
        pytest.skip(reason)
