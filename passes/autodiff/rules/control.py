"""Gradients of control flow: the gradient of a branch is a branch, that of a loop a scan backwards.

Subgraphs are closed, so the gradient of a body is a graph of its own, made by the engine on a copy.  What a body
computes is computed again there.  Of a loop the values that go into each iteration have to be known: a second copy
of the loop gives them out.  The scan backwards carries the gradients of the carried values and the sums of the
gradients of what is captured; it reads these values, the slices, and the gradients of what the iterations gave.
Values which are no floats have no gradient.  Lists of tensors may go into a branch and come out of it, but not a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ....errors import UnsupportedError
from ....ir.builder import Builder
from ....ir.graph import Graph, Node, Var
from ....ir.ops.control import control_node, trace
from ....ir.rebuild import copy_nodes
from ....ir.types import Container, Tensor, Type, i64
from ..emit import differentiable, shape_of, through, zeros
from . import RULES, Gradients

Some = list["Var | None"]
Copy = Callable[[Builder, Sequence[Var]], list[Var]]  # a body as a function: its outputs for given inputs


def _if(b: Builder, node: Node, above: Some) -> Gradients:
    """An `if` of the branches' gradients."""
    condition, *args = node.operands
    given = [v for v in args if v is not None]
    seeds = [(i, g) for i, g in enumerate(above) if g is not None]
    wanted = [i for i, v in enumerate(given) if differentiable(v)]

    def gradient(branch: Graph) -> Graph:
        def body(inner: Builder, *inputs: Var) -> list[Var]:
            values = inputs[: len(given)]
            outputs = _copied(branch)(inner, values)
            pairs = [(outputs[i], seed) for (i, _), seed in zip(seeds, inputs[len(given) :])]
            return _differentiated(inner, pairs, [values[i] for i in wanted])

        return trace(f"{branch.name}_grad", body, _named(given + [g for _, g in seeds]), node.source)

    if not wanted:
        return [None] * len(node.operands)
    graphs = {name: gradient(graph) for name, graph in node.graphs.items()}
    made = control_node(b, "if", [condition, *given, *(g for _, g in seeds)], {}, graphs).outputs
    found: Some = [None] * len(given)
    for i, g in zip(wanted, made):
        found[i] = _shaped(b, g, given[i])
    return [None, *found]


def _scan(b: Builder, node: Node, above: Some) -> Gradients:
    """A scan the other way around."""
    attrs, (body,) = node.attrs, node.graphs.values()
    carried, scanned = attrs["carried"], attrs["scanned"]
    args = _tensors(node, node.operands)
    run = Iterations(
        source=node.source,
        body=_copied(body),
        types=[v.type for v in body.inputs],
        state=args[:carried],
        slices=args[carried : carried + scanned],
        captured=args[carried + scanned :],
        slice_axes=list(attrs["input_axes"]),
        slice_reverse=list(attrs["input_reverse"]),
        result_axes=list(attrs["output_axes"]),
        result_reverse=list(attrs["output_reverse"]),
    )

    def inputs_kept(inner: Builder, *inputs: Var) -> list[Var]:
        return [*run.body(inner, inputs)[:carried], *map(inner.identity, inputs[:carried])]

    saved: Sequence[Var] = ()
    if carried:
        keep = trace("kept", inputs_kept, _named_types(run.types), node.source)
        axes = {"output_axes": (0,) * carried, "output_reverse": (0,) * carried}
        saved = control_node(b, "scan", [*args], {**attrs, **axes}, {"body": keep}).outputs[carried:]
    return _backwards(b, run, saved, above)


def _loop(b: Builder, node: Node, above: Some) -> Gradients:
    """A scan backwards over the iterations that were made."""
    (trip, condition, *rest), (body,) = node.operands, node.graphs.values()
    carried, args = node.attrs["carried"], _tensors(node, rest)
    types = [v.type for v in body.inputs[2:]]

    def inputs_kept(inner: Builder, i: Var, going: Var, *inputs: Var) -> list[Var]:
        outputs = _copied(body)(inner, [i, going, *inputs])
        return [*outputs[: 1 + carried], inner.identity(i), *map(inner.identity, inputs[:carried])]

    def as_scan(inner: Builder, inputs: Sequence[Var]) -> list[Var]:
        state, i, captured = inputs[:carried], inputs[carried], inputs[carried + 1 :]
        return _copied(body)(inner, [i, inner.constant(np.array(True)), *state, *captured])[1:]

    keep = trace("kept", inputs_kept, _named_types([v.type for v in body.inputs]), node.source)
    kept = control_node(b, "loop", [trip, condition, *args], {"carried": carried}, {"body": keep}).outputs[carried:]
    results = len(body.outputs) - 1 - carried
    run = Iterations(
        source=node.source,
        body=as_scan,
        types=[*types[:carried], Tensor(i64, ()), *types[carried:]],
        state=args[:carried],
        slices=[kept[0]],
        captured=args[carried:],
        slice_axes=[0],
        slice_reverse=[0],
        result_axes=[0] * results,
        result_reverse=[0] * results,
    )
    found = _backwards(b, run, kept[1:], above)
    return [None, None, *found[:carried], *found[carried + 1 :]]


def _chain(b: Builder, node: Node, above: Some) -> Gradients:
    """Those of the nodes of the body."""
    copy = _copied(node.graphs["body"])
    return through(b, lambda inner, *values: copy(inner, values), node.operands, above)


@dataclass
class Iterations:
    """A loop over slices: body(state..., slices..., captured...) -> (state..., results...)."""

    source: str
    body: Copy
    types: list[Type]  # of the body's inputs
    state: list[Var]
    slices: list[Var]
    captured: list[Var]
    slice_axes: list[int]
    slice_reverse: list[int]
    result_axes: list[int]
    result_reverse: list[int]

    @property
    def values(self) -> list[Var]:
        """What the iterations work on, in the order of the body's inputs."""
        return [*self.state, *self.slices, *self.captured]

    @property
    def floats(self) -> tuple[list[int], list[int]]:
        """Which of the values have gradients: state and captured ones, whose are carried backwards; slices."""
        places = [i for i, v in enumerate(self.values) if differentiable(v)]
        slices = range(len(self.state), len(self.state) + len(self.slices))
        return [i for i in places if i not in slices], [i for i in places if i in slices]


def _backwards(b: Builder, run: Iterations, saved: Sequence[Var], above: Some) -> Some:
    """The gradients of run.values; `saved` is the state before each iteration, stacked, `above` the gradients given."""
    count, (carried, sliced) = len(run.state), run.floats
    results = [(i, g) for i, g in enumerate(above[count:]) if g is not None]
    first = [(above[i] if i < count else None) or zeros(b, run.values[i]) for i in carried]
    operands: Some = [*first, *saved, *run.slices, *(g for _, g in results), *run.captured]
    inner = count + len(run.slices)
    types = [*(run.types[i] for i in carried), *run.types[:inner]]
    types += [_slice(g, run.result_axes[i]) for i, g in results] + run.types[inner:]
    # Forwards the k-th slice goes into iteration k (from the end where reversed); now all are read from the other end.
    attrs = {
        "carried": len(carried),
        "scanned": inner + len(results),
        "input_axes": (*[0] * count, *run.slice_axes, *(run.result_axes[i] for i, _ in results)),
        "input_reverse": (
            *[1] * count, *(1 - v for v in run.slice_reverse), *(1 - run.result_reverse[i] for i, _ in results)
        ),
        "output_axes": tuple(run.slice_axes[i - count] for i in sliced),
        "output_reverse": tuple(1 - run.slice_reverse[i - count] for i in sliced),
    }  # fmt: skip
    graph = trace("backwards", _step(run, [i for i, _ in results]), _named_types(types), run.source)
    found: Some = [None] * len(run.values)
    for i, g in zip(carried + sliced, control_node(b, "scan", operands, attrs, {"body": graph}).outputs):
        found[i] = _shaped(b, g, run.values[i])
    return found


def _step(run: Iterations, results: list[int]) -> Callable[..., list[Var]]:
    """One iteration backwards, as a function.

    (gradients of the state after, sums for what is captured; state before, slices, gradients of the results;
    captured) -> (gradients of the state before, sums; gradients of the slices).
    """
    count, (carried, sliced) = len(run.state), run.floats

    def step(b: Builder, *inputs: Var) -> list[Var]:
        take = iter(inputs)
        after = {i: next(take) for i in carried}
        values = [next(take) for _ in (*run.state, *run.slices)]
        given = [next(take) for _ in results]
        values += take
        outputs = run.body(b, values)
        pairs = [(outputs[i], after[i]) for i in carried if i < count]
        pairs += [(outputs[count + i], g) for i, g in zip(results, given)]
        places = carried + sliced
        found = dict(zip(places, _differentiated(b, pairs, [values[i] for i in places])))
        return [found[i] if i < count or i in sliced else b.add(after[i], found[i]) for i in places]

    return step


# ---- small things --------------------------------------------------------------------------------------------


def _tensors(node: Node, values: Sequence[Var | None]) -> list[Var]:
    """Operands of a loop that are there; they, and its results, have to be tensors."""
    for v in (*values, *node.outputs):
        if v is not None and not isinstance(v.type, Tensor):
            raise UnsupportedError(f"{node.op.name} with a {v.type} has no gradient", op=node.op.name)
    return [v for v in values if v is not None]


def _copied(graph: Graph) -> Copy:
    """A closed graph as a function."""
    return lambda b, inputs: copy_nodes(b, graph, dict(zip(graph.inputs, inputs)))


def _named(values: Sequence[Var]) -> list[tuple[str, Type]]:
    return _named_types([v.type for v in values])


def _named_types(types: Sequence[Type]) -> list[tuple[str, Type]]:
    return [(f"x{i}", t) for i, t in enumerate(types)]


def _slice(g: Var, axis: int) -> Tensor:
    """The type of g without an axis."""
    a = axis % len(g.shape)
    return Tensor(g.tensor.dtype, (*g.shape[:a], *g.shape[a + 1 :]))


def _differentiated(b: Builder, pairs: list[tuple[Var, Var]], wrt: list[Var]) -> list[Var]:
    """The gradients of the outputs with the given gradients of their own, in the shape of what they belong to."""
    from ..engine import gradients

    of = [(v, _shaped(b, g, v)) for v, g in pairs if differentiable(v)]
    if not of:
        return [zeros(b, x) for x in wrt]
    found = gradients(b, [v for v, _ in of], wrt, [g for _, g in of])
    return [_shaped(b, g, x) for g, x in zip(found, wrt)]


def _shaped(b: Builder, g: Var, like: Var) -> Var:
    """g, whose type tells as much as that of the value which it belongs to."""
    if isinstance(like.type, Container) or g.tensor.shape == like.tensor.shape:
        return g
    return b.reshape(g, shape=shape_of(b, like))  # type: ignore[no-any-return]


RULES |= {"if": _if, "scan": _scan, "loop": _loop, "chain": _chain}
