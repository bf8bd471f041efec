"""What a user runs: load, its measurement, and experiments around both.

`__all__` is the public interface in Python. Each name is imported at its first use, so ``import loadgen`` is quick.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
"""True to type checkers. `python -m loadgen` runs this module before it corrects its path: it imports nothing more."""

if TYPE_CHECKING:
    from frontend_launch.errors import FrontendLaunchError
    from frontend_launch.launch.topology import Topology
    from frontend_launch.ports import Ports
    from loadgen.config import Client, ExperimentConfig, Inputs, OpenLoop, Output, Patience, Saturate
    from loadgen.errors import ConfigError, FieldError, Interrupted, LoadgenError, TargetError
    from loadgen.experiments.capacity import CapacityConfig, FoundCapacity, find_capacity
    from loadgen.experiments.compare import CompareConfig, Compared, ComparePlan, prepare_comparison, run_comparison
    from loadgen.experiments.experiment import ExperimentInterrupted, run_experiment
    from loadgen.experiments.ledger import Entry as SweepEntry
    from loadgen.experiments.probes import Probe
    from loadgen.experiments.search import Capacity, Limits
    from loadgen.experiments.size import SizeConfig, Sized, SizePlan, find_size, prepare_size
    from loadgen.experiments.size_answer import Answer as SizeAnswer
    from loadgen.experiments.sweep import Sweep, SweepConfig, SweepPlan, prepare_sweep, run_sweep
    from loadgen.feed.options import Endpoint, Live
    from loadgen.judging.slo import Condition
    from loadgen.judging.slo import parse as parse_slo
    from loadgen.load.arrivals import Arrivals, parse_arrivals
    from loadgen.results.document import Results
    from loadgen.results.files import read as read_results
    from loadgen.served import Deploy, External, Frontend
    from loadgen.targets.access import Access
    from loadgen.targets.remote import TargetOptions

    __version__: str

__all__ = [
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

_SOURCES = {
    "Access": "loadgen.targets.access:Access",
    "Arrivals": "loadgen.load.arrivals:Arrivals",
    "Capacity": "loadgen.experiments.search:Capacity",
    "CapacityConfig": "loadgen.experiments.capacity:CapacityConfig",
    "Client": "loadgen.config:Client",
    "CompareConfig": "loadgen.experiments.compare:CompareConfig",
    "ComparePlan": "loadgen.experiments.compare:ComparePlan",
    "Compared": "loadgen.experiments.compare:Compared",
    "Condition": "loadgen.judging.slo:Condition",
    "ConfigError": "loadgen.errors:ConfigError",
    "Deploy": "loadgen.served:Deploy",
    "Endpoint": "loadgen.feed.options:Endpoint",
    "ExperimentConfig": "loadgen.config:ExperimentConfig",
    "ExperimentInterrupted": "loadgen.experiments.experiment:ExperimentInterrupted",
    "External": "loadgen.served:External",
    "FieldError": "loadgen.errors:FieldError",
    "FoundCapacity": "loadgen.experiments.capacity:FoundCapacity",
    "Frontend": "loadgen.served:Frontend",
    "FrontendLaunchError": "frontend_launch.errors:FrontendLaunchError",
    "Inputs": "loadgen.config:Inputs",
    "Interrupted": "loadgen.errors:Interrupted",
    "Limits": "loadgen.experiments.search:Limits",
    "Live": "loadgen.feed.options:Live",
    "LoadgenError": "loadgen.errors:LoadgenError",
    "OpenLoop": "loadgen.config:OpenLoop",
    "Output": "loadgen.config:Output",
    "Patience": "loadgen.config:Patience",
    "Ports": "frontend_launch.ports:Ports",
    "Probe": "loadgen.experiments.probes:Probe",
    "Results": "loadgen.results.document:Results",
    "Saturate": "loadgen.config:Saturate",
    "SizeAnswer": "loadgen.experiments.size_answer:Answer",
    "SizeConfig": "loadgen.experiments.size:SizeConfig",
    "SizePlan": "loadgen.experiments.size:SizePlan",
    "Sized": "loadgen.experiments.size:Sized",
    "Sweep": "loadgen.experiments.sweep:Sweep",
    "SweepConfig": "loadgen.experiments.sweep:SweepConfig",
    "SweepEntry": "loadgen.experiments.ledger:Entry",
    "SweepPlan": "loadgen.experiments.sweep:SweepPlan",
    "TargetError": "loadgen.errors:TargetError",
    "TargetOptions": "loadgen.targets.remote:TargetOptions",
    "Topology": "frontend_launch.launch.topology:Topology",
    "find_capacity": "loadgen.experiments.capacity:find_capacity",
    "find_size": "loadgen.experiments.size:find_size",
    "parse_arrivals": "loadgen.load.arrivals:parse_arrivals",
    "parse_slo": "loadgen.judging.slo:parse",
    "prepare_comparison": "loadgen.experiments.compare:prepare_comparison",
    "prepare_size": "loadgen.experiments.size:prepare_size",
    "prepare_sweep": "loadgen.experiments.sweep:prepare_sweep",
    "read_results": "loadgen.results.files:read",
    "run_comparison": "loadgen.experiments.compare:run_comparison",
    "run_experiment": "loadgen.experiments.experiment:run_experiment",
    "run_sweep": "loadgen.experiments.sweep:run_sweep",
}
"""Where each public name is defined."""

if not TYPE_CHECKING:  # a type checker would accept any name of a module that has this function

    def __getattr__(name: str) -> object:
        if name == "__version__":
            value = import_module("importlib.metadata").version("loadgen")
        elif name in _SOURCES:
            module, _, attribute = _SOURCES[name].partition(":")
            value = getattr(import_module(module), attribute)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
