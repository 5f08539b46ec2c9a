"""Gradients of products of matrices."""

from __future__ import annotations

from typing import Any

from ....errors import UnsupportedError
from ....ir.attributes import Activation
from ....ir.builder import Builder
from ....ir.graph import Var
from . import rule


def swap(b: Builder, x: Var) -> Var:
    """x with its last two axes exchanged."""
    rank = len(x.shape)
    return b.transpose(x, perm=(*range(rank - 2), rank - 1, rank - 2))  # type: ignore[no-any-return]


@rule
def matmul(
    b: Builder, x: Var, y: Var, bias: Var | None, residual: Var | None, g: Var, *, activation: Activation
) -> tuple[Any, ...]:
    """d x = g yᵀ, d y = xᵀ g; a fused activation is not undone: differentiate before fusing."""
    if activation or len(x.shape) < 2 or len(y.shape) < 2:
        raise UnsupportedError("the gradient of a matmul of vectors, or with an activation", op="matmul")
    return b.matmul(g, swap(b, y)), b.matmul(swap(b, x), g), bias and g, residual and g
