"""Whose fault a difference is: what each place of the second model adds by itself.

A difference spreads to all that comes after it.  So the second model is run once more, every value that has a partner
being replaced, once compared, by that of the first: what differs then, differs by itself.

Between formats a layer is a region of nodes that each side fills in its own way (a mask becomes sorting and gathering,
attention a dozen of products and transposes), and values inside of it may differ though it does the same.  A second run
replaces the values that leave layers only; a layer whose results agree then is not at fault, whatever is inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import TenunError
from ..ir.graph import Node, Var
from ..passes import interpret
from ..passes.interpret import Evaluate
from .align import Alignment, Pair, completed, label, leaves
from .measure import Measure, fitted, measure, usual_tolerance
from .regions import regions_of

LOCAL = 0.2  # share of the tolerance that a layer alone may use up


# ---- the places


@dataclass
class Point:
    """Two values that are to agree, and what was found: the worst of all inputs.

    `own` is what the second one adds by itself, where that was measured; `ends`: the graph returns the value; `inner`:
    it is inside of a layer whose results agree, which each model computes in its own way.
    """

    pair: Pair
    a: Var
    b: Var
    ends: bool = False
    found: Measure | None = None
    own: Measure | None = None
    run: int = 0
    inner: bool = False

    @property
    def layer(self) -> str:
        return label(self.pair.a)

    @property
    def differs(self) -> bool:
        return self.found is not None and self.found.differs and not self.inner

    def see(self, found: Measure, run: int) -> None:
        """Keep the worst measure."""
        if self.found is None or found.order > self.found.order:
            self.found, self.run = found, run


def points_of(alignment: Alignment) -> list[Point]:
    """The values to compare, in the order of the first graph."""
    places = {n: i for i, n in enumerate(alignment.a.nodes)}
    taken: set[Var] = set()
    found = []
    for pair in alignment.pairs:
        x, y = completed(pair)
        place = next((i for i, v in enumerate(x.outputs) if v.uses or alignment.a.is_output(v)), 0)
        if place >= len(y.outputs) or x.outputs[place] in taken or y.outputs[place] in taken:
            continue
        v, w = x.outputs[place], y.outputs[place]
        taken |= {v, w}
        found.append(Point(pair, v, w))
    for v, w in zip(alignment.a.outputs, alignment.b.outputs):  # which are to agree, whatever else may be alike
        if v.producer is not None and w.producer is not None:
            pair = next((p.pair for p in found if p.a is v and p.b is w), Pair(v.producer, w.producer, "output"))
            found = [p for p in found if p.a is not v and p.b is not w]
            found.append(Point(pair, v, w, ends=True))
    return sorted(found, key=lambda p: places[p.a.producer] if p.a.producer is not None else -1)


# ---- what differs by itself


def isolate(
    alignment: Alignment, points: Sequence[Point], mine: Mapping[str, Any], other: Mapping[str, Any],
    evaluate: Evaluate, tolerance: float | None = None,
) -> None:  # fmt: skip
    """Measure what every point of the second graph adds by itself.

    Of models that are written in other ways, points inside of layers whose results agree are left out (`own` is None).
    """
    _measure_alone(alignment, points, mine, other, evaluate, tolerance)
    guilty = [p for p in points if p.own is not None and p.own.differs]
    if alignment.exact or not guilty:
        return
    layers = Layers(alignment, points)
    ends = [replace(p) for p in layers.ends]
    _measure_alone(alignment, ends, mine, other, evaluate, tolerance)
    faulty = {layers.of(p) for p in ends if p.own is None or p.own.differs}
    for point in guilty:
        if layers.of(point) in layers.closed - faulty:
            point.own = None
    blamed = {layers.of(p) for p in guilty if p.own is not None}
    for point, end in zip(layers.ends, ends):
        if end.own is not None and end.own.differs and layers.of(point) not in blamed:
            point.own = end.own


def settle(alignment: Alignment, points: Sequence[Point]) -> None:
    """Mark what is inside of layers whose results agree, of models that are written in other ways."""
    if alignment.exact or not any(p.differs for p in points):
        return
    layers = Layers(alignment, points)
    faulty = {layers.of(p) for p in layers.ends if p.found is None or p.differs}
    for point in points:
        point.inner = not point.ends and layers.of(point) in layers.closed - faulty


class Layers:
    """The points by layers: which of them are results that leave theirs, in both graphs.

    A layer is closed where all values that leave it in the first graph are points.
    """

    def __init__(self, alignment: Alignment, points: Sequence[Point]) -> None:
        self._regions = regions_of(alignment)
        region = self._regions.__getitem__
        leaving = {v: region(n) for n in alignment.a.nodes for v in n.outputs if leaves(alignment.a, v, region)}
        self.ends = [p for p in points if p.a in leaving and leaves(alignment.b, p.b, region)]
        ended = {p.a for p in self.ends}
        self.closed = {self.of(p) for p in points} - {home for v, home in leaving.items() if v not in ended}

    def of(self, point: Point) -> str:
        return self._regions[point.pair.a]


def _measure_alone(
    alignment: Alignment, points: Sequence[Point], mine: Mapping[str, Any], other: Mapping[str, Any],
    evaluate: Evaluate, tolerance: float | None = None,
) -> None:  # fmt: skip
    """Measure what the second graph adds at every point alone: what it reads is what the first graph has there."""
    wanted = {p.a for p in points}
    needed = {p.b.producer: p for p in points}
    values: dict[Var, Any] = {}
    spoiled: set[Var] = set()  # what follows from a value of another shape, for which there is no substitute
    left = interpret.steps(alignment.a, mine, evaluate)
    for node, results in _until_it_fails(interpret.steps(alignment.b, other, evaluate)):
        after = any(v in spoiled for v in node.inputs)
        point = needed.get(node)
        if point is not None:
            while point.a not in values:
                maker, made = next(left)
                if any(v in wanted for v in maker.outputs):
                    values.update(zip(maker.outputs, made))
            point.own = None if after else _own(values[point.a], results[point.b.index], tolerance)
            after = _substitute(point, values, results, node)
        spoiled |= set(node.outputs) if after else set()


def _substitute(point: Point, values: dict[Var, Any], results: list[Any], node: Node) -> bool:
    """Put the first model's results in the place of the second's; whether their shapes do not allow it."""
    assert point.a.producer is not None
    fits = True
    for v, w in zip(point.a.producer.outputs, node.outputs):
        value = values.pop(v, None)
        form = value if value is None or isinstance(value, (list, tuple)) else fitted(value, results[w.index])
        if form is not None:
            results[w.index] = form
        elif w is point.b:
            fits = False
    return not fits


def _until_it_fails(steps: Iterator[tuple[Node, list[Any]]]) -> Iterator[tuple[Node, list[Any]]]:
    """The steps as far as they go: substitutes of another meaning may be what a node cannot take (an index)."""
    try:
        yield from steps
    except TenunError:
        return


def _own(a: Any, b: Any, tolerance: float | None) -> Measure:
    """The measure of one layer alone, of which less is allowed than of all before it together."""
    if isinstance(a, np.ndarray) and a.dtype.kind not in "biuOSU":
        return measure(a, b, LOCAL * (tolerance or usual_tolerance(a)))
    return measure(a, b, tolerance)
