"""Attention of ONNX Runtime (domain `com.microsoft`): four signatures of one formula, see the core op `attention`.

Heads are split off the last axis, (B, S, N * D) -> (B, N, S, D).  What was attended to before (`past`) stands in front
of the new keys and values; masks of integers become numbers that are added to the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....ir import dims
from ....ir.graph import Var
from ..lowering import Lowering
from .contrib import contrib

FILTER = -10000.0  # what masked scores get, by default
ZERO, ONE = np.int64(0), np.int64(1)


# ---- heads ---------------------------------------------------------------------------------------------------


def split_heads(b: Lowering, x: Var, heads: int) -> Var:
    """(B, S, N * D) as (B, N, S, D)."""
    width = x.shape[-1] // heads
    return b.transpose(b.reshape(x, shape=b.mixed((*b.dims(x)[:2], heads, width))), perm=(0, 2, 1, 3))  # type: ignore[no-any-return]


def join_heads(b: Lowering, x: Var) -> Var:
    """(B, N, S, D) as (B, S, N * D)."""
    heads, width = x.shape[1], x.shape[3]
    n, s = b.dim(x, 0), b.dim(x, 2)
    return b.reshape(b.transpose(x, perm=(0, 2, 1, 3)), shape=b.mixed((n, s, heads * width)))  # type: ignore[no-any-return]


def length(b: Lowering, x: Var, axis: int) -> Var:
    """A dimension of x as an i64 scalar."""
    size = x.shape[axis]
    return b.constant(np.int64(size)) if isinstance(size, int) else b.gather(b.shape(x), np.int64(axis))  # type: ignore[no-any-return]


def numbers_below(b: Lowering, count: Var) -> Var:
    """0, 1, ... count - 1."""
    return b.range(ZERO, count, ONE)  # type: ignore[no-any-return]


def _scale(scale: float | None, q: Var) -> float:
    return float(scale) if scale else float(q.shape[-1]) ** -0.5  # type: ignore[arg-type]


# ---- masks ---------------------------------------------------------------------------------------------------


def _additive(b: Lowering, kept: Var, like: Var, value: float) -> Var:
    """0 where something is kept (booleans), else the value."""
    return b.where(kept, b.constant(0, dtype=like.tensor.dtype.numpy), b.constant(value, dtype=like.tensor.dtype.numpy))  # type: ignore[no-any-return]


def _kept(b: Lowering, mask: Var, q: Var, total: Var) -> Var:
    """Which keys a mask of integers keeps, as booleans that broadcast to (B, N, S, T).

    mask: (B,) lengths; (2 B,) ends, then starts; (B, T), (B, S, T) or (B, 1, M, M) of zeros and ones.
    """
    rank = len(mask.shape)
    if rank == 1:
        return _within(b, mask, q, total)
    kept = b.not_equal(mask, 0)
    if rank == 4:  # a square for the longest sequence: rows of the queries at the end, columns of the keys
        rows = b.sub(total, length(b, q, 2))
        starts, ends = b.vector([rows, b.constant(ZERO)]), b.vector([total, total])
        return b.slice(kept, starts=starts, ends=ends, axes=(2, 3))  # type: ignore[no-any-return]
    return b.unsqueeze(kept, axes=(1, 2) if rank == 2 else (1,))  # type: ignore[no-any-return]


def _within(b: Lowering, lengths: Var, q: Var, total: Var) -> Var:
    """Keys up to an end, from a start on if there are two numbers a sample."""
    batch, count = q.shape[0], lengths.shape[0]
    if dims.is_number((batch, count)) and count not in (batch, 2 * batch):
        raise b.refuse(f"a mask of {count} numbers for {batch} samples")
    places, bounds = numbers_below(b, total), b.cast(lengths, to="i64")
    if not dims.known(batch) or count != 2 * batch:
        return _column(b, b.less(places, b.unsqueeze(bounds, axes=(1,))))
    ends, starts = (b.unsqueeze(v, axes=(1,)) for v in b.split(bounds, axis=0, sizes=(batch, batch)))
    return _column(b, b.logical_and(b.greater_equal(places, starts), b.less(places, ends)))


def _column(b: Lowering, kept: Var) -> Var:
    return b.unsqueeze(kept, axes=(1, 2))  # type: ignore[no-any-return]


def _causal(b: Lowering, q: Var, total: Var) -> Var:
    """Which keys (S, T) are not behind the query, the last query being at the last key."""
    first = b.sub(total, length(b, q, 2))
    rows = b.unsqueeze(b.add(numbers_below(b, length(b, q, 2)), first), axes=(1,))
    return b.less_equal(b.unsqueeze(numbers_below(b, total), axes=(0,)), rows)  # type: ignore[no-any-return]


# ---- the formula ---------------------------------------------------------------------------------------------


def _attend(
    b: Lowering, q: Var, k: Var, v: Var, *, scale: float | None, mask: Var | None, bias: Var | None, causal: bool,
    filter_value: float | None,
) -> Var:  # fmt: skip
    """softmax(scale q kᵀ + mask + bias) v, joined to (B, S, N * D)."""
    total = length(b, k, 2)
    if mask is not None:
        added = _additive(b, _kept(b, mask, q, total), q, FILTER if filter_value is None else filter_value)
        bias = added if bias is None else b.add(added, bias)
    kept = _causal(b, q, total) if causal else None
    return join_heads(b, b.attention(q, k, v, kept, bias, scale=_scale(scale, q)))


def _refuse_shared(b: Lowering, *lengths: Var | None, shared: int = 0) -> None:
    if shared or any(v is not None for v in lengths):
        raise b.refuse("past and present in one buffer", "export with past_present_share_buffer = 0")


@contrib("Attention")
def attention(
    b: Lowering, input: Var, weights: Var, bias: Var | None = None, mask_index: Var | None = None,
    past: Var | None = None, attention_bias: Var | None = None, past_sequence_length: Var | None = None, *,
    do_rotary: int = 0, mask_filter_value: float | None = None, num_heads: int, past_present_share_buffer: int = 0,
    qkv_hidden_sizes: tuple[int, ...] | None = None, rotary_embedding_dim: int = 0, scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Var, ...]:  # fmt: skip
    """Self-attention with the projection to q, k and v: input (B, S, H), weights (H, q + k + v)."""
    _refuse_shared(b, past_sequence_length, shared=past_present_share_buffer)
    if do_rotary:
        raise b.refuse("do_rotary", "export with RotaryEmbedding nodes")
    projected = b.matmul(input, weights)
    projected = projected if bias is None else b.add(projected, bias)
    sizes = qkv_hidden_sizes or (weights.shape[1] // 3,) * 3
    return self_attention(
        b, projected, sizes, mask_index, past, attention_bias, heads=num_heads, scale=scale,
        causal=bool(unidirectional), filter_value=mask_filter_value,
    )  # fmt: skip


def self_attention(
    b: Lowering, projected: Var, sizes: Sequence[Any], mask: Var | None, past: Var | None, bias: Var | None, *,
    heads: int, scale: float | None, causal: bool, filter_value: float | None,
) -> tuple[Var, ...]:  # fmt: skip
    """What follows the projection (B, S, q + k + v): the result, and past and new keys and values if asked for."""
    q, k, v = (split_heads(b, part, heads) for part in b.split(projected, axis=-1, sizes=tuple(sizes)))
    if past is not None:
        old = b.split(past, axis=0, sizes=(1, 1))
        k, v = (b.concat(b.squeeze(o, axes=(0,)), new, axis=2) for o, new in zip(old, (k, v)))
    y = _attend(b, q, k, v, scale=scale, mask=mask, bias=bias, causal=causal, filter_value=filter_value)
    if not b.wants(1):
        return (y,)
    return y, b.concat(b.unsqueeze(k, axes=(0,)), b.unsqueeze(v, axes=(0,)), axis=0)


@contrib("MultiHeadAttention")
def multi_head_attention(
    b: Lowering, query: Var, key: Var | None = None, value: Var | None = None, bias: Var | None = None,
    key_padding_mask: Var | None = None, attention_bias: Var | None = None, past_key: Var | None = None,
    past_value: Var | None = None, past_sequence_length: Var | None = None, cache_indirection: Var | None = None, *,
    mask_filter_value: float | None = None, num_heads: int, scale: float | None = None, unidirectional: int = 0,
) -> tuple[Var | None, ...]:  # fmt: skip
    """Attention of q, k and v that are projected already.

    query (B, S, N D), key and value (B, T, N D), or (B, N, T, D) from another layer's cache; or packed: query
    (B, S, N, 3, D) alone, or key (B, T, N, 2, D) without value.  bias is that of q, k and v together.
    """
    _refuse_shared(b, past_sequence_length, cache_indirection)
    if b.wants(3):
        raise b.refuse("the scores as fourth output")
    q, k, v = _heads_of(b, query, key, value, bias, num_heads)
    if past_key is not None and past_value is not None:
        k, v = b.concat(past_key, k, axis=2), b.concat(past_value, v, axis=2)
    y = _attend(
        b, q, k, v, scale=scale, mask=key_padding_mask, bias=attention_bias, causal=bool(unidirectional),
        filter_value=mask_filter_value,
    )  # fmt: skip
    return y, k, v, None


def _heads_of(
    b: Lowering, query: Var, key: Var | None, value: Var | None, bias: Var | None, heads: int
) -> tuple[Var, Var, Var]:
    """q, k and v as (B, N, S, D), biases added."""
    if len(query.shape) == 5:
        parts = [*_unpacked(b, query, 3)]
    elif key is None:
        raise b.refuse("no key")
    elif len(key.shape) == 5:
        parts = [query, *_unpacked(b, key, 2)]
    elif value is None:
        raise b.refuse("no value")
    else:
        parts = [query, key, value]
    if bias is not None:
        widths = [p.shape[-1] if len(p.shape) == 3 else p.shape[1] * p.shape[3] for p in parts]
        biases = b.split(bias, axis=0, sizes=tuple(widths))
        parts = [b.add(p, a) if len(p.shape) == 3 else p for p, a in zip(parts, biases)]
    q, k, v = (split_heads(b, p, heads) if len(p.shape) == 3 else p for p in parts)
    return q, k, v


def _unpacked(b: Lowering, x: Var, count: int) -> list[Var]:
    """(B, S, N, count, D) as `count` times (B, S, N D)."""
    width = x.shape[2] * x.shape[4]
    parts = b.split(x, axis=3, sizes=(1,) * count)
    return [b.reshape(p, shape=b.mixed((*b.dims(x)[:2], width))) for p in parts]


# ---- rotary embedding ----------------------------------------------------------------------------------------


@contrib("RotaryEmbedding")
def rotary_embedding(
    b: Lowering, input: Var, position_ids: Var, cos_cache: Var, sin_cache: Var, *, interleaved: int = 0,
    is_packed_batching: int = 0, num_heads: int = 0, rotary_embedding_dim: int = 0, scale: float = 1.0,
) -> Var:  # fmt: skip
    """Pairs of elements turned by angles that grow with the position (Su et al. 2021).

    input (B, S, N D) or (B, N, S, D); position_ids (B, S), or one number, the first position.
    """
    if is_packed_batching:
        raise b.refuse("is_packed_batching")
    if scale != 1:
        raise b.refuse(f"scale is {scale}")
    flat = len(input.shape) == 3
    half = cos_cache.shape[1]
    heads = num_heads if rotary_embedding_dim else input.shape[-1] // (2 * half)
    x = split_heads(b, input, heads) if flat else input
    if position_ids.shape in ((1,), ()):
        first = b.reshape(b.cast(position_ids, to="i64"), shape=(1,))
        position_ids = b.unsqueeze(b.add(numbers_below(b, length(b, x, 2)), first), axes=(0,))
    y = rotated(b, x, position_ids, cos_cache, sin_cache, bool(interleaved))
    return join_heads(b, y) if flat else y


def rotated(b: Lowering, x: Var, positions: Var, cos: Var, sin: Var, interleaved: bool) -> Var:
    """The first 2 * (columns of cos) elements of each head of x (B, N, S, D) turned; positions are (B, S)."""
    half, width = cos.shape[1], x.shape[3]
    c, s = (b.unsqueeze(b.gather(t, positions), axes=(1,)) for t in (cos, sin))  # (B, 1, S, half)
    turned = b.slice(x, starts=(0,), ends=(2 * half,), axes=(3,))
    if interleaved:
        real, imaginary = (b.slice(turned, starts=(i,), ends=(2 * half,), axes=(3,), steps=(2,)) for i in (0, 1))
    else:
        real, imaginary = b.split(turned, axis=3, sizes=(half, half))
    parts = [b.sub(b.mul(real, c), b.mul(imaginary, s)), b.add(b.mul(real, s), b.mul(imaginary, c))]
    if interleaved:
        pairs = b.concat(*(b.unsqueeze(p, axes=(4,)) for p in parts), axis=4)
        y = b.reshape(pairs, shape=b.mixed((*b.dims(x)[:3], 2 * half)))
    else:
        y = b.concat(*parts, axis=3)
    if 2 * half == width:
        return y  # type: ignore[no-any-return]
    return b.concat(y, b.slice(x, starts=(2 * half,), ends=(width,), axes=(3,)), axis=3)  # type: ignore[no-any-return]


# ---- grouped queries -----------------------------------------------------------------------------------------


@contrib("GroupQueryAttention")
def group_query_attention(
    b: Lowering, query: Var, key: Var | None, value: Var | None, past_key: Var | None, past_value: Var | None,
    seqlens_k: Var, total_sequence_length: Var, cos_cache: Var | None = None, sin_cache: Var | None = None,
    position_ids: Var | None = None, attention_bias: Var | None = None, head_sink: Var | None = None,
    k_scale: Var | None = None, v_scale: Var | None = None, q_norm_weight: Var | None = None,
    k_norm_weight: Var | None = None, query_seqlens: Var | None = None, *, causal: int = 1, do_rotary: int = 0,
    k_norm_epsilon: float | None = None, k_quant_type: str = "NONE", kv_cache_bit_width: int = 0, kv_num_heads: int,
    local_window_size: int = -1, num_heads: int, q_norm_epsilon: float | None = None,
    qk_norm_epsilon: float = 1e-6, qk_output: int = 0, rotary_interleaved: int = 0, scale: float | None = None,
    sliding_window_cache: int = 0, smooth_softmax: int = -1, softcap: float = 0.0, v_quant_type: str = "NONE",
) -> tuple[Var, ...]:  # fmt: skip
    """Causal attention of decoders: several heads of q share one of k and v (Ainslie et al. 2023), with a cache.

    seqlens_k (B,): the number of keys of a sample, the new ones included, less one.  New keys are written into the
    cache behind those that a sample has, and query i of a sample attends to the keys up to its own.
    """
    if sliding_window_cache:
        raise b.refuse("sliding_window_cache", "the program has to keep a whole cache")
    sinks = smooth_softmax == 1 or head_sink is not None
    if qk_output not in (0, 1, 2) or (qk_output and (sinks or attention_bias is not None)):
        raise b.refuse(f"qk_output {qk_output}, or with attention_bias, head_sink or smooth_softmax")
    kinds = (k_quant_type, k_scale), (v_quant_type, v_scale)
    codes = [_codes(b, kind, given, kv_num_heads, kv_cache_bit_width) for kind, given in kinds]
    if key is None or value is None:
        width = query.shape[2] // (num_heads + 2 * kv_num_heads)
        query, key, value = b.split(
            query, axis=2, sizes=(num_heads * width, kv_num_heads * width, kv_num_heads * width)
        )
    q = split_heads(b, query, num_heads)
    k, v = (split_heads(b, x, kv_num_heads) for x in (key, value))
    if q_norm_weight is not None and k_norm_weight is not None:
        q = b.rms_norm(q, q_norm_weight, axes=(-1,), epsilon=q_norm_epsilon or qk_norm_epsilon)
        k = b.rms_norm(k, k_norm_weight, axes=(-1,), epsilon=k_norm_epsilon or qk_norm_epsilon)
    fresh = length(b, q, 2)
    first = _first_places(b, seqlens_k, fresh if query_seqlens is None else _rows_of(b, query_seqlens))
    rows = b.add(
        first, b.unsqueeze(numbers_below(b, fresh), axes=(0,))
    )  # (B, S): the place of each query among the keys
    if do_rotary:
        if cos_cache is None or sin_cache is None:
            raise b.refuse("do_rotary without cos_cache and sin_cache")
        where = rows if position_ids is None else position_ids
        q, k = (rotated(b, x, where, cos_cache, sin_cache, bool(rotary_interleaved)) for x in (q, k))
    total = b.cast(b.reshape(total_sequence_length, shape=()), to="i64")
    fresh_k, fresh_v = (x if c is None else c.written(x) for x, c in zip((k, v), codes))
    caches = [_cached(b, old, new, rows, total) for old, new in ((past_key, fresh_k), (past_value, fresh_v))]
    k, v = (x if c is None else c.read(x, q) for x, c in zip(caches, codes))
    kept = _seen(b, rows, length(b, k, 2), seqlens_k, bool(causal), local_window_size)
    every = num_heads // kv_num_heads
    wide_k, wide_v = (x if every == 1 else b.repeat(x, repeats=every, axis=1) for x in (k, v))
    settings: dict[str, Any] = {"scale": _scale(scale, q), "soft_cap": softcap or None}
    if sinks:
        y = _with_sink(b, q, wide_k, wide_v, kept, attention_bias, head_sink, **settings)
    else:
        y = b.attention(q, wide_k, wide_v, kept, _widened(b, attention_bias, wide_k), **settings)
    if not qk_output:
        return join_heads(b, y), *caches
    capped = _scores(b, q, wide_k, **settings)
    told = b.where(kept, capped, b.constant(0 if qk_output == 1 else -np.inf, dtype=q.tensor.dtype.numpy))
    return join_heads(b, y), *caches, told if qk_output == 1 else b.softmax(told, axis=-1)


def _rows_of(b: Lowering, counts: Var) -> Var:
    return b.reshape(b.cast(counts, to="i64"), shape=(-1, 1))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Codes:
    """A cache (B, N, T, D) of integers of 8 bits, or of 4, two in a byte, the first in its low half and 8 being 0."""

    b: Lowering
    scale: Var | None
    shape: tuple[int, ...]  # of the scale: one of all, or of each head and channel
    bits: int  # 0: not told

    def _scales(self, like: Var) -> Var:
        if self.scale is None:
            raise self.b.refuse("a quantised cache without scale")
        return self.b.reshape(self.b.cast_like(self.scale, like), shape=self.shape)  # type: ignore[no-any-return]

    def written(self, x: Var) -> Var:
        """Numbers as codes."""
        b, top = self.b, 2 ** ((self.bits or 8) - 1)
        codes = b.clip(b.round(b.div(x, self._scales(x))), low=float(-top), high=float(top - 1))
        if self.bits != 4:
            return b.cast(codes, to="i8")  # type: ignore[no-any-return]
        pairs = b.cast(b.add(codes, float(top)), to="u8")
        low, high = (b.slice(pairs, starts=(i,), ends=(2**31 - 1,), axes=(3,), steps=(2,)) for i in (0, 1))
        return b.bit_or(low, b.shift_left(high, np.uint8(4)))  # type: ignore[no-any-return]

    def read(self, codes: Var, like: Var) -> Var:
        """Codes as numbers."""
        b = self.b
        if self.bits == 4:
            halves = b.bit_and(codes, np.uint8(15)), b.shift_right(codes, np.uint8(4))
            pairs = b.concat(*(b.unsqueeze(h, axes=(4,)) for h in halves), axis=4)
            width = 2 * int(codes.shape[3])
            codes = b.sub(b.cast(b.reshape(pairs, shape=b.mixed((*b.dims(codes)[:3], width))), to="i8"), np.int8(8))
        x = b.cast_like(codes, like)
        return b.mul(x, self._scales(x))  # type: ignore[no-any-return]


def _codes(b: Lowering, kind: str, scale: Var | None, heads: int, bits: int) -> _Codes | None:
    """How a cache is written, by the name of its quantisation; None for numbers as they are."""
    shape = () if kind == "PER_TENSOR" else (1, heads, 1, -1)
    return None if kind == "NONE" else _Codes(b, scale, shape, bits)


def _first_places(b: Lowering, seqlens_k: Var, fresh: Var) -> Var:
    """(B, 1): how many keys a sample has in the cache; none in the first run, where shorter samples are padded.

    fresh: the number of new keys, or that of each sample (B, 1).
    """
    return b.maximum(b.sub(b.add(_rows_of(b, seqlens_k), 1), fresh), np.int64(0))  # type: ignore[no-any-return]


def _cached(b: Lowering, past: Var | None, new: Var, rows: Var, total: Var) -> Var:
    """(B, N, T, D): the cache with new keys or values at their places, T being its size or `total`, the larger."""
    if past is None:
        return new
    extra = b.maximum(b.sub(total, length(b, past, 2)), np.int64(0))
    shape = b.concat(b.slice(b.shape(past), starts=(0,), ends=(2,)), b.reshape(extra, shape=(1,)),
                     b.slice(b.shape(past), starts=(3,), ends=(4,)), axis=0)  # fmt: skip
    zeros = b.fill(b.constant(0, dtype=past.tensor.dtype.numpy), shape=shape)
    room = b.transpose(b.concat(past, zeros, axis=2), perm=(0, 2, 1, 3))
    places = b.unsqueeze(rows, axes=(2,))
    written = b.scatter_nd(room, places, b.transpose(new, perm=(0, 2, 1, 3)), batch_dims=1)
    return b.transpose(written, perm=(0, 2, 1, 3))  # type: ignore[no-any-return]


def _seen(b: Lowering, rows: Var, count: Var, seqlens_k: Var, causal: bool, window: int) -> Var:
    """(B, 1, S, T): which keys each query attends to."""
    places = b.reshape(numbers_below(b, count), shape=(1, 1, -1))
    own = b.unsqueeze(rows, axes=(2,))
    if causal:
        kept = b.less_equal(places, own)
    else:
        kept = b.less_equal(places, b.reshape(b.cast(seqlens_k, to="i64"), shape=(-1, 1, 1)))
    if window > 0:
        kept = b.logical_and(kept, b.greater(places, b.sub(own, np.int64(window))))
    return b.unsqueeze(kept, axes=(1,))  # type: ignore[no-any-return]


def _widened(b: Lowering, bias: Var | None, k: Var) -> Var | None:
    """A bias cut to, or padded for, the places of the cache."""
    if bias is None or bias.shape[-1] == k.shape[2]:
        return bias
    rank = len(bias.shape)
    lack = b.maximum(b.sub(length(b, k, 2), length(b, bias, rank - 1)), np.int64(0))
    shape = b.concat(b.slice(b.shape(bias), starts=(0,), ends=(rank - 1,)), b.reshape(lack, shape=(1,)), axis=0)
    zeros = b.fill(b.constant(0, dtype=bias.tensor.dtype.numpy), shape=shape)
    return b.concat(bias, zeros, axis=rank - 1)  # type: ignore[no-any-return]


def _scores(b: Lowering, q: Var, k: Var, *, scale: float, soft_cap: float | None) -> Var:
    """What a query gives to each key, capped."""
    scores = b.mul(b.matmul(q, b.swap(k)), scale)
    return scores if soft_cap is None else b.mul(b.tanh(b.div(scores, soft_cap)), soft_cap)  # type: ignore[no-any-return]


def _with_sink(
    b: Lowering, q: Var, k: Var, v: Var, kept: Var, bias: Var | None, sink: Var | None, *, scale: float,
    soft_cap: float | None,
) -> Var:  # fmt: skip
    """Attention to one place more, whose score is the head's sink (or 0) and whose value is nothing."""
    scores = _scores(b, q, k, scale=scale, soft_cap=soft_cap)
    if bias is not None:
        scores = b.add(scores, _widened(b, bias, k))
    scores = b.where(kept, scores, b.constant(-np.inf, dtype=q.tensor.dtype.numpy))
    extra = b.constant(0, dtype=q.tensor.dtype.numpy) if sink is None else b.cast_like(sink, q)
    shape = b.concat(b.slice(b.shape(q), starts=(0,), ends=(3,)), np.ones(1, np.int64), axis=0)
    column = b.expand(b.reshape(extra, shape=(1, -1, 1, 1)), shape=shape)
    weights = b.softmax(b.concat(scores, column, axis=3), axis=3)
    weights = b.slice(weights, starts=(0,), ends=(-1,), axes=(3,))
    return b.matmul(weights, v)  # type: ignore[no-any-return]
