"""Common subexpression elimination."""

from __future__ import annotations

from typing import Any

from ..ir.graph import Graph, Node, Var
from .manager import Context, register


@register
def cse(graph: Graph, context: Context) -> int:
    """Merge nodes that compute the same, and constants with the same elements.

    Two nodes are the same if op, operands (in any order where the op commutes) and attributes are.  Random ops, ops
    with effects and nodes with subgraphs stay apart.
    """
    changes = _merge_constants(graph)
    seen: dict[Any, Node] = {}
    for node in graph.nodes:
        for sub in node.graphs.values():
            changes += cse(sub, context)
        if node.graphs or node.op.has("random") or node.op.has("effect"):
            continue
        twin = seen.setdefault(_key(node), node)
        if twin is not node:
            for old, new in zip(node.outputs, twin.outputs):
                graph.replace(old, new)
            graph.erase(node)
            changes += 1
    return changes


def _key(node: Node) -> Any:
    operands: tuple[Any, ...] = tuple(id(v) for v in node.inputs)
    if node.op.has("commutes"):
        operands = (*sorted(operands[:2]), *operands[2:])
    # repr tells 0.0 from -0.0, 1 from 1.0 and True, and NaN is like itself
    return node.op, operands, node.dynamic, repr(sorted(node.attrs.items()))


def _merge_constants(graph: Graph) -> int:
    seen: dict[Any, Var] = {}
    changes = 0
    for var in graph.constants:
        if var.data is None or var.constant is None or any(s.first is var for s in graph.state):
            continue
        # big weights are told apart by identity: hashing them costs more than merging two would save
        key = (var.type, var.constant.digest if var.data.nbytes <= 4096 else id(var.data))
        twin = seen.setdefault(key, var)
        if twin is not var:
            graph.replace(var, twin)
            graph.erase_constant(var)
            changes += 1
    return changes
