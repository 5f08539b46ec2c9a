"""Pooling and resizing, channels last: x is (N, *spatial, C)."""

from __future__ import annotations

from ..attributes import Dims, Floats, Ints, Padding
from ..op import op, require, shape_text
from ..types import Tensor, i64
from .conv import check_windows, concrete_padding, not_batch, window_places


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


RESIZE_MODES = ("nearest", "linear", "cubic", "lanczos3", "lanczos5")
COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
)  # fmt: skip
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@op(mixes=lambda rank, *, axes, **_: {a % rank for a in axes})
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
    """
    for value, allowed in ((mode, RESIZE_MODES), (coordinates, COORDINATES), (nearest, NEAREST)):
        require(value in allowed, f"{value!r} is none of {', '.join(allowed)}")
    require(len(sizes) == len(axes), "sizes and axes differ in length")
    shape = list(x.dims)
    for axis, size in zip(axes, sizes):
        shape[axis % x.rank] = size
    return Tensor(x.dtype, tuple(shape))
