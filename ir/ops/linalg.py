"""Products and factors of matrices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import dims
from ..attributes import LINEAR, Activation
from ..dims import Dim
from ..op import broadcast, op, require, require_dim, same_dtype, shape_text
from ..types import DTYPES, Tensor, f64, i32


def _last(rank: int, **_: Any) -> Iterable[int]:
    """A row of the result depends on the same row of x only."""
    return (rank - 1,) if rank != 1 else (0,)


@op("epilogue", mixes=_last)
def matmul(
    x: Tensor,
    y: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    *,
    activation: Activation = LINEAR,
) -> Tensor:
    """activation(x @ y + bias + residual).

    x: (..., M, K), y: (..., K, N) -> (..., M, N); leading axes broadcast, one-dimensional operands as in
    numpy.matmul.  bias broadcasts to the result, residual has its shape.
    """
    dtype = same_dtype(x, y, bias, residual)
    a, b = x.dims, y.dims
    require(bool(a) and bool(b), "matmul takes no scalars")
    left, right = ((1, *a) if len(a) == 1 else a), ((*b, 1) if len(b) == 1 else b)
    require(dims.compatible(left[-1], right[-2]), f"inner dimensions of {shape_text(a)} and {shape_text(b)} differ")
    out = [*broadcast(left[:-2], right[:-2]), left[-2], right[-1]]
    if len(a) == 1:
        del out[-2]
    if len(b) == 1:
        del out[-1]
    if bias is not None:
        require(broadcast(tuple(out), bias.dims) == tuple(out), f"bias {shape_text(bias.shape)} does not fit {out}")
    return Tensor(dtype, tuple(out))


def _letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The operands' and the result's subscripts with `...` spelled out in capital letters."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    require(len(terms) == len(ranks), f"equation {equation!r} has {len(terms)} terms for {len(ranks)} operands")
    spare = max([r - len(t.replace("...", "")) for t, r in zip(terms, ranks) if "..." in t], default=0)
    dots = "ZYXWVUTS"[:spare]
    spelled = []
    for term, rank in zip(terms, ranks):
        count = rank - len(term.replace("...", ""))
        spelled.append(term.replace("...", dots[spare - count :] if count else ""))
        require(len(spelled[-1]) == rank, f"term {term!r} of {equation!r} does not fit rank {rank}")
    if not arrow:
        once = sorted(c for c in set("".join(spelled)) - set(dots) if "".join(spelled).count(c) == 1)
        return spelled, dots + "".join(once)
    return spelled, right.replace("...", dots)


@op()
def einsum(*xs: Tensor, equation: str) -> Tensor:
    """Einstein summation, as numpy.einsum; `...` stands for leading axes that broadcast."""
    terms, out = _letters(equation, [x.rank for x in xs])
    sizes: dict[str, Dim] = {}
    for term, x in zip(terms, xs):
        for letter, d in zip(term, x.dims):
            known = sizes.get(letter, 1)
            if d != 1 and known != 1:
                require_dim(d, known, f"dimension {letter!r} of {equation!r}")
            sizes[letter] = dims.unify(known, d) if known != 1 and d != 1 else (d if known == 1 else known)
    require(set(out) <= set(sizes), f"the result of {equation!r} names unknown dimensions")
    return Tensor(same_dtype(*xs), tuple(sizes[c] for c in out))


def _check_square(x: Tensor) -> None:
    require(x.rank >= 2, f"{shape_text(x.shape)} is no matrix")
    require_dim(x.dims[-1], x.dims[-2], "the number of columns")


@op(mixes=lambda rank: (rank - 2, rank - 1))
def det(x: Tensor) -> Tensor:
    """The determinants of square matrices (..., M, M) -> (...)."""
    _check_square(x)
    return Tensor(x.dtype, x.dims[:-2])


@op(mixes=lambda rank: (rank - 2, rank - 1))
def inverse(x: Tensor) -> Tensor:
    """The inverses of square matrices (..., M, M); one that has none is an error."""
    _check_square(x)
    return Tensor(x.dtype, x.shape)


# ---- factors of matrices --------------------------------------------------------------------------------------


def _matrices(rank: int, **_: Any) -> Iterable[int]:
    return (rank - 2, rank - 1)


def _smaller(x: Tensor) -> Dim:
    """The smaller of rows and columns."""
    require(x.rank >= 2, f"{shape_text(x.shape)} is no matrix")
    return dims.minimum(x.dims[-2], x.dims[-1])


@op(mixes=_matrices)
def cholesky(x: Tensor) -> Tensor:
    """The lower triangular L with L Lᵀ = x, of symmetric positive definite x (..., M, M); others are an error."""
    _check_square(x)
    return Tensor(x.dtype, x.shape)


@op(mixes=_matrices)
def qr(x: Tensor, *, complete: bool = False) -> tuple[Tensor, Tensor]:
    """Q with orthonormal columns and R, upper triangular, with Q R = x (..., M, N); complete: Q is square."""
    m, n = x.dims[-2:]
    k = m if complete else _smaller(x)
    return Tensor(x.dtype, (*x.dims[:-2], m, k)), Tensor(x.dtype, (*x.dims[:-2], k, n))


@op(mixes=_matrices)
def svd(x: Tensor, *, full: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """U, s (falling) and Vᵀ with U diag(s) Vᵀ = x (..., M, N); full: U and Vᵀ are square.

    The signs of the pairs of vectors are those that the library finds.
    """
    k, (m, n) = _smaller(x), x.dims[-2:]
    left, right = (m, n) if full else (k, k)
    lead = x.dims[:-2]
    return Tensor(x.dtype, (*lead, m, left)), Tensor(x.dtype, (*lead, k)), Tensor(x.dtype, (*lead, right, n))


@op(mixes=_matrices)
def eigh(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (rising) and eigenvectors, as columns, of symmetric x (..., M, M); its lower triangle is read."""
    _check_square(x)
    return Tensor(x.dtype, x.dims[:-1]), Tensor(x.dtype, x.shape)


@op(mixes=_matrices)
def eig(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors, as columns of norm 1, of x (..., M, M): complex numbers."""
    _check_square(x)
    kind = DTYPES["c128" if x.dtype is f64 else "c64"]
    return Tensor(kind, x.dims[:-1]), Tensor(kind, x.shape)


@op(mixes=_matrices)
def lu(x: Tensor) -> tuple[Tensor, Tensor]:
    """L (with ones on its diagonal) and U in one matrix, and rows i32 (..., M), so that L U = x[rows]."""
    _check_square(x)
    return Tensor(x.dtype, x.shape), Tensor(i32, x.dims[:-1])


@op()
def solve(a: Tensor, y: Tensor) -> Tensor:
    """x with a x = y; a: (..., M, M), y: (..., M, K); leading axes broadcast.  A singular matrix is an error."""
    _check_square(a)
    require(y.rank >= 2, f"{shape_text(y.shape)} is no matrix")
    require_dim(y.dims[-2], a.dims[-1], "the number of rows of y")
    return Tensor(same_dtype(a, y), (*broadcast(a.dims[:-2], y.dims[:-2]), *y.dims[-2:]))


@op()
def triangular_solve(a: Tensor, y: Tensor, *, lower: bool = True) -> Tensor:
    """x with a x = y, only the lower (or upper) triangle of a being read; shapes as those of `solve`."""
    _check_square(a)
    require(y.rank >= 2, f"{shape_text(y.shape)} is no matrix")
    require_dim(y.dims[-2], a.dims[-1], "the number of rows of y")
    return Tensor(same_dtype(a, y), (*broadcast(a.dims[:-2], y.dims[:-2]), *y.dims[-2:]))
