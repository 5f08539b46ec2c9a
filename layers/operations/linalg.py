"""The operations of keras.ops.linalg.

Formulas: keras/src/backend/tensorflow/linalg.py.  Factors are those that LAPACK finds; where they are not unique (signs
of singular and eigenvectors), Keras' may differ.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...ir import Builder, Var
from ..base import as_dtype
from .array import moveaxis
from .common import Term, axes_of, fixed, kind_of, row, rows, tensor, where
from .promotion import result_type

FAMILY = "linalg"
operation = partial(row, FAMILY)

rows(FAMILY, {
    "Det": lambda b, x: b.det(tensor(b, x)), "Inv": lambda b, x: b.inverse(tensor(b, x)),
    "Eig": lambda b, x: list(b.eig(tensor(b, x))), "Eigh": lambda b, x: list(b.eigh(tensor(b, x))),
    "LuFactor": lambda b, x: list(_lu_factor(b, tensor(b, x))),
})  # fmt: skip


def _lu_factor(b: Builder, x: Var) -> tuple[Var, Var]:
    """Keras gives the inverse of the permutation."""
    factors, order = b.lu(x)
    return factors, as_dtype(b, b.top_k(order, k=order.shape[-1], axis=-1, largest=False)[1], "int32")


@operation("Cholesky")
def cholesky(b: Builder, x: Any, upper: bool = False) -> Var:
    factor = b.cholesky(tensor(b, x))
    return b.swap(factor) if upper else factor  # type: ignore[no-any-return]


@operation("CholeskyInverse")
def cholesky_inverse(b: Builder, x: Any, upper: bool = False) -> Var:
    """The inverse of a matrix, from its Cholesky factor."""
    x = tensor(b, x)
    unit = b.eye(rows=x.shape[-1], columns=x.shape[-1], dtype=x.tensor.dtype)
    inverse = b.triangular_solve(x, unit, lower=not upper)
    return b.matmul(inverse, b.swap(inverse)) if upper else b.matmul(b.swap(inverse), inverse)  # type: ignore


@operation("Qr")
def qr(b: Builder, x: Any, mode: str = "reduced") -> list[Var]:
    return list(b.qr(tensor(b, x), complete=mode == "complete"))


@operation("SVD")
def svd(b: Builder, x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    found = b.svd(tensor(b, x), full=full_matrices and compute_uv)
    return list(found) if compute_uv else found[1]


def _with_columns(b: Builder, a: Any, y: Any, solve: Any) -> Var:
    """A right-hand side of one axis less than the matrices is a column."""
    a, y = tensor(b, a), tensor(b, y)
    if len(y.shape) == len(a.shape) - 1:
        return b.squeeze(solve(a, b.unsqueeze(y, axes=(-1,))), axes=(-1,))  # type: ignore[no-any-return]
    return solve(a, y)  # type: ignore[no-any-return]


def _solve(b: Builder, a: Any, y: Any) -> Var:
    return _with_columns(b, a, y, b.solve)


def _solve_triangular(b: Builder, a: Any, y: Any, lower: bool = False) -> Var:
    return _with_columns(b, a, y, partial(b.triangular_solve, lower=lower))


rows(FAMILY, {"Solve": _solve, "SolveTriangular": _solve_triangular})


@operation("Lstsq")
def lstsq(b: Builder, a: Any, y: Any, rcond: float | None = None) -> Any:
    """The x of least |a x - y|, by the singular values above rcond times the largest."""
    a, y = tensor(b, a), tensor(b, y)
    vector = len(y.shape) == 1
    t = Term(b, b.unsqueeze(y, axes=(1,)) if vector else y)
    u, s, vt = (Term(b, v) for v in b.svd(a))
    epsilon = float(np.finfo(a.tensor.dtype.numpy).eps)
    least = epsilon * max(fixed(d, "the size of the matrix") for d in a.shape) if rcond is None else rcond
    kept = s >= s.slice(starts=(0,), ends=(1,), axes=(0,)) * (epsilon if least < 0 else least)
    inverse = where(kept, where(kept, s, 1.0).reciprocal(), 0.0)
    turned = Term(b, b.swap(u.var)).matmul(t) * inverse.unsqueeze(axes=(1,))
    x = Term(b, b.swap(vt.var)).matmul(turned)
    return x.squeeze(axes=(1,)) if vector else x


def _cut(s: Term, least: float) -> Any:
    return s > s.reduce_max(axes=(-1,), keepdims=True) * least


def _relative(x: Var, rows: Any, columns: Any) -> float:
    return float(np.finfo(x.tensor.dtype.numpy).eps) * max(fixed(d, "the size of the matrix") for d in (rows, columns))


@operation("MatrixRank")
def matrix_rank(b: Builder, x: Any, tol: float | None = None) -> Any:
    """How many singular values are above `tol`, by default above eps · max(M, N) times the largest."""
    x = tensor(b, x)
    s = Term(b, b.svd(x)[1])
    above = _cut(s, _relative(x, *x.shape[-2:])) if tol is None else s > tol
    return above.to("int32").reduce_sum(axes=(-1,))


@operation("Pinv")
def pinv(b: Builder, x: Any, rcond: float | None = None) -> Any:
    """V diag(1 / s) Uᵀ with the singular values above rcond (10 eps max(M, N)) times the largest."""
    x = tensor(b, x)
    u, s, vt = (Term(b, v) for v in b.svd(x))
    kept = _cut(s, 10.0 * _relative(x, *x.shape[-2:]) if rcond is None else rcond)
    inverse = where(kept, where(kept, s, 1.0).reciprocal(), 0.0)
    return Term(b, b.swap(vt.var)).matmul(Term(b, b.swap((u * inverse.unsqueeze(axes=(-2,))).var)))


@operation("Norm")
def norm(b: Builder, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Norms of vectors (one axis) or matrices (two); without `ord` the root of the sum of squares."""
    x = tensor(b, x)
    name = "float32" if kind_of(x) == "int64" else result_type(kind_of(x), "float")
    t = Term(b, tensor(b, x, name))
    rank = len(t.shape)
    axes = tuple(a % rank for a in (range(rank) if axis is None else axes_of(axis) or ()))
    how = {"axes": axes, "keepdims": keepdims}
    ord = float(ord) if ord in ("inf", "-inf") else ord
    if ord is None or (len(axes) == 1 and ord == 2) or (len(axes) == 2 and ord == "fro"):
        return t.square().reduce_sum(**how).sqrt()
    if len(axes) == 1 and not isinstance(ord, str):
        return _vector_norm(t, ord, how)
    if len(axes) != 2:
        raise TypeError(f"ord={ord!r} over axes {axes} is no norm")
    return _matrix_norm(t, ord, axes, keepdims)


def _vector_norm(t: Term, ord: float, how: dict[str, Any]) -> Any:
    if ord == np.inf:
        return t.abs().reduce_max(**how)
    if ord == -np.inf:
        return t.abs().reduce_min(**how)
    if ord == 0:
        return t.not_equal(0).to(t.dtype).reduce_sum(**how)
    return t.abs().pow(float(ord)).reduce_sum(**how).pow(1.0 / ord)


def _matrix_norm(t: Term, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Sums over rows (1) or columns (inf), the largest or (negative) smallest; singular values (2, nuc)."""
    b = t.b
    if ord in ("nuc", 2, -2):
        s = Term(b, b.svd(moveaxis(b, t.var, axes, (-2, -1)))[1])
        pick = {"nuc": s.reduce_sum, 2: s.reduce_max, -2: s.reduce_min}[ord]
        found = pick(axes=(-1,))
        return found.unsqueeze(axes=tuple(sorted(axes))) if keepdims else found
    if ord not in (1, -1, np.inf, -np.inf):
        raise TypeError(f"ord={ord!r} is no norm of matrices")
    summed, other = axes if abs(ord) == 1 else axes[::-1]
    sums = t.abs().reduce_sum(axes=(summed,), keepdims=True)
    found = (sums.reduce_max if ord > 0 else sums.reduce_min)(axes=(other,), keepdims=True)
    return found if keepdims else found.squeeze(axes=tuple(sorted(axes)))
