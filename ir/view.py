"""A graph as a networkx.DiGraph, for algorithms: dominators, paths, cuts, components."""

from __future__ import annotations

from typing import Any

from .graph import Graph, Var

INPUTS = "inputs"  # the node that feeds all others
OUTPUTS = "outputs"  # the node that reads the results


def networkx_view(graph: Graph) -> Any:
    """A DiGraph whose nodes are the graph's `Node` objects between "inputs" and "outputs".

    Nodes carry `order`, `op`, `source` and `types` (of their outputs), edges `values` (names) and `types` of what
    flows along them.  A node that reads constants alone hangs on "inputs" too, so that everything is reachable.
    """
    import networkx as nx

    view = nx.DiGraph(name=graph.name)
    view.add_node(INPUTS, order=-1, op="", source="", types=tuple(str(v.type) for v in graph.inputs))
    for order, node in enumerate(graph.nodes):
        types = tuple(str(v.type) for v in node.outputs)
        view.add_node(node, order=order, op=node.op.name, source=node.source, types=types)
        _connect(view, [v for v in node.inputs if v is not None], node)
    view.add_node(OUTPUTS, order=len(graph), op="", source="", types=tuple(str(v.type) for v in graph.outputs))
    _connect(view, graph.outputs, OUTPUTS)
    return view


def _connect(view: Any, read: Any, reader: Any) -> None:
    """Edges to a reader from the producers of what it reads."""
    flows: dict[Any, dict[Var, None]] = {}
    for var in read:
        if var.constant is None:
            flows.setdefault(var.producer or INPUTS, {})[var] = None
    for producer, values in (flows or {INPUTS: {}}).items():
        view.add_edge(producer, reader, values=tuple(v.name for v in values), types=tuple(str(v.type) for v in values))
