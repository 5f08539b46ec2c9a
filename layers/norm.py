"""Normalisation layers.  They compute in at least float32, and cast the result to the compute dtype."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Tensor, Var
from .base import Config, Layer, Mask, Weight, as_dtype, layer
from .merge import normalized

if TYPE_CHECKING:
    from .lowering import Scope


def _wide(b: Builder, x: Var) -> Var:
    """x in float32, unless it is wider."""
    return x if x.tensor.dtype.name == "f64" else as_dtype(b, x, "float32")


def _square_root(x: Any) -> None:
    np.sqrt(x, out=x)


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
    own_result: ClassVar[bool] = True
    supports_masking: ClassVar[bool] = True
    couples_samples: ClassVar[bool] = True

    def check(self) -> None:
        if isinstance(self.axis, (list, tuple)) and len(self.axis) == 1:  # Keras 2 wrote a list
            self.axis = self.axis[0]
        if not isinstance(self.axis, int):
            self.refuse("axis")

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (inputs[0].dims[self.axis],)
        if self.scale:
            yield self.weight("gamma", shape, autocast=False)
        if self.center:
            yield self.weight("beta", shape, autocast=False)
        yield Weight("moving_mean", shape, self.moving_mean_initializer, trainable=False, autocast=False)
        yield Weight("moving_variance", shape, self.moving_variance_initializer, trainable=False, autocast=False)
        if self.renorm:
            for name, first in (("moving_stddev", self.moving_variance_initializer),
                                ("renorm_mean", self.moving_mean_initializer),
                                ("renorm_stddev", self.moving_variance_initializer)):  # fmt: skip
                adjust = _square_root if name.endswith("stddev") else None
                yield Weight(name, shape, first, trainable=False, autocast=False, adjust=adjust)

    def lower(self, b: Builder, x: Var, w: Scope, mask: Mask = None) -> Var:
        x = _wide(b, x)
        scale = b.cast_like(w.gamma, x) if self.scale else None
        bias = b.cast_like(w.beta, x) if self.center else None
        if w.training and w.trainable:
            mean, variance = self._moments(b, x, mask)
            if self.renorm:
                scale, bias = self._renormalised(b, w, mean, variance, scale, bias)
            else:
                self._move(b, w, self.momentum, moving_mean=mean, moving_variance=variance)
        else:
            mean, variance = b.cast_like(w.moving_mean, x), b.cast_like(w.moving_variance, x)
        y = b.batch_norm(x, scale, bias, mean, variance, axis=self.axis, epsilon=float(self.epsilon))
        return as_dtype(b, y, self.compute_dtype)

    def _moments(self, b: Builder, x: Var, mask: Mask) -> tuple[Var, Var]:
        """Mean and variance of the batch, a number a channel each; masked places do not count."""
        rank = len(x.shape)
        axes = tuple(a for a in range(rank) if a != self.axis % rank)
        if mask is None:
            return b.reduce_mean(x, axes=axes), b.reduce_variance(x, axes=axes)
        kept = b.expand(b.unsqueeze(as_dtype(b, mask, "bool"), axes=(-1,)), shape=x.shape)
        zero = b.constant(0, dtype=x.tensor.dtype.numpy)

        def mean(v: Var) -> Var:
            """Over the places kept; 1e-7 is Keras' epsilon, against a batch that is masked throughout."""
            return b.div(b.reduce_sum(b.where(kept, v, zero), axes=axes, keepdims=True), total)  # type: ignore[no-any-return]

        total = b.add(b.reduce_sum(b.cast_like(kept, x), axes=axes, keepdims=True), 1e-7)
        average = mean(x)
        variance = mean(b.square(b.sub(x, average)))
        return b.squeeze(average, axes=axes), b.squeeze(variance, axes=axes)

    def _move(self, b: Builder, w: Scope, momentum: float, **targets: Var) -> None:
        """Move averages towards what the batch has."""
        for name, target in targets.items():
            average = b.cast_like(getattr(w, name), target)
            w.assign(name, b.add(b.mul(average, momentum), b.mul(b.stop_gradient(target), 1.0 - momentum)))

    def _renormalised(
        self, b: Builder, w: Scope, mean: Var, variance: Var, scale: Var | None, bias: Var | None
    ) -> tuple[Var, Var]:
        """Scale and bias with the corrections r and d of batch renormalisation (Ioffe 2017), which are constants."""
        clip = self.renorm_clipping or {}
        stddev = b.sqrt(b.add(variance, float(self.epsilon)))
        kept = b.maximum(b.cast_like(w.renorm_stddev, mean), float(np.sqrt(np.float32(self.epsilon))))
        r = b.clip(b.div(stddev, kept), low=clip.get("rmin"), high=clip.get("rmax"))
        d = b.div(b.sub(mean, b.cast_like(w.renorm_mean, mean)), kept)
        if clip.get("dmax") is not None:
            d = b.clip(d, low=-float(clip["dmax"]), high=float(clip["dmax"]))
        self._move(b, w, self.renorm_momentum, renorm_mean=mean, renorm_stddev=stddev)
        self._move(b, w, self.momentum, moving_mean=mean, moving_stddev=stddev)
        moved = b.square(w.moving_stddev)
        w.assign("moving_variance", b.relu(b.sub(moved, float(self.epsilon))))
        r, d = b.stop_gradient(r), b.stop_gradient(d)
        new_scale = r if scale is None else b.mul(r, scale)
        new_bias = d if scale is None else b.mul(d, scale)
        return new_scale, new_bias if bias is None else b.add(new_bias, bias)


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
    own_result: ClassVar[bool] = True
    supports_masking: ClassVar[bool] = True
    autocast: ClassVar[bool] = False

    def axes(self, rank: int) -> tuple[int, ...]:
        """The normalised axes, counted from the front, sorted."""
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        return tuple(sorted(a % rank for a in axes))

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = tuple(inputs[0].dims[a] for a in self.axes(inputs[0].rank))
        if self.scale or self.rms_scaling:
            yield self.weight("gamma", shape)
        if self.center and not self.rms_scaling:
            yield self.weight("beta", shape)

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
    own_result: ClassVar[bool] = True
    supports_masking: ClassVar[bool] = True
    autocast: ClassVar[bool] = False

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (inputs[0].dims[self.axis],)
        if self.scale:
            yield self.weight("gamma", shape)
        if self.center:
            yield self.weight("beta", shape)

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
