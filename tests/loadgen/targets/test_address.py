"""What follows --target."""

import pytest

from loadgen.errors import ConfigError
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address
from loadgen.targets.http_request import post


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oip+grpc://host:8001/m", ("grpc", False, "host", 8001, "m", "", "")),
        ("oip+grpcs://host:8001/m/3", ("grpc", True, "host", 8001, "m", "3", "")),
        ("oip+http://[::1]:8000/m", ("http", False, "::1", 8000, "m", "", "")),
        ("oip+https://127.0.0.1:443/m/", ("http", True, "127.0.0.1", 443, "m", "", "")),
        (
            "http+json://host:80/v1/completions?a=b",
            ("json", False, "host", 80, "completions", "", "/v1/completions?a=b"),
        ),
        ("https+json://host:443", ("json", True, "host", 443, "endpoint", "", "/")),
        ("oip+http://[FE80::1%25Eth0]:8000/m", ("http", False, "fe80::1%Eth0", 8000, "m", "", "")),
        ("oip+http://[fe80::1%eth0]:8000/m", ("http", False, "fe80::1%eth0", 8000, "m", "", "")),
        ("oip+http://[fe80::1%25]:8000/m", ("http", False, "fe80::1%25", 8000, "m", "", "")),
        ("oip+http://Bücher.example:8000/m", ("http", False, "xn--bcher-kva.example", 8000, "m", "", "")),
        ("http://host/predict/", ("any", False, "host", 80, "predict", "", "/predict/")),
        ("https://host?a=%20b&c", ("any", True, "host", 443, "endpoint", "", "/?a=%20b&c")),
        ("HTTP://[::1]/a%2Fb c#d", ("any", False, "::1", 80, "a%2Fb c", "", "/a%2Fb%20c")),
        ("http+json://host/x", ("json", False, "host", 80, "x", "", "/x")),
        ("oip+https://host/org%2Fm/v1", ("http", True, "host", 443, "org/m", "v1", "")),
        ("oip+grpc://host:1/org%2Fm", ("grpc", False, "host", 1, "org/m", "", "")),
    ],
)
def test_addresses(text, expected):
    """Each scheme, with what may follow it."""
    address = parse_address(text)
    found = (
        address.protocol.name,
        address.tls,
        address.host,
        address.port,
        address.model,
        address.version,
        address.path,
    )
    assert found == expected


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("host:8001/m", "host:8001/m: has no scheme; write http://host:8001/m, or oip"),
        ("127.0.0.1", "has no scheme; write http://127.0.0.1, or"),
        ("ftp://host:8000/m", "scheme is not one of"),
        ("grpc://host:8001/m", r"https; did you mean oip\+grpc://host:8001/m\?$"),
        ("oip+htp://host/m", r"; did you mean oip\+http://host/m\?$"),
        ("http:/127.0.0.1:80/m", r": not an address; did you mean http://127.0.0.1:80/m\?$"),
        ("oip+grpc//host:8001/m", r": not an address; did you mean oip\+grpc://host:8001/m\?$"),
        ("https:host/m", r": not an address; did you mean https://host/m\?$"),
        ("http:/me:secret@host/m", r": not an address; did you mean http://…@host/m\?$"),
        ("http:8000/m", "a host is needed"),
        ("http://:80/m", "a host is needed"),
        ("http://me:secret@host/m", "use headers for host"),
        ("http://host:0/m", "host and port are needed"),
        ("oip+http://host/m/1/2", "one model is needed.*; write such as .*, with a slash in a name as %2F"),
        ("oip+grpc://host/m", "host and port are needed"),
        ("oip+grpc://:1/m", "host and port are needed"),
        ("oip+grpc://host:99999/m", "99999|range"),
        ("oip+grpc://host:1/", "one model is needed"),
        ("oip+grpc://host:1/m/1/2", "one model is needed"),
        ("oip+http://me:secret@host:1/m", "use headers for host"),
    ],
)
def test_what_is_no_address(text, match):
    """It names the value and what would do."""
    with pytest.raises(ConfigError, match=match) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("http://host/", "host"),
        ("https://[::1]/", "[::1]"),
        ("http://host:80/", "host:80"),
        ("oip+https://host/m", "host"),
        ("oip+grpc://host:443/m", "host:443"),
    ],
)
def test_a_port_that_is_left_out_is_not_told_to_the_server(text, authority):
    """As other clients do; hosts may be told apart by it."""
    assert parse_address(text).authority == authority


def test_an_ipv6_address_is_written_in_brackets():
    """As URLs want it."""
    assert parse_address("oip+http://[::1]:8000/m").base_url == "http://[::1]:8000"


@pytest.mark.parametrize("scheme", ["oip+grpc", "oip+http", "http+json"])
def test_a_zone_is_for_connecting_only(scheme):
    """It means nothing to the server (RFC 6874)."""
    address = parse_address(f"{scheme}://[fe80::1%25eth0]:8000/m")
    assert (address.endpoint, address.authority) == ("[fe80::1%eth0]:8000", "[fe80::1]:8000")
    assert address.base_url == "http://[fe80::1%eth0]:8000"
    assert b"\r\nhost: [fe80::1]:8000\r\n" in post(address, "/", Access(), "application/json", {}, b"{}")


@pytest.mark.parametrize(
    ("text", "model", "version", "path"),
    [
        ("oip+http://host:80/m", "m", "", "/v2/models/m"),
        ("oip+http://host:80/m/3", "m", "3", "/v2/models/m/versions/3"),
        ("oip+http://host:80/v2/models/m", "m", "", "/v2/models/m"),
        ("oip+https://host:80/a/b/v2/models/m/versions/3/infer", "m", "3", "/a/b/v2/models/m/versions/3"),
        ("oip+http://host:80/a/v2/models/m/infer/", "m", "", "/a/v2/models/m"),
        ("oip+http://host:80/a b/v2/models/m%20n", "m n", "", "/a%20b/v2/models/m%20n"),
    ],
)
def test_paths_over_http(text, model, version, path):
    """Short, or as requests have them, behind whatever an ingress puts before."""
    address = parse_address(text)
    assert (address.model, address.version, address.model_path) == (model, version, path)
    assert address.server_path == path.partition("/models/")[0]


@pytest.mark.parametrize("path", ["/a/v2/models/", "/a/b/c", "/v2/models/m/1/2"])
def test_paths_without_one_model(path):
    """Are refused as all others are."""
    with pytest.raises(ConfigError, match="one model is needed"):
        parse_address(f"oip+http://host:1{path}")
