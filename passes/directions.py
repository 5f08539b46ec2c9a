"""Recurrent layers that read the same x become one, whose directions take their steps together.

    %y, .. = lstm(%x, @w) {direction = "forward"};  %z, .. = lstm(%x, @v) {direction = "reverse"}
        becomes   %both, .. = lstm(%x, @wv) {direction = "bidirectional"},  and slices of %both

A step of two directions takes hardly more NumPy calls than a step of one, and the products with x are one task.  Layers
that go the same way become one op with several directions "forward" (or "reverse").  A layer that reads x turned around
reads x from the other end first, so that it can meet others; that by itself saves a copy of x.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.op import axis_of
from ..ir.ops.recurrent import DIRECTIONS, RECORDED
from ..ir.ops.shape import BIG
from .cse import cse
from .manager import Context, register
from .movements import part_of
from .rewrite import erase_dead, merge_sources

OTHER = {"forward": "reverse", "reverse": "forward"}
SHARED = ("x", "mask")  # operands without an axis of directions
STATES = ("h0", "c0")  # operands that have it second; weights have it first


class Way(NamedTuple):
    """One direction of a layer."""

    node: Node
    place: int
    backwards: bool


@register
def directions(graph: Graph, context: Context) -> int:
    """Merge recurrent layers that read the same x."""
    changes = 0
    for node in graph.nodes:
        changes += sum(directions(sub, context) for sub in node.graphs.values())
        if node.op.name in RECORDED and node.attrs["direction"] in OTHER and not node.dynamic:
            changes += _read_from_the_other_end(graph, node)
    changes += cse(graph, context) if changes else 0  # so that what is the same x is the same value
    groups: dict[Any, list[Node]] = {}
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in order:
        if node.op.name in RECORDED and not node.dynamic and _may_merge(node):
            groups.setdefault(_key(node), []).append(node)
    for nodes in groups.values():
        changes += _merge(graph, nodes, order)
    return changes


# ---- x turned around -----------------------------------------------------------------------------------------


def _read_from_the_other_end(graph: Graph, node: Node) -> bool:
    """Let a layer that reads x (and mask) turned around read it from the other end; its sequence is turned instead."""
    turned = {i: v for i, (name, v) in enumerate(_operands(node)) if name in SHARED and v is not None}
    b = Builder(graph, before=node, source=node.source)
    sources = {i: _unturned(b, v) for i, v in turned.items()}
    if None in sources.values():
        return False
    operands = [sources.get(i, v) for i, v in enumerate(node.inputs)]
    attrs = {**node.attrs, "direction": OTHER[node.attrs["direction"]]}
    made = b.node(node.op, operands, attrs, names=[v.name for v in node.outputs]).outputs
    _let_read(graph, node.outputs[0], made[0], 1)
    if not graph.is_unused(node.outputs[0]):
        again = b.slice(made[0], starts=(-1,), ends=(-BIG,), axes=(1,), steps=(-1,))
        graph.replace(node.outputs[0], again)
    for old, new in zip(node.outputs[1:], made[1:]):
        graph.replace(old, new)
    graph.erase(node)
    for v in turned.values():
        erase_dead(graph, _producers(v, 2))
    return True


def _producers(var: Var | None, depth: int) -> list[Node]:
    """The node that makes a value, that which makes its first operand, and so on."""
    node = var.producer if var is not None and depth else None
    return [] if node is None else [node, *_producers(node.inputs[0], depth - 1)]


def _unturned(b: Builder, var: Var) -> Var | None:
    """The value of which this one is axis 1 in reverse, by way of a transpose at most; None where there is none."""
    node = var.producer
    if node is None:
        return None
    if _turns(node, 1):
        return node.inputs[0]
    inner = node.inputs[0].producer if node.op.name == "transpose" and node.inputs[0] is not None else None
    if inner is None or not _turns(inner, node.attrs["perm"][1]):
        return None
    return b.transpose(inner.inputs[0], perm=node.attrs["perm"])  # type: ignore[no-any-return]


def _turns(node: Node, axis: int) -> bool:
    """Whether a node puts an axis in reverse, and nothing else."""
    source, a = node.inputs[0] if node.op.name == "slice" else None, node.attrs
    if source is None or node.dynamic or source.tensor.shape is None:
        return False
    axes = range(len(a["starts"])) if a["axes"] is None else a["axes"]
    if [axis_of(n, len(source.shape)) for n in axes] != [axis] or a["steps"] != (-1,):
        return False
    start, end, size = a["starts"][0], a["ends"][0], source.shape[axis]
    if not isinstance(start, int) or not isinstance(end, int):
        return False
    from_the_end = start == -1 or start >= BIG or (isinstance(size, int) and start >= size - 1)
    return from_the_end and (end <= -BIG or (isinstance(size, int) and end < -size))


def _let_read(graph: Graph, old: Var, new: Var, axis: int) -> None:
    """Let those who turn old around read new, by way of movements that leave the axis as it is."""
    for user in list(old.users):
        if user.inputs[0] is not old or user.dynamic:
            continue
        if _turns(user, axis):
            graph.replace(user.output, new)
            graph.erase(user)
        elif (to := _moved(user, axis)) is not None:
            moved = Builder(graph, before=user, source=user.source).node(user.op, [new], user.attrs)
            _let_read(graph, user.output, moved.output, to)
            erase_dead(graph, [moved, user])


def _moved(node: Node, axis: int) -> int | None:
    """Where an axis goes in a transpose, or where axes of one element are taken away; None in other nodes."""
    if node.op.name == "transpose":
        return int(node.attrs["perm"].index(axis))
    source = node.inputs[0]
    if node.op.name not in ("reshape", "squeeze") or source is None or source.shape[axis] == 1:
        return None
    before, after = source.shape, node.output.shape
    if [d for d in before if d != 1] != [d for d in after if d != 1]:
        return None
    return [i for i, d in enumerate(after) if d != 1][sum(d != 1 for d in before[:axis])]


# ---- merging -------------------------------------------------------------------------------------------------


def _operands(node: Node) -> Iterator[tuple[str, Var | None]]:
    return zip((inp.name for inp in node.op.inputs), node.inputs)


def _may_merge(node: Node) -> bool:
    """Whether weights are constants (putting them together costs nothing then), of one layer."""
    weights = [v for name, v in _operands(node) if v is not None and name not in (*SHARED, *STATES)]
    return all(v.data is not None and v.shape[0] == DIRECTIONS[node.attrs["direction"]] for v in weights)


def _key(node: Node) -> Any:
    """What layers that may become one have in common."""
    shared = tuple(id(v) for name, v in _operands(node) if name in SHARED)
    present = tuple(v is not None for _, v in _operands(node))
    attrs = sorted((k, v) for k, v in node.attrs.items() if k != "direction")
    return node.op.name, node.inputs[2] and node.inputs[2].shape[1], shared, present, repr(attrs)


def _merge(graph: Graph, nodes: list[Node], order: dict[Node, int]) -> int:
    """One op for the layers; where some ways have no counterpart, another one for these."""
    first = min(order[node] for node in nodes)
    nodes = [node for node in nodes if all(_is_before(v, first, order) for v in node.inputs)]
    if len(nodes) < 2:
        return 0
    ways = list(chain.from_iterable(map(_ways, sorted(nodes, key=lambda n: n.attrs["direction"] != "bidirectional"))))
    ahead, back = ([w for w in ways if w.backwards is backwards] for backwards in (False, True))
    count = min(len(ahead), len(back))
    groups = list(chain.from_iterable(zip(ahead, back))), [*ahead[count:], *back[count:]]
    merged = [group for group in groups if len({way.node for way in group}) > 1]
    for group in merged:
        _become_one(graph, group, min((way.node for way in group), key=order.__getitem__))
    return len(merged)


def _ways(node: Node) -> Iterator[Way]:
    direction, w = node.attrs["direction"], node.inputs[1]
    assert w is not None
    for place in range(w.shape[0]):
        yield Way(node, place, direction == "reverse" or place == 1)


def _is_before(var: Var | None, place: int, order: dict[Node, int]) -> bool:
    """Whether a value is there before the node at a place."""
    return var is None or var.producer is None or order[var.producer] < place


def _become_one(graph: Graph, ways: Sequence[Way], first: Node) -> None:
    nodes = list(dict.fromkeys(way.node for way in ways))
    like = nodes[0]
    b = Builder(graph, before=first, source=merge_sources(node.source for node in nodes))
    direction = "reverse" if ways[0].backwards else "forward"
    if len({way.backwards for way in ways}) == 2:
        direction = "bidirectional"
    operands: list[Var | None] = []
    for i, (name, var) in enumerate(_operands(like)):
        if var is not None and name not in SHARED:
            axis = 1 if name in STATES else 0
            var = b.concat(*(_taken(b, way.node.inputs[i], axis, way) for way in ways), axis=axis)
        operands.append(var)
    made = b.node(like.op, operands, {**like.attrs, "direction": direction}, names=[v.name for v in like.outputs])
    for node in nodes:
        places = [i for i, way in enumerate(ways) if way.node is node]
        for j, (old, whole) in enumerate(zip(node.outputs, made.outputs)):
            if not graph.is_unused(old):
                graph.replace(old, _parts(b, whole, 2 if j == 0 else 1, places))
    for node in nodes:
        graph.erase(node)
    for j, whole in enumerate(made.outputs):
        _join(graph, whole, 2 if j == 0 else 1)


def _taken(b: Builder, var: Var | None, axis: int, way: Way) -> Var:
    """The part of an operand that belongs to a direction."""
    assert var is not None
    if var.shape[axis] == 1:
        return var
    return b.slice(var, starts=(way.place,), ends=(way.place + 1,), axes=(axis,))  # type: ignore[no-any-return]


def _parts(b: Builder, whole: Var, axis: int, places: list[int]) -> Var:
    """Directions of a result, which follow one another or not."""
    runs = [places] if places == list(range(places[0], places[-1] + 1)) else [[place] for place in places]
    made = [b.slice(whole, starts=(run[0],), ends=(run[-1] + 1,), axes=(axis,)) for run in runs]
    return made[0] if len(made) == 1 else b.concat(*made, axis=axis)  # type: ignore[no-any-return]


def _join(graph: Graph, whole: Var, axis: int) -> None:
    """Directions without their axis, side by side along the last one, are the whole, reshaped."""
    found = [user for part in whole.users for flat in part.outputs[0].users for user in flat.outputs[0].users]
    for node in dict.fromkeys(found):
        if node.op.name != "concat" or len(node.output.shape) != axis + 1 or node.attrs["axis"] not in (axis, -1):
            continue
        parts = [_flat_part(v) for v in node.inputs]
        if parts == [(whole, i) for i in range(whole.shape[axis])]:
            b = Builder(graph, before=node, source=node.source)
            graph.replace(node.output, b.reshape(whole, shape=node.output.shape))
            flat = [v.producer for v in node.inputs if v is not None]
            graph.erase(node)
            erase_dead(graph, [n for n in dict.fromkeys(flat) if n is not None])


def _flat_part(var: Var | None) -> tuple[Var, int] | None:
    """(whole, place) where a value is one direction of it without the axis of directions, the last but one."""
    node = None if var is None else var.producer
    if node is None or node.op.name not in ("reshape", "squeeze") or node.inputs[0] is None:
        return None
    part = part_of(node.inputs[0])
    shape = node.inputs[0].shape
    if part is None or part.stop - part.start != 1 or part.axis != len(shape) - 2:
        return None
    return (part.source, part.start) if node.output.shape == (*shape[:-2], shape[-1]) else None
