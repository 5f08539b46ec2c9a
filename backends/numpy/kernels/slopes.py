"""Derivatives of the activations of recurrent layers, from what went in and what came out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.attributes import Activation
from ....ir.ops.elementwise import UNARY as DECLARED
from ..registry import Array
from .elementwise import activate


def _of(name: str, x: Array) -> Array:
    """An activation without attributes, of a copy of x."""
    copy = x.copy()
    call = activate(Activation(name))
    assert call is not None
    call(copy)
    return copy


def _gelu(x: Array, y: Array, *, approximate: bool) -> Array:
    """Phi(x) + x phi(x); or, t being the tanh of u(x): (1 + t) / 2 + x (1 - t^2) u'(x) / 2."""
    if not approximate:
        return _of("erf", x * math.sqrt(0.5)) / 2 + 0.5 + x * np.exp(x * x / -2) / math.sqrt(2 * math.pi)
    scale = math.sqrt(2 / math.pi)
    t = np.tanh(scale * (x + 0.044715 * x * x * x))
    return (1 + t) / 2 + x * (1 - t * t) * (scale * (1 + 3 * 0.044715 * x * x)) / 2


def _silu(x: Array, y: Array, *, beta: float) -> Array:
    """s + beta x s (1 - s), s = sigmoid(beta x)."""
    s = _of("sigmoid", x * beta)
    return s + beta * x * s * (1 - s)


def _mish(x: Array, y: Array) -> Array:
    """t + x sigmoid(x) (1 - t^2), t = tanh(softplus(x))."""
    t = np.tanh(_of("softplus", x))
    return t + x * _of("sigmoid", x) * (1 - t * t)


def _bounds(x: Array, y: Array, *, low: float | None, high: float | None, open_low: bool, open_high: bool) -> Array:
    """1 within the bounds and on those that are not open."""
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return (np.greater if open_low else np.greater_equal)(x, low) & (np.less if open_high else np.less_equal)(x, high)


# name: the derivative at x, where the activation is y.  Edges as TensorFlow chooses them.
DERIVATIVES: dict[str, Callable[..., Any]] = {
    "linear": lambda x, y: np.ones_like(y),
    "neg": lambda x, y: np.full_like(y, -1),
    "abs": lambda x, y: np.sign(x),
    "square": lambda x, y: 2 * x,
    "exp": lambda x, y: y,
    "sin": lambda x, y: np.cos(x),
    "cos": lambda x, y: -np.sin(x),
    "relu": lambda x, y: y > 0,
    "sigmoid": lambda x, y: y * (1 - y),
    "tanh": lambda x, y: 1 - y * y,
    "softplus": lambda x, y: -np.expm1(-y),
    "softsign": lambda x, y: np.square(1 - np.abs(y)),
    "leaky_relu": lambda x, y, negative_slope: np.where(x > 0, y.dtype.type(1), y.dtype.type(negative_slope)),
    "elu": lambda x, y, alpha: np.where(x > 0, y.dtype.type(1), y + alpha),
    "selu": lambda x, y, alpha, scale: np.where(x > 0, y.dtype.type(scale), y + alpha * scale),
    "celu": lambda x, y, alpha: (x >= 0) + (y / alpha + 1) * (x <= 0),
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "hard_sigmoid": lambda x, y, alpha, beta: ((y > 0) & (y < 1)) * y.dtype.type(alpha),
    "affine": lambda x, y, alpha, beta: np.full_like(y, alpha),
    "scaled_tanh": lambda x, y, alpha, beta: alpha * beta - (beta / alpha) * y * y,
    "hard_silu": lambda x, y: np.where(np.abs(x) < 3, x / 3 + 0.5, x >= 3),
    "thresholded_relu": lambda x, y, theta: x > theta,
    "clip": _bounds,
    "log_sigmoid": lambda x, y: -np.expm1(y),
    "soft_shrink": lambda x, y, threshold: np.abs(x) > threshold,
    "hard_shrink": lambda x, y, threshold: np.abs(x) > threshold,
    "shrink": lambda x, y, bias, lambd: np.abs(x) > lambd,
    "tanh_shrink": lambda x, y: np.square(np.tanh(x)),
    "squareplus": lambda x, y, b: (x / np.sqrt(x * x + b) + 1) / 2,
    "sparse_plus": lambda x, y: np.where(x < 1, np.clip(x + 1, 0, 2) / 2, y.dtype.type(1)),
    "sparse_sigmoid": lambda x, y: ((x > -1) & (x < 1)) * y.dtype.type(0.5),
}


def slope(activation: Activation, clip: float | None, x: Array, y: Array) -> Array:
    """The derivative of activation(x, clipped to [-clip, clip]) = y: 0 beyond the clip."""
    attrs = {**DECLARED[activation.name][1], **dict(activation.attrs)} if activation else {}
    if clip is None:
        return np.asarray(DERIVATIVES[activation.name](x, y, **attrs))
    found = DERIVATIVES[activation.name](np.clip(x, -clip, clip), y, **attrs)
    return np.asarray(found * (np.abs(x) <= clip))


# the most frequent ones, without memory of their own
INTO: dict[str, Callable[[Array, Array], Any]] = {
    "sigmoid": lambda y, out: np.multiply(np.subtract(1, y, out), y, out),
    "tanh": lambda y, out: np.subtract(1, np.multiply(y, y, out), out),
}


def slope_into(activation: Activation, clip: float | None, x: Array, y: Array, out: Array) -> None:
    """out = the derivative of activation(x, clipped to [-clip, clip]) = y."""
    if clip is None and activation.name in INTO:
        INTO[activation.name](y, out)
    else:
        out[...] = slope(activation, clip, x, y)
