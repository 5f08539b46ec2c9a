"""RandomErasing, and the boxes that it shares with CutMix."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...ir import Builder, Var
from ...ir.shapes import dim
from .. import images as im
from ..base import as_dtype, layer
from .base import Augmentation, Draws, Transformation, batch, each


def box(b: Builder, images: Var, draws: Draws, across: Var, down: Var) -> tuple[Var, Var]:
    """A box in each image whose sides are parts (N) of the image's, wherever it fits.

    -> whether a pixel is inside, bool (N, H, W, 1); the part of the image that it covers, f32 (N).
    """
    inside: Any = None
    area: Any = None
    for part, axis, numbers in zip((across, down), (2, 1), im.grid(b, images)):
        size = as_dtype(b, im.length(b, images, axis), "float32")
        side = b.mul(part, size)
        start = b.mul(draws.uniform(b, (batch(b, images),)), b.sub(size, side))
        low, high = (b.unsqueeze(v, axes=(1, 2)) for v in (start, b.add(start, side)))
        along = b.logical_and(b.greater_equal(numbers, low), b.less(numbers, high))
        inside = along if inside is None else b.logical_and(inside, along)
        area = b.div(side, size) if area is None else b.mul(area, b.div(side, size))
    return b.unsqueeze(inside, axes=(3,)), area


@layer
class RandomErasing(Augmentation):
    """In training: a box of each image filled with a value (one number, or one for each of three channels) or noise.

    It covers the roots of two numbers of `scale` of width and height.
    """

    factor: Any = 1.0
    scale: Any = (0.02, 0.33)
    fill_value: Any = None
    value_range: Any = (0, 255)
    seed: int | None = None

    casts: ClassVar[bool] = True

    def check(self) -> None:
        self.factor = self.interval("factor", (0.0, 1.0))
        self.scale = self.interval("scale", (0.0, 1.0))
        self.range_of()
        value = self.fill_value
        if isinstance(value, (list, tuple)) and len(value) != 3:
            self.refuse("fill_value", "a number, or three of them")

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        across, down = (b.sqrt(draws.uniform(b, (batch(b, images),), *self.scale)) for _ in range(2))
        inside, _ = box(b, images, draws, across, down)
        low, high = map(float, self.value_range)
        if self.fill_value is None:
            filling = b.mul(draws.normal(b, [dim(b, images, i) for i in range(4)]), high)
        else:
            filling = b.constant(np.asarray(self.fill_value, np.float32).reshape(-1))
        return {
            "batch_masks": inside, "apply_erasing": draws.chances(b, images, self.factor),
            "fill_value": b.clip(filling, low=low, high=high),
        }  # fmt: skip

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        erased = b.where(t["batch_masks"], b.cast_like(t["fill_value"], images), images)
        return b.where(each(b, t["apply_erasing"], images), erased, images)  # type: ignore[no-any-return]
