"""Ops that move elements without changing them: reshape, transpose, slice, concat, pad, tile, and shapes as values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import dims
from ..attributes import Dims, Ints, Pairs
from ..dims import UNKNOWN, Dim
from ..op import axes_of, axis_of, broadcast, op, require, require_dim, same_dtype, shape_text
from ..types import DType, Tensor, Unknown, f32, i64


def _without_minus_one(types: tuple[Tensor, ...], attrs: dict[str, Any]) -> dict[str, Any]:
    """The shape with -1 spelled out where that is known: it stays right for an empty batch."""
    x, shape = types[0], attrs["shape"]
    if x.shape is None or shape.count(-1) != 1:
        return attrs
    count, rest = dims.product(x.shape), dims.product(d for d in shape if d != -1)
    if rest == 0 or dims.remainder(count, rest) != 0:
        return attrs
    return {"shape": tuple(count // rest if d == -1 else d for d in shape)}


@op("view", "regroups", canonical=_without_minus_one)
def reshape(x: Tensor, *, shape: Dims) -> Tensor:
    """x with the same elements (C order) in another shape; one entry may be -1: what is left."""
    if x.shape is None:
        return Tensor(x.dtype, tuple(UNKNOWN if d == -1 else d for d in shape), x.value)
    count = dims.product(x.shape)
    require(shape.count(-1) <= 1, lambda: f"shape {shape_text(shape)} has more than one -1")
    rest = dims.product(d for d in shape if d != -1)
    if -1 in shape:
        require(rest != 0, f"shape {shape_text(shape)}: -1 beside 0 tells nothing")
        require(dims.remainder(count, rest) == 0 or not isinstance(count, int) or not isinstance(rest, int),
                f"{count} elements of {shape_text(x.shape)} do not fit {shape_text(shape)}")  # fmt: skip
        shape = tuple(count // rest if d == -1 else d for d in shape)
    else:
        shape = _solved(shape, count, rest)
        require(dims.compatible(count, dims.product(shape)),
                lambda: f"{count} elements of {shape_text(x.shape)} do not fit {shape_text(shape)}")  # fmt: skip
    return Tensor(x.dtype, shape, x.value if len(shape) <= 1 else None)


def _solved(shape: Dims, count: Dim, rest: Dim) -> Dims:
    """A single `?` among numbers follows from the number of elements."""
    if sum(not dims.known(d) for d in shape) != 1:
        return shape
    rest = dims.product(d for d in shape if dims.known(d))
    return tuple((count // rest if rest != 0 else UNKNOWN) if not dims.known(d) else d for d in shape)


@op("view", mixes=lambda rank, *, perm: ())
def transpose(x: Tensor, *, perm: Ints) -> Tensor:
    """Axis i of the result is axis perm[i] of x."""
    require(sorted(perm) == list(range(len(perm))), lambda: f"perm {perm} is no permutation")
    if x.shape is None:
        return Tensor(x.dtype, (UNKNOWN,) * len(perm))
    require(len(perm) == x.rank, lambda: f"perm {perm} does not fit shape {shape_text(x.shape)}")
    return Tensor(x.dtype, tuple(x.shape[p] for p in perm))


@op("view", "regroups")
def squeeze(x: Tensor, *, axes: Ints | None = None) -> Tensor:
    """x without the axes of size 1 (all such axes where `axes` is none)."""
    if axes is None:
        if not dims.is_number(x.dims):
            raise Unknown
        axes = tuple(i for i, d in enumerate(x.dims) if d == 1)
    gone = axes_of(axes, x.rank)
    for a in gone:
        require_dim(x.dims[a], 1, f"axis {a} to squeeze")
    shape = tuple(d for i, d in enumerate(x.dims) if i not in gone)
    return Tensor(x.dtype, shape, x.value)


@op("view", "regroups")
def unsqueeze(x: Tensor, *, axes: Ints) -> Tensor:
    """x with axes of size 1 put in; `axes` are places in the result."""
    rank = x.rank + len(axes)
    new, old = axes_of(axes, rank), iter(x.dims)
    return Tensor(x.dtype, tuple(1 if i in new else next(old) for i in range(rank)), x.value if rank <= 1 else None)


@op("view", "repeats", mixes=lambda rank, *, shape: ())
def expand(x: Tensor, *, shape: Dims) -> Tensor:
    """x broadcast together with `shape` (both ways, as ONNX Expand does)."""
    value = x.value * shape[0] if len(shape) == 1 and isinstance(shape[0], int) and x.value and len(x.value) == 1 and (
        shape[0] <= 64) else None  # fmt: skip
    return Tensor(x.dtype, broadcast(x.dims, tuple(shape)), value)


@op("permutes", mixes=lambda rank, *, axis: (axis % rank,))
def concat(*xs: Tensor, axis: int) -> Tensor:
    """The operands one after another along an axis; all other dimensions are the same."""
    require(bool(xs), "concat needs an operand")
    dtype = same_dtype(*xs)
    ranked = [x for x in xs if x.shape is not None]
    if not ranked:
        return Tensor(dtype, None)
    rank = ranked[0].rank
    a = axis_of(axis, rank)
    for x in ranked:
        require(x.rank == rank, lambda: f"ranks differ: {', '.join(shape_text(t.shape) for t in ranked)}")
    shape = list(ranked[0].dims)
    for i in range(rank):
        for x in ranked[1:]:
            if i != a:
                require_dim(x.dims[i], shape[i], f"axis {i} of an operand of concat")
                shape[i] = dims.unify(shape[i], x.dims[i])
    shape[a] = UNKNOWN if len(ranked) < len(xs) else sum((x.dims[a] for x in ranked[1:]), ranked[0].dims[a])
    known = rank == 1 and all(x.value is not None for x in xs)
    value = tuple(v for x in xs for v in x.value or ()) if known else None
    return Tensor(dtype, tuple(shape), value if value is None or len(value) <= 64 else None)


@op("view", "permutes", mixes=lambda rank, *, axis, sizes: (axis % rank,))
def split(x: Tensor, *, axis: int, sizes: Dims) -> tuple[Tensor, ...]:
    """Parts of the given sizes along an axis, in order; the sizes add up to the axis."""
    a = axis_of(axis, x.rank)
    total = sum(sizes[1:], sizes[0])
    require_dim(total, x.dims[a], f"the sum of the sizes {shape_text(sizes)}")
    return tuple(Tensor(x.dtype, (*x.dims[:a], s, *x.dims[a + 1 :])) for s in sizes)


BIG = 2**31 - 1  # ends beyond this mean "to the end", as ONNX exporters write it


def slice_length(dim: Dim, start: Dim, end: Dim, step: Dim) -> Dim:
    """The number of elements that NumPy's dim[start:end:step] picks; symbols are taken to be large enough."""
    if not (dims.known(start) and dims.known(end) and isinstance(step, int)):
        return UNKNOWN
    if isinstance(dim, int) and isinstance(start, int) and isinstance(end, int):
        return len(range(*slice(start, _stop(end, step), step).indices(dim)))
    if step > 0:
        low = _clamped(start, dim)
        high = dim if isinstance(end, int) and end >= BIG else _clamped(end, dim)
        length = high - low
        return dims.ceil_div(length, step) if not isinstance(length, int) or length > 0 else 0
    high = dim - 1 if isinstance(start, int) and (start >= BIG or start == -1) else _clamped(start, dim)
    low = -1 if isinstance(end, int) and end <= -BIG else _clamped(end, dim)
    return dims.ceil_div(high - low, -step)


def _clamped(place: Dim, dim: Dim) -> Dim:
    """A start or end as a place counted from the front."""
    if isinstance(place, int):
        return dim + place if place < 0 else dims.minimum(place, dim) if place else 0
    return dims.minimum(place, dim) if place != dim else dim


def _stop(end: int, step: int) -> int | None:
    """ONNX and Python differ in one point: with a negative step, an end of -BIG means "past the front"."""
    return None if step < 0 and end <= -BIG else end


def python_slices(rank: int, starts: Ints, ends: Ints, axes: Ints | None, steps: Ints | None) -> tuple[slice, ...]:
    """The NumPy index that `slice` means, all attributes being numbers."""
    index = [slice(None)] * rank
    chosen = range(len(starts)) if axes is None else axes
    for axis, start, end, step in zip(chosen, starts, ends, steps or (1,) * len(starts)):
        index[axis_of(axis, rank)] = slice(start, _stop(end, step), step)
    return tuple(index)


def _slice_mixes(rank: int, *, starts: Dims, ends: Dims, axes: Ints | None, steps: Ints | None) -> Iterable[int]:
    return {a % rank for a in (range(len(starts)) if axes is None else axes)}


@op("view", "permutes", name="slice", mixes=_slice_mixes)
def slice_(x: Tensor, *, starts: Dims, ends: Dims, axes: Ints | None = None, steps: Dims | None = None) -> Tensor:
    """x[start:end:step] along each of `axes` (by default the first ones), places and ends as Python's."""
    shape = list(x.dims)
    chosen = tuple(range(len(starts))) if axes is None else axes
    moves = tuple(steps) if steps is not None else (1,) * len(starts)
    require(len(starts) == len(ends) == len(chosen) == len(moves), "starts, ends, axes and steps differ in length")
    value = x.value
    for axis, start, end, step in zip(chosen, starts, ends, moves):
        a = axis_of(axis, x.rank)
        require(step != 0, "a step is 0")
        shape[a] = slice_length(shape[a], start, end, step)
        numbers = isinstance(start, int) and isinstance(end, int) and isinstance(step, int)
        value = value[slice(start, _stop(end, step), step)] if numbers and value is not None else None  # type: ignore
    return Tensor(x.dtype, tuple(shape), value)


@op()
def unslice(
    x: Tensor, *, shape: Dims, starts: Dims, ends: Dims, axes: Ints | None = None, steps: Dims | None = None
) -> Tensor:
    """Zeros of a shape, with x at the places that a slice picks: what undoes `slice`."""
    require(len(shape) == x.rank, f"{shape_text(x.shape)} is no slice of {shape_text(shape)}")
    return Tensor(x.dtype, tuple(shape))


PAD_MODES = ("constant", "reflect", "edge", "symmetric", "wrap")


@op("permutes", mixes=lambda rank, *, pads, mode: [i for i, p in enumerate(pads) if p != (0, 0)])
def pad(x: Tensor, value: Tensor | None = None, *, pads: Pairs, mode: str = "constant") -> Tensor:
    """x with `pads[i] = (before, after)` elements added to axis i (negative: taken away).

    They are `value` (a scalar, default 0), or by mode the mirror image without the edge (reflect) or with it
    (symmetric), the edge, or the other end (wrap).
    """
    require(mode in PAD_MODES, f"mode {mode!r} is none of {', '.join(PAD_MODES)}")
    require(len(pads) == x.rank, f"{len(pads)} pairs of pads for shape {shape_text(x.shape)}")
    shape = tuple(d + p[0] + p[1] for d, p in zip(x.dims, pads))
    require(all(not isinstance(d, int) or d >= 0 for d in shape), f"pads {pads} leave less than nothing")
    return Tensor(x.dtype, shape)


@op("permutes", mixes=lambda rank, *, repeats: [i for i, r in enumerate(repeats) if r != 1])
def tile(x: Tensor, *, repeats: Dims) -> Tensor:
    """x put beside itself repeats[i] times along axis i."""
    require(len(repeats) == x.rank, f"{len(repeats)} repeats for shape {shape_text(x.shape)}")
    return Tensor(x.dtype, tuple(d * r for d, r in zip(x.dims, repeats)))


@op("permutes", mixes=lambda rank, *, repeats, axis: (axis % rank,))
def repeat(x: Tensor, *, repeats: int, axis: int) -> Tensor:
    """Every element along the axis `repeats` times in a row: [a, b] becomes [a, a, b, b]."""
    a = axis_of(axis, x.rank)
    return Tensor(x.dtype, tuple(d * repeats if i == a else d for i, d in enumerate(x.dims)))


@op(mixes=lambda rank, *, axis: (axis % rank,))
def reverse_sequence(x: Tensor, lengths: Tensor, *, axis: int = 1) -> Tensor:
    """The first lengths[n] elements of x[n] along the axis in reverse, the others in place (batch axis 0)."""
    axis_of(axis, x.rank)
    return Tensor(x.dtype, x.shape)


# ---- shapes as values ----------------------------------------------------------------------------------------


@op()
def shape(x: Tensor) -> Tensor:
    """The dimensions of x: i64[rank]."""
    if x.shape is None:
        return Tensor(i64, (UNKNOWN,))
    return Tensor(i64, (x.rank,), x.dims if x.rank <= 64 else None)


@op()
def size(x: Tensor) -> Tensor:
    """The number of elements of x: i64[]."""
    return Tensor(i64, (), None if x.shape is None else (dims.product(x.shape),))


@op("repeats")
def fill(value: Tensor, *, shape: Dims) -> Tensor:
    """A tensor of the given shape with every element equal to `value` (a tensor of one element)."""
    count = shape[0] if len(shape) == 1 else None
    known = value.value * count if isinstance(count, int) and count <= 64 and value.value is not None else None
    return Tensor(value.dtype, tuple(shape), known)


@op()
def range_(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """start, start + delta, ... up to limit (exclusive): max(ceil((limit - start) / delta), 0) elements."""
    dtype = same_dtype(start, limit, delta)
    if any(t.value is None for t in (start, limit, delta)):
        return Tensor(dtype, (UNKNOWN,))
    (a,), (b,), (d,) = start.value, limit.value, delta.value  # type: ignore[misc]
    if dims.is_number((a, b, d)):
        numbers = tuple(range(a, b, d))  # type: ignore[arg-type]
        return Tensor(dtype, (len(numbers),), numbers if len(numbers) <= 64 else None)
    return Tensor(dtype, (dims.ceil_div(b - a, d) if isinstance(d, int) and d > 0 else UNKNOWN,))


@op()
def eye(*, rows: Dim, columns: Dim, k: int = 0, dtype: DType = f32) -> Tensor:
    """A matrix with ones on diagonal k (above the main one if positive), zeros elsewhere."""
    return Tensor(dtype, (rows, columns))
