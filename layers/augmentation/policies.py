"""RandAugment and AugMix: other augmentations, chosen at random in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from ...ir import Builder, Var
from ...ir.ops.control import trace
from ..base import as_dtype, layer, to_last
from .base import Augmentation, Draws, ImageLayer, Transformation
from .colour import RandomBrightness, RandomColorDegeneration, RandomContrast, RandomPosterization, Solarization
from .filters import RandomSharpness
from .geometry import RandomRotation, RandomShear, RandomTranslation
from .histograms import AutoContrast, Equalization

STRIDE = 0x9E3779B9  # between the seeds that come from one key: 2^32 / golden ratio, so that they lie far apart


def when(b: Builder, condition: Var, change: Callable[..., Var], x: Var, *others: Var) -> Var:
    """change(builder, x, *others) where the condition, one boolean, holds, else x; only what holds is computed."""
    given = [(f"x{i}", v.type) for i, v in enumerate((x, *others))]
    then = trace("then", lambda inner, first, *rest: [inner.cast_like(change(inner, first, *rest), first)], given)
    orelse = trace("orelse", lambda inner, first, *rest: [inner.identity(first)], given)
    return b.if_(condition, x, *others, then=then, orelse=orelse)[0]  # type: ignore[no-any-return]


class _Policy(Augmentation):
    """A layer that has others of Keras' names, all with its own factor, range of values and layout."""

    value_range: Any
    factor: Any
    interpolation: str

    casts: ClassVar[bool] = True

    def check(self) -> None:
        self.factor = self.interval("factor", (0.0, 1.0))
        self.parts = {name: self._part(name, cls, **config) for name, cls, config in self._kinds()}

    def _part(self, name: str, cls: type[ImageLayer], **config: Any) -> ImageLayer:
        return cls(name=name, dtype=self.dtype, data_format=self.data_format, **config)

    def _kinds(self) -> Iterator[tuple[str, type[ImageLayer], dict[str, Any]]]:
        """Names, classes and arguments, in Keras' order."""
        raise self.invalid("the class defines no _kinds()")

    def _kind(self, name: str) -> tuple[str, type[ImageLayer], dict[str, Any]]:
        """One of the layers that may be chosen."""
        factor, values = {"factor": self.factor}, {"value_range": self.value_range}
        sampled = {"interpolation": self.interpolation}
        table: dict[str, tuple[type[ImageLayer], dict[str, Any]]] = {
            "random_shear": (RandomShear, {"x_factor": self.factor, "y_factor": self.factor, **sampled}),
            "random_translation": (
                RandomTranslation, {"height_factor": self.factor, "width_factor": self.factor, **sampled},
            ),
            "random_rotation": (RandomRotation, {**factor, **sampled}),
            "random_brightness": (RandomBrightness, {**factor, **values}),
            "random_color_degeneration": (RandomColorDegeneration, {**factor, **values}),
            "random_contrast": (RandomContrast, {**factor, **values}),
            "random_sharpness": (RandomSharpness, {**factor, **values}),
            "random_posterization": (RandomPosterization, {"factor": max(1, int(8 * self.factor[1])), **values}),
            "solarization": (
                Solarization, {"addition_factor": self.factor, "threshold_factor": self.factor, **values},
            ),
            "auto_contrast": (AutoContrast, values),
            "equalization": (Equalization, values),
        }  # fmt: skip
        return (name, *table[name])


@layer
class RandAugment(_Policy):
    """In training: num_ops of eleven augmentations, drawn for the whole batch (Cubuk et al. 2019)."""

    value_range: Any = (0, 255)
    num_ops: int = 2
    factor: Any = 0.5
    interpolation: str = "bilinear"
    seed: int | None = None

    def _kinds(self) -> Iterator[tuple[str, type[ImageLayer], dict[str, Any]]]:
        names = (
            "random_shear", "random_translation", "random_rotation", "random_brightness", "random_color_degeneration",
            "random_contrast", "random_sharpness", "random_posterization", "solarization", "auto_contrast",
            "equalization",
        )  # fmt: skip
        return map(self._kind, names)

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        chosen = draws.integers(b, (self.num_ops,), 0, len(self.parts))
        return {
            "layer_idxes": chosen, "transforms": {name: p.draw(b, images, draws) for name, p in self.parts.items()},
        }  # fmt: skip

    def apply(self, b: Builder, images: Var, t: Transformation) -> Var:
        return self._chosen(b, images, t, "apply")

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        return self._chosen(b, masks, t, "transform_masks")

    def _chosen(self, b: Builder, x: Var, t: Transformation, method: str) -> Var:
        for i in range(self.num_ops):
            for number, (name, part) in enumerate(self.parts.items()):
                drawn = t["transforms"][name]
                condition = b.equal(b.gather(t["layer_idxes"], np.int64(i)), np.int64(number))
                x = when(b, condition, _changing(part, list(drawn), method), x, *drawn.values())
        return x


def _changing(part: ImageLayer, names: list[str], method: str) -> Callable[..., Var]:
    """A method of a layer as a function of images and what was drawn."""
    return lambda b, x, *values: getattr(part, method)(b, x, dict(zip(names, values)))


@layer
class AugMix(_Policy):
    """In training: images mixed with the sum of num_chains chains of up to chain_depth augmentations of them.

    Shares of the chains are Dirichlet distributed, that of the image beta distributed, both by alpha (Hendrycks et al.
    2020).  Each link of a chain is one of seven augmentations (eleven with all_ops), or none.
    """

    value_range: Any = (0, 255)
    num_chains: int = 3
    chain_depth: int = 3
    factor: Any = 0.3
    alpha: float = 1.0
    all_ops: bool = True
    interpolation: str = "bilinear"
    seed: int | None = None

    def _kinds(self) -> Iterator[tuple[str, type[ImageLayer], dict[str, Any]]]:
        names = (
            "random_shear", "random_translation", "random_rotation", "random_posterization", "solarization",
            "auto_contrast", "equalization", "random_brightness", "random_color_degeneration", "random_contrast",
            "random_sharpness",
        )  # fmt: skip
        return map(self._kind, names if self.all_ops else names[:7])

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        choices = draws.integers(b, (self.num_chains * self.chain_depth,), 0, len(self.parts) + 1)
        chains = [
            [(b.gather(choices, np.int64(i * self.chain_depth + j)), draws.key()) for j in range(self.chain_depth)]
            for i in range(self.num_chains)
        ]
        alpha = b.constant(np.float32(self.alpha))
        return {
            "chain_mixing_weights": self._shares(b, draws), "weight_sample": draws.beta(b, alpha),
            "chain_transforms": chains,
        }  # fmt: skip

    def _shares(self, b: Builder, draws: Draws) -> Var:
        """Numbers that add up to 1, Dirichlet distributed: each is a beta distributed part of what is left."""
        left, shares = b.constant(np.float32(1)), []
        for others in range(self.num_chains - 1, 0, -1):
            alpha = b.constant(np.float32(self.alpha))
            part = b.mul(left, draws.beta(b, alpha, b.constant(np.float32(self.alpha * others))))
            shares.append(part)
            left = b.sub(left, part)
        return b.concat(*(b.unsqueeze(s, axes=(0,)) for s in (*shares, left)), axis=0)  # type: ignore[no-any-return]

    def apply(self, b: Builder, images: Var, t: Transformation) -> Var:
        mixed = self._mixed(b, images, t, "apply")
        low, high = self.range_of()
        return b.clip(mixed, low=float(low), high=float(high))  # type: ignore[no-any-return]

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        return self._mixed(b, as_dtype(b, masks, self.compute_dtype), t, "transform_masks")

    def _mixed(self, b: Builder, x: Var, t: Transformation, method: str) -> Var:
        weights = b.cast_like(t["chain_mixing_weights"], x)
        total: Any = None
        for i, chain in enumerate(t["chain_transforms"]):
            y = x
            for link in chain:
                y = self.linked(b, y, link, method)
            part = b.mul(y, b.gather(weights, np.int64(i)))
            total = part if total is None else b.add(total, part)
        own = b.cast_like(t["weight_sample"], x)
        return b.add(b.mul(own, x), b.mul(b.affine(own, alpha=-1.0, beta=1.0), total))  # type: ignore[no-any-return]

    def linked(self, b: Builder, x: Var, link: Any, method: str) -> Var:
        """x after one link: (number of the layer, key for all that it draws); the last number stands for none."""
        choice, key = link
        for number, part in enumerate(self.parts.values()):
            condition = b.equal(choice, np.int64(number))
            x = when(b, condition, _drawing(part, method), x, key)
        return x


def _drawing(part: ImageLayer, method: str) -> Callable[..., Var]:
    """A layer that draws from a key, and its method, as a function of images and the key."""

    def change(b: Builder, x: Var, key: Var) -> Var:
        keys = iter(range(1, 2**16))
        draws = Draws(lambda: b.add(key, np.array([next(keys) * STRIDE % 2**32, 0], np.uint32)))
        last = to_last(b, x, part.data_format) if method == "apply" else x
        t = part.draw(b, last, draws)
        return getattr(part, method)(b, x, t)  # type: ignore[no-any-return]

    return change
