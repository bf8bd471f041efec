"""The energy of processor packages, memory and GPUs over a measured part, from counters that only grow. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from frontend_launch.quantities import number
from loadgen.hardware.readings import Reading
from model_containers.units import NS_PER_S


@dataclass(frozen=True, slots=True)
class Energy:
    """The energy over a measured part, of the machine as a whole.

    Attributes:
        seconds: from the first reading to the last.
        cpu_j: joules of each processor package and its memory, by the kernel's names; empty without counters.
        gpus_j: joules of each GPU with a counter, by number.
        per_request_j: joules of processors, and of the GPUs of the plan, for each completed request; None
            without counters, or where the server is not on this machine.
        gpus: the GPUs that it includes.
    """

    seconds: float
    cpu_j: Mapping[str, float]
    gpus_j: Mapping[str, float]
    per_request_j: float | None = None
    gpus: tuple[str, ...] = ()

    def shared_by(self, gpus: Iterable[int], throughput_rps: float) -> Energy:
        """The same with the energy of a request.

        Args:
            gpus: those of the plan.
            throughput_rps: completed requests a second.
        """
        counted = tuple(str(gpu) for gpu in gpus if str(gpu) in self.gpus_j)
        if not throughput_rps or not (self.cpu_j or counted):
            return self
        joules = sum(self.cpu_j.values()) + sum(self.gpus_j[gpu] for gpu in counted)
        return Energy(self.seconds, self.cpu_j, self.gpus_j, joules / self.seconds / throughput_rps, counted)


class EnergyTally:
    """Adds up the energy between readings; a counter that is missing in either of two readings adds nothing.

    A processor's counter wraps around several times an hour, at the end of its range.
    """

    def __init__(self) -> None:
        self._cpu_uj: dict[str, int] = {}
        self._gpu_mj: dict[int, int] = {}
        self._gone: set[str | int] = set()
        self._ns = 0

    def between(self, first: Reading, second: Reading) -> None:
        """Take the next two readings."""
        self._ns += second.at_ns - first.at_ns
        cpu = first.energy_uj.keys() | second.energy_uj.keys()
        for name in cpu:
            before, after = first.energy_uj.get(name), second.energy_uj.get(name)
            if before is None or after is None:
                self._gone.add(name)
                continue
            grown = after[0] - before[0]
            self._cpu_uj[name] = self._cpu_uj.get(name, 0) + (grown if grown >= 0 else grown + after[1])
        for gpu in first.gpus.keys() | second.gpus.keys():
            told = [reading.gpus[gpu].energy_mj for reading in (first, second) if gpu in reading.gpus]
            match told:
                case [int(earlier), int(later)] if later >= earlier:
                    self._gpu_mj[gpu] = self._gpu_mj.get(gpu, 0) + later - earlier
                case _:
                    self._gone.add(gpu)

    @property
    def energy(self) -> Energy | None:
        """The sums of the counters that were present in all readings; None without any."""
        cpu_j = {name: uj / 1e6 for name, uj in sorted(self._cpu_uj.items()) if name not in self._gone}
        gpus_j = {str(number): mj / 1e3 for number, mj in sorted(self._gpu_mj.items()) if number not in self._gone}
        return Energy(self._ns / NS_PER_S, cpu_j, gpus_j) if (cpu_j or gpus_j) and self._ns else None


def powercap_counters(zones: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[int, int]]:
    """The counters of processor packages and their memory: microjoules, and the value at which they wrap around.

    Counters of a package's cores and graphics are left out, since the package's includes them; so is the whole
    machine's, which would count all twice.

    Args:
        zones: the texts of the files of each directory ``intel-rapl:N`` and ``intel-rapl:N:M``, by its name.
    """
    counters: dict[str, tuple[int, int]] = {}
    for zone, texts in sorted(zones.items()):
        kind, *numbers = zone.split(":")
        name = texts.get("name", "").strip()
        parent = zones.get(":".join([kind, *numbers[:1]]), {}).get("name", "").strip()
        if kind != "intel-rapl" or not parent.startswith("package"):
            continue
        if len(numbers) == 2:
            name = f"{parent} {name}" if name == "dram" else ""
        energy, most = (texts.get(file, "").strip() for file in ("energy_uj", "max_energy_range_uj"))
        if name and energy.isdecimal() and most.isdecimal():
            counters.setdefault(name, (int(energy), int(most)))
    return counters


def energy_text(energy: Energy | None) -> str:
    """Joules for each request, and the watts of each part; empty without counters."""
    if energy is None:
        return ""
    watts = {"CPU": sum(energy.cpu_j.values())} if energy.cpu_j else {}
    counted = energy.gpus if energy.per_request_j is not None else tuple(energy.gpus_j)
    watts |= {f"GPU {gpu}": energy.gpus_j[gpu] for gpu in counted}
    parts = ", ".join(f"{name} {number(joules / energy.seconds, 3)} W" for name, joules in watts.items())
    return parts if energy.per_request_j is None else f"{number(energy.per_request_j, 3)} J per request: {parts}"
