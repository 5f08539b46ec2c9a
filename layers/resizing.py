"""CenterCrop and Resizing: layers that change the size of images, in training as at inference."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..ir import Builder, Var, dims
from ..ir.ops.control import trace
from . import images as im
from .augmentation.base import ImageLayer, Transformation
from .base import as_dtype, is_float, layer


class _Sized(ImageLayer):
    """A layer that gives images of one height and width, drawing nothing."""

    height: int
    width: int

    always: ClassVar[bool] = True

    def check(self) -> None:
        for key in ("height", "width"):
            if not isinstance(getattr(self, key), int) or getattr(self, key) < 1:
                self.refuse(key, "a positive integer")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.height, self.width


@layer
class CenterCrop(_Sized):
    """The middle of images; of those which are smaller, the middle of the same aspect ratio, made larger."""

    height: int
    width: int

    casts: ClassVar[bool] = True

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        gaps = [dims.minimum(0, d - size) for d, size in zip(images.shape[1:3], self.size)]
        if all(gap == 0 for gap in gaps):
            return self._cut(b, images)
        if any(isinstance(gap, int) and gap < 0 for gap in gaps):
            return self._enlarged(b, images)
        sizes = [im.length(b, images, axis) for axis in (1, 2)]
        fits = b.logical_and(*(b.greater_equal(s, np.int64(new)) for s, new in zip(sizes, self.size)))
        then, orelse = (
            trace(name, lambda inner, x, do=do: [inner.cast_like(do(inner, x), x)], [("x", images.type)])
            for name, do in (("then", self._cut), ("orelse", self._enlarged))
        )
        return b.if_(fits, images, then=then, orelse=orelse)[0]  # type: ignore[no-any-return]

    def _cut(self, b: Builder, x: Var) -> Var:
        for axis, size in zip((1, 2), self.size):
            old = x.shape[axis]
            gap = old - size if isinstance(old, int) else b.sub(im.length(b, x, axis), np.int64(size))
            x = im.window(b, x, axis, gap // 2 if isinstance(gap, int) else b.floor_div(gap, np.int64(2)), size)
        return x

    def _enlarged(self, b: Builder, x: Var) -> Var:
        return im.resize(b, im.crop_to_aspect(b, x, self.size), self.size, "bilinear")

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        return self.transform(b, as_dtype(b, masks, self.compute_dtype), t)


@layer
class Resizing(_Sized):
    """Images brought to a size; integers are rounded and keep their dtype.

    The aspect ratio changes, unless what does not fit is cut off (crop_to_aspect_ratio), or the image is put into the
    middle of a larger one filled with fill_value (pad_to_aspect_ratio).
    """

    height: int
    width: int
    interpolation: str = "bilinear"
    crop_to_aspect_ratio: bool = False
    pad_to_aspect_ratio: bool = False
    fill_mode: str = "constant"
    fill_value: float = 0.0
    antialias: bool = False

    keeps_dtype: ClassVar[bool] = True

    def check(self) -> None:
        super().check()
        self.interpolation = str(self.interpolation).lower()
        self.one_of("interpolation", ["nearest", *im.METHODS])
        self.one_of("fill_mode", ["constant"])
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise self.invalid("crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other")

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        return self._resized(b, images, self.interpolation)

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        return self._resized(b, masks, "nearest")

    def _resized(self, b: Builder, x: Var, interpolation: str) -> Var:
        y = x
        if self.crop_to_aspect_ratio:
            y = im.crop_to_aspect(b, y, self.size)
        elif self.pad_to_aspect_ratio:
            y = im.pad_to_aspect(b, y, self.size, float(self.fill_value))
        y = im.resize(b, y, self.size, interpolation, bool(self.antialias))
        if y.tensor.dtype is x.tensor.dtype or is_float(x):
            return b.cast_like(y, x)
        limits: Any = np.iinfo(x.tensor.dtype.numpy)
        return b.cast_like(b.clip(b.round(y), low=float(limits.min), high=float(limits.max)), x)
