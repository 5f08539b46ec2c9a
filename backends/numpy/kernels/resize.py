"""Resize: a separable filter, each axis on its own, as ONNX Resize (opset 11 to 19) and TensorFlow's image resizing
define it.

For each axis, places and weights (size, taps) are found when the plan is made: output i is the sum over taps t of
weights[i, t] · x[places[i, t]].  Few taps are gathered and summed, many become a product with a dense matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from ....ir.resampling import Axis, changes, resized_axes, table
from ..registry import Array, Scratch, Step, kernel
from .elementwise import compute_dtype
from .rows import contiguous

DENSE_TAPS = 6  # from so many taps on a matrix product is faster than gathers

# ---- the kernel ----------------------------------------------------------------------------------------------


@kernel
def resize(
    x: Array, *, sizes: Sequence[int], axes: Sequence[int], scales: Sequence[float], mode: str, coordinates: str,
    nearest: str, cubic_coefficient: float, exclude_outside: bool, fraction_steps: int, antialias: bool,
    extrapolation: float, roi: Sequence[float], out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """Axis after axis, the one that shrinks most first; axes that stay as they are cost nothing."""
    if out.size == 0:
        return []
    wanted = resized_axes(x.shape, out.shape, axes, scales, roi)
    tables = partial(
        table, mode=mode, coordinates=coordinates, nearest=nearest, coefficient=cubic_coefficient,
        exclude=exclude_outside, fraction_steps=fraction_steps, antialias=antialias,
    )  # fmt: skip
    changed = [a for a in wanted if changes(a, a.coordinates(coordinates), mode)]
    order = sorted(changed, key=lambda a: a.new / a.old)
    steps = _by_axis(x, [(a.axis, *tables(a)) for a in order], mode == "nearest", out, scratch)
    if coordinates == "tf_crop_and_resize":
        steps += _extrapolated(wanted, extrapolation, out)
    return steps


@kernel
def resize_grad(
    g: Array, *, sizes: Sequence[int], axes: Sequence[int], scales: Sequence[float], mode: str, coordinates: str,
    nearest: str, cubic_coefficient: float, exclude_outside: bool, fraction_steps: int, antialias: bool,
    extrapolation: float, roi: Sequence[float], out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """The same axes with the transposed tables; nothing comes back from places that were extrapolated."""
    if out.size == 0 or g.size == 0:
        return [partial(out.fill, 0)]
    tables = []
    for axis in resized_axes(out.shape, g.shape, axes, scales, roi):
        where = axis.coordinates(coordinates)
        outside = (where < 0) | (where > axis.old - 1) if coordinates == "tf_crop_and_resize" else where != where
        if outside.any() or changes(axis, where, mode):
            places, weights = table(
                axis, mode, coordinates, nearest, cubic_coefficient, exclude_outside, fraction_steps, antialias
            )
            weights = np.where(outside[:, None], 0.0, weights)
            tables.append((axis.axis, *_transposed(places, weights, axis.old)))
    return _by_axis(g, sorted(tables, key=lambda t: len(t[1]) / g.shape[t[0]]), False, out, scratch)


def _transposed(places: Array, weights: Array, old: int) -> tuple[Array, Array]:
    """The table (old, taps') of the adjoint: for each element of x all places that it goes to, with their weights.

    Rows are filled up with weights of 0.
    """
    element, weight = places.reshape(-1), weights.reshape(-1)
    order = np.flatnonzero(weight)
    order = order[np.argsort(element[order], kind="stable")]
    element, counts = element[order], np.bincount(element[order], minlength=old)
    starts = np.cumsum(counts) - counts
    column = np.arange(len(order)) - starts[element]
    back = np.zeros((old, max(1, counts.max(initial=0))), np.intp)
    back[:] = np.where(counts > 0, (order // places.shape[1])[np.minimum(starts, len(order) - 1)], 0)[:, None]
    factors = np.zeros(back.shape)
    back[element, column], factors[element, column] = order // places.shape[1], weight[order]
    return back, factors


def _by_axis(
    x: Array, tables: Sequence[tuple[int, Array, Array]], plain: bool, out: Array, scratch: Scratch
) -> list[Step]:
    """Steps that apply tables (axis, places, weights) one after the other; `plain` ones have one tap of weight 1."""
    steps: list[Step] = []
    current = x
    for i, (axis, places, weights) in enumerate(tables, 1):
        shape = (*current.shape[:axis], len(places), *current.shape[axis + 1 :])
        dtype = x.dtype if plain else compute_dtype(x.dtype)
        direct = shape == out.shape and dtype == out.dtype and out.flags.c_contiguous
        into = out if direct and i == len(tables) else scratch(shape, dtype)
        if plain:
            steps += _take(current, axis, places[:, 0].copy(), into, scratch)
        else:
            steps += _weighted(current, axis, places, weights, into, scratch)
        current = into
    if current is not out:
        steps.append(partial(np.copyto, out, current, casting="unsafe"))
    return steps


def _three(x: Array, axis: int) -> tuple[int, int, int]:
    return math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])


def _take(x: Array, axis: int, places: Array, out: Array, scratch: Scratch) -> list[Step]:
    steps: list[Step] = []
    source, target = (m.reshape(_three(m, axis)) for m in (contiguous(x, x.dtype, steps, scratch), out))
    return [*steps, partial(np.take, source, places, axis=1, mode="clip", out=target)]


def _weighted(x: Array, axis: int, places: Array, weights: Array, out: Array, scratch: Scratch) -> list[Step]:
    """The sums over the taps, in the dtype of computing, which out has."""
    dtype = out.dtype
    steps: list[Step] = []
    source, target = (m.reshape(_three(m, axis)) for m in (contiguous(x, dtype, steps, scratch), out))
    weights = weights.astype(dtype)
    count, taps = places.shape
    if taps >= DENSE_TAPS:
        dense = np.zeros((count, x.shape[axis]), dtype)
        np.add.at(dense, (np.arange(count)[:, None], places), weights)
        return [*steps, partial(np.matmul, dense, source, out=target)]
    work = scratch(target.shape, dtype)
    for t in range(taps):
        into = work if t else target
        steps.append(partial(np.take, source, places[:, t].copy(), axis=1, mode="clip", out=into))
        steps.append(partial(np.multiply, into, weights[:, t, None].copy(), out=into))
        if t:
            steps.append(partial(np.add, target, work, out=target))
    return steps


def _extrapolated(axes: Sequence[Axis], value: float, out: Array) -> list[Step]:
    """tf_crop_and_resize puts a value where it looks outside of x."""
    steps: list[Step] = []
    for axis in axes:
        where = axis.coordinates("tf_crop_and_resize")
        outside = np.flatnonzero((where < 0) | (where > axis.old - 1))
        if outside.size:
            steps.append(partial(np.moveaxis(out, axis.axis, 0).__setitem__, outside, value))
    return steps
