"""The extras of the package, and how they are installed."""

import tomllib
from pathlib import Path

import pytest

from model_containers import catalog, extras

ROOT = Path(__file__).parents[2]
GROUPS = {"models", "models-gpu", "tensorflow-gpu", "docs", "dev"}
"""Extras that are others together, of another build, or for developers."""


def test_all_extras_are_known():
    """Those of the package are those of the table, and each framework of the catalogue is one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.MODULES) == set(project["optional-dependencies"]) - GROUPS
    assert {catalog.describe(name).framework for name in catalog.NAMES} - {"none"} <= set(extras.MODULES)


def test_what_is_missing(monkeypatch):
    """By its modules, also where the package above one is missing."""
    monkeypatch.setitem(extras.MODULES, "sample", ("json", "nowhere_at_all", "nowhere_at_all.below"))
    assert extras.missing("sample") == ("nowhere_at_all", "nowhere_at_all.below")
    assert extras.missing("pytorch") == ()


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("clone", "pip install -e '{}/clone[onnx]'"),
        ("site-packages", "pip install 'WHEEL[onnx]', where WHEEL is the file that loadgen was installed from"),
    ],
)
def test_the_remedy_works_where_it_is_said(monkeypatch, tmp_path, place, text):
    """No package index is asked for a package of this name."""
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "pyproject.toml").touch()
    monkeypatch.setattr(extras, "__file__", str(tmp_path / place / "model_containers" / "extras.py"))
    assert extras.remedy("onnx") == text.format(tmp_path)
