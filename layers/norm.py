"""Normalisation layers.  They compute in at least float32, and cast the result to the compute dtype."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from ..ir import Builder, Tensor, Var
from .base import Config, Layer, Weight, as_dtype, layer
from .merge import normalized

if TYPE_CHECKING:
    from .lowering import Scope


def _wide(b: Builder, x: Var) -> Var:
    """x in float32, unless it is wider."""
    return x if x.tensor.dtype.name == "f64" else as_dtype(b, x, "float32")


@layer
class BatchNormalization(Layer):
    """(x - moving_mean) / sqrt(moving_variance + epsilon) * gamma + beta along an axis."""

    axis: Any = -1
    momentum: float = 0.99
    epsilon: float = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Config = "zeros"
    gamma_initializer: Config = "ones"
    moving_mean_initializer: Config = "zeros"
    moving_variance_initializer: Config = "ones"
    beta_regularizer: Config = None
    gamma_regularizer: Config = None
    beta_constraint: Config = None
    gamma_constraint: Config = None
    renorm: bool = False  # another way to train; the same moving statistics at inference
    renorm_clipping: Config = None
    renorm_momentum: float = 0.99
    synchronized: bool = False
    supports_masking: ClassVar[bool] = True

    def check(self) -> None:
        if isinstance(self.axis, (list, tuple)) and len(self.axis) == 1:  # Keras 2 wrote a list
            self.axis = self.axis[0]
        if not isinstance(self.axis, int):
            self.refuse("axis")

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (inputs[0].dims[self.axis],)
        if self.scale:
            yield Weight("gamma", shape, self.gamma_initializer, regularizer=self.gamma_regularizer, autocast=False)
        if self.center:
            yield Weight("beta", shape, self.beta_initializer, regularizer=self.beta_regularizer, autocast=False)
        yield Weight("moving_mean", shape, self.moving_mean_initializer, trainable=False, autocast=False)
        yield Weight("moving_variance", shape, self.moving_variance_initializer, trainable=False, autocast=False)
        if self.renorm:
            yield Weight("moving_stddev", shape, "ones", trainable=False, autocast=False)
            yield Weight("renorm_mean", shape, "zeros", trainable=False, autocast=False)
            yield Weight("renorm_stddev", shape, "ones", trainable=False, autocast=False)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        x = _wide(b, x)
        scale = b.cast_like(w.gamma, x) if self.scale else None
        bias = b.cast_like(w.beta, x) if self.center else None
        mean, variance = b.cast_like(w.moving_mean, x), b.cast_like(w.moving_variance, x)
        y = b.batch_norm(x, scale, bias, mean, variance, axis=self.axis, epsilon=float(self.epsilon))
        return as_dtype(b, y, self.compute_dtype)


@layer
class LayerNormalization(Layer):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over `axis` of each sample.

    rms_scaling (deprecated in Keras): x / sqrt(variance + epsilon) * gamma, the variance about the mean.
    """

    axis: Any = -1
    epsilon: float = 0.001
    center: bool = True
    scale: bool = True
    rms_scaling: bool = False
    beta_initializer: Config = "zeros"
    gamma_initializer: Config = "ones"
    beta_regularizer: Config = None
    gamma_regularizer: Config = None
    beta_constraint: Config = None
    gamma_constraint: Config = None
    supports_masking: ClassVar[bool] = True
    autocast: ClassVar[bool] = False

    def axes(self, rank: int) -> tuple[int, ...]:
        """The normalised axes, counted from the front, sorted."""
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        return tuple(sorted(a % rank for a in axes))

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = tuple(inputs[0].dims[a] for a in self.axes(inputs[0].rank))
        if self.scale or self.rms_scaling:
            yield Weight("gamma", shape, self.gamma_initializer, regularizer=self.gamma_regularizer)
        if self.center and not self.rms_scaling:
            yield Weight("beta", shape, self.beta_initializer, regularizer=self.beta_regularizer)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        x = _wide(b, x)
        rank = len(x.shape)
        axes = self.axes(rank)
        broadcast = tuple(x.shape[i] if i in axes else 1 for i in range(rank))[min(axes) :]

        def spread(v: Var) -> Var:
            return b.reshape(b.cast_like(v, x), shape=broadcast)

        gamma = spread(w.gamma) if self.scale or self.rms_scaling else None
        if self.rms_scaling:
            inverse = b.rsqrt(b.add(b.reduce_variance(x, axes=axes, keepdims=True), float(self.epsilon)))
            y = b.mul(b.mul(x, inverse), gamma)
        else:
            beta = spread(w.beta) if self.center else None
            y = b.layer_norm(x, gamma, beta, axes=axes, epsilon=float(self.epsilon))
        return as_dtype(b, y, self.compute_dtype)


@layer
class RMSNormalization(Layer):
    """x / sqrt(mean(x^2) + epsilon) * scale over `axis`."""

    axis: Any = -1
    epsilon: float = 1e-6

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        axes = [self.axis] if isinstance(self.axis, int) else sorted(a % inputs[0].rank for a in self.axis)
        yield Weight("scale", tuple(inputs[0].dims[a] for a in axes), "ones")

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        rank = len(x.shape)
        axes = sorted(a % rank for a in ([self.axis] if isinstance(self.axis, int) else self.axis))
        broadcast = tuple(x.shape[i] if i in axes else 1 for i in range(rank))[min(axes) :]
        scale = b.reshape(w.scale, shape=broadcast)
        return b.rms_norm(x, scale, axes=tuple(axes), epsilon=float(self.epsilon))


@layer
class GroupNormalization(Layer):
    """Channels in `groups` (-1: one each), each group normalised over its channels and all spatial axes."""

    groups: int = 32
    axis: int = -1
    epsilon: float = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Config = "zeros"
    gamma_initializer: Config = "ones"
    beta_regularizer: Config = None
    gamma_regularizer: Config = None
    beta_constraint: Config = None
    gamma_constraint: Config = None
    supports_masking: ClassVar[bool] = True
    autocast: ClassVar[bool] = False

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (inputs[0].dims[self.axis],)
        if self.scale:
            yield Weight("gamma", shape, self.gamma_initializer, regularizer=self.gamma_regularizer)
        if self.center:
            yield Weight("beta", shape, self.beta_initializer, regularizer=self.beta_regularizer)

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        x = _wide(b, x)
        groups = x.shape[self.axis] if self.groups == -1 else self.groups
        scale = b.cast_like(w.gamma, x) if self.scale else None
        bias = b.cast_like(w.beta, x) if self.center else None
        y = b.group_norm(x, scale, bias, groups=groups, axis=self.axis, epsilon=float(self.epsilon))
        return as_dtype(b, y, self.compute_dtype)


@layer
class UnitNormalization(Layer):
    """x / its Euclidean norm over `axis`."""

    axis: Any = -1
    supports_masking: ClassVar[bool] = True
    needs_float: ClassVar[bool] = True

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        axes = [self.axis] if isinstance(self.axis, int) else self.axis
        return normalized(b, x, axes, epsilon=1e-12)
