"""The tables of `resize`: for each axis the places and weights (size, taps) of ONNX Resize (opset 11 to 19) and of
TensorFlow's image resizing.

Output i is the sum over taps t of weights[i, t] x[places[i, t]].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

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


# ---- tables --------------------------------------------------------------------------------------------------


def changes(axis: Axis, where: Array, mode: str) -> bool:
    """Whether anything changes along an axis for the coordinates `where`."""
    return mode in SMOOTHING or not np.array_equal(where, np.arange(axis.old))


def resized_axes(
    old: Sequence[int], new: Sequence[int], axes: Sequence[int], scales: Sequence[float], roi: Sequence[float]
) -> list[Axis]:
    count = len(axes)
    given: Sequence[float | None] = scales or [None] * count
    regions = list(zip(roi[:count], roi[count:])) or [(0.0, 1.0)] * count
    return [Axis(a % len(old), old[a], new[a], scale, region) for a, scale, region in zip(axes, given, regions)]


def table(
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
