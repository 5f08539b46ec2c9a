"""Layers that move the pixels of images in training: flips, crops, affine and projective maps, elastic ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...ir import Builder, Var
from ...ir.shapes import dim, vector
from .. import images as im
from ..base import as_dtype, layer
from .base import Augmentation, Draws, Transformation, batch, each

FLIPS = {"horizontal": (2,), "vertical": (1,), "horizontal_and_vertical": (2, 1)}  # the axes that they turn round


@layer
class RandomFlip(Augmentation):
    """In training: half of the images turned round along the axes of `mode`, both of them or none."""

    mode: str = "horizontal_and_vertical"
    seed: int | None = None

    casts: ClassVar[bool] = True

    def check(self) -> None:
        self.one_of("mode", list(FLIPS))

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        return {"flips": b.less_equal(draws.uniform(b, (batch(b, images), 1, 1, 1)), 0.5)}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        axes = FLIPS[self.mode]
        back = [-1] * len(axes)
        turned = b.slice(images, starts=back, ends=[-(2**31)] * len(axes), axes=axes, steps=back)
        return b.where(t["flips"], turned, images)  # type: ignore[no-any-return]

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        return self.transform(b, masks, t)


@layer
class RandomCrop(Augmentation):
    """In training: the same window of all images, or what is left of it brought to that size; else the images.

    Images that are not larger than the window are cut to its aspect ratio from the middle, as Keras does it: the
    window starts where the largest one of that ratio would.
    """

    height: int
    width: int
    seed: int | None = None

    autocast: ClassVar[bool] = False  # at inference, images keep their dtype

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        size, old = (self.height, self.width), images.shape[1:3]
        if not all(isinstance(d, int) for d in old):
            raise self.invalid(f"the height and width of the images have to be fixed, they are {old}")
        if all(o > s for o, s in zip(old, size)):
            starts = [draws.integers(b, (1,), 0, o - s + 1) for o, s in zip(old, size)]
        else:
            window = im.fitted(old, size, larger=False)
            starts = [(o - n) // 2 for o, n in zip(old, window)]
        return {"h_start": starts[0], "w_start": starts[1]}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        for axis, key, size in ((1, "h_start", self.height), (2, "w_start", self.width)):
            start, left = t[key], images.shape[axis]
            if isinstance(start, int):  # known where the image is not larger: the window ends with it
                size = min(size, left - start)
            images = im.window(b, images, axis, start, size)
        resized = im.resize(b, images, (self.height, self.width), "bilinear")
        return as_dtype(b, resized, images.tensor.dtype)

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        return self.transform(b, as_dtype(b, masks, self.compute_dtype), t)


# ---- affine maps -----------------------------------------------------------------------------------------------


class _Sampled(Augmentation):
    """Images sampled at other places; what lies outside comes from `fill_mode`."""

    casts: ClassVar[bool] = True
    fill_modes: ClassVar[Sequence[str]] = im.FILL_MODES

    fill_mode: str
    interpolation: str
    fill_value: float

    def check(self) -> None:
        self.one_of("interpolation", list(im.SAMPLING))
        self.one_of("fill_mode", self.fill_modes)

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        return self.sampled(b, images, t, self.interpolation)

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        """Masks hold numbers of classes, between which there is nothing."""
        return self.sampled(b, masks, t, "nearest")

    def sampled(self, b: Builder, images: Var, t: Transformation, interpolation: str) -> Var:
        """Images at the places that `matrix` tells for each pixel."""
        matrix = self.matrix(b, images, t)
        return im.projected(b, images, matrix, interpolation, self.fill_mode, float(self.fill_value))

    def matrix(self, b: Builder, images: Var, t: Transformation) -> Var:
        """The matrix (N, 8) of `images.projected`."""
        raise self.invalid("the class defines no matrix()")


def _rows(b: Builder, *columns: Var | float) -> Var:
    """Columns of numbers (N, 1), or the same number for all, as f32 (N, columns)."""
    like = next(c for c in columns if isinstance(c, Var))
    shape = vector(b, (dim(b, like, 0), 1))
    parts = [c if isinstance(c, Var) else b.fill(b.constant(np.float32(c)), shape=shape) for c in columns]
    return b.concat(*(as_dtype(b, p, "float32") for p in parts), axis=1)  # type: ignore[no-any-return]


def _middle(b: Builder, images: Var, axis: int) -> Var:
    """(size - 1) / 2."""
    return b.affine(as_dtype(b, im.length(b, images, axis), "float32"), alpha=0.5, beta=-0.5)  # type: ignore[no-any-return]


@layer
class RandomRotation(_Sampled):
    """In training: images turned about their middle by an angle of factor[0] to factor[1] turns."""

    factor: Any
    fill_mode: str = "reflect"
    interpolation: str = "bilinear"
    seed: int | None = None
    fill_value: float = 0.0

    def check(self) -> None:
        super().check()
        self.factor = self.interval("factor")

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        low, high = (f * 360.0 for f in self.factor)
        angle = draws.uniform(b, (batch(b, images), 1), low, high)
        radians = b.mul(angle, np.float32(math.pi / 180))
        cos, sin = b.cos(radians), b.sin(radians)
        x, y = _middle(b, images, 2), _middle(b, images, 1)
        a2 = b.sub(b.sub(x, b.mul(x, cos)), b.mul(y, b.neg(sin)))
        b2 = b.sub(b.sub(y, b.mul(x, sin)), b.mul(y, cos))
        return {"rotation_matrix": _rows(b, cos, b.neg(sin), a2, sin, cos, b2, 0.0, 0.0)}

    def matrix(self, b: Builder, images: Var, t: Transformation) -> Var:
        return t["rotation_matrix"]  # type: ignore[no-any-return]


@layer
class RandomShear(_Sampled):
    """In training: images sheared, x by shear_x y and y by shear_y x, both in one or both in the other direction."""

    x_factor: Any = 0.0
    y_factor: Any = 0.0
    interpolation: str = "bilinear"
    fill_mode: str = "reflect"
    fill_value: float = 0.0
    seed: int | None = None

    def check(self) -> None:
        super().check()
        for key in ("x_factor", "y_factor"):  # Keras writes f as (-f, f), and takes f only
            low, high = self.interval(key)
            setattr(self, key, high if low == -high else (low, high))

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        shape = (batch(b, images), 1)
        x, y = (draws.uniform(b, shape, *self.interval(key)) for key in ("x_factor", "y_factor"))
        other = b.greater(draws.uniform(b, shape), 0.5)
        factors = b.concat(x, y, axis=1)
        return {"shear_factor": b.where(other, b.neg(factors), factors)}

    def matrix(self, b: Builder, images: Var, t: Transformation) -> Var:
        x, y = b.split(as_dtype(b, t["shear_factor"], "float32"), axis=1, sizes=(1, 1))
        return _rows(b, 1.0, x, 0.0, y, 1.0, 0.0, 0.0, 0.0)


@layer
class RandomTranslation(_Sampled):
    """In training: images moved by fractions of their height and width."""

    height_factor: Any
    width_factor: Any
    fill_mode: str = "reflect"
    interpolation: str = "bilinear"
    seed: int | None = None
    fill_value: float = 0.0

    def check(self) -> None:
        super().check()
        self.interval("height_factor")
        self.interval("width_factor")

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        moves = []
        for axis, key in ((2, "width_factor"), (1, "height_factor")):
            part = draws.uniform(b, (batch(b, images), 1), *self.interval(key))
            moves.append(b.mul(part, as_dtype(b, im.length(b, images, axis), "float32")))
        return {"translations": b.concat(*moves, axis=1)}

    def matrix(self, b: Builder, images: Var, t: Transformation) -> Var:
        x, y = b.split(b.neg(t["translations"]), axis=1, sizes=(1, 1))
        return _rows(b, 1.0, 0.0, x, 0.0, 1.0, y, 0.0, 0.0)


@layer
class RandomZoom(_Sampled):
    """In training: images enlarged (factors below 0) or made smaller about their middle; as wide as high by default."""

    height_factor: Any
    width_factor: Any = None
    fill_mode: str = "reflect"
    interpolation: str = "bilinear"
    seed: int | None = None
    fill_value: float = 0.0

    def check(self) -> None:
        super().check()
        for key in ("height_factor", "width_factor"):
            if getattr(self, key) is not None and self.interval(key)[0] <= -1 and key == "height_factor":
                self.refuse(key, "a factor above -1, where the image would be a single point")

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        shape = (batch(b, images), 1)
        zooms = []
        for key in ("height_factor", "width_factor"):
            if getattr(self, key) is not None:
                low, high = self.interval(key)
                zooms.append(draws.uniform(b, shape, 1.0 + low, 1.0 + high))
        return {"height_zoom": zooms[0], "width_zoom": zooms[-1]}

    def matrix(self, b: Builder, images: Var, t: Transformation) -> Var:
        across, down = t["width_zoom"], t["height_zoom"]
        x, y = (b.mul(_middle(b, images, a), b.affine(z, alpha=-1.0, beta=1.0)) for a, z in ((2, across), (1, down)))
        return _rows(b, across, 0.0, x, 0.0, down, y, 0.0, 0.0)


# ---- projective and elastic maps -------------------------------------------------------------------------------


@layer
class RandomPerspective(_Sampled):
    """In training: images seen from aside: their corners move by up to half of `scale`, and all between with them."""

    factor: Any = 1.0
    scale: float = 1.0
    interpolation: str = "bilinear"
    fill_value: float = 0.0
    seed: int | None = None

    fill_mode: ClassVar[str] = "constant"  # type: ignore[misc]

    def check(self) -> None:
        super().check()
        self.factor = self.interval("factor", (0.0, 1.0))
        if not 0 <= self.scale <= 1:
            self.refuse("scale", "a number from 0 to 1")

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        chosen = draws.chances(b, images, self.factor)
        factor = draws.uniform(b, (batch(b, images), 4, 2), -0.5 * self.scale, 0.5 * self.scale)
        last = [b.mul(_middle(b, images, axis), 2.0) for axis in (2, 1)]
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
        sizes = b.concat(*(b.reshape(v, shape=(1,)) for v in last), axis=0)
        start = b.add(b.mul(factor, 0.0), b.mul(corners, sizes))
        return {
            "apply_perspective": chosen, "start_points": start, "end_points": b.add(start, b.mul(start, factor)),
        }  # fmt: skip

    def sampled(self, b: Builder, images: Var, t: Transformation, interpolation: str) -> Var:
        changed = super().sampled(b, images, t, interpolation)
        return b.where(each(b, t["apply_perspective"], images), changed, images)  # type: ignore[no-any-return]

    def matrix(self, b: Builder, images: Var, t: Transformation) -> Var:
        return im.homography(b, t["start_points"], t["end_points"])


@layer
class RandomElasticTransform(_Sampled):
    """In training: every pixel moved by smooth noise, along both axes by the same number, as Keras does it."""

    factor: Any = 1.0
    scale: Any = 1.0
    interpolation: str = "bilinear"
    fill_mode: str = "reflect"
    fill_value: float = 0.0
    value_range: Any = (0, 255)
    seed: int | None = None

    fill_modes: ClassVar[Sequence[str]] = (*im.FILL_MODES, "mirror")

    def check(self) -> None:
        super().check()
        self.factor = self.interval("factor", (0.0, 1.0))
        self.scale = self.interval("scale", (0.0, 1.0))
        self.range_of()

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        chosen = draws.chances(b, images, self.factor)
        scale = draws.uniform(b, (), *self.scale)
        noise = draws.normal(b, (*(dim(b, images, i) for i in range(3)), 1))
        return {"apply_transform": chosen, "distortion_factor": scale, "noise": noise}

    def sampled(self, b: Builder, images: Var, t: Transformation, interpolation: str) -> Var:
        """Moves are alpha sigma times noise blurred by a Gauss kernel of 6 floor(sigma) + 1 places."""
        height, width = images.shape[1:3]
        if not isinstance(height, int) or not isinstance(width, int):
            raise self.invalid(f"the height and width of the images have to be fixed, they are {(height, width)}")
        if self.fill_mode == "mirror":
            self.refuse("fill_mode", f"in training one of {', '.join(im.FILL_MODES)}, as in Keras")
        if self.scale[1] == 0 or self.factor[1] == 0:
            return images
        least, largest = min(height, width) * 0.05, max(height, width) * 0.1
        sigma = b.mul(t["distortion_factor"], np.float32(least))
        size = 6 * math.floor(least * self.scale[1]) | 1
        kernel = im.gaussian(b, size, b.maximum(sigma, 1e-30), radius=b.mul(b.floor(sigma), 3.0))
        blurred = b.mul(t["noise"], sigma)
        for shape in ((size, 1), (1, size)):
            blurred = im.filtered(b, blurred, b.reshape(kernel, shape=shape))
        moves = b.mul(b.squeeze(blurred, axes=(3,)), b.mul(t["distortion_factor"], np.float32(largest)))
        across, down = (b.add(place, moves) for place in im.grid(b, images))
        moved = im.displaced(b, images, (across, down), interpolation, self.fill_mode, float(self.fill_value))
        changed = b.where(each(b, t["apply_transform"], images), moved, images)
        return b.clip(changed, low=float(self.value_range[0]), high=float(self.value_range[1]))  # type: ignore[no-any-return]
