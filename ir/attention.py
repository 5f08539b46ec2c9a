"""Attention in elementary ops: the op `attention` written out, for gradients and for those who need its weights.

`weights` are the rows of softmax(s), `attention` is the op itself; operands and attributes are those of the op, see
`ops/attention.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .builder import Builder
from .graph import Var
from .shapes import dim, vector
from .types import DType


def lowest(dtype: DType) -> Any:
    """The lowest number of a dtype of floats."""
    if dtype.numpy.kind == "f":
        return np.finfo(dtype.numpy).min
    import ml_dtypes

    return ml_dtypes.finfo(dtype.numpy).min  # type: ignore[no-untyped-call]


def earlier(b: Builder, q: Var, k: Var) -> Var:
    """Whether j <= i, for the rows i of q and j of k: bool[Tq, Tk]."""
    ones = b.fill(b.constant(np.bool_(True)), shape=vector(b, [dim(b, q, -2), dim(b, k, -2)]))
    return b.trilu(ones, upper=False)  # type: ignore[no-any-return]


def weights(
    b: Builder, q: Var, k: Var, mask: Var | None = None, bias: Var | None = None, *, scale: float,
    causal: bool = False, soft_cap: float | None = None,
) -> Var:  # fmt: skip
    """What each row of v counts for in each row of the result: (..., Tq, Tk)."""
    s = b.matmul(b.mul(q, scale), b.swap(k))
    if soft_cap is not None:
        s = b.mul(b.tanh(b.div(s, soft_cap)), soft_cap)
    if bias is not None:
        s = b.add(s, bias)
    if causal:
        order = earlier(b, q, k)
        mask = order if mask is None else b.logical_and(mask, order)
    if mask is not None:
        s = b.where(mask, s, b.constant(lowest(s.tensor.dtype), dtype=s.tensor.dtype.numpy))
    return b.softmax(s, axis=-1)  # type: ignore[no-any-return]


def attention(b: Builder, q: Var, k: Var, v: Var, mask: Var | None = None, bias: Var | None = None, **how: Any) -> Var:
    """The op in ops that have gradients."""
    return b.matmul(weights(b, q, k, mask, bias, **how), v)  # type: ignore[no-any-return]
