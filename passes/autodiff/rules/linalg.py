"""Gradients of products and factors of matrices."""

from __future__ import annotations

from typing import Any

from ....errors import UnsupportedError
from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.ops.linalg import _letters as spelled_terms
from ..emit import dim, full_like, shape_of, vector, zero
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


# ---- factors: Giles 2008, "An extended collection of matrix derivative results" --------------------------------


def _half_lower(b: Builder, x: Var) -> Var:
    """The lower triangle with half of the diagonal."""
    return b.mul(b.add(b.trilu(x, upper=False), b.trilu(x, k=-1, upper=False)), 0.5)


def _symmetric(b: Builder, x: Var) -> Var:
    return b.mul(b.add(x, b.swap(x)), 0.5)


@rule
def cholesky(b: Builder, x: Var, g: Var, *, out: Var) -> Any:
    """sym(L^-T half(L^T g) L^-1)."""
    inner = _half_lower(b, b.matmul(b.swap(out), g))
    left = b.triangular_solve(b.swap(out), inner, lower=False)
    return _symmetric(b, b.swap(b.triangular_solve(b.swap(out), b.swap(left), lower=False)))


@rule
def solve(b: Builder, a: Var, y: Var, g: Var, *, out: Var) -> Any:
    """a^-T g for y, and minus that times x^T for a."""
    dy = b.solve(b.swap(a), g)
    return b.neg(b.matmul(dy, b.swap(out))), dy


@rule
def triangular_solve(b: Builder, a: Var, y: Var, g: Var, *, out: Var, lower: bool) -> Any:
    dy = b.triangular_solve(b.swap(a), g, lower=not lower)
    return b.trilu(b.neg(b.matmul(dy, b.swap(out))), upper=not lower), dy


def _differences(b: Builder, values: Var) -> Var:
    """1 / (v_j - v_i), 0 where they are the same."""
    gap = b.sub(b.unsqueeze(values, axes=(-2,)), b.unsqueeze(values, axes=(-1,)))
    same = b.equal(gap, zero(b, gap))
    return b.where(same, zero(b, gap), b.reciprocal(b.where(same, full_like(b, gap, 1), gap)))


def _diagonal(b: Builder, values: Var) -> Var:
    """Matrices with the values on their diagonals."""
    size = dim(b, values, -1)
    return b.mul(b.unsqueeze(values, axes=(-1,)), b.eye(rows=size, columns=size, dtype=values.tensor.dtype))


@rule
def eigh(b: Builder, x: Var, above: list[Var | None], *, out: tuple[Var, Var]) -> Any:
    """V (diag(g_w) + F * (V^T g_V)) V^T, put together in the lower triangle that was read."""
    values, vectors = out
    g_values, g_vectors = above
    inner = None if g_values is None else _diagonal(b, g_values)
    if g_vectors is not None:
        turned = b.mul(_differences(b, values), b.matmul(b.swap(vectors), g_vectors))
        inner = turned if inner is None else b.add(inner, turned)
    assert inner is not None
    whole = b.matmul(b.matmul(vectors, inner), b.swap(vectors))
    return b.add(b.trilu(whole, upper=False), b.trilu(b.swap(whole), k=-1, upper=False))


@rule
def svd(b: Builder, x: Var, above: list[Var | None], *, out: tuple[Var, Var, Var], full: bool) -> Any:
    """U (diag(g_s) + (F * skew(U^T g_U)) S + S (F * skew(V^T g_V))) V^T, and what U and V lack of whole bases."""
    u, s, vt = out
    g_u, g_s, g_vt = above
    if full and (g_u is not None or g_vt is not None):
        raise UnsupportedError("the vectors of a full svd have no gradient", hint="ask for the reduced one")
    if full:
        count = s.shape[-1]
        u = b.slice(u, starts=(0,), ends=(count,), axes=(-1,))
        vt = b.slice(vt, starts=(0,), ends=(count,), axes=(-2,))
    v, factors, row = b.swap(vt), _differences(b, b.square(s)), b.unsqueeze(s, axes=(-2,))
    column = b.unsqueeze(s, axes=(-1,))
    found = None if g_s is None else b.matmul(b.mul(u, b.unsqueeze(g_s, axes=(-2,))), vt)

    def side(base: Var, g: Var) -> tuple[Var, Var]:
        """F * (B^T g - g^T B), and the part of g / s outside of the base."""
        inner = b.matmul(b.swap(base), g)
        scaled = b.div(g, row)
        return b.mul(factors, b.sub(inner, b.swap(inner))), b.sub(
            scaled, b.matmul(base, b.matmul(b.swap(base), scaled))
        )

    if g_u is not None:
        inner, outside = side(u, g_u)
        part = b.matmul(b.add(b.matmul(u, b.mul(inner, row)), outside), vt)
        found = part if found is None else b.add(found, part)
    if g_vt is not None:
        inner, outside = side(v, b.swap(g_vt))
        part = b.matmul(u, b.add(b.matmul(b.mul(column, inner), vt), b.swap(outside)))
        found = part if found is None else b.add(found, part)
    return found


@rule
def qr(b: Builder, x: Var, above: list[Var | None], *, out: tuple[Var, Var], complete: bool) -> Any:
    """(g_Q + Q sym(M)) R^-T with M = R g_R^T - g_Q^T Q, its lower triangle mirrored; for as many rows as columns."""
    q, r = out
    rows, columns = x.shape[-2:]
    if (complete and rows != columns) or (isinstance(rows, int) and isinstance(columns, int) and rows < columns):
        raise UnsupportedError("the gradient of qr is for the reduced one of matrices that are not wide")
    g_q, g_r = above
    g_q = full_like(b, q, 0) if g_q is None else g_q
    inner = b.neg(b.matmul(b.swap(g_q), q))
    inner = inner if g_r is None else b.add(b.matmul(r, b.swap(g_r)), inner)
    mirrored = b.add(b.trilu(inner, upper=False), b.swap(b.trilu(inner, k=-1, upper=False)))
    left = b.add(g_q, b.matmul(q, mirrored))
    return b.swap(b.triangular_solve(r, b.swap(left), lower=False))
