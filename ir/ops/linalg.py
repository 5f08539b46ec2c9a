"""Products of matrices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import dims
from ..attributes import LINEAR, Activation
from ..dims import Dim
from ..op import broadcast, op, require, require_dim, same_dtype, shape_text
from ..types import Tensor


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
