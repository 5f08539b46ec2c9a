"""What is aimed at, and how near the figures come: ratios of a peer's figure to ours, so that more is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .models import CASES, FAMILIES
from .records import OURS, Results

NUMBA, SAME_FILE, ORT, PREDICT = "tenun numba", "tenun onnx", "onnxruntime", "keras predict"
ALL = tuple(FAMILIES)


@dataclass(frozen=True)
class Target:
    """At least `least`: the geometric mean over batch sizes, or `each` of them; of batches between two sizes."""

    section: str
    families: Sequence[str]
    peer: str
    ours: str
    least: float
    each: bool = False
    batches: tuple[float, float] = (1, math.inf)

    def __str__(self) -> str:
        low, high = self.batches
        where = "" if self.batches == (1, math.inf) else f", batch {low}" if low == high else f", batch ≥ {low}"
        return f"{self.section}: {self.peer} / {self.ours}{where}{', each batch' if self.each else ''}"


ONE, MANY, AT_64 = (1, 1), (32, math.inf), (64, 64)
TARGETS = (
    Target("latency", ["cnn"], ORT, OURS, 1.0),
    Target("latency", ["cnn"], ORT, OURS, 0.9, each=True),
    Target("latency", ["cnn"], ORT, NUMBA, 1.4),
    Target("latency", ["recurrent"], ORT, OURS, 0.9, batches=MANY),
    Target("latency", ["recurrent"], ORT, OURS, 0.25, batches=ONE),
    Target("latency", ["recurrent"], ORT, NUMBA, 1.1, each=True),
    Target("latency", ["dense"], ORT, OURS, 0.9),
    Target("latency", ["dense"], ORT, NUMBA, 1.0),
    Target("latency", ["large"], ORT, OURS, 0.6),
    Target("latency", ["large"], ORT, NUMBA, 0.8),
    Target("latency", ALL, PREDICT, OURS, 3.0, batches=ONE),
    Target("latency", ALL, PREDICT, OURS, 1.5, batches=AT_64),
    Target("training", ["cnn"], "keras", OURS, 1.0),
    Target("training", ["cnn"], "keras", NUMBA, 1.3),
    Target("training", ["recurrent", "dense"], "keras", OURS, 1.5),
    Target("training", ["recurrent", "dense"], "keras", NUMBA, 2.0),
    Target("first call", ALL, PREDICT, OURS, 15.0),
    Target("first call", ALL, ORT, SAME_FILE, 1.0),
    Target("memory", ALL, ORT, OURS, 1.0, each=True),
    Target("memory", ALL, ORT, SAME_FILE, 1.0, each=True),
    Target("plan", ALL, "lower bound", "arena", 1 / 1.02, each=True),
)


class Outcome(NamedTuple):
    """A target for one model, and what was reached."""

    target: Target
    model: str
    threads: int
    got: float

    @property
    def held(self) -> bool:
        """Whether it is reached."""
        return self.got >= self.target.least


def geometric_mean(values: Sequence[float]) -> float:
    """exp of the mean logarithm."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def ratios(results: Results, section: str, model: str, threads: int, peer: str, ours: str) -> dict[int, float]:
    """By batch size a peer's figure as a multiple of ours, where there are both."""
    found: dict[int, float] = {}
    for batch in sorted(results.values("batch", section=section, model=model, threads=threads)):
        ratio = results.ratio(section, model, batch, threads, peer, ours)
        if ratio is not None:
            found[batch] = ratio
    return found


def outcomes(results: Results, targets: Iterable[Target] = TARGETS) -> Iterator[Outcome]:
    """Every target for every model that it is for, where there are figures."""
    for target in targets:
        low, high = target.batches
        for threads in results.values("threads", section=target.section):
            for model in results.values("model", section=target.section, threads=threads):
                if CASES[model].family not in target.families:
                    continue
                found = ratios(results, target.section, model, threads, target.peer, target.ours)
                values = [ratio for batch, ratio in found.items() if low <= batch <= high]
                if values:
                    got = min(values) if target.each else geometric_mean(values)
                    yield Outcome(target, model, threads, got)
