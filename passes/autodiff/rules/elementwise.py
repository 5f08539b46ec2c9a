"""Gradients of elementwise ops; where there are several sub-gradients, the one that TensorFlow takes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from ....ir.builder import Builder
from ....ir.graph import Var
from ..emit import full_like, gate
from . import rule

Pair = tuple[Var, Var]

# ---- functions of one element --------------------------------------------------------------------------------


def _normal_density(b: Builder, x: Var) -> Var:
    """exp(-x²/2) / sqrt(2π)."""
    return b.mul(b.exp(b.mul(b.square(x), -0.5)), 1 / math.sqrt(2 * math.pi))


def _gelu(b: Builder, x: Var, *, approximate: bool) -> Var:
    """Φ(x) + x φ(x); or, with t = tanh(u), u = c (x + a x³): (1 + t)/2 + x/2 (1 - t²) u'."""
    if not approximate:
        below = b.mul(b.add(b.erf(b.mul(x, math.sqrt(0.5))), 1), 0.5)
        return b.add(below, b.mul(x, _normal_density(b, x)))
    c, a, square = math.sqrt(2 / math.pi), 0.044715, b.square(x)
    t = b.tanh(b.mul(b.mul(x, b.affine(square, alpha=a, beta=1.0)), c))
    slope = b.mul(_one_minus(b, b.square(t)), b.affine(square, alpha=3 * a * c, beta=c))
    return b.mul(b.add(b.add(t, 1), b.mul(x, slope)), 0.5)


def _one_minus(b: Builder, x: Var) -> Var:
    return b.affine(x, alpha=-1.0, beta=1.0)


def _mish(b: Builder, x: Var) -> Var:
    """t + x (1 - t²) sigmoid(x), with t = tanh(softplus(x))."""
    t = b.tanh(b.softplus(x))
    return b.add(t, b.mul(b.mul(x, _one_minus(b, b.square(t))), b.sigmoid(x)))


# op name -> derivative in x: the gradient is multiplied by it
FACTORS: dict[str, Callable[..., Any]] = {
    "abs": lambda b, x: b.sign(x),
    "square": lambda b, x: b.mul(x, 2),
    "exp": lambda b, x, *, out: out,
    "expm1": lambda b, x: b.exp(x),
    "log": lambda b, x: b.reciprocal(x),
    "log1p": lambda b, x: b.reciprocal(b.add(x, 1)),
    "sin": lambda b, x: b.cos(x),
    "cos": lambda b, x: b.neg(b.sin(x)),
    "tan": lambda b, x, *, out: b.add(b.square(out), 1),
    "asin": lambda b, x: b.rsqrt(_one_minus(b, b.square(x))),
    "acos": lambda b, x: b.neg(b.rsqrt(_one_minus(b, b.square(x)))),
    "atan": lambda b, x: b.reciprocal(b.add(b.square(x), 1)),
    "sinh": lambda b, x: b.cosh(x),
    "cosh": lambda b, x: b.sinh(x),
    "asinh": lambda b, x, *, out: b.reciprocal(b.cosh(out)),
    "acosh": lambda b, x, *, out: b.reciprocal(b.sinh(out)),
    "atanh": lambda b, x: b.reciprocal(_one_minus(b, b.square(x))),
    "erf": lambda b, x: b.mul(b.exp(b.neg(b.square(x))), 2 / math.sqrt(math.pi)),
    "sigmoid": lambda b, x, *, out: b.mul(out, _one_minus(b, out)),
    "tanh": lambda b, x, *, out: _one_minus(b, b.square(out)),
    "softplus": lambda b, x: b.sigmoid(x),
    "softsign": lambda b, x: b.reciprocal(b.square(b.add(b.abs(x), 1))),
    "gelu": _gelu,
    # s (1 + β (x - x s)), with s = sigmoid(β x)
    "silu": lambda b, x, *, out, beta: b.mul(
        b.sigmoid(b.mul(x, beta)), b.affine(b.sub(x, out), alpha=beta, beta=1.0)),
    "mish": _mish,
    "scaled_tanh": lambda b, x, *, alpha, beta: b.mul(
        _one_minus(b, b.square(b.tanh(b.mul(x, beta)))), alpha * beta),
    "log_sigmoid": lambda b, x: b.sigmoid(b.neg(x)),
    "tanh_shrink": lambda b, x: b.square(b.tanh(x)),
    "squareplus": lambda b, x, *, b_: b.mul(b.add(b.mul(x, b.rsqrt(b.add(b.square(x), b_))), 1), 0.5),
    "sparse_plus": lambda b, x: b.sparse_sigmoid(x),
}  # fmt: skip

# the same, where an infinite derivative times a gradient of 0 counts as 0, as in TensorFlow
STEEP: dict[str, Callable[..., Any]] = {
    "sqrt": lambda b, x, *, out: b.div(0.5, out),
    "rsqrt": lambda b, x, *, out: b.mul(b.mul(b.square(out), out), -0.5),
    "reciprocal": lambda b, x, *, out: b.neg(b.square(out)),
}

# op name -> where the derivative is 1; elsewhere it is 0
GATES: dict[str, Callable[..., Any]] = {
    "relu": lambda b, x, *, out: b.greater(out, 0),
    "thresholded_relu": lambda b, x, *, theta: b.greater(x, theta),
    "soft_shrink": lambda b, x, *, threshold: b.greater(b.abs(x), threshold),
    "hard_shrink": lambda b, x, *, threshold: b.greater(b.abs(x), threshold),
    "shrink": lambda b, x, *, lambd: b.logical_or(b.less(x, -lambd), b.greater(x, lambd)),
}

# op name -> its gradient, for derivatives that are different functions in different places
PIECES: dict[str, Callable[..., Any]] = {
    "neg": lambda b, x, g: b.neg(g),
    "sign": lambda b, x, g: full_like(b, x, 0),
    "affine": lambda b, x, g, *, alpha: b.mul(g, alpha),
    "leaky_relu": lambda b, x, g, *, negative_slope: b.where(b.greater(x, 0), g, b.mul(g, negative_slope)),
    "elu": lambda b, x, g, *, out, alpha: b.where(b.greater(x, 0), g, b.mul(g, b.add(out, alpha))),
    "selu": lambda b, x, g, *, out, alpha, scale: b.where(
        b.less(out, 0), b.mul(g, b.add(out, alpha * scale)), b.mul(g, scale)),
    # Keras adds max(x, 0) and a function of min(x, 0), both of which have the slope 1 at 0
    "celu": lambda b, x, g, *, out, alpha: b.add(
        gate(b, b.greater_equal(x, 0), g),
        gate(b, b.less_equal(x, 0), b.mul(g, b.affine(out, alpha=1 / alpha, beta=1.0)))),
    "hard_sigmoid": lambda b, x, g, *, out, alpha: gate(b, _inside(b, out, 0, 1), b.mul(g, alpha)),
    "sparse_sigmoid": lambda b, x, g: gate(b, _inside(b, x, -1, 1), b.mul(g, 0.5)),
    "hard_silu": lambda b, x, g: b.add(
        b.mul(g, b.hard_sigmoid(x, alpha=1 / 6, beta=0.5)), gate(b, _inside(b, x, -3, 3), b.mul(g, b.mul(x, 1 / 6)))),
}  # fmt: skip


def _inside(b: Builder, x: Var, low: float, high: float) -> Var:
    """Where low < x < high."""
    return b.logical_and(b.greater(x, low), b.less(x, high))


def _by_factor(derivative: Callable[..., Any], b: Builder, x: Var, g: Var, **given: Any) -> Var:
    return b.mul(g, derivative(b, x, **given))


def _by_steep(derivative: Callable[..., Any], b: Builder, x: Var, g: Var, **given: Any) -> Var:
    d = derivative(b, x, **given)
    stopped = b.logical_and(b.is_inf(d), b.equal(g, 0))
    return b.mul(g, b.where(stopped, full_like(b, d, 0), d))  # type: ignore[no-any-return]


def _by_gate(condition: Callable[..., Any], b: Builder, x: Var, g: Var, **given: Any) -> Var:
    return gate(b, condition(b, x, **given), g)


def _keywords(call: Callable[..., Any]) -> list[str]:
    return [p.name for p in inspect.signature(call).parameters.values() if p.kind is p.KEYWORD_ONLY]


for _table, _how in ((FACTORS, _by_factor), (STEEP, _by_steep), (GATES, _by_gate)):
    for _name, _call in _table.items():
        rule(partial(_how, _call), _name, _keywords(_call))
for _name, _call in PIECES.items():
    rule(_call, _name)


@rule
def clip(
    b: Builder, x: Var, g: Var, *, low: float | Var | None, high: float | Var | None, open_low: bool, open_high: bool
) -> Var:
    """1 between the bounds, and on those that are not open (as tf.clip_by_value; relu6 has open bounds)."""
    above, below = b.less_equal if open_low else b.less, b.greater_equal if open_high else b.greater
    for outside, bound in ((above, low), (below, high)):
        if bound is not None:
            g = gate(b, b.logical_not(outside(x, bound)), g)
    return g


# ---- functions of two elements -------------------------------------------------------------------------------


@rule
def add(b: Builder, x: Var, y: Var, g: Var) -> Pair:
    return g, g


@rule
def sub(b: Builder, x: Var, y: Var, g: Var) -> Pair:
    return g, b.neg(g)


@rule
def mul(b: Builder, x: Var, y: Var, g: Var) -> Pair:
    return b.mul(g, y), b.mul(g, x)


@rule
def div(b: Builder, x: Var, y: Var, g: Var, *, out: Var) -> Pair:
    """1/y, and -x/y² = -(x/y)/y."""
    return b.div(g, y), b.neg(b.div(b.mul(g, out), y))


@rule
def mod(b: Builder, x: Var, y: Var, g: Var) -> Pair:
    """Of x - y floor(x/y), the floor taken as constant."""
    return g, b.neg(b.mul(g, b.floor_div(x, y)))


@rule
def fmod(b: Builder, x: Var, y: Var, g: Var, *, out: Var) -> Pair:
    """Of x - y trunc(x/y); the cut quotient is (x - out) / y, rounded because that is a whole number."""
    return g, b.neg(b.mul(g, b.round(b.div(b.sub(x, out), y))))


@rule
def maximum(b: Builder, x: Var, y: Var, g: Var) -> Pair:
    """All to x where both are equal."""
    return _choice(b, b.greater_equal(x, y), g)


@rule
def minimum(b: Builder, x: Var, y: Var, g: Var) -> Pair:
    """All to x where both are equal."""
    return _choice(b, b.less_equal(x, y), g)


def _choice(b: Builder, first: Var, g: Var) -> Pair:
    return gate(b, first, g), gate(b, b.logical_not(first), g)


@rule
def atan2(b: Builder, y: Var, x: Var, g: Var) -> Pair:
    """(x, -y) / (x² + y²)."""
    scaled = b.div(g, b.add(b.square(x), b.square(y)))
    return b.mul(scaled, x), b.neg(b.mul(scaled, y))


@rule
def pow(b: Builder, x: Var, y: Var, g: Var, *, out: Var) -> tuple[Var, Var | None]:
    """d x^y = y x^(y-1) dx + log(x) x^y dy, where the logarithm of what is not above 0 counts as 0."""
    exponent = b.cast_like(y, x)
    dx = b.mul(g, b.mul(exponent, b.pow(x, b.sub(exponent, 1))))
    if not y.tensor.dtype.is_float:
        return dx, None
    positive = b.greater(x, 0)
    log = gate(b, positive, b.log(b.where(positive, x, b.constant(1, dtype=x.tensor.dtype.numpy))))
    return dx, b.mul(g, b.mul(log, out))


# ---- the others ----------------------------------------------------------------------------------------------


@rule
def where(b: Builder, condition: Var, x: Var, y: Var, g: Var) -> tuple[Var | None, ...]:
    return None, *_choice(b, condition, g)


@rule
def cast(b: Builder, x: Var, g: Var) -> Any:
    return b.cast_like(g, x)


@rule
def identity(b: Builder, x: Var, g: Var) -> Any:
    return g
