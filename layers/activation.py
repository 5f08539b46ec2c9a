"""Activation functions by Keras' names, and the layers that apply them.

`ELEMENTWISE` functions are core ops and may be the activation of a recurrent op; `FUNCTIONS` look at a whole axis.
Formulas: keras/src/activations/activations.py and keras/src/backend/tensorflow/nn.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import UnsupportedError
from ..ir import Activation as Elementwise
from ..ir import Builder, Tensor, Var
from .base import Config, Function, Layer, Mask, Weight, layer

if TYPE_CHECKING:
    from .lowering import Scope


def _op(op: str, **attrs: Any) -> Elementwise:
    return Elementwise(op, tuple(attrs.items()))


ELEMENTWISE: dict[str, Elementwise] = {
    "linear": _op("linear"),
    "relu": _op("relu"),
    "relu6": _op("clip", low=0.0, high=6.0, open_low=True, open_high=True),  # open: the derivative at 0 and 6 is 0
    "leaky_relu": _op("leaky_relu", negative_slope=0.2),
    "elu": _op("elu", alpha=1.0),
    "selu": _op("selu"),
    "celu": _op("celu", alpha=1.0),
    "gelu": _op("gelu", approximate=False),
    "silu": _op("silu"),
    "swish": _op("silu"),
    "mish": _op("mish"),
    "sigmoid": _op("sigmoid"),
    "tanh": _op("tanh"),
    "tanh_shrink": _op("tanh_shrink"),
    "softplus": _op("softplus"),
    "softsign": _op("softsign"),
    "soft_shrink": _op("soft_shrink", threshold=0.5),
    "hard_shrink": _op("hard_shrink", threshold=0.5),
    "hard_tanh": _op("clip", low=-1.0, high=1.0),
    "hard_sigmoid": _op("hard_sigmoid", alpha=1 / 6, beta=0.5),  # relu6(x + 3) / 6
    "keras2.hard_sigmoid": _op("hard_sigmoid", alpha=0.2, beta=0.5),  # what Keras 1 and 2 meant by the name
    "hard_silu": _op("hard_silu"),
    "hard_swish": _op("hard_silu"),
    "exponential": _op("exp"),
    "log_sigmoid": _op("log_sigmoid"),
    "sparse_plus": _op("sparse_plus"),
    "sparse_sigmoid": _op("sparse_sigmoid"),
    "squareplus": _op("squareplus", b=4.0),
}


def _glu(b: Builder, x: Var) -> Var:
    """left * sigmoid(right), the halves of the last axis."""
    size = x.shape[-1]
    if not isinstance(size, int) or size % 2:
        raise UnsupportedError(f"activation glu needs an even last axis, got {size}")
    left, right = b.split(x, axis=-1, sizes=(size // 2, size // 2))
    return b.mul(left, b.sigmoid(right))


def _sparsemax(b: Builder, x: Var) -> Var:
    """max(x - tau, 0) as Keras computes it.

    Keras adds up the running sums of the support, not its elements (`backend/*/nn.py: sparsemax`), so that the
    result is no projection onto the simplex, as that of the core op `sparsemax` is; files mean what Keras does.
    """
    size = x.shape[-1]
    if not isinstance(size, int):
        raise UnsupportedError(f"activation sparsemax needs a last axis of known size, got {size}")
    largest, _ = b.top_k(x, k=size, axis=-1)
    sums = b.cumsum(largest, axis=-1)
    number = b.constant(np.arange(1, size + 1).astype(x.tensor.dtype.numpy))
    support = b.greater(b.sub(largest, b.div(b.sub(sums, 1.0), number)), 0.0)
    total = b.reduce_sum(b.where(support, sums, np.array(0, x.tensor.dtype.numpy)), axes=(-1,), keepdims=True)
    count = b.reduce_sum(b.cast(support, to=x.tensor.dtype), axes=(-1,), keepdims=True)
    return b.relu(b.sub(x, b.div(b.sub(total, 1.0), count)))


FUNCTIONS: dict[str, Callable[[Builder, Var], Var]] = {
    "softmax": lambda b, x: b.softmax(x, axis=-1),
    "log_softmax": lambda b, x: b.log_softmax(x, axis=-1),
    "sparsemax": _sparsemax,
    "glu": _glu,
}


def check_activation(owner: Layer, key: str = "activation") -> None:
    """Refuse an activation that nobody knows."""
    value = getattr(owner, key)
    if value is None or callable(value) or isinstance(value, Layer) or value in ELEMENTWISE or value in FUNCTIONS:
        return
    owner.refuse(key, hint=f"pass it in custom_objects, or use one of {', '.join([*ELEMENTWISE, *FUNCTIONS])}")


def activate(b: Builder, x: Var, activation: Function, w: Scope) -> Var:
    """activation(x); an activation may be a name, a layer or a function f(b, x)."""
    if activation is None:
        return x
    if isinstance(activation, Layer):
        from .lowering import Value

        return w.call(activation, Value(x)).var
    if callable(activation):
        return activation(b, x)
    if activation in FUNCTIONS:
        return FUNCTIONS[activation](b, x)
    return b.activation(x, ELEMENTWISE[activation])


def elementwise(owner: Layer, key: str) -> Elementwise:
    """The activation of a recurrent cell, which has to be a function of one element."""
    value = getattr(owner, key)
    if isinstance(value, _Elementwise):
        return value.function()
    if not isinstance(value, str) or value not in ELEMENTWISE:
        owner.refuse(key, hint=f"in a recurrent layer, use one of {', '.join(ELEMENTWISE)}")
    return ELEMENTWISE[value]


# ---- layers ---------------------------------------------------------------------------------------------------


@layer
class Activation(Layer):
    """Apply an activation function."""

    activation: Function = "linear"
    supports_masking: ClassVar[bool] = True

    def check(self) -> None:
        check_activation(self)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return activate(b, x, self.activation, w)


class _Elementwise(Layer):
    """A layer that is one elementwise op."""

    supports_masking: ClassVar[bool] = True
    needs_float: ClassVar[bool] = True

    def function(self) -> Elementwise:
        """The op and its attributes."""
        raise NotImplementedError

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return b.activation(x, self.function())


@layer
class ReLU(_Elementwise):
    """negative_slope * (x - threshold) below the threshold, x above it, at most max_value."""

    max_value: float | None = None
    negative_slope: float = 0.0
    threshold: float = 0.0

    def check(self) -> None:
        self.negative_slope, self.threshold = float(self.negative_slope or 0), float(self.threshold or 0)

    def function(self) -> Elementwise:
        if self.threshold or (self.max_value is not None and self.negative_slope):
            self.refuse("threshold" if self.threshold else "max_value", hint="as the activation of a recurrent layer")
        if self.max_value is not None:
            return self._bounded()
        return _op("leaky_relu", negative_slope=self.negative_slope) if self.negative_slope else _op("relu")

    def _bounded(self) -> Elementwise:
        """x between 0 and max_value.  For 6 Keras takes relu6, else it clips a relu: a slope of 1 at max_value."""
        assert self.max_value is not None
        return _op("clip", low=0.0, high=float(self.max_value), open_low=True, open_high=self.max_value == 6)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        if not self.threshold and not (self.max_value is not None and self.negative_slope):
            return b.activation(x, self.function())
        if self.threshold:
            y = b.activation(x, _op("thresholded_relu", theta=self.threshold))
            y = y if self.max_value is None else b.clip(y, low=0.0, high=float(self.max_value))
        else:
            y = b.activation(x, self._bounded())
        if self.negative_slope:
            y = b.sub(y, b.mul(b.relu(b.sub(self.threshold, x) if self.threshold else b.neg(x)), self.negative_slope))
        return y


@layer
class LeakyReLU(_Elementwise):
    """x if x >= 0 else negative_slope * x."""

    negative_slope: float = 0.3

    def function(self) -> Elementwise:
        return _op("leaky_relu", negative_slope=float(self.negative_slope))


@layer
class ELU(_Elementwise):
    """x if x > 0 else alpha * (exp(x) - 1)."""

    alpha: float = 1.0

    def function(self) -> Elementwise:
        return _op("elu", alpha=float(self.alpha))


@layer
class ThresholdedReLU(_Elementwise):
    """x if x > theta else 0; a layer of Keras 1 and 2."""

    theta: float = 1.0

    def function(self) -> Elementwise:
        return _op("thresholded_relu", theta=float(self.theta))


@layer
class PReLU(Layer):
    """x if x >= 0 else alpha * x with a learned alpha for each place, shared along `shared_axes`."""

    alpha_initializer: Config = "zeros"
    alpha_regularizer: Config = None
    alpha_constraint: Config = None
    shared_axes: Any = None
    supports_masking: ClassVar[bool] = True
    needs_float: ClassVar[bool] = True

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shared = [self.shared_axes] if isinstance(self.shared_axes, int) else list(self.shared_axes or ())
        shape = list(inputs[0].dims[1:])
        for axis in shared:  # counted with the batch; as Keras does it, -1 is the axis before the last one
            if not -len(shape) < axis <= len(shape):
                raise self.invalid(f"shared_axes={self.shared_axes!r} of an input with {len(shape) + 1} axes")
            shape[axis - 1] = 1
        yield self.weight("alpha", tuple(shape))

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        return b.sub(b.relu(x), b.mul(w.alpha, b.relu(b.neg(x))))


@layer
class Softmax(Layer):
    """exp(x) / sum exp(x) over an axis or several; masked places take no part and become 0."""

    axis: Any = -1
    supports_masking: ClassVar[bool] = True
    needs_float: ClassVar[bool] = True

    def check(self) -> None:
        if self.axis is None:
            self.refuse("axis")

    def lower(self, b: Builder, x: Var, w: Scope, mask: Mask = None) -> Var:
        if mask is not None:
            x = b.where(mask, x, b.constant(-3e4 if x.tensor.dtype.name == "f16" else -1e9, dtype=x.tensor.dtype.numpy))
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        if len(axes) == 1:
            y = b.softmax(x, axis=axes[0])
        else:
            y = b.exp(b.sub(x, b.reduce_log_sum_exp(x, axes=axes, keepdims=True)))
        return b.where(mask, y, b.constant(0, dtype=y.tensor.dtype.numpy)) if mask is not None else y
