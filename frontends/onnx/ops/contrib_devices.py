"""Operators that ONNX Runtime (domain `com.microsoft`) has for other processors than CPUs, where they are plain.

Its optimiser writes them into models that it prepares for those.  Those that are not known are at the end, with the
reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ....ir.graph import Var
from ....ir.types import f32, f64
from ..lowering import Lowering
from ..registry import refuse
from .contrib import DOMAIN, activated, contrib, fused_conv, fused_matmul
from .conv import Ints

# ---- products and convolutions -------------------------------------------------------------------------------


@contrib("NhwcConv")
def nhwc_conv(
    b: Lowering, X: Var, W: Var, B: Var | None = None, *, auto_pad: str = "NOTSET", dilations: Ints | None = None,
    group: int = 1, kernel_shape: Ints | None = None, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """Conv of images (N, H, W, C), weights being (O, C / group, H, W) as ever."""
    return nhwc_fused_conv(
        b, X, W, B, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads,
        strides=strides,
    )  # fmt: skip


@contrib("NhwcFusedConv")
def nhwc_fused_conv(
    b: Lowering, X: Var, W: Var, B: Var | None = None, Z: Var | None = None, *, activation: str = "",
    activation_params: tuple[float, ...] = (), auto_pad: str = "NOTSET", dilations: Ints | None = None,
    group: int = 1, kernel_shape: Ints | None = None, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """FusedConv of channels last, Z too."""
    y = fused_conv(
        b, b.to_first(X), W, B, None if Z is None else b.to_first(Z), activation=activation,
        activation_params=activation_params, auto_pad=auto_pad, dilations=dilations, group=group,
        kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return b.to_last(y)


@contrib("FusedMatMulActivation")
def fused_matmul_activation(
    b: Lowering, A: Var, B: Var, *, activation: str, activation_alpha: float | None = None,
    activation_axis: int | None = None, activation_beta: float | None = None, activation_gamma: float | None = None,
    alpha: float = 1.0, transA: int = 0, transB: int = 0, transBatchA: int = 0, transBatchB: int = 0,
) -> Var:  # fmt: skip
    """activation(FusedMatMul(A, B)); the axis is that of a Softmax."""
    y = fused_matmul(
        b, A, B, alpha=alpha, transA=transA, transB=transB, transBatchA=transBatchA, transBatchB=transBatchB
    )
    if activation == "Softmax":
        return b.softmax(y, axis=-1 if activation_axis is None else activation_axis)
    second = activation_gamma if activation == "Selu" else activation_beta
    return activated(b, y, activation, (activation_alpha, second))


@contrib("ComplexMul")
def complex_mul(b: Lowering, A: Var, B: Var) -> Var:
    """The products of complex numbers, pairs along the last axis."""
    return _complex_product(b, A, B, 1)


@contrib("ComplexMulConj")
def complex_mul_conjugate(b: Lowering, A: Var, B: Var) -> Var:
    """A times the conjugate of B."""
    return _complex_product(b, A, B, -1)


def _complex_product(b: Lowering, x: Var, y: Var, sign: int) -> Var:
    (a, c), (d, e) = (b.split(v, axis=-1, sizes=(1, 1)) for v in (x, y))
    e = e if sign > 0 else b.neg(e)
    return b.concat(b.sub(b.mul(a, d), b.mul(c, e)), b.add(b.mul(a, e), b.mul(c, d)), axis=-1)  # type: ignore[no-any-return]


# ---- activations, sums, tables -------------------------------------------------------------------------------


@contrib("SwiGLU")
def swiglu(
    b: Lowering, gate: Var, up: Var | None = None, *, activation_alpha: float = 1.0, activation_beta: float = 0.0,
    limit: float = 0.0, round_activation: int = 0,
) -> Var:  # fmt: skip
    """gate * sigmoid(alpha * gate) * (up + beta), both cut at the limit; without `up`, gate holds both."""
    wide = gate.tensor.dtype if gate.tensor.dtype is f64 else f32
    left, right = (gate, up) if up is not None else b.split(gate, axis=-1, sizes=(gate.shape[-1] // 2,) * 2)
    left, right = (b.cast(x, to=wide) for x in (left, right))
    if limit > 0:
        left, right = b.clip(left, high=limit), b.clip(right, low=-limit, high=limit)
    y = b.silu(left, beta=activation_alpha)
    if round_activation:
        y = b.cast(b.cast_like(y, gate), to=wide)
    return b.cast_like(b.mul(y, b.add(right, activation_beta)), gate)


@contrib("IsAllFinite")
def is_all_finite(b: Lowering, *input: Var, isinf_only: int = 0, isnan_only: int = 0) -> Var:
    """Whether no element of any tensor is infinite or not a number."""
    found = []
    for x in input:
        odd = [b.is_nan(x)] * (not isinf_only) + [b.is_inf(x)] * (not isnan_only)
        found += [b.reshape(b.reduce_any(o), shape=(1,)) for o in odd]
    return b.logical_not(b.reduce_any(b.concat(*found, axis=0)))


@contrib("ReduceSumInteger")
def reduce_sum_integer(b: Lowering, data: Var, *, axes: Ints, keepdims: int = 1) -> Var:
    wide = b.cast(data, to="u32" if data.tensor.dtype.name.startswith("u") else "i32")
    return b.reduce_sum(wide, axes=axes, keepdims=bool(keepdims))


@contrib("TorchEmbedding")
def torch_embedding(
    b: Lowering, weight: Var, indices: Var, padding_idx: Var | None = None, scale_grad_by_freq: Var | None = None
) -> Var:
    """Rows of a table; what training does with them is for the gradient only."""
    return b.gather(weight, indices, axis=0)


# ---- positions -----------------------------------------------------------------------------------------------


@contrib("GemmaRotaryEmbedding")
def gemma_rotary_embedding(b: Lowering, emb: Var, q: Var, q_rot: Var, k: Var, k_rot: Var) -> tuple[Var, Var]:
    """q and k turned by angles (B, S, D), their halves being swapped already in q_rot and k_rot."""
    cos, sin = (b.unsqueeze(b.cast_like(f(emb), q), axes=(1,)) for f in (b.cos, b.sin))
    one, two = (b.add(b.mul(x, cos), b.mul(turned, sin)) for x, turned in ((q, q_rot), (k, k_rot)))
    return one, two


@contrib("RelativePositionBias")
def relative_position_bias(
    b: Lowering, bias_table: Var, query_length: Var, key_length: Var, *, is_bidirectional: int = 0, max_distance: int
) -> Var:
    """(1, heads, S, T): a row of the table (buckets, heads) for how far a key is behind the query (Raffel et al. 2020).

    One bucket for each of the first distances, then one for ever longer ranges; half of all are for keys ahead.
    """
    total = int(bias_table.shape[0])
    buckets = total // 2 if is_bidirectional else total
    exact = buckets // 2
    queries, keys = (b.range(np.int64(0), b.reshape(n, shape=()), np.int64(1)) for n in (query_length, key_length))
    behind = b.sub(b.unsqueeze(queries, axes=(1,)), keys)
    distance = b.abs(behind) if is_bidirectional else b.maximum(behind, np.int64(0))
    scale = (buckets - exact) / math.log(max_distance / exact)
    ratio = b.div(b.cast(b.maximum(distance, np.int64(1)), to=f32), float(exact))
    far = b.add(b.cast(b.mul(b.log(ratio), scale), to="i64"), np.int64(exact))
    bucket = b.where(b.less(distance, np.int64(exact)), distance, b.minimum(far, np.int64(buckets - 1)))
    if is_bidirectional:
        bucket = b.add(bucket, b.mul(b.cast(b.less(behind, np.int64(0)), to="i64"), np.int64(buckets)))
    return b.unsqueeze(b.transpose(b.gather(bias_table, bucket), perm=(2, 0, 1)), axes=(0,))


@contrib("GatedRelativePositionBias")
def gated_relative_position_bias(
    b: Lowering, query_layer: Var, query_bias: Var, rel_pos: Var, weight: Var, bias: Var, eco_a: Var,
    token_offset: Var | None = None, *, num_heads: int,
) -> Var:  # fmt: skip
    """rel_pos (1, N, S, S) times a gate that each query (B, S, N D) computes: u (r eco_a - 1) + 2."""
    if token_offset is not None:
        raise b.refuse("token_offset, several requests packed into one", "export the model for one batch")
    width, half = weight.shape[0], int(weight.shape[1]) // 2
    split = b.reshape(b.add(query_layer, query_bias), shape=b.mixed((*b.dims(query_layer)[:2], num_heads, width)))
    q = b.transpose(split, perm=(0, 2, 1, 3))
    gates = b.add(b.matmul(q, weight), bias)  # (B, N, S, D): halves are summed to one number each
    u, r = (
        b.sigmoid(b.reduce_sum(part, axes=(3,), keepdims=True)) for part in b.split(gates, axis=3, sizes=(half, half))
    )
    return b.mul(b.add(b.mul(u, b.sub(b.mul(r, eco_a), 1.0)), 2.0), rel_pos)


# ---- not known, and why --------------------------------------------------------------------------------------

REASONS: dict[str, Sequence[str]] = {
    "it packs the samples of a batch into one row, which is of use to a GPU: export the model without it": (
        "PackedAttention", "PackedMultiHeadAttention", "RemovePadding", "RestorePadding"),
    "its cache of pages is managed by the program that serves requests": ("PagedAttention", "SparsePagedAttention"),
    "it keeps or cuts a program's state between steps of generation": (
        "ConvStateReplay", "GatedDeltaNetStateReplay", "Mamba2Verify", "SpeculativePrefixCommit"),
    "its masks of bits are made in training; export the model for inference": (
        "BitmaskBiasDropout", "BitmaskDropout"),
    "numbers or tiles in an order that one GPU wants: export plain ones": (
        "DequantizeBFP", "DequantizeWithOrder", "GemmFloat8", "MatMulBlockQuantizedFp4Weight",
        "MatMulBlockQuantizedFp8Weight", "MatMulPacked", "MoEPacked", "QOrderedAttention", "QOrderedGelu",
        "QOrderedLayerNormalization", "QOrderedLongformerAttention", "QOrderedMatMul", "QuantizeBFP",
        "QuantizeWithOrder"),
    "fused for one GPU in the program that runs it, not by exporters: write the model before that": (
        "HyperConnectionLowRankMix", "MatMulNBitsMlp", "MatMulNBitsQLoRA", "MatMulNBitsQkv", "RMSNormRotary",
        "RouterGateUpProj"),
    "which places attend to which is found by kernels for one GPU: export dense attention": (
        "DynamicSparseAttention", "LongformerAttention", "PackedSparseAttentionIndexer",
        "PackedSparseAttentionIndexerMerge", "SparseAttentionIndexer"),
    "made for text generation by ONNX Runtime's own tools: export Attention or MultiHeadAttention": (
        "DecoderAttention", "DecoderMaskedSelfAttention"),
    "it holds what another compiler has made, not a computation": ("EPContext", "Snpe"),
}  # fmt: skip
for _reason, _names in REASONS.items():
    refuse(DOMAIN, _names, _reason)
