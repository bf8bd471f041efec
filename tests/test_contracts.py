"""What the modules promise beside their behaviour."""

import ast
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import module_tables
import pytest

import frontend_launch
import loadgen

pytestmark = pytest.mark.no_cover  # they read the source, and take no branch of it

ROOT = Path(__file__).parents[1]
PACKAGES = ("loadgen", "frontend_launch", "model_containers")
IMPORTS = {"asyncio", "time", "logging", "zmq", "socket"}
CALLS = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "print"}
RAY = ("frontend_launch.launch.ray", "frontend_launch.ray_cluster", "loadgen.workers.ray_cluster")
"""Behind an extra."""

MODULES = sorted(
    module.name
    for package in (frontend_launch, loadgen)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith(("__main__", "_pb2", "pin_and_exec"))
    and (module.name not in RAY or importlib.util.find_spec("ray") is not None)
)


@functools.cache
def trees() -> dict[str, ast.Module]:
    """All modules by their paths."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in paths}


def cores():
    """The modules that the contract in pyproject.toml lists."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = (contract for contract in contracts if contract["name"].startswith("Pure cores"))
    return found["source_modules"]


def impurities(tree):
    """What a module contains that a core must not."""
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                yield "awaits"
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in CALLS:
                yield f"calls {name}"
            case ast.Import(names=names):
                yield from (f"imports {each.name}" for each in names if each.name.partition(".")[0] in IMPORTS)
            case ast.ImportFrom(module=str(name)) if name.partition(".")[0] in IMPORTS:
                yield f"imports {name}"


@pytest.mark.parametrize("name", cores())
def test_a_core_is_pure(name):
    """It never awaits, reads a clock, logs, or opens a file or a socket."""
    assert list(impurities(trees()[f"{name.replace('.', '/')}.py"])) == []


@pytest.mark.parametrize(
    "text",
    [
        "async def f(): ...",
        "Path('x').open()",
        "open('x')",
        "import os, time",
        "from asyncio.events import X",
        "print()",
    ],
)
def test_what_is_not_pure_is_seen(text):
    """Each kind of it."""
    assert len(list(impurities(ast.parse(text)))) == 1


def test_a_module_that_says_it_is_pure_is_a_core():
    """So that the list stays whole."""
    said = {
        path.removesuffix(".py").replace("/", ".")
        for path, tree in trees().items()
        if re.search(r"\b[Pp]ure\b", ast.get_docstring(tree) or "")
    }
    assert said <= set(cores())


def classes() -> Iterator[type]:
    """All classes of the two packages that have protocols, each where it is defined."""
    for name in MODULES:
        module = importlib.import_module(name)
        for _, found in inspect.getmembers(module, inspect.isclass):
            if found.__module__ == name:
                yield found


def test_no_field_has_a_property_of_a_protocol_for_its_default():
    """A dataclass takes an inherited class attribute for the default of its field."""
    wrong = [
        f"{found.__qualname__}.{field.name}"
        for found in classes()
        if dataclasses.is_dataclass(found)
        for field in dataclasses.fields(found)
        if isinstance(field.default, property)
    ]
    assert wrong == []


def test_slots_hold():
    """A base without slots, such as a protocol, would add a dictionary to each instance."""
    wrong = [
        found.__qualname__
        for found in classes()
        if "__slots__" in vars(found) and found.__dictoffset__ and not issubclass(found, BaseException)
    ]
    assert wrong == []


def test_the_tables_of_modules_are_up_to_date():
    """They say in docs/architecture.md what the docstrings say."""
    text = module_tables.DOCUMENT.read_text()
    assert module_tables.rewritten(text) == text, "run make docs"


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_has_its_table(package):
    """All of its modules are in it."""
    assert module_tables.table(package) in module_tables.DOCUMENT.read_text()


@pytest.mark.xdist_group("one")
def test_workers_see_the_groups_of_tests(request):
    """Tests that share an engine or a server would get in each other's way in two workers."""
    several = "PYTEST_XDIST_WORKER" in os.environ
    assert request.node.nodeid.endswith("@one") is several, "use `make test`, or --dist loadgroup"


WALL_CLOCK = {
    "frontend_launch/launch/runs.py",  # how long a container has been up, by the engine's clock
    "loadgen/cli/images.py",  # how old an image is
    "loadgen/experiments/capacity.py",
    "loadgen/experiments/compare.py",
    "loadgen/experiments/ceiling_cache.py",  # how old an entry is, across restarts of the machine
    "loadgen/experiments/experiment.py",
    "loadgen/experiments/ledger.py",
    "loadgen/results/files.py",
}
"""The modules that read it: for names of files and for dates, where nothing is said about it."""


def reads_wall_clock(tree: ast.AST) -> bool:
    """Whether a module reads the clock that a person or a time server may step."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(
                value=ast.Name(id="time"), attr="time" | "time_ns" | "localtime" | "gmtime" | "strftime"
            ):
                return True
            case ast.Attribute(attr="now" | "utcnow" | "today", value=ast.Name(id="datetime" | "date")):
                return True
            case ast.Attribute(attr="now" | "utcnow" | "today", value=ast.Attribute(attr="datetime" | "date")):
                return True
            case ast.ImportFrom(module="time", names=names) if {"time", "time_ns"} & {each.name for each in names}:
                return True
    return False


def test_durations_are_not_taken_from_the_wall_clock():
    """It may be stepped in the middle of a run."""
    assert {path for path, tree in trees().items() if reads_wall_clock(tree)} == WALL_CLOCK


def only_reads(node: ast.expr) -> bool:
    """Whether an expression does nothing but compare what names hold."""
    match node:
        case ast.Name() | ast.Constant():
            return True
        case ast.Attribute(value=value):
            return only_reads(value)
        case ast.Compare(left=left, comparators=others):
            return all(map(only_reads, (left, *others)))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):  # of types
            return only_reads(left) and only_reads(right)
        case ast.Call(func=ast.Name(id="isinstance" | "is_dataclass"), args=arguments, keywords=[]):
            return all(map(only_reads, arguments))
    return False


def depends_on_assertions(tree: ast.AST) -> bool:
    """Whether a module does something else where assertions are not evaluated."""
    for node in ast.walk(tree):
        match node:
            case ast.Assert(test=test) if not only_reads(test):
                return True
            case ast.Name(id="__debug__") | ast.Attribute(attr="optimize"):
                return True
            case ast.ExceptHandler(type=kind) if kind is not None and "AssertionError" in ast.unparse(kind):
                return True
    return False


def test_without_assertions_modules_do_the_same():
    """Under `python -O` none is evaluated."""
    found = {path for path, tree in trees().items() if depends_on_assertions(tree)}
    assert found == {"frontend_launch/launch/engine.py"}, "which catches an assertion of the Docker client"


@pytest.mark.parametrize(
    "text",
    [
        "assert f()",
        "assert (x := 1)",
        "assert queue.pop() is not None",
        "assert isinstance(next(rows), int)",
        "assert rows[0]",
        "if __debug__: f()",
        "sys.flags.optimize",
        "try: f()\nexcept (AssertionError, OSError): pass",
    ],
)
def test_what_depends_on_assertions_is_seen(text):
    """Each kind of it."""
    assert depends_on_assertions(ast.parse(text))
