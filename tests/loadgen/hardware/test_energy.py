"""Energy of processors and GPUs, from a made-up sysfs and made-up readings."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from loadgen.hardware.energy import Energy, EnergyTally, energy_text
from loadgen.hardware.readings import GpuReading, Reading
from loadgen.hardware.sampler import read_energy
from loadgen.hardware.summary import summarise

RANGE = 262_143_328_850


def zone(root, name, label, energy="1", most=str(RANGE)):
    directory = root / "sys/class/powercap" / name
    directory.mkdir(parents=True)
    for file, text in (("name", label), ("energy_uj", energy), ("max_energy_range_uj", most)):
        (directory / file).write_text(f"{text}\n")
    return directory


def test_packages_and_their_memory_are_read(tmp_path):
    """What is in another counter already is left out, and so is what the kernel does not let us read."""
    zone(tmp_path, "intel-rapl:0", "package-0", "1000")
    zone(tmp_path, "intel-rapl:0:0", "core", "600")
    zone(tmp_path, "intel-rapl:0:1", "dram", "200", "65712999613")
    zone(tmp_path, "intel-rapl:1", "package-1", "3000")
    zone(tmp_path, "intel-rapl:2", "psys", "9000")
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", "1000")
    zone(tmp_path, "intel-rapl:3", "package-3", "not told")
    (zone(tmp_path, "intel-rapl:4", "package-4") / "energy_uj").unlink()
    assert read_energy(tmp_path) == {
        "package-0": (1000, RANGE),
        "package-0 dram": (200, 65_712_999_613),
        "package-1": (3000, RANGE),
    }
    assert read_energy(tmp_path / "nothing") == {}


def reading(at_s, cpu=None, gpus=None):
    return Reading(
        at_ns=at_s * 1_000_000_000,
        cores={},
        cpu_ns={},
        throttled={},
        rss_bytes={},
        gpus={number: GpuReading(energy_mj=mj) for number, mj in (gpus or {}).items()},
        energy_uj={name: (uj, 10_000_000) for name, uj in (cpu or {}).items()},
    )


def tallied(*readings):
    tally = EnergyTally()
    for first, second in pairwise(readings):
        tally.between(first, second)
    return tally.energy


def test_energy_is_added_up_also_where_a_counter_starts_again():
    """Joules over the time from the first reading to the last."""
    energy = tallied(
        reading(0, {"package-0": 4_000_000}, {0: 1000}),
        reading(1, {"package-0": 9_000_000}, {0: 3000}),
        reading(3, {"package-0": 2_000_000}, {0: 7000}),
    )
    assert energy == Energy(3.0, {"package-0": 8.0}, {"0": 6.0})


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param(reading(1), id="not told once"),
        pytest.param(reading(1, {"package-0": 1}, {0: None}), id="a GPU that tells nothing"),
        pytest.param(reading(1, {"package-0": 1}, {0: 5}), id="a driver that was loaded anew"),
    ],
)
def test_what_a_counter_did_not_tell_all_the_time_is_left_out(gone):
    """A part of its energy would be taken for all of it."""
    start, end = (
        reading(0, {"package-0": 0, "x": 0}, {0: 10, 1: 0}),
        reading(2, {"package-0": 5, "x": 1}, {0: 20, 1: 5}),
    )
    gone = replace(gone, energy_uj={**gone.energy_uj, "x": (0, 10)}, gpus={**gone.gpus, 1: GpuReading(energy_mj=0)})
    energy = tallied(start, gone, end)
    assert energy is not None
    assert energy.gpus_j == {"1": 0.005}
    assert ("package-0" in energy.cpu_j) is ("package-0" in gone.energy_uj)
    assert tallied(reading(0), reading(1)) is None
    assert tallied(reading(0)) is None


def test_a_request_has_its_part_of_processors_and_of_the_gpus_of_the_plan():
    """Mean power over throughput, and the watts that it is made of."""
    energy = Energy(10.0, {"package-0": 400.0, "package-0 dram": 20.0}, {"0": 2000.0, "1": 500.0})
    assert energy_text(energy) == "CPU 42 W, GPU 0 200 W, GPU 1 50 W"
    shared = energy.shared_by([0, 7], 100.0)
    assert shared.per_request_j == pytest.approx(2.42)
    assert energy_text(shared) == "2.42 J per request: CPU 42 W, GPU 0 200 W"
    assert energy_text(energy.shared_by([], 100.0)) == "0.42 J per request: CPU 42 W"
    assert energy.shared_by([0], 0.0) is energy
    assert replace(energy, cpu_j={}).shared_by([7], 1.0).per_request_j is None
    assert energy_text(None) == ""


def test_a_reading_keeps_its_energy_on_its_way():
    """From the sampler's process to ours."""
    one = reading(1, {"package-0": 5}, {0: 7})
    assert Reading.from_row(json.loads(json.dumps(one.to_row()))) == one


def test_the_summary_of_a_measured_part_has_its_energy():
    """Of the readings within it alone."""
    readings = [reading(at_s, {"package-0": 1_000_000 * at_s**2}) for at_s in range(5)]
    hardware = summarise(readings, 1_000_000_000, 3_000_000_000, [])
    assert hardware is not None
    assert hardware.energy == Energy(2.0, {"package-0": 8.0}, {})
