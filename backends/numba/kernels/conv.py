"""Convolutions without copies of windows: products of rows that are runs of the image, and, where every channel has a
filter of its own, PIXELS places of LANES channels in registers from the first tap to the activation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ....ir.attributes import Activation
from ...numpy.kernels.pool import Axis
from ...numpy.kernels.conv import padded_sources
from ...numpy.registry import Array, Scratch, Step, is_constant
from ...numpy.workers import cuts, together
from ..compiler import Call, variant
from ..expressions import activation_of
from ..functions import linear
from ..products import compiled_product, is_plain, packed_once, padded_bias, product_steps
from ..registry import row
from ..vectors import LANES, fma, load, number, spread, store
from .pool import parts_of, taps_of

F32 = np.dtype(np.float32)
PIXELS = 4  # of `depthwise`, which is written for that

Spatial = tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]  # strides, dilations, padding

activate = linear


def depthwise(
    images: int, channels: int, x: int, x_n: int, x_y: int, x_x: int, out: int, out_n: int, out_y: int, out_x: int,
    residual: int, res_n: int, res_y: int, res_x: int, rows: int, row_taps: int, columns: int, column_taps: int,
    inner: int, weights: int, bias: int, w_y: int, w_x: int, stride: int,
) -> None:  # fmt: skip
    """out = activate(bias + residual + the taps of x times their weights (rows, columns, channels)).

    Taps are as in `pool`, with the first tap as a fourth number.  Columns from `inner` on, as many as its second
    number says, meet all taps: these are computed PIXELS at a time.  `stride`: bytes between their windows.
    """
    start, length = number(inner), number(inner + 8)
    for n in range(images):
        for i in range(rows):
            at = row_taps + 32 * i
            y, y_step, y_count, y_tap = number(at), number(at + 8), number(at + 16), number(at + 24)
            j = 0
            while j < columns:
                at = column_taps + 32 * j
                first, step, count, tap = number(at), number(at + 8), number(at + 16), number(at + 24)
                many = start <= j and j + PIXELS <= start + length
                source = x + n * x_n + y * x_y + first * x_x
                filters = weights + y_tap * w_y + tap * w_x
                target, added = out + n * out_n + i * out_y + j * out_x, residual + n * res_n + i * res_y + j * res_x
                c = 0
                while c < channels:
                    c = min(c, channels - LANES)  # the last vector may do some channels again
                    s0 = load(bias + 4 * c) if bias != 0 else spread(np.float32(0))
                    if many:
                        s1, s2, s3 = s0, s0, s0
                        for a in range(y_count):
                            for b in range(count):
                                w, p = load(filters + a * w_y + b * w_x + 4 * c), source + a * y_step * x_y + b * step * x_x + 4 * c
                                s0 = fma(load(p), w, s0)
                                s1 = fma(load(p + stride), w, s1)
                                s2 = fma(load(p + 2 * stride), w, s2)
                                s3 = fma(load(p + 3 * stride), w, s3)
                        if residual != 0:
                            s0 = s0 + load(added + 4 * c)
                            s1 = s1 + load(added + res_x + 4 * c)
                            s2 = s2 + load(added + 2 * res_x + 4 * c)
                            s3 = s3 + load(added + 3 * res_x + 4 * c)
                        store(target + 4 * c, activate(s0))
                        store(target + out_x + 4 * c, activate(s1))
                        store(target + 2 * out_x + 4 * c, activate(s2))
                        store(target + 3 * out_x + 4 * c, activate(s3))
                    else:
                        for a in range(y_count):
                            for b in range(count):
                                w, p = load(filters + a * w_y + b * w_x + 4 * c), source + a * y_step * x_y + b * step * x_x + 4 * c
                                s0 = fma(load(p), w, s0)
                        if residual != 0:
                            s0 = s0 + load(added + 4 * c)
                        store(target + 4 * c, activate(s0))
                    c += LANES
                j += PIXELS if many else 1


@cache
def _compiled(activation: Activation) -> Any:
    """The function for an activation; None where it is not known."""
    found = activation_of(activation)
    return None if found is None else variant(depthwise, str(activation), activate=found)


@row
def conv(
    x: Array, w: Array, bias: Array | None, residual: Array | None, *, strides: tuple[int, ...],
    dilations: tuple[int, ...], padding: tuple[tuple[int, int], ...], groups: int, activation: Any, out: Array,
    scratch: Scratch,
) -> list[Step] | None:  # fmt: skip
    """One filter for each channel, or one group and constant weights; along one or two axes."""
    if w.ndim not in (3, 4) or not is_plain(x, w, bias, residual, out) or not out.size:
        return None
    if w.ndim == 3:
        x, w, out, strides, dilations = x[:, None], w[None], out[:, None], (1, *strides), (1, *dilations)
        padding, residual = ((0, 0), *padding), None if residual is None else residual[:, None]
    spatial = strides, dilations, padding
    if w.shape[-2] == 1 and groups == w.shape[-1] == x.shape[-1] >= LANES:
        over = residual is not None and x.shape[-1] % LANES != 0  # may lie in out: nothing can be added twice
        run = None if over else _compiled(activation)
        return None if run is None else _depthwise_steps(run, x, w[..., 0, :], bias, residual, spatial, out)
    run = compiled_product(activation) if groups == 1 and all(p is None or is_constant(p) for p in (w, bias)) else None
    return None if run is None else _product_steps(run, x, w, bias, residual, spatial, out, scratch)


# ---- as products: windows are rows of some runs ------------------------------------------------------------------


def _product_steps(
    run: Any, x: Array, w: Array, bias: Array | None, residual: Array | None, spatial: Spatial, out: Array,
    scratch: Scratch,
) -> list[Step]:  # fmt: skip
    (*taps, channels, outs), padding = w.shape, spatial[2]
    weights, bias = packed_once(w, outs), padded_bias(bias, outs)
    flops = 2 * out.size * w.size // outs

    def steps_of(images: slice, flops: int) -> list[Step]:
        steps: list[Step] = []
        for part, source, copies in padded_sources(x[images], padding, F32, scratch):
            target, added = out[images][part], None if residual is None else residual[images][part]
            rows, runs, depth = _windows(source, taps, spatial, target.shape[1:3])
            if depth == source.shape[-1] and len(runs) == 1:
                rows, target, added = _flattened(rows, target, added)
            steps += copies
            branches = product_steps(run, rows, runs, depth, weights, bias, added, target, scratch, flops)
            steps += together(branches)
        return steps

    pieces = cuts(len(x), flops)
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
    try:
        flat = [None if a is None else a.reshape(1, 1, -1, a.shape[-1], copy=False) for a in (x, out, residual)]
    except ValueError:
        return x, out, residual
    return flat[0], flat[1], flat[2]  # type: ignore[return-value]


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
