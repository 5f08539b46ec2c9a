"""Rescaling and Normalization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Tensor, Var
from .base import Layer, Weight, as_dtype, layer
from .category import batches

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

    def adapt(self, data: Any) -> None:
        """Learn mean and variance of data: an array, or an iterable of batches, whose statistics are merged.

        keras/src/layers/preprocessing/normalization.py; batches have all axes of the layer's input, that of the samples
        too.
        """
        if self.mean is not None:
            raise self.invalid("its mean and variance are given: there is nothing to adapt")
        mean = variance = np.float32(0)
        total = 0
        for batch in batches(data, None, whole=(np.ndarray,)):
            x = np.asarray(batch)
            x = x if batch is data else x.astype(np.float32)
            kept = self.kept(x.ndim)
            axes = tuple(i for i in range(x.ndim) if i not in kept)
            number = int(np.prod([x.shape[i] for i in axes]))
            if number == 0:
                continue
            total += number
            share, before = number / total, mean
            own, spread = np.mean(x, axis=axes), np.var(x, axis=axes)
            mean = before * (1 - share) + own * share
            parts = (variance + (before - mean) ** 2) * (1 - share), (spread + (own - mean) ** 2) * share
            variance = parts[0] + parts[1]
        if total == 0:
            raise self.invalid("there is no data to adapt to")
        self.values |= {"mean": np.asarray(mean, np.float32), "variance": np.asarray(variance, np.float32)}
        self.values.setdefault("count", np.zeros((), np.int32))
        self.version += 1

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
