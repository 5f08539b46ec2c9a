"""Common subexpression elimination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..ir.graph import Graph, Node, Var
from ..ir.verify import difference
from .bodies import Bodies, is_pure
from .manager import Context, register


@register
def cse(graph: Graph, context: Context) -> int:
    """Merge nodes that compute the same, and constants with the same elements.

    Two nodes are the same if op, operands (in any order where the op commutes), attributes and subgraphs are.  Random
    ops and ops with effects stay apart.  Subgraphs see no outer values, so a node of theirs which computes from
    captured values what is there outside already is replaced by capturing that.
    """
    changes = _merge_constants(graph)
    seen: dict[Any, list[Node]] = {}
    for node in graph.nodes:
        if node.op.name in OUTER:
            node, shared = _share_outer(graph, node, seen)
            changes += shared
        for sub in node.graphs.values():
            changes += cse(sub, context)
        if not is_pure(node):
            continue
        alike = seen.setdefault(_key(node), [])
        twin = next((other for other in alike if _same_attributes(node, other) and _same_graphs(node, other)), None)
        if twin is None:
            alike.append(node)
            continue
        for old, new in zip(node.outputs, twin.outputs):
            graph.replace(old, new)
        graph.erase(node)
        changes += 1
    return changes


def _key(node: Node, mapping: Mapping[Var, Var] | None = None) -> Any:
    """What two nodes that compute the same have in common beside attributes; operands as `mapping` translates them."""
    found = [v if mapping is None or v is None else mapping[v] for v in node.inputs]
    operands: tuple[Any, ...] = tuple(map(id, found))
    if node.op.has("commutes"):
        operands = (*sorted(operands[:2]), *operands[2:])
    return node.op, operands, node.dynamic


def _same_attributes(node: Node, other: Node) -> bool:
    """repr tells 0.0 from -0.0, 1 from 1.0 and True, and NaN is like itself."""
    return repr(sorted(node.attrs.items())) == repr(sorted(other.attrs.items()))


def _same_graphs(node: Node, other: Node) -> bool:
    pairs = [(g, other.graphs[name]) for name, g in node.graphs.items()]
    return all(_interface(g) == _interface(h) and difference(_plain(g), _plain(h)) is None for g, h in pairs)


def _interface(graph: Graph) -> Any:
    return [v.type for v in graph.inputs], [v.type for v in graph.outputs], len(graph)


def _plain(graph: Graph) -> Graph:
    """A copy without names and sources, by which equal graphs may differ."""
    copy = graph.copy()
    copy.name, copy.output_names = "", [f"o{i}" for i in range(len(copy.outputs))]
    for i, var in enumerate(copy.inputs):
        var.name = f"i{i}"
    for node in copy.nodes:
        node.source = ""
        for sub in node.graphs.values():
            sub.name = ""
    return copy


# Ops whose bodies may as well read a value from outside; a chain computes in cache what it would have to fetch.
OUTER = ("if", "loop", "scan")


def _share_outer(graph: Graph, node: Node, seen: Mapping[Any, list[Node]]) -> tuple[Node, int]:
    """Let the bodies of a node capture what they compute but the nodes seen before it have computed already."""
    bodies = Bodies(graph, node)
    _merge_arguments(bodies)
    merged = len(node.operands) - bodies.frame.operands - len(bodies.arguments)
    outer = {_constant_key(v): v for v in _fixed(graph) if _is_small(v)}
    found = 0
    for i, body in enumerate(bodies.bodies):
        mapping: dict[Var, Var] = {a.inputs[i]: a.operand for a in bodies.of_kind("captured")}
        for var in body.constants:
            if _is_small(var) and _constant_key(var) in outer:
                mapping[var] = outer[_constant_key(var)]
        for inner in body.nodes:
            known = not inner.graphs and all(v is None or v in mapping for v in inner.inputs)
            alike = seen.get(_key(inner, mapping), []) if known else []
            twins = [node for node in alike if _same_attributes(node, inner)]
            for old, new in zip(inner.outputs, twins[0].outputs) if twins else ():
                mapping[old] = new
                if not body.is_unused(old):
                    inside = bodies.capture(new, new.name)[i]
                    bodies.replace(i, old, inside)
                    mapping[inside] = new
            if twins:
                body.erase(inner)
                found += 1
    return (bodies.rebuild(), found + merged) if found or merged else (node, 0)


def _fixed(graph: Graph) -> list[Var]:
    """The constants without those that states start from, whose arrays a training changes."""
    first = {s.first for s in graph.state}
    return [v for v in graph.constants if v not in first]


def _constant_key(var: Var) -> Any:
    """What two constants with the same elements have in common; big weights are told apart by identity."""
    assert var.constant is not None
    return var.type, var.constant.raw if _is_small(var) else id(var.data)


def _is_small(var: Var) -> bool:
    return var.data is not None and var.data.nbytes <= SMALL


def _merge_arguments(bodies: Bodies) -> None:
    """A value that is captured twice is captured once."""
    kept: dict[Var, tuple[Var, ...]] = {}
    for argument in bodies.of_kind("captured"):
        first = kept.setdefault(argument.operand, argument.inputs)
        if first is not argument.inputs:
            for i, (old, new) in enumerate(zip(argument.inputs, first)):
                bodies.replace(i, old, new)
            bodies.arguments.remove(argument)


SMALL = 4096  # bytes of a constant: comparing larger ones costs more than merging two would save


def _merge_constants(graph: Graph) -> int:
    seen: dict[Any, Var] = {}
    changes = 0
    given = [v for v in _fixed(graph) if v.data is not None]
    types = Counter(v.type for v in given)
    for var in given:
        if types[var.type] == 1:
            continue
        twin = seen.setdefault(_constant_key(var), var)
        if twin is not var:
            graph.replace(var, twin)
            graph.erase_constant(var)
            changes += 1
    return changes
