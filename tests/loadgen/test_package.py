"""The package as it is installed: what it publishes beside its modules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

import loadgen

HEAVY = ["numpy", "zmq", "aiohttp", "typer", "uvloop"]


def test_the_public_interface():
    """A name that goes, or comes, is a decision."""
    assert loadgen.__all__ == [
        "Access",
        "Arrivals",
        "Capacity",
        "CapacityConfig",
        "Client",
        "CompareConfig",
        "ComparePlan",
        "Compared",
        "Condition",
        "ConfigError",
        "Deploy",
        "Endpoint",
        "ExperimentConfig",
        "ExperimentInterrupted",
        "External",
        "FieldError",
        "FoundCapacity",
        "Frontend",
        "FrontendLaunchError",
        "Inputs",
        "Interrupted",
        "Limits",
        "Live",
        "LoadgenError",
        "OpenLoop",
        "Output",
        "Patience",
        "Ports",
        "Probe",
        "Results",
        "Saturate",
        "SizeAnswer",
        "SizeConfig",
        "SizePlan",
        "Sized",
        "Sweep",
        "SweepConfig",
        "SweepEntry",
        "SweepPlan",
        "TargetError",
        "TargetOptions",
        "Topology",
        "__version__",
        "find_capacity",
        "find_size",
        "parse_arrivals",
        "parse_slo",
        "prepare_comparison",
        "prepare_size",
        "prepare_sweep",
        "read_results",
        "run_comparison",
        "run_experiment",
        "run_sweep",
    ]


@pytest.mark.parametrize("name", loadgen.__all__)
def test_a_public_name_can_be_used(name):
    """And `dir` shows it."""
    assert getattr(loadgen, name)
    assert name in dir(loadgen)


def test_an_unknown_name_is_the_usual_error():
    """As of any module."""
    with pytest.raises(AttributeError, match=r"^module 'loadgen' has no attribute 'no_such_name'$"):
        _ = loadgen.no_such_name  # type: ignore[attr-defined]  # wrong on purpose
    with pytest.raises(ImportError, match="cannot import name 'no_such_name' from 'loadgen'"):
        from loadgen import no_such_name  # type: ignore[attr-defined]  # noqa: F401 - wrong on purpose


def test_type_checkers_see_what_is_imported():
    """The imports that only they read name the same places."""
    tree = ast.parse(Path(loadgen.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {name.asname or name.name: f"{node.module}:{name.name}" for node in imports for name in node.names}
    assert seen == loadgen._SOURCES


def test_importing_it_imports_nothing_heavy():
    """Nor any module of its own."""
    code = "import sys, loadgen; print(*(m for m in sys.modules if m in sys.argv[1:] or m.startswith('loadgen.')))"
    run = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.strip() == ""


def test_the_page_of_the_package_links_to_nothing_beside_it():
    """Where the page is shown, the repository's other files are not."""
    root = Path(__file__).parents[2]
    page = root / tomllib.loads((root / "pyproject.toml").read_text())["project"]["readme"]
    links = re.findall(r"\]\(([^)]*)\)|^\[[^]]*\]:\s*(\S+)|(?:href|src)=\"([^\"]*)", page.read_text(), re.MULTILINE)
    assert [link for found in links for link in found if link and not link.startswith(("https://", "#"))] == []


@pytest.mark.parametrize("package", ["loadgen", "frontend_launch", "model_containers"])
def test_type_hints_are_published(package):
    """A type checker reads those of an installed package only beside this file (PEP 561)."""
    assert files(package).joinpath("py.typed").is_file()
