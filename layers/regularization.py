"""Layers that act in training only: at inference they hand on their input.

What they do in training belongs to the training step (design §4); the fields are kept for it and for the writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..ir import Builder, Var
from .base import Layer, layer, layer_base

if TYPE_CHECKING:
    from .lowering import Scope


class _TrainingOnly(Layer):
    supports_masking: ClassVar[bool] = True

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return x


@layer
class Dropout(_TrainingOnly):
    """In training: elements set to 0 with probability rate, the others scaled by 1 / (1 - rate)."""

    rate: float
    noise_shape: Any = None
    seed: int | None = None


@layer
class AlphaDropout(_TrainingOnly):
    """In training: dropout which keeps mean and variance, for SELU networks."""

    rate: float
    noise_shape: Any = None
    seed: int | None = None


@layer
class GaussianDropout(_TrainingOnly):
    """In training: multiply by noise of mean 1 and deviation sqrt(rate / (1 - rate))."""

    rate: float
    seed: int | None = None


@layer
class GaussianNoise(_TrainingOnly):
    """In training: add noise of mean 0 and deviation stddev."""

    stddev: float
    seed: int | None = None


@layer
class SpatialDropout1D(_TrainingOnly):
    """In training: dropout of whole channels."""

    rate: float
    seed: int | None = None
    noise_shape: Any = None


@layer_base()
class _SpatialDropout(_TrainingOnly):
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
class ActivityRegularization(_TrainingOnly):
    """In training: adds l1 * sum|x| + l2 * sum x^2 to the loss."""

    l1: float = 0.0
    l2: float = 0.0
