"""Values of a graph by what users call them: outputs, values, layers, patterns; and those that fusing would swallow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from ..errors import RunError
from ..ir.graph import Graph, Node, Var
from ..ir.text import node_lines, value_names
from ..ir.types import Tensor

PATTERN = re.compile(r"[*?\[]")
NUMBERED = re.compile(r"^(.+):(\d+)$")
SHOWN = 12  # names in a hint


def find_values(graph: Graph, names: Iterable[str]) -> dict[str, Var]:
    """The values that names mean, by what they are to be called.

    An output or an input by its name; a layer by its path (its last value; `dense:1` its second one); a value by the
    name that it has in the dump, `%` before it or not: with it, no layer is meant.  With `*`, `?` or `[...]` all layers
    whose path matches, and all values whose name does.  `*` alone is every layer.  RunError lists what is close where
    nothing is called so.
    """
    found: dict[str, Var] = {}
    layers, values = layer_values(graph), dumped(graph)
    for name in names:
        if PATTERN.search(name) and name not in layers:
            found.update(_matching(layers, values, name))
        else:
            found[name] = _named(graph, layers, values, name)
    return found


def find_value(graph: Graph, name: str) -> Var:
    """The value that one name means; see `find_values`."""
    return _named(graph, layer_values(graph), dumped(graph), name)


def dumped(graph: Graph) -> dict[str, Var]:
    """Inputs and results by the names that they have in the text of the graph, where all names differ."""
    return {name: var for var, name in value_names(graph, dict.fromkeys(graph.constants, "")).items() if name}


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


def _named(graph: Graph, layers: dict[str, Var], values: dict[str, Var], name: str) -> Var:
    outputs = dict(zip(graph.output_names, graph.outputs))
    inputs = {v.name: v for v in graph.inputs}
    for known in (outputs, inputs, layers, values):
        if name in known:
            return known[name]
    if name.startswith("%") and name[1:] in values:
        return values[name[1:]]
    numbered = NUMBERED.match(name)
    if numbered and numbered[1] in layers:
        producer, place = layers[numbered[1]].producer, int(numbered[2])
        if producer is not None and place < len(producer.outputs):
            return producer.outputs[place]
    raise _missing(graph, layers, values, name)


def _matching(layers: dict[str, Var], values: dict[str, Var], pattern: str) -> dict[str, Var]:
    if pattern.startswith("%"):
        found = {f"%{name}": var for name, var in values.items() if fnmatchcase(name, pattern[1:])}
    else:
        found = {path: var for path, var in layers.items() if fnmatchcase(path, pattern)}
        if pattern != "*":
            there = set(found.values())
            named = [name for name in values if name not in layers and fnmatchcase(name, pattern)]
            found.update((name, values[name]) for name in named if values[name] not in there)
    found = {name: var for name, var in found.items() if isinstance(var.type, Tensor)}
    if not found:
        raise _missing(None, layers, values, pattern)
    return found


def _missing(graph: Graph | None, layers: dict[str, Var], values: dict[str, Var], name: str) -> RunError:
    from difflib import get_close_matches

    if graph is not None and name.lstrip("@") in graph.weights:
        hint = f"it is a weight: graph.weights[{name.lstrip('@')!r}] has it"
        return RunError(f"the graph has no value or layer called {name!r}", hint=hint)
    known = sorted(layers)
    near = get_close_matches(name, known, 3)
    listed = ", ".join(near or known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
    close = get_close_matches(name.lstrip("%"), values, 3)
    also = f"; values: {', '.join('%' + n for n in close)}" if close else ""
    return RunError(f"the graph has no value or layer called {name!r}", hint=f"layers: {listed or 'none'}{also}")


def swallowed(optimized: Graph, var: Var) -> str | None:
    """The node, as text, of the optimised graph that computes a value without giving it; None if the value is there.

    Whoever asks for such a value gets it from a graph of its own, in which it is kept apart.
    """
    maker = var.producer
    if maker is None or not maker.source:
        return None
    mine = [n for n in optimized.nodes if maker.source in n.source.split(" + ")]
    there = any(v.name == var.name and v.type == var.type for n in mine for v in n.outputs)
    return node_lines(optimized, mine[-1:])[0] if mine and not there else None
