"""Normalisation and softmax.  Statistics of narrow floats are taken in float32; all passes over a block of rows
follow each other while it is in cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..copies import copy
from ..registry import Array, Scratch, Step, function, is_constant, kernel
from ..workers import cuts, together
from .rows import (
    LARGEST_EXPONENT,
    SMALLEST_TOTAL,
    Row,
    as_matrix,
    contiguous,
    converted,
    matrix_of,
    row_blocks,
    spread_rows,
    wide_dtype,
)

Ints = tuple[int, ...]

LONGEST_ROW = 1 << 14  # that BLAS may add up: it does so one after the other, in a few dozen lanes
ELEMENT_FLOPS = 64  # what an element counts for where work is shared out: products go so much faster
CANCELLING = 10.0  # times the variance: a squared mean above costs digits when it is taken away from the mean square


def _target(out: Array, dtype: np.dtype[Any], scratch: Scratch) -> Array:
    """Where to compute: out itself if it is contiguous and of the dtype, otherwise scratch."""
    return out if out.dtype == dtype and out.flags.c_contiguous else scratch(out.shape, dtype)


def _delivered(steps: list[Step], result: Array, out: Array) -> list[Step]:
    return steps if result is out else [*steps, partial(np.copyto, out, result, casting="unsafe")]


# ---- given statistics ----------------------------------------------------------------------------------------


@kernel(strided=True)
def batch_norm(
    x: Array, scale: Array | None, bias: Array | None, mean: Array, variance: Array, *,
    axis: int, epsilon: float, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """x · a + b with a = scale / sqrt(variance + epsilon), b = bias - mean · a, which are constants as a rule."""
    wide = wide_dtype(x.dtype)
    fold = partial(fold_statistics, scale, bias, mean, variance, epsilon)
    steps: list[Step] = []
    if all(p is None or is_constant(p) for p in (scale, bias, mean, variance)):
        a, b = np.empty(mean.shape), np.empty(mean.shape)
        fold(a, b)
        for constant in (a, b):
            constant.flags.writeable = False
    else:
        a, b = scratch(mean.shape, np.float64), scratch(mean.shape, np.float64)
        steps.append(partial(fold, a, b))
    return steps + _scale_and_shift(x, a, b, axis % x.ndim, out, wide, scratch)


def fold_statistics(
    scale: Array | None, bias: Array | None, mean: Array, variance: Array, epsilon: float, a: Array, b: Array
) -> None:
    a[...] = (1.0 if scale is None else scale.astype(np.float64)) / np.sqrt(variance.astype(np.float64) + epsilon)
    b[...] = (0.0 if bias is None else bias.astype(np.float64)) - mean.astype(np.float64) * a


def _scale_and_shift(
    x: Array, a: Array, b: Array, axis: int, out: Array, wide: np.dtype[Any], scratch: Scratch
) -> list[Step]:
    """out = x · a + b, a and b belonging to an axis."""
    steps: list[Step] = []
    result = out if out.dtype == wide else scratch(out.shape, wide)
    if axis == x.ndim - 1:
        steps += _scaled_rows(x, a, b, result, wide, scratch)
        return _delivered(steps, result, out)
    x = converted(x, wide, steps, scratch)
    shape = (-1, *(1,) * (x.ndim - axis - 1))
    factor, summand = (converted(v, wide, steps, scratch).reshape(shape) for v in (a, b))
    for i in range(len(x)) if axis else [...]:  # sample by sample
        steps += [
            partial(np.multiply, x[i], factor, out=result[i]),
            partial(np.add, result[i], summand, out=result[i]),
        ]
    return _delivered(steps, result, out)


def _scaled_rows(x: Array, a: Array, b: Array, out: Array, wide: np.dtype[Any], scratch: Scratch) -> list[Step]:
    """out = x · a + b, a and b belonging to the last axis; rows of x and out may be parts of wider ones.

    A block of such rows is put side by side first: NumPy wants long loops.
    """
    steps: list[Step] = []
    rows, target = (matrix_of(m, a.size) if m.dtype == wide else None for m in (x, out))
    rows = as_matrix(contiguous(x, wide, steps, scratch), a.size) if rows is None else rows
    target, given = scratch(rows.shape, wide) if target is None else target, target
    scale, shift = (Row(v, len(rows), wide, steps, scratch) for v in (a, b))
    blocks = list(row_blocks(*rows.shape))
    room = target if target.flags.c_contiguous else scratch((blocks[0].stop if blocks else 0, a.size), wide)
    for block in blocks:
        source, place = rows[block], target[block]
        here = place if room is target else room[: len(place)]
        if not rows.flags.c_contiguous:
            steps.append(copy(here, source))
            source = here
        steps += scale.steps(np.multiply, source, here)
        steps += shift.steps(np.add, here, here)
        if here is not place:
            steps.append(copy(place, here))
    return steps if target is given else [*steps, partial(np.copyto, out, target.reshape(out.shape))]


# ---- statistics of the sample --------------------------------------------------------------------------------


@kernel
def layer_norm(
    x: Array, scale: Array | None, bias: Array | None, *, axes: Ints, epsilon: float, out: Array, scratch: Scratch
) -> list[Step]:
    return _normalize(x, scale, bias, axes, epsilon, True, out, scratch)


@kernel
def rms_norm(x: Array, scale: Array | None, *, axes: Ints, epsilon: float, out: Array, scratch: Scratch) -> list[Step]:
    return _normalize(x, scale, None, axes, epsilon, False, out, scratch)


def _normalize(
    x: Array, scale: Array | None, bias: Array | None, axes: Ints, epsilon: float, center: bool,
    out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """Rows of what is normalised together: the trailing axes as they lie, others through a transposed copy."""
    if x.size == 0:
        return []
    wide = wide_dtype(x.dtype)
    steps: list[Step] = []
    last = tuple(sorted(a % x.ndim for a in axes))
    first = tuple(i for i in range(x.ndim) if i not in last)
    perm = first + last
    source = contiguous(x.transpose(perm), wide, steps, scratch)
    straight = perm == tuple(range(x.ndim))
    result = _target(out, wide, scratch) if straight else scratch(source.shape, wide)
    width = math.prod(x.shape[a] for a in last)
    shape = (math.prod(x.shape[a] for a in first), width)
    rows, target = source.reshape(shape), result.reshape(shape)
    parts = [None if p is None else _row_of(p, x.shape, last, straight, wide, steps, scratch) for p in (scale, bias)]
    by_row = all(p is None or r is not None for p, r in zip((scale, bias), parts))
    factor, summand = parts if by_row else (None, None)
    fixed = np.full(width, 1 / max(width, 1), wide), *_combinations(factor, summand, width, wide, steps, scratch)
    branches = []
    for blocks in _shares(*shape):
        room = Moments.of_block(blocks[0], width, scratch, wide, fixed)
        branches.append([partial(_normalize_rows, rows[b], target[b], room.first(b), epsilon, center) for b in blocks])
    steps += together(branches)
    if not straight:
        result = result.transpose(np.argsort(perm))
    if by_row:
        return _delivered(steps, result, out)
    wider = [None if p is None else converted(p, wide, steps, scratch) for p in (scale, bias)]
    for ufunc, operand in zip((np.multiply, np.add), wider):
        if operand is not None:
            steps.append(partial(ufunc, result, operand, out=result))
    return _delivered(steps, result, out)


def _row_of(
    p: Array, shape: Ints, last: Ints, straight: bool, dtype: np.dtype[Any], steps: list[Step], scratch: Scratch
) -> Array | None:
    """scale or bias as one row, where it is the same for all rows."""
    inner = len(last)
    if not straight or math.prod(p.shape[: max(p.ndim - inner, 0)]) != 1:
        return None
    plain = p.reshape(p.shape[max(p.ndim - inner, 0) :])
    wanted = shape[len(shape) - inner :]
    if plain.shape != wanted:
        full = np.broadcast_to(plain, wanted)
        if not is_constant(p):  # a broadcast view is read-only, but no constant
            copy = scratch(wanted, dtype)
            steps.append(partial(np.copyto, copy, full, casting="unsafe"))
            return copy.reshape(-1)
        plain = full
    return contiguous(plain, dtype, steps, scratch).reshape(-1)


def _shares(rows: int, width: int) -> list[list[slice]]:
    """The blocks of each branch, the longest first."""
    shares = []
    for part in cuts(rows, rows * width * ELEMENT_FLOPS):
        blocks = row_blocks(part.stop - part.start, width)
        shares.append([slice(part.start + b.start, part.start + b.stop) for b in blocks])
    return shares


class Moments(NamedTuple):
    """Scratch for a block of rows, a constant row of 1 / width, and two matrices of two rows each.

    With c the columns [-m r, 1, r] of mean m and reciprocal deviation r: c[:, 1:] @ factors is r · scale, c[:, :2] @
    summands is bias - m r · scale.  NumPy combines two whole arrays faster than an array and a column or a row, also
    when BLAS has to make the second one before.
    """

    mean: Array
    variance: Array
    square: Array
    columns: Array
    work: Array
    average: Array
    factors: Array
    summands: Array

    @staticmethod
    def of_block(
        block: slice, width: int, scratch: Scratch, dtype: np.dtype[Any], fixed: tuple[Array, Array, Array]
    ) -> Moments:
        """Scratch for blocks of at most this size."""
        most = block.stop - block.start
        mean, variance, square, columns, work = (
            scratch(shape, dtype) for shape in (most, most, most, (most, 3), (most, width))
        )
        return Moments(mean, variance, square, columns, work, *fixed)

    def first(self, block: slice) -> Moments:
        """The same for as many rows as a block has."""
        mean, variance, square, columns, work = (a[: block.stop - block.start] for a in self[:5])
        return Moments(mean, variance, square, columns, work, *self[5:])


def _combinations(
    factor: Array | None, summand: Array | None, width: int, dtype: np.dtype[Any], steps: list[Step], scratch: Scratch
) -> tuple[Array, Array]:
    """[0, scale] and [scale, bias]: made now of constants, otherwise by steps."""
    fixed = all(p is None or is_constant(p) for p in (factor, summand))
    room = (np.empty if fixed else scratch)((4, width), dtype)
    scale, bias = 1 if factor is None else factor, 0 if summand is None else summand
    fill = [partial(np.copyto, row, value) for row, value in zip(room, (0, scale, scale, bias))]
    if fixed:
        for step in fill:
            step()
    else:
        steps += fill
    return room[:2], room[2:]


def _normalize_rows(x: Array, out: Array, room: Moments, epsilon: float, center: bool) -> None:
    """out = (x - mean) r · scale + bias of each row; without the mean where it is not to be taken away."""
    columns = room.columns
    if x.shape[1] > LONGEST_ROW or not _short_moments(x, room, center):
        _long_moments(x, out, room, center)
        x = out
    np.add(room.variance, epsilon, out=room.variance)
    np.sqrt(room.variance, out=room.variance)
    np.reciprocal(room.variance, out=columns[:, 2])
    columns[:, 1] = 1
    np.matmul(columns[:, 1:], room.factors, out=room.work)
    np.multiply(x, room.work, out=out)
    if center:
        np.multiply(room.mean, columns[:, 2], out=columns[:, 0])
        np.negative(columns[:, 0], out=columns[:, 0])
        np.matmul(columns[:, :2], room.summands, out=room.work)
        np.add(out, room.work, out=out)


def _short_moments(x: Array, room: Moments, center: bool) -> bool:
    """Mean of x, and mean of x² less its square, in sums as BLAS makes them; False where that would cancel."""
    np.vecdot(x, x, out=room.variance)
    np.multiply(room.variance, room.average[0], out=room.variance)
    if not center:
        return True
    np.dot(x, room.average, out=room.mean)
    np.square(room.mean, out=room.square)
    np.subtract(room.variance, room.square, out=room.variance)
    np.divide(room.square, CANCELLING, out=room.square)
    return bool((room.square <= room.variance).all())


def _long_moments(x: Array, out: Array, room: Moments, center: bool) -> None:
    """The same from sums that lose no digits, in two passes: of x less its mean, which is left in out.

    The mean is then what rounding has left of it.
    """
    width = x.shape[1]
    if center:
        np.divide(np.add.reduce(x, axis=1, out=room.mean), width, out=room.mean)
        np.subtract(x, room.mean[:, None], out=out)
        np.divide(np.add.reduce(out, axis=1, out=room.mean), width, out=room.mean)
    else:
        np.copyto(out, x)
    np.square(out, out=room.work)
    np.divide(np.add.reduce(room.work, axis=1, out=room.variance), width, out=room.variance)


@kernel
def group_norm(
    x: Array, scale: Array | None, bias: Array | None, *, groups: int, axis: int, epsilon: float,
    out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """Sample by sample (S, C): mean and variance of each channel, of each group, then x · a + b with one a and b a
    channel."""
    wide = wide_dtype(x.dtype)
    steps: list[Step] = []
    source = converted(x, wide, steps, scratch)
    result = out if out.dtype == wide else scratch(out.shape, wide)
    a = axis % x.ndim
    samples, targets = (np.moveaxis(m, a, -1) for m in (source, result))
    work = scratch(samples.shape[1:], wide)
    factors = [None if p is None else converted(p, wide, steps, scratch) for p in (scale, bias)]
    for sample, target in zip(samples, targets):
        steps.append(partial(_group_norm, sample, target, work, groups, epsilon, *factors))
    return _delivered(steps, result, out)


def _group_norm(
    x: Array, out: Array, work: Array, groups: int, epsilon: float, scale: Array | None, bias: Array | None
) -> None:
    """One sample (*S, C).  First over S, where NumPy adds whole rows, then over the few channels of each group."""
    channels = x.shape[-1]
    axes = tuple(range(x.ndim - 1))
    mean = _group_means(x, axes, groups)
    np.subtract(x, mean, out=work)
    if work is not out:
        np.copyto(out, work)
    np.square(work, out=work)
    factor = 1 / np.sqrt(_group_means(work, axes, groups) + x.dtype.type(epsilon))
    np.multiply(out, factor if scale is None else factor * scale, out=out)
    if bias is not None:
        np.add(out, bias, out=out)
    assert len(mean) == channels


def _group_means(x: Array, axes: Ints, groups: int) -> Array:
    """The mean of each channel's group, one number a channel."""
    channels = x.shape[-1]
    means = np.add.reduce(x, axis=axes).reshape(groups, -1).sum(axis=1) / x.dtype.type(max(x.size // groups, 1))
    return np.repeat(means, channels // groups)


@kernel
def lrn(
    x: Array, *, size: int, alpha: float, beta: float, bias: float, axis: int, out: Array, scratch: Scratch
) -> list[Step]:
    """Squares with zeros around them, and the sum of `size` shifted views of these."""
    wide = wide_dtype(x.dtype)
    steps: list[Step] = []
    source, target = np.moveaxis(converted(x, wide, steps, scratch), axis, -1), np.moveaxis(out, axis, -1)
    channels, before = source.shape[-1], (size - 1) // 2
    squares = scratch((*source.shape[:-1], channels + size - 1), wide)
    total = scratch(source.shape, wide)
    steps += [
        partial(squares[..., :before].fill, 0),
        partial(squares[..., before + channels :].fill, 0),
        partial(np.square, source, out=squares[..., before : before + channels]),
        partial(np.copyto, total, squares[..., :channels]),
    ]
    steps += [partial(np.add, total, squares[..., i : i + channels], out=total) for i in range(1, size)]
    steps += [
        partial(np.multiply, total, alpha / size, out=total),
        partial(np.add, total, bias, out=total),
        partial(np.power, total, -beta, out=total),
        partial(np.multiply, source, total, out=total),
        partial(np.copyto, target, total, casting="unsafe"),
    ]
    return steps


@function
def lp_norm(x: Array, *, axis: int, p: int, epsilon: float) -> Array:
    wide = x.astype(wide_dtype(x.dtype))
    size = np.abs(wide).sum(axis, keepdims=True) if p == 1 else np.sqrt(np.square(wide).sum(axis, keepdims=True))
    size = np.maximum(size, wide.dtype.type(epsilon))
    return (wide / np.where(size == 0, wide.dtype.type(1), size)).astype(x.dtype)


# ---- softmax -------------------------------------------------------------------------------------------------


def _bind_softmax(compute: Callable[..., None], x: Array, *, axis: int, out: Array, scratch: Scratch) -> list[Step]:
    """x as (outer, n, inner), block by block of the outer axis; out may be x."""
    wide = wide_dtype(x.dtype)
    steps: list[Step] = []
    result = _target(out, wide, scratch)
    if x.dtype != wide or not x.flags.c_contiguous:
        steps.append(partial(np.copyto, result, x, casting="unsafe"))
        x = result
    a = axis % x.ndim if x.ndim else 0
    shape = (math.prod(x.shape[:a]), x.shape[a] if x.ndim else 1, math.prod(x.shape[a + 1 :]))
    source, target = x.reshape(shape), result.reshape(shape)
    if x.size == 0:
        return []
    ones, branches = np.ones(shape[1], wide), []
    for blocks in _shares(shape[0], shape[1] * shape[2]):
        most = blocks[0].stop - blocks[0].start
        extreme, work = scratch((most, 1, shape[2]), wide), scratch((most, *shape[1:]), wide)
        counts = [block.stop - block.start for block in blocks]
        branches.append([partial(compute, source[b], target[b], extreme[:n], work[:n], ones)
                         for b, n in zip(blocks, counts)])  # fmt: skip
    return _delivered(steps + together(branches), result, out)


def _powers(x: Array, extreme: Array, work: Array, ones: Array) -> bool:
    """exp(x) in work and its sums in `extreme`, of rows that lie side by side; False where the largest number has to
    be taken away first.

    The largest number of each row costs as much as exp, that of all rows a fifth of it; and BLAS adds up faster.
    """
    if x.shape[2] != 1 or not x.max() <= LARGEST_EXPONENT:
        return False
    np.exp(x, out=work)
    totals = extreme.reshape(-1)
    np.dot(work[:, :, 0], ones, out=totals)
    return bool(totals.min() >= SMALLEST_TOTAL)


def _softmax(x: Array, out: Array, extreme: Array, work: Array, ones: Array) -> None:
    if _powers(x, extreme, work, ones):
        np.reciprocal(extreme, out=extreme)
        spread_rows(extreme[:, 0], out)
        np.multiply(out, work, out=out)
        return
    np.maximum.reduce(x, axis=1, out=extreme, keepdims=True)
    np.subtract(x, extreme, out=out)
    np.exp(out, out=out)
    np.add.reduce(out, axis=1, out=extreme, keepdims=True)
    np.divide(out, extreme, out=out)


def _log_softmax(x: Array, out: Array, extreme: Array, work: Array, ones: Array) -> None:
    if _powers(x, extreme, work, ones):
        np.log(extreme, out=extreme)
        spread_rows(extreme[:, 0], work)
        np.subtract(x, work, out=out)
        return
    np.maximum.reduce(x, axis=1, out=extreme, keepdims=True)
    np.subtract(x, extreme, out=out)
    np.exp(out, out=work)
    np.add.reduce(work, axis=1, out=extreme, keepdims=True)
    np.log(extreme, out=extreme)
    np.subtract(out, extreme, out=out)


kernel(partial(_bind_softmax, _softmax), "softmax")
kernel(partial(_bind_softmax, _log_softmax), "log_softmax")


@kernel
def hardmax(x: Array, *, axis: int, out: Array, scratch: Scratch) -> list[Step]:
    return [partial(out.fill, 0), partial(_mark_largest, x, axis, out)]


def _mark_largest(x: Array, axis: int, out: Array) -> None:
    if x.ndim == 0:
        out[...] = 1
    else:
        np.put_along_axis(out, x.argmax(axis, keepdims=True), 1, axis)


@function
def sparsemax(x: Array, *, axis: int) -> Array:
    """max(x - t, 0), with t such that the sum is 1: found from the sorted elements z as (sum of the first k z - 1) / k,
    k being the largest for which 1 + k z_k exceeds the sum of the first k."""
    z = np.moveaxis(x.astype(wide_dtype(x.dtype)), axis, -1)
    ordered = -np.sort(-z, axis=-1)
    sums = np.cumsum(ordered, axis=-1)
    k = np.arange(1, z.shape[-1] + 1, dtype=z.dtype)
    support = (1 + k * ordered > sums).sum(-1, keepdims=True)
    t = (np.take_along_axis(sums, support - 1, -1) - 1) / support.astype(z.dtype)
    return np.moveaxis(np.maximum(z - t, 0), -1, axis).astype(x.dtype)
