"""The verifier (the type rules run again and compared with what is stored) and structural comparison of graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GraphError, TenunError
from .graph import Graph, Node, Var
from .op import OPS, infer
from .types import fits


def verify(graph: Graph) -> None:
    """Raise GraphError unless the graph keeps the rules of the IR.

    1. Every operand is an input, a constant or the output of an earlier node of this graph.
    2. Use lists say exactly what the operands say.
    3. The types stored are those that the rules give, and attributes are those declared.
    4. Inputs and outputs have distinct names; state pairs an input with an output of the same type.
    5. The same for every subgraph.
    """
    defined: set[Var] = {*graph.inputs, *graph.constants}
    uses: dict[Var, set[tuple[Node, int]]] = {v: set() for v in defined}
    for node in graph.nodes:
        try:
            _verify_node(graph, node, defined)
        except TenunError as error:
            message = f"graph {graph.name!r} does not verify: {error.message}\n    {node!r}"
            raise GraphError(message, node=node.source or None, op=node.op.name) from None
        for i, var in enumerate(node.inputs):
            if var is not None:
                uses[var].add((node, i))
        for out in node.outputs:
            defined.add(out)
            uses[out] = set()
    for var, places in uses.items():
        if set(var._uses) != places:
            raise GraphError(f"graph {graph.name!r} does not verify: the use list of {var} is wrong")
    _verify_interface(graph, defined)


def _verify_node(graph: Graph, node: Node, defined: set[Var]) -> None:
    if OPS.get(node.op.name) is not node.op:
        raise GraphError(f"{node.op.name} is no declared op")
    if node.graph is not graph:
        raise GraphError("the node belongs to another graph")
    for var in node.inputs:
        if var is not None and var not in defined:
            raise GraphError(f"{var} is used before it is defined, or belongs to another graph")
    given = set(node.attrs) | set(node.dynamic)
    if given != set(node.op.attributes) or set(node.graphs) != set(node.op.graphs):
        raise GraphError(f"attributes or subgraphs {sorted(given ^ set(node.op.attributes))} are not as declared")
    for sub in node.graphs.values():
        verify(sub)
    types = infer(
        node.op, tuple(None if v is None else v.type for v in node.inputs), node.attrs, node.dynamic, node.graphs
    )
    stored = tuple(v.type for v in node.outputs)
    if types != stored:
        raise GraphError(f"stored types {', '.join(map(str, stored))}, but the rule says {', '.join(map(str, types))}")


def _verify_interface(graph: Graph, defined: set[Var]) -> None:
    names = [v.name for v in graph.inputs]
    if len(set(names)) != len(names) or len(set(graph.output_names)) != len(graph.outputs):
        raise GraphError(f"graph {graph.name!r}: input or output names are not distinct")
    for var in graph.outputs:
        if var not in defined:
            raise GraphError(f"graph {graph.name!r}: output {var} is not defined")
    for state in graph.state:
        if state.input not in graph.inputs or not 0 <= state.output < len(graph.outputs):
            raise GraphError(f"graph {graph.name!r}: state {state.input} pairs no input with an output")
        if not fits(state.input.type, graph.outputs[state.output].type):
            raise GraphError(f"graph {graph.name!r}: state {state.input} gets {graph.outputs[state.output]}")


def difference(a: Graph, b: Graph) -> str | None:
    """The first structural difference of two graphs, in words; None if they are equal.

    Names of inputs, outputs and constants count, those of other values do not.
    """
    match: dict[Var, Var] = {}
    for what, left, right in (("input", a.inputs, b.inputs), ("constant", a.constants, b.constants)):
        if len(left) != len(right):
            return f"{len(left)} and {len(right)} {what}s"
        for x, y in zip(left, right):
            if x.type != y.type or (what == "input" and x.name != y.name) or not _same_data(x, y):
                return f"{what} {x!r} and {y!r}"
            match[x] = y
    if len(a) != len(b):
        return f"{len(a)} and {len(b)} nodes"
    for m, n in zip(a.nodes, b.nodes):
        if not _same_node(m, n, match):
            return f"{m!r}\nand\n{n!r}"
        match.update(zip(m.outputs, n.outputs))
    if a.name != b.name or a.metadata != b.metadata:
        return f"name or metadata: {a.name!r} {a.metadata} and {b.name!r} {b.metadata}"
    if [match[v] for v in a.outputs] != list(b.outputs) or a.output_names != b.output_names:
        return f"outputs {a.outputs} {a.output_names} and {b.outputs} {b.output_names}"
    if [(match[s.input], s.output, match[s.first]) for s in a.state] != [tuple(s) for s in b.state]:
        return f"state {a.state} and {b.state}"
    return None


def _same_data(x: Var, y: Var) -> bool:
    if x.constant is None or y.constant is None:
        return x.constant is y.constant
    if x.data is not None and x.data is y.data:
        return True
    return x.constant.digest == y.constant.digest


def _same_node(m: Node, n: Node, match: dict[Var, Var]) -> bool:
    return (
        m.op is n.op
        and m.dynamic == n.dynamic
        and m.source == n.source
        and same_attributes(m.attrs, n.attrs)
        and [match[v] if v is not None else None for v in m.inputs] == list(n.inputs)
        and [v.type for v in m.outputs] == [v.type for v in n.outputs]
        and m.graphs.keys() == n.graphs.keys()
        and all(difference(g, n.graphs[k]) is None for k, g in m.graphs.items())
    )


def same_attributes(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two attribute dicts are equal, NaN counting as equal to itself."""
    return a == b or (a.keys() == b.keys() and all(a[k] == b[k] or _nan_equal(a[k], b[k]) for k in a))


def _nan_equal(x: Any, y: Any) -> bool:
    try:
        return bool(np.array_equal(x, y, equal_nan=True))
    except TypeError:
        return repr(x) == repr(y)
