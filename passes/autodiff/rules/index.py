"""Gradients of ops that read and write by index: what was read from a place goes back to it, and the other way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.builder import Builder
from ....ir.graph import Var
from ..emit import dim, full_like, gate, shape_of, zero
from . import rule

# ---- reading -------------------------------------------------------------------------------------------------


@rule
def gather(b: Builder, x: Var, indices: Var, g: Var, *, axis: int) -> tuple[Var | None, ...]:
    return b.scatter_rows(g, indices, size=dim(b, x, axis), axis=axis % len(x.shape)), None


@rule
def scatter_rows(b: Builder, updates: Var, indices: Var, g: Var, *, axis: int) -> tuple[Var | None, ...]:
    return b.gather(g, indices, axis=axis), None


@rule
def gather_elements(b: Builder, x: Var, indices: Var, g: Var, *, axis: int) -> tuple[Var | None, ...]:
    return b.scatter_elements(full_like(b, x, 0), indices, g, axis=axis, reduction="add"), None


@rule
def gather_nd(b: Builder, x: Var, indices: Var, g: Var, *, batch_dims: int) -> tuple[Var | None, ...]:
    return b.scatter_nd(full_like(b, x, 0), indices, g, reduction="add", batch_dims=batch_dims), None


@rule
def top_k(b: Builder, x: Var, above: list[Var | None], *, out: tuple[Var, Var], axis: int) -> Any:
    """The values' gradient, at their places."""
    return b.scatter_elements(full_like(b, x, 0), out[1], above[0], axis=axis, reduction="add")


@rule
def compress(b: Builder, x: Var, condition: Var, g: Var, *, axis: int | None) -> tuple[Var | None, ...]:
    """To the places where the condition holds."""
    places = b.reshape(b.nonzero(condition), shape=(-1,))
    if axis is not None:
        return b.scatter_rows(g, places, size=dim(b, x, axis), axis=axis % len(x.shape)), None
    return b.reshape(b.scatter_rows(g, places, size=b.size(x)), shape=shape_of(b, x)), None


@rule
def unique(b: Builder, x: Var, above: list[Var | None], *, out: tuple[Var, ...], axis: int | None) -> Any:
    """To the place where each value stands first."""
    if axis is not None:
        return b.scatter_rows(above[0], out[1], size=dim(b, x, axis), axis=axis % len(x.shape))
    return b.reshape(b.scatter_rows(above[0], out[1], size=b.size(x)), shape=shape_of(b, x))


@rule
def trilu(b: Builder, x: Var, g: Var, *, k: int | Var, upper: bool) -> Any:
    return b.trilu(g, k=k, upper=upper)


@rule
def one_hot(
    b: Builder, indices: Var, on: Var, off: Var, g: Var, *, depth: int | Var, axis: int
) -> tuple[Var | None, ...]:
    """To `on` the sum over the marked places, to `off` that over the others."""
    marked = b.one_hot(indices, b.constant(np.bool_(True)), b.constant(np.bool_(False)), depth=depth, axis=axis)
    sums = (b.reduce_sum(gate(b, m, g)) for m in (marked, b.logical_not(marked)))
    return None, *(b.reshape(s, shape=v.shape) for s, v in zip(sums, (on, off)))


# ---- writing -------------------------------------------------------------------------------------------------


@rule
def scatter_elements(
    b: Builder, x: Var, indices: Var, updates: Var, g: Var, *, out: Var, axis: int, reduction: str
) -> tuple[Var | None, ...]:
    def read(v: Var) -> Var:
        return b.gather_elements(v, indices, axis=axis)

    def write(v: Var, u: Var, how: str) -> Var:
        return b.scatter_elements(v, indices, u, axis=axis, reduction=how)

    dx, du = _scattered(b, x, updates, g, out, reduction, read, write)
    return dx, None, du


@rule
def scatter_nd(
    b: Builder, x: Var, indices: Var, updates: Var, g: Var, *, out: Var, reduction: str, batch_dims: int
) -> tuple[Var | None, ...]:
    def read(v: Var) -> Var:
        return b.gather_nd(v, indices, batch_dims=batch_dims)

    def write(v: Var, u: Var, how: str) -> Var:
        return b.scatter_nd(v, indices, u, reduction=how, batch_dims=batch_dims)

    dx, du = _scattered(b, x, updates, g, out, reduction, read, write)
    return dx, None, du


def _scattered(
    b: Builder, x: Var, u: Var, g: Var, y: Var, reduction: str,
    read: Callable[[Var], Var], write: Callable[[Var, Var, str], Var],
) -> tuple[Var, Var]:  # fmt: skip
    """The gradients of x and of the updates u.

    none: x lost what was overwritten.  max, min: equal parts to all that are the result.  mul: the product of all
    others, where zeros among the updates are counted apart.
    """
    if reduction == "none":
        return write(g, full_like(b, u, 0), "none"), read(g)
    if reduction == "add":
        return g, read(g)
    if reduction in ("max", "min"):
        kept, put = b.cast_like(b.equal(x, y), g), b.cast_like(b.equal(u, read(y)), g)
        part = b.div(g, write(kept, put, "add"))
        return b.mul(kept, part), b.mul(put, read(part))
    none = b.equal(u, zero(b, u))
    factors = b.where(none, full_like(b, u, 1), u)
    zeros = write(full_like(b, x, 0), b.cast_like(none, u), "add")
    others = b.equal(b.sub(read(zeros), b.cast_like(none, u)), 0)  # no zero among the other updates of the place
    product = b.div(read(b.mul(g, write(x, factors, "mul"))), factors)
    return b.mul(g, write(full_like(b, x, 1), u, "mul")), gate(b, others, product)
