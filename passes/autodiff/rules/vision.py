"""Gradients of what samples images: the same in gathers and products, whose rules give them, of any order."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....errors import UnsupportedError
from ....ir import dims
from ....ir.attributes import Ints
from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.ops.shape import BIG
from ....ir.types import f32, i64
from ..emit import count, dim, full_like, numbered, shape_of, vector
from . import form, rule

# Of the pixels that make up a sample: their steps from the pixel before it, and their weights, polynomials in the way
# t from there to the sample (a row for each power of t).  cubic: Keys 1981 with a = -3/4.
A = -0.75
TAPS: dict[str, tuple[list[int], list[list[float]]]] = {
    "nearest": ([0], [[1], [0]]),
    "linear": ([0, 1], [[1, 0], [-1, 1]]),
    "cubic": ([-1, 0, 1, 2], [[0, 1, 0, 0], [A, 0, -A, 0], [-2 * A, -A - 3, 2 * A + 3, A], [A, A + 2, -A - 2, -A]]),
}


@form
def grid_sample(b: Builder, x: Var, grid: Var, *, mode: str, padding: str, align: str) -> Var:
    """The weighted sum of the pixels around each place: (N, Q, k, ..., k, C) -> (N, Q, C), with k taps an axis."""
    rank = len(x.shape) - 2
    places = b.reshape(_wide(b, grid), shape=vector(b, [dim(b, x, 0), -1, rank]))
    index, weight = b.unsqueeze(numbered(b, dim(b, x, 0)), axes=tuple(range(1, rank + 2))), _like(b, 1, places)
    for i in range(rank):
        size = b.cast_like(count(b, x, (i + 2,)), places)
        place, share = _taps(b, b.gather(places, np.int64(rank - 1 - i), axis=2), size, mode, padding, align)
        others = tuple(2 + j for j in range(rank) if j != i)
        if others:
            place, share = b.unsqueeze(place, axes=others), b.unsqueeze(share, axes=others)
        index, weight = b.add(b.mul(index, b.cast(size, to=i64)), place), b.mul(weight, share)
    pixels = b.gather(_rows(b, x), index)
    sums = b.reduce_sum(b.mul(pixels, b.unsqueeze(b.cast_like(weight, pixels), axes=(-1,))), axes=range(2, rank + 2))
    shape = vector(b, [*(dim(b, x, i) for i in (0, 1)), *(dim(b, grid, i + 1) for i in range(rank))])
    return b.cast_like(b.reshape(b.swap(sums), shape=shape), x)


def _taps(b: Builder, v: Var, size: Var, mode: str, padding: str, align: str) -> tuple[Var, Var]:
    """Along an axis, the pixels that make up each sample and their weights; v is (N, Q), they are (N, Q, k)."""
    edge = 0.5 if align == "centers" else 0.0
    low, high = b.constant(-edge, dtype=size.tensor.dtype.numpy), b.add(size, edge - 1)
    if align == "corners":
        v = b.mul(b.affine(v, alpha=0.5, beta=0.5), b.sub(size, 1))
    elif align == "centers":
        v = b.affine(b.mul(b.add(v, 1), size), alpha=0.5, beta=-0.5)
    v = b.round(v) if mode == "nearest" else v
    v = _reflected(b, v, low, high) if padding == "reflection" else v
    # places too far away for an integer, and NaN, are outside all the same
    v = _between(b, b.where(b.is_nan(v), full_like(b, v, -8), v), -8, b.add(size, 8))
    base = b.unsqueeze(b.floor(v), axes=(-1,))
    t = b.sub(b.unsqueeze(v, axes=(-1,)), base)
    steps, powers = TAPS[mode]
    weight = _like(b, powers[-1], t)
    for row in reversed(powers[:-1]):
        weight = b.add(b.mul(weight, t), _like(b, row, t))
    place = b.add(base, _like(b, steps, t))
    if padding == "zeros":
        inside = b.logical_and(b.greater_equal(place, 0), b.less(place, size))
        weight = b.mul(weight, b.cast_like(inside, weight))
    elif padding == "reflection":
        place = _reflected(b, place, low, high)
    return b.cast(_between(b, place, 0, b.sub(size, 1)), to=i64), weight


def _reflected(b: Builder, v: Var, low: Var, high: Var) -> Var:
    """v mirrored at both borders until it lies between them."""
    span = b.sub(high, low)
    wide = b.greater(span, 0)
    below = b.less(v, low)
    beyond = b.where(below, b.sub(low, v), b.sub(v, high))
    whole = b.where(wide, span, full_like(b, span, 1))
    turns = b.floor(b.div(beyond, whole))
    rest = b.sub(beyond, b.mul(turns, whole))
    near_low = b.equal(below, b.equal(b.mod(turns, 2), 0))
    mirrored = b.where(near_low, b.add(low, rest), b.sub(high, rest))
    found = b.where(b.logical_or(below, b.greater(v, high)), mirrored, v)
    return b.where(wide, found, low)  # type: ignore[no-any-return]


@form
def roi_align(
    b: Builder, x: Var, rois: Var, batches: Var, *, size: Ints, scale: float, samples: int, mode: str,
    half_pixel: bool,
) -> Var:  # fmt: skip
    """Mean or maximum over the samples of each bin: (R, h, K, 2, w, K, 2, C), K samples of two pixels an axis."""
    boxes = b.affine(_wide(b, rois), alpha=scale, beta=-0.5 if half_pixel else 0.0)
    index = b.unsqueeze(b.reshape(b.cast(batches, to=i64), shape=(-1,)), axes=tuple(range(1, 7)))
    weight, exists = _like(b, 1, boxes), b.constant(np.bool_(True))
    for i in (0, 1):
        sides = [b.gather(boxes, np.int64(place), axis=1) for place in (1 - i, 3 - i)]
        limit = b.cast_like(count(b, x, (i + 2,)), boxes)
        found = _samples(b, sides[0], b.sub(sides[1], sides[0]), size[i], limit, samples, mode, half_pixel)
        place, share, there = (b.unsqueeze(v, axes=(4, 5, 6) if i == 0 else (1, 2, 3)) for v in found)
        index = b.add(b.mul(index, b.cast(limit, to=i64)), place)
        weight, exists = b.mul(weight, share), b.logical_and(exists, there)
    pixels = b.gather(_rows(b, x), index)
    parts = b.mul(pixels, b.unsqueeze(b.cast_like(weight, pixels), axes=(-1,)))
    if mode == "max":
        real = b.unsqueeze(exists, axes=(-1,))
        bins = b.reduce_max(b.where(real, parts, full_like(b, parts, -np.inf)), axes=(2, 3, 5, 6))
        bins = b.where(b.reduce_any(real, axes=(2, 3, 5, 6)), bins, full_like(b, bins, 0))
    else:
        bins = b.reduce_sum(parts, axes=(2, 3, 5, 6))
    return b.cast_like(b.transpose(bins, perm=(0, 3, 1, 2)), x)


def _samples(
    b: Builder, start: Var, extent: Var, bins: int, limit: Var, samples: int, mode: str, half_pixel: bool
) -> tuple[Var, Var, Var]:
    """Along an axis, pixels and weights (R, bins, K, 2) and which of the samples there are (R, 1, K, 1).

    start and extent are those of the regions, (R).  Where each region has a number of samples of its own, K is the
    largest; all weights of the others are 0.  A mean is made by weights.
    """
    extent = extent if half_pixel else b.maximum(extent, 1)
    if samples > 0:
        number, each = full_like(b, extent, samples), _like(b, range(samples), extent)
    else:
        number = b.maximum(b.ceil(b.div(extent, bins)), 0)
        most = b.cast(b.maximum(b.reduce_max(number), 1), to=i64)
        each = b.cast_like(b.range(np.int64(0), most, np.int64(1)), extent)
    number = b.unsqueeze(number, axes=(1,))
    divisor = b.maximum(number, 1)
    share = b.unsqueeze(b.div(b.add(each, 0.5), divisor), axes=(1,))
    step = b.unsqueeze(b.div(extent, bins), axes=(1, 2))
    offset = b.mul(b.add(share, _like(b, [[i] for i in range(bins)], extent)), step)
    places = b.add(offset, b.unsqueeze(start, axes=(1, 2)))
    exists = b.unsqueeze(b.less(each, number), axes=(1,))
    inside = b.logical_and(b.greater_equal(places, -1), b.less_equal(places, limit))
    last = b.sub(limit, 1)
    places = _between(b, places, 0, last)
    before = b.floor(places)
    t = b.unsqueeze(b.sub(places, before), axes=(-1,))
    weight = b.add(b.mul(t, _like(b, [-1, 1], t)), _like(b, [1, 0], t))
    weight = b.mul(weight, b.unsqueeze(b.cast_like(b.logical_and(inside, exists), t), axes=(-1,)))
    if mode != "max":
        weight = b.div(weight, b.unsqueeze(divisor, axes=(2, 3)))
    place = b.minimum(b.add(b.unsqueeze(before, axes=(-1,)), _like(b, [0, 1], t)), last)
    return b.cast(place, to=i64), weight, b.unsqueeze(exists, axes=(-1,))


@rule
def col2im(b: Builder, x: Var, g: Var, *, block: Ints, strides: Ints, dilations: Ints, padding: Any) -> Any:
    """The blocks of g: what stands at each place of a block, at all places of blocks."""
    if not dims.is_number(block):
        raise UnsupportedError(f"the gradient of col2im with blocks {block}, whose sizes are not known")
    wide = b.pad(g, pads=((0, 0), (0, 0), *padding))
    axes = tuple(range(2, len(block) + 2))
    shape = vector(b, [dim(b, g, 0), dim(b, g, 1), 1, -1])
    parts = []
    for place in np.ndindex(*block):
        starts = tuple(p * d for p, d in zip(place, dilations))
        ends = tuple(-(k - 1 - p) * d or BIG for p, k, d in zip(place, block, dilations))
        parts.append(b.reshape(b.slice(wide, starts=starts, ends=ends, axes=axes, steps=strides), shape=shape))
    return b.reshape(b.concat(*parts, axis=2), shape=shape_of(b, x))


# ---- small things --------------------------------------------------------------------------------------------


def _wide(b: Builder, v: Var) -> Var:
    """v in float32 at least, in which places are computed."""
    return b.cast(v, to=f32) if v.tensor.dtype.bits < 32 else v  # type: ignore[no-any-return]


def _like(b: Builder, numbers: Any, like: Var) -> Var:
    """A constant in the dtype of another value."""
    return b.constant(np.array(numbers, like.tensor.dtype.numpy))


def _between(b: Builder, v: Var, low: float, high: Var) -> Var:
    return b.minimum(b.maximum(v, low), high)  # type: ignore[no-any-return]


def _rows(b: Builder, x: Var) -> Var:
    """Images (N, C, *S) as rows of channels, one a pixel, in float32 at least."""
    rank = len(x.shape)
    last = b.transpose(_wide(b, x), perm=(0, *range(2, rank), 1))
    return b.reshape(last, shape=vector(b, [-1, dim(b, x, 1)]))  # type: ignore[no-any-return]
