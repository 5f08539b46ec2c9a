"""Softmax and normalisation of rows that lie side by side: three passes over a row while it is in L1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...numpy.kernels import norm as plain
from ...numpy.kernels.rows import contiguous
from ...numpy.registry import Array, Scratch, Step, is_constant
from ..compiler import Call, compiled, inlined
from ..crew import shares, together
from ..functions import exp_falling, log
from ..loops import Body, loop_over
from ..registry import row
from ..vectors import (
    LANES,
    first_lanes,
    fma,
    largest,
    load,
    load_some,
    maximum,
    spread,
    sqrt,
    store,
    store_some,
    total,
    where,
)

ELEMENT_FLOPS = 32  # what an element counts for where work is shared out
F32 = np.dtype(np.float32)
SCALED = Body(("v = fma(u0, u1, u2)",), ("v",), ("float32",) * 3, ("float32",))


# ---- compiled ------------------------------------------------------------------------------------------------


@inlined
def largest_of(size: int, x: int) -> Any:
    """The largest of some numbers; NaN if one is."""
    found = spread(np.float32(-np.inf))
    k = 0
    while k + LANES <= size:
        found = maximum(found, load(x + 4 * k))
        k += LANES
    if k < size:
        found = maximum(found, where(first_lanes(size - k), load_some(x + 4 * k, size - k), -np.inf))
    return largest(found)


@inlined
def sum_of(size: int, x: int) -> Any:
    """The sum of some numbers, lane by lane."""
    sums = spread(np.float32(0))
    k = 0
    while k + LANES <= size:
        sums = sums + load(x + 4 * k)
        k += LANES
    if k < size:
        sums = sums + load_some(x + 4 * k, size - k)
    return total(sums)


@compiled
def softmax_rows(rows: int, size: int, x: int, out: int) -> None:
    """exp(x - largest) / sum."""
    for r in range(rows):
        source, target = x + r * size * 4, out + r * size * 4
        top = spread(largest_of(size, source))
        sums = spread(np.float32(0))
        k = 0
        while k + LANES <= size:
            power = exp_falling(load(source + 4 * k) - top)
            store(target + 4 * k, power)
            sums = sums + power
            k += LANES
        if k < size:
            power = where(first_lanes(size - k), exp_falling(load_some(source + 4 * k, size - k) - top), 0.0)
            store_some(target + 4 * k, power, size - k)
            sums = sums + power
        factor = 1.0 / spread(total(sums))
        k = 0
        while k + LANES <= size:
            store(target + 4 * k, load(target + 4 * k) * factor)
            k += LANES
        if k < size:
            store_some(target + 4 * k, load_some(target + 4 * k, size - k) * factor, size - k)


@compiled
def log_softmax_rows(rows: int, size: int, x: int, out: int) -> None:
    """x - largest - log(sum of exp(x - largest))."""
    for r in range(rows):
        source, target = x + r * size * 4, out + r * size * 4
        top = spread(largest_of(size, source))
        sums = spread(np.float32(0))
        k = 0
        while k + LANES <= size:
            sums = sums + exp_falling(load(source + 4 * k) - top)
            k += LANES
        if k < size:
            power = exp_falling(load_some(source + 4 * k, size - k) - top)
            sums = sums + where(first_lanes(size - k), power, 0.0)
        less = log(spread(total(sums)))
        k = 0
        while k + LANES <= size:
            store(target + 4 * k, load(source + 4 * k) - top - less)
            k += LANES
        if k < size:
            store_some(target + 4 * k, load_some(source + 4 * k, size - k) - top - less, size - k)


@compiled
def normalize_rows(rows: int, size: int, x: int, out: int, scale: int, bias: int, epsilon: float, center: int) -> None:
    """(x - mean) / sqrt(mean square of that + epsilon) · scale + bias, the mean being 0 where `center` is 0."""
    one = np.float32(1) / np.float32(size)
    for r in range(rows):
        source, target = x + r * size * 4, out + r * size * 4
        mean = spread(sum_of(size, source) * one if center else np.float32(0))
        sums = spread(np.float32(0))
        k = 0
        while k + LANES <= size:
            apart = load(source + 4 * k) - mean
            sums = fma(apart, apart, sums)
            k += LANES
        if k < size:
            apart = where(first_lanes(size - k), load_some(source + 4 * k, size - k) - mean, 0.0)
            sums = fma(apart, apart, sums)
        factor = 1.0 / sqrt(spread(total(sums) * one) + epsilon)
        for k in range(0, size, LANES):
            count = min(LANES, size - k)
            v = (load_some(source + 4 * k, count) - mean) * factor
            if scale != 0:
                v = v * load_some(scale + 4 * k, count)
            if bias != 0:
                v = v + load_some(bias + 4 * k, count)
            store_some(target + 4 * k, v, count)


# ---- binding -------------------------------------------------------------------------------------------------


@row
def batch_norm(
    x: Array, scale: Array | None, bias: Array | None, mean: Array, variance: Array, *, axis: int, epsilon: float,
    out: Array, scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """x · a + b, of constants that are known now."""
    if x.dtype != F32 or not all(p is None or is_constant(p) for p in (scale, bias, mean, variance)):
        return None
    a, b = np.empty(mean.shape), np.empty(mean.shape)
    plain.fold_statistics(scale, bias, mean, variance, epsilon, a, b)
    shape = (-1, *(1,) * (x.ndim - axis % x.ndim - 1))
    return loop_over(SCALED, [x, *(v.astype(F32).reshape(shape) for v in (a, b))], [out])


@row
def softmax(x: Array, *, axis: int, out: Array, scratch: Scratch) -> list[Step] | None:
    """Along the last axis."""
    return _softmax_steps(softmax_rows, x, axis, out)


@row
def log_softmax(x: Array, *, axis: int, out: Array, scratch: Scratch) -> list[Step] | None:
    """Along the last axis."""
    return _softmax_steps(log_softmax_rows, x, axis, out)


def _softmax_steps(run: Any, x: Array, axis: int, out: Array) -> list[Step] | None:
    if not _are_rows(x, out) or axis % x.ndim != x.ndim - 1:
        return None
    return _by_rows(run, x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1]))


@row
def layer_norm(
    x: Array, scale: Array | None, bias: Array | None, *, axes: tuple[int, ...], epsilon: float, out: Array,
    scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """Over the last axes, scale and bias being alike in all rows."""
    return _normalized(x, scale, bias, axes, epsilon, True, out, scratch)


@row
def rms_norm(
    x: Array, scale: Array | None, *, axes: tuple[int, ...], epsilon: float, out: Array, scratch: Scratch
) -> list[Step] | None:
    """Over the last axes, the scale being alike in all rows."""
    return _normalized(x, scale, None, axes, epsilon, False, out, scratch)


def _normalized(
    x: Array, scale: Array | None, bias: Array | None, axes: tuple[int, ...], epsilon: float, center: bool, out: Array,
    scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    last = sorted(a % x.ndim for a in axes)
    if not _are_rows(x, out) or last != list(range(x.ndim - len(last), x.ndim)):
        return None
    width = math.prod(x.shape[a] for a in last)
    steps: list[Step] = []
    parts = [_row_of(p, x.shape[last[0] :], steps, scratch) for p in (scale, bias)]
    if any(part is None and p is not None for part, p in zip(parts, (scale, bias))):
        return None
    rows = (a.reshape(-1, width) for a in (x, out))
    return steps + _by_rows(normalize_rows, *rows, *parts, float(epsilon), center)


def _row_of(p: Array | None, shape: tuple[int, ...], steps: list[Step], scratch: Scratch) -> Array | None:
    """Scale or bias as one row; None where it is another one in every row, or has to be repeated in a run."""
    if p is None or p.size != math.prod(p.shape[-len(shape) :]):
        return None
    whole = p.reshape(p.shape[-len(shape) :])
    if whole.shape != shape:
        if not is_constant(p):
            return None
        whole = np.broadcast_to(whole, shape)
    return contiguous(whole, F32, steps, scratch)


def _are_rows(x: Array, out: Array) -> bool:
    plain = x.dtype == out.dtype == F32 and x.flags.c_contiguous and out.flags.c_contiguous
    return bool(plain and x.ndim and x.size)


def _by_rows(run: Any, x: Array, out: Array, *more: Any) -> list[Step]:
    """A compiled function of (rows, size, x, out, ...), the rows in branches."""
    parts = shares(len(x), x.size * ELEMENT_FLOPS)
    return together([[Call(run, p.stop - p.start, x.shape[1], x[p], out[p], *more)] for p in parts])
