"""SpectralNormalization: a layer whose kernel is divided by its largest singular value, in training (Miyato 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Tensor, Var
from ..ir.dims import product
from .base import Layer, Weight, as_dtype, layer

if TYPE_CHECKING:
    from .lowering import Scope

_NORMAL = {"class_name": "TruncatedNormal", "config": {"mean": 0.0, "stddev": 0.02}}


@layer
class SpectralNormalization(Layer):
    """The layer itself; in training its kernel is first divided by the estimate v W uᵀ of its spectral norm.

    u, which the layer keeps, and v come from `power_iterations` rounds of v = u Wᵀ / |u Wᵀ|, u = v W / |v W|.  The
    kernel's new value stays: as in Keras it is assigned, and no gradient flows through the division.
    """

    layer: Layer
    power_iterations: int = 1
    couples_samples: ClassVar[bool] = True

    def check(self) -> None:
        if self.power_iterations < 1:
            self.refuse("power_iterations")

    @property
    def twin(self) -> Layer | None:
        return self.layer

    def _kernel(self, inputs: tuple[Tensor, ...]) -> Weight:
        """The variable that is normalised, which is the layer's first one."""
        first = next(iter(self.layer.weights(*inputs)), None)
        if first is None or first.name not in ("kernel", "embeddings"):
            self.refuse("layer", hint="a layer with a kernel or embeddings is needed")
        assert first is not None
        return first

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        kernel = self._kernel(inputs)
        yield Weight("vector_u", (1, kernel.shape[-1]), _NORMAL, trainable=False, dtype=self.layer.variable_dtype,
                     autocast=False)  # fmt: skip

    def lower(self, b: Builder, x: Var, w: Scope) -> Any:
        from .lowering import Value

        if w.training:
            self._normalise(b, x, w)
        y = w.call(self.layer, Value(x))
        return as_dtype(b, y.var, x.tensor.dtype)

    def _normalise(self, b: Builder, x: Var, w: Scope) -> None:
        inner = w.child(self.layer, x.tensor)
        name = self._kernel((x.tensor,)).name
        parameter = inner.parameter(name)
        kernel = w.lowering.value(parameter, w.lowering.live and inner.trainable)
        rows = product(kernel.shape[:-1])
        matrix = b.stop_gradient(b.reshape(kernel, shape=(rows, kernel.shape[-1])))
        u = b.cast_like(w.vector_u, matrix)
        for _ in range(self.power_iterations):
            v = _unit(b, b.matmul(u, b.swap(matrix)))
            u = _unit(b, b.matmul(v, matrix))
        sigma = b.matmul(b.matmul(v, matrix), b.swap(u))
        zero = b.reduce_all(b.equal(matrix, np.array(0, matrix.tensor.dtype.numpy)))
        divided = b.div(kernel, b.reshape(sigma, shape=()))
        inner.assign(name, b.stop_gradient(b.where(zero, kernel, divided)))
        w.assign("vector_u", b.where(zero, w.vector_u, b.cast_like(u, w.vector_u)))


def _unit(b: Builder, x: Var) -> Var:
    """x / |x|, or x * 1e7 where |x| is less than 1e-7, as Keras' `normalize`."""
    inverse = b.rsqrt(b.reduce_sum(b.square(x), keepdims=True))
    return b.mul(x, b.minimum(inverse, np.array(1e7, inverse.tensor.dtype.numpy)))  # type: ignore[no-any-return]
