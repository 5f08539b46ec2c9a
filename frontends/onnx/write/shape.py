"""Ops that move elements, and shapes as values."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ....ir import dims
from ....ir.dims import Dim
from ....ir.op import axis_of
from ....ir.permutations import inverse
from ....ir.types import DType, Tensor, i64
from ..emitter import Emitter, Item
from . import export, export_all, refuse

Axes = Any  # a tuple of integers, or an item that is known at run time


@export(dynamic=("shape",))
def reshape(w: Emitter, x: Item, *, shape: Any) -> Item:
    """Entries that are the size of the same axis of x become 0, one that is then left -1; constants change here."""
    if x.data is not None and not isinstance(shape, Item) and dims.is_number(shape):
        array = x.data.reshape(shape)
        return Item(Tensor(x.dtype, array.shape), x.hint, array)
    if isinstance(shape, Item):
        return w.Reshape(x, w.as_vector(shape), allowzero=_literal_zeros(w))  # type: ignore[no-any-return]
    if 0 in shape:
        return w.Reshape(x, w.vector(shape), allowzero=_literal_zeros(w))  # type: ignore[no-any-return]
    old = x.tensor.shape or ()
    entries: list[Dim] = [
        0 if not isinstance(d, int) and i < len(old) and old[i] == d else d for i, d in enumerate(shape)
    ]
    unknown = [i for i, d in enumerate(entries) if not isinstance(d, int)]
    if len(unknown) == 1 and -1 not in entries:
        entries[unknown[0]] = -1
    return w.Reshape(x, w.vector(entries if dims.is_number(entries) else shape))  # type: ignore[no-any-return]


def _literal_zeros(w: Emitter) -> int:
    """A 0 in a shape means 0, and not the old size."""
    w.need(14, "a reshape to a size of 0, or to one known at run time,")
    return 1


def _axes(w: Emitter, axes: Axes) -> Item | None:
    return axes if isinstance(axes, Item) or axes is None else w.ints(axes)


@export(dynamic=("axes",))
def squeeze(w: Emitter, x: Item, *, axes: Axes) -> Item:
    return w.Squeeze(x, _axes(w, axes))  # type: ignore[no-any-return]


@export(dynamic=("axes",))
def unsqueeze(w: Emitter, x: Item, *, axes: Axes) -> Item:
    return w.Unsqueeze(x, _axes(w, axes))  # type: ignore[no-any-return]


@export(dynamic=("shape",))
def expand(w: Emitter, x: Item, *, shape: Any) -> Item:
    return w.Expand(x, w.vector(shape))  # type: ignore[no-any-return]


@export()
def concat(w: Emitter, *xs: Item, axis: int) -> Item:
    return w.Concat(*xs, axis=axis)  # type: ignore[no-any-return]


@export(dynamic=("sizes",))
def split(w: Emitter, x: Item, *, axis: int, sizes: Any) -> list[Item]:
    assert w.node is not None
    parts = w.Split(x, w.vector(sizes), axis=axis, outputs=len(w.node.outputs))
    return parts if isinstance(parts, list) else [parts]


@export("slice", dynamic=("starts", "ends", "axes", "steps"))
def slice_(w: Emitter, x: Item, *, starts: Any, ends: Any, axes: Axes = None, steps: Any = None) -> Item:
    if axes is None and not isinstance(starts, Item):
        axes = tuple(range(len(starts)))
    moves = None if steps is None else w.vector(steps)
    if all(isinstance(v, tuple) for v in (starts, ends, axes, steps)):
        ends = tuple(map(partial(_end, x), starts, ends, axes, steps))  # type: ignore[arg-type]
    return w.Slice(x, w.vector(starts), w.vector(ends), _axes(w, axes), moves)  # type: ignore[no-any-return]


def _end(x: Item, start: Any, end: Any, axis: int, step: Any) -> Any:
    """Where steps back begin before the axis nothing is left for NumPy, the first place for ONNX, but for this end."""
    size = x.shape[axis]
    return size if dims.is_number((size, start, step)) and step < 0 and start < -size else end


PAD_SINCE = {"constant": 13, "reflect": 13, "edge": 13, "wrap": 19}


@export()
def pad(w: Emitter, x: Item, value: Item | None = None, *, pads: Any, mode: str) -> Item:
    """ONNX lists all befores, then all afters; what it does not have is gathered."""
    folded = mode == "reflect" and any(dims.is_number((n, *p)) and max(p) >= n for n, p in zip(x.shape, pads))
    if folded or PAD_SINCE.get(mode, w.opset + 1) > w.opset:  # ONNX Runtime reflects no more than once
        return _gathered_pad(w, x, pads, mode)
    before, after = zip(*pads) if pads else ((), ())
    given = None if value is None else w.scalar(value)
    return w.Pad(x, w.vector((*before, *after)), given, mode=mode)  # type: ignore[no-any-return]


def _gathered_pad(w: Emitter, x: Item, pads: Any, mode: str) -> Item:
    for axis, (size, pair) in enumerate(zip(x.shape, pads)):
        if pair == (0, 0):
            continue
        if not dims.is_number((size, *pair)):
            raise w.refuse(f"mode {mode!r} along an axis of unknown size", "give the inputs static shapes")
        places = np.pad(np.arange(size), pair, mode=mode)  # type: ignore[call-overload, arg-type]
        x = w.Gather(x, w.ints(places), axis=axis)
    return x


@export(dynamic=("repeats",))
def tile(w: Emitter, x: Item, *, repeats: Any) -> Item:
    return w.Tile(x, w.vector(repeats))  # type: ignore[no-any-return]


@export(dynamic=("repeats",))
def repeat(w: Emitter, x: Item, *, repeats: Any, axis: int) -> Item:
    """Place i of the result is place i // repeats of x."""
    size = x.shape[axis]
    if isinstance(size, int) and isinstance(repeats, int):
        places = np.repeat(np.arange(size), repeats)
        return w.Gather(x, w.ints(places), axis=axis)  # type: ignore[no-any-return]
    each = w.vector(repeats if isinstance(repeats, Item) else (repeats,))
    count = w.scalar(w.Mul(w.axis_size(x, axis), each))
    places = w.Range(w.constant(np.int64(0)), count, w.constant(np.int64(1)))
    return w.Gather(x, w.Div(places, each), axis=axis)  # type: ignore[no-any-return]


@export()
def reverse_sequence(w: Emitter, x: Item, lengths: Item, *, axis: int) -> Item:
    """Time is the second axis in ONNX."""
    time = axis_of(axis, x.rank)
    perm = (0, time, *(a for a in range(1, x.rank) if a != time))
    turned = w.transpose(x, perm)
    y = w.ReverseSequence(turned, w.cast(lengths, i64), batch_axis=0, time_axis=1)
    return w.transpose(w.typed(y, turned.type), inverse(perm))


# ---- shapes as values ----------------------------------------------------------------------------------------


@export(dynamic=("shape",))
def fill(w: Emitter, value: Item, *, shape: Any) -> Item:
    return w.Expand(w.scalar(value), w.vector(shape))  # type: ignore[no-any-return]


@export("range")
def range_(w: Emitter, start: Item, limit: Item, delta: Item) -> Item:
    return w.Range(*(w.scalar(v) for v in (start, limit, delta)))  # type: ignore[no-any-return]


@export(dynamic=("rows", "columns", "k"))
def eye(w: Emitter, *, rows: Any, columns: Any, k: Any, dtype: DType) -> Item:
    if isinstance(k, Item):
        raise w.refuse("its diagonal is only known at run time")
    if isinstance(rows, int) and isinstance(columns, int):
        return w.constant(np.eye(rows, columns, k, dtype.numpy), "eye")
    sizes = [w.vector(d if isinstance(d, Item) else (d,)) for d in (rows, columns)]
    zeros = w.Expand(w.constant(np.zeros((), dtype.numpy)), w.Concat(*sizes, axis=0))
    return w.EyeLike(w.typed(zeros, Tensor(dtype, None)), k=k)  # type: ignore[no-any-return]


export_all({
    "shape": lambda w, x: w.Shape(x, result=i64),
    "size": lambda w, x: w.Size(x, result=i64),
    "transpose": lambda w, x, *, perm: w.transpose(x, perm),
})  # fmt: skip

refuse("it belongs to a gradient", "unslice")
