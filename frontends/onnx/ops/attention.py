"""Attention of ONNX's own domain, on the core op `attention`.

Heads are an axis of their own, (B, N, S, D), or split off the last one, (B, S, N D).  What was attended to before
(`past_key`, `past_value`) stands in front of the new keys and values; of a cache outside of the operator each sample
fills the first `nonpad_kv_seqlen` places.  A query without any key to attend to gives zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir import dims
from ....ir.graph import Var
from ....ir.types import DType
from ..lowering import Lowering
from ..protos import elem_type
from ..registry import onnx
from .contrib_attention import join_heads, length, numbers_below, split_heads


@onnx("Attention", since=23)
def attention(
    b: Lowering,
    Q: Var,
    K: Var,
    V: Var,
    attn_mask: Var | None = None,
    past_key: Var | None = None,
    past_value: Var | None = None,
    nonpad_kv_seqlen: Var | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> Any:
    q, k, v = Q, K, V
    if len(Q.shape) == 3:
        if not q_num_heads or not kv_num_heads:
            raise b.refuse("three axes, but no numbers of heads", "give q_num_heads and kv_num_heads")
        q, k, v = split_heads(b, Q, q_num_heads), split_heads(b, K, kv_num_heads), split_heads(b, V, kv_num_heads)
    if (past_key is None) != (past_value is None) or (past_key is not None and nonpad_kv_seqlen is not None):
        raise b.refuse("a cache is past_key and past_value, or what nonpad_kv_seqlen tells of")
    if past_key is not None:
        k, v = b.concat(past_key, k, axis=2), b.concat(past_value, v, axis=2)
    present = k, v
    k, v = (_for_each_head(b, x, q) for x in (k, v))
    # the op's own order, in which every query has a key: the first
    bounded = left_window_size >= 0 or any(v is not None for v in (attn_mask, past_key, nonpad_kv_seqlen))
    simple = bool(is_causal) and not bounded
    right = right_window_size if not is_causal else -1 if simple else 0
    kept, bias = _of_mask(b, attn_mask, q, k)
    within = _within(b, q, k, past_key, nonpad_kv_seqlen, left_window_size, right)
    mask = _both(b, _both(b, kept, within), _filled(b, k, nonpad_kv_seqlen))
    seen = _has_any(b, mask, bias)
    factor = float(scale) if scale is not None else _default_scale(b, q)
    precision = None if softmax_precision is None else elem_type(softmax_precision)
    if b.wants(3) or precision not in (None, q.tensor.dtype) or v.tensor.dtype is not q.tensor.dtype:
        if simple:
            mask = _both(b, mask, _within(b, q, k, None, None, -1, 0))
        y, scores = _written_out(b, (q, k, v), mask, bias, seen, factor, softcap, precision, qk_matmul_output_mode)
    else:
        if isinstance(factor, Var):
            q, factor = b.mul(q, factor), 1.0
        y = b.attention(q, k, v, mask, bias, scale=factor, causal=simple, soft_cap=softcap or None)
        y, scores = _zero_unless(b, seen, y), None
    return join_heads(b, y) if len(Q.shape) == 3 else y, *present, scores


def _for_each_head(b: Lowering, x: Var, q: Var) -> Var:
    """Keys or values of a group of heads, for each head."""
    heads, own = q.shape[1], x.shape[1]
    if heads == own:
        return x
    if dims.is_number((heads, own)) and heads % own:
        raise b.refuse(f"{heads} heads of queries for {own} heads of keys and values")
    return b.repeat(x, repeats=b.floor_div(length(b, q, 1), length(b, x, 1)), axis=1)  # type: ignore[no-any-return]


def _default_scale(b: Lowering, q: Var) -> float | Var:
    """1 / sqrt(D)."""
    width = q.shape[3]
    if isinstance(width, int):
        return float(width) ** -0.5
    return b.rsqrt(b.cast_like(b.gather(b.shape(q), np.int64(3)), q))  # type: ignore[no-any-return]


def _written_out(
    b: Lowering, operands: tuple[Var, Var, Var], mask: Var | None, bias: Var | None, seen: Var | None,
    scale: float | Var, softcap: float, precision: DType | None, mode: int,
) -> tuple[Var, Var]:  # fmt: skip
    """The formula step by step: the result, and what `mode` asks for on the way (scores, capped, biased, weights)."""
    q, k, v = operands
    root = b.sqrt(scale) if isinstance(scale, Var) else scale**0.5
    scores = b.matmul(b.mul(q, root), b.swap(b.mul(k, root)))
    capped = b.mul(b.tanh(b.div(scores, softcap)), softcap) if softcap else scores
    biased = capped if bias is None else b.add(capped, bias)
    if mask is not None:
        biased = b.where(mask, biased, _number(-np.inf, q))
    wide = biased if precision is None else b.cast(biased, to=precision)
    weights = _zero_unless(b, seen, b.cast_like(b.softmax(wide, axis=-1), q))
    return b.matmul(weights, b.cast_like(v, q)), (scores, capped, biased, weights)[mode]


# ---- which keys a query attends to ---------------------------------------------------------------------------


def _both(b: Lowering, one: Var | None, other: Var | None) -> Var | None:
    if one is None or other is None:
        return other if one is None else one
    return b.logical_and(one, other)  # type: ignore[no-any-return]


def _has_any(b: Lowering, mask: Var | None, bias: Var | None) -> Var | None:
    """Whether a query has a key at all; None where every one has."""
    finite = None if bias is None else b.greater(bias, -np.inf)
    some = _both(b, mask, finite)
    return None if some is None else b.reduce_any(some, axes=(-1,), keepdims=True)


def _zero_unless(b: Lowering, condition: Var | None, x: Var) -> Var:
    return x if condition is None else b.where(condition, x, _number(0, x))  # type: ignore[no-any-return]


def _number(value: float, like: Var) -> np.ndarray[Any, Any]:
    return np.array(value, like.tensor.dtype.numpy)


def _of_mask(b: Lowering, mask: Var | None, q: Var, k: Var) -> tuple[Var | None, Var | None]:
    """What the mask says: where to look, or what to add to the scores; of keys behind its end, not to look."""
    if mask is None:
        return None, None
    is_flag = mask.tensor.dtype.kind == "bool"
    if not is_flag:
        mask = b.cast_like(mask, q)
    total, given = k.shape[2], mask.shape[-1]
    if total != given or not dims.known(total):
        places = b.sub(length(b, k, 2), length(b, mask, -1))
        missing = total - given if dims.is_number((total, given)) else places
        nothing = _number(0 if is_flag else -np.inf, mask)
        if isinstance(missing, Var):
            lead = b.slice(b.shape(mask), starts=(0,), ends=(-1,))
            shape = b.concat(lead, b.reshape(missing, shape=(1,)), axis=0)
        else:
            shape = b.vector([*b.dims(mask)[:-1], missing])
        mask = b.concat(mask, b.fill(nothing, shape=shape), axis=-1)
    return (mask, None) if is_flag else (None, mask)


def _within(
    b: Lowering, q: Var, k: Var, past: Var | None, filled: Var | None, left: int, right: int
) -> Var | None:  # fmt: skip
    """Keys from `left` places before that of the query on, and up to `right` places behind it; -1: all of them.

    The queries come after what is past, or are the last ones of a cache: (S, T), or (B, 1, S, T) there.
    """
    if min(left, right) < -1:
        raise b.refuse(f"windows of {left} and {right} keys")
    if left < 0 and right < 0:
        return None
    rows, columns = b.unsqueeze(numbers_below(b, length(b, q, 2)), axes=(1,)), numbers_below(b, length(b, k, 2))
    if past is not None:
        rows = b.add(rows, length(b, past, 2))
    elif filled is not None:
        offsets = b.sub(b.cast(filled, to="i64"), length(b, q, 2))
        rows = b.add(rows, b.reshape(offsets, shape=(-1, 1, 1, 1)))
    ahead = None if right < 0 else b.less_equal(columns, b.add(rows, np.int64(right)) if right else rows)
    behind = None if left < 0 else b.less_equal(b.sub(rows, np.int64(left)), columns)
    return _both(b, ahead, behind)


def _filled(b: Lowering, k: Var, count: Var | None) -> Var | None:
    """The places of a cache that hold something."""
    if count is None:
        return None
    return b.less(numbers_below(b, length(b, k, 2)), b.reshape(b.cast(count, to="i64"), shape=(-1, 1, 1, 1)))  # type: ignore[no-any-return]
