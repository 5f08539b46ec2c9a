"""Pooling and resizing, channels last: x is (N, *spatial, C)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ...errors import UnsupportedError
from ..attributes import Dims, Floats, Ints, Padding
from ..op import op, require, require_dim, require_rank, same_dtype, shape_text
from ..types import Tensor, i64, u8
from .conv import check_windows, concrete_padding, explicit_padding, not_batch, window_places

MOST_TAPS = 255  # that the numbers of a record tell apart


def _pooled(x: Tensor, window: Ints, strides: Ints, dilations: Ints, padding: Padding, ceil_mode: bool) -> Tensor:
    require(x.rank == len(window) + 2, f"a window {window} does not fit shape {shape_text(x.shape)}")
    check_windows(len(window), window, strides, dilations)
    places = window_places(x.dims[1:-1], window, strides, dilations, padding, ceil_mode)
    return Tensor(x.dtype, (x.dims[0], *places, x.dims[-1]))


@op(mixes=not_batch, concrete=concrete_padding)
def max_pool(
    x: Tensor, *, window: Ints, strides: Ints, dilations: Ints, padding: Padding = "valid", ceil_mode: bool = False
) -> Tensor:
    """The largest element of each window; padding never wins."""
    return _pooled(x, window, strides, dilations, padding, ceil_mode)


@op(concrete=concrete_padding)
def max_pool_indices(
    x: Tensor, *, window: Ints, strides: Ints, dilations: Ints, padding: Padding = "valid", ceil_mode: bool = False
) -> Tensor:
    """Where in the flattened spatial axes of x (row-major) the largest element of each window stands: the first."""
    return Tensor(i64, _pooled(x, window, strides, dilations, padding, ceil_mode).shape)


@op(mixes=not_batch, concrete=concrete_padding)
def avg_pool(
    x: Tensor,
    *,
    window: Ints,
    strides: Ints,
    dilations: Ints,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """The mean of each window, over the elements of x in it, or (count_include_pad) over the padding too."""
    return _pooled(x, window, strides, dilations, padding, ceil_mode)


def _require_pooled(given: Tensor, pooled: Tensor, what: str) -> None:
    require_rank(given, pooled.rank, what)
    for actual, expected in zip(given.dims, pooled.dims):
        require_dim(actual, expected, f"an axis of {what}")


@op(mixes=not_batch, concrete=concrete_padding)
def max_pool_record(
    x: Tensor, *, window: Ints, strides: Ints, dilations: Ints, padding: Padding = "valid", ceil_mode: bool = False
) -> tuple[Tensor, Tensor]:
    """`max_pool`, and of each window the number of its first largest element: its place in the window in row-major
    order, counted from 1; 0 where NaN is the largest.  For `max_pool_grad`, which then need not look for it.

    UnsupportedError for windows of more than 255 elements.
    """
    if math.prod(window) > MOST_TAPS:
        raise UnsupportedError(
            f"max_pool_record numbers {MOST_TAPS} elements of a window, not {math.prod(window)}", hint="use op max_pool"
        )
    y = _pooled(x, window, strides, dilations, padding, ceil_mode)
    return y, Tensor(u8, y.shape)


@op(mixes=not_batch, concrete=concrete_padding)
def max_pool_grad(
    x: Tensor, y: Tensor, g: Tensor, record: Tensor | None = None, *,
    window: Ints, strides: Ints, dilations: Ints, padding: Padding = "valid", ceil_mode: bool = False,
    all_ties: bool = False,
) -> Tensor:  # fmt: skip
    """The adjoint of `max_pool`, y = max_pool(x): each element of g goes to the first largest element of its window.

    x: (N, *S, C), y and g: (N, *S', C) -> (N, *S, C).  The first in row-major order; with all_ties, each of them.
    Which that are is looked for in x, unless the `record` (see max_pool_record) tells; it knows of no ties.
    """
    for given, what in ((y, "y"), (g, "g"), *([] if record is None else [(record, "the record")])):
        _require_pooled(given, _pooled(x, window, strides, dilations, padding, ceil_mode), what)
    require(record is None or (record.dtype == u8 and not all_ties), "a record is u8, and without all_ties")
    return Tensor(same_dtype(x, y, g), x.dims)


@op(mixes=not_batch, concrete=concrete_padding)
def max_pool_pick(
    x: Tensor, y: Tensor, h: Tensor, *,
    window: Ints, strides: Ints, dilations: Ints, padding: Padding = "valid", ceil_mode: bool = False,
    all_ties: bool = False,
) -> Tensor:  # fmt: skip
    """The element of h where x has the first largest element of each window, y = max_pool(x).

    x and h: (N, *S, C), y: (N, *S', C) -> (N, *S', C): linear in h, with `max_pool_grad` as its adjoint.  With
    all_ties, the sum of h over all largest elements.
    """
    _require_pooled(y, _pooled(x, window, strides, dilations, padding, ceil_mode), "y")
    _require_pooled(h, x, "h")
    return Tensor(same_dtype(x, y, h), y.dims)


def _avg_pool_grad_padding(types: tuple[Tensor, ...], attrs: dict[str, Any]) -> dict[str, Any]:
    given = (attrs[k] for k in ("padding", "sizes", "window", "strides", "dilations"))
    return {**attrs, "padding": explicit_padding(*given)}


@op(mixes=not_batch, concrete=_avg_pool_grad_padding)
def avg_pool_grad(
    g: Tensor,
    *,
    sizes: Dims,
    window: Ints,
    strides: Ints,
    dilations: Ints,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """The adjoint of `avg_pool` of an x whose spatial axes are `sizes`: each element of g, divided by how many elements
    its window counts, is added to all of them.

    g: (N, *S', C) -> (N, *sizes, C).
    """
    require_rank(g, len(sizes) + 2, "g")
    x = Tensor(g.dtype, (g.dims[0], *sizes, g.dims[-1]))
    _require_pooled(g, _pooled(x, window, strides, dilations, padding, ceil_mode), "g")
    return x


RESIZE_MODES = ("nearest", "linear", "cubic", "lanczos3", "lanczos5", "mitchell", "gaussian", "area")
COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
)  # fmt: skip
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _resize_mixes(rank: int, *, axes: Ints, **_: Any) -> Iterable[int]:
    return {a % rank for a in axes}


def _resized(x: Tensor, sizes: Dims, axes: Ints, mode: str, coordinates: str, nearest: str) -> Tensor:
    for value, allowed in ((mode, RESIZE_MODES), (coordinates, COORDINATES), (nearest, NEAREST)):
        require(value in allowed, f"{value!r} is none of {', '.join(allowed)}")
    require(len(sizes) == len(axes), "sizes and axes differ in length")
    shape = list(x.dims)
    for axis, size in zip(axes, sizes):
        shape[axis % x.rank] = size
    return Tensor(x.dtype, tuple(shape))


@op("permutes", mixes=_resize_mixes)
def resize(
    x: Tensor,
    *,
    sizes: Dims,
    axes: Ints,
    scales: Floats = (),
    mode: str = "nearest",
    coordinates: str = "half_pixel",
    nearest: str = "round_prefer_floor",
    cubic_coefficient: float = -0.75,
    exclude_outside: bool = False,
    fraction_steps: int = 0,
    antialias: bool = False,
    extrapolation: float = 0.0,
    roi: Floats = (),
) -> Tensor:
    """x sampled anew to `sizes` along `axes`, each axis on its own (separable filters), as ONNX Resize defines it.

    Where `scales` are given they, not sizes / old sizes, relate the coordinates.  roi (starts, then ends, of the
    axes, in [0, 1]) belongs to tf_crop_and_resize, which puts `extrapolation` outside of x.  Distances are exact, or
    rounded to 1 / fraction_steps of a place (TensorFlow looks its bicubic weights up in a table of 1024 steps).
    area: the mean of what a place of the result covers, whatever the coordinates.
    """
    return _resized(x, sizes, axes, mode, coordinates, nearest)


@op(mixes=_resize_mixes)
def resize_grad(
    g: Tensor,
    *,
    sizes: Dims,
    axes: Ints,
    scales: Floats = (),
    mode: str = "nearest",
    coordinates: str = "half_pixel",
    nearest: str = "round_prefer_floor",
    cubic_coefficient: float = -0.75,
    exclude_outside: bool = False,
    fraction_steps: int = 0,
    antialias: bool = False,
    extrapolation: float = 0.0,
    roi: Floats = (),
) -> Tensor:
    """The adjoint of `resize`, whose attributes it has: `sizes` are those that x had along `axes`.

    Every element of g is added to the elements of x that it was made from, times their weights.
    """
    return _resized(g, sizes, axes, mode, coordinates, nearest)
