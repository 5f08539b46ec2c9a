"""Dense, Embedding, ReversibleEmbedding, Masking, Identity."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Tensor, Var
from .activation import activate
from .adapted import Adapted
from .base import Config, Function, Layer, Weight, as_dtype, is_float, layer
from .einsum import Letters, Product
from .quantized import (
    Matrix,
    check_quantization,
    looked_up,
    mode_of,
    reverse_variables,
    reversed_product,
    same_float,
    table_variables,
)

if TYPE_CHECKING:
    from .lowering import Scope


@layer
class Dense(Product):
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
    lora_rank: int | None = None
    lora_alpha: float | None = None
    quantization_config: Config = None
    supports_masking: ClassVar[bool] = True
    scales_int4_first: ClassVar[bool] = False

    def letters(self, rank: int) -> Letters:
        more = ascii_lowercase[: rank - 1]
        return Letters(f"{more}y", "yz", f"{more}z", rank - 1, True)

    def matrix(self, x: Tensor) -> Matrix:
        return Matrix((x.dims[-1], self.units), x.dims[-1], self.units, (self.units,))

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        m = self.matrix(inputs[0])
        bias = [self.weight("bias", (self.units,))] if self.use_bias else []
        yield from self.declared(m, self.weight("kernel", m.shape), bias)

    def times(self, b: Builder, x: Var, kernel: Var) -> Var:
        return b.matmul(x, kernel)  # type: ignore[no-any-return]

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        bias = w.bias if self.use_bias else None
        if mode_of(self) is None:
            return activate(b, b.matmul(x, self.adapted(b, w), bias), self.activation, w)
        return self.completed(b, self.multiplied(b, x, w), bias, w)


@layer
class Embedding(Adapted):
    """Row number x of a table; with mask_zero, places where x is 0 are masked."""

    input_dim: int
    output_dim: int
    embeddings_initializer: Config = "uniform"
    embeddings_regularizer: Config = None
    embeddings_constraint: Config = None
    mask_zero: bool = False
    lora_rank: int | None = None
    lora_alpha: float | None = None
    quantization_config: Config = None
    own_result: ClassVar[bool] = True
    autocast: ClassVar[bool] = False
    adapted_name: ClassVar[str] = "embeddings"

    def check(self) -> None:
        check_quantization(self, "int8", "int4")

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (self.input_dim, self.output_dim)
        yield from table_variables(self, self.frozen(self.weight("embeddings", shape)))
        yield from self.adaptation(shape)

    def lower(self, b: Builder, x: Var, w: Scope) -> Any:
        indices = x if x.tensor.dtype.name in ("i32", "i64") else as_dtype(b, x, "int32")
        if self.lora_rank and mode_of(self) is not None:
            y = as_dtype(b, looked_up(b, self, indices, w), self.compute_dtype)
            return self.plus_adaptation(b, y, b.gather(self.factors(w)[0], indices, axis=0), w)
        return as_dtype(b, looked_up(b, self, indices, w), self.compute_dtype)

    def compute_mask(self, b: Builder, x: Var, mask: Any, y: Var) -> Any:
        return b.not_equal(x, _number(x, 0)) if self.mask_zero else None


@layer
class ReversibleEmbedding(Embedding):
    """An Embedding that also goes back: reverse=True multiplies by the table transposed, or by a matrix of its own.

    Back, results are soft_cap tanh(y / soft_cap) if there is a `logit_soft_cap`.  Keras' quantised layer gives no mask.
    """

    input_dim: int
    output_dim: int
    tie_weights: bool = True
    embeddings_initializer: Config = "uniform"
    embeddings_regularizer: Config = None
    embeddings_constraint: Config = None
    mask_zero: bool = False
    reverse_dtype: Any = None
    logit_soft_cap: float | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    quantization_config: Config = None
    call_arguments: ClassVar[tuple[str, ...]] = ("reverse",)

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        yield from super().weights(*inputs)
        if not self.tie_weights:
            yield from reverse_variables(self, Weight("reverse_embeddings", (self.output_dim, self.input_dim),
                                                      self.embeddings_initializer))  # fmt: skip

    def lower(self, b: Builder, x: Var, w: Scope, reverse: bool = False) -> Any:
        from .lowering import Value

        if reverse:
            return Value(self._capped(b, self._back(b, x, w)))
        mask = super().compute_mask(b, x, None, x) if mode_of(self) is None else None
        return Value(super().lower(b, x, w), mask)

    def _back(self, b: Builder, x: Var, w: Scope) -> Var:
        if mode_of(self) is not None:
            return reversed_product(b, self, x, w)
        kernel = b.swap(self.adapted(b, w)) if self.tie_weights else w.reverse_embeddings
        if self.reverse_dtype is not None:
            x, kernel = (as_dtype(b, v, self.reverse_dtype) for v in (x, kernel))
        return b.matmul(*same_float(b, x, kernel))  # type: ignore[no-any-return]

    def _capped(self, b: Builder, y: Var) -> Var:
        if self.logit_soft_cap is None:
            return y
        cap = float(self.logit_soft_cap)
        return b.mul(b.tanh(b.div(y, cap)), cap)  # type: ignore[no-any-return]


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
