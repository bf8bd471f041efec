"""What a configuration needs before anything is started: what is installed, and a connection to its cluster."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from frontend_launch.errors import DescribeError
from frontend_launch.launch.runtimes import runtime_of
from loadgen.config import ExperimentConfig
from loadgen.errors import ConfigError
from loadgen.served import CataloguedModel, Deploy
from model_containers import extras
from model_containers.model import Description


def check_extras(config: ExperimentConfig) -> None:
    """Refuse a cluster whose library is not installed, before anything is started; machines in words need none.

    Raises:
        ConfigError: it is not.
    """
    serve = config.serve
    if isinstance(serve, Deploy) and serve.described:
        return
    clusters = {"Client.workers": config.client.workers}
    if isinstance(serve, Deploy) and serve.on_cluster:
        clusters["Deploy.runtime"] = serve.runtime
    for field, cluster in clusters.items():
        if cluster is None:
            continue
        name = cluster.partition(":")[0]
        if missing := extras.missing(name):
            raise ConfigError(f"{{{field}}} {cluster}: needs {missing[0]}; {extras.remedy(name)}")


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
        what = f"{model.name}: needs {' and '.join(missing)}, not installed here"
        raise DescribeError(f"{what}; {extras.remedy(model.framework)}")
