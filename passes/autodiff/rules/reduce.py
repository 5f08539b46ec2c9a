"""Gradients of reductions."""

from __future__ import annotations

from typing import Any

from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.op import axes_of
from . import rule


def spread(b: Builder, x: Var, g: Var, axes: tuple[int, ...] | None, keepdims: bool) -> Var:
    """g, which belongs to a reduction of x, repeated to the shape of x."""
    if not keepdims:
        g = b.unsqueeze(g, axes=axes_of(axes, len(x.shape)))
    return b.expand(g, shape=x.shape if x.tensor.is_static else b.shape(x))  # type: ignore[no-any-return]


@rule
def reduce_sum(b: Builder, x: Var, g: Var, *, axes: Any, keepdims: bool) -> Any:
    return spread(b, x, g, axes, keepdims)


@rule
def reduce_mean(b: Builder, x: Var, g: Var, *, axes: Any, keepdims: bool) -> Any:
    """The sum, divided by the number of elements summed."""
    ones = b.expand(b.constant(1, dtype=x.tensor.dtype.numpy), shape=x.shape if x.tensor.is_static else b.shape(x))
    return b.div(spread(b, x, g, axes, keepdims), b.reduce_sum(ones, axes=axes_of(axes, len(x.shape)), keepdims=True))
