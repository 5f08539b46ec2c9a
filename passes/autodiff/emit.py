"""What rules share: shapes which may be known in symbols or at run time only, and the undoing of broadcasting.

Also `through`: the gradients of a function that is written with ops of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir import dims
from ...ir.builder import Builder
from ...ir.graph import Var
from ...ir.shapes import Entry, dim, shape_of, vector, zero
from ...ir.types import Container, Tensor
from ...ir.types import Sequence as ListOf

__all__ = [
    "count", "differentiable", "dim", "full_like", "gate", "numbered", "shape_of", "spread", "through", "unbroadcast",
    "vector", "zero", "zeros",
]  # fmt: skip


def full_like(b: Builder, like: Var, value: Any) -> Var:
    """A tensor of one number with the dtype and shape of `like`."""
    element = b.constant(np.array(value, like.tensor.dtype.numpy))
    return b.fill(element, shape=shape_of(b, like)) if like.tensor.shape != () else element


def zeros(b: Builder, like: Var) -> Var:
    """Zeros in the place of all elements of a tensor, or of a list of tensors."""
    return b.sequence_zeros(like) if isinstance(like.type, Container) else full_like(b, like, 0)


def differentiable(v: Var) -> bool:
    """Whether a value has a gradient: a tensor of floats, or a list of such."""
    t = v.type.element if isinstance(v.type, ListOf) else v.type
    return isinstance(t, Tensor) and t.dtype.kind in ("float", "complex")


def through(
    b: Builder, call: Callable[..., Any], operands: Sequence[Var | None], above: Sequence[Var | None]
) -> list[Var | None]:
    """The gradients of the operands of call(b, *operands), from those of its results.

    The operands are copied first: one of them may depend on another, which is none of the function's business.
    """
    from .engine import gradients

    inner = [None if v is None else b.identity(v) for v in operands]
    found = call(b, *inner)
    results = found if isinstance(found, (list, tuple)) else [found]
    pairs = [(v, g) for v, g in zip(results, above) if g is not None]
    wrt = [v for v in inner if v is not None and differentiable(v)]
    of = dict(zip(wrt, gradients(b, [v for v, _ in pairs], wrt, [g for _, g in pairs])))
    return [None if v is None else of.get(v) for v in inner]


def gate(b: Builder, condition: Var, g: Var) -> Var:
    """g where the condition holds, else 0."""
    return b.where(condition, g, zero(b, g))


def numbered(b: Builder, n: Entry) -> Var:
    """0, 1, ... n - 1: i64[n]."""
    ones = b.fill(b.constant(np.int64(1)), shape=vector(b, [n]))
    return b.cumsum(ones, axis=0, exclusive=True)  # type: ignore[no-any-return]


def spread(b: Builder, x: Var, g: Var, axes: Sequence[int], keepdims: bool) -> Var:
    """g, which belongs to a reduction of x over axes, so that it broadcasts against x."""
    return g if keepdims or not axes else b.unsqueeze(g, axes=tuple(axes))


def count(b: Builder, x: Var, axes: Sequence[int]) -> Var:
    """The number of elements along axes, in the dtype of x."""
    product = dims.product(x.shape[a] for a in axes)
    if isinstance(product, int):
        return b.constant(product, dtype=x.tensor.dtype.numpy)
    return b.cast(b.reduce_prod(b.gather(b.shape(x), np.array(axes, np.int64))), to=x.tensor.dtype)


def unbroadcast(b: Builder, g: Var, like: Var) -> Var:
    """g summed over the axes along which `like` was broadcast; where that is known at run time only, then."""
    shape, target = g.tensor.shape, like.tensor.shape
    if shape is None or target is None:
        return b.sum_like(g, like)
    if shape == target and all(map(dims.known, shape)):
        return g
    extra = len(shape) - len(target)
    if any(d not in (1, s) or not dims.known(d) for d, s in zip(target, shape[extra:])):
        return b.sum_like(g, like)
    wide = [i for i, (d, s) in enumerate(zip(target, shape[extra:])) if d == 1 and s != 1]
    if extra:
        g = b.reduce_sum(g, axes=tuple(range(extra)))
    return b.reduce_sum(g, axes=tuple(wide), keepdims=True) if wide else g
