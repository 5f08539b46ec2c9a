"""Reading and writing by index, sorting, and results whose size depends on the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.dims import Dim
from ....ir.types import Tensor, boolean, i64
from ..emitter import Emitter, Item
from . import export, export_all

REDUCTION_SINCE = {"none": 11, "add": 16, "mul": 16, "max": 18, "min": 18}


def _reduction(w: Emitter, reduction: str) -> str | None:
    w.need(REDUCTION_SINCE[reduction], f"reduction {reduction!r}")
    return None if reduction == "none" else reduction


def _places(w: Emitter, indices: Item) -> Item:
    """Indices as ONNX takes them: 32 or 64 bits."""
    return indices if indices.dtype.name in ("i32", "i64") else w.cast(indices, i64)


@export()
def gather(w: Emitter, x: Item, indices: Item, *, axis: int) -> Item:
    return w.Gather(x, _places(w, indices), axis=axis)  # type: ignore[no-any-return]


@export()
def gather_elements(w: Emitter, x: Item, indices: Item, *, axis: int) -> Item:
    return w.GatherElements(x, _places(w, indices), axis=axis)  # type: ignore[no-any-return]


@export()
def gather_nd(w: Emitter, x: Item, indices: Item, *, batch_dims: int) -> Item:
    return w.GatherND(x, w.cast(indices, i64), batch_dims=batch_dims)  # type: ignore[no-any-return]


@export()
def scatter_elements(w: Emitter, x: Item, indices: Item, updates: Item, *, axis: int, reduction: str) -> Item:
    return w.ScatterElements(x, _places(w, indices), updates, axis=axis, reduction=_reduction(w, reduction))  # type: ignore[no-any-return]


@export()
def scatter_nd(w: Emitter, x: Item, indices: Item, updates: Item, *, reduction: str, batch_dims: int) -> Item:
    """Batch axes are spelled out: their own places are put before the indices."""
    indices = w.typed(w.cast(indices, i64), Tensor(i64, indices.shape))
    if batch_dims:
        lead = w.Slice(w.Shape(indices, result=i64), w.ints([0]), w.ints([-1]))
        own = []
        for axis in range(batch_dims):
            numbers = w.Range(w.constant(np.int64(0)), w.scalar(w.axis_size(indices, axis)), w.constant(np.int64(1)))
            shape = [1] * (indices.rank - 1)
            shape[axis] = -1
            own.append(w.Unsqueeze(w.Expand(w.Reshape(numbers, w.ints(shape)), lead), w.ints([-1])))
        indices = w.Concat(*own, indices, axis=-1)
    return w.ScatterND(x, indices, updates, reduction=_reduction(w, reduction))  # type: ignore[no-any-return]


@export()
def scatter_rows(w: Emitter, updates: Item, indices: Item, *, size: Dim, axis: int) -> Item:
    """Added to zeros, the axes of indices first."""
    lead = axis % (updates.rank - indices.rank + 1)
    own = range(lead, lead + indices.rank)
    rest = [a for a in range(updates.rank) if a not in own]
    shape = (size, *(updates.shape[a] for a in rest))
    zeros = w.Expand(w.number(0, updates), w.vector(shape))
    places = w.Unsqueeze(w.cast(indices, i64), w.ints([-1]))
    rows = w.transpose(updates, (*own, *rest))
    added = w.typed(w.ScatterND(zeros, places, rows, reduction=_reduction(w, "add")), Tensor(updates.dtype, shape))
    return w.transpose(added, (*range(1, lead + 1), 0, *range(lead + 1, len(shape))))


@export(dynamic=("depth",))
def one_hot(w: Emitter, indices: Item, on: Item, off: Item, *, depth: Any, axis: int) -> Item:
    values = w.Concat(*(w.Reshape(v, w.ints([1])) for v in (off, on)), axis=0)
    size = w.vector(depth if isinstance(depth, Item) else (depth,))
    known = indices if indices.dtype.name in ("i32", "i64", "f32") else w.cast(indices, i64)
    return w.OneHot(known, size, values, axis=axis, result=on.dtype)  # type: ignore[no-any-return]


@export(dynamic=("k",))
def top_k(w: Emitter, x: Item, *, k: Any, axis: int, largest: bool, sorted: bool) -> Sequence[Item]:
    size = w.vector(k if isinstance(k, Item) else (k,))
    values, places = w.TopK(x, size, axis=axis, largest=int(largest), sorted=int(sorted), outputs=2)
    return values, places


@export(dynamic=("k",))
def trilu(w: Emitter, x: Item, *, k: Any, upper: bool) -> Item:
    w.need(14, "Trilu")
    diagonal = w.scalar(w.cast(k, i64)) if isinstance(k, Item) else w.constant(k, "k", dtype="int64")
    return w.Trilu(x, diagonal, upper=int(upper))  # type: ignore[no-any-return]


@export()
def unique(w: Emitter, x: Item, *, axis: int | None, sorted: bool) -> list[Item]:
    return w.Unique(x, axis=axis, sorted=int(sorted), outputs=4)  # type: ignore[no-any-return]


export_all({
    "nonzero": lambda w, x: w.NonZero(x, result=i64),
    "compress": lambda w, x, condition, *, axis: w.Compress(x, w.cast(condition, boolean), axis=axis),
})  # fmt: skip
