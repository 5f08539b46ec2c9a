"""Functions of images (N, H, W, C) that layers and operations share, as Keras computes them with TensorFlow.

Places in images are pixel numbers: x along the width, y along the height, in float32 as TensorFlow has them.
Formulas: keras/src/backend/tensorflow/image.py, tensorflow/core/kernels/image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Builder, Var, dims
from ..ir.shapes import dim, vector, zero
from .base import as_dtype, is_float
from .reshape import INTERPOLATIONS

# ---- sizes -----------------------------------------------------------------------------------------------------


def length(b: Builder, x: Var, axis: int) -> Var:
    """The size of x along an axis as a scalar i64."""
    return b.gather(b.shape(x), np.int64(axis))  # type: ignore[no-any-return]


def numbers(b: Builder, x: Var, axis: int, dtype: str = "float32") -> Var:
    """0, 1, ... along an axis of x, as a vector."""
    return as_dtype(b, b.range(np.int64(0), length(b, x, axis), np.int64(1)), dtype)


def to_range(b: Builder, x: Var, old: Sequence[float], new: Sequence[float], dtype: str = "float32") -> Var:
    """Values of one range brought to another in a dtype; x itself where the ranges are the same."""
    if tuple(old) == tuple(new):
        return x
    kind = as_dtype(b, x, dtype)
    (low, high), (new_low, new_high) = ([np.asarray(v, kind.tensor.dtype.numpy) for v in pair] for pair in (old, new))
    return b.add(b.mul(b.div(b.sub(kind, low), high - low), new_high - new_low), new_low)  # type: ignore[no-any-return]


# ---- resizing --------------------------------------------------------------------------------------------------

# Keras' names of interpolations as attributes of `resize`; tf.image.resize has scale_and_translate do it where
# neighbours outside of the image do not count, and wide filters where antialias is asked for
METHODS: dict[str, dict[str, Any]] = {
    **INTERPOLATIONS,
    "area": {"mode": "area"},
    "gaussian": {"mode": "gaussian", "exclude_outside": True},
    "mitchellcubic": {"mode": "mitchell", "exclude_outside": True},
}


def resize(
    b: Builder, x: Var, size: Sequence[int], interpolation: str, antialias: bool = False, axes: Sequence[int] = (1, 2)
) -> Var:
    """x with new sizes along two axes, as tf.image.resize: in float32, but for nearest."""
    if interpolation == "nearest":
        for axis, new in zip(axes, size):
            x = _nearest(b, x, axis, new)
        return x
    how = dict(METHODS[interpolation])
    if antialias and interpolation != "area":
        how |= {"antialias": True, "exclude_outside": True, "fraction_steps": 0}
    wide = x if x.tensor.dtype.name == "f64" else as_dtype(b, x, "float32")
    y = b.resize(wide, sizes=tuple(size), axes=tuple(axes), coordinates="half_pixel", **how)
    return as_dtype(b, y, "float32")


def _nearest(b: Builder, x: Var, axis: int, new: int) -> Var:
    """The pixel whose square the middle of a new one falls into; quotients in float32 decide at the borders."""
    old = length(b, x, axis)
    ratio = b.div(as_dtype(b, old, "float32"), np.float32(new))
    places = b.floor(b.mul(np.arange(new, dtype=np.float32) + np.float32(0.5), ratio))
    places = b.minimum(as_dtype(b, places, "int64"), b.sub(old, np.int64(1)))
    return b.gather(x, places, axis=axis)  # type: ignore[no-any-return]


def fitted(old: Sequence[Any], size: Sequence[int], larger: bool) -> tuple[Any, Any]:
    """The largest window of an image with the aspect ratio of `size`; `larger`: the smallest one around the image."""
    height, width = old
    new_height, new_width = width * size[0] // size[1], height * size[1] // size[0]
    if larger:
        return dims.maximum(height, new_height), dims.maximum(width, new_width)
    return dims.maximum(dims.minimum(height, new_height), 1), dims.maximum(dims.minimum(width, new_width), 1)


def window(b: Builder, x: Var, axis: int, start: Any, size: int) -> Var:
    """`size` elements of x along an axis; the start is a number, or a value i64[1] or []."""
    if isinstance(start, int):
        return b.slice(x, starts=(start,), ends=(start + size,), axes=(axis,))  # type: ignore[no-any-return]
    return b.gather(x, b.add(start, np.arange(size, dtype=np.int64)), axis=axis)  # type: ignore[no-any-return]


def crop_to_aspect(b: Builder, x: Var, size: Sequence[int], axes: Sequence[int] = (1, 2)) -> Var:
    """The middle of x with the aspect ratio of `size`."""
    old = [x.shape[a] for a in axes]
    window = fitted(old, size, larger=False)
    starts = [(o - n) // 2 for o, n in zip(old, window)]
    return b.slice(x, starts=starts, ends=[s + n for s, n in zip(starts, window)], axes=tuple(axes))  # type: ignore[no-any-return]


def pad_to_aspect(b: Builder, x: Var, size: Sequence[int], value: float, axes: Sequence[int] = (1, 2)) -> Var:
    """x in the middle of an image with (up to a pixel) the aspect ratio of `size`, filled up with a value."""
    old = [x.shape[a] for a in axes]
    for axis, before, after in zip(axes, old, fitted(old, size, larger=True)):
        edge = (after - before) // 2
        if edge != 0:
            shape = vector(b, [edge if a == axis else dim(b, x, a) for a in range(len(x.shape))])
            filling = b.fill(b.constant(value, dtype=x.tensor.dtype.numpy), shape=shape)
            x = b.concat(filling, x, filling, axis=axis)
    return x


# ---- colours ---------------------------------------------------------------------------------------------------


def channels(b: Builder, x: Var) -> list[Var]:
    """The channels of x, the last axis kept."""
    return list(b.split(x, axis=len(x.shape) - 1, sizes=(1,) * x.shape[-1]))


def to_grayscale(b: Builder, x: Var) -> Var:
    """0.2989 R + 0.587 G + 0.114 B as the only channel, in x's dtype; x itself where it has one already."""
    if x.shape[-1] == 1:
        return x
    wide = x if is_float(x) else as_dtype(b, x, "float32")
    red, green, blue = channels(b, wide)
    gray = b.add(b.add(b.mul(red, 0.2989), b.mul(green, 0.587)), b.mul(blue, 0.114))
    return b.cast_like(gray, x)


def rgb_to_hsv(b: Builder, x: Var) -> list[Var]:
    """Hue, saturation and value of RGB images: V = max, S = (max - min) / max, H a place around a hexagon, 0 to 1."""
    red, green, blue = channels(b, x)
    value = b.maximum(b.maximum(red, green), blue)
    spread = b.sub(value, b.minimum(b.minimum(red, green), blue))
    none = zero(b, x)
    norm = b.reciprocal(b.mul(spread, 6.0))
    hue = b.add(b.mul(norm, b.sub(red, green)), 4 / 6)
    hue = b.where(b.equal(green, value), b.add(b.mul(norm, b.sub(blue, red)), 2 / 6), hue)
    hue = b.where(b.equal(red, value), b.mul(norm, b.sub(green, blue)), hue)
    hue = b.where(b.greater(spread, 0.0), hue, none)
    hue = b.where(b.less(hue, 0.0), b.add(hue, 1.0), hue)
    return [hue, b.where(b.greater(value, 0.0), b.div(spread, value), none), value]


def hsv_to_rgb(b: Builder, hsv: Sequence[Var]) -> Var:
    """The inverse of `rgb_to_hsv`."""
    hue, saturation, value = hsv
    sixth, rest = b.mul(hue, 6.0), b.affine(saturation, alpha=-1.0, beta=1.0)
    far = [b.abs(b.sub(sixth, middle)) for middle in (3.0, 2.0, 4.0)]
    shares = [b.sub(far[0], 1.0), *(b.affine(d, alpha=-1.0, beta=2.0) for d in far[1:])]
    parts = [b.mul(b.add(rest, b.mul(saturation, b.clip(s, low=0.0, high=1.0))), value) for s in shares]
    return b.concat(*parts, axis=len(hue.shape) - 1)  # type: ignore[no-any-return]


# ---- filters ---------------------------------------------------------------------------------------------------


def filtered(b: Builder, x: Var, kernel: Var) -> Var:
    """Every channel of x filtered with the same kernel (rows, columns), zeros around the image."""
    rows, columns = kernel.shape
    count = x.shape[-1]
    kernels = b.expand(b.reshape(kernel, shape=(rows, columns, 1, 1)), shape=(rows, columns, 1, count))
    return b.conv(x, kernels, strides=(1, 1), dilations=(1, 1), padding="same", groups=count)  # type: ignore[no-any-return]


def gaussian(b: Builder, size: int, sigma: Var, radius: Var | None = None) -> Var:
    """exp(-d^2 / (2 sigma^2)) at the places of a kernel, by their sum; nothing further from its middle than radius."""
    away = np.arange(size, dtype=sigma.tensor.dtype.numpy) - (size - 1) / 2
    away = away.astype(sigma.tensor.dtype.numpy)
    weights = b.exp(b.mul(b.square(b.div(away, sigma)), -0.5))
    if radius is not None:
        weights = b.where(b.less_equal(np.abs(away), radius), weights, zero(b, weights))
    return b.div(weights, b.reduce_sum(weights))  # type: ignore[no-any-return]


def gaussian_blur(b: Builder, x: Var, size: Sequence[int], sigma: Var) -> Var:
    """x filtered with a Gauss kernel; `sigma` has the deviations for size[0] and size[1].

    Keras makes the kernel (size[1], size[0]) and reads its elements as (size[0], size[1]).
    """
    columns, rows = (gaussian(b, n, b.gather(sigma, np.int64(i))) for i, n in enumerate(size))
    kernel = b.mul(b.unsqueeze(rows, axes=(1,)), b.unsqueeze(columns, axes=(0,)))
    return filtered(b, x, b.cast_like(b.reshape(kernel, shape=tuple(size)), x))


# ---- samples ---------------------------------------------------------------------------------------------------

FILL_MODES = ("reflect", "wrap", "constant", "nearest")
SAMPLING = {"nearest": "nearest", "bilinear": "linear"}


def sample(b: Builder, x: Var, places: tuple[Var, Var], interpolation: str) -> Var:
    """x (N, H, W, C) at `places` = (x, y), each (N, H', W'), which lie inside: beyond the edge is the edge again."""
    grid = b.concat(*(b.unsqueeze(p, axes=(3,)) for p in places), axis=3)
    first = b.transpose(x, perm=(0, 3, 1, 2))
    y = b.grid_sample(first, grid, mode=SAMPLING[interpolation], padding="border", align="pixels")
    return b.transpose(y, perm=(0, 2, 3, 1))  # type: ignore[no-any-return]


def framed(b: Builder, x: Var, places: tuple[Var, Var], value: float) -> tuple[Var, tuple[Var, Var]]:
    """x with a frame of one pixel of a value, and the places in it; all that lies outside falls onto the frame."""
    y = b.pad(x, b.constant(value, dtype=x.tensor.dtype.numpy), pads=((0, 0), (1, 1), (1, 1), (0, 0)))
    found = []
    for place, axis in zip(places, (2, 1)):
        last = as_dtype(b, length(b, x, axis), "float32")
        found.append(b.add(b.maximum(b.minimum(place, last), -1.0), 1.0))
    return y, (found[0], found[1])


def reflected(b: Builder, place: Var, size: Var) -> Var:
    """Places in [dcba|abcd|dcba], whose period is twice the size."""
    turn = b.mod(place, b.mul(size, 2.0))
    mirrored = b.minimum(turn, b.sub(b.sub(b.mul(size, 2.0), 1.0), turn))
    return b.maximum(b.minimum(mirrored, b.sub(size, 1.0)), 0.0)  # type: ignore[no-any-return]


def wrapped(b: Builder, place: Var, size: Var) -> Var:
    """Places in [abcd|abcd|abcd] as TensorFlow finds them: periods are counted in steps of size - 1."""
    last = b.sub(size, 1.0)
    step = b.maximum(last, 1.0)
    below = b.add(place, b.mul(size, b.add(b.floor(b.div(b.neg(place), step)), 1.0)))
    above = b.sub(place, b.mul(size, b.floor(b.div(place, step))))
    inside = b.where(b.less(place, 0.0), below, b.where(b.greater(place, last), above, place))
    return b.maximum(b.minimum(inside, last), 0.0)  # type: ignore[no-any-return]


def rounded(b: Builder, place: Var) -> Var:
    """The nearest whole numbers, halves away from zero."""
    near = b.round(place)
    half = b.equal(b.abs(b.sub(place, near)), 0.5)
    return b.where(half, b.add(place, b.mul(b.sign(place), 0.5)), near)  # type: ignore[no-any-return]


def grid(b: Builder, x: Var) -> tuple[Var, Var]:
    """The places of the pixels of x: (1, 1, W) along the width, (1, H, 1) along the height."""
    return b.unsqueeze(numbers(b, x, 2), axes=(0, 1)), b.unsqueeze(numbers(b, x, 1), axes=(0, 2))


def projected(
    b: Builder, x: Var, matrix: Var, interpolation: str = "bilinear", fill_mode: str = "constant", value: float = 0.0
) -> Var:
    """Pixel (x, y) of the result from ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k) in x, k = c0 x + c1 y + 1.

    matrix: f32 (N, 8) as a0 a1 a2 b0 b1 b2 c0 c1 (ImageProjectiveTransformV3); where k is 0 there is no such place.
    """
    across, down = grid(b, x)
    a0, a1, a2, b0, b1, b2, c0, c1 = (b.unsqueeze(b.gather(matrix, np.int64(i), axis=1), axes=(1, 2)) for i in range(8))
    k = b.add(b.add(b.mul(c0, across), b.mul(c1, down)), 1.0)
    over = [b.add(b.add(b.mul(p, across), b.mul(q, down)), r) for p, q, r in ((a0, a1, a2), (b0, b1, b2))]
    lost = b.equal(k, 0.0)
    nowhere = b.constant(np.float32(-2 if fill_mode == "constant" else 0))
    places = [b.where(lost, nowhere, b.div(o, k)) for o in over]
    sizes = [as_dtype(b, length(b, x, axis), "float32") for axis in (2, 1)]
    if fill_mode in ("reflect", "wrap"):
        inside = reflected if fill_mode == "reflect" else wrapped
        places = [inside(b, p, s) for p, s in zip(places, sizes)]
    if interpolation == "nearest":
        places = [rounded(b, p) for p in places]
    if fill_mode == "constant":
        x, (right, below) = framed(b, x, (places[0], places[1]), value)
        places = [right, below]
    return sample(b, x, (places[0], places[1]), interpolation)


def homography(b: Builder, start: Var, end: Var) -> Var:
    """The matrix (N, 8) of `projected` that takes the four points `end` to `start`, both (N, 4, 2) as (x, y).

    The eight equations are solved in float64: in float32, as Keras does it, large images lose digits.
    """
    to, of = (as_dtype(b, v, "float64") for v in (start, end))
    ones = b.add(b.mul(b.slice(of, starts=(0,), ends=(1,), axes=(2,)), 0.0), 1.0)
    point = b.concat(of, ones, axis=2)  # (N, 4, 3)
    nothing = b.mul(point, 0.0)
    rows = []
    for axis, first in ((0, (point, nothing)), (1, (nothing, point))):
        target = b.slice(to, starts=(axis,), ends=(axis + 1,), axes=(2,))
        rows.append(b.unsqueeze(b.concat(*first, b.neg(b.mul(target, of)), axis=2), axes=(2,)))
    equations = b.reshape(b.concat(*rows, axis=2), shape=vector(b, [dim(b, start, 0), 8, 8]))
    target = b.reshape(to, shape=vector(b, [dim(b, start, 0), 8, 1]))
    return as_dtype(b, b.squeeze(b.matmul(b.inverse(equations), target), axes=(2,)), "float32")


def displaced(
    b: Builder, x: Var, places: tuple[Var, Var], interpolation: str, fill_mode: str, value: float = 0.0
) -> Var:
    """x at places (x, y) as Keras' map_coordinates has it.

    It mirrors without the edge on the side of 0 and with it on the other; a wrapped image is continuous.
    """
    if interpolation == "nearest":
        places = (b.round(places[0]), b.round(places[1]))
    sizes = [as_dtype(b, length(b, x, axis), "float32") for axis in (2, 1)]
    if fill_mode == "constant":
        x, places = framed(b, x, places, value)
    elif fill_mode == "reflect":
        right, below = (reflected(b, b.abs(p), s) for p, s in zip(places, sizes))
        places = right, below
    elif fill_mode == "wrap":
        right, below = (b.mod(p, s) for p, s in zip(places, sizes))
        places = right, below
        x = b.pad(x, pads=((0, 0), (0, 1), (0, 1), (0, 0)), mode="wrap")
    return sample(b, x, places, interpolation)
