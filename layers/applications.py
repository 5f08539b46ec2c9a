"""Layers that only models of keras.applications have: ConvNeXt's and InceptionResNetV2's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from ..ir import Builder, Tensor, Var
from .base import Layer, Weight, layer
from .regularization import _Dropping

if TYPE_CHECKING:
    from .lowering import Scope


@layer
class LayerScale(Layer):
    """x * gamma, a learned factor for each of the last axis' features."""

    init_values: float
    projection_dim: int

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        constant = {"class_name": "Constant", "config": {"value": self.init_values}}
        yield Weight("gamma", (self.projection_dim,), constant)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return b.mul(x, w.gamma)


@layer
class StochasticDepth(_Dropping):
    """In training: whole samples set to 0 with probability drop_path_rate, the others scaled by 1 / (1 - rate)."""

    drop_path_rate: float
    seed = None  # of no field: drawn anew
    supports_masking: ClassVar[bool] = False

    @property
    def strength(self) -> float:
        return float(self.drop_path_rate)

    @property
    def rate(self) -> float:  # type: ignore[override]
        return self.strength

    def shape(self, x: Var) -> tuple[Any, ...]:
        return (x.shape[0], *(1 for _ in x.shape[1:]))


@layer
class CustomScaleLayer(Layer):
    """x[0] + scale * x[1]."""

    scale: float

    def lower(self, b: Builder, x: Any, w: Scope) -> Var:
        if not isinstance(x, (list, tuple)) or len(x) != 2:
            raise self.invalid("takes two inputs")
        return b.add(x[0], b.mul(x[1], self.scale))
