"""The operations of keras.ops.core: slices, scatters, casts; and those that cannot be in a file."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...ir import Builder, Var, dtype
from ..base import as_dtype
from .array import END
from .common import Term, kind_of, row, tensor

FAMILY = "core"
operation = partial(row, FAMILY)

REFUSED = {
    **dict.fromkeys(
        ("AssociativeScan", "Cond", "ForiLoop", "JVP", "Map", "Scan", "Switch", "VectorizedMap", "WhileLoop"),
        "it takes Python functions, which a file does not hold",
    ),
    "Arange": "Keras makes it of no tensors, only of numbers",
    "ElasticTransform": "its random field is TensorFlow's, which cannot be drawn elsewhere",
}


@operation("Cast")
def cast(b: Builder, x: Any, dtype: str) -> Var:
    return tensor(b, x, dtype)


@operation("ConvertToTensor")
def convert_to_tensor(b: Builder, x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Var:
    if sparse or ragged:
        raise TypeError("tenun has no sparse or ragged tensors")
    return tensor(b, x, dtype)


@operation("SaturateCast")
def saturate_cast(b: Builder, x: Any, dtype: str) -> Var:
    """Cut to what the dtype can hold, then cast."""
    x = tensor(b, x)
    low, high = limits(dtype)
    own_low, own_high = limits(kind_of(x))
    number = float if x.tensor.dtype.is_float else int
    if low > own_low:
        x = b.maximum(x, np.asarray(number(low)).astype(x.tensor.dtype.numpy))
    if high < own_high:
        limit = np.asarray(number(high)).astype(x.tensor.dtype.numpy)
        if float(limit) > high:  # rounded to what the new dtype cannot hold
            limit = np.nextafter(limit, np.asarray(0, limit.dtype))
        x = b.minimum(x, limit)
    return as_dtype(b, x, dtype)


def limits(name: str) -> tuple[Any, Any]:
    """The smallest and the largest number of a dtype."""
    import ml_dtypes

    described = dtype(name)
    if described.kind == "bool":
        return 0, 1
    if described.is_integer:
        whole = np.iinfo(described.numpy)
        return whole.min, whole.max
    info = ml_dtypes.finfo(described.numpy)  # type: ignore[no-untyped-call]
    return float(info.min), float(info.max)


@operation("StopGradient")
def stop_gradient(b: Builder, variable: Any) -> Var:
    return b.stop_gradient(tensor(b, variable))  # type: ignore[no-any-return]


@operation("Unstack")
def unstack(b: Builder, x: Any, num: int | None = None, axis: int = 0) -> list[Var]:
    """The slices along an axis, which has to be of known size."""
    x = tensor(b, x)
    size = x.shape[axis] if num is None else num
    if not isinstance(size, int):
        raise TypeError(f"axis {axis} has the size {size}: unstack needs a fixed one")
    return [b.squeeze(v, axes=(axis,)) for v in b.split(x, axis=axis, sizes=(1,) * size)]


@operation("Scatter")
def scatter(b: Builder, indices: Any, values: Any, shape: Any) -> Var:
    """Zeros with values added at the places that the last axis of indices holds."""
    values = tensor(b, values)
    zeros = b.fill(b.constant(np.zeros((), values.tensor.dtype.numpy)), shape=tuple(shape))
    return b.scatter_nd(zeros, _places(b, indices), values, reduction="add")  # type: ignore[no-any-return]


def _places(b: Builder, indices: Any) -> Var:
    indices = tensor(b, indices)
    return indices if indices.tensor.dtype.name in ("i32", "i64") else as_dtype(b, indices, "int64")


@operation("ScatterUpdate")
def scatter_update(b: Builder, inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Var:
    inputs = tensor(b, inputs)
    updates = tensor(b, updates, inputs.tensor.dtype)
    return b.scatter_nd(inputs, _places(b, indices), updates, reduction=reduction or "none")  # type: ignore


@operation("Slice")
def slice_(b: Builder, inputs: Any, start_indices: Any, shape: Any) -> Var:
    """`shape` elements from the start on (-1: to the end)."""
    x = tensor(b, inputs)
    sizes = tuple(shape)
    if isinstance(start_indices, Var) or any(isinstance(s, Var) for s in start_indices):
        starts = tensor(b, start_indices, "int64")
        ends = b.add(starts, b.constant(np.array(sizes, np.int64)))
        cut = b.slice(x, starts=starts, ends=ends, axes=tuple(range(len(sizes))))
        return b.reshape(cut, shape=sizes) if -1 not in sizes else cut  # type: ignore[no-any-return]
    first = tuple(int(s) for s in start_indices)
    last = tuple(END if n == -1 else s + n for s, n in zip(first, sizes))
    return b.slice(x, starts=first, ends=last, axes=tuple(range(len(sizes))))  # type: ignore[no-any-return]


@operation("SliceUpdate")
def slice_update(b: Builder, inputs: Any, start_indices: Any, updates: Any) -> Any:
    """inputs with updates in the place of a slice that starts there, moved so that it lies inside (XLA)."""
    x = tensor(b, inputs)
    updates = tensor(b, updates, x.tensor.dtype)
    starts = Term(b, tensor(b, start_indices, "int64"))
    room = Term(b, b.sub(b.shape(x), b.shape(updates)))
    starts = starts.maximum(0).minimum(room)
    grids = None
    rank = len(x.shape)
    for axis, size in enumerate(updates.shape):
        start = starts.slice(starts=(axis,), ends=(axis + 1,), axes=(0,)).reshape(shape=())
        count = b.reshape(b.gather(b.shape(updates), np.int64(axis)), shape=())
        places = Term(b, b.range(np.int64(0), count, np.int64(1))) + start
        places = places.reshape(shape=tuple(size if i == axis else 1 for i in range(rank)))
        places = places.expand(shape=updates.shape).unsqueeze(axes=(-1,))
        grids = places if grids is None else grids.concat(places, axis=-1)
    return b.scatter_nd(x, grids.var, updates) if grids is not None else updates
