"""Dead code elimination."""

from __future__ import annotations

from ..ir.graph import Graph
from .manager import Context, register


@register
def dce(graph: Graph, context: Context) -> int:
    """Take out nodes whose results nobody uses, and constants that nobody reads.

    Kept are ops with the trait `effect`, and all inputs: they are the interface.  Subgraphs are cleaned too.
    """
    changes = 0
    for node in reversed(list(graph.nodes)):
        for sub in node.graphs.values():
            changes += dce(sub, context)
        if not node.op.has("effect") and all(graph.is_unused(v) for v in node.outputs):
            graph.erase(node)
            changes += 1
    for var in graph.constants:
        if graph.is_unused(var):
            graph.erase_constant(var)
            changes += 1
    return changes
