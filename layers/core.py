"""Dense, Embedding, Masking, Identity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Tensor, Var
from .activation import activate, check_activation
from .base import Config, Function, Layer, Weight, as_dtype, is_float, layer

if TYPE_CHECKING:
    from .lowering import Scope


@layer
class Dense(Layer):
    """activation(x @ kernel + bias) over the last axis."""

    units: int
    activation: Function = "linear"
    use_bias: bool = True
    kernel_initializer: Config = "glorot_uniform"
    bias_initializer: Config = "zeros"
    kernel_regularizer: Config = None
    bias_regularizer: Config = None
    kernel_constraint: Config = None
    bias_constraint: Config = None
    lora_rank: int | None = None  # the file's kernel holds the adaptation already
    lora_alpha: float | None = None
    quantization_config: Config = None
    supports_masking: ClassVar[bool] = True
    needs_float: ClassVar[bool] = True

    def check(self) -> None:
        check_activation(self)
        if self.quantization_config is not None:
            self.refuse("quantization_config")

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (inputs[0].dims[-1], self.units)
        yield self.weight("kernel", shape)
        if self.use_bias:
            yield self.weight("bias", (self.units,))

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        y = b.matmul(x, w.kernel, w.bias if self.use_bias else None)
        return activate(b, y, self.activation, w)


@layer
class Embedding(Layer):
    """Row number x of a table; with mask_zero, places where x is 0 are masked."""

    input_dim: int
    output_dim: int
    embeddings_initializer: Config = "uniform"
    embeddings_regularizer: Config = None
    embeddings_constraint: Config = None
    mask_zero: bool = False
    lora_rank: int | None = None  # the file's table holds the adaptation already
    lora_alpha: float | None = None
    quantization_config: Config = None
    autocast: ClassVar[bool] = False

    def check(self) -> None:
        if self.quantization_config is not None:
            self.refuse("quantization_config")

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (self.input_dim, self.output_dim)
        yield self.weight("embeddings", shape)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        indices = x if x.tensor.dtype.name in ("i32", "i64") else as_dtype(b, x, "int32")
        return as_dtype(b, b.gather(w.embeddings, indices, axis=0), self.compute_dtype)

    def compute_mask(self, b: Builder, x: Var, mask: Any, y: Var) -> Any:
        return b.not_equal(x, _number(x, 0)) if self.mask_zero else None


@layer
class Masking(Layer):
    """Mask the steps whose features all equal mask_value, and set them to 0."""

    mask_value: float = 0.0
    supports_masking: ClassVar[bool] = True

    def check(self) -> None:
        if not isinstance(self.mask_value, (int, float)):
            self.refuse("mask_value")

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        kept = b.reduce_any(b.not_equal(x, _number(x, self.mask_value)), axes=(-1,), keepdims=True)
        return b.where(kept, x, _number(x, 0))

    def compute_mask(self, b: Builder, x: Var, mask: Any, y: Var) -> Any:
        return b.reduce_any(b.not_equal(x, _number(x, self.mask_value)), axes=(-1,))


@layer
class Identity(Layer):
    """x itself."""

    supports_masking: ClassVar[bool] = True

    def lower(self, b: Builder, x: Any, w: Scope) -> Any:
        return x


def _number(x: Var, value: float) -> Any:
    """A scalar in the dtype of x."""
    return np.array(value, x.tensor.dtype.numpy) if is_float(x) else np.array(int(value), x.tensor.dtype.numpy)
