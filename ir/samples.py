"""Seeded inputs for a graph, made from its signature."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import RunError
from . import dims
from .graph import Graph, Var
from .types import DType, Sequence, Tensor

Array = np.ndarray[Any, Any]

SIDE = 8  # of an axis, other than the first, about which the signature says nothing
KEEPING = ("one_hot", "cast", "where", "concat")  # ops that hand integers on, beside elementwise ones and views
CHOICES = 2  # integers that select nothing are 0 or 1


def random_inputs(graph: Graph, batch: int = 1, seed: int = 0) -> dict[str, Any]:
    """Inputs by name: normal floats, integers within the table that they select from (0 or 1 where they select from
    none); symbols are `batch` on axis 0, 8 elsewhere.  RunError where a rank is not known.
    """
    generator = np.random.default_rng(seed)
    states = {s.input.name for s in graph.state}
    lead = {
        name
        for v in graph.inputs
        if isinstance(v.type, Tensor) and v.type.shape
        for name in dims.symbols(v.type.shape[0])
    }

    def sample(t: Any, choices: int) -> Any:
        if isinstance(t, Sequence):
            return [sample(t.element, choices)]
        if not isinstance(t, Tensor) or t.shape is None:
            raise RunError(f"cannot make an input of type {t}: its rank is not known", hint="give the inputs")
        values: dict[str, Any] = {n: batch if n in lead else SIDE for d in t.shape for n in dims.symbols(d)}
        shape = tuple(dims.substitute(d, values) for d in t.shape)
        return _sample(generator, tuple(d if isinstance(d, int) else SIDE for d in shape), t.dtype, choices)

    return {v.name: sample(v.type, selects_from(v)) for v in graph.inputs if v.name not in states}


def _sample(generator: np.random.Generator, shape: tuple[int, ...], dtype: DType, choices: int) -> Array:
    if dtype.is_float or dtype.kind == "complex":
        return generator.standard_normal(shape).astype(dtype.numpy)
    if dtype.kind == "string":
        return np.full(shape, "a", object)
    return generator.integers(0, choices if dtype.is_integer else CHOICES, shape).astype(dtype.numpy)


def selects_from(var: Var) -> int:
    """How many entries the smallest table has from which the elements of a value select; 2 where there is none."""
    found, seen, waiting = [], {var}, [var]
    while waiting:
        for node, place in waiting.pop().uses:
            table = node.inputs[0]
            if node.op.name == "gather" and place == 1 and table is not None:
                size = table.shape[node.attrs.get("axis", 0)]
                found += [size] if isinstance(size, int) else []
            elif node.op.name in KEEPING or node.op.has("elementwise") or node.op.has("view"):
                depth = node.attrs.get("depth")
                found += [depth] if isinstance(depth, int) else []
                for out in node.outputs:
                    if out not in seen and isinstance(out.type, Tensor) and out.type.dtype.is_integer:
                        seen.add(out)
                        waiting.append(out)
    return max(min(found, default=CHOICES), 1)
