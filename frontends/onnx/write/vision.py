"""Boxes, regions and samples of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....ir.types import i64, u8
from ..emitter import Emitter, Item
from . import export

# from opset 20 on the modes are called as here
OLD_SAMPLE_MODES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}


@export(dynamic=("most", "iou_threshold", "score_threshold"))
def non_max_suppression(
    w: Emitter, boxes: Item, scores: Item, *, most: Any, iou_threshold: Any, score_threshold: Any, centers: bool
) -> Item:
    limit = w.vector(most if isinstance(most, Item) else (most,))
    bounds = [v if isinstance(v, Item) or v is None else w.constant([v], "threshold", dtype="float32")
              for v in (iou_threshold, score_threshold)]  # fmt: skip
    return w.NonMaxSuppression(boxes, scores, limit, *bounds, center_point_box=int(centers), result=i64)  # type: ignore[no-any-return]


@export()
def roi_align(
    w: Emitter, x: Item, rois: Item, batches: Item, *, size: Sequence[int], scale: float, samples: int, mode: str,
    half_pixel: bool,
) -> Item:  # fmt: skip
    w.need(16, "RoiAlign that says where pixels are")
    return w.RoiAlign(  # type: ignore[no-any-return]
        x, rois, w.cast(batches, i64), output_height=size[0], output_width=size[1], spatial_scale=scale,
        sampling_ratio=samples, mode=mode,
        coordinate_transformation_mode="half_pixel" if half_pixel else "output_half_pixel",
    )  # fmt: skip


@export()
def grid_sample(w: Emitter, x: Item, grid: Item, *, mode: str, padding: str, align: str) -> Item:
    """Places in pixels are brought to [-1, 1] first."""
    w.need(16, "GridSample")
    if align == "pixels":
        sizes = w.cast(w.Concat(*(w.axis_size(x, a) for a in reversed(range(2, x.rank))), axis=0), grid.dtype)
        grid = w.Sub(w.Div(w.Mul(w.Add(grid, 0.5), 2), sizes), 1)
    if x.rank != 4:
        w.need(20, "GridSample of other than images")
    name = mode if w.opset >= 20 else OLD_SAMPLE_MODES[mode]
    return w.GridSample(x, grid, mode=name, padding_mode=padding, align_corners=int(align == "corners"))  # type: ignore[no-any-return]


@export(dynamic=("image", "block"))
def col2im(
    w: Emitter, x: Item, *, image: Any, block: Any, strides: Sequence[int], dilations: Sequence[int], padding: Any
) -> Item:
    w.need(18, "Col2Im")
    pads = [before for before, _ in padding] + [after for _, after in padding]
    return w.Col2Im(x, w.vector(image), w.vector(block), strides=strides, dilations=dilations, pads=pads)  # type: ignore[no-any-return]


@export()
def decode_image(w: Emitter, x: Item, *, format: str) -> Item:
    w.need(20, "ImageDecoder")
    return w.ImageDecoder(x, pixel_format=format, result=u8)  # type: ignore[no-any-return]
