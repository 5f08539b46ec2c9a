"""Attention."""

from __future__ import annotations

import numpy as np

from ....ir.types import boolean, f32
from ..emitter import Emitter, Item
from . import export


@export()
def attention(
    w: Emitter, q: Item, k: Item, v: Item, mask: Item | None = None, bias: Item | None = None, *,
    scale: float, causal: bool, soft_cap: float | None,
) -> Item:  # fmt: skip
    """Written out: the operator of opset 23 means another thing by a row that may see nothing."""
    rank, narrow = k.rank, q.dtype
    if narrow.bits < 32:  # as the kernel computes
        q, k, v = (w.cast(x, f32) for x in (q, k, v))
        bias = None if bias is None else w.cast(bias, f32)
    turned = w.transpose(k, (*range(rank - 2), rank - 1, rank - 2))
    s = w.MatMul(w.Mul(q, scale), turned)
    if soft_cap is not None:
        s = w.Mul(w.Tanh(w.Div(s, soft_cap)), soft_cap)
    s = s if bias is None else w.Add(s, bias)
    allowed = [m for m in (mask, _before(w, q, k) if causal else None) if m is not None]
    for m in allowed:
        s = w.Where(m, s, w.constant(np.finfo(q.dtype.numpy).min, "lowest", dtype=q.dtype.numpy), result=q.dtype)
    return w.cast(w.MatMul(w.Softmax(s, axis=-1), v), narrow)


def _before(w: Emitter, q: Item, k: Item) -> Item:
    """Whether place j is not after row i: (Tq, Tk)."""
    zero, one = w.constant(np.int64(0)), w.constant(np.int64(1))
    rows, columns = (w.Range(zero, w.scalar(w.axis_size(v, v.rank - 2)), one) for v in (q, k))
    return w.LessOrEqual(w.Unsqueeze(columns, w.ints([0])), w.Unsqueeze(rows, w.ints([1])), result=boolean)  # type: ignore[no-any-return]
