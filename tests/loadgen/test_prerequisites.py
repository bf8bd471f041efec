"""What a configuration needs before anything is started."""

import asyncio
import importlib.util

import pytest

from frontend_launch.errors import DescribeError
from frontend_launch.launch.topology import describe as describe_machine
from loadgen.config import Client, ExperimentConfig
from loadgen.errors import ConfigError
from loadgen.prerequisites import check_extras, check_framework, connected
from loadgen.served import CataloguedModel, Deploy, External
from model_containers import extras
from model_containers.catalog import describe


def configuration(runtime="process", workers=None):
    return ExperimentConfig(serve=Deploy("noop", runtime=runtime), client=Client(workers=workers))


@pytest.mark.parametrize("lacks", [None, "ray", "grpc"])
@pytest.mark.parametrize(
    ("runtime", "workers", "option", "value"),
    [
        ("ray", None, "runtime", "ray"),
        ("ray:local", None, "runtime", "ray:local"),
        ("process", "ray", "workers", "ray"),
        ("process", "ray:local", "workers", "ray:local"),
    ],
)
def test_a_cluster_needs_its_libraries(monkeypatch, runtime, workers, option, value, lacks):
    """Looked for without an import."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == lacks else object())
    config = configuration(runtime, workers)
    if lacks is None:
        check_extras(config)
        return
    with pytest.raises(ConfigError, match=f"{option} {value}: needs {lacks}; pip install"):
        check_extras(config)


@pytest.mark.parametrize(
    ("serve", "refused"),
    [
        (Deploy("noop", runtime="docker"), "runtime docker: needs aiodocker, packaging; pip install"),
        (External.at("http://h/p", body="{}"), "target http://h/p: needs grpc, google.protobuf, hpack, httptools; pip"),
        (Deploy("noop", runtime="docker", topology=describe_machine("cpus=0-3")), None),
        (Deploy("noop"), None),
    ],
    ids=["docker", "server", "described", "process"],
)
def test_an_option_needs_its_extra(monkeypatch, serve, refused):
    """It is named with its value; a plan for another machine needs nothing of this one."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    config = ExperimentConfig(serve=serve)
    if refused is None:
        check_extras(config)
        return
    with pytest.raises(ConfigError, match=refused):
        check_extras(config)


def test_a_machine_needs_nothing_and_connects_to_nothing(monkeypatch):
    """Nothing is even looked for."""
    monkeypatch.setattr(importlib.util, "find_spec", None)
    check_extras(configuration())

    async def run():
        async with connected(configuration()):
            pass

    asyncio.run(run())


WORDS = (describe_machine("cpus=0-7"), describe_machine("cpus=0-31"))


@pytest.mark.parametrize(
    ("runtime", "workers", "machines"),
    [("ray", None, WORDS), ("ray", "ray", WORDS), ("process", "ray", WORDS[0])],
    ids=["replicas", "replicas and clients", "clients"],
)
def test_machines_in_words_need_no_cluster_and_reach_none(monkeypatch, runtime, workers, machines):
    """A plan is all that comes of them, with clients elsewhere too."""
    monkeypatch.setattr(importlib.util, "find_spec", None)
    serve = Deploy("noop", runtime=runtime, topology=machines)
    config = ExperimentConfig(serve, client=Client(workers=workers))
    check_extras(config)
    with pytest.raises(ConfigError, match="topology: describes a machine, on which nothing can run; leave it out"):
        connected(config)


@pytest.mark.parametrize(
    ("runtime", "refused"), [("process", True), ("docker", False), ("ray", False)], ids=["here", "image", "nodes"]
)
def test_a_framework_is_needed_where_replicas_run(monkeypatch, runtime, refused):
    """An image has its own, and so has a node of a cluster."""
    monkeypatch.setattr(extras, "missing", lambda _: ("tensorflow",))
    serve, model = Deploy("noop", runtime=runtime), describe("noop")
    assert isinstance(serve, CataloguedModel)
    if refused:
        with pytest.raises(DescribeError, match="noop: needs tensorflow, not installed here; pip install"):
            check_framework(serve, model)
    else:
        check_framework(serve, model)
