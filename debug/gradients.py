"""Gradients against differences: is the derivative that the compiler made that of the function which it computes?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import backend
from ..errors import RunError
from ..ir.builder import Builder
from ..ir.graph import Graph
from ..ir.rebuild import copy_nodes, widened
from ..ir.text import named_constants
from ..ir.types import Tensor, f32, f64
from ..passes.autodiff.engine import gradients
from ..passes.manager import Context, PassManager, pipeline

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Row:
    """One parameter: the largest analytic and numeric derivatives, and the largest relative error of those checked."""

    name: str
    shape: tuple[int, ...]
    checked: int
    analytic: float
    numeric: float
    error: float
    ok: bool


@dataclass(frozen=True)
class Report:
    """The table; prints itself."""

    rows: list[Row]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every gradient is what the differences say."""
        return all(row.ok for row in self.rows)

    @property
    def worst(self) -> Row:
        """The row with the largest error."""
        return max(self.rows, key=lambda row: row.error)

    def __str__(self) -> str:
        head = ("parameter", "shape", "checked", "analytic", "numeric", "error", "")
        lines = [head]
        for r in self.rows:
            figures = (f"{r.analytic:.3e}", f"{r.numeric:.3e}", f"{r.error:.1e}", "ok" if r.ok else "WRONG")
            lines.append((r.name, str(r.shape), str(r.checked), *figures))
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)


def check_gradients(
    model: Any, x: Any, y: Any = None, sample_weight: Any = None, *, elements: int = 20, step: float = 1e-6,
    tolerance: float = 1e-4, seed: int = 0,
) -> Report:  # fmt: skip
    """Compare analytic gradients with central differences, both in float64.

    model: a compiled tenun.Model (its loss in training, with the seeds as they are, by all weights in training), or a
    Graph (the sum of its outputs, by its weights).  For each parameter `elements` places are tried, chosen by
    `seed`.  error: |a - n| / max(|a|, |n|, 1e-3 of the largest).  At the kink of a relu a difference is no derivative.
    """
    graph, feed, names = _of_graph(model, x) if isinstance(model, Graph) else model.loss_graph(x, y, sample_weight)
    run, values = _function(graph, feed, names)
    _, *analytic = run(values)
    generator = np.random.default_rng(seed)
    rows = []
    for name, gradient in zip(names, analytic):
        flat = gradient.reshape(-1)
        places = generator.choice(flat.size, min(elements, flat.size), replace=False)
        numeric = np.array([_difference(run, values, name, place, step) for place in places])
        rows.append(_row(name, gradient, flat[places], numeric, tolerance))
    return Report(rows, tolerance)


def _row(name: str, gradient: Array, analytic: Array, numeric: Array, tolerance: float) -> Row:
    largest = float(np.max(np.abs(gradient), initial=0))
    scale = np.maximum(np.maximum(np.abs(analytic), np.abs(numeric)), max(1e-3 * largest, 1e-7))
    error = float(np.max(np.abs(analytic - numeric) / scale, initial=0))
    most = float(np.max(np.abs(numeric), initial=0))
    return Row(name, gradient.shape, len(numeric), largest, most, error, bool(error <= tolerance))


def _difference(run: Callable[..., list[Array]], values: dict[str, Array], name: str, place: int, step: float) -> float:
    ends = []
    for sign in (1, -1):
        moved = values[name].copy()
        moved.reshape(-1)[place] += sign * step
        ends.append(float(run({**values, name: moved})[0]))
    return (ends[0] - ends[1]) / (2 * step)


def _function(
    graph: Graph, feed: Mapping[str, Any], names: Sequence[str]
) -> tuple[Callable[[dict[str, Array]], list[Array]], dict[str, Array]]:
    """A function from named values to the first output and its gradients by `names`, in float64, and the values."""
    wide = widened(graph, {f32: f64})
    wide.state = []
    by_name = {v.name: v for v in wide.inputs}
    loss = wide.outputs[0]
    wide.set_outputs([loss, *gradients(Builder(wide), [loss], [by_name[n] for n in names])])
    chosen = backend("numpy")
    program = chosen.program(PassManager(pipeline("training"), Context(chosen.evaluate)).run(wide))
    values = {}
    for v in wide.inputs:
        if not isinstance(v.type, Tensor):
            raise RunError(f"input {v.name!r} is a {v.type}; gradients are checked for tensors")
        values[v.name] = np.asarray(feed[v.name]).astype(v.type.dtype.numpy)
    order = [v.name for v in wide.inputs]
    return lambda given: program(*(given[n] for n in order)), values


def _of_graph(graph: Graph, x: Any) -> tuple[Graph, dict[str, Any], list[str]]:
    """A graph of the sum of the float outputs, its float weights being inputs."""
    new = Graph(graph.name)
    b = Builder(new)
    states = {s.input: s.first for s in graph.state}
    inputs = [v for v in graph.inputs if v not in states]
    arrays = [x] if len(inputs) == 1 else x
    feed = dict(x) if isinstance(x, Mapping) else {v.name: a for v, a in zip(inputs, arrays)}
    feed.update({v.name: first.data for v, first in states.items()})
    mapping = {v: new.add_input(v.name, v.type) for v in graph.inputs}
    names = []
    for name, var in named_constants(graph).items():
        if var in graph.constants and var.tensor.dtype.is_float and var not in states.values():
            mapping[var] = new.add_input(name, Tensor(var.tensor.dtype, var.tensor.shape))
            feed[name] = var.data
            names.append(name)
    outputs = copy_nodes(b, graph, mapping)
    floats = [b.reduce_sum(v) for v in outputs if isinstance(v.type, Tensor) and v.type.dtype.is_float]
    total = floats[0]
    for other in floats[1:]:
        total = b.add(total, other)
    new.set_outputs([total], ["sum"])
    return new, feed, names
