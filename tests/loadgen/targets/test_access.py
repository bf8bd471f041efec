"""Files of TLS: what is no file of PEM is refused before OpenSSL reads it."""

import os
import subprocess
from pathlib import Path

import pytest

from loadgen.errors import ConfigError
from loadgen.files import MAX_SETTING_BYTES
from loadgen.targets.access import Access
from loadgen.targets.address import parse_address


@pytest.mark.parametrize(("field", "other"), [("ca", None), ("certificate", "key"), ("key", "certificate")])
@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "large"])
def test_a_file_that_has_no_end(tmp_path, field, other, kind):
    """OpenSSL would read on, or wait for the writer of a pipe."""
    path, good = tmp_path / "x.pem", tmp_path / "good.pem"
    good.write_text("")
    problem = "not a file on disk, and it is read several times; save it first"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(MAX_SETTING_BYTES + 1)
        problem = "has more than 16 MiB; name a file of PEM"
    access = Access(**{field: path, **({} if other is None else {other: good})})
    with pytest.raises(ConfigError, match=f"{path}: {problem}"):
        access.ssl_context()


def test_a_key_with_a_password_asks_for_none(tmp_path):
    """A question on the terminal would stop the run, and each client."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=x"]
    subprocess.run([*make, "-passout", "pass:secret", "-keyout", key, "-out", certificate], check=True, timeout=60)
    access = Access(certificate=certificate, key=key)
    problem = f"{key}: encrypted; save it without a password, as openssl pkey does"
    with pytest.raises(ConfigError, match=problem):
        access.ssl_context()
    with pytest.raises(ConfigError, match=problem):
        access.channel(parse_address("oip+grpcs://h:1/m"))


def test_a_file_that_is_not_there():
    """The reason is the system's."""
    with pytest.raises(ConfigError, match="cannot be used: No such file"):
        Access(ca=Path("/nowhere/ca.pem")).ssl_context()
