"""Low-rank adaptation: a kernel that stays as it is, plus the product of two slim matrices that are trained.

Hu et al. 2021, as Keras has it (`lora_rank`, `enable_lora`): kernel + alpha / rank * a @ b.  `.keras` files hold the
sum as the kernel, and neither a nor b.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Var
from .base import Layer, Weight, as_dtype

if TYPE_CHECKING:
    from .lowering import Scope


def _he_uniform(shape: Any, dtype: Any, generator: np.random.Generator) -> Any:
    limit = math.sqrt(6 / max(math.prod(shape[:-1]), 1))
    return generator.uniform(-limit, limit, shape).astype(np.float32)


def _zeros(shape: Any, dtype: Any, generator: np.random.Generator) -> Any:
    return np.zeros(shape, np.float32)


class Adapted(Layer):
    """A layer whose kernel may be adapted; `adapted_name` says what its kernel is called."""

    lora_rank: int | None
    lora_alpha: float | None
    adapted_name: ClassVar[str] = "kernel"

    @property
    def _strength(self) -> float:
        assert self.lora_rank
        return (self.lora_rank if self.lora_alpha is None else self.lora_alpha) / self.lora_rank

    def frozen(self, weight: Weight) -> Weight:
        """The kernel's declaration, not trained where it is adapted."""
        if not self.lora_rank:
            return weight
        return dataclasses.replace(weight, trainable=False)

    def adaptation(self, shape: Sequence[Any]) -> Iterator[Weight]:
        """The declarations of a and b for a kernel of a shape, if there are any."""
        if self.lora_rank:
            regularizer = getattr(self, f"{self.adapted_name}_regularizer")
            sizes = {"a": (*shape[:-1], self.lora_rank), "b": (self.lora_rank, shape[-1])}
            for letter, first in (("a", _he_uniform), ("b", _zeros)):
                name = f"lora_{self.adapted_name}_{letter}"
                yield Weight(name, sizes[letter], first, regularizer=regularizer, dtype="float32", stored=False)

    def factors(self, w: Scope) -> tuple[Var, Var]:
        """a and b."""
        a, b = (getattr(w, f"lora_{self.adapted_name}_{letter}") for letter in "ab")
        return a, b

    def adapted(self, b: Builder, w: Scope) -> Var:
        """The kernel with its adaptation, in the compute dtype."""
        kernel: Var = getattr(w, self.adapted_name)
        if not self.lora_rank:
            return kernel
        change = b.mul(b.matmul(*self.factors(w)), self._strength)
        return as_dtype(b, b.add(b.cast_like(kernel, change), change), kernel.tensor.dtype)

    def plus_adaptation(self, b: Builder, y: Var, of_a: Var, w: Scope) -> Var:
        """y + alpha / rank * (what x and a give) @ b: the result of a quantised layer, whose kernel cannot change."""
        change = b.mul(b.matmul(of_a, self.factors(w)[1]), self._strength)
        return as_dtype(b, b.add(b.cast_like(y, change), change), self.compute_dtype)

    def as_stored(self, arrays: Sequence[Any]) -> Sequence[Any]:
        """The variables as a file has them: the kernel, which is the first one, adapted."""
        if not self.lora_rank:
            return arrays
        kernel, *others, a, b = arrays
        if a is None or b is None or not np.any(b):
            return [kernel, *others]
        if np.asarray(kernel).dtype.kind in "iu":
            raise self.invalid("a quantised kernel with a trained adaptation cannot be written")
        return [(kernel + self._strength * (a @ b)).astype(kernel.dtype), *others]
