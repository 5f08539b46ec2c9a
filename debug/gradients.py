"""Gradients against differences: is the derivative that the compiler made that of the function which it computes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backends.base import backend
from ..errors import RunError
from ..ir.builder import Builder
from ..ir.graph import Graph
from ..ir.rebuild import copy_nodes, widened
from ..ir.text import named_constants
from ..ir.types import Tensor, dtype, f64
from ..passes.autodiff.engine import gradients
from ..passes.manager import Context, PassManager, pipeline

Array = np.ndarray[Any, Any]


HEADINGS = ("parameter", "shape", "analytic", "numeric", "error", "checked", "kinks", "verdict")
WIDE = {dtype(name): f64 for name in ("f16", "bf16", "f32")}
NARROWER = (1, 10, 100)  # the step is divided by these in turn, where a kink is in the way
LEAST = 1e-7  # derivatives below this are compared as if they were as large


@dataclass(frozen=True)
class Row:
    """One parameter: the largest analytic and numeric derivatives, and the largest relative error, of those checked.

    kinks: places among them where the function has no derivative, which say nothing.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    analytic: float
    numeric: float
    error: float
    ok: bool
    kinks: int = 0

    @property
    def verdict(self) -> str:
        """The row in a word or two."""
        if not self.ok:
            return "WRONG" if np.isfinite(self.error) else "NOT FINITE"
        return "kinks only" if self.kinks and self.kinks == self.checked else "ok"

    @property
    def texts(self) -> tuple[str, ...]:
        """The row as texts, in the order of HEADINGS."""
        figures = (f"{self.analytic:.3e}", f"{self.numeric:.3e}", f"{self.error:.1e}")
        return self.name, str(self.shape), *figures, str(self.checked), str(self.kinks or ""), self.verdict


@dataclass(frozen=True)
class Report:
    """The table; prints itself, as text or (`show`) in colours."""

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
        lines = [HEADINGS, *(row.texts for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)

    def show(self) -> None:
        """Print the table."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(header_style="bold", box=None)  # narrow: the figures should fit 80 columns
        for heading in HEADINGS:
            is_text = heading in ("parameter", "shape", "verdict")
            table.add_column(heading, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row.texts), style="" if row.ok else "red")
        Console().print(table)


def check_gradients(
    model: Any, x: Any, y: Any = None, sample_weight: Any = None, *, loss: Any = None, inputs: bool = False,
    elements: int = 20, step: float = 1e-6, tolerance: float = 1e-4, seed: int = 0,
) -> Report:  # fmt: skip
    """Compare analytic gradients with central differences, both in float64.

    model: a compiled tenun.Model, or one with a `loss` given (its loss in training, with the seeds as they are, by all
    weights in training), or a Graph (the sum of its outputs, by its weights).  `inputs`: by the inputs of a float
    dtype, too.  For each parameter `elements` places are tried: that of the largest gradient, and others chosen by
    `seed`.  error: |a - n| / max(|a|, |n|, 1e-3 of the largest).  At a kink, as of a relu at 0, differences to the left
    and to the right are not the same, however small the step: such a place says nothing, and is counted as one.

    Raises RunError where there is nothing to check, or where the function is none: it draws new random numbers.
    """
    if isinstance(model, Graph):
        graph, feed, names = _of_graph(model, x)
    else:
        graph, feed, names = model.loss_graph(x, y, sample_weight, loss)
    if inputs:
        names = [*names, *_inputs(model)]
    if not names:
        raise RunError(f"{graph.name!r} has no weights to check", hint="inputs=True checks the inputs")
    function = _Function(graph, feed, names)
    generator = np.random.default_rng(seed)
    rows = [_row(function, name, g, elements, step, tolerance, generator) for name, g in function.gradients.items()]
    return Report(rows, tolerance)


def _inputs(model: Any) -> list[str]:
    """The inputs of a float dtype that a caller gives, by name."""
    if not isinstance(model, Graph):
        return [name for name, t in model.inputs.items() if t.dtype.is_float]
    states = {s.input for s in model.state}
    return [v.name for v in model.inputs if isinstance(v.type, Tensor) and v.type.dtype.is_float and v not in states]


def _row(
    function: _Function, name: str, gradient: Array, elements: int, step: float, tolerance: float,
    generator: np.random.Generator,
) -> Row:  # fmt: skip
    flat = np.abs(gradient.reshape(-1))
    places = generator.choice(flat.size, min(elements, flat.size), replace=False)
    if flat.size and int(np.argmax(flat)) not in places:
        places[0] = np.argmax(flat)
    least = max(1e-3 * float(np.max(flat, initial=0)), LEAST)
    found = [_place(function, name, int(p), float(gradient.reshape(-1)[p]), step, tolerance, least) for p in places]
    errors = [np.inf if np.isnan(f.error) else f.error for f in found if not f.kink]
    error = float(max(errors, default=0.0))
    analytic = max((abs(f.analytic) for f in found), default=0.0)
    numeric = max((abs(f.numeric) for f in found), default=0.0)
    return Row(
        name, gradient.shape, len(found), analytic, numeric, error, error <= tolerance, sum(f.kink for f in found)
    )


class _Place(NamedTuple):
    """What one place of a parameter came to."""

    analytic: float
    numeric: float
    error: float
    kink: bool


def _place(
    function: _Function, name: str, place: int, analytic: float, step: float, tolerance: float, least: float
) -> _Place:
    """Compare at one place; with a smaller step, if a kink lies within the larger one."""
    for part in NARROWER:
        left, right = function.slopes(name, place, step / part)
        numeric = (left + right) / 2
        scale = max(abs(analytic), abs(numeric), least)
        found = _Place(analytic, numeric, abs(analytic - numeric) / scale, False)
        if found.error <= tolerance or not abs(right - left) > tolerance * scale:
            return found
    return found._replace(kink=True)


class _Function:
    """The first output of a graph as a function of its inputs, in float64, and its `gradients` by names."""

    def __init__(self, graph: Graph, feed: Mapping[str, Any], names: Sequence[str]) -> None:
        wide = widened(graph, WIDE)
        wide.state = []
        self._order = [v.name for v in wide.inputs]
        self._values: dict[str, Array] = {}
        for v in wide.inputs:
            if not isinstance(v.type, Tensor):
                raise RunError(f"input {v.name!r} is a {v.type}; gradients are checked for tensors")
            self._values[v.name] = np.array(feed[v.name]).astype(v.type.dtype.numpy)
        loss, by_name = wide.outputs[0], {v.name: v for v in wide.inputs}
        wide.set_outputs([loss])
        self._loss = self._compiled(wide.copy())
        wide.set_outputs([loss, *gradients(Builder(wide), [loss], [by_name[n] for n in names])])
        _, *found = self._compiled(wide)(*(self._values[n] for n in self._order))
        self.gradients: dict[str, Array] = dict(zip(names, found))
        self.base = self._value()
        if self._value() != self.base and np.isfinite(self.base):
            raise RunError("the graph draws new random numbers in every run", hint="give its random nodes a seed")

    def _compiled(self, graph: Graph) -> Any:
        chosen = backend("numpy")
        return chosen.program(PassManager(pipeline("training"), Context(chosen.evaluate)).run(graph))

    def _value(self) -> float:
        return float(self._loss(*(self._values[n] for n in self._order))[0])

    def slopes(self, name: str, place: int, step: float) -> tuple[float, float]:
        """The differences to the left and to the right of one element, divided by the step."""
        flat = self._values[name].reshape(-1)
        middle = float(flat[place])
        step *= max(1.0, abs(middle))
        ends = []
        for moved in (middle - step, middle + step):
            flat[place] = moved
            ends.append((self._value() - self.base) / (float(flat[place]) - middle))
        flat[place] = middle
        return ends[0], ends[1]


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
    if not floats:
        raise RunError(f"{graph.name!r} has no output of a float dtype")
    total = floats[0]
    for other in floats[1:]:
        total = b.add(total, b.cast_like(other, total))
    new.set_outputs([total], ["sum"])
    return new, feed, names
