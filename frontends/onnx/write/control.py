"""Control flow: closed subgraphs become subgraphs of ONNX, which see what they capture by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....ir.graph import Graph
from ....ir.types import Optional, Type
from ..emitter import Emitter, Item, Scope
from . import export


def _body(
    w: Emitter, graph: Graph, formal: int, captured: Sequence[Item], kinds: Sequence[Type] | None = None
) -> Scope:
    """A subgraph whose first `formal` inputs are its own; the others are values from outside.

    kinds: what the results are to be; an optional in the IR may be the value itself, in ONNX not.
    """
    with w.inside(graph.name) as scope:
        own = [Item(v.type, v.name) for v in graph.inputs[:formal]]
        scope.inputs.extend(own)
        scope.present.update(own)
        results = w.inline(graph, [*own, *captured])
        for item, kind in zip(results, kinds or [v.type for v in graph.outputs]):
            if isinstance(kind, Optional) and not isinstance(item.type, Optional):
                item = w.typed(w.emit("Optional", item), kind)
            scope.outputs.append(w.result(item))
    return scope


def _listed(results: Any) -> list[Item]:
    return results if isinstance(results, list) else [results]


@export("if")
def if_(w: Emitter, condition: Item, *captured: Item, then: Graph, orelse: Graph) -> list[Item]:
    assert w.node is not None
    kinds = [v.type for v in w.node.outputs]
    branches = {"then_branch": _body(w, then, 0, captured, kinds), "else_branch": _body(w, orelse, 0, captured, kinds)}
    return _listed(w.If(condition, outputs=len(then.outputs), **branches))


@export()
def loop(w: Emitter, trip: Item | None, condition: Item | None, *args: Item, carried: int, body: Graph) -> list[Item]:
    scope = _body(w, body, 2 + carried, args[carried:])
    return _listed(w.Loop(trip, condition, *args[:carried], outputs=len(body.outputs) - 1, body=scope))


@export()
def scan(
    w: Emitter, *args: Item, carried: int, scanned: int, body: Graph, input_axes: Sequence[int],
    output_axes: Sequence[int], input_reverse: Sequence[int], output_reverse: Sequence[int],
) -> list[Item]:  # fmt: skip
    read = carried + scanned
    scope = _body(w, body, read, args[read:])
    results = w.Scan(
        *args[:read], outputs=len(body.outputs), body=scope, num_scan_inputs=scanned,
        scan_input_axes=list(input_axes), scan_input_directions=list(input_reverse),
        scan_output_axes=list(output_axes) or None, scan_output_directions=list(output_reverse) or None,
    )  # fmt: skip
    return _listed(results)


@export()
def chain(w: Emitter, *args: Item, body: Graph) -> list[Item]:
    """Node by node, as it was before."""
    return w.inline(body, args)
