"""Boxes, regions and samples of images: gathers by computed places, all channels at once."""

from __future__ import annotations

import io
import math
from itertools import product

import numpy as np

from ....errors import RunError, UnsupportedError
from ..registry import Array, function
from .rows import wide_dtype

# ---- boxes ---------------------------------------------------------------------------------------------------


@function
def non_max_suppression(
    boxes: Array, scores: Array, *, most: int, iou_threshold: float, score_threshold: float | None, centers: bool
) -> Array:
    kept: list[tuple[int, int, int]] = []
    for n, class_scores in enumerate(scores if most > 0 else ()):
        low, high = _corners(boxes[n], centers)
        for c, each in enumerate(class_scores):
            order = np.argsort(-each, kind="stable")
            order = order if score_threshold is None else order[each[order] > score_threshold]
            kept += [(n, c, i) for i in _greedy(order, low, high, most, iou_threshold)]
    return np.array(kept, np.int64).reshape(-1, 3)


def _corners(boxes: Array, centers: bool) -> tuple[Array, Array]:
    """The lower and the upper corners, (B, 2) each."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if centers:
        return first - second / 2, first + second / 2
    return np.minimum(first, second), np.maximum(first, second)


def _greedy(order: Array, low: Array, high: Array, most: int, threshold: float) -> list[int]:
    """The boxes that are kept, of those in `order` (best first)."""
    areas = (high - low).prod(1)
    kept: list[int] = []
    while order.size and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        sides = np.minimum(high[best], high[order]) - np.maximum(low[best], low[order])
        shared = np.maximum(sides, 0).prod(1)
        union = areas[best] + areas[order] - shared
        real = (shared > 0) & (union > 0) & (areas[order] > 0) & (areas[best] > 0)
        overlap = np.divide(shared, union, out=np.zeros_like(shared), where=real)
        order = order[~(real & (overlap > threshold))]
    return kept


# ---- regions -------------------------------------------------------------------------------------------------


@function
def roi_align(
    x: Array, rois: Array, batches: Array, *, size: tuple[int, int], scale: float, samples: int, mode: str,
    half_pixel: bool,
) -> Array:  # fmt: skip
    out = np.zeros((len(rois), x.shape[1], *size), x.dtype)
    if batches.size and not (batches.min() >= 0 and batches.max() < len(x)):
        raise RunError(f"a region is of image {batches.max()}, there are {len(x)}", op="roi_align")
    wide = rois.astype(wide_dtype(rois.dtype)) * scale - (0.5 if half_pixel else 0.0)
    for r, (roi, batch) in enumerate(zip(wide, batches.reshape(-1))):
        start, extent = roi[1::-1], roi[3:1:-1] - roi[1::-1]  # (y, x)
        extent = extent if half_pixel else np.maximum(extent, 1)
        counts = [samples if samples > 0 else max(math.ceil(e / s), 0) for e, s in zip(extent, size)]
        if min(counts):
            axes = [_samples(*row) for row in zip(start, extent, size, counts, x.shape[2:])]
            out[r] = _pooled(x[batch].astype(wide_dtype(x.dtype), copy=False), axes, size, counts, mode)
    return out


def _samples(start: float, extent: float, bins: int, count: int, limit: int) -> tuple[Array, Array, Array, Array]:
    """Along an axis: the pixels before and after each sample, and their weights (0 outside of the image)."""
    places = start + (np.arange(bins)[:, None] + (np.arange(count) + 0.5) / count).reshape(-1) * (extent / bins)
    inside = (places >= -1) & (places <= limit)
    places = np.clip(places, 0, limit - 1)
    before = places.astype(np.int64)
    share = places - before
    return before, np.minimum(before + 1, limit - 1), (1 - share) * inside, share * inside


def _pooled(
    x: Array, axes: list[tuple[Array, Array, Array, Array]], size: tuple[int, int], counts: list[int], mode: str
) -> Array:
    """Mean or maximum over the samples of each bin; x is (C, H, W)."""
    (top, bottom, *rows), (left, right, *columns) = axes
    parts = [
        x[:, places_y[:, None], places_x] * (wy[:, None] * wx).astype(x.dtype)
        for (places_y, wy), (places_x, wx) in product(zip((top, bottom), rows), zip((left, right), columns))
    ]
    bins = (-1, size[0], counts[0], size[1], counts[1])
    if mode == "max":
        return np.asarray(np.maximum.reduce(parts).reshape(bins).max((2, 4)))
    return np.asarray(sum(parts[1:], parts[0]).reshape(bins).mean((2, 4)))


# ---- samples -------------------------------------------------------------------------------------------------


@function
def grid_sample(x: Array, grid: Array, *, mode: str, padding: str, align: str) -> Array:
    n, channels, *sizes = x.shape
    shape = (n, channels, *grid.shape[1:-1])
    if not math.prod(shape) or not math.prod(sizes):
        return np.zeros(shape, x.dtype)
    places = grid.reshape(n, -1, len(sizes)).astype(wide_dtype(grid.dtype), copy=False)
    taps = [_taps(places[..., -1 - i], size, mode, padding, align) for i, size in enumerate(sizes)]
    flat = x.reshape(n, channels, -1)
    out = np.zeros((n, channels, places.shape[1]), wide_dtype(x.dtype))
    for chosen in product(*taps):
        index, weight = np.zeros(places.shape[:2], np.int64), np.ones(places.shape[:2], places.dtype)
        for (place, share), size in zip(chosen, sizes):
            index, weight = index * size + place, weight * share
        out += np.take_along_axis(flat, index[:, None], 2) * weight.astype(out.dtype)[:, None]
    return out.reshape(shape).astype(x.dtype, copy=False)


def _taps(v: Array, size: int, mode: str, padding: str, align: str) -> list[tuple[Array, Array]]:
    """Along an axis: the pixels (numbers inside the image) that make up each sample, and their weights."""
    low, high = (-0.5, size - 0.5) if align == "centers" else (0.0, size - 1.0)
    if align == "corners":
        v = (v + 1) / 2 * (size - 1)
    elif align == "centers":
        v = ((v + 1) * size - 1) / 2
    v = np.rint(v) if mode == "nearest" else v
    v = _reflected(v, low, high) if padding == "reflection" else v
    # places too far away for an integer, and NaN, are outside all the same
    v = np.clip(np.nan_to_num(v, nan=-8), -8, size + 8)
    base = np.floor(v)
    return [_tap(base + step, size, low, high, padding, weight) for step, weight in _steps(mode, v - base)]


def _steps(mode: str, t: Array) -> list[tuple[int, Array]]:
    """The steps from the pixel before a sample to those that count, with their weights; t is the way to the sample."""
    if mode == "nearest":
        return [(0, np.ones_like(t))]
    if mode == "linear":
        return [(0, 1 - t), (1, t)]
    return [(-1, _keys(t + 1)), (0, _keys(t)), (1, _keys(1 - t)), (2, _keys(2 - t))]


def _keys(d: Array, a: float = -0.75) -> Array:
    """Keys' cubic kernel at distance 0 <= d <= 2."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, far)


def _tap(place: Array, size: int, low: float, high: float, padding: str, weight: Array) -> tuple[Array, Array]:
    if padding == "zeros":
        weight = weight * ((place >= 0) & (place < size))
    elif padding == "reflection":
        place = _reflected(place, low, high)
    return np.clip(place, 0, size - 1).astype(np.int64), weight


def _reflected(v: Array, low: float, high: float) -> Array:
    """v mirrored at both borders until it lies between them."""
    span = high - low
    if span == 0:
        return np.full_like(v, low)
    beyond = np.where(v < low, low - v, v - high)
    turns = np.floor(beyond / span)
    rest = beyond - turns * span
    near_low = (v < low) == (turns % 2 == 0)
    mirrored = np.where(near_low, low + rest, high - rest)
    return np.where((v < low) | (v > high), mirrored, v)


# ---- blocks --------------------------------------------------------------------------------------------------


@function
def col2im(
    x: Array, *, image: tuple[int, ...], block: tuple[int, ...], strides: tuple[int, ...],
    dilations: tuple[int, ...], padding: tuple[tuple[int, int], ...],
) -> Array:  # fmt: skip
    padded = [size + before + after for size, (before, after) in zip(image, padding)]
    counts = [(p - (k - 1) * d - 1) // s + 1 for p, k, d, s in zip(padded, block, dilations, strides)]
    if x.shape[1] % math.prod(block) or x.shape[2] != math.prod(counts):
        raise RunError(f"{x.shape} are no blocks {block} at {counts} places of an image {image}", op="col2im")
    columns = x.reshape(len(x), -1, *block, *counts)
    out = np.zeros((*columns.shape[:2], *padded), x.dtype)
    every = (slice(None), slice(None))
    for place in np.ndindex(*block):
        spans = (slice(p * d, p * d + c * s, s) for p, d, c, s in zip(place, dilations, counts, strides))
        covered = (*every, *spans)
        out[covered] += columns[every + place]
    inner = (*every, *(slice(before, before + size) for size, (before, _) in zip(image, padding)))
    return out[inner]


# ---- files ---------------------------------------------------------------------------------------------------


@function
def decode_image(x: Array, *, format: str) -> Array:
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedError("images are decoded by Pillow, which is not there", hint="pip install pillow") from None
    try:
        pixels = np.asarray(Image.open(io.BytesIO(x.tobytes())).convert("L" if format == "Grayscale" else "RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RunError(f"the bytes are no image: {error}", op="decode_image") from None
    if format == "Grayscale":
        return pixels[:, :, None]
    return pixels if format == "RGB" else pixels[:, :, ::-1]
