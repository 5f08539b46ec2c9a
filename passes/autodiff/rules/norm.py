"""Gradients of normalisation and softmax."""

from __future__ import annotations

from typing import Any

from ....ir import dims
from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.op import axes_of
from ....ir.ops.shape import BIG
from ..emit import dim, full_like, gate, shape_of, vector
from . import rule

Axes = tuple[int, ...]


@rule
def softmax(b: Builder, x: Var, g: Var, *, out: Var, axis: int) -> Any:
    """y (g - Σ g y)."""
    return b.mul(out, b.sub(g, b.reduce_sum(b.mul(g, out), axes=(axis,), keepdims=True)))


@rule
def log_softmax(b: Builder, x: Var, g: Var, *, out: Var, axis: int) -> Any:
    """g - exp(y) Σ g."""
    return b.sub(g, b.mul(b.exp(out), b.reduce_sum(g, axes=(axis,), keepdims=True)))


@rule
def sparsemax(b: Builder, x: Var, g: Var, *, out: Var, axis: int) -> Any:
    """g minus its mean over the places where y > 0; there only."""
    support = b.greater(out, 0)
    total = b.reduce_sum(gate(b, support, g), axes=(axis,), keepdims=True)
    mean = b.div(total, b.reduce_sum(b.cast_like(support, g), axes=(axis,), keepdims=True))
    return gate(b, support, b.sub(g, mean))


@rule
def batch_norm(
    b: Builder, x: Var, scale: Var | None, bias: Var | None, mean: Var, variance: Var, g: Var,
    *, axis: int, epsilon: float,
) -> tuple[Var | None, ...]:  # fmt: skip
    """With r = (variance + ε)^(-1/2) and s = Σ g, t = Σ g (x - mean) a channel: those of

    x: g r scale; scale: t r; bias: s; mean: -s r scale; variance: -t r³ scale / 2.
    """
    a = axis % len(x.shape)
    others = tuple(i for i in range(len(x.shape)) if i != a)
    behind = tuple(range(1, len(x.shape) - a))  # axes to be added to a number a channel

    def along(v: Var) -> Var:
        return b.unsqueeze(v, axes=behind) if behind else v

    r = b.rsqrt(b.add(variance, epsilon))
    factor = r if scale is None else b.mul(r, scale)
    s = b.reduce_sum(g, axes=others)
    t = b.reduce_sum(b.mul(g, b.sub(x, along(mean))), axes=others)
    return (
        b.mul(g, along(factor)),
        scale and b.mul(t, r),
        bias and s,
        b.neg(b.mul(s, factor)),
        b.mul(b.mul(b.mul(t, factor), b.square(r)), -0.5),
    )


def _normalized(b: Builder, x: Var, axes: Axes, epsilon: float, centred: bool = True) -> tuple[Var, Var]:
    """n = (x - mean) r, and r = (mean of (x - mean)² + ε)^(-1/2)."""
    if centred:
        x = b.sub(x, b.reduce_mean(x, axes=axes, keepdims=True))
    r = b.rsqrt(b.add(b.reduce_mean(b.square(x), axes=axes, keepdims=True), epsilon))
    return b.mul(x, r), r


def _through(b: Builder, n: Var, r: Var, g: Var, axes: Axes, centred: bool = True) -> Var:
    """The gradient of x from that of n: r (g - mean g - n mean(g n)); without the first mean if x was not centred."""
    inner = b.sub(g, b.mul(n, b.reduce_mean(b.mul(g, n), axes=axes, keepdims=True)))
    if centred:
        inner = b.sub(inner, b.reduce_mean(g, axes=axes, keepdims=True))
    return b.mul(r, inner)


@rule
def layer_norm(
    b: Builder, x: Var, scale: Var | None, bias: Var | None, g: Var, *, axes: Axes, epsilon: float
) -> tuple[Var | None, ...]:
    n, r = _normalized(b, x, axes, epsilon)
    return _through(b, n, r, g if scale is None else b.mul(g, scale), axes), scale and b.mul(g, n), bias and g


@rule
def rms_norm(b: Builder, x: Var, scale: Var | None, g: Var, *, axes: Axes, epsilon: float) -> tuple[Var | None, ...]:
    n, r = _normalized(b, x, axes, epsilon, centred=False)
    return _through(b, n, r, g if scale is None else b.mul(g, scale), axes, centred=False), scale and b.mul(g, n)


@rule
def group_norm(
    b: Builder, x: Var, scale: Var | None, bias: Var | None, g: Var, *, groups: int, axis: int, epsilon: float
) -> tuple[Var | None, ...]:
    """As layer_norm, the channels split into the axes (groups, channels of a group)."""
    rank, a = len(x.shape), axis % len(x.shape)
    entries = [dim(b, x, i) for i in range(rank)]
    members = x.shape[a] // groups if dims.known(x.shape[a]) else -1
    shape = vector(b, [*entries[:a], groups, members, *entries[a + 1 :]])
    axes = tuple(i for i in range(1, rank + 1) if i != a)
    behind = tuple(range(1, rank - a))

    def along(v: Var) -> Var:
        return b.unsqueeze(v, axes=behind) if behind else v

    n, r = _normalized(b, b.reshape(x, shape=shape), axes, epsilon)
    above = g if scale is None else b.mul(g, along(scale))
    dx = b.reshape(_through(b, n, r, b.reshape(above, shape=shape), axes), shape=shape_of(b, x))
    others = tuple(i for i in range(rank) if i != a)
    dscale = scale and b.reduce_sum(b.mul(g, b.reshape(n, shape=shape_of(b, x))), axes=others)
    return dx, dscale, bias and b.reduce_sum(g, axes=others)


@rule
def lrn(b: Builder, x: Var, g: Var, *, size: int, alpha: float, beta: float, bias: float, axis: int) -> Any:
    """With u = bias + α/size Σ x² over neighbours: g u^-β - 2 α β/size x Σ' g x u^(-β-1).

    Σ' is over the channels whose neighbour the channel is.
    """
    (a,) = axes_of((axis,), len(x.shape))
    before = (size - 1) // 2
    u = b.affine(_neighbours(b, b.square(x), before, size, a), alpha=alpha / size, beta=bias)
    scaled = b.mul(g, b.pow(u, -beta))
    inner = _neighbours(b, b.mul(scaled, b.div(x, u)), size - 1 - before, size, a)
    return b.sub(scaled, b.mul(b.mul(x, inner), 2 * alpha * beta / size))


def _neighbours(b: Builder, x: Var, before: int, size: int, axis: int) -> Var:
    """Σ of the `size` places along an axis that begin `before` places ahead; zeros stand around."""
    pads = tuple((before, size - 1 - before) if i == axis else (0, 0) for i in range(len(x.shape)))
    wide = b.pad(x, pads=pads)
    ends = [i - size + 1 or BIG for i in range(size)]
    parts = [b.slice(wide, starts=(i,), ends=(end,), axes=(axis,)) for i, end in enumerate(ends)]
    total: Var = parts[0]
    for part in parts[1:]:
        total = b.add(total, part)
    return total


@rule
def lp_norm(b: Builder, x: Var, g: Var, *, out: Var, axis: int, p: int, epsilon: float) -> Any:
    """(g - n' Σ g y) / n, with n' = sign(x) or x/n for p = 1 or 2; g / ε where the norm n is below ε; 0 for zeros."""
    n = (b.reduce_l1 if p == 1 else b.reduce_l2)(x, axes=(axis,), keepdims=True)
    slope = b.sign(x) if p == 1 else out
    inner = b.sub(g, b.mul(slope, b.reduce_sum(b.mul(g, out), axes=(axis,), keepdims=True)))
    some = b.greater(n, epsilon)
    usual = gate(b, some, b.div(inner, b.where(some, n, full_like(b, n, 1))))
    return b.where(some, usual, b.mul(g, 1 / epsilon)) if epsilon else usual
