"""Deployments of known truth in virtual time, for the search of the cheapest one that carries a rate."""

import functools
import heapq
import math
import random
from dataclasses import dataclass, replace

import numpy as np
from simulated_search import Answers, probe

from loadgen.experiments.grid import GridCell, Size
from loadgen.experiments.probes import ProbeRequest
from loadgen.experiments.size_answer import Answer, Ask, Question, Told
from loadgen.experiments.sizing import Sizer
from loadgen.judging import slo

STARTING_S, OVERHEAD_S, WARMUP_S = 6.0, 3.0, 1.0
TRUTH_REQUESTS = 200_000


@dataclass(frozen=True)
class World:
    """A machine with a model.

    Attributes:
        cores: of the machine, for replicas.
        alpha_s: time of a batch on one core, whatever its size.
        beta_s: time of each request in it.
        threads: the exponent by which more cores make a batch faster.
        sigma: of the Universal Scalability Law over replicas.
        kappa: likewise.
        jitter: standard deviation of a batch's time, as a share.
        noise: standard deviation of a whole run, as a share: what the machine does meanwhile.
        invalid: share of runs that are invalid.
        rate_rps: that is asked for.
        objective: likewise.
        seed: of all of it.
    """

    cores: int
    alpha_s: float
    beta_s: float
    threads: float
    sigma: float
    kappa: float
    jitter: float
    noise: float
    invalid: float
    rate_rps: float
    objective: str
    seed: int

    @classmethod
    def drawn(cls, seed: int, cores: int = 8, noise: float = 0.0, invalid: float = 0.0) -> "World":
        """A world by its seed: batches of one take 4 to 40 ms, and one to four cores are about enough."""
        draw = random.Random(seed)
        one_s, fixed = 0.004 * 10 ** draw.random(), draw.uniform(0.2, 0.9)
        alpha_s, beta_s = one_s * fixed, one_s * (1 - fixed)
        world = cls(
            cores=cores,
            alpha_s=alpha_s,
            beta_s=beta_s,
            threads=draw.uniform(0.5, 0.95),
            sigma=draw.uniform(0.0, 0.15),
            kappa=draw.choice((0.0, 0.002, 0.01)),
            jitter=draw.uniform(0.02, 0.2),
            noise=noise,
            invalid=invalid,
            rate_rps=1.0,
            objective="p99<1ms",
            seed=seed,
        )
        bound_ms = 1000 * one_s * draw.uniform(3, 15)
        rate_rps = float(f"{world.capacity_rps(GridCell(Size(1, 1), 8)) * 10 ** draw.uniform(-0.6, 0.6):.3g}")
        return replace(world, rate_rps=rate_rps, objective=f"p99<{bound_ms:.3g}ms")

    @functools.cached_property
    def sizes(self) -> tuple[Size, ...]:
        """That the machine has room for."""
        each = [1 << power for power in range(self.cores.bit_length()) if 1 << power <= self.cores]
        return tuple(Size(count, cores) for cores in each for count in range(1, self.cores // cores + 1))

    @functools.cached_property
    def question(self) -> Question:
        """What is asked."""
        return Question(self.rate_rps, self.sizes, (1, 2, 4, 8, 16, 32), tuple(slo.parse(self.objective)))

    def batch_s(self, cell: GridCell, size: int) -> float:
        """The mean time of a batch."""
        count = cell.size.replicas
        shared = 1 + self.sigma * (count - 1) + self.kappa * count * (count - 1)
        return (self.alpha_s + self.beta_s * size) * shared / math.pow(cell.size.cpus_per_replica, self.threads)

    def capacity_rps(self, cell: GridCell) -> float:
        """The truth: full batches on all replicas."""
        return cell.size.replicas * cell.batch_size / self.batch_s(cell, cell.batch_size)

    def serve(self, cell: GridCell, factor: float) -> "functools.partial[Answers]":
        """What a cell does with arrivals, slower than usual by a factor.

        Args:
            cell: which.
            factor: of a run.
        """
        return functools.partial(_served, self, cell, factor)

    def holds(self, cell: GridCell) -> bool:
        """Whether a very long run at the rate holds the objective."""
        if self.capacity_rps(cell) <= self.rate_rps:
            return False
        return self.p99_s(cell) < slo.parse(self.objective)[0].value / 1000

    @functools.cache  # noqa: B019 - as long as the test
    def p99_s(self, cell: GridCell) -> float:
        """The truth, of a very long run."""
        rng = np.random.default_rng([self.seed, 99])
        arrived = np.cumsum(rng.exponential(1 / self.rate_rps, TRUTH_REQUESTS))
        done, _ = _served(self, cell, 1.0, arrived, rng)
        return float(np.quantile(done - arrived, 0.99))

    def holding(self) -> list[Size]:
        """Sizes that hold with some batch size, the cheapest first."""
        found = []
        for size in sorted(self.sizes, key=self.question.rank):
            cells = [GridCell(size, batch_size) for batch_size in self.question.batch_sizes]
            if any(self.holds(cell) for cell in cells):
                found.append(size)
                if self.question.rank(size) > self.question.rank(found[0]):
                    break
        return found

    def closeness(self) -> float:
        """The p99 of the cheapest size that holds over its bound; 1 where none does."""
        bound_s = slo.parse(self.objective)[0].value / 1000
        cells = [GridCell(size, each) for size in self.holding()[:1] for each in self.question.batch_sizes]
        return min((self.p99_s(cell) for cell in cells if self.holds(cell)), default=bound_s) / bound_s

    def compared(self, answer: Answer) -> str:
        """How an answer compares with the truth: cheapest, next, dearer, none, or wrong."""
        holding, rank = self.holding(), self.question.rank
        if answer.best is None:
            return "none" if answer.undecided or not holding else "wrong"
        if not holding or rank(answer.best.size) < rank(holding[0]):
            return "wrong"
        costs = sorted({rank(size) for size in holding})
        place = [*costs, None].index(rank(answer.best.size)) if rank(answer.best.size) in costs else 2
        return ("cheapest", "next", "dearer")[min(place, 2)]


def _served(world: World, cell: GridCell, factor: float, arrived: np.ndarray, rng: np.random.Generator) -> Answers:
    """Replicas that are free take what waits, up to the batch size."""
    times, count = arrived.tolist(), len(arrived)
    free = [0.0] * cell.size.replicas
    means = [factor * world.batch_s(cell, size) for size in range(cell.batch_size + 1)]
    jitters = np.maximum(0.1, rng.normal(1.0, world.jitter, count)).tolist()
    done = np.empty(count)
    first = batches = 0
    while first < count:
        begin = max(heapq.heappop(free), times[first])
        last = first + 1
        most = min(first + cell.batch_size, count)
        while last < most and times[last] <= begin:
            last += 1
        end = begin + means[last - first] * jitters[batches]
        heapq.heappush(free, end)
        done[first:last] = end
        first, batches = last, batches + 1
    return done, np.zeros(count, bool)


class Simulation:
    """A search on a world.

    Args:
        world: where.
        question: what is asked; None for what the world asks.
    """

    def __init__(self, world: World, question: Question | None = None) -> None:
        self._world, self._draw = world, random.Random(world.seed)
        self._question = question or world.question
        self._conditions = slo.parse(world.objective)
        self._now_s, self._size = 0.0, Size(0, 0)

    def answer(self) -> Answer:
        """What the search finds."""
        steps = Sizer(self._question).steps()
        ask = next(steps)
        while True:
            try:
                ask = steps.send(self._run(ask))
            except StopIteration as end:
                answer: Answer = end.value
                return answer

    def _run(self, ask: Ask) -> Told:
        world, draw = self._world, self._draw
        factor = math.exp(draw.gauss(0.0, world.noise))
        self._now_s += ask.wait_s + ask.duration_s + (OVERHEAD_S if ask.cell.size == self._size else STARTING_S)
        self._size = ask.cell.size
        invalid = "outside load" if draw.random() < world.invalid else None
        cell = replace(ask.cell, rate_rps=0.0)
        if ask.cell.rate_rps:
            seed = draw.randrange(1 << 30)
            request = ProbeRequest("confirm", ask.cell.rate_rps, ask.duration_s)
            found = probe(request, self._conditions, seed, world.serve(cell, factor))
            return Told(self._now_s, ask.cell.rate_rps, invalid=invalid, outcome=found.outcome, text=found.text)
        return Told(self._now_s, *self._saturated(cell, ask.duration_s, factor), limit="replicas", invalid=invalid)

    def _saturated(self, cell: GridCell, duration_s: float, factor: float) -> tuple[float, tuple[float, float]]:
        """Throughput and its interval: whole batches, each with its jitter."""
        mean_s = factor * self._world.batch_s(cell, cell.batch_size)
        expected = duration_s / mean_s * cell.size.replicas
        batches = max(1, round(self._draw.gauss(expected, self._world.jitter * math.sqrt(expected))))
        rate_rps = batches * cell.batch_size / duration_s
        by = 2.1 * self._world.jitter / math.sqrt(batches) * rate_rps
        return rate_rps, (rate_rps - by, rate_rps + by)
