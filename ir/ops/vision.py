"""Boxes, regions and samples of images, channels first: x is (N, C, *S)."""

from __future__ import annotations

from ..attributes import Dims, Ints, Pairs
from ..dims import UNKNOWN, product
from ..op import op, require, require_dim, require_rank
from ..types import Tensor, i64, u8

SAMPLE_MODES = ("nearest", "linear", "cubic")
SAMPLE_PADDING = ("zeros", "border", "reflection")
CORNERS = ("corners", "centers", "pixels")


@op("opaque")
def non_max_suppression(
    boxes: Tensor,
    scores: Tensor,
    *,
    most: int,
    iou_threshold: float = 0.0,
    score_threshold: float | None = None,
    centers: bool = False,
) -> Tensor:
    """The (batch, class, box) of each box that no better one of its class overlaps, best first in each class.

    boxes: (N, B, 4) as two opposite corners (y, x, y, x), or with `centers` as (x, y, width, height); scores:
    (N, classes, B).  A box is dropped if its score is not above score_threshold, or if intersection / union with a
    kept box is above iou_threshold; at most `most` are kept for each batch and class (ONNX NonMaxSuppression).
    """
    require_rank(boxes, 3, "boxes")
    require_rank(scores, 3, "scores")
    return Tensor(i64, (UNKNOWN, 3))


@op()
def roi_align(
    x: Tensor,
    rois: Tensor,
    batches: Tensor,
    *,
    size: Ints,
    scale: float = 1.0,
    samples: int = 0,
    mode: str = "avg",
    half_pixel: bool = True,
) -> Tensor:
    """Regions of images (N, C, H, W), each brought to `size` = (h, w) by bilinear samples (He et al. 2017).

    rois: (R, 4) as x, y, x, y, times `scale` in pixels of x; batches: (R).  A bin's result is the mean (mode avg) or
    maximum (max: of the four weighted neighbours of all samples, as ONNX RoiAlign) of samples x samples points, 0
    meaning as many as its size in pixels, rounded up.
    """
    require_rank(x, 4, "x")
    require_rank(rois, 2, "rois")
    require(mode in ("avg", "max"), f"mode {mode!r} is none of avg, max")
    require(len(size) == 2, f"size {size} is not (height, width)")
    require_dim(rois.dims[1], 4, "the size of a region")
    return Tensor(x.dtype, (rois.dims[0], x.dims[1], *size))


@op()
def grid_sample(
    x: Tensor, grid: Tensor, *, mode: str = "linear", padding: str = "zeros", align: str = "centers"
) -> Tensor:
    """x (N, C, *S) sampled at the places grid (N, *O, rank of S) -> (N, C, *O), as torch.nn.functional.grid_sample.

    A place lists the last axis first; align = corners: -1 and 1 are the centres of the first and the last pixel,
    centers: their outer edges, pixels: places are pixel numbers.  Outside there are zeros, the border pixel, or the
    mirrored image (padding).  cubic is the convolution of Keys 1981 with a = -3/4.
    """
    require(mode in SAMPLE_MODES, f"mode {mode!r} is none of {', '.join(SAMPLE_MODES)}")
    require(padding in SAMPLE_PADDING, f"padding {padding!r} is none of {', '.join(SAMPLE_PADDING)}")
    require(align in CORNERS, f"align {align!r} is none of {', '.join(CORNERS)}")
    require(x.rank >= 3, "x has no spatial axis")
    require_rank(grid, x.rank, "grid")
    require_dim(grid.dims[-1], x.rank - 2, "the size of a place in grid")
    return Tensor(x.dtype, (*x.dims[:2], *grid.dims[1:-1]))


@op()
def col2im(x: Tensor, *, image: Dims, block: Dims, strides: Ints, dilations: Ints, padding: Pairs) -> Tensor:
    """Images (N, C, *image) as the sum of blocks that overlap: x is (N, C * product(block), number of places).

    It undoes im2col up to how often a pixel is covered (torch.nn.functional.fold).
    """
    require_rank(x, 3, "x")
    spatial = len(block)
    require(
        len(image) == len(strides) == len(dilations) == len(padding) == spatial, "attributes differ in their length"
    )
    size = product(tuple(block))
    channels = x.dims[1] // size if isinstance(size, int) and size else UNKNOWN
    return Tensor(x.dtype, (x.dims[0], channels, *image))


IMAGE_FORMATS = {"RGB": 3, "BGR": 3, "Grayscale": 1}


@op("opaque")
def decode_image(x: Tensor, *, format: str = "RGB") -> Tensor:
    """The pixels (height, width, channels) of an image file's bytes: PNG, JPEG, and what else Pillow reads."""
    require(x.dtype is u8, f"operand is {x.dtype}, expected u8")
    require_rank(x, 1, "x")
    require(format in IMAGE_FORMATS, f"format {format!r} is none of {', '.join(IMAGE_FORMATS)}")
    return Tensor(u8, (UNKNOWN, UNKNOWN, IMAGE_FORMATS[format]))
