"""Convolutions without copies of windows: products of rows that are runs of the image, and, where every channel has a
filter of its own, PIXELS places of LANES channels in registers from the first tap to the activation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ....ir.attributes import Activation
from ...numpy.kernels.conv import padded_sources
from ...numpy.kernels.pool import Axis
from ...numpy.registry import Array, Scratch, Step
from ..compiler import Call, inlined, variant
from ..copies import moved_to
from ..crew import shares, together
from ..expressions import activation_of
from ..functions import linear
from ..products import Panels, compiled_product, is_plain, is_row, padded_bias, panels, product_steps
from ..registry import row
from ..vectors import LANES, fma, load, number, spread, store
from .pool import parts_of, taps_of

F32 = np.dtype(np.float32)
PIXELS = 4  # of `depthwise`, which is written for that

Spatial = tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]  # strides, dilations, padding

activate = linear


@inlined
def one_window(
    s: Any, x: int, filters: int, rows: int, y: int, columns: int, step: int, w_y: int, w_x: int
) -> Any:  # fmt: skip
    """s + the taps of one window: rows y bytes apart of elements `step` bytes apart."""
    for a in range(rows):
        for b in range(columns):
            s = fma(load(x + a * y + b * step), load(filters + a * w_y + b * w_x), s)
    return s


@inlined
def windows(
    s: Any, x: int, stride: int, filters: int, rows: int, y: int, columns: int, step: int, w_y: int, w_x: int
) -> Any:
    """The same for PIXELS windows, `stride` bytes apart."""
    s0, s1, s2, s3 = s, s, s, s
    for a in range(rows):
        for b in range(columns):
            w, p = load(filters + a * w_y + b * w_x), x + a * y + b * step
            s0 = fma(load(p), w, s0)
            s1 = fma(load(p + stride), w, s1)
            s2 = fma(load(p + 2 * stride), w, s2)
            s3 = fma(load(p + 3 * stride), w, s3)
    return s0, s1, s2, s3


def finish(s: Any, out: int, residual: int, adds: int) -> None:
    """Write sums with residual and activation."""
    if adds != 0:
        s = s + load(residual)
    store(out, activate(s))


def depthwise(
    images: int, channels: int, x: int, x_n: int, x_y: int, x_x: int, out: int, out_n: int, out_y: int, out_x: int,
    residual: int, res_n: int, res_y: int, res_x: int, rows: int, row_taps: int, columns: int, column_taps: int,
    inner: int, weights: int, bias: int, w_y: int, w_x: int, stride: int,
) -> None:  # fmt: skip
    """out = activate(bias + residual + the taps of x times their weights (rows, columns, channels)).

    Taps are as in `pool`, with the first tap as a fourth number.  Columns from `inner` on, as many as its second
    number says, meet all taps: these are computed PIXELS at a time.  `stride`: bytes between their windows.
    """
    start, end = number(inner), number(inner) + number(inner + 8)
    for n in range(images):
        for i in range(rows):
            at = row_taps + 32 * i
            line, y_step, y_count = x + n * x_n + number(at) * x_y, number(at + 8) * x_y, number(at + 16)
            top, j = weights + number(at + 24) * w_y, 0
            while j < columns:
                at = column_taps + 32 * j
                source, step, count = line + number(at) * x_x, number(at + 8) * x_x, number(at + 16)
                filters, many = top + number(at + 24) * w_x, start <= j and j + PIXELS <= end
                target, added = out + n * out_n + i * out_y + j * out_x, residual + n * res_n + i * res_y + j * res_x
                c = 0
                while c < 4 * channels:
                    c = min(c, 4 * (channels - LANES))  # the last vector may do some channels again
                    s, p, f = load(bias + c) if bias != 0 else spread(np.float32(0)), source + c, filters + c
                    if many:
                        four = windows(s, p, stride, f, y_count, y_step, count, step, w_y, w_x)
                        finish(four[0], target + c, added + c, residual)
                        finish(four[1], target + out_x + c, added + res_x + c, residual)
                        finish(four[2], target + 2 * out_x + c, added + 2 * res_x + c, residual)
                        finish(four[3], target + 3 * out_x + c, added + 3 * res_x + c, residual)
                    else:
                        s = one_window(s, p, f, y_count, y_step, count, step, w_y, w_x)
                        finish(s, target + c, added + c, residual)
                    c += 4 * LANES
                j += PIXELS if many else 1


@cache
def _compiled(activation: Activation) -> Any:
    """The function for an activation; None where it is not known."""
    found = activation_of(activation)
    return None if found is None else variant(depthwise, str(activation), activate=found, finish=finish)


@row
def conv(
    x: Array, w: Array, bias: Array | None, residual: Array | None, *, strides: tuple[int, ...],
    dilations: tuple[int, ...], padding: tuple[tuple[int, int], ...], groups: int, activation: Any, out: Array,
    scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """One filter for each channel, or groups of LANES channels or more (weights that are
    no constant: whole vectors of them); along one or two axes."""
    if w.ndim not in (3, 4) or x.dtype != F32 or not is_plain(w, bias, residual, out) or not out.size:
        return None
    before: list[Step] = []
    if not is_plain(x):
        x, before = moved_to(scratch(x.shape, F32), x)
    if w.ndim == 3:
        x, w, out, strides, dilations = x[:, None], w[None], out[:, None], (1, *strides), (1, *dilations)
        padding, residual = ((0, 0), *padding), None if residual is None else residual[:, None]
    spatial = strides, dilations, padding
    if w.shape[-2] == 1 and groups == w.shape[-1] == x.shape[-1] >= LANES:
        over = residual is not None and x.shape[-1] % LANES != 0  # may lie in out: nothing can be added twice
        run = None if over else _compiled(activation)
        return None if run is None else before + _depthwise_steps(run, x, w[..., 0, :], bias, residual, spatial, out)
    each = w.shape[-1] // groups
    fits = (groups == 1 or each >= LANES) and is_row(bias, w.shape[-1], groups)
    weights, run = panels(w, groups) if fits else None, compiled_product(activation)
    if run is None or weights is None:
        return None
    return before + _product_steps(run, x, w.shape, weights, bias, residual, spatial, out, scratch)


# ---- as products: windows are rows of some runs ------------------------------------------------------------------


def _product_steps(
    run: Any, x: Array, shape: Sequence[int], weights: Sequence[Panels], bias: Array | None, residual: Array | None,
    spatial: Spatial, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    *taps, channels, outs = shape
    groups = len(weights)
    each, wide = outs // groups, None if bias is None else bias.reshape(groups, -1)
    biases = [None if wide is None else padded_bias(wide[g], each) for g in range(groups)]
    flops = 2 * out.size * math.prod(taps) * channels

    def steps_of(images: slice, flops: int) -> list[Step]:
        steps: list[Step] = []
        for part, source, copies in padded_sources(x[images], spatial[2], F32, scratch):
            steps += copies
            for g in range(groups):
                columns = slice(g * each, (g + 1) * each)
                target, added = out[images][part][..., columns], residual
                if added is not None:
                    added = added[images][part][..., columns]
                here = source[..., g * channels : (g + 1) * channels]
                rows, runs, depth = _windows(here, taps, spatial, out.shape[1:3])
                if len(runs) == 1:
                    rows, target, added = _flattened(rows, target, added)
                given = rows, runs, depth, weights[g], biases[g], added, target, scratch, flops // groups
                steps += together(product_steps(run, *given))
        return steps

    pieces = shares(len(x), flops)
    return together([steps_of(piece, 0) for piece in pieces]) if len(pieces) > 1 else steps_of(slice(None), flops)


def _windows(
    source: Array, taps: Sequence[int], spatial: Spatial, places: Sequence[int]
) -> tuple[Array, list[int], int]:
    """The first element of every window (N, rows, columns, C), and the runs of elements from there."""
    (step_y, step_x), (apart_y, apart_x), _ = spatial
    n, y, x, element = source.strides
    rows = as_strided(source, (len(source), *places, source.shape[-1]), (n, y * step_y, x * step_x, element))
    if apart_x == 1 and (x == source.shape[-1] * element or taps[1] == 1):
        return rows, [a * apart_y * y for a in range(taps[0])], taps[1] * source.shape[-1]
    runs = [a * apart_y * y + b * apart_x * x for a in range(taps[0]) for b in range(taps[1])]
    return rows, runs, source.shape[-1]


def _flattened(x: Array, out: Array, residual: Array | None) -> tuple[Array, Array, Array | None]:
    """All places as columns of one row, where they lie at one distance from each other."""

    def flat(a: Array) -> Array:
        return a.reshape(1, 1, -1, a.shape[-1], copy=False)

    try:
        return flat(x), flat(out), None if residual is None else flat(residual)
    except ValueError:
        return x, out, residual


# ---- depthwise ---------------------------------------------------------------------------------------------------


def _depthwise_steps(
    run: Any, x: Array, w: Array, bias: Array | None, residual: Array | None, spatial: Spatial, out: Array
) -> list[Step]:
    strides, dilations, padding = spatial
    sizes = zip(x.shape[1:-1], out.shape[1:-1], w.shape[:-1], strides, dilations, (pair[0] for pair in padding))
    axes = [Axis(*numbers) for numbers in sizes]
    tall, wide = (_taps(axis) for axis in axes)
    whole = np.flatnonzero(wide[:, 2] == axes[1].window)
    inner = np.array([whole[0] if len(whole) else 0, len(whole)], np.int64)
    flops = 2 * out.size * w.shape[0] * w.shape[1]
    branches: list[list[Step]] = []
    for images, rows in parts_of(len(x), axes[0].places, flops):
        source, target, taps = x[images], out[images, rows], tall[rows]
        added = None if residual is None else residual[images, rows]
        branches.append([Call(
            run, len(source), x.shape[-1], source, *source.strides[:3], target, *target.strides[:3], added,
            *((0, 0, 0) if added is None else added.strides[:3]), len(taps), taps, axes[1].places, wide, inner, w, bias,
            *w.strides[:2], axes[1].stride * source.strides[2],
        )])  # fmt: skip
    return together(branches)


def _taps(axis: Axis) -> Array:
    """The taps of every place, and which tap is the first of them."""
    taps = taps_of(axis)
    first = np.arange(axis.places) * axis.stride - axis.before
    return np.column_stack([taps, (taps[:, 0] - first) // axis.dilation])
