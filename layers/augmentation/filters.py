"""Layers that blur and sharpen images in training."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...ir import Builder, Var
from .. import images as im
from ..base import as_dtype, layer
from .base import Augmentation, Draws, Transformation, batch, each


@layer
class RandomGaussianBlur(Augmentation):
    """In training: images blurred, with a probability drawn from `factor`, all by the same Gauss kernel."""

    factor: Any = 1.0
    kernel_size: Any = 3
    sigma: Any = 1.0
    value_range: Any = (0, 255)
    seed: int | None = None

    casts: ClassVar[bool] = True

    def check(self) -> None:
        self.factor = self.interval("factor", (0.0, 1.0))
        self.sigma = self.interval("sigma", (0.0, 1.0))
        size = self.kernel_size
        self.kernel_size = list(size) if isinstance(size, (list, tuple)) else [size, size]
        if len(self.kernel_size) != 2 or not all(isinstance(v, int) and v % 2 and v > 0 for v in self.kernel_size):
            raise self.invalid(f"kernel_size={size!r} is not an odd number or two of them")
        self.range_of()

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        chosen = draws.chances(b, images, self.factor)
        return {"should_apply_blur": chosen, "blur_factor": b.add(draws.uniform(b, (2,), *self.sigma), 1e-6)}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        blurred = im.gaussian_blur(b, images, self.kernel_size, t["blur_factor"])
        changed = b.where(each(b, t["should_apply_blur"], images), blurred, images)
        return b.clip(changed, low=float(self.value_range[0]), high=float(self.value_range[1]))  # type: ignore[no-any-return]


@layer
class RandomSharpness(Augmentation):
    """In training: each image on the way to (factor below 1/2) or away from its smoothed self."""

    factor: Any
    value_range: Any = (0, 255)
    seed: int | None = None

    casts: ClassVar[bool] = True

    def check(self) -> None:
        self.factor = self.interval("factor", (0.0, 1.0))
        self.value_range = list(self.range_of())

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        return {"factor": draws.uniform(b, (batch(b, images),), *self.factor)}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        kernel = np.full((3, 3), 1 / 13)
        kernel[1, 1] = 5 / 13
        smooth = im.filtered(b, images, b.constant(kernel, dtype=images.tensor.dtype.numpy))
        share = b.affine(as_dtype(b, t["factor"], "float32"), alpha=-2.0, beta=1.0)
        changed = b.add(images, b.mul(each(b, share, images), b.sub(smooth, images)))
        return b.clip(changed, low=float(self.value_range[0]), high=float(self.value_range[1]))  # type: ignore[no-any-return]
