"""Layers that act in training only: at inference they hand on their input.

Formulas: keras/src/layers/regularization.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from ..ir import Builder, Var
from .base import Layer, layer, layer_base
from .seed import Seeded, dropout

if TYPE_CHECKING:
    from .lowering import Scope


class _Noise(Seeded):
    """A layer that disturbs its input; `strength` 0 means never."""

    supports_masking: ClassVar[bool] = True

    @property
    def strength(self) -> float:
        """How much is dropped or added."""
        return float(self.rate)  # type: ignore[attr-defined]

    @property
    def draws(self) -> bool:
        return self.strength > 0

    def check(self) -> None:
        """Refuse a strength outside of [0, 1]."""
        if not 0 <= self.strength <= 1:
            raise self.invalid(f"rate or stddev is {self.strength}, expected a number from 0 to 1")

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return self.disturb(b, x, w) if w.training and self.draws else x

    def disturb(self, b: Builder, x: Var, w: Scope) -> Var:
        """x as it is in training."""
        raise self.invalid("the class defines no disturb()")

    def shape(self, x: Var) -> tuple[Any, ...]:
        """The shape of the random numbers: `noise_shape`, in which None stands for the size of x."""
        given = getattr(self, "noise_shape", None)
        return x.shape if given is None else tuple(s if g is None else g for g, s in zip(given, x.shape))


class _Dropping(_Noise):
    """Some elements, or groups of them, become 0."""

    rate: float

    def disturb(self, b: Builder, x: Var, w: Scope) -> Var:
        return dropout(b, x, self.rate, self.shape(x), w.random_seed())


@layer
class Dropout(_Dropping):
    """In training: elements set to 0 with probability rate, the others scaled by 1 / (1 - rate)."""

    rate: float
    noise_shape: Any = None
    seed: int | None = None


@layer
class AlphaDropout(_Noise):
    """In training: dropout which keeps mean and variance, for SELU networks."""

    rate: float
    noise_shape: Any = None
    seed: int | None = None

    def disturb(self, b: Builder, x: Var, w: Scope) -> Var:
        """Dropped elements become alpha' = -scale * alpha of SELU; then a x + b restores mean 0 and variance 1."""
        low = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946
        kept = b.greater_equal(b.random_uniform(w.random_seed(), shape=self.shape(x)), self.rate)
        scale = ((1 - self.rate) * (1 + self.rate * low**2)) ** -0.5
        y = b.where(kept, x, b.constant(low, dtype=x.tensor.dtype.numpy))
        return b.affine(y, alpha=scale, beta=-scale * low * self.rate)  # type: ignore[no-any-return]


@layer
class GaussianDropout(_Noise):
    """In training: multiply by noise of mean 1 and deviation sqrt(rate / (1 - rate))."""

    rate: float
    seed: int | None = None

    def disturb(self, b: Builder, x: Var, w: Scope) -> Var:
        deviation = math.sqrt(self.rate / (1 - self.rate))
        noise = b.random_normal(w.random_seed(), shape=x.shape, mean=1.0, scale=deviation, dtype=x.tensor.dtype)
        return b.mul(x, noise)  # type: ignore[no-any-return]


@layer
class GaussianNoise(_Noise):
    """In training: add noise of mean 0 and deviation stddev."""

    stddev: float
    seed: int | None = None

    @property
    def strength(self) -> float:
        return float(self.stddev)

    def disturb(self, b: Builder, x: Var, w: Scope) -> Var:
        noise = b.random_normal(w.random_seed(), shape=x.shape, scale=self.stddev, dtype=x.tensor.dtype)
        return b.add(x, noise)  # type: ignore[no-any-return]


class _Spatial(_Dropping):
    """Dropout of whole channels."""

    data_format: str | None = None

    def shape(self, x: Var) -> tuple[Any, ...]:
        """One number for each sample and channel."""
        n, *rest = x.shape
        if self.data_format == "channels_first":
            return (n, rest[0], *[1] * (len(rest) - 1))
        return (n, *[1] * (len(rest) - 1), rest[-1])


@layer
class SpatialDropout1D(_Spatial):
    """In training: dropout of whole channels."""

    rate: float
    seed: int | None = None
    noise_shape: Any = None


@layer_base()
class _SpatialDropout(_Spatial):
    rate: float
    data_format: str | None = None
    seed: int | None = None
    noise_shape: Any = None


@layer
class SpatialDropout2D(_SpatialDropout):
    """In training: dropout of whole channels."""


@layer
class SpatialDropout3D(_SpatialDropout):
    """In training: dropout of whole channels."""


@layer
class ActivityRegularization(Layer):
    """In training: adds l1 * sum|x| + l2 * sum x^2 to the loss."""

    l1: float = 0.0
    l2: float = 0.0
    supports_masking: ClassVar[bool] = True

    @property
    def activity(self) -> Any:
        return {"class_name": "L1L2", "config": {"l1": self.l1, "l2": self.l2}}

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return x
