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


def _filter(mode: str, coefficient: float) -> tuple[Callable[[Array], Array], int]:
    filters: dict[str, tuple[Callable[[Array], Array], int]] = {
        "linear": (_linear, 1),
        "cubic": (partial(_cubic, a=coefficient), 2),
        "lanczos3": (partial(_lanczos, radius=3), 3),
        "lanczos5": (partial(_lanczos, radius=5), 5),
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
    if antialias or mode.startswith("lanczos"):
        weights = weights / weights.sum(1, keepdims=True)
    if exclude:
        weights = np.where((places < 0) | (places >= axis.old), 0.0, weights)
        weights = weights / weights.sum(1, keepdims=True)
    used = np.any(weights != 0, axis=0)  # without antialias and for whole factors, often one tap is idle
    return np.clip(places[:, used], 0, axis.old - 1), weights[:, used]


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
    count = len(axes)
    given: Sequence[float | None] = scales or [None] * count
    regions = list(zip(roi[:count], roi[count:])) or [(0.0, 1.0)] * count
    wanted = [
        Axis(a % x.ndim, x.shape[a], new, scale, region) for a, new, scale, region in zip(axes, sizes, given, regions)
    ]
    steps: list[Step] = []
    current = x
    changed = [a for a in wanted if not np.array_equal(a.coordinates(coordinates), np.arange(a.old))]
    order = sorted(changed, key=lambda a: a.new / a.old)
    for axis in order:
        where = axis.coordinates(coordinates)
        shape = (*current.shape[: axis.axis], axis.new, *current.shape[axis.axis + 1 :])
        dtype = x.dtype if mode == "nearest" else compute_dtype(x.dtype)
        direct = shape == out.shape and dtype == out.dtype and out.flags.c_contiguous
        into = out if direct and axis is order[-1] else scratch(shape, dtype)
        if mode == "nearest":
            places = np.clip(_nearest(where, nearest), 0, axis.old - 1).astype(np.intp)
            steps += _take(current, axis.axis, places, into, scratch)
        else:
            where = _stepped(where, fraction_steps)
            places, weights = _taps(axis, where, mode, cubic_coefficient, antialias, exclude_outside)
            steps += _weighted(current, axis.axis, places, weights, into, scratch)
        current = into
    if current is not out:
        steps.append(partial(np.copyto, out, current, casting="unsafe"))
    if coordinates == "tf_crop_and_resize":
        steps += _extrapolated(wanted, extrapolation, out)
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
