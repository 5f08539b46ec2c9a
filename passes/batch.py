"""Analysis: along which axis of each value a graph's samples lie, if they never meet.

Such a graph may be cut along that axis and the parts computed one by one, or side by side, with the same results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..ir import dims
from ..ir.dims import Dim
from ..ir.graph import Graph, Node, Var
from ..ir.types import Tensor


def batch_symbol(graph: Graph) -> str | None:
    """The symbol along which every input and output can be cut; None if there is none.

    Refused: control flow, state, random ops, sequences, and every node whose op does not say which axes it mixes.
    """
    if not graph.inputs or graph.state:
        return None
    first = graph.inputs[0].type
    shape = first.shape if isinstance(first, Tensor) and first.shape is not None else ()
    for name in filter(None, map(dims.as_symbol, shape)):
        if _is_batch(graph, name):
            return name
    return None


def _is_batch(graph: Graph, name: str) -> bool:
    ends = (*graph.inputs, *graph.outputs)
    return all(batch_axis(v, name) is not None for v in ends) and all(_keeps_apart(node, name) for node in graph.nodes)


def batch_axis(var: Var, name: str) -> int | None:
    """The one axis of a value that is the symbol; None where there is none, or anything else depends on it."""
    t = var.type
    if not isinstance(t, Tensor) or t.shape is None:
        return None
    depending = [i for i, d in enumerate(t.shape) if name in dims.symbols(d) or not dims.known(d)]
    return depending[0] if len(depending) == 1 and dims.as_symbol(t.shape[depending[0]]) == name else None


def _is_free(var: Var, name: str) -> bool:
    """Whether the value has nothing to do with the batch."""
    t = var.type
    return (
        isinstance(t, Tensor)
        and t.shape is not None
        and all(dims.known(d) and name not in dims.symbols(d) for d in t.shape)
    )


def _keeps_apart(node: Node, name: str) -> bool:
    """Whether a sample of each result depends on the same sample of the operands only."""
    if node.dynamic or node.op.has("random") or node.op.has("effect"):
        return False
    if node.graphs and not (node.op.has("elementwise") and _all_keep_apart(node.graphs.values(), name)):
        return False
    operands = [v for v in node.inputs if v is not None]
    cut = [v for v in operands if batch_axis(v, name) is not None]
    if not all(v in cut or _is_free(v, name) for v in operands):
        return False
    if all(_is_free(v, name) for v in node.outputs):
        return not cut
    if not all(batch_axis(v, name) is not None for v in node.outputs):
        return False
    if not cut:  # made from the size of the batch: every sample is alike only where an operand is repeated
        return node.op.has("repeats")
    if node.op.has("elementwise") or node.op.has("abreast"):
        apart = len({_from_the_end(v, name) for v in (*cut, *node.outputs)}) == 1
        if not apart or node.op.has("elementwise"):
            return apart
    if node.op.has("regroups"):
        return _keeps_its_place(cut[0].shape, node.outputs[0].shape, name)
    if node.op.mixes is None:
        return False
    looked_at = operands if node.op.variadic else operands[:1]
    return all(_axis_unmixed(node, v, name) for v in looked_at if v in cut)


def _all_keep_apart(bodies: Iterable[Graph], name: str) -> bool:
    """Whether all nodes of the bodies (of a chain) keep samples apart; symbols mean inside what they mean outside."""
    return all(_keeps_apart(node, name) for body in bodies for node in body.nodes)


def _axis_unmixed(node: Node, var: Var, name: str) -> bool:
    assert node.op.mixes is not None
    return batch_axis(var, name) not in set(node.op.mixes(len(var.shape), **node.attrs))


def _from_the_end(var: Var, name: str) -> int:
    axis = batch_axis(var, name)
    assert axis is not None
    return len(var.shape) - axis


def _keeps_its_place(before: Sequence[Dim], after: Sequence[Dim], name: str) -> bool:
    """Whether a reshape leaves the batch an axis of its own: what stands before it has the same size."""

    def leading(shape: Sequence[Dim]) -> Dim:
        axis = next(i for i, d in enumerate(shape) if dims.as_symbol(d) == name)
        return dims.product(shape[:axis])

    return leading(before) == leading(after)
