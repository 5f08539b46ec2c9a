"""Layers that change the colours of images in training, each pixel by itself."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...ir import Builder, Var
from .. import images as im
from ..base import as_dtype, layer
from .base import Augmentation, Draws, Transformation, batch, each

EPSILON = 1e-7  # keras.config.epsilon()


class _Coloured(Augmentation):
    """A factor is drawn for each image, uniformly between two bounds."""

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    factor: Any
    value_range: Any

    def check(self) -> None:
        self.factor = self.interval("factor", self.bounds)
        self.value_range = list(self.range_of())

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        return {"factor": draws.uniform(b, (batch(b, images),), *self.factor)}

    def clipped(self, b: Builder, images: Var) -> Var:
        """Images cut to the range of values."""
        low, high = self.value_range
        return b.clip(images, low=float(low), high=float(high))  # type: ignore[no-any-return]


@layer
class RandomBrightness(_Coloured):
    """In training: a fraction of the range of values added to each image."""

    factor: Any
    value_range: Any = (0, 255)
    seed: int | None = None

    keeps_dtype: ClassVar[bool] = True

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        low, high = self.value_range
        delta = draws.uniform(b, (batch(b, images), 1, 1, 1), *self.factor)
        return {"rgb_delta": b.mul(delta, float(high - low))}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        return self.clipped(b, b.add(images, each(b, t["rgb_delta"], images)))


@layer
class RandomContrast(_Coloured):
    """In training: the distance from the mean of each channel times 1 - factor[0] to 1 + factor[1]."""

    factor: Any
    value_range: Any = (0, 255)
    seed: int | None = None

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        shape = (batch(b, images), 1, 1, 1)
        return {"contrast_factor": draws.uniform(b, shape, 1.0 - self.factor[0], 1.0 + self.factor[1])}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        mean = b.reduce_mean(images, axes=(1, 2), keepdims=True)
        scaled = b.mul(b.sub(images, mean), each(b, t["contrast_factor"], images))
        return self.clipped(b, b.add(scaled, mean))


@layer
class RandomColorDegeneration(_Coloured):
    """In training: each image on its way to the gray one."""

    factor: Any
    value_range: Any = (0, 255)
    seed: int | None = None

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        gray = im.to_grayscale(b, images)
        return self.clipped(b, b.add(images, b.mul(each(b, t["factor"], images), b.sub(gray, images))))


@layer
class RandomHue(_Coloured):
    """In training: the hue of each image turned by up to half a circle, in either direction."""

    factor: Any
    value_range: Any = (0, 255)
    seed: int | None = None

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        factor = b.mul(super().draw(b, images, draws)["factor"], 0.5)
        other = b.greater(draws.uniform(b, (batch(b, images),)), 0.5)
        return {"factor": b.where(other, b.neg(factor), factor)}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        scaled = im.to_range(b, images, self.value_range, (0, 1))
        hue, *rest = im.rgb_to_hsv(b, scaled)
        hue = b.add(hue, each(b, t["factor"], scaled))
        hue = b.where(b.greater(hue, 1.0), b.sub(hue, 1.0), hue)
        hue = b.where(b.less(hue, 0.0), b.add(hue, 1.0), hue)
        back = b.clip(im.hsv_to_rgb(b, [hue, *rest]), low=0.0, high=1.0)
        return as_dtype(b, im.to_range(b, back, (0, 1), self.value_range), self.compute_dtype)


@layer
class RandomSaturation(_Coloured):
    """In training: the saturation of each image times f / (1 - f), cut to the range of values, as Keras has it."""

    factor: Any
    value_range: Any = (0, 255)
    seed: int | None = None

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        factor = super().draw(b, images, draws)["factor"]
        return {"factor": b.div(factor, b.affine(factor, alpha=-1.0, beta=1.0 + EPSILON))}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        hue, saturation, value = im.rgb_to_hsv(b, images)
        saturation = self.clipped(b, b.mul(saturation, each(b, t["factor"], saturation)))
        return im.hsv_to_rgb(b, [hue, saturation, value])


@layer
class RandomGrayscale(Augmentation):
    """In training: images made gray with the probability `factor`."""

    factor: float = 0.5
    seed: int | None = None

    keeps_dtype: ClassVar[bool] = True

    def check(self) -> None:
        if not isinstance(self.factor, (int, float)) or not 0 <= self.factor <= 1:
            self.refuse("factor", "a number from 0 to 1")

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        return {"should_apply": b.less(draws.uniform(b, (batch(b, images), 1, 1, 1)), float(self.factor))}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        return b.where(t["should_apply"], im.to_grayscale(b, images), images)  # type: ignore[no-any-return]


@layer
class RandomInvert(_Coloured):
    """In training: images taken from the top of the range of values, with a probability drawn from `factor`."""

    factor: Any = 1.0
    value_range: Any = (0, 255)
    seed: int | None = None

    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        return {"apply_inversion": draws.chances(b, images, self.factor)}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        inverse = b.affine(images, alpha=-1.0, beta=float(self.value_range[1]))
        return b.where(each(b, t["apply_inversion"], images), inverse, images)  # type: ignore[no-any-return]


@layer
class RandomPosterization(_Coloured):
    """In training: only the first bits of each value of 8 bits kept, as many as drawn (up to 7)."""

    factor: Any
    value_range: Any = (0, 255)
    seed: int | None = None

    bounds: ClassVar[tuple[float, float]] = (1.0, 8.0)

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        low, high = map(int, self.factor)
        shape = (batch(b, images),)
        bits = draws.integers(b, shape, low, high if high > low else low + 1)
        return {"shift_factor": as_dtype(b, b.sub(np.int64(8), bits), "uint8")}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        dtype = images.tensor.dtype
        whole = as_dtype(b, im.to_range(b, images, self.value_range, (0, 255), self.compute_dtype), "uint8")
        shift = each(b, t["shift_factor"], whole)
        kept = as_dtype(b, b.shift_left(b.shift_right(whole, shift), shift), dtype)
        return im.to_range(b, kept, (0, 255), self.value_range, self.compute_dtype)


@layer
class Solarization(Augmentation):
    """In training: something added to the values (as of 8 bits), and those from a threshold on turned round."""

    addition_factor: Any = 0.0
    threshold_factor: Any = 0.0
    value_range: Any = (0, 255)
    seed: int | None = None

    casts: ClassVar[bool] = True

    def check(self) -> None:
        for key in ("addition_factor", "threshold_factor"):
            setattr(self, key, self.interval(key, (0.0, 1.0), low=0.0))
        self.value_range = list(self.range_of())

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        found = {}
        for key, (low, high) in (("additions", self.addition_factor), ("thresholds", self.threshold_factor)):
            found[key] = draws.uniform(b, (batch(b, images), 1, 1, 1), low, high * 255)
        return found

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        scaled = im.to_range(b, images, self.value_range, (0, 255), self.compute_dtype)
        raised = b.clip(b.add(scaled, each(b, t["additions"], scaled)), low=0.0, high=255.0)
        below = b.less(raised, each(b, t["thresholds"], scaled))
        turned = b.where(below, raised, b.affine(raised, alpha=-1.0, beta=255.0))
        return im.to_range(b, turned, (0, 255), self.value_range, self.compute_dtype)


PARTS: dict[str, type[Any]] = {
    "brightness": RandomBrightness, "contrast": RandomContrast, "saturation": RandomSaturation, "hue": RandomHue,
}  # fmt: skip


@layer
class RandomColorJitter(Augmentation):
    """In training: brightness, contrast, saturation and hue, those that have a factor, one after the other.

    Its parts do not know of `data_format`, as in Keras: they always take the last axis for the channels.
    """

    value_range: Any = (0, 255)
    brightness_factor: Any = None
    contrast_factor: Any = None
    saturation_factor: Any = None
    hue_factor: Any = None
    seed: int | None = None

    def check(self) -> None:
        self.parts = {
            name: cls(factor=getattr(self, f"{name}_factor"), value_range=self.value_range, dtype=self.dtype, name=name)
            for name, cls in PARTS.items()
            if getattr(self, f"{name}_factor") is not None
        }

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        return {name: part.draw(b, images, draws) for name, part in self.parts.items()}

    def apply(self, b: Builder, images: Var, t: Transformation) -> Var:
        if images.shape[-1] != 3 and {"saturation", "hue"} & set(self.parts):
            raise self.invalid(f"saturation and hue need 3 channels in the last axis, got {images.type}")
        for name, part in self.parts.items():
            images = part.apply(b, images, t[name])
        return images
