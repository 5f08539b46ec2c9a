"""Boxes, regions and samples of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.graph import Var
from ....ir.types import f32
from ..lowering import Lowering
from ..registry import onnx
from .conv import Ints, ones, pairs, with_kernel

SAMPLE_MODES = {"bilinear": "linear", "bicubic": "cubic"}  # as opset 16 called them


@onnx("NonMaxSuppression", since=10)
def non_max_suppression(
    b: Lowering, boxes: Var, scores: Var, max_output_boxes_per_class: Var | None = None,
    iou_threshold: Var | None = None, score_threshold: Var | None = None, *, center_point_box: int = 0,
) -> Var:  # fmt: skip
    return b.non_max_suppression(
        boxes,
        scores,
        most=0 if max_output_boxes_per_class is None else max_output_boxes_per_class,
        iou_threshold=0.0 if iou_threshold is None else iou_threshold,
        score_threshold=score_threshold,
        centers=center_point_box,
    )


@onnx("ImageDecoder", since=20)
def image_decoder(b: Lowering, encoded_stream: Var, *, pixel_format: str = "RGB") -> Var:
    return b.decode_image(encoded_stream, format=pixel_format)


@onnx("RoiAlign", since=10)
def roi_align_whole_pixels(
    b: Lowering, X: Var, rois: Var, batch_indices: Var, *, mode: str = "avg", output_height: int = 1,
    output_width: int = 1, sampling_ratio: int = 0, spatial_scale: float = 1.0,
) -> Var:  # fmt: skip
    """Before opset 16, coordinates are not shifted by half a pixel."""
    return roi_align(
        b, X, rois, batch_indices, coordinate_transformation_mode="output_half_pixel", mode=mode,
        output_height=output_height, output_width=output_width, sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )  # fmt: skip


@onnx("RoiAlign", since=16)
def roi_align(
    b: Lowering, X: Var, rois: Var, batch_indices: Var, *, coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg", output_height: int = 1, output_width: int = 1, sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Var:  # fmt: skip
    return b.roi_align(
        X,
        rois,
        batch_indices,
        size=(output_height, output_width),
        scale=spatial_scale,
        samples=sampling_ratio,
        mode=mode,
        half_pixel=coordinate_transformation_mode == "half_pixel",
    )


@onnx("GridSample", since=16)
def grid_sample(
    b: Lowering, X: Var, grid: Var, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Var:
    align = "corners" if align_corners else "centers"
    return b.grid_sample(X, grid, mode=SAMPLE_MODES.get(mode, mode), padding=padding_mode, align=align)


@onnx("AffineGrid", since=20)
def affine_grid(b: Lowering, theta: Var, size: Var, *, align_corners: int = 0) -> Var:
    """Places (N, *S, spatial) for GridSample: theta (N, spatial, spatial + 1) times (x, y, ..., 1) of each pixel.

    Pixels' coordinates go from -1 to 1, the last axis of S being x; along an axis of one pixel the place is its middle,
    and with align_corners as in ONNX's definition its beginning.
    """
    spatial = next((n for n in (theta.shape[1], size.shape[0] - 2) if isinstance(n, int)), 0)
    if not spatial:
        raise b.refuse("neither the rows of theta nor the length of size are known", "declare the shapes of the inputs")
    counts = [b.gather(size, np.int64(i)) for i in range(2, 2 + spatial)]
    places = [_pixels(b, n, theta, bool(align_corners)) for n in counts]
    columns = [b.unsqueeze(p, axes=tuple(j for j in range(spatial) if j != i)) for i, p in enumerate(places)]
    shape = b.vector(counts)
    ones_ = b.fill(b.constant(1, dtype=theta.tensor.dtype.numpy), shape=shape)
    grid = [b.reshape(b.expand(c, shape=shape), shape=(-1, 1)) for c in columns[::-1]]
    flat = b.concat(*grid, b.reshape(ones_, shape=(-1, 1)), axis=1)  # (pixels, spatial + 1)
    batch = b.gather(size, np.int64(0))
    return b.reshape(b.matmul(flat, b.swap(theta)), shape=b.vector([batch, *counts, spatial]))


def _pixels(b: Lowering, count: Var, like: Var, corners: bool) -> Var:
    """The places of `count` pixels from -1 to 1, those of their centres or with the outer ones at the ends."""
    steps, whole = (b.cast_like(v, like) for v in (b.range(np.int64(0), count, np.int64(1)), count))
    if corners:
        gap = b.div(b.constant(2, dtype=like.tensor.dtype.numpy), b.maximum(b.sub(whole, 1), 1))
        return b.sub(b.mul(steps, gap), 1)  # type: ignore[no-any-return]
    return b.sub(b.div(b.add(b.mul(steps, 2), 1), whole), 1)  # type: ignore[no-any-return]


@onnx("Col2Im", since=18)
def col2im(
    b: Lowering, input: Var, image_shape: Var, block_shape: Var, *, dilations: Ints | None = None,
    pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    told = (block_shape.shape[0], image_shape.shape[0], *(len(v) for v in (strides, dilations) if v is not None))
    spatial = next((n for n in told if isinstance(n, int)), None)
    if spatial is None:
        raise b.refuse("the number of spatial axes is not known", "declare the length of block_shape")
    return b.col2im(
        input,
        image=image_shape,
        block=block_shape,
        strides=ones(strides, spatial),
        dilations=ones(dilations, spatial),
        padding=pairs(pads, spatial),
    )


@onnx("DeformConv", since=19)
def deform_conv(
    b: Lowering, X: Var, W: Var, offset: Var, B: Var | None = None, mask: Var | None = None, *,
    dilations: Ints | None = None, group: int = 1, kernel_shape: Ints | None = None, offset_group: int = 1,
    pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """A convolution whose kernel's points are moved by offsets (Dai et al. 2017): bilinear samples, then a product.

    X: (N, C, H, W), W: (O, C / group, kh, kw), offset: (N, offset_group * kh * kw * 2, h, w), mask the same
    without the 2.
    """
    W = with_kernel(b, W, kernel_shape)
    if len(X.shape) != 4:
        raise b.refuse(f"X has rank {len(X.shape)}, expected 4")
    filters, per_group, kh, kw = W.shape
    if not (isinstance(filters, int) and isinstance(per_group, int) and isinstance(kh, int) and isinstance(kw, int)):
        raise b.refuse("the sizes of the weights are not known", "declare the shapes of the model's inputs")
    points, parts, channels = kh * kw, offset_group, per_group * group
    (n, _, high, wide), (h, w) = b.dims(X), b.dims(offset)[2:]
    base = _kernel_places(b, (kh, kw), (h, w), ones(strides, 2), ones(dilations, 2), pairs(pads, 2))
    moved = b.reshape(b.cast(offset, to=f32), shape=b.mixed((n, parts, points, 2, h, w)))
    moved = b.transpose(b.add(moved, base), perm=(0, 1, 2, 4, 5, 3))
    places = b.slice(moved, starts=(-1,), ends=(-(2**31),), axes=(5,), steps=(-1,))  # the last axis first
    every = b.times(n, parts)
    samples = b.grid_sample(
        b.reshape(X, shape=b.mixed((every, channels // parts, high, wide))),
        b.reshape(places, shape=b.mixed((every, b.times(h, points), w, 2))),
        mode="linear", padding="zeros", align="pixels",
    )  # (n * parts, c / parts, points * h, w)  # fmt: skip
    if mask is not None:
        samples = b.mul(samples, b.reshape(mask, shape=b.mixed((every, 1, b.times(h, points), w))))
    columns = b.reshape(samples, shape=b.mixed((n, group, per_group * points, -1)))
    weights = b.reshape(W, shape=(1, group, filters // group, per_group * points))
    y = b.reshape(b.matmul(weights, columns), shape=b.mixed((n, filters, h, w)))
    return y if B is None else b.add(y, b.reshape(B, shape=(-1, 1, 1)))


def _kernel_places(
    b: Lowering, kernel: Ints, out: Sequence[Any], strides: Ints, dilations: Ints,
    padding: tuple[tuple[int, int], ...],
) -> Var:  # fmt: skip
    """The (y, x) at which the points of a kernel lie for each place of the result: (kh * kw, 2, h, w), in floats."""
    rows, columns = (
        b.add(b.mul(b.range(np.int64(0), b.count(o), np.int64(1)), s), np.arange(k)[:, None] * d - before)
        for k, o, s, d, (before, _) in zip(kernel, out, strides, dilations, padding)
    )  # (kh, h), (kw, w)
    shape = b.vector([*kernel, *out])
    y = b.expand(b.unsqueeze(rows, axes=(1, 3)), shape=shape)
    x = b.expand(b.unsqueeze(columns, axes=(0, 2)), shape=shape)
    both = b.concat(b.unsqueeze(y, axes=(2,)), b.unsqueeze(x, axes=(2,)), axis=2)
    return b.cast(b.reshape(both, shape=b.mixed((kernel[0] * kernel[1], 2, *out))), to=f32)  # type: ignore[no-any-return]


@onnx("MaxRoiPool")
def max_roi_pool(b: Lowering, X: Var, rois: Var, *, pooled_shape: tuple[int, ...], spatial_scale: float = 1.0) -> Var:
    """The maximum in each bin of regions (batch, x, y, x, y), whose edges are rounded to pixels (Girshick 2015).

    First along the width, then along the height: pixels outside of a bin count as -infinity, empty bins give 0.
    """
    batch = b.cast(b.slice(rois, starts=(0,), ends=(1,), axes=(1,)), to="i64")
    edges = b.floor(b.add(b.mul(b.slice(rois, starts=(1,), ends=(5,), axes=(1,)), spatial_scale), 0.5))
    y = b.gather(X, b.reshape(batch, shape=(-1,)), axis=0)
    for axis, first in ((3, 0), (2, 1)):
        low, high = (b.slice(edges, starts=(i,), ends=(i + 1,), axes=(1,)) for i in (first, first + 2))
        size = b.maximum(b.add(b.sub(high, low), 1.0), 1.0)
        y = _bins(b, y, axis, low, b.div(size, float(pooled_shape[axis - 2])), pooled_shape[axis - 2])
    return b.where(b.is_inf(y), b.constant(0, dtype=X.tensor.dtype.numpy), y)


def _bins(b: Lowering, x: Var, axis: int, low: Var, width: Var, count: int) -> Var:
    """The maxima of `count` bins along an axis of x, (R, C, H, W); bins begin at low, (R, 1), and have a width."""
    extent = b.gather(b.shape(x), np.int64(axis))
    pixels = b.cast_like(b.unsqueeze(b.range(np.int64(0), extent, np.int64(1)), axes=(0,)), x)
    outside = b.constant(-np.inf, dtype=x.tensor.dtype.numpy)
    found = []
    for i in range(count):
        start = b.add(low, b.floor(b.mul(width, float(i))))
        end = b.add(low, b.ceil(b.mul(width, float(i + 1))))
        inside = b.logical_and(b.greater_equal(pixels, start), b.less(pixels, end))
        mask = b.unsqueeze(inside, axes=(1, 2) if axis == 3 else (1, 3))
        found.append(b.reduce_max(b.where(mask, x, outside), axes=(axis,), keepdims=True))
    return b.concat(*found, axis=axis)  # type: ignore[no-any-return]
