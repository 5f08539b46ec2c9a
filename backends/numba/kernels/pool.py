"""Pooling, place by place: all taps of a window into registers, LANES channels at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types

from ...numpy.kernels.pool import Axis, Pairs, axes_of, mean_factors
from ...numpy.registry import Array, Scratch, Step
from ..compiler import Call, compiled, variant
from ..crew import shares, together
from ..registry import row
from ..vectors import LANES, cast_to, load, load_one, loads_of, maximum, number, spread, store, where

F32 = np.dtype(np.float32)
TAP_FLOPS = 4  # what a tap counts for where work is shared out
POINT = Axis(1, 1, 1, 1, 1, 0)  # an axis of one element


# ---- compiled ------------------------------------------------------------------------------------------------


combine, EMPTY = maximum, -np.inf  # of a variant
load_numbers, to_numbers = loads_of(types.uint8)[0], cast_to(types.uint8)


def windows(
    images: int, channels: int, x: int, x_n: int, x_y: int, x_x: int, out: int, out_n: int, out_y: int, out_x: int,
    rows: int, row_taps: int, columns: int, column_taps: int, factors: int,
) -> None:  # fmt: skip
    """Each window's elements combined, times a factor of its place, if there are factors.

    `row_taps` and `column_taps`: for every place its first element, the distance of elements, and their number, in
    three int64.
    """
    for n in range(images):
        for i in range(rows):
            at = row_taps + 24 * i
            line, y_step, y_count = x + n * x_n + number(at) * x_y, number(at + 8) * x_y, number(at + 16)
            for j in range(columns):
                at = column_taps + 24 * j
                source, step, count = line + number(at) * x_x, number(at + 8) * x_x, number(at + 16)
                target, c = out + n * out_n + i * out_y + j * out_x, 0
                while c < 4 * channels:
                    c = min(c, 4 * (channels - LANES))  # the last vector may do some channels again
                    found = spread(np.float32(EMPTY))
                    for a in range(y_count):
                        for b in range(count):
                            found = combine(found, load(source + a * y_step + b * step + c))
                    if factors != 0:
                        found = found * load_one(factors + 4 * (i * columns + j))
                    store(target + c, found)
                    c += 4 * LANES


def _sum(x: Any, y: Any) -> Any:
    return x + y


def given_back(
    images: int, rows: int, columns: int, channels: int, high: int, wide: int, ties: int, x: int, x_n: int, x_y: int,
    x_x: int, y: int, y_n: int, y_y: int, y_x: int, g: int, g_n: int, g_y: int, g_x: int, out: int, out_n: int,
    out_y: int, out_x: int,
) -> None:  # fmt: skip
    """out = g of each window (high, wide), side by side, where x is the first that equals y, else 0; or all that do."""
    for n in range(images):
        for i in range(rows):
            for j in range(columns):
                source, target = x + n * x_n + i * high * x_y + j * wide * x_x, out + n * out_n + i * high * out_y
                largest, given, c = y + n * y_n + i * y_y + j * y_x, g + n * g_n + i * g_y + j * g_x, 0
                target += j * wide * out_x
                while c < 4 * channels:
                    c = min(c, 4 * (channels - LANES))  # the last vector may do some channels again
                    most, gradient, zero = load(largest + c), load(given + c), spread(np.float32(0))
                    waiting = zero == zero
                    for a in range(high):
                        for b in range(wide):
                            hit = (load(source + a * x_y + b * x_x + c) == most) & waiting
                            store(target + a * out_y + b * out_x + c, where(hit, gradient, zero))
                            if ties == 0:
                                waiting = waiting & ~hit
                    c += 4 * LANES


def recorded(
    images: int, rows: int, columns: int, channels: int, high: int, wide: int, x: int, x_n: int, x_y: int, x_x: int,
    y: int, y_n: int, y_y: int, y_x: int, record: int, record_n: int, record_y: int, record_x: int,
) -> None:  # fmt: skip
    """y = the largest of each window (high, wide), side by side; record = the number of the first such, from 1."""
    for n in range(images):
        for i in range(rows):
            for j in range(columns):
                source, target = x + n * x_n + i * high * x_y + j * wide * x_x, y + n * y_n + i * y_y + j * y_x
                numbers, c = record + n * record_n + i * record_y + j * record_x, 0
                while c < channels:
                    c = min(c, channels - LANES)  # the last vector may do some channels again
                    most = load(source + 4 * c)
                    kept = to_numbers(most == most)  # 1; NaN is seen to at the end
                    for a in range(high):
                        for b in range(wide):
                            found = load(source + a * x_y + b * x_x + 4 * c)
                            kept = where(found > most, np.uint8(a * wide + b + 1), kept)
                            most = maximum(most, found)
                    store(target + 4 * c, most)
                    store(numbers + c, where(most == most, kept, np.uint8(0)))
                    c += LANES


def given_by_number(
    images: int, rows: int, columns: int, channels: int, high: int, wide: int, record: int, record_n: int,
    record_y: int, record_x: int, g: int, g_n: int, g_y: int, g_x: int, out: int, out_n: int, out_y: int, out_x: int,
) -> None:  # fmt: skip
    """out = g of each window (high, wide), side by side, at the place whose number is in the record, else 0."""
    for n in range(images):
        for i in range(rows):
            for j in range(columns):
                numbers, given = record + n * record_n + i * record_y + j * record_x, g + n * g_n + i * g_y + j * g_x
                target, c = out + n * out_n + i * high * out_y + j * wide * out_x, 0
                while c < channels:
                    c = min(c, channels - LANES)  # the last vector may do some channels again
                    kept, gradient, zero = load_numbers(numbers + c), load(given + 4 * c), spread(np.float32(0))
                    for a in range(high):
                        for b in range(wide):
                            hit = kept == np.uint8(a * wide + b + 1)
                            store(target + a * out_y + b * out_x + 4 * c, where(hit, gradient, zero))
                    c += LANES


given_back_compiled, recorded_compiled = compiled(given_back), compiled(recorded)
given_by_number_compiled = compiled(given_by_number)
largest_of_windows = variant(windows, "max")
means_of_windows = variant(windows, "mean", combine=_sum, EMPTY=0.0)


# ---- binding -------------------------------------------------------------------------------------------------


@row
def max_pool(
    x: Array, *, window: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], padding: Pairs,
    ceil_mode: bool, out: Array, scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """One or two axes, LANES channels or more."""
    return _windows(largest_of_windows, x, out, axes_of(x, out, window, strides, dilations, padding), None)


@row
def avg_pool(
    x: Array, *, window: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], padding: Pairs,
    ceil_mode: bool, count_include_pad: bool, out: Array, scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """One or two axes, LANES channels or more."""
    if not out.size:
        return []
    axes = axes_of(x, out, window, strides, dilations, padding)
    factors = np.ascontiguousarray(mean_factors(axes, padding, count_include_pad, F32))
    factors = factors[None] if len(axes) == 1 else factors
    return _windows(means_of_windows, x, out, axes, factors)


def _windows(run: Any, x: Array, out: Array, axes: Sequence[Axis], factors: Array | None) -> list[Step] | None:
    fits = x.dtype == out.dtype == F32 and x.shape[-1] >= LANES and len(axes) <= 2
    if not fits or any(a.strides[-1] != 4 for a in (x, out)):
        return None
    if not out.size or not x.size:
        return [] if not out.size else None
    if len(axes) == 1:
        x, out, axes = x[:, None], out[:, None], [POINT, *axes]
    height, width = axes
    taps = [taps_of(axis) for axis in axes]
    flops = out.size * height.window * width.window * TAP_FLOPS
    branches: list[list[Step]] = []
    for images, rows in parts_of(len(x), height.places, flops):
        source, target, tall = x[images], out[images, rows], taps[0][rows]
        branches.append([Call(
            run, len(source), x.shape[-1], source, *source.strides[:3], target, *target.strides[:3], len(tall), tall,
            width.places, taps[1], None if factors is None else factors[rows],
        )])  # fmt: skip
    return together(branches)


@row
def max_pool_record(
    x: Array, *, window: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...], padding: Pairs,
    ceil_mode: bool, out: tuple[Array | None, Array | None], scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """Two axes that windows cover side by side, LANES channels or more."""
    y, record = out
    if y is None or record is None or not _are_covered(axes_of(x, y, window, strides, dilations, padding), x, y):
        return None
    return _of_windows(recorded_compiled, window, (), [x], [y, record])


@row
def max_pool_grad(
    x: Array, y: Array, g: Array, record: Array | None, *, window: tuple[int, ...], strides: tuple[int, ...],
    dilations: tuple[int, ...], padding: Pairs, ceil_mode: bool, all_ties: bool, out: Array, scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """Two axes that windows cover side by side, LANES channels or more."""
    if not _are_covered(axes_of(x, y, window, strides, dilations, padding), x, y, g, out):
        return None
    if record is not None:
        return _of_windows(given_by_number_compiled, window, (), [], [record, g], out)
    return _of_windows(given_back_compiled, window, (all_ties,), [x], [y, g], out)


def _are_covered(axes: Sequence[Axis], *arrays: Array) -> bool:
    """Whether windows lie side by side over two axes of float32, LANES channels or more."""
    tight = len(axes) == 2 and all(
        axis.window == axis.stride
        and axis.dilation == 1
        and axis.before == 0
        and axis.places * axis.stride == axis.size
        for axis in axes
    )
    return tight and all(a.dtype == F32 and a.strides[-1] == 4 and a.shape[-1] >= LANES for a in arrays)


def _of_windows(
    run: Any, window: tuple[int, ...], more: tuple[Any, ...], before: list[Array], pooled: list[Array], *after: Array
) -> list[Step]:
    """A compiled function of arrays that windows lie over, then of those with one element a window, then of others."""
    first = pooled[0]
    branches: list[list[Step]] = []
    for images, rows in parts_of(len(first), first.shape[1], first.size * window[0] * window[1] * TAP_FLOPS):
        tall = slice(rows.start * window[0], rows.stop * window[0])
        arrays = (
            [a[images, tall] for a in before] + [a[images, rows] for a in pooled] + [a[images, tall] for a in after]
        )
        given = [number for a in arrays for number in (a, *a.strides[:3])]
        branches.append([Call(run, *first[images, rows].shape, *window, *more, *given)])
    return together(branches)


def parts_of(images: int, rows: int, flops: int) -> list[tuple[slice, slice]]:
    """Images, or rows of all images if there are more of these, in parts that are work enough for a thread."""
    if images >= rows:
        return [(part, slice(0, rows)) for part in shares(images, flops)]
    return [(slice(0, images), part) for part in shares(rows, flops)]


def taps_of(axis: Axis) -> Array:
    """For every place: the first element that a tap meets, how far elements are apart, how many there are."""
    first = np.arange(axis.places) * axis.stride - axis.before
    before = np.maximum(0, -(first // axis.dilation))  # taps in the padding
    start = first + before * axis.dilation
    count = np.minimum(axis.window - before, -((start - axis.size) // axis.dilation))
    return np.stack([start, np.full_like(start, axis.dilation), np.maximum(count, 0)], 1).astype(np.int64)
