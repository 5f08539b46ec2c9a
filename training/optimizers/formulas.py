"""What the rules of several optimisers share."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import Builder, Var
from .rows import squared

Slots = dict[str, Var]


def number(b: Builder, value: float, like: Var) -> Var:
    """A scalar constant in the dtype of another value."""
    return b.constant(np.array(value, like.tensor.dtype.numpy))


def rest(value: float, like: Var) -> float:
    """1 - value, the value rounded to the dtype of `like` first, as Keras does where it casts its betas."""
    return float(1 - like.tensor.dtype.numpy.type(value))


def towards(b: Builder, old: Var, new: Var, share: float) -> Var:
    """old + (new - old) * share: a moving average."""
    return b.add(old, b.mul(b.sub(new, old), share))


def weighted(b: Builder, old: Var, old_weight: Any, new: Var, new_weight: Any) -> Var:
    """old * old_weight + new * new_weight."""
    return b.add(b.mul(old, old_weight), b.mul(new, new_weight))


def one_minus_power(b: Builder, beta: float, t: Var) -> Var:
    """1 - beta^t: how far a moving average that began at 0 has come."""
    return b.sub(1, b.pow(beta, t))


def rms(b: Builder, x: Var) -> Var:
    """The root of the mean square of all elements, a scalar."""
    return b.sqrt(b.reduce_mean(b.square(x)))


def adam_rate(b: Builder, lr: Var, t: Var, beta_1: float, beta_2: float) -> Var:
    """lr * sqrt(1 - beta_2^t) / (1 - beta_1^t); Kingma & Ba 2014, the form before section 2.1."""
    return b.div(b.mul(lr, b.sqrt(one_minus_power(b, beta_2, t))), one_minus_power(b, beta_1, t))


def moments(b: Builder, g: Var, slots: Slots, beta_1: float, beta_2: float) -> tuple[Var, Var]:
    """Moving averages of the gradient and of its square."""
    m = towards(b, slots["momentum"], g, 1 - beta_1)
    return m, towards(b, slots["velocity"], squared(b, g), 1 - beta_2)


def adam_step(b: Builder, p: Var, m: Var, v: Var, alpha: Var, epsilon: float) -> Var:
    """p - m * alpha / (sqrt(v) + epsilon)."""
    return b.sub(p, b.div(b.mul(m, alpha), b.add(b.sqrt(v), epsilon)))
