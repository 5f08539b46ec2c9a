"""Passes that check themselves: the graph is run before and after each pass on sample inputs, and the results compared.

A pass may round otherwise (a folded normalisation multiplies in another order), so results agree within a tolerance,
relative to the largest element.  Where they do not, the pass is blamed, with the first node whose value it changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import GraphError, TenunError
from ..ir.graph import Graph, Node, Var
from ..ir.samples import random_inputs
from . import interpret

TOLERANCES = {8: 1e-9, 4: 1e-4, 2: 2e-2, 1: 0.2}  # of the largest element, by the bytes of a float
NUMERIC = "biufc"

Array = np.ndarray[Any, Any]


class Numbers:
    """The numbers of a graph before a pass; `check` compares those after it.

    What cannot be run at all (an input of unknown rank, and no sample given) is not checked: `reason` says why.
    """

    def __init__(self, graph: Graph, evaluate: interpret.Evaluate, inputs: Mapping[str, Any] | None = None) -> None:
        self.evaluate = evaluate
        self.reason = ""
        try:
            self.inputs = dict(inputs) if inputs is not None else random_inputs(graph, batch=2)
            self.outputs = interpret.results(graph, self.inputs, evaluate)
        except TenunError as error:
            self.reason = error.message

    def check(self, name: str, before: Graph, origin: Mapping[Var, Var], graph: Graph) -> None:
        """GraphError where the pass called name changed the results.

        before: a copy of the graph as it was; origin: the values of that copy by the values of the graph.
        """
        if self.reason:
            return
        outputs = interpret.results(graph, self.inputs, self.evaluate)
        for place, (old, new) in enumerate(zip(self.outputs, outputs)):
            difference = apart(old, new)
            if difference:
                node = self._blamed(before, origin, graph)
                where = f"\n    {node!r}" if node is not None else ""
                raise GraphError(
                    f"it changes output {graph.output_names[place]!r}: {difference}{where}",
                    node=None if node is None else node.source or None,
                    op=None if node is None else node.op.name,
                )
        self.outputs = outputs

    def _blamed(self, before: Graph, origin: Mapping[Var, Var], graph: Graph) -> Node | None:
        """The first node of the graph that gives another value than it did before the pass; if it reads what the pass
        made, of which there is nothing before, the maker of that.
        """
        old: dict[Var, Any] = {}
        wanted = {origin[v] for n in graph.nodes for v in n.outputs if v in origin}
        for node, found in interpret.steps(before, self.inputs, self.evaluate):
            old.update((v, value) for v, value in zip(node.outputs, found) if v in wanted)
        for node, found in interpret.steps(graph, self.inputs, self.evaluate):
            for var, value in zip(node.outputs, found):
                same_type = var in origin and origin[var].type == var.type
                if same_type and origin[var] in old and apart(old[origin[var]], value):
                    return _made_by_the_pass(node.inputs, origin) or node
        return _made_by_the_pass(graph.outputs, origin)


def _made_by_the_pass(values: Iterable[Var | None], origin: Mapping[Var, Var]) -> Node | None:
    """The first node among the makers of values whose result was not there before."""
    found = (v.producer for v in values if v is not None and v not in origin)
    return next((node for node in found if node is not None), None)


def apart(a: Any, b: Any, scale: float = 1.0) -> str:
    """How two values differ beyond `scale` times the tolerance of their dtype, in words; empty where they do not."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b):
            return f"{len(a)} elements became {len(b)}"
        return next(filter(None, (apart(x, y, scale) for x, y in zip(a, b))), "")
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return apart(list(a.values()), list(b.values()), scale)
    if (a is None) or (b is None):
        return "" if a is b else "a value became none, or the other way round"
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or x.dtype != y.dtype:
        return f"{x.dtype}{list(x.shape)} became {y.dtype}{list(y.shape)}"
    return _apart(x, y, scale)


def _apart(x: Array, y: Array, scale: float) -> str:
    if x.dtype.kind not in NUMERIC and x.dtype.kind != "V":
        return "" if np.array_equal(x, y) else "other elements"
    if x.dtype.kind in "biu":
        others = int((x != y).sum())
        return f"{others} of {x.size} elements are others" if others else ""
    size = x.dtype.itemsize // (2 if x.dtype.kind == "c" else 1)
    wide = np.complex128 if x.dtype.kind == "c" else np.float64
    x, y = x.astype(wide), y.astype(wide)
    with np.errstate(all="ignore"):
        equal = (x == y) | (np.isnan(x) & np.isnan(y))
        distance = np.where(equal, 0, np.abs(x - y))
        finite = np.abs(x[np.isfinite(x)])
        limit = scale * TOLERANCES.get(size, 1e-4) * max(float(finite.max(initial=0)), 1e-30)
    wrong = ~(distance <= limit)
    if not wrong.any():
        return ""
    worst = np.unravel_index(int(np.argmax(np.where(np.isnan(distance), np.inf, distance))), x.shape)
    place = ", ".join(str(int(i)) for i in worst)
    return f"{int(wrong.sum())} of {x.size} elements, at [{place}] {x[worst]:.6g} became {y[worst]:.6g}"
