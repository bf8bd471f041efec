"""What the modules promise beside their behaviour."""

import dataclasses
import importlib
import inspect
import pkgutil

import frontend_launch
import loadgen

MODULES = sorted(
    module.name
    for package in (frontend_launch, loadgen)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith(("__main__", "_pb2", "launch.child"))
)


def classes():
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
        if "__slots__" in vars(found) and getattr(found, "__dictoffset__", 0) and not issubclass(found, BaseException)
    ]
    assert wrong == []
