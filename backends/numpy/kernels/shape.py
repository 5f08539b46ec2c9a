"""Kernels that move elements: views, concat, pad, tile, repeat, and shapes as values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ....ir.ops.shape import python_slices
from ....ir.types import DType
from ..copies import copy
from ..registry import Array, Scratch, Step, function, kernel, same_place, view

Ints = tuple[int, ...]

# ---- views ---------------------------------------------------------------------------------------------------


@view
def reshape(x: Array, *, shape: Ints) -> Array:
    """x in another shape; ValueError where the elements do not lie as that needs."""
    return np.reshape(x, shape, copy=False)


@view
def transpose(x: Array, *, perm: Ints) -> Array:
    return x.transpose(perm)


@view
def squeeze(x: Array, *, axes: Ints | None) -> Array:
    return x.squeeze(axes)


@view
def unsqueeze(x: Array, *, axes: Ints) -> Array:
    return np.expand_dims(x, axes)


@view
def expand(x: Array, *, shape: Ints) -> Array:
    """x broadcast with a shape.  np.broadcast_to would be read-only, which is the mark of a constant."""
    result = np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape)))
    return as_strided(x, result.shape, result.strides, writeable=x.flags.writeable)


@view
def split(x: Array, *, axis: int, sizes: Ints) -> tuple[Array, ...]:
    along = np.moveaxis(x, axis, 0)
    ends = np.cumsum(sizes)
    return tuple(np.moveaxis(along[end - size : end], 0, axis) for size, end in zip(sizes, ends))


@view
def slice_(x: Array, *, starts: Ints, ends: Ints, axes: Ints | None, steps: Ints | None) -> Array:
    return x[python_slices(x.ndim, starts, ends, axes, steps)]


@kernel
def unslice(
    x: Array, *, shape: Ints, starts: Ints, ends: Ints, axes: Ints | None, steps: Ints | None, out: Array,
    scratch: Scratch,
) -> list[Step]:  # fmt: skip
    place = out[python_slices(out.ndim, starts, ends, axes, steps)]
    return [partial(out.fill, 0), copy(place, x)]


# ---- copies --------------------------------------------------------------------------------------------------


def _parts_of_concat(out: Array, shapes: Sequence[Ints], *, axis: int) -> list[Array]:
    sizes = [shape[axis] for shape in shapes]
    before = (slice(None),) * (axis % out.ndim)
    return [out[before + (slice(end - size, end),)] for size, end in zip(sizes, accumulate(sizes))]


@kernel(strided=True, parts=_parts_of_concat)
def concat(*xs: Array, axis: int, out: Array, scratch: Scratch) -> list[Step]:
    """The operands in their parts of out, but for those that lie there already."""
    missing = [pair for pair in zip(_parts_of_concat(out, [x.shape for x in xs], axis=axis), xs)
               if not same_place(*pair)]  # fmt: skip
    if len(missing) == len(xs):
        return [partial(np.concatenate, xs, axis=axis, out=out)]
    return [copy(*pair) for pair in missing]


def _middle_of_pad(
    out: Array, shapes: Sequence[Ints], *, pads: tuple[tuple[int, int], ...], mode: str
) -> list[Array | None]:
    """The place of x, where nothing of it is cut away; what the borders hold has no place."""
    cut = any(n < 0 for pair in pads for n in pair)
    middle = tuple(slice(before, before + size) for size, (before, _) in zip(shapes[0], pads))
    return [None if cut else out[middle], *[None] * (len(shapes) - 1)]


@kernel(strided=True, parts=_middle_of_pad)
def pad(
    x: Array, value: Array | None, *, pads: tuple[tuple[int, int], ...], mode: str, out: Array, scratch: Scratch
) -> list[Step]:
    """The elements of x in the middle, if they are not there already, then border after border.

    An axis is padded over the whole extent of the axes before it, and over the middle of those after it: corners of
    the mirroring modes come out of borders that are done.
    """
    x = x[tuple(slice(max(-a, 0), size - max(-b, 0)) for size, (a, b) in zip(x.shape, pads))]  # negative: cut away
    pads = tuple((max(a, 0), max(b, 0)) for a, b in pads)
    middle = [slice(a, a + size) for size, (a, _) in zip(x.shape, pads)]
    inside = out[tuple(middle)]
    steps: list[Step] = [] if same_place(inside, x) else [copy(inside, x)]
    for axis, (size, (before, after)) in enumerate(zip(x.shape, pads)):
        extent = (*(slice(None),) * (axis + 1), *middle[axis + 1 :])
        along = np.moveaxis(out[extent], axis, 0)
        for place, source in _borders(size, before, after, mode):
            if mode == "constant":
                steps.append(partial(np.copyto, along[place], 0 if value is None else value.reshape(())))
            else:
                steps.append(copy(along[place], along[before:][:size][source]))
    return steps


def _borders(size: int, before: int, after: int, mode: str) -> Iterator[tuple[slice, slice]]:
    """Where an axis is padded (a slice of the result) and with what (a slice of x)."""
    for first, last in ((-before, 0), (size, size + after)):
        while first < last:
            source, length = _run(first, size, mode)
            length = min(length, last - first)
            yield slice(first + before, first + before + length), _ahead(source, length, mode, first, size)
            first += length


def _period(size: int, mode: str) -> int:
    return {"reflect": max(2 * size - 2, 1), "symmetric": 2 * size, "wrap": size}.get(mode, 1)


def _run(place: int, size: int, mode: str) -> tuple[int, int]:
    """The place in x that a place of the border shows, and for how many places that goes on in one direction."""
    if mode in ("constant", "edge"):
        return (0 if place < 0 else size - 1), 1 << 60
    phase = place % _period(size, mode)
    if phase < size:
        return phase, size - phase
    return _period(size, mode) - phase - (mode == "symmetric"), _period(size, mode) - phase


def _ahead(source: int, length: int, mode: str, place: int, size: int) -> slice:
    """`length` places from `source` on, in the direction of the mirror at this place; one place for an edge."""
    if mode in ("constant", "edge"):
        return slice(source, source + 1)
    if place % _period(size, mode) < size:
        return slice(source, source + length)
    return slice(source, source - length if source >= length else None, -1)


@kernel
def tile(x: Array, *, repeats: Ints, out: Array, scratch: Scratch) -> Step:
    """Every axis of out as (repeats, size), into which x is broadcast."""
    return _copy_broadcast(out, [(r, d) for r, d in zip(repeats, x.shape)], x, [(1, d) for d in x.shape])


@kernel
def repeat(x: Array, *, repeats: int, axis: int, out: Array, scratch: Scratch) -> Step:
    """The axis of out as (size, repeats), into which x is broadcast."""
    a = axis % x.ndim
    wide = [(d, repeats if i == a else 1) for i, d in enumerate(x.shape)]
    return _copy_broadcast(out, wide, x, [(d, 1) for d in x.shape])


def _copy_broadcast(out: Array, wide: list[tuple[int, int]], x: Array, narrow: list[tuple[int, int]]) -> Step:
    target = out.reshape([n for pair in wide for n in pair], copy=False)
    return copy(target, x.reshape([n for pair in narrow for n in pair], copy=False))


@function
def reverse_sequence(x: Array, lengths: Array, *, axis: int) -> Array:
    """x[n, t] becomes x[n, lengths[n] - 1 - t] for t < lengths[n]."""
    rows = np.moveaxis(x, axis, 1)
    time = np.arange(rows.shape[1])
    lengths = lengths.reshape(-1, 1)
    places = np.where(time < lengths, lengths - 1 - time, time)
    return np.moveaxis(rows[np.arange(len(rows))[:, None], places], 1, axis)


# ---- shapes as values ----------------------------------------------------------------------------------------


@kernel
def shape(x: Array, *, out: Array, scratch: Scratch) -> Step:
    return partial(np.copyto, out, np.array(x.shape, np.int64))


@kernel
def size(x: Array, *, out: Array, scratch: Scratch) -> Step:
    return partial(out.fill, x.size)


@kernel
def fill(value: Array, *, shape: Ints, out: Array, scratch: Scratch) -> Step:
    return partial(np.copyto, out, value.reshape(()))


@function
def range_(start: Array, limit: Array, delta: Array) -> Array:
    """start + i delta for i < (limit - start) / delta; the count is found in Python's numbers."""
    first, last, step = (a.reshape(()).item() for a in (start, limit, delta))
    if isinstance(first, int):
        return np.array(range(first, last, step), start.dtype)
    count = max(math.ceil((last - first) / step), 0)
    return (first + np.arange(count) * step).astype(start.dtype)


@kernel
def eye(*, rows: int, columns: int, k: int, dtype: DType, out: Array, scratch: Scratch) -> list[Step]:
    low, high = max(k, 0), min(columns, rows + k)  # columns that hold a one
    places = np.arange(low, max(high, low))
    return [partial(out.fill, 0), partial(out.__setitem__, (places - k, places), 1)]
