"""Movements of elements that undo one another, or move more than they have to.

Parts of a tensor put together again are the tensor; a part of a concatenation is a part of one of its operands; what
an elementwise op broadcasts anyway need not be expanded before; pooling in windows of one element is a slice.  No
number is computed, so every rule holds bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ..errors import ShapeError
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.op import axis_of, infer
from .manager import Context, register
from .rewrite import apply_rules, erase_dead
from .simplify import MOVEMENTS, is_known


class Part(NamedTuple):
    """Places start to stop of one axis of a source."""

    source: Var
    axis: int
    start: int
    stop: int


def part_of(var: Var) -> Part | None:
    """What a value is a part of, if it is an output of `split`, or a slice of one axis in steps of 1."""
    node = var.producer
    if node is None or node.dynamic or node.op.name not in ("split", "slice"):
        return None
    source = node.inputs[0]
    assert source is not None
    if source.tensor.shape is None:
        return None
    bounds = _split_bounds(node, var) if node.op.name == "split" else _slice_bounds(node, source)
    return None if bounds is None else Part(source, *bounds)


def _split_bounds(node: Node, var: Var) -> tuple[int, int, int] | None:
    before, size = node.attrs["sizes"][: var.index], node.attrs["sizes"][var.index]
    if not all(isinstance(n, int) for n in (*before, size)):
        return None
    return axis_of(node.attrs["axis"], len(var.shape)), sum(before), sum(before) + size


def _slice_bounds(node: Node, source: Var) -> tuple[int, int, int] | None:
    a = node.attrs
    axes = tuple(range(len(a["starts"]))) if a["axes"] is None else a["axes"]
    if len(axes) != 1 or (a["steps"] or (1,)) != (1,):
        return None
    axis = axis_of(axes[0], len(source.shape))
    size, start, end = source.shape[axis], a["starts"][0], a["ends"][0]
    if not all(isinstance(n, int) for n in (size, start, end)):
        return None
    start, stop, _ = slice(start, end).indices(size)
    return (axis, start, stop) if start < stop else None


def take(b: Builder, part: Part) -> Var:
    """The part as a value: its source, where it is all of that."""
    source, axis, start, stop = part
    if (start, stop) == (0, source.shape[axis]):
        return source
    return b.slice(source, starts=(start,), ends=(stop,), axes=(axis,))  # type: ignore[no-any-return]


# ---- concat --------------------------------------------------------------------------------------------------


def _flat_concat(b: Builder, node: Node) -> Var | None:
    """concat(concat(x, y), z) = concat(x, y, z), where nobody else reads the inner one; what is empty goes."""
    axis = axis_of(node.attrs["axis"], len(node.output.shape))
    flat: list[Var] = []
    for var in _given(node):
        inner = var.producer
        if inner is not None and inner.op is node.op and b.graph.used_once(var) and _same_axis(inner, axis):
            flat += _given(inner)
        elif var.shape[axis] != 0:
            flat.append(var)
    if not flat or len(flat) == len(node.inputs):
        return None
    return flat[0] if len(flat) == 1 else b.concat(*flat, axis=axis)


def _same_axis(node: Node, axis: int) -> bool:
    return axis_of(node.attrs["axis"], len(node.output.shape)) == axis


def _given(node: Node) -> list[Var]:
    return [v for v in node.operands if v is not None]


def _restored(b: Builder, node: Node) -> Var | None:
    """Neighbouring operands that are neighbouring parts of one source are one part of it."""
    axis = axis_of(node.attrs["axis"], len(node.output.shape))
    found: list[Var | Part] = []
    for var in _given(node):
        part, last = part_of(var), found[-1] if found else None
        if part is None or part.axis != axis:
            found.append(var)
        elif isinstance(last, Part) and last.source is part.source and last.stop == part.start:
            found[-1] = last._replace(stop=part.stop)
        else:
            found.append(part)
    if len(found) == len(node.inputs):
        return None
    operands = [take(b, v) if isinstance(v, Part) else v for v in found]
    return operands[0] if len(operands) == 1 else b.concat(*operands, axis=axis)  # type: ignore[no-any-return]


# ---- parts ---------------------------------------------------------------------------------------------------


def _part_of_part(b: Builder, node: Node) -> Var | None:
    """A slice of a slice, or of an output of a split, is a slice."""
    outer = part_of(node.output)
    inner = part_of(outer.source) if outer is not None else None
    if outer is None or inner is None or inner.axis != outer.axis:
        return None
    return take(b, inner._replace(start=inner.start + outer.start, stop=inner.start + outer.stop))


def _ranges(concat: Node, axis: int) -> Iterator[tuple[Var, int, int]]:
    """The operands of a concatenation with their places, as far as these are numbers."""
    start = 0
    for var in _given(concat):
        if var.tensor.shape is None or not isinstance(var.shape[axis], int):
            return
        yield var, start, start + var.shape[axis]
        start += var.shape[axis]


def _part_of_concat(b: Builder, node: Node) -> Var | None:
    """A slice that lies within one operand of a concatenation is a slice of that, if it is some whole ones, these."""
    part = part_of(node.output)
    concat = part.source.producer if part is not None else None
    if part is None or concat is None or concat.op.name != "concat" or not _same_axis(concat, part.axis):
        return None
    whole: list[Var] = []
    for var, start, stop in _ranges(concat, part.axis):
        if start <= part.start and part.stop <= stop:
            return take(b, Part(var, part.axis, part.start - start, part.stop - start))
        if part.start <= start and stop <= part.stop:
            whole.append(var)
    covered = sum(v.shape[part.axis] for v in whole) == part.stop - part.start
    return b.concat(*whole, axis=part.axis) if covered and whole else None


def _split_of_concat(b: Builder, node: Node) -> list[Var] | None:
    """The split that undoes a concatenation gives its operands."""
    source = node.inputs[0]
    concat = source.producer if source is not None else None
    if source is None or source.tensor.shape is None or concat is None or concat.op.name != "concat":
        return None
    axis = axis_of(node.attrs["axis"], len(source.shape))
    operands = _given(concat)
    sizes = tuple(v.shape[axis] for v in operands if v.tensor.shape is not None)
    return operands if _same_axis(concat, axis) and sizes == node.attrs["sizes"] and is_known(source) else None


def _as_slice(b: Builder, node: Node) -> Var | None:
    """A gather of one place, or of places in a row, needs no copy: it is a slice."""
    x, indices = node.inputs
    assert x is not None and indices is not None
    if indices.data is None or indices.data.ndim > 1 or not indices.data.size or x.tensor.shape is None:
        return None
    axis = axis_of(node.attrs["axis"], len(x.shape))
    size, places = x.shape[axis], indices.data.reshape(-1)
    first, last = int(places[0]), int(places[-1])
    if not isinstance(size, int) or not -size <= first <= last < size or (first < 0 <= last):
        return None
    step = int(places[1]) - first if places.size > 1 else 1
    if step < 1 or not bool((np.diff(places) == step).all()):
        return None
    part = b.slice(x, starts=(first % size,), ends=(last % size + 1,), axes=(axis,), steps=(step,))
    return part if indices.data.ndim else b.squeeze(part, axes=(axis,))  # type: ignore[no-any-return]


# ---- repetition ----------------------------------------------------------------------------------------------


def _as_expand(b: Builder, node: Node) -> Var | None:
    """Repeating along axes of size 1 is broadcasting, which takes no memory."""
    x, a = node.inputs[0], node.attrs
    assert x is not None
    if not is_known(x) or not is_known(node.output):
        return None
    repeats = a["repeats"] if isinstance(a["repeats"], tuple) else None
    axes = [axis_of(a["axis"], len(x.shape))] if repeats is None else [i for i, r in enumerate(repeats) if r != 1]
    return b.expand(x, shape=node.output.shape) if all(x.shape[i] == 1 for i in axes) else None


def _expand_twice(b: Builder, node: Node) -> Var | None:
    """expand(expand(x)) = expand(x)."""
    inner = node.inputs[0].producer if node.inputs[0] is not None else None
    if inner is None or inner.op is not node.op or inner.dynamic or not is_known(node.output):
        return None
    return b.expand(inner.inputs[0], shape=node.output.shape)  # type: ignore[no-any-return]


def _unexpanded(b: Builder, node: Node) -> Var | None:
    """The same on the operands as they are before they are expanded, if the shapes broadcast to the same result."""
    operands = [_before_expand(v) for v in node.operands]
    if operands == list(node.operands) or len(node.outputs) != 1 or not is_known(node.output):
        return None
    for kept in ((), *((i,) for i in range(len(operands)))):  # one of them may be what gives the result its shape
        trial = [old if i in kept else new for i, (old, new) in enumerate(zip(node.operands, operands))]
        if trial != list(node.operands) and _gives(node, trial):
            return b.node(node.op, trial, node.attrs).output
    return None


def _before_expand(var: Var | None) -> Var | None:
    node = var.producer if var is not None else None
    return node.inputs[0] if node is not None and node.op.name == "expand" and not node.dynamic else var


def _gives(node: Node, operands: list[Var | None]) -> bool:
    try:
        types = infer(node.op, tuple(None if v is None else v.type for v in operands), node.attrs)
    except ShapeError:
        return False
    return types == tuple(v.type for v in node.outputs)


# ---- windows of one element ----------------------------------------------------------------------------------


def _window_of_one(b: Builder, node: Node) -> Var | None:
    """Pooling in windows of one element takes every so many elements."""
    a, x = node.attrs, node.inputs[0]
    assert x is not None
    unpadded = isinstance(a["padding"], str) or all(p == (0, 0) for p in a["padding"])
    if set(a["window"]) != {1} or not unpadded or not is_known(x):
        return None
    if set(a["strides"]) == {1}:
        return x
    if a["ceil_mode"] or not all(isinstance(d, int) for d in x.shape[1:-1]):
        return None
    axes = tuple(range(1, len(x.shape) - 1))
    return b.slice(x, starts=(0,) * len(axes), ends=x.shape[1:-1], axes=axes, steps=a["strides"])  # type: ignore


Rewrite = Callable[[Builder, Node], "Var | list[Var] | None"]

# op: what may take the place of its node
REWRITES: dict[str, tuple[Rewrite, ...]] = {
    "concat": (_flat_concat, _restored),
    "slice": (_part_of_part, _part_of_concat),
    "split": (_split_of_concat,),
    "gather": (_as_slice,),
    "tile": (_as_expand,),
    "repeat": (_as_expand,),
    "expand": (_expand_twice,),
    "max_pool": (_window_of_one,),
    "avg_pool": (_window_of_one,),
}


def _apply(graph: Graph, node: Node) -> bool:
    """Put what one of the rewrites gives in the node's place."""
    rewrites = REWRITES.get(node.op.name, ())
    if node.op.has("elementwise") and not node.graphs:
        rewrites = (_unexpanded,)
    if not rewrites or node.dynamic or any(v.tensor.shape is None for v in (*_given(node), *node.outputs)):
        return False
    for rewrite in rewrites:
        builder = Builder(graph, before=node, source=node.source)
        found = rewrite(builder, node)
        if found is None:
            continue
        results = found if isinstance(found, list) else [found]
        if any(new.type != old.type for old, new in zip(node.outputs, results)):
            erase_dead(graph, [v.producer for v in results if v.producer is not None])
            return False
        for old, new in zip(node.outputs, results):
            graph.replace(old, new)
        erase_dead(graph, [node, *(v.producer for v in node.inputs if v is not None and v.producer is not None)])
        return True
    return False


@register
def movements(graph: Graph, context: Context) -> int:
    """Take out movements of elements that undo one another, and make views of copies."""
    changes = applied = apply_rules(graph, MOVEMENTS)
    while True:
        applied = sum(_apply(graph, node) for node in graph.nodes if node.graph is graph)
        if not applied:
            break
        changes += applied + apply_rules(graph, MOVEMENTS)
    for sub in graph.subgraphs:
        changes += movements(sub, context)
    return changes
