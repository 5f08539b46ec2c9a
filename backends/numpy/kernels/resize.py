"""Resize: a separable filter, each axis on its own, as ONNX Resize (opset 11 to 19) and TensorFlow's image resizing
define it.

For each axis, places and weights (size, taps) are found when the plan is made: output i is the sum over taps t of
weights[i, t] · x[places[i, t]].  Few taps are gathered and summed, many become a product with a dense matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..registry import Array, Scratch, Step, kernel
from .elementwise import compute_dtype
from .rows import contiguous

DENSE_TAPS = 6  # from so many taps on a matrix product is faster than gathers
SMOOTHING = ("mitchell", "gaussian")  # filters that change x even where no size changes
NORMALISED = ("lanczos3", "lanczos5", "gaussian")  # filters whose weights do not add up to 1 by themselves

# ---- filters: weight at a distance, and the distance from which on it is zero --------------------------------


def _linear(t: Array) -> Array:
    return np.clip(1 - np.abs(t), 0, 1)


def _cubic(t: Array, a: float) -> Array:
    """Keys 1981: piecewise cubic, a = -1/2 (TensorFlow) or -3/4 (ONNX, PyTorch)."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _lanczos(t: Array, radius: int) -> Array:
    return np.where(np.abs(t) < radius, np.sinc(t) * np.sinc(t / radius), 0.0)


def _mitchell(t: Array) -> Array:
    """Mitchell and Netravali 1988 with B = C = 1/3."""
    t = np.abs(t)
    near = (7 / 6 * t - 2) * t * t + 8 / 9
    far = ((-7 / 18 * t + 2) * t - 10 / 3) * t + 16 / 9
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def _gaussian(t: Array) -> Array:
    """Of deviation 1/2, cut at three of them (TensorFlow's)."""
    return np.where(np.abs(t) < 1.5, np.exp(-2 * t * t), 0.0)


def _filter(mode: str, coefficient: float) -> tuple[Callable[[Array], Array], int]:
    filters: dict[str, tuple[Callable[[Array], Array], int]] = {
        "linear": (_linear, 1),
        "cubic": (partial(_cubic, a=coefficient), 2),
        "lanczos3": (partial(_lanczos, radius=3), 3),
        "lanczos5": (partial(_lanczos, radius=5), 5),
        "mitchell": (_mitchell, 2),
        "gaussian": (_gaussian, 2),
    }
    return filters[mode]


# ---- coordinates ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """One axis to resample: `old` places to `new`; `scale` as given, or None for new / old; its part of the roi."""

    axis: int
    old: int
    new: int
    scale: float | None
    roi: tuple[float, float]

    @property
    def length(self) -> float:
        """The length of the result before rounding."""
        return self.new if self.scale is None else self.scale * self.old

    @property
    def ratio(self) -> float:
        return self.new / self.old if self.scale is None else self.scale

    def unscaled(self, places: Array) -> Array:
        """places / scale; without a given scale exact where the quotient is whole, which decides `nearest`."""
        return places * self.old / self.new if self.scale is None else places / self.scale

    def coordinates(self, mode: str) -> Array:
        """Where in x each place of the result looks."""
        i = np.arange(self.new, dtype=np.float64)
        last = self.old - 1
        if mode == "align_corners":
            return i * 0 if self.length == 1 else i * last / (self.length - 1)
        if mode == "asymmetric":
            return self.unscaled(i)
        if mode == "tf_crop_and_resize":
            start, end = self.roi
            share = i * 0 + 0.5 if self.length == 1 else i / (self.length - 1)
            return (start + share * (end - start)) * last
        if mode == "pytorch_half_pixel" and self.length == 1:
            return i * 0
        shift = self.old / 2 * (1 - self.new / self.length) if mode == "half_pixel_symmetric" else 0.0
        return shift + self.unscaled(i + 0.5) - 0.5


def _nearest(x: Array, mode: str) -> Array:
    return {
        "round_prefer_floor": lambda: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda: np.floor(x + 0.5),
        "floor": lambda: np.floor(x),
        "ceil": lambda: np.ceil(x),
    }[mode]()


def _stepped(x: Array, steps: int) -> Array:
    """Coordinates with fractions that are whole multiples of 1 / steps; exact for 0."""
    below = np.floor(x)
    return below + np.rint((x - below) * steps) / steps if steps else x


def _taps(axis: Axis, x: Array, mode: str, coefficient: float, antialias: bool, exclude: bool) -> tuple[Array, Array]:
    """Places and weights for coordinates x: the neighbours that the filter reaches, outside of x the edge again.

    A filter that makes smaller is widened by antialias so that no element of x is skipped.
    """
    weight, radius = _filter(mode, coefficient)
    narrow = min(axis.ratio, 1.0) if antialias else 1.0
    first = math.floor(-radius / narrow) + 1
    base = np.ceil(x) - 1  # a whole coordinate has its neighbour at distance 1
    offsets = np.arange(first, 2 - first)
    weights = weight((offsets - (x - base)[:, None]) * narrow)
    places = (base[:, None] + offsets).astype(np.intp)
    if antialias or mode in NORMALISED:
        weights = weights / weights.sum(1, keepdims=True)
    if exclude:
        weights = np.where((places < 0) | (places >= axis.old), 0.0, weights)
        weights = weights / weights.sum(1, keepdims=True)
    used = np.any(weights != 0, axis=0)  # without antialias and for whole factors, often one tap is idle
    return np.clip(places[:, used], 0, axis.old - 1), weights[:, used]


def _covered(axis: Axis) -> tuple[Array, Array]:
    """Places and weights of means: how much of each element a place of the result covers."""
    low = axis.unscaled(np.arange(axis.new, dtype=np.float64))[:, None]
    high = axis.unscaled(np.arange(1, axis.new + 1, dtype=np.float64))[:, None]
    places = np.floor(low) + np.arange(int(np.max(np.ceil(high) - np.floor(low))))
    weights = np.clip(np.minimum(places + 1, high) - np.maximum(places, low), 0, None)
    return np.clip(places, 0, axis.old - 1).astype(np.intp), weights / weights.sum(1, keepdims=True)


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
    wanted = _axes(x.shape, out.shape, axes, scales, roi)
    tables = partial(
        _table, mode=mode, coordinates=coordinates, nearest=nearest, coefficient=cubic_coefficient,
        exclude=exclude_outside, fraction_steps=fraction_steps, antialias=antialias,
    )  # fmt: skip
    changed = [a for a in wanted if _changes(a, a.coordinates(coordinates), mode)]
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
    for axis in _axes(out.shape, g.shape, axes, scales, roi):
        where = axis.coordinates(coordinates)
        outside = (where < 0) | (where > axis.old - 1) if coordinates == "tf_crop_and_resize" else where != where
        if outside.any() or _changes(axis, where, mode):
            places, weights = _table(
                axis, mode, coordinates, nearest, cubic_coefficient, exclude_outside, fraction_steps, antialias
            )
            weights = np.where(outside[:, None], 0.0, weights)
            tables.append((axis.axis, *_transposed(places, weights, axis.old)))
    return _by_axis(g, sorted(tables, key=lambda t: len(t[1]) / g.shape[t[0]]), False, out, scratch)


def _changes(axis: Axis, where: Array, mode: str) -> bool:
    """Whether anything changes along an axis for the coordinates `where`."""
    return mode in SMOOTHING or not np.array_equal(where, np.arange(axis.old))


def _axes(
    old: Sequence[int], new: Sequence[int], axes: Sequence[int], scales: Sequence[float], roi: Sequence[float]
) -> list[Axis]:
    count = len(axes)
    given: Sequence[float | None] = scales or [None] * count
    regions = list(zip(roi[:count], roi[count:])) or [(0.0, 1.0)] * count
    return [Axis(a % len(old), old[a], new[a], scale, region) for a, scale, region in zip(axes, given, regions)]


def _table(
    axis: Axis, mode: str, coordinates: str, nearest: str, coefficient: float, exclude: bool, fraction_steps: int,
    antialias: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """Places and weights (new, taps) of one axis."""
    where = axis.coordinates(coordinates)
    if mode == "nearest":
        places = np.clip(_nearest(where, nearest), 0, axis.old - 1).astype(np.intp)[:, None]
        return places, np.ones(places.shape)
    if mode == "area":
        return _covered(axis)
    return _taps(axis, _stepped(where, fraction_steps), mode, coefficient, antialias, exclude)


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
