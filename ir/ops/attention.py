"""Attention."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..op import broadcast, op, require, require_dim, same_dtype, shape_text
from ..types import Tensor, boolean


def _rows_and_columns(rank: int, **_: Any) -> Iterable[int]:
    """A head's rows have positions (causal, mask), and its columns are summed over."""
    return (rank - 2, rank - 1)


@op("abreast", mixes=_rows_and_columns)
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    scale: float,
    causal: bool = False,
    soft_cap: float | None = None,
) -> Tensor:
    """softmax(s) v with s = scale q kᵀ, then c tanh(s / c) for a soft cap c, then s + bias; Vaswani et al. 2017.

    q: (..., Tq, D), k: (..., Tk, D), v: (..., Tk, Dv) -> (..., Tq, Dv); leading axes (samples, heads) broadcast.
    mask (boolean) and bias broadcast to (..., Tq, Tk).  Where the mask is false, or causal and j > i, place j is as
    good as not there for row i: s is the dtype's lowest number, so that a row without any place gets the mean of v.
    """
    for name, t in (("q", q), ("k", k), ("v", v)):
        require(t.rank >= 2, f"{name} {shape_text(t.shape)} is no matrix")
    dtype = same_dtype(q, k, v, bias)
    require(dtype.is_float, f"attention is for floats, got {dtype}")
    require_dim(q.dims[-1], k.dims[-1], "the number of columns of q")
    require_dim(v.dims[-2], k.dims[-2], "the number of rows of v")
    lead = broadcast(q.dims[:-2], k.dims[:-2], v.dims[:-2])
    places = (*lead, q.dims[-2], k.dims[-2])
    for name, extra in (("mask", mask), ("bias", bias)):
        if extra is not None:
            wide = len(extra.dims) <= len(places) and broadcast(places, extra.dims)
            enlarged = not wide or any(a == 1 != b for a, b in zip(places, wide))
            require(not enlarged, f"{name} {shape_text(extra.shape)} does not fit {shape_text(places)}")
    require(mask is None or mask.dtype is boolean, "the mask is not boolean")
    require(soft_cap is None or soft_cap > 0, f"soft_cap is {soft_cap}, expected a positive number")
    return Tensor(dtype, (*lead, q.dims[-2], v.dims[-1]))
