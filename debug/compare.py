"""Where two models part: their values, layer by layer, and the first that differs.

Two runs go on side by side, node by node, and each value is dropped when it has been compared, so that never all
activations of both are held.  A difference spreads to all that comes after it; whose fault it is tells a third run, in
which every value of the second model, once compared, is replaced by that of the first: what differs then, differs by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import RunError
from ..ir.graph import Graph, Var
from ..ir.samples import random_inputs
from ..ir.types import Tensor
from ..passes.interpret import Evaluate
from .align import Alignment, Pair, aligned, shaped, weights_of
from .blame import Point, isolate, points_of, settle
from .diff import Change, changes
from .engines import TITLES, Engine, engine_for
from .measure import Measure, measure

TRIALS = 24  # pairs that are taken apart to see whether that was a mistake
BATCH = 2  # samples of inputs that are made up: axes of 1 would fit to anything


@dataclass
class Subject:
    """One side of a comparison: its name (that of its file), its graph, what runs it, and after which pass it is."""

    name: str
    graph: Graph
    runs_with: str = "tenun"
    stage: str = ""

    @property
    def title(self) -> str:
        """The name, with what tells it from the other side."""
        marks = [TITLES[self.runs_with]] if self.runs_with != "tenun" else []
        marks += [f"after {self.stage}" if self.stage != "raw" else "as loaded"] if self.stage else []
        return f"{self.name} ({', '.join(marks)})" if marks else self.name

    def named(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs as this side calls them: by name where all names are the same, else in order."""
        states = {s.input.name for s in self.graph.state}
        wanted = [v for v in self.graph.inputs if v.name not in states]
        given = {k: v for k, v in inputs.items() if k in {w.name for w in wanted}}
        if len(given) == len(wanted):
            return given
        if len(wanted) != len(inputs):
            listed = ", ".join(f"{v.name}: {v.type}" for v in wanted)
            raise RunError(f"{self.name} takes {len(wanted)} inputs ({listed}), given are {', '.join(inputs)}")
        return {v.name: _as_typed(v, value) for v, value in zip(wanted, inputs.values())}


def _as_typed(var: Var, value: Any) -> Any:
    """The value in the dtype of an input (i32 for i64), where that loses nothing."""
    if isinstance(var.type, Tensor) and isinstance(value, np.ndarray) and var.type.dtype.kind != "string":
        return value.astype(var.type.dtype.numpy)
    return value


@dataclass
class Comparison:
    """What `compare` found: points in the order of the first model, the difference of structure, the verdict."""

    a: Subject
    b: Subject
    alignment: Alignment
    points: list[Point]
    outputs: dict[str, Measure]
    runs: list[str]
    changes: list[Change] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether the two compute the same, as far as these inputs tell."""
        counts = len(self.alignment.a.outputs) == len(self.alignment.b.outputs)
        return self.compared and counts and not self.parted and not any(m.differs for m in self.outputs.values())

    @property
    def compared(self) -> bool:
        """Whether there was anything to compare: an engine may have none of the values that have partners."""
        return bool(self.points) or not self.alignment.a.nodes

    @property
    def parted(self) -> list[Point]:
        """The points that differ; those left out whose difference no later value has heard of: they only look alike."""
        mine = {p.a: p for p in self.points}
        return [p for p in self.points if p.differs and (self.alignment.exact or _spreads(p, mine))]

    @property
    def first(self) -> Point | None:
        """The first point that differs."""
        return next(iter(self.parted), None)

    @property
    def culprits(self) -> list[str]:
        """The layers that are at fault: those that the difference of structure names, else those that differ by
        themselves, else the first that differs."""
        if self.same:
            return []
        named = list(dict.fromkeys(c.layer for c in self.changes))
        own = list(dict.fromkeys(p.layer for p in self.points if p.own is not None and p.own.differs))
        return named or own or ([self.first.layer] if self.first is not None else [])

    def verdict(self) -> str:
        """One line: the same, or where they part."""
        count = f"{len(self.points)} values, {len(self.runs)} input{'s' if len(self.runs) > 1 else ''}"
        worst = max((m.relative for m in self.outputs.values()), default=0.0)
        if not self.compared:
            return f"NOTHING COMPARED: {self.a.title} and {self.b.title} have no values in common"
        if self.same:
            return f"SAME: {self.a.title} and {self.b.title} agree ({count}; outputs within {worst:.1e} of the largest)"
        where = f"first at {self.first.layer}" if self.first is not None else "at the outputs"
        return f"DIFFERENT: {self.a.title} and {self.b.title} part {where} ({count})"


def _spreads(point: Point, points: Mapping[Var, Point]) -> bool:
    """Whether a value that reads this one differs too, or it is an output."""
    if point.ends or point.a.producer is None:
        return True
    seen: set[Var] = set()
    waiting = [point.a]
    reached = False
    while waiting:
        for node in waiting.pop().users:
            for out in node.outputs:
                if out in seen:
                    continue
                seen.add(out)
                other = points.get(out)
                if other is None:
                    waiting.append(out)
                    continue
                reached = True
                if other.differs:
                    return True
    return not reached


# ---- comparing


def compare(
    a: Subject,
    b: Subject,
    evaluate: Evaluate,
    inputs: Sequence[Mapping[str, Any]] = (),
    seeds: Sequence[int] = (0,),
    tolerance: float | None = None,
    level: str | None = None,
    explain: bool = True,
) -> Comparison:
    """Run two models on the same inputs and compare what their layers give.

    inputs: by name, as the first model calls them; without any, seeded ones are made for each of `seeds`.  `tolerance`:
    the share of a value's largest element by which it may differ (by default of the dtype, 1e-4 for float32).  `level`:
    see `align`.  `explain`: say whose fault a difference is, too.  Raises RunError where the inputs do not fit.
    """
    given = list(inputs) or [random_inputs(a.graph, BATCH, seed) for seed in seeds]
    runs = [f"input {i}" for i in range(len(inputs))] or [f"seed {seed}" for seed in seeds]
    both = [(a.named(x), b.named(x)) for x in given]
    alignment = _alignment(a, b, both[0], evaluate, level)
    engines = [engine_for(s.runs_with, s.name, s.graph, evaluate) for s in (a, b)]
    points = points_of(alignment)
    for number, (mine, other) in enumerate(both):
        if number and [np.shape(v) for v in mine.values()] != [np.shape(v) for v in both[0][0].values()]:
            raise RunError("the inputs to compare with have to be of the same shapes")
        _run(alignment, points, engines, mine, other, number, tolerance)
    settle(alignment, points)
    seen = [p for p in points if p.found is not None]
    ends = {p.a: p.found for p in seen if p.ends and p.found is not None}
    outputs = {n: ends[v] for n, v in zip(alignment.a.output_names, alignment.a.outputs) if v in ends}
    found = Comparison(a, b, alignment, seen, outputs, runs)
    if explain and not found.same:
        isolate(alignment, points, *both[found.first.run if found.first else 0], evaluate, tolerance)
        found.changes = changes(alignment, [p.pair for p in points if p.own is not None and p.own.differs], evaluate)
    return found


def difference(
    a: Subject, b: Subject, evaluate: Evaluate, inputs: Mapping[str, Any] | None = None
) -> tuple[Alignment, list[Change]]:
    """What changed between two models, with the alignment that it was found by.

    Between formats, where the same layer is written in many ways, both are run on inputs (default: seeded ones) to see
    which layers compute something else.
    """
    given = random_inputs(a.graph, BATCH) if inputs is None else inputs
    both = a.named(given), b.named(given)
    alignment = _alignment(a, b, both, evaluate, None)
    faults = None if alignment.exact else _faulty(alignment, both, evaluate)
    return alignment, changes(alignment, faults, evaluate)


def _alignment(
    a: Subject, b: Subject, inputs: tuple[Mapping[str, Any], Mapping[str, Any]], evaluate: Evaluate, level: str | None
) -> Alignment:
    """The alignment at the level at which least differs by itself.

    An exporter that folds normalisations leaves layers which agree at level "full" only.
    """
    graphs = shaped(a.graph, inputs[0]), shaped(b.graph, inputs[1])
    found = aligned(*graphs, evaluate, level)
    if found.exact:
        return found
    faulty = _faulty(found, inputs, evaluate)
    if level is None and found.level == "light" and faulty:
        folded = aligned(*graphs, evaluate, "full")
        others = _faulty(folded, inputs, evaluate)
        if len(others) < len(faulty):
            found, faulty = folded, others
    return _settled(found, faulty, inputs, evaluate)


def _settled(
    alignment: Alignment,
    faulty: list[Pair],
    inputs: tuple[Mapping[str, Any], Mapping[str, Any]],
    evaluate: Evaluate,
) -> Alignment:
    """The alignment without pairs that only looked alike, those of `faulty` that are needless.

    Whoever takes a pair apart that is right but differs, has its difference at the next pair; if it was wrong, there is
    one less.  Nodes with weights are not taken apart: those are known by them.
    """
    tried: set[Pair] = set()
    for _ in range(TRIALS):
        pair = next((p for p in faulty if p not in tried and not weights_of(p.a)), None)
        if pair is None:
            break
        tried.add(pair)
        fewer = alignment.without(pair)
        left = _faulty(fewer, inputs, evaluate)
        if len(left) < len(faulty):
            alignment, faulty = fewer, left
    return alignment


def _faulty(
    alignment: Alignment, inputs: tuple[Mapping[str, Any], Mapping[str, Any]], evaluate: Evaluate
) -> list[Pair]:
    """The pairs that differ by themselves."""
    points = points_of(alignment)
    isolate(alignment, points, *inputs, evaluate)
    return [p.pair for p in points if p.own is not None and p.own.differs]


def _run(
    alignment: Alignment, points: Sequence[Point], engines: Sequence[Engine], mine: Mapping[str, Any],
    other: Mapping[str, Any], number: int, tolerance: float | None,
) -> None:  # fmt: skip
    """One run of both, side by side; values of the second that come early are held until the first has them."""
    first, second = engines
    there = first.covers(alignment.a, [p.a for p in points], mine)
    here = second.covers(alignment.b, [p.b for p in points], other)
    points = [p for p in points if p.a in there and p.b in here]
    right = second.values(alignment.b, [p.b for p in points], other)
    by_a = {p.a: p for p in points}
    held: dict[Var, Any] = {}
    for var, value in first.values(alignment.a, list(by_a), mine):
        point = by_a[var]
        while point.b not in held:
            theirs, values = next(right)
            held[theirs] = values
        any_layout = not (first.exact and second.exact)
        point.see(measure(value, held.pop(point.b), tolerance, any_layout), number)
