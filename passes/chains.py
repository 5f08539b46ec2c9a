"""Chains: elementwise nodes that work on one another's results become one node, which takes one pass over memory.

Node by node every value goes to memory and comes back; the kernel of `chain` has all nodes work on one block of the
elements while it is in cache.  An optimizer's update of a parameter is such a chain, so is the gradient of an
activation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..ir import dims
from ..ir.builder import Builder
from ..ir.dims import Dim
from ..ir.graph import Graph, Node, Var
from ..ir.graph import _distinct as distinct
from ..ir.op import lookup
from ..ir.ops.control import trace
from ..ir.rebuild import copy_node
from ..ir.types import Tensor, string
from .cost import static_shape
from .manager import Context, register
from .rewrite import merge_sources

LEAST = 1 << 12  # elements: of smaller tensors all values stay in cache, one way or the other
SYMBOL = 32  # what a symbol counts for in that

Shape = tuple[Dim, ...]


@register
def chains(graph: Graph, context: Context) -> int:
    """Make one node of elementwise nodes of one shape that work on one another's results.

    As many as there are, as long as no way leads from one of them to another through a node outside.  Results that are
    read outside are outputs of the chain; scalars and what else has another shape are computed before.
    """
    groups = [group for run in _runs(graph) for group in _connected(run)]
    changes = sum(_contract(graph, group) for group in groups if len(group) > 1)
    for node in graph.nodes:
        if not node.op.has("elementwise"):
            changes += sum(chains(sub, context) for sub in node.graphs.values())
    return changes


def _shape(node: Node) -> Shape | None:
    """The shape of a node that a chain may have; None for all others."""
    if not node.op.has("elementwise") or node.graphs or node.dynamic:
        return None
    for var in (*node.inputs, *node.outputs):
        t = var.type if var is not None else None
        if not isinstance(t, Tensor) or t.dtype is string or t.shape is None or not all(map(dims.known, t.shape)):
            return None
    return node.output.shape if _elements(node) >= LEAST else None


def _elements(node: Node) -> int:
    return math.prod(static_shape(node.output, SYMBOL))


def _runs(graph: Graph) -> Iterator[list[Node]]:
    """Nodes of one shape that could be computed one right after the other, in as large sets as possible.

    This is a topological sort from the end to the beginning, which takes as many nodes of one shape as it can before it
    goes on with others.  What no chain can have goes first, then small shapes: in the meantime more nodes of the
    large shapes become ready.  From the end, because a value that is cheap to compute should be near those that
    read it: the results of the forward pass that both passes read are made in the forward pass, what only the backward
    pass reads is not.
    """
    waiting = {node: len({user for v in node.outputs for user in v.users}) for node in graph.nodes}
    ready: dict[Shape | None, list[Node]] = {}
    for node in [n for n, users in waiting.items() if not users]:
        ready.setdefault(_shape(node), []).append(node)
    while ready:
        shape = None if None in ready else min(ready, key=lambda s: _elements(ready[s][0]))
        run = ready.pop(shape)
        for node in run:  # which grows
            for producer in _producers(node):
                waiting[producer] -= 1
                if not waiting[producer]:
                    other = _shape(producer)
                    (run if other == shape else ready.setdefault(other, [])).append(producer)
        if shape is not None:
            yield run


def _producers(node: Node) -> list[Node]:
    return list(dict.fromkeys(v.producer for v in node.inputs if v is not None and v.producer is not None))


def _connected(run: list[Node]) -> Iterator[list[Node]]:
    """The parts of a run which read nothing of one another."""
    left = dict.fromkeys(run)
    while left:
        part = [left.popitem()[0]]
        for node in part:  # which grows
            for other in (*_producers(node), *(user for v in node.outputs for user in v.users)):
                if other in left:
                    del left[other]
                    part.append(other)
        yield part


def _contract(graph: Graph, group: list[Node]) -> int:
    """Put a chain in the place of the last node; what stands before that and needs its results moves behind it."""
    members, outputs = set(group), set(graph.outputs)
    order = list(graph.nodes)
    nodes = [node for node in order if node in members]
    results = [v for n in nodes for v in n.outputs if v in outputs or not members.issuperset(v.users)]
    if not results:
        return 0
    last, behind, late = nodes[-1], set(results), []
    for node in order[: order.index(last)]:
        if node not in members and not behind.isdisjoint(node.inputs):
            behind.update(node.outputs)
            late.append(node)
    builder = Builder(graph, before=last, source=merge_sources(n.source for n in nodes))
    made = _emit(builder, nodes, results)
    for node in late:
        graph.move(node, before=last)
    for old, new in zip(results, made.outputs):
        graph.replace(old, new)
    for node in reversed(nodes):
        graph.erase(node)
    return len(nodes)


def _emit(b: Builder, nodes: list[Node], results: list[Var]) -> Node:
    """The chain of the nodes, which gives the results.

    Operands come in the order in which they are read for the last time: the plan lets the first output have the array
    of the first operand that nobody needs afterwards, and then inside the chain nobody needs it either.
    """
    inside = {v for n in nodes for v in n.outputs}
    read = [v for n in nodes for v in n.inputs if v is not None and v not in inside]
    operands = list(dict.fromkeys(read[::-1]))[::-1]

    def body(inner: Builder, *inputs: Var) -> list[Var]:
        mapping = dict(zip(operands, inputs))
        for node in nodes:
            copy = copy_node(inner, node, [v and mapping[v] for v in node.inputs], node.attrs)
            mapping.update(zip(node.outputs, copy.outputs))
        return [mapping[v] for v in results]

    names = distinct(v.name for v in operands)
    graph = trace("chain", body, list(zip(names, [v.type for v in operands])), b.source)
    return b.node(lookup("chain"), operands, {}, graphs={"body": graph}, names=[v.name for v in results])
