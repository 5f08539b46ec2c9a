"""Reshapes after products and elementwise ops sink below the elementwise ops that follow.

    reshape(x @ w) + b = reshape(x @ w + b)

So bias, residual and activation meet the product whose epilogue they can be, and reshapes meet one another.  The same
numbers are computed in another shape: nothing rounds otherwise.
"""

from __future__ import annotations

from math import prod

from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from .manager import Context, register
from .rewrite import erase_dead
from .simplify import is_known


def _source(graph: Graph, var: Var | None) -> Var | None:
    """What is reshaped into a value for one reader alone, if a product or an elementwise op has made it."""
    node = var.producer if var is not None else None
    if node is None or var is None or not node.op.has("regroups") or node.dynamic or not graph.used_once(var):
        return None
    source = node.inputs[0]
    made_by = source.producer.op if source is not None and source.producer is not None else None
    worth = made_by is not None and (made_by.has("epilogue") or made_by.has("elementwise"))
    return source if worth and source is not None and is_known(source) and source.shape else None


def _regrouped(b: Builder, var: Var, like: Var, result: Var) -> Var | None:
    """An operand beside a reshaped one, as it has to be in the shape `like`: a number, a row, or all elements."""
    shape = var.shape
    if not shape:
        return var
    if all(d == 1 for d in shape):
        return b.reshape(var, shape=())  # type: ignore[no-any-return]
    if all(d == 1 for d in shape[:-1]) and shape[-1] == result.shape[-1] == like.shape[-1]:
        return var if len(shape) == 1 else b.reshape(var, shape=shape[-1:])
    full = var.data is not None and shape == result.shape and all(isinstance(d, int) for d in like.shape)
    return b.reshape(var, shape=like.shape) if full and prod(like.shape) == prod(shape) else None


def _sink(graph: Graph, node: Node) -> bool:
    if not node.op.has("elementwise") or node.graphs or node.dynamic or len(node.outputs) != 1:
        return False
    operands = [v for v in node.operands if v is not None]
    if not is_known(node.output) or not all(map(is_known, operands)):
        return False
    result, sources = node.output, {v: _source(graph, v) for v in operands}
    reshaped = [s for v, s in sources.items() if s is not None and v.shape == result.shape]
    if not reshaped or any(s.shape != reshaped[0].shape for s in reshaped):
        return False
    b = Builder(graph, before=node, source=node.source)
    moved: list[Var | None] = []
    for var in node.operands:
        source = None if var is None or var.shape != result.shape else sources[var]
        new = source if source is not None or var is None else _regrouped(b, var, reshaped[0], result)
        if new is None and var is not None:
            erase_dead(graph, [v.producer for v in moved if v is not None and v.producer is not None])
            return False
        moved.append(new)
    made = b.node(node.op, moved, node.attrs).output
    graph.replace(result, b.reshape(made, shape=result.shape))
    erase_dead(graph, [node, *(v.producer for v in operands if v.producer is not None)])
    return True


@register
def reshapes(graph: Graph, context: Context) -> int:
    """Let reshapes after products sink below the elementwise ops that follow."""
    changes = sum(
        node.graph is graph and _sink(graph, node) for node in graph.nodes
    )  # in order: each sinks all the way
    for sub in graph.subgraphs:
        changes += reshapes(sub, context)
    return changes
