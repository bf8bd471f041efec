"""The search of the cheapest configuration, on deployments that follow a formula, and on some in virtual time."""

import math
from dataclasses import replace

import pytest
from simulated_deployments import Simulation, World

from loadgen.experiments.grid import GridCell, Size
from loadgen.experiments.probes import Outcome
from loadgen.experiments.size_answer import TIME_IS_UP, Question, Told
from loadgen.experiments.size_knowledge import Knowledge
from loadgen.experiments.sizing import Sizer
from loadgen.experiments.trace_peaks import busiest_rps
from loadgen.judging import slo

SIZES = tuple(Size(count, cores) for cores in (1, 2, 4, 8) for count in range(1, 8 // cores + 1))


def question(rate_rps=200.0, objective="p99<100ms", sizes=SIZES, **others):
    return Question(rate_rps, sizes, (1, 2, 4, 8, 16, 32), tuple(slo.parse(objective)), **others)


def capacity(cell):
    """Batches of 10 ms and 1 ms for each request on one core; each other replica costs a twentieth."""
    count, cores = cell.size.replicas, cell.size.cpus_per_replica
    one = cell.batch_size * cores**0.8 / (0.010 + 0.001 * cell.batch_size)
    return count * one / (1 + 0.05 * (count - 1))


class Machine:
    """Answers what a search asks for.

    Args:
        held: how much of a capacity can be used while the objective holds.
        changes: by the number of a run, what is different of what it was told.
    """

    def __init__(self, held=0.8, changes=None, always=None, takes_s=4.0):
        self.held, self.changes, self.always, self.takes_s = held, changes or {}, always or {}, takes_s
        self.now_s = 0.0
        self.asks = []

    def told(self, ask):
        self.asks.append(ask)
        self.now_s += ask.wait_s + ask.duration_s + self.takes_s
        cell = replace(ask.cell, rate_rps=0.0)
        rate_rps = capacity(cell)
        told = Told(self.now_s, rate_rps, (0.99 * rate_rps, 1.01 * rate_rps), "replicas", "the replicas are the limit")
        if ask.cell.rate_rps:
            outcome: Outcome = "pass" if ask.cell.rate_rps <= self.held * rate_rps else "fail"
            told = replace(told, throughput_rps=ask.cell.rate_rps, outcome=outcome, text=f"so it {outcome}ed")
        changes = self.always | self.changes.get(len(self.asks) - 1, {})
        if "outcome" in changes and told.outcome is None:
            changes = {name: value for name, value in changes.items() if name != "outcome"}
        return replace(told, **changes)

    def answer(self, asked):
        steps = Sizer(asked).steps()
        ask = next(steps)
        while True:
            try:
                ask = steps.send(self.told(ask))
            except StopIteration as end:
                return end.value


def states(answer):
    return {found.size.name: found.state for found in answer.findings}


def test_the_cheapest_that_holds_is_found_and_confirmed():
    """Which is what its capacity and the objective's share of it come to."""
    machine = Machine()
    answer = machine.answer(question(rate_rps=1500.0))
    holding = [size for size in SIZES if max(capacity(GridCell(size, 32)), 0) * 0.8 >= 1500]
    assert answer.best is not None
    assert answer.best.size.cores == min(size.cores for size in holding)
    assert answer.shown is not None
    assert (answer.shown.told.outcome, answer.shown.ask.cell.rate_rps) == ("pass", 1500.0)
    assert answer.ended == "found"
    assert answer.capacity.low <= capacity(answer.best) <= answer.capacity.high


def test_few_cells_are_measured_and_all_others_have_a_reason():
    """Each size says why it was left out, and the counts add up to the grid."""
    answer = Machine().answer(question(rate_rps=600.0))
    assert len(answer.measured) <= 0.2 * answer.cells
    assert len(answer.findings) == len(SIZES)
    assert all(found.text for found in answer.findings)
    assert sum(answer.skipped.values()) + len(answer.measured) == answer.cells
    assert states(answer)["r8-c1"] == "dearer"
    assert not answer.unknown


def test_a_failed_confirmation_goes_on_with_the_next():
    """Which costs as much as it, or the least more."""
    machine = Machine(held=0.5)
    answer = machine.answer(question(rate_rps=600.0))
    assert answer.best.size.cores > 1
    failed = [ask.cell.size for ask in machine.asks if ask.cell.rate_rps and 0.5 * capacity(ask.cell) < 600]
    assert failed
    assert states(answer)[failed[0].name] == "fails"


@pytest.mark.parametrize("within_s", [60.0, 180.0, 600.0])
@pytest.mark.parametrize("rate_rps", [50.0, 1000.0, 20000.0])
def test_the_time_is_kept(within_s, rate_rps):
    """Whatever there is to find."""
    machine = Machine(takes_s=9.0)
    machine.answer(question(rate_rps=rate_rps, within_s=within_s))
    assert machine.now_s <= within_s + 9.0


def test_a_search_without_time_says_what_was_not_tried():
    """And is undecided."""
    answer = Machine(held=0.3).answer(question(rate_rps=1000.0, within_s=90.0))
    assert (answer.best, answer.undecided, answer.ended) == (None, True, TIME_IS_UP)
    assert "not tried" in states(answer).values()


@pytest.mark.parametrize(
    ("changes", "why"),
    [({}, "no time was left for the run at the rate that decides"), ({"invalid": "outside load"}, "invalid: outside")],
)
def test_a_size_whose_deciding_run_has_no_time_was_tried(changes, why):
    """It is undecided: runs at full speed were made of it."""
    answer = Machine(always=changes, takes_s=9.0).answer(question(sizes=(Size(1, 1), Size(2, 1)), within_s=40.0))
    first, second = answer.findings
    assert {run.ask.cell.size for run in answer.runs} == {Size(1, 1)}
    assert (first.state, first.text[: len(why)]) == ("undecided", why)
    assert (second.state, answer.ended) == ("not tried", TIME_IS_UP)


def test_cells_that_could_not_be_started_were_not_measured():
    """Their runs have no results; and the time is not what was missing."""
    answer = Machine(always={"failed": "no memory", "throughput_rps": None}).answer(question(sizes=SIZES[:3]))
    assert (answer.measured, sum(answer.skipped.values())) == (frozenset(), answer.cells)
    assert set(states(answer).values()) == {"not started"}
    assert (answer.undecided, answer.ended) == (True, "no run decides")


@pytest.mark.parametrize(("within_s", "runs", "repeated"), [(36.0, 1, False), (42.0, 2, False), (63.0, 4, True)])
def test_few_runs_have_no_interval_of_their_spread(within_s, runs, repeated):
    """They are trusted to a tenth, and the answer says so."""
    answer = Machine().answer(question(100.0, "p50<100ms", within_s=within_s))
    assert answer.capacity is not None
    assert (answer.capacity_runs, answer.repeated) == (runs, repeated)
    assert (answer.capacity.width >= 0.099) is not repeated
    assert answer.limit == "replicas; saturated the replicas are the limit"


def test_half_of_the_time_without_an_answer_wants_a_likely_one():
    """So that there is one, and what is cheaper is said not to have been tried."""
    machine = Machine(always={"outcome": "undecided"})
    changes = {}
    asked = question(rate_rps=1200.0)
    for number in range(40):
        changes[number] = {"outcome": "pass"} if number > 12 else {}
    machine.changes = changes
    answer = machine.answer(asked)
    assert answer.best is not None
    assert answer.unknown


def test_runs_that_are_invalid_show_nothing():
    """They are made again, after a while; nothing is ruled out by them, and the answer is undecided."""
    machine = Machine(always={"invalid": "outside load"})
    answer = machine.answer(question())
    assert (answer.best, answer.undecided) == (None, True)
    assert any(ask.wait_s == 5.0 for ask in machine.asks)
    assert not {"fails", "ruled out"} & set(states(answer).values())


def test_an_invalid_run_that_is_made_again_is_no_evidence():
    """Its figure is not in the answer."""
    answer = Machine(changes={0: {"invalid": "outside load", "throughput_rps": 1.0}}).answer(question())
    assert answer.best.size == Size(1, 1)
    assert answer.capacity.low <= capacity(answer.best) <= answer.capacity.high


def test_a_throughput_that_the_client_limits_rules_nothing_out():
    """The deployment may do more, so that an open loop has to say so."""
    answer = Machine(always={"limit": "client"}, held=9.0).answer(question(rate_rps=2000.0))
    assert answer.best.size == Size(1, 1)
    assert answer.at_least


def test_a_size_that_cannot_be_started_is_passed_over():
    """And is not said to be too small."""
    machine = Machine()
    first = machine.answer(question(rate_rps=1500.0)).best.size

    class Broken(Machine):
        def told(self, ask):
            told = super().told(ask)
            return Told(told.elapsed_s, failed="no memory") if ask.cell.size == first else told

    answer = Broken().answer(question(rate_rps=1500.0))
    assert answer.best.size != first
    assert states(answer)[first.name] in ("not started", "dearer")


def test_what_no_size_carries_is_extrapolated():
    """By the law of the replicas that were measured, with its interval, at the share that was shown to hold."""
    answer = Machine(held=0.7).answer(question(rate_rps=20_000.0))
    assert (answer.best, answer.undecided, answer.ended) == (None, False, "nothing holds")
    beyond = answer.beyond
    assert beyond is not None
    assert beyond.share == 0.6
    assert beyond.deployments == math.ceil(20_000 / (0.6 * capacity(beyond.cell)))
    assert beyond.fleet.low is None  # what replicas share limits them before


def test_numbers_of_replicas_have_intervals():
    """They hold the truth, and grow with the rate; of an answer they can be asked again."""
    answer = Machine().answer(question(rate_rps=2500.0))
    fleets = Knowledge.of(answer)
    cell = answer.best
    known = [fleets.fleet(cell, rate_rps) for rate_rps in (100.0, 1000.0, 2000.0)]
    lows = [fleet.low or 0 for fleet in known]
    assert lows == sorted(lows)
    for fleet in known:
        counts = (
            count for count in range(1, 99) if capacity(replace(cell, size=Size(count, cell.size[1]))) >= fleet.rate_rps
        )
        assert (fleet.low or math.inf) <= next(counts) <= (fleet.high or math.inf)


def test_costs_order_sizes():
    """A GPU may be cheaper than many cores; without costs cores are."""
    sizes = (Size(1, 1), Size(8, 1), Size(1, 2, 1))
    plain, priced = question(sizes=sizes), question(sizes=sizes, core_cost=0.1, gpu_cost=0.3)
    assert sorted(sizes, key=plain.rank) == [Size(1, 1), Size(8, 1), Size(1, 2, 1)]
    assert sorted(sizes, key=priced.rank) == [Size(1, 1), Size(1, 2, 1), Size(8, 1)]
    answer = Machine().answer(question(sizes=(Size(1, 1),), core_cost=0.36))
    assert answer.per_million == pytest.approx(0.36 / 3600 / 200 * 1e6)


@pytest.mark.parametrize(
    ("objective", "batches"),
    [("p99<1s", {1, 2, 4, 8, 16, 32}), ("failed<1%", {8, 16, 32}), ("p50<12ms", {1, 2, 4, 8, 16, 32})],
)
def test_the_batch_size_follows_the_objective(objective, batches):
    """The shortest queue where latencies count, else what does nearly the most."""
    answer = Machine(held=0.99).answer(question(rate_rps=60.0, objective=objective))
    assert answer.best.batch_size in batches


def test_batches_that_do_not_fit_into_a_run_are_left_out():
    """Three of ten seconds each would say nothing."""

    class Slow(Machine):
        def told(self, ask):
            told = super().told(ask)
            return told if told.outcome else replace(told, throughput_rps=told.throughput_rps / 20, interval_rps=None)

    machine = Slow()
    machine.answer(question(rate_rps=1.0, objective="p50<5s"))
    assert max(ask.cell.batch_size for ask in machine.asks) <= 8


def test_a_latency_that_no_queue_keeps_rules_a_size_out():
    """Without an open loop: a batch of one takes longer than that."""
    machine = Machine()
    answer = machine.answer(question(rate_rps=5.0, objective="p50<2ms", sizes=(Size(1, 1), Size(2, 1))))
    assert (answer.best, answer.undecided) == (None, False)
    assert "predicted at best" in answer.findings[0].text


def test_the_peak_of_a_trace():
    """The most requests in any window."""
    assert busiest_rps([0.0, 1.0, 1.5, 2.0, 9.0], 2.0) == 1.5
    assert busiest_rps([], 2.0) == 0.0


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 5, 12])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_simulated_deployments_of_known_truth(seed, noise):
    """A few of those of `make evidence`, at low rates: what is said to hold holds, or nearly."""
    world = World.drawn(seed, noise=noise)
    world = replace(world, rate_rps=min(world.rate_rps, 60.0))
    answer = Simulation(world).answer()
    assert answer.best is not None
    assert world.capacity_rps(answer.best) > world.rate_rps
    assert len(answer.measured) <= 0.35 * answer.cells
