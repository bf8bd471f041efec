"""A Ray cluster of three nodes on this machine, with tiny object stores."""

import os

import pytest
from ray_nodes import Nodes


@pytest.fixture(scope="module")
def nodes():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Nodes()
    yield cluster
    cluster.shutdown()
