"""The input of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..ir import Builder
from .base import Layer, layer

if TYPE_CHECKING:
    from .lowering import Scope


@layer
class InputLayer(Layer):
    """A placeholder: shape with the batch (None: any size), and dtype."""

    batch_shape: Any = None
    sparse: bool = False
    ragged: bool = False
    optional: bool = False
    supports_masking: ClassVar[bool] = True
    autocast: ClassVar[bool] = False

    def check(self) -> None:
        for key in ("sparse", "ragged"):
            if getattr(self, key):
                self.refuse(key)
        if self.batch_shape is not None and not isinstance(self.batch_shape, (list, tuple)):
            self.refuse("batch_shape")

    def lower(self, b: Builder, x: Any, w: Scope) -> Any:
        return x
