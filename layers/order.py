"""The order in which Keras lists the layers of a functional model: files name them by class and number in it.

Keras makes it anew whenever it makes a model (keras/src/ops/function.py, map_graph): by depth, counted from the
outputs, and among layers of one depth as they are first met on the way from the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import Layer, flatten
from .model import Functional, Ref

Node = tuple[str, int]  # a layer and the number of the call


def keras_order(model: Functional) -> list[Layer]:
    """The layers of a model in Keras' order; those that no output needs come last."""
    needs = _needs(model)
    met: dict[str, int] = {}
    finished: dict[Node, None] = {}
    for end in _refs(model.output_layers):
        _visit(end, needs, met, finished)
    depths: dict[Node, int] = {}
    deepest: dict[str, int] = {}
    for node in reversed(finished):
        depth = deepest[node[0]] = max(depths.get(node, 0), deepest.get(node[0], 0))
        for below in needs.get(node, ()):
            depths[below] = max(depth + 1, depths.get(below, 0))
    last = (1, 0)
    rank = {name: (-deepest[name], place) for name, place in met.items()}
    return sorted(model.layers, key=lambda each: rank.get(each.name or "", last))


def _refs(value: object) -> list[Node]:
    return [(ref.layer, ref.call) for ref in flatten(value) if isinstance(ref, Ref)]


def _needs(model: Functional) -> dict[Node, list[Node]]:
    """The calls whose results a call takes."""
    found: dict[Node, list[Node]] = {}
    numbers: dict[str, int] = {}
    for call in model.calls:
        number = numbers[call.layer] = numbers.get(call.layer, -1) + 1
        found[call.layer, number] = _refs([call.args, call.kwargs])
    return found


def _visit(end: Node, needs: dict[Node, list[Node]], met: dict[str, int], finished: dict[Node, None]) -> None:
    """Enter a call and all that it needs, after these; layers are met before what they need."""
    stack: list[tuple[Node, Iterator[Node]]] = []

    def enter(node: Node) -> None:
        met.setdefault(node[0], len(met))
        stack.append((node, iter(needs.get(node, ()))))

    if end not in finished:
        enter(end)
    while stack:
        node, rest = stack[-1]
        following = next((n for n in rest if n not in finished), None)
        if following is None:
            finished[node] = None
            stack.pop()
        else:
            enter(following)
