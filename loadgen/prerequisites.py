"""What a configuration needs before anything is started: what is installed, and a connection to its cluster."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from frontend_launch.errors import DescribeError
from frontend_launch.launch.runtimes import runtime_of
from loadgen.config import ExperimentConfig
from loadgen.errors import ConfigError
from loadgen.served import CataloguedModel, Deploy, External
from model_containers import extras
from model_containers.model import Description


def check_extras(config: ExperimentConfig) -> None:
    """Refuse a runtime, a cluster or an external server whose libraries are not installed, before anything is started.

    Machines in words need none.

    Raises:
        ConfigError: one of them is not.
    """
    serve, workers = config.serve, config.client.workers
    if isinstance(serve, Deploy) and serve.described:
        return
    needed = [] if workers is None else [("Client.workers", workers, _extra(workers))]
    if isinstance(serve, External):
        needed.append(("External.target", serve.target.address.shown, "oip"))
    elif isinstance(serve, Deploy) and serve.runtime != "process":
        needed.append(("Deploy.runtime", serve.runtime, _extra(serve.runtime)))
    for field, value, extra in needed:
        if missing := extras.missing(extra):
            raise ConfigError(f"{{{field}}} {value}: needs {', '.join(missing)}; {extras.remedy(extra)}")


def _extra(name: str) -> str:
    """The extra of a runtime or of a cluster, whose name may say where it is."""
    return name.partition(":")[0]


def connected(config: ExperimentConfig) -> AbstractAsyncContextManager[None]:
    """The one connection to its cluster that all runs in the context use; of a configuration without a cluster none.

    Raises:
        ConfigError: the machines are in words, or the cluster's library is not installed.
        LaunchError: the cluster does not answer.
    """
    if isinstance(config.serve, Deploy):
        config.serve.check_not_described()
    if config.cluster is None:
        return nullcontext()
    check_extras(config)
    return runtime_of(config.cluster).connected(config.cluster)


def check_framework(serve: CataloguedModel, model: Description) -> None:
    """Refuse a model whose framework the replicas, processes of this installation, would not find.

    Args:
        serve: what serves it.
        model: the model.

    Raises:
        DescribeError: it is not installed.
    """
    here = isinstance(serve, Deploy) and serve.runtime == "process" and serve.topology is None
    if here and (missing := extras.missing(model.framework)):
        what = f"{serve.model}: needs {' and '.join(missing)}, not installed here"
        raise DescribeError(f"{what}; {extras.remedy(model.framework)}")
