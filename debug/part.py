"""A part of a graph as a graph of its own: a layer, or what is around a node.  All that draws graphs can draw it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ..errors import GraphError
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.rebuild import copy_node
from ..ir.text import named_constants, value_names

SUGGESTED = 5  # names in an error's hint


def layer(graph: Graph, path: str) -> Graph:
    """The nodes of a layer, and of the layers inside of it.

    path: as in the dump's comments, `outer/inner/dense`; `*` and `?` stand for any characters.  GraphError, with names
    that are close, where the graph has no such layer.
    """
    found = [node for node in graph.nodes if any(_is_inside(place, path) for place in places(node))]
    if not found:
        known = sorted({place for node in graph.nodes for place in places(node)})
        raise GraphError(f"no layer is called {path!r}", hint=_hint("layers", path, known))
    return part(graph, found)


def around(graph: Graph, name: str, radius: int = 1) -> Graph:
    """The nodes that are at most `radius` edges away from a value's node, or from a layer's nodes.

    name: the path of a layer, or a value as the dump has it; `%` before it tells that no layer is meant.  GraphError,
    with names that are close, where the graph has neither.
    """
    frontier = _named(graph, name)
    found = dict.fromkeys(frontier)
    for _ in range(radius):
        frontier = [near for node in frontier for near in _neighbours(node) if near not in found]
        found.update(dict.fromkeys(frontier))
    return part(graph, found)


def part(graph: Graph, nodes: Collection[Node]) -> Graph:
    """A graph of some of the nodes, in their order, under the names that they have in the dump of the whole.

    Its inputs are the values that come from other nodes; its outputs those that others, or nobody, reads.
    """
    chosen = set(nodes)
    constants = {var: name for name, var in named_constants(graph).items()}
    names = value_names(graph, constants)
    new = Graph(graph.name)
    builder, here = Builder(new), dict[Var, Var]()

    def taken(var: Var | None) -> Var | None:
        if var is not None and var not in here:
            here[var] = new.share_constant(var) if var.constant is not None else new.add_input(names[var], var.type)
            here[var].name = names[var]
        return None if var is None else here[var]

    for node in graph.nodes:
        if node in chosen:
            operands, split = [taken(v) for v in node.inputs], len(node.operands)
            copy = copy_node(
                builder, node, operands[:split], {**node.attrs, **dict(zip(node.dynamic, operands[split:]))}
            )
            for old, var in zip(node.outputs, copy.outputs):
                here[old], var.name = var, names[old]
    made = (v for node in graph.nodes if node in chosen for v in node.outputs)
    new.set_outputs([here[v] for v in made if graph.is_output(v) or not v.uses or set(v.users) - chosen])
    return new


def places(node: Node) -> list[str]:
    """The layers that a node came from: several where a pass made one node of theirs."""
    return [place for place in node.source.split(" + ") if place]


def _is_inside(place: str, path: str) -> bool:
    return place == path or place.startswith(f"{path}/") or fnmatchcase(place, path)


def _named(graph: Graph, name: str) -> list[Node]:
    """The nodes that a name means: that of a value, those that read an input or a constant, those of a layer."""
    of_layer = [node for node in graph.nodes if any(_is_inside(place, name) for place in places(node))]
    if of_layer:
        return of_layer
    constants = {var: constant for constant, var in named_constants(graph).items()}
    names = value_names(graph, constants)
    found = [var for var, known in names.items() if known == name.lstrip("%@")]
    if not found:
        known = sorted({*names.values(), *(place for node in graph.nodes for place in places(node))})
        raise GraphError(f"no value or layer is called {name!r}", hint=_hint("names", name, known))
    return list(dict.fromkeys(node for v in found for node in ([v.producer] if v.producer else v.users)))


def _neighbours(node: Node) -> Iterable[Node]:
    yield from (v.producer for v in node.inputs if v is not None and v.producer is not None)
    yield from (user for v in node.outputs for user in v.users)


def _hint(what: str, name: str, known: list[str]) -> str:
    shown = get_close_matches(name, known, SUGGESTED) or known[:SUGGESTED]
    return f"{what}: {', '.join(shown)}{', ...' if len(known) > len(shown) else ''}"
