"""Who is served by a deployment, where it runs, and what of it is refused."""

import re

import pytest

from loadgen.errors import ConfigError, FieldError
from loadgen.served import Deploy


@pytest.mark.parametrize(
    ("exposed", "wanted"),
    [
        pytest.param({}, False, id="loopback"),
        pytest.param({"local_token": True}, True, id="loopback, no other user"),
        pytest.param({"publish_address": "127.0.0.2"}, False, id="another loopback"),
        pytest.param({"publish_address": "0.0.0.0"}, True, id="all addresses"),
        pytest.param({"publish_address": "10.1.2.3"}, True, id="one address"),
        pytest.param({"publish_address": "10.1.2.3", "insecure": True}, False, id="for peers of 2017"),
    ],
)
def test_who_is_served(exposed, wanted):
    """Everybody on loopback, and beyond it only who has the credentials, unless the opposite is asked."""
    assert Deploy("noop", **exposed).wants_credentials is wanted


@pytest.mark.parametrize(
    ("exposed", "said"),
    [
        ({"publish_address": "gpu-box"}, "publish_address gpu-box: not an IPv4 address; use one of this machine's"),
        ({"publish_address": "::"}, "publish_address ::: not an IPv4 address"),
        ({"insecure": True, "local_token": True}, "insecure True: contradicts local_token; leave one of them out"),
    ],
)
def test_who_cannot_be_served(exposed, said):
    """In one line."""
    with pytest.raises(FieldError, match=f"^{re.escape(said)}"):
        Deploy("noop", **exposed)


@pytest.mark.parametrize("names", ["request", ("redis",), ("nothing",)])
def test_named_ports_are_those_that_could_give_way(names):
    """The name of another is a mistake."""
    with pytest.raises(ConfigError, match=r"unknown.* choose from request, response, replica, metrics, admin"):
        Deploy("noop", named_ports=names)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"cpus": (0, 1)},
            "cpus 0,1: names cores of one machine, and runtime ray plans each node; use cpus_per_replica",
        ),
        ({"infrastructure_cpus": {"frontends": (0,)}}, "--frontends-cpus 0: names cores of one machine"),
        (
            {"publish_address": "0.0.0.0"},
            "publish_address 0.0.0.0: frontends of runtime ray listen on the address of their",
        ),
    ],
)
def test_what_means_one_machine_is_refused_on_a_cluster(changes, text):
    """Each node is planned by itself."""
    with pytest.raises(ConfigError) as error:
        Deploy("noop", runtime="ray", **changes)
    assert text in str(error.value)


def test_frontends_on_a_cluster_want_credentials():
    """Unless the user does without."""
    assert Deploy("noop", runtime="ray").wants_credentials
    assert not Deploy("noop", runtime="ray://10.0.0.1:10001", insecure=True).wants_credentials
    assert not Deploy("noop").wants_credentials
