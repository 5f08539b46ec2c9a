"""Gradients of products of matrices."""

from __future__ import annotations

from typing import Any

from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.ops.linalg import _letters as spelled_terms
from ..emit import dim, shape_of, vector
from . import rule


@rule
def matmul(b: Builder, x: Var, y: Var, bias: Var | None, residual: Var | None, g: Var) -> tuple[Var | None, ...]:
    """d x = g yᵀ, d y = xᵀ g; vectors as matrices of one row or column, many x against one y as one tall x."""
    left, right = len(x.shape) == 1, len(y.shape) == 1
    rows = b.unsqueeze(x, axes=(0,)) if left else x
    columns = b.unsqueeze(y, axes=(1,)) if right else y
    above = b.unsqueeze(g, axes=(-1,)) if right else g
    above = b.unsqueeze(above, axes=(-2,)) if left else above
    dx = b.matmul(above, b.swap(columns))
    if len(rows.shape) > 2 and len(columns.shape) == 2:
        rows, above = (b.reshape(m, shape=vector(b, [-1, dim(b, m, -1)])) for m in (rows, above))
    dy = b.matmul(b.swap(rows), above)
    return (
        b.squeeze(dx, axes=(-2,)) if left else dx,
        b.squeeze(dy, axes=(-1,)) if right else dy,
        bias and g,
        residual and g,
    )


@rule
def det(b: Builder, x: Var, g: Var, *, out: Var) -> Any:
    """g det(x) x^-T (Jacobi)."""
    return b.mul(b.unsqueeze(b.mul(g, out), axes=(-2, -1)), b.swap(b.inverse(x)))


@rule
def inverse(b: Builder, x: Var, g: Var, *, out: Var) -> Any:
    """-y^T g y^T, with y = x^-1."""
    turned = b.swap(out)
    return b.neg(b.matmul(b.matmul(turned, g), turned))


@rule
def einsum(b: Builder, xs: list[Var], g: Var, *, equation: str) -> list[Any]:
    """The same sum with g in the place of the operand, over the letters that the operand lacks."""
    terms, result = spelled_terms(equation, [len(x.shape) for x in xs])
    return [_einsum(b, xs, g, terms, result, i) for i in range(len(xs))]


def _einsum(b: Builder, xs: list[Var], g: Var, terms: list[str], result: str, place: int) -> Var:
    """For operand number `place`.  Letters twice in a term are diagonals: the gradient is put there by unit matrices.

    Letters that stand nowhere else were summed alone: all their places get the same.
    """
    x, term = xs[place], terms[place]
    spare = iter(sorted(set("abcdefghijklmnopqrstuvwxyz") - set("".join(terms))))
    others = [(xs[i], t) for i, t in enumerate(terms) if i != place]
    target = ""
    for axis, letter in enumerate(term):
        if letter in target:
            n, fresh = dim(b, x, axis), next(spare)
            others.append((b.eye(rows=n, columns=n, dtype=x.tensor.dtype), letter + fresh))
            letter = fresh
        target += letter
    there = set(result).union(*(t for _, t in others))
    found = "".join(c for c in target if c in there)
    spelled = ",".join([result, *(t for _, t in others)]) + "->" + found
    gradient: Var = b.einsum(g, *(v for v, _ in others), equation=spelled)
    alone = tuple(i for i, c in enumerate(target) if c not in there)
    if alone:
        gradient = b.unsqueeze(gradient, axes=alone)
    narrow = any(d == 1 and n != 1 for d, n in zip(gradient.shape, x.shape))
    return b.expand(gradient, shape=shape_of(b, x)) if narrow else gradient
