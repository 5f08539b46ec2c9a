"""How long each node of a plan takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ..backends.numpy.plan import Plan
from ..backends.numpy.program import Program
from ..backends.numpy.shards import BLAS, cores
from ..backends.numpy.workers import several
from ..ir.graph import Node


@dataclass(frozen=True)
class StepTime:
    """One node: its text, op and layer, median seconds of a run, and its share of the sum over all nodes."""

    node: str
    op: str
    source: str
    seconds: float
    share: float


def profile(plan: Plan, arrays: Sequence[Any], rounds: int = 5, threads: int | None = None) -> list[StepTime]:
    """The times of the nodes, longest first; views take none and are left out.

    Runs on a plan of its own, so that callers of `plan` are not disturbed, with as many BLAS threads as a program of
    `threads` threads gives it.  Where a big batch is cut, `plan` serves one shard, and the first samples are taken.
    """
    own = Plan(plan.graph, Program, {name: array.copy() for name, array in plan.resident.items()})
    parts = [_first_samples(own, i, x) for i, x in enumerate(arrays)]
    is_cut = any(np.shape(part) != np.shape(x) for part, x in zip(parts, arrays))
    sequential = any(node.op.has("sequential") for node in plan.graph.nodes)
    alone = is_cut or threads == 1 or sequential or plan.is_parallel
    with BLAS.one() if alone else nullcontext(), several(1 if is_cut else threads or cores()):
        own.run(parts)  # warms up, and names the node that fails, if one does
        laps = [_lap(own, parts) for _ in range(max(rounds, 1))]
    seconds: dict[Node, float] = {}
    for node, times in zip(own.origin, zip(*laps)):
        seconds[node] = seconds.get(node, 0.0) + median(times)
    total = sum(seconds.values()) or 1.0
    rows = [StepTime(repr(n), n.op.name, n.source, s, s / total) for n, s in seconds.items()]
    return sorted(rows, key=lambda row: -row.seconds)


def _first_samples(plan: Plan, index: int, value: Any) -> Any:
    planned = plan.arrays.get(plan.fed[index])
    return value if planned is None else value[tuple(slice(size) for size in planned.shape)]


def _lap(plan: Plan, arrays: Sequence[Any]) -> list[float]:
    """The seconds of each step in one run."""
    plan.feed(arrays)
    times = []
    with np.errstate(all="ignore"):
        for step in plan.steps:
            start = perf_counter()
            step()
            times.append(perf_counter() - start)
    plan.loose.clear()
    return times
