"""CutMix and MixUp: layers that mix the images of a batch, and their labels, in training."""

from __future__ import annotations

from typing import Any, ClassVar

from ...ir import Builder, Var
from ...ir.shapes import vector
from ..base import as_dtype, layer
from .base import Augmentation, Draws, Transformation, batch, each
from .erasing import box


class _Mixing(Augmentation):
    """`mix_weight` (N) says how much of an image stays its own; `permutation_order` (N), which other one joins it."""

    def transform_labels(self, b: Builder, labels: Var, t: Transformation) -> Var:
        """Labels (N, classes), mixed as the images are."""
        weight = b.reshape(t["mix_weight"], shape=vector(b, (batch(b, labels), 1)))
        own = as_dtype(b, labels, "float32") if not labels.tensor.dtype.is_float else labels
        return _mixed(b, own, b.cast_like(weight, own), t["permutation_order"])


def _mixed(b: Builder, x: Var, weight: Var, order: Var) -> Var:
    """weight x + (1 - weight) x[order]."""
    other = b.mul(b.affine(weight, alpha=-1.0, beta=1.0), b.gather(x, order))
    return b.add(b.mul(weight, x), other)  # type: ignore[no-any-return]


@layer
class MixUp(_Mixing):
    """In training: each image mixed with another one of the batch, by a weight from the beta distribution of alpha."""

    alpha: float = 0.2
    seed: int | None = None

    def check(self) -> None:
        if not self.alpha > 0:
            self.refuse("alpha", "a number above 0")

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        alpha = draws.uniform(b, (batch(b, images),), self.alpha, self.alpha)
        return {"permutation_order": draws.permutation(b, images), "mix_weight": draws.beta(b, alpha)}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        return _mixed(b, images, each(b, t["mix_weight"], images), t["permutation_order"])

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        return self.transform(b, as_dtype(b, masks, "float32"), t)


@layer
class CutMix(_Mixing):
    """In training: a box of each image from another one of the batch; its area is beta distributed."""

    factor: Any = 1.0
    seed: int | None = None

    casts: ClassVar[bool] = True

    def check(self) -> None:
        self.factor = self.interval("factor", (0.0, 1.0))

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        alpha = b.add(draws.uniform(b, (), *self.factor), 1e-6)
        weight = draws.beta(b, b.expand(alpha, shape=vector(b, (batch(b, images),))))
        side = b.sqrt(b.affine(weight, alpha=-1.0, beta=1.0))
        inside, area = box(b, images, draws, side, side)
        return {
            "permutation_order": draws.permutation(b, images), "batch_masks": inside,
            "mix_weight": b.affine(area, alpha=-1.0, beta=1.0),
        }  # fmt: skip

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        return b.where(t["batch_masks"], b.gather(images, t["permutation_order"]), images)  # type: ignore[no-any-return]

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        return self.transform(b, masks, t)
