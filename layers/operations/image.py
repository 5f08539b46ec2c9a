"""The operations of keras.ops.image, of one image (H, W, C) or many (N, H, W, C), in both data formats.

Formulas: keras/src/backend/tensorflow/image.py, keras/src/ops/image.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...ir import Builder, Var
from .. import images as shared
from ..base import as_dtype, from_last, to_last
from .common import Term, as_tuple, fixed, kind_of, row, tensor, where
from .nn import conv
from .promotion import result_type

FAMILY = "image"
operation = partial(row, FAMILY)


def _on_batch(b: Builder, images: Any, data_format: Any, body: Callable[[Var], Any]) -> Any:
    """A function of images (N, H, W, C) -> (N, H, W, C); one image is a batch of its own."""
    x = tensor(b, images)
    alone = len(x.shape) == 3
    x = b.unsqueeze(x, axes=(0,)) if alone else x
    y = from_last(b, body(to_last(b, x, data_format)), data_format)
    return b.squeeze(y, axes=(0,)) if alone else y


@operation("RGBToGrayscale")
def rgb_to_grayscale(b: Builder, images: Any, data_format: Any = None) -> Any:
    return _on_batch(b, images, data_format, lambda x: shared.to_grayscale(b, x))


@operation("RGBToHSV")
def rgb_to_hsv(b: Builder, images: Any, data_format: Any = None) -> Any:
    return _on_batch(b, images, data_format, lambda x: b.concat(*shared.rgb_to_hsv(b, x), axis=3))


@operation("HSVToRGB")
def hsv_to_rgb(b: Builder, images: Any, data_format: Any = None) -> Any:
    return _on_batch(b, images, data_format, lambda x: shared.hsv_to_rgb(b, shared.channels(b, x)))


@operation("Resize")
def resize(
    b: Builder, images: Any, size: Any, interpolation: str = "bilinear", antialias: bool = False,
    crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False, fill_mode: str = "constant",
    fill_value: float = 0.0, data_format: Any = None,
) -> Any:  # fmt: skip
    size = as_tuple(size, 2)

    def body(x: Var) -> Var:
        if crop_to_aspect_ratio:
            x = shared.crop_to_aspect(b, x, size)
        elif pad_to_aspect_ratio:
            x = shared.pad_to_aspect(b, x, size, fill_value)
        return shared.resize(b, x, size, interpolation, antialias)

    return _on_batch(b, images, data_format, body)


def _matrices(b: Builder, x: Any, rank: int) -> Var:
    """In float32, with an axis for the batch."""
    x = tensor(b, x, "float32")
    return b.unsqueeze(x, axes=(0,)) if len(x.shape) < rank else x  # type: ignore[no-any-return]


def _in_float(b: Builder, x: Var, body: Callable[[Var], Var]) -> Var:
    """In float32, the result in the dtype of x."""
    return as_dtype(b, body(as_dtype(b, x, "float32")), x.tensor.dtype)


@operation("AffineTransform")
def affine_transform(
    b: Builder, images: Any, transform: Any, interpolation: str = "bilinear", fill_mode: str = "constant",
    fill_value: float = 0, data_format: Any = None,
) -> Any:  # fmt: skip
    matrices = _matrices(b, transform, 2)

    def body(x: Var) -> Var:
        matrix = b.expand(matrices, shape=(x.shape[0], 8))
        return _in_float(b, x, lambda v: shared.projected(b, v, matrix, interpolation, fill_mode, fill_value))

    return _on_batch(b, images, data_format, body)


@operation("PerspectiveTransform")
def perspective_transform(
    b: Builder, images: Any, start_points: Any, end_points: Any, interpolation: str = "bilinear",
    fill_value: float = 0, data_format: Any = None,
) -> Any:  # fmt: skip
    matrices = shared.homography(b, _matrices(b, start_points, 3), _matrices(b, end_points, 3))

    def body(x: Var) -> Var:
        matrix = b.expand(matrices, shape=(x.shape[0], 8))
        return _in_float(b, x, lambda v: shared.projected(b, v, matrix, interpolation, "constant", fill_value))

    return _on_batch(b, images, data_format, body)


@operation("GaussianBlur")
def gaussian_blur(
    b: Builder, images: Any, kernel_size: Any = (3, 3), sigma: Any = (1.0, 1.0), data_format: Any = None
) -> Any:
    size, spread = as_tuple(kernel_size, 2), np.array(sigma, np.float64)

    def body(x: Var) -> Var:
        deviations = b.constant(spread.astype(x.tensor.dtype.numpy))
        return shared.gaussian_blur(b, x, size, deviations)

    return _on_batch(b, images, data_format, body)


@operation("ExtractPatches")
def extract_patches(
    b: Builder, images: Any, size: Any, strides: Any = None, dilation_rate: Any = 1, padding: str = "valid",
    data_format: Any = None,
) -> Any:  # fmt: skip
    """Windows as channels: a convolution with a unit matrix."""
    rank = 2 if isinstance(size, int) else len(size)
    x, window = tensor(b, images), as_tuple(size, rank)
    alone = len(x.shape) == rank + 1
    x = b.unsqueeze(x, axes=(0,)) if alone else x
    channels = fixed(x.shape[1 if data_format == "channels_first" else -1], "the number of channels")
    count = int(np.prod(window)) * channels
    kernel = np.eye(count).astype(x.tensor.dtype.numpy).reshape(*window, channels, count)
    y = conv(b, x, kernel, strides or window, padding, data_format, dilation_rate)
    return b.squeeze(y, axes=(0,)) if alone else y


def _edges(before: Any, after: Any, total: Any, size: Any) -> tuple[Any, Any]:
    """How much is added (negative: taken away) before and after, of which the total size gives one."""
    if before is None:
        before = total - after - size
    return before, total - before - size if after is None else after


@operation("PadImages")
def pad_images(
    b: Builder, images: Any, top_padding: Any = None, left_padding: Any = None, bottom_padding: Any = None,
    right_padding: Any = None, target_height: Any = None, target_width: Any = None, data_format: Any = None,
) -> Any:  # fmt: skip
    def body(x: Var) -> Var:
        height, width = (fixed(d, "the size of the images") for d in x.shape[1:3])
        rows = _edges(top_padding, bottom_padding, target_height, height)
        columns = _edges(left_padding, right_padding, target_width, width)
        return b.pad(x, pads=((0, 0), rows, columns, (0, 0)))  # type: ignore[no-any-return]

    return _on_batch(b, images, data_format, body)


@operation("CropImages")
def crop_images(
    b: Builder, images: Any, top_cropping: Any = None, left_cropping: Any = None, bottom_cropping: Any = None,
    right_cropping: Any = None, target_height: Any = None, target_width: Any = None, data_format: Any = None,
) -> Any:  # fmt: skip
    def span(before: Any, after: Any, total: Any, size: int) -> tuple[int, int]:
        start = size - total - after if before is None else before
        return start, start + (size - after - start if total is None else total)

    def body(x: Var) -> Var:
        height, width = (fixed(d, "the size of the images") for d in x.shape[1:3])
        rows = span(top_cropping, bottom_cropping, target_height, height)
        columns = span(left_cropping, right_cropping, target_width, width)
        return b.slice(x, starts=(rows[0], columns[0]), ends=(rows[1], columns[1]), axes=(1, 2))  # type: ignore

    return _on_batch(b, images, data_format, body)


# ---- places in arrays of any rank -----------------------------------------------------------------------------


def _within(place: Term, size: int, fill_mode: str) -> tuple[Any, Any]:
    """A place inside of an axis, and where it was inside already (for the constant mode)."""
    if fill_mode in ("constant", "nearest"):
        valid = (place >= 0) & (place < size) if fill_mode == "constant" else None
        return place.maximum(0).minimum(size - 1), valid
    if fill_mode == "wrap":
        return place % size, None
    turn = place.abs() % (2 * size)
    over = 2 * size - turn
    return where(turn < size, turn, over - 1 if fill_mode == "reflect" else over), None


@operation("MapCoordinates")
def map_coordinates(
    b: Builder, inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: float = 0
) -> Any:
    """inputs at `coordinates` (rank, ...), the nearest element (order 0) or the mean of neighbours (order 1)."""
    x, places = tensor(b, inputs), tensor(b, coordinates)
    if order not in (0, 1):
        raise TypeError(f"order={order} is not supported by Keras, only 0 and 1 are")
    if not isinstance(coordinates, Var) and not places.tensor.dtype.is_float:
        places = as_dtype(b, places, "float32")
    rank = len(x.shape)
    rows = [Term(b, b.squeeze(v, axes=(0,))) for v in b.split(places, axis=0, sizes=(1,) * rank)]
    neighbours: list[list[tuple[Any, Any, Any]]] = []
    for place, size in zip(rows, x.shape):
        size = fixed(size, "the size of an axis")
        weighted = _neighbours(place, order)
        neighbours.append([(*_within(at, size, fill_mode), weight) for at, weight in weighted])
    total = None
    kind = rows[0].dtype
    for choice in np.ndindex(*(len(n) for n in neighbours)):
        chosen = [n[i] for n, i in zip(neighbours, choice)]
        where_to = b.concat(*(b.unsqueeze(at.var, axes=(-1,)) for at, *_ in chosen), axis=-1)
        value = Term(b, b.gather_nd(x, where_to)).to(kind)
        valid = [v for _, v, _ in chosen if v is not None]
        if valid:
            inside = valid[0]
            for v in valid[1:]:
                inside = inside & v
            value = where(inside, value, fill_value)
        for *_, weight in chosen:
            value = value if weight is None else value * weight
        total = value if total is None else total + value
    assert total is not None
    total = total.round() if x.tensor.dtype.is_integer else total
    return total.to(x.tensor.dtype)


def _neighbours(place: Term, order: int) -> list[tuple[Any, Any]]:
    """Whole places and their weights."""
    if order == 0:
        near = place.round() if place.var.tensor.dtype.is_float else place
        return [(near.to("int32"), None)]
    lower = place.floor()
    above = place - lower
    index = lower.to("int32")
    return [(index, 1.0 - above), (index + 1, above)]


# ---- scaled copies --------------------------------------------------------------------------------------------

METHODS = {
    **dict.fromkeys(("linear", "bilinear", "trilinear", "triangle"), "linear"),
    **dict.fromkeys(("cubic", "bicubic", "tricubic"), "cubic"),
    "lanczos3": "lanczos3", "lanczos5": "lanczos5",
}  # fmt: skip


def _lanczos(radius: float, x: Term) -> Any:
    turn = x * np.pi
    y = turn.sin() * (turn / radius).sin() * radius
    near = where(x > 1e-3, y / where(x.equal(0), 1.0, turn.square()), 1.0)
    return where(x > radius, 0.0, near)


def _cubic(x: Term) -> Any:
    """Keys 1981, a = -1/2."""
    near = ((x * 1.5 - 2.5) * x) * x + 1.0
    far = ((x * -0.5 + 2.5) * x - 4.0) * x + 2.0
    return where(x >= 2.0, 0.0, where(x >= 1.0, far, near))


FILTERS: dict[str, Callable[[Term], Any]] = {
    "linear": lambda x: (1.0 - x.abs()).maximum(0.0), "cubic": _cubic,
    "lanczos3": partial(_lanczos, 3.0), "lanczos5": partial(_lanczos, 5.0),
}  # fmt: skip


def _weights(old: int, new: int, scale: Term, shift: Term, kernel: Callable[[Term], Any], antialias: bool) -> Any:
    """How much each old place (rows) counts in each new one (columns)."""
    b, kind = scale.b, scale.var.tensor.dtype.numpy
    inverse = scale.reciprocal()
    width: Any = inverse.maximum(1.0) if antialias else 1.0
    middles = Term(b, b.constant(np.arange(new).astype(kind)))
    at = (middles + 0.5) * inverse - shift * inverse - 0.5
    numbers = Term(b, b.constant(np.arange(old).astype(kind)[:, None]))
    found = kernel((at.unsqueeze(axes=(0,)) - numbers).abs() / width)
    total = found.reduce_sum(axes=(0,), keepdims=True)
    found = where(
        total.abs() > 1000.0 * float(np.finfo(np.float32).eps), found / where(total.equal(0), 1.0, total), 0.0
    )
    inside = (at >= -0.5) & (at <= old - 0.5)
    return where(inside.unsqueeze(axes=(0,)), found, 0.0)


@operation("ScaleAndTranslate")
def scale_and_translate(
    b: Builder, images: Any, output_shape: Any, scale: Any, translation: Any, spatial_dims: Any, method: str,
    antialias: bool = True,
) -> Any:  # fmt: skip
    """images stretched and moved along axes, into a new shape."""
    if method not in METHODS:
        raise TypeError(f"method={method!r} is none of {', '.join(METHODS)}")
    x = tensor(b, images)
    factors, shifts = tensor(b, scale), tensor(b, translation)
    name = result_type(kind_of(factors), kind_of(shifts))
    whole = x.tensor.dtype.is_integer
    y = as_dtype(b, x, "float32") if whole else x
    rank = len(x.shape)
    for i, axis in enumerate(spatial_dims):
        axis %= rank
        factor, shift = (Term(b, as_dtype(b, b.gather(v, np.int64(i)), name)) for v in (factors, shifts))
        old, new = fixed(x.shape[axis], "the size of an axis"), int(output_shape[axis])
        weights = _weights(old, new, factor, shift, FILTERS[METHODS[method]], antialias).to(y.tensor.dtype)
        perm = (*(a for a in range(rank) if a != axis), axis)
        moved = b.matmul(b.transpose(y, perm=perm), weights.var)
        y = b.transpose(moved, perm=tuple(np.argsort(perm).tolist()))
    if not whole:
        return y
    t, own = Term(b, y).round(), Term(b, as_dtype(b, x, "float32"))
    return t.maximum(own.reduce_min()).minimum(own.reduce_max()).to(x.tensor.dtype)


# ---- filters --------------------------------------------------------------------------------------------------

SOBEL = np.array([[[-1, -2, -1], [0, 0, 0], [1, 2, 1]], [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]], np.float32)


@operation("SobelEdges")
def sobel_edges(b: Builder, images: Any, data_format: Any = None) -> Any:
    """The slopes along rows and columns, as a new last axis; the image is mirrored at its edges."""
    x = to_last(b, tensor(b, images), data_format)
    channels = fixed(x.shape[-1], "the number of channels")
    padded = b.pad(x, pads=((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    kernel = np.tile(SOBEL.transpose(1, 2, 0)[:, :, None], (1, 1, 1, channels)).astype(x.tensor.dtype.numpy)
    y = b.conv(padded, kernel, strides=(1, 1), dilations=(1, 1), groups=channels)
    y = b.reshape(y, shape=(*x.shape[:3], channels, 2))
    return b.transpose(y, perm=(0, 3, 1, 2, 4)) if data_format == "channels_first" else y


@operation("SSIM")
def ssim(
    b: Builder, image1: Any, image2: Any, max_val: float = 1.0, filter_size: int = 11, filter_sigma: float = 1.5,
    k1: float = 0.01, k2: float = 0.03, data_format: Any = None,
) -> Any:  # fmt: skip
    """The structural similarity of images (Wang et al. 2004), the mean over places and channels."""
    own = kind_of(tensor(b, image1))
    name = result_type(own, "float")
    xs = [tensor(b, v, name) for v in (image1, image2)]
    alone = len(xs[0].shape) == 3
    x, y = (Term(b, to_last(b, b.unsqueeze(v, axes=(0,)) if alone else v, data_format)) for v in xs)
    kernel = _gauss(filter_size, filter_sigma).astype(x.var.tensor.dtype.numpy)[:, :, None, None]

    def smooth(t: Term) -> Any:
        channels = fixed(t.shape[-1], "the number of channels")
        kernels = np.tile(kernel, (1, 1, 1, channels))
        return t.conv(kernels, strides=(1, 1), dilations=(1, 1), groups=channels)

    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    mean_x, mean_y = smooth(x), smooth(y)
    both = mean_x * mean_y
    square_x, square_y = mean_x * mean_x, mean_y * mean_y
    spread = smooth(x * x) - square_x + (smooth(y * y) - square_y)
    shared_spread = smooth(x * y) - both
    found = (both * 2.0 + c1) * (shared_spread * 2.0 + c2) / ((square_x + square_y + c1) * (spread + c2))
    found = found.reduce_mean(axes=(1, 2, 3))
    return (found.squeeze(axes=(0,)) if alone else found).to(own)


def _gauss(size: int, sigma: float) -> Any:
    """A Gauss kernel (size, size) whose elements sum up to 1."""
    x = np.arange(size) - (size - 1) / 2.0
    one = np.exp(-(x**2) / (2.0 * sigma**2))
    return np.outer(one, one) / one.sum() ** 2
