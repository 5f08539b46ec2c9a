"""Rescaling and Normalization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Tensor, Var
from .base import Layer, Weight, as_dtype, layer

if TYPE_CHECKING:
    from .lowering import Scope


@layer
class Rescaling(Layer):
    """x * scale + offset in the compute dtype; scale and offset are numbers or one number a channel."""

    scale: Any
    offset: Any = 0.0
    supports_masking: ClassVar[bool] = True
    needs_float: ClassVar[bool] = True

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        scale, offset = (np.asarray(v, x.tensor.dtype.numpy) for v in (self.scale, self.offset))
        return b.add(b.mul(x, scale), offset)


@layer
class Normalization(Layer):
    """(x - mean) / max(sqrt(variance), 1e-7) with a mean and a variance for each place of `axis`; or its inverse."""

    axis: Any = -1
    mean: Any = None
    variance: Any = None
    invert: bool = False
    supports_masking: ClassVar[bool] = True
    needs_float: ClassVar[bool] = True

    def kept(self, rank: int) -> tuple[int, ...]:
        """The axes along which the statistics differ."""
        axes = () if self.axis is None else (self.axis,) if isinstance(self.axis, int) else tuple(self.axis)
        return tuple(sorted(a % rank for a in axes))

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        if self.mean is None:
            shape = tuple(inputs[0].dims[a] for a in self.kept(inputs[0].rank))
            yield Weight("mean", shape, "zeros", trainable=False)
            yield Weight("variance", shape, "ones", trainable=False)
            yield Weight("count", (), "zeros", trainable=False, dtype="int32")

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        kept = self.kept(len(x.shape))
        shape = tuple(d if i in kept else 1 for i, d in enumerate(x.shape))
        if self.mean is None:
            mean, variance = b.reshape(w.mean, shape=shape), b.reshape(w.variance, shape=shape)
        else:
            given = (self._given(b, v, shape, kept) for v in (self.mean, self.variance))
            mean, variance = (as_dtype(b, v, x.tensor.dtype) for v in given)
        deviation = b.maximum(b.sqrt(variance), 1e-7)
        return b.add(mean, b.mul(x, deviation)) if self.invert else b.div(b.sub(x, mean), deviation)

    @staticmethod
    def _given(b: Builder, value: Any, shape: tuple[Any, ...], kept: tuple[int, ...]) -> Var:
        """Statistics written in the config: a number, or an array over the last of the kept axes."""
        array = np.asarray(value, np.float32)
        spread = [1] * len(shape)
        for i in range(1, array.ndim + 1):
            spread[kept[-i]] = array.shape[-i]
        return b.constant(array.reshape(spread))
