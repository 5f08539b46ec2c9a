"""Values of a graph by what users call them: outputs, values, layers, patterns; and those that fusing would swallow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from ..errors import RunError
from ..ir.graph import Graph, Node, Var
from ..ir.types import Tensor

PATTERN = re.compile(r"[*?\[]")
NUMBERED = re.compile(r"^(.+):(\d+)$")
SHOWN = 12  # names in a hint


def find_values(graph: Graph, names: Iterable[str]) -> dict[str, Var]:
    """The values that names mean, by what they are to be called.

    An output, input or value by its name; a layer by its path (its last value; `dense:1` its second one); with `*`, `?`
    or `[...]` all layers whose path matches, and all values whose name does.  `*` alone is every layer.  RunError lists
    the layers where nothing is called so.
    """
    found: dict[str, Var] = {}
    layers = layer_values(graph)
    for name in names:
        if PATTERN.search(name) and name not in layers:
            found.update(_matching(graph, layers, name))
        else:
            found[name] = _named(graph, layers, name)
    return found


def find_value(graph: Graph, name: str) -> Var:
    """The value that one name means; see `find_values`."""
    return _named(graph, layer_values(graph), name)


def layer_values(graph: Graph) -> dict[str, Var]:
    """The last value of every layer, by path; a layer around others ends with the last of them."""
    found: dict[str, Var] = {}
    for node in graph.nodes:
        if node.source and node.outputs:
            steps = node.source.split("/")
            for depth in range(1, len(steps) + 1):
                found["/".join(steps[:depth])] = _told(node)
    return found


def _told(node: Node) -> Var:
    """The result of a node that somebody reads."""
    graph = node.graph
    return next((v for v in node.outputs if v.uses or (graph is not None and graph.is_output(v))), node.outputs[0])


def _named(graph: Graph, layers: dict[str, Var], name: str) -> Var:
    for out_name, var in zip(graph.output_names, graph.outputs):
        if out_name == name:
            return var
    values = [v for v in graph.inputs if v.name == name]
    values += [v for node in graph.nodes for v in node.outputs if v.name == name]
    if values:
        return values[-1]
    if name in layers:
        return layers[name]
    numbered = NUMBERED.match(name)
    if numbered and numbered[1] in layers:
        producer, place = layers[numbered[1]].producer, int(numbered[2])
        if producer is not None and place < len(producer.outputs):
            return producer.outputs[place]
    raise _missing(layers, name)


def _matching(graph: Graph, layers: dict[str, Var], pattern: str) -> dict[str, Var]:
    found = {path: var for path, var in layers.items() if fnmatchcase(path, pattern)}
    if pattern != "*":
        values = (v for node in graph.nodes for v in node.outputs)
        found.update((v.name, v) for v in values if fnmatchcase(v.name, pattern) and v.name not in found)
    found = {name: var for name, var in found.items() if isinstance(var.type, Tensor)}
    if not found:
        raise _missing(layers, pattern)
    return found


def _missing(layers: Sequence[str] | dict[str, Var], name: str) -> RunError:
    from difflib import get_close_matches

    known = sorted(layers)
    near = get_close_matches(name, known, 3)
    listed = ", ".join(near or known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
    return RunError(f"the graph has no value or layer called {name!r}", hint=f"layers: {listed}")


def swallowed(graph: Graph, optimized: Graph, var: Var) -> Node | None:
    """The node of the optimised graph that computes a value of the graph without giving it; None if it is there.

    Whoever asks for such a value gets it from a graph of its own, in which it is kept apart.
    """
    maker = var.producer
    if maker is None or not maker.source:
        return None
    mine = [n for n in optimized.nodes if maker.source in n.source.split(" + ")]
    there = any(v.name == var.name and v.type == var.type for n in mine for v in n.outputs)
    return mine[-1] if mine and not there else None
