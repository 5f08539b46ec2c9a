"""Reverse-mode differentiation of graphs: one loop over the nodes, backwards.

The mathematics of each op is a row of `rules.RULES`.  Everything else is here, once: which nodes lie on a way from
`wrt` to `outputs`, the sum over all ways, and the undoing of broadcasting.  Gradients are nodes of the same graph, so
that they can be differentiated again, optimised and run like all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import GraphError, ShapeError, UnsupportedError
from ...ir.builder import Builder
from ...ir.graph import Graph, Node, Var
from ...ir.types import Tensor
from . import rules


def gradients(b: Builder, outputs: Sequence[Var], wrt: Sequence[Var], seeds: Sequence[Var] | None = None) -> list[Var]:
    """d (sum of outputs * seeds) / d x for each x of wrt, appended to the builder's graph.

    Seeds are 1 by default.  The gradient with respect to a value that no output depends on is 0.
    """
    path = _path(b.graph, outputs, wrt)
    totals: dict[Var, Var] = {}
    for out, seed in zip(outputs, seeds or [_ones(b, v) for v in outputs]):
        _accumulate(b, totals, out, seed)
    for node in reversed(path):
        above = [totals.get(v) for v in node.outputs]
        if all(g is None for g in above):
            continue
        with b.at(node.source):
            for operand, g in zip(node.operands, _apply(b, node, above)):
                if operand is not None and g is not None and _is_float(operand):
                    _accumulate(b, totals, operand, unbroadcast(b, g, operand))
    return [totals[x] if x in totals else _zeros(b, x) for x in wrt]


def _path(graph: Graph, outputs: Sequence[Var], wrt: Sequence[Var]) -> list[Node]:
    """The nodes that depend on wrt and on which outputs depend, in order."""
    nodes = list(graph.nodes)
    reached = set(wrt)
    forward = []
    for node in nodes:
        if any(v in reached for v in node.operands):
            reached.update(node.outputs)
            forward.append(node)
    needed = set(outputs)
    path = []
    for node in reversed(forward):
        if any(v in needed for v in node.outputs):
            needed.update(v for v in node.operands if v is not None)
            path.append(node)
    return path[::-1]


def _apply(b: Builder, node: Node, above: list[Var | None]) -> Sequence[Var | None]:
    """What the op's rule gives for each operand."""
    row = rules.RULES.get(node.op.name)
    if row is None or node.dynamic:
        raise UnsupportedError(
            f"op {node.op.name} has no gradient" if row is None else f"op {node.op.name}: attributes known at run time",
            op=node.op.name,
            node=node.source or None,
            hint=f"add a row to passes/autodiff/rules/{node.op.family}.py",
        )
    results = row(b, node, above)
    if len(results) != len(node.operands):
        raise GraphError(f"the rule of {node.op.name} gave {len(results)} gradients for {len(node.operands)} operands")
    return results


def _accumulate(b: Builder, totals: dict[Var, Var], var: Var, g: Var) -> None:
    totals[var] = b.add(totals[var], g) if var in totals else g


def unbroadcast(b: Builder, g: Var, like: Var) -> Var:
    """g summed over the axes along which `like` was broadcast."""
    shape, target = g.shape, like.shape
    if shape == target:
        return g
    extra = len(shape) - len(target)
    wide = [i for i, d in enumerate(target, extra) if d == 1 and shape[i] != 1]
    for i, d in enumerate(target, extra):
        if d != 1 and d != shape[i] and not (isinstance(d, int) and isinstance(shape[i], int)):
            raise UnsupportedError(
                f"whether {like} was broadcast to {g.type} is not known", hint="give it a known shape"
            )
        if d not in (1, shape[i]):
            raise ShapeError(f"a gradient is {g.type}, the value {like.type}")
    if extra:
        g = b.reduce_sum(g, axes=tuple(range(extra)))
    return b.reduce_sum(g, axes=tuple(i - extra for i in wide), keepdims=True) if wide else g


def _is_float(var: Var) -> bool:
    return isinstance(var.type, Tensor) and var.type.dtype.kind in ("float", "complex")


def _ones(b: Builder, like: Var) -> Var:
    return full_like(b, like, 1)


def _zeros(b: Builder, like: Var) -> Var:
    return full_like(b, like, 0)


def full_like(b: Builder, like: Var, value: Any) -> Var:
    """A tensor of one number with the dtype and shape of `like`."""
    element = b.constant(np.array(value, like.tensor.dtype.numpy))
    static = like.tensor.is_static
    return b.fill(element, shape=like.shape if static else b.shape(like))  # type: ignore[no-any-return]
