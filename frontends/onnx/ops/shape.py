"""Operators that move elements, and shapes as values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ....errors import ShapeError
from ....ir import dims
from ....ir.dims import Dim
from ....ir.graph import Var
from ....ir.op import axis_of
from ....ir.types import i64
from ..lowering import Lowering
from ..registry import onnx


@onnx("Reshape")
def reshape(b: Lowering, data: Var, shape: Var, *, allowzero: int = 0) -> Var:
    """An entry 0 stands for the dimension of data at that place, unless allowzero."""
    if allowzero:
        return b.reshape(data, shape=shape)
    entries = b.known(shape)
    if entries is not None and not any(isinstance(d, int) and d == 0 for d in entries):
        return b.reshape(data, shape=entries)
    if entries is not None and data.tensor.shape is not None:
        copied = [b.dim(data, i) if isinstance(d, int) and d == 0 else d for i, d in enumerate(entries)]
        if sum(isinstance(d, Var) or d == -1 for d in copied) < 2:
            return b.reshape(data, shape=b.mixed(copied))
    return b.reshape(data, shape=_zeros_copied(b, data, shape))


def _zeros_copied(b: Lowering, data: Var, shape: Var) -> Var:
    """The shape with zeros replaced by the dimensions of data, at run time."""
    length = b.shape(shape)
    lack = b.maximum(b.sub(length, b.shape(b.shape(data))), np.int64(0))
    own = b.concat(b.shape(data), b.fill(b.constant(np.int64(0)), shape=lack), axis=0)
    own = b.slice(own, starts=(0,), ends=length)
    return b.where(b.equal(shape, 0), own, shape)


@onnx("Flatten")
def flatten(b: Lowering, input: Var, *, axis: int = 1) -> Var:
    """Two axes: the product of the dimensions before `axis`, and of the others."""
    rank = len(input.shape)
    if not -rank <= axis <= rank:
        raise ShapeError(f"axis {axis} is out of range for {input.type}")
    axis = axis + rank if axis < 0 else axis
    before, after = input.shape[:axis], input.shape[axis:]
    rows, columns = dims.product(before), dims.product(after)
    if not dims.known(rows) and not dims.known(columns):
        rows = b.reduce_prod(b.slice(b.shape(input), starts=(0,), ends=(axis,)))
    entries = [rows if isinstance(rows, Var) or dims.known(rows) else -1, columns if dims.known(columns) else -1]
    return b.reshape(input, shape=b.vector(entries))


@onnx("Squeeze")
def squeeze(b: Lowering, data: Var, axes: Var | None = None) -> Var:
    return b.squeeze(data, axes=axes)


@onnx("Unsqueeze")
def unsqueeze(b: Lowering, data: Var, axes: Var) -> Var:
    if not axes.shape:  # a scalar, as some exporters write it
        axes = b.reshape(axes, shape=(1,))
    return b.unsqueeze(data, axes=axes)


@onnx("Transpose")
def transpose(b: Lowering, data: Var, *, perm: tuple[int, ...] | None = None) -> Var:
    return b.transpose(data, perm=tuple(reversed(range(len(data.shape)))) if perm is None else perm)


@onnx("Concat")
def concat(b: Lowering, *inputs: Var, axis: int) -> Var:
    return b.concat(*inputs, axis=axis)


@onnx("Split")
def split(
    b: Lowering, input: Var, split: Var | None = None, *, axis: int = 0, num_outputs: int | None = None
) -> Sequence[Var]:
    if split is not None and not isinstance(split.shape[0], int):
        split = b.reshape(split, shape=(b.output_count,))
    return _split(b, input, axis, split, num_outputs or b.output_count)


def _split(b: Lowering, x: Var, axis: int, sizes: Any, count: int) -> Sequence[Var]:
    """Without sizes: equal parts, the last one smaller if need be."""
    if sizes is None:
        total = dims.UNKNOWN if x.tensor.shape is None else x.shape[axis_of(axis, len(x.shape))]
        part = dims.ceil_div(total, count)
        if not dims.known(part):
            return _split_at_run_time(b, x, axis, count)
        sizes = (*[part] * (count - 1), total - part * (count - 1))
    return b.split(x, axis=axis, sizes=sizes)  # type: ignore[no-any-return]


def _split_at_run_time(b: Lowering, x: Var, axis: int, count: int) -> Sequence[Var]:
    """Equal parts of an axis whose size only the run knows."""
    total = b.gather(b.shape(x), np.array([axis], np.int64))
    part = b.floor_div(b.add(total, count - 1), count)
    edges = [b.minimum(b.mul(part, i), total) for i in range(count + 1)]
    return [b.slice(x, starts=low, ends=high, axes=(axis,)) for low, high in pairwise(edges)]


@onnx("Slice")
def slice_(b: Lowering, data: Var, starts: Var, ends: Var, axes: Var | None = None, steps: Var | None = None) -> Var:
    return b.slice(data, starts=starts, ends=ends, axes=axes, steps=steps)


@onnx("Pad")
def pad(
    b: Lowering, data: Var, pads: Var, constant_value: Var | None = None, axes: Var | None = None, *,
    mode: str = "constant",
) -> Var:  # fmt: skip
    if constant_value is not None and constant_value.shape:
        constant_value = b.reshape(constant_value, shape=())
    if axes is not None and b.known(axes) is None:
        pads, axes = _pads_of_all_axes(b, data, pads, axes), None
    entries, chosen = b.known(pads), None if axes is None else b.numbers(axes, "axes")
    if entries is None:
        return _pad_at_run_time(b, data, pads, chosen, mode, constant_value)
    return _pad(b, data, entries, chosen, mode, constant_value)


def _pad(b: Lowering, x: Var, pads: Sequence[Dim], axes: Sequence[int] | None, mode: str, value: Any) -> Var:
    rank = len(x.shape)
    chosen = [axis_of(a, rank) for a in (range(rank) if axes is None else axes)]
    if len(pads) != 2 * len(chosen):
        raise ShapeError(f"{len(pads)} pads for {len(chosen)} axes")
    pairs: list[tuple[Dim, Dim]] = [(0, 0)] * rank
    for i, axis in enumerate(chosen):
        pairs[axis] = (pads[i], pads[i + len(chosen)])
    return b.pad(x, value if mode == "constant" else None, pads=pairs, mode=mode)  # type: ignore[no-any-return]


def _pads_of_all_axes(b: Lowering, x: Var, pads: Var, axes: Var) -> Var:
    """Pads for axes that only the run knows, as pads for all axes."""
    rank = len(x.shape)
    none, places = np.zeros(rank, np.int64), b.mod(b.cast(axes, to=i64), np.int64(rank))
    halves = b.reshape(b.cast(pads, to=i64), shape=(2, -1))
    before, after = (b.scatter_elements(none, places, b.gather(halves, np.int64(i))) for i in (0, 1))
    return b.concat(before, after, axis=0)  # type: ignore[no-any-return]


def _pad_at_run_time(b: Lowering, x: Var, pads: Var, axes: Sequence[int] | None, mode: str, value: Var | None) -> Var:
    """Pads that only the run knows: along each axis, elements are taken at places that mean what the mode says."""
    chosen = range(len(x.shape)) if axes is None else axes
    fill = b.constant(0, dtype=x.tensor.dtype.numpy) if value is None else value
    for i, axis in enumerate(axis_of(a, len(x.shape)) for a in chosen):
        before, after = (b.cast(b.gather(pads, np.int64(k)), to=i64) for k in (i, i + len(chosen)))
        size = b.gather(b.shape(x), np.int64(axis))
        places, last = b.range(b.neg(before), b.add(size, after), np.int64(1)), b.sub(size, 1)
        inside = b.minimum(b.maximum(places, np.int64(0)), last)
        if mode == "wrap":
            inside = b.mod(places, size)
        elif mode == "reflect":
            turn = b.mod(places, b.maximum(b.mul(last, 2), np.int64(1)))
            inside = b.minimum(turn, b.sub(b.mul(last, 2), turn))
        taken = b.gather(x, inside, axis=axis)
        if mode == "constant":
            column = b.reshape(b.equal(places, inside), shape=(-1, *[1] * (len(x.shape) - axis - 1)))
            taken = b.where(column, taken, fill)
        x = taken
    return x


@onnx("Tile")
def tile(b: Lowering, input: Var, repeats: Var) -> Var:
    return b.tile(input, repeats=repeats)


@onnx("Expand")
def expand(b: Lowering, input: Var, shape: Var) -> Var:
    return b.expand(input, shape=shape)


@onnx("Shape")
def shape(b: Lowering, data: Var, *, start: int = 0, end: int | None = None) -> Var:
    everything = b.shape(data)
    return (
        everything
        if start == 0 and end is None
        else b.slice(everything, starts=(start,), ends=(2**31 - 1 if end is None else end,))
    )


@onnx("Size")
def size(b: Lowering, data: Var) -> Var:
    return b.size(data)


@onnx("DepthToSpace")
def depth_to_space(b: Lowering, input: Var, *, blocksize: int, mode: str = "DCR") -> Var:
    """(N, C, H, W) as (N, C / s^2, H s, W s): the channels' parts of a block are first (DCR) or last (CRD)."""
    s, (n, c, h, w) = blocksize, b.dims(input)
    part = b.over(c, s * s)
    if mode == "DCR":
        blocks, perm = b.reshape(input, shape=b.mixed((n, s, s, part, h, w))), (0, 3, 4, 1, 5, 2)
    else:
        blocks, perm = b.reshape(input, shape=b.mixed((n, part, s, s, h, w))), (0, 1, 4, 2, 5, 3)
    return b.reshape(b.transpose(blocks, perm=perm), shape=b.mixed((n, part, b.times(h, s), b.times(w, s))))


@onnx("SpaceToDepth")
def space_to_depth(b: Lowering, input: Var, *, blocksize: int, mode: str = "DCR") -> Var:
    """(N, C, H, W) as (N, C s^2, H / s, W / s), the inverse of DepthToSpace."""
    s, (n, c, h, w) = blocksize, b.dims(input)
    high, wide = b.over(h, s), b.over(w, s)
    blocks = b.reshape(input, shape=b.mixed((n, c, high, s, wide, s)))
    perm = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return b.reshape(b.transpose(blocks, perm=perm), shape=b.mixed((n, b.times(c, s * s), high, wide)))


@onnx("ReverseSequence")
def reverse_sequence(b: Lowering, input: Var, sequence_lens: Var, *, batch_axis: int = 1, time_axis: int = 0) -> Var:
    """The core op has the batch first."""
    if (batch_axis, time_axis) == (0, 1):
        return b.reverse_sequence(input, sequence_lens, axis=1)
    perm = (1, 0, *range(2, len(input.shape)))
    return b.transpose(b.reverse_sequence(b.transpose(input, perm=perm), sequence_lens, axis=1), perm=perm)
