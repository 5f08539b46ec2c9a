"""Normalisation and softmax.  Statistics of narrow floats are taken in float32; all passes over a block of rows
follow each other while it is in cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..registry import Array, Scratch, Step, function, is_constant, kernel
from .rows import Row, as_matrix, contiguous, converted, row_blocks, wide_dtype

Ints = tuple[int, ...]


def _target(out: Array, dtype: np.dtype[Any], scratch: Scratch) -> Array:
    """Where to compute: out itself if it is contiguous and of the dtype, otherwise scratch."""
    return out if out.dtype == dtype and out.flags.c_contiguous else scratch(out.shape, dtype)


def _delivered(steps: list[Step], result: Array, out: Array) -> list[Step]:
    return steps if result is out else [*steps, partial(np.copyto, out, result, casting="unsafe")]


# ---- given statistics ----------------------------------------------------------------------------------------


@kernel
def batch_norm(
    x: Array, scale: Array | None, bias: Array | None, mean: Array, variance: Array, *,
    axis: int, epsilon: float, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """x · a + b with a = scale / sqrt(variance + epsilon), b = bias - mean · a, which are constants as a rule."""
    wide = wide_dtype(x.dtype)
    fold = partial(_fold_statistics, scale, bias, mean, variance, epsilon)
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


def _fold_statistics(
    scale: Array | None, bias: Array | None, mean: Array, variance: Array, epsilon: float, a: Array, b: Array
) -> None:
    a[...] = (1.0 if scale is None else scale.astype(np.float64)) / np.sqrt(variance.astype(np.float64) + epsilon)
    b[...] = (0.0 if bias is None else bias.astype(np.float64)) - mean.astype(np.float64) * a


def _scale_and_shift(
    x: Array, a: Array, b: Array, axis: int, out: Array, wide: np.dtype[Any], scratch: Scratch
) -> list[Step]:
    """out = x · a + b, a and b belonging to an axis."""
    steps: list[Step] = []
    result = _target(out, wide, scratch)
    if axis == x.ndim - 1:
        rows, target = (as_matrix(m, a.size) for m in (contiguous(x, wide, steps, scratch), result))
        scale, shift = (Row(v, len(rows), wide, steps, scratch) for v in (a, b))
        for block in row_blocks(*rows.shape):
            steps += scale.steps(np.multiply, rows[block], target[block])
            steps += shift.steps(np.add, target[block], target[block])
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
    means, roots = scratch(shape[0], wide), scratch(shape[0], wide)
    parts = [None if p is None else _row_of(p, x.shape, last, straight, wide, steps, scratch) for p in (scale, bias)]
    by_row = all(p is None or r is not None for p, r in zip((scale, bias), parts))
    factor, summand = parts if by_row else (None, None)
    for block in row_blocks(*shape):
        part = rows[block], target[block], means[block], roots[block]
        steps.append(partial(_normalize_rows, *part, epsilon, center, factor, summand))
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


def _normalize_rows(
    x: Array, out: Array, mean: Array, root: Array, epsilon: float, center: bool, factor: Array | None,
    summand: Array | None,
) -> None:  # fmt: skip
    width = x.shape[1]
    if center:
        np.add.reduce(x, axis=1, out=mean)
        np.divide(mean, width, out=mean)
        np.subtract(x, mean[:, None], out=out)
        x = out
    np.vecdot(x, x, out=root)
    np.divide(root, width, out=root)
    np.add(root, epsilon, out=root)
    np.sqrt(root, out=root)
    np.divide(x, root[:, None], out=out)
    if factor is not None:
        np.multiply(out, factor, out=out)
    if summand is not None:
        np.add(out, summand, out=out)


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
    blocks = list(row_blocks(shape[0], shape[1] * shape[2]))
    extreme = scratch((blocks[0].stop, 1, shape[2]), wide)
    work = scratch((blocks[0].stop, *shape[1:]), wide)
    for block in blocks:
        count = block.stop - block.start
        steps.append(partial(compute, source[block], target[block], extreme[:count], work[:count]))
    return _delivered(steps, result, out)


def _softmax(x: Array, out: Array, extreme: Array, work: Array) -> None:
    np.maximum.reduce(x, axis=1, out=extreme, keepdims=True)
    np.subtract(x, extreme, out=out)
    np.exp(out, out=out)
    np.add.reduce(out, axis=1, out=extreme, keepdims=True)
    np.divide(out, extreme, out=out)


def _log_softmax(x: Array, out: Array, extreme: Array, work: Array) -> None:
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
