"""Reading and writing by index, sorting, and results whose size depends on the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....ir.graph import Var
from ....ir.op import axis_of
from ....ir.types import i64
from ..lowering import Lowering
from ..registry import onnx


@onnx("Gather")
def gather(b: Lowering, data: Var, indices: Var, *, axis: int = 0) -> Var:
    return b.gather(data, indices, axis=axis)


@onnx("GatherElements")
def gather_elements(b: Lowering, data: Var, indices: Var, *, axis: int = 0) -> Var:
    return b.gather_elements(data, indices, axis=axis)


@onnx("GatherND")
def gather_nd(b: Lowering, data: Var, indices: Var, *, batch_dims: int = 0) -> Var:
    return b.gather_nd(data, indices, batch_dims=batch_dims)


@onnx("Scatter", "ScatterElements")
def scatter_elements(
    b: Lowering, data: Var, indices: Var, updates: Var, *, axis: int = 0, reduction: str = "none"
) -> Var:
    return b.scatter_elements(data, indices, updates, axis=axis, reduction=reduction)


@onnx("ScatterND")
def scatter_nd(b: Lowering, data: Var, indices: Var, updates: Var, *, reduction: str = "none") -> Var:
    return b.scatter_nd(data, indices, updates, reduction=reduction)


@onnx("TensorScatter", since=24)
def tensor_scatter(
    b: Lowering, past_cache: Var, update: Var, write_indices: Var | None = None, *, axis: int = -2,
    mode: str = "linear",
) -> Var:  # fmt: skip
    """A cache (batch, ..., places, ...) with an update written from a place on, another one for each of the batch.

    circular: behind the last place follows the first.
    """
    if mode not in ("linear", "circular"):
        raise b.refuse(f"mode {mode!r}")
    rank = len(past_cache.shape)
    chosen = axis_of(axis, rank)
    perm = (0, chosen, *(i for i in range(1, rank) if i != chosen))
    cache, new = b.transpose(past_cache, perm=perm), b.transpose(update, perm=perm)
    count, size = (b.gather(b.shape(v), np.int64(1)) for v in (new, cache))
    places = b.unsqueeze(b.range(np.int64(0), count, np.int64(1)), axes=(0,))
    if write_indices is not None:
        places = b.add(places, b.unsqueeze(write_indices, axes=(1,)))
    else:
        places = b.expand(places, shape=b.vector((b.dim(new, 0), 1)))
    if mode == "circular":
        places = b.mod(places, size)
    written = b.scatter_nd(cache, b.unsqueeze(places, axes=(2,)), new, batch_dims=1)
    return b.transpose(written, perm=tuple(perm.index(i) for i in range(rank)))


@onnx("OneHot")
def one_hot(b: Lowering, indices: Var, depth: Var, values: Var, *, axis: int = -1) -> Var:
    places = indices if indices.tensor.dtype.is_integer else b.cast(indices, to=i64)
    count = b.known(depth)
    size = int(count[0]) if count is not None and isinstance(count[0], float) else depth
    if size is depth and not depth.tensor.dtype.is_integer:
        size = b.cast(depth, to=i64)
    off, on = (b.gather(values, np.int64(i)) for i in (0, 1))
    return b.one_hot(places, on, off, depth=size, axis=axis)


@onnx("TopK")
def top_k(b: Lowering, X: Var, K: Var, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> Sequence[Var]:
    return b.top_k(X, k=K, axis=axis, largest=largest, sorted=sorted)  # type: ignore[no-any-return]


@onnx("Trilu")
def trilu(b: Lowering, input: Var, k: Var | None = None, *, upper: int = 1) -> Var:
    return b.trilu(input, k=0 if k is None else k, upper=upper)


@onnx("NonZero")
def nonzero(b: Lowering, X: Var) -> Var:
    return b.nonzero(X)


@onnx("Compress")
def compress(b: Lowering, input: Var, condition: Var, *, axis: int | None = None) -> Var:
    return b.compress(input, condition, axis=axis)


@onnx("Unique")
def unique(b: Lowering, X: Var, *, axis: int | None = None, sorted: int = 1) -> Sequence[Var]:
    return b.unique(X, axis=axis, sorted=sorted)  # type: ignore[no-any-return]
