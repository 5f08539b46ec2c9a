"""Gradients of reductions and running sums.

In all of them g is first brought into a shape that broadcasts against x.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ....ir import dims
from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.op import axes_of
from ..emit import count, dim, full_like, gate, shape_of, spread, vector, zero
from . import rule

Axes = tuple[int, ...]


def _mean(b: Builder, x: Var, g: Var, y: Var, axes: Axes) -> Var:
    return b.expand(b.div(g, count(b, x, axes)), shape=shape_of(b, x))


def _extreme(b: Builder, x: Var, g: Var, y: Var, axes: Axes) -> Var:
    """Equal parts to all that are largest."""
    chosen = b.equal(x, y)
    ties = b.reduce_sum(b.cast_like(chosen, g), axes=axes, keepdims=True)
    return gate(b, chosen, b.div(g, ties))


def _prod(b: Builder, x: Var, g: Var, y: Var, axes: Axes) -> Var:
    """The product of all others: of those before and of those behind, which holds for zeros too."""
    if len(axes) == 1:
        return b.mul(g, _others(b, x, axes[0]))
    kept = tuple(i for i in range(len(x.shape)) if i not in axes)
    perm = (*kept, *axes)
    turned = b.transpose(x, perm=perm)
    product = dims.product(x.shape[a] for a in axes)
    flat = b.reshape(turned, shape=vector(b, [*(dim(b, x, i) for i in kept), product if dims.known(product) else -1]))
    others = b.reshape(_others(b, flat, len(kept)), shape=shape_of(b, turned))
    return b.mul(g, b.transpose(others, perm=tuple(perm.index(i) for i in range(len(perm)))))


def _others(b: Builder, x: Var, axis: int) -> Var:
    return b.mul(b.cumprod(x, axis=axis, exclusive=True), b.cumprod(x, axis=axis, exclusive=True, reverse=True))


def _variance(b: Builder, x: Var, g: Var, y: Var, axes: Axes) -> Var:
    """2 (x - mean) / count."""
    centred = b.sub(x, b.reduce_mean(x, axes=axes, keepdims=True))
    return b.mul(centred, b.div(b.mul(g, 2), count(b, x, axes)))


def _l2(b: Builder, x: Var, g: Var, y: Var, axes: Axes) -> Var:
    """x / |x|, 0 for zeros."""
    some = b.greater(y, 0)
    return b.mul(x, gate(b, some, b.div(g, b.where(some, y, full_like(b, y, 1)))))


# op name -> gradient, from x, g and the result y, the latter two with all axes of x
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_sum": lambda b, x, g, y, axes: b.expand(g, shape=shape_of(b, x)),
    "reduce_mean": _mean,
    "reduce_max": _extreme,
    "reduce_min": _extreme,
    "reduce_prod": _prod,
    "reduce_variance": _variance,
    "reduce_l1": lambda b, x, g, y, axes: b.mul(g, b.sign(x)),
    "reduce_l2": _l2,
    "reduce_sum_square": lambda b, x, g, y, axes: b.mul(b.mul(g, 2), x),
    "reduce_log_sum": lambda b, x, g, y, axes: b.expand(b.div(g, b.exp(y)), shape=shape_of(b, x)),
    "reduce_log_sum_exp": lambda b, x, g, y, axes: b.mul(g, b.exp(b.sub(x, y))),
}


def _reduction(
    call: Callable[..., Any], b: Builder, x: Var, g: Var, *, out: Var, axes: Axes | None, keepdims: bool
) -> Var:
    gone = axes_of(axes, len(x.shape))
    return call(b, x, spread(b, x, g, gone, keepdims), spread(b, x, out, gone, keepdims), gone)


for _name, _call in REDUCTIONS.items():
    rule(partial(_reduction, _call), _name)


@rule
def sum_like(b: Builder, x: Var, like: Var, g: Var) -> tuple[Var | None, ...]:
    return b.expand(g, shape=shape_of(b, x)), None


@rule
def cumsum(b: Builder, x: Var, g: Var, *, axis: int | Var, exclusive: bool, reverse: bool) -> Any:
    return b.cumsum(g, axis=axis, exclusive=exclusive, reverse=not reverse)


@rule
def cumprod(b: Builder, x: Var, g: Var, *, out: Var, axis: int | Var, exclusive: bool, reverse: bool) -> Any:
    """Σ g out / x over the places that x comes into; the first zero of an axis is left out of its products instead.

    (Those of later zeros, and those behind the first one, hold that zero.)  TensorFlow gives 0 for zeros.
    """
    one, none = full_like(b, x, 1), b.equal(x, zero(b, x))
    zeros = b.cumsum(b.cast_like(none, x), axis=axis, reverse=reverse)
    first = b.logical_and(none, b.equal(zeros, 1))
    others = b.cumprod(b.where(first, one, x), axis=axis, exclusive=exclusive, reverse=reverse)
    behind = {"axis": axis, "exclusive": exclusive, "reverse": not reverse}
    usual = b.div(b.cumsum(b.mul(g, out), **behind), b.where(none, one, x))
    return b.where(first, b.cumsum(b.mul(g, others), **behind), usual)
