"""Layers that spread the values of images: AutoContrast, Equalization, and CLAHE."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...ir import Builder, Var
from ...ir.shapes import dim, shape_of, vector
from .. import images as im
from ..base import as_dtype, layer
from .base import ImageLayer, Transformation, batch

LEVELS = 256


@layer
class AutoContrast(ImageLayer):
    """Each channel spread so that its values fill the range, at inference too; a flat one stays as it is.

    Extremes are taken over the axes 1 and 2 whatever `data_format` says, as in Keras.
    """

    value_range: Any = (0, 255)

    always: ClassVar[bool] = True
    casts: ClassVar[bool] = True

    def check(self) -> None:
        self.value_range = list(self.range_of())

    def apply(self, b: Builder, images: Var, t: Transformation) -> Var:
        scaled = im.to_range(b, images, self.value_range, (0, 255), self.compute_dtype)
        low = b.reduce_min(scaled, axes=(1, 2), keepdims=True)
        high = b.reduce_max(scaled, axes=(1, 2), keepdims=True)
        spread = b.sub(high, low)
        flat = b.equal(spread, 0.0)
        scale = b.div(b.constant(255.0, dtype=images.tensor.dtype.numpy), b.where(flat, b.cast_like(flat, low), spread))
        wide = b.clip(b.sub(b.mul(scaled, scale), b.mul(low, scale)), low=0.0, high=255.0)
        return b.where(flat, images, im.to_range(b, wide, (0, 255), self.value_range, self.compute_dtype))  # type: ignore[no-any-return]


def _counts(b: Builder, places: Var, size: Any) -> Var:
    """How often each of the numbers below `size` is there, in float32."""
    ones = b.fill(b.constant(np.float32(1)), shape=shape_of(b, places))
    return b.scatter_rows(ones, places, size=size)  # type: ignore[no-any-return]


def _below(b: Builder, cumulated: Var) -> Var:
    """The least positive number of each row: how many elements there are up to the first value that occurs."""
    none = b.constant(np.float64(np.inf))
    return b.reduce_min(b.where(b.greater(cumulated, 0.0), cumulated, none), axes=(-1,), keepdims=True)  # type: ignore[no-any-return]


@layer
class Equalization(ImageLayer):
    """In training: the values of each channel of the whole batch changed so that all are equally frequent."""

    value_range: Any = (0, 255)
    bins: int = LEVELS

    def check(self) -> None:
        self.value_range = list(self.range_of())

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        count = images.shape[-1]
        low, high = self.value_range
        scale = 255 / (high - low)
        scaled = b.affine(images, alpha=scale, beta=-low * scale)
        first = np.arange(count, dtype=np.int64) * self.bins
        counted = b.div(b.mul(as_dtype(b, scaled, "float32"), float(self.bins - 1)), 255.0)
        counts = b.reshape(_counts(b, self._bin(b, counted, first), count * self.bins), shape=(count, self.bins))
        total = b.cumsum(as_dtype(b, counts, "float64"), axis=1)
        least = _below(b, total)
        rest = b.sub(b.slice(total, starts=(-1,), ends=(2**31,), axes=(1,)), least)
        table = b.div(b.mul(b.sub(total, least), 255.0), b.maximum(rest, 1.0))
        table = b.clip(b.round(table), low=0.0, high=255.0)
        places = self._bin(b, b.mul(b.div(scaled, 255.0), self.bins - 1.0), first)
        found = b.gather(b.reshape(table, shape=(-1,)), places)
        flat = b.equal(b.reshape(rest, shape=(count,)), 0.0)
        equal = b.where(flat, as_dtype(b, scaled, "float64"), found)
        return b.cast_like(b.affine(equal, alpha=1 / scale, beta=float(low)), images)

    def _bin(self, b: Builder, numbers: Var, first: Any) -> Var:
        """The bins that numbers fall into, those of each channel after those of the one before."""
        low, high = b.constant(np.int64(0)), b.constant(np.int64(self.bins - 1))
        return b.add(b.minimum(b.maximum(as_dtype(b, numbers, "int64"), low), high), first)  # type: ignore[no-any-return]


@layer
class ContrastLimitedAdaptiveHistogramEqualization(ImageLayer):
    """CLAHE, at inference too: values changed by what is frequent around them.

    The image is cut into a grid of tiles (mirrored at the far edges to fill them); a tile's histogram, of which no bin
    counts for more than clip_limit times the mean, gives a curve; a pixel goes through those of the four tiles whose
    middles are around it, in bilinear shares.
    """

    value_range: Any = (0, 255)
    clip_limit: float = 4.0
    tile_grid_size: Any = (8, 8)

    always: ClassVar[bool] = True
    keeps_dtype: ClassVar[bool] = True

    def check(self) -> None:
        self.range_of()
        grid = self.tile_grid_size
        if not isinstance(grid, (list, tuple)) or len(grid) != 2 or not all(isinstance(v, int) and v > 0 for v in grid):
            raise self.invalid(f"tile_grid_size={grid!r} is not two positive integers")

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        scaled = im.to_range(b, images, self.value_range, (0, 255))
        values = as_dtype(b, b.clip(as_dtype(b, scaled, "float32"), low=0.0, high=255.0), "int64")
        tiles = [self._tile(b, images, axis, count) for axis, count in zip((1, 2), self.tile_grid_size)]
        curves = b.reshape(self._curves(b, values, tiles), shape=(-1,))
        (low, lower), (left, right) = (
            self._neighbours(b, images, axis, tile, count)
            for axis, tile, count in zip((1, 2), tiles, self.tile_grid_size)
        )
        shares = []
        for row, above in (low, lower):
            looked_up = [b.gather(curves, self._place(b, values, row, column)) for column, _ in (left, right)]
            across = [b.mul(v, share) for v, (_, share) in zip(looked_up, (left, right))]
            shares.append(b.mul(b.add(*across), above))
        result = im.to_range(b, b.add(*shares), (0, 255), self.value_range)
        return b.cast_like(result, images)

    @staticmethod
    def _tile(b: Builder, images: Var, axis: int, count: int) -> Var:
        """The size of a tile along an axis: that of the image by `count`, rounded up."""
        return b.floor_div(b.add(im.length(b, images, axis), count - 1), count)  # type: ignore[no-any-return]

    def _curves(self, b: Builder, values: Var, tiles: list[Var]) -> Var:
        """For each image, tile and channel the new value of each of 256: f32 (N * rows * columns * C, 256)."""
        numbers = []
        for axis, tile, count in zip((1, 2), tiles, self.tile_grid_size):
            along = b.range(np.int64(0), b.mul(tile, count), np.int64(1))
            last = b.sub(b.mul(im.length(b, values, axis), 2), 1)
            values = b.gather(values, b.minimum(along, b.sub(last, along)), axis=axis)
            numbers.append(b.floor_div(along, tile))
        places = self._place(b, values, b.unsqueeze(numbers[0], axes=(1, 2)), b.unsqueeze(numbers[1], axes=(1,)))
        rows, columns = self.tile_grid_size
        size = vector(b, (dim(b, values, 0) * (rows * columns * values.shape[-1] * LEVELS),))
        counts = b.reshape(_counts(b, places, size[0]), shape=(-1, LEVELS))
        area = as_dtype(b, b.mul(*tiles), "float32")
        if self.clip_limit > 0:
            limited = b.minimum(counts, b.mul(area, float(self.clip_limit) / LEVELS))
            excess = b.reduce_sum(b.sub(counts, limited), axes=(1,), keepdims=True)
            counts = b.add(limited, b.mul(excess, 1 / LEVELS))
        total = b.cumsum(counts, axis=1)
        least = b.reduce_min(total, axes=(1,), keepdims=True)
        rest = b.sub(area, least)
        rest = b.where(b.equal(rest, 0.0), b.constant(np.float32(1)), rest)
        return b.clip(b.div(b.mul(b.sub(total, least), 255.0), rest), low=0.0, high=255.0)  # type: ignore[no-any-return]

    def _place(self, b: Builder, values: Var, row: Var, column: Var) -> Var:
        """Where a value (N, H, W, C) stands in the curves of the tiles (row, column), which broadcast to (H, W, C)."""
        rows, columns = self.tile_grid_size
        count = values.shape[-1]
        image = b.reshape(im.numbers(b, values, 0, "int64"), shape=vector(b, (batch(b, values), 1, 1, 1)))
        tile = b.add(b.mul(b.add(b.mul(image, rows), row), columns), column)
        curve = b.add(b.mul(tile, count), np.arange(count, dtype=np.int64))
        return b.add(b.mul(curve, LEVELS), values)  # type: ignore[no-any-return]

    @staticmethod
    def _neighbours(b: Builder, images: Var, axis: int, tile: Var, count: int) -> list[tuple[Var, Var]]:
        """Along an axis, the tiles before and after each pixel, and their shares."""
        size = as_dtype(b, tile, "float32")
        where = b.add(b.div(b.sub(im.numbers(b, images, axis), b.div(size, 2.0)), size), 1.0)
        before = b.floor(where)
        after = b.sub(where, before)
        found = []
        for number, share in ((before, b.affine(after, alpha=-1.0, beta=1.0)), (b.add(before, 1.0), after)):
            inside = b.clip(b.sub(number, 1.0), low=0.0, high=count - 1.0)
            axes = (1, 2) if axis == 1 else (0, 2)
            found.append((as_dtype(b, b.unsqueeze(inside, axes=axes), "int64"), b.unsqueeze(share, axes=axes)))
        return found
