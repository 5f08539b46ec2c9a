"""Operators of ONNX Runtime (domain `com.microsoft`): what its optimiser fuses, and what exporters write for it.

Here: fused products and convolutions, activations, normalisation.  Attention, quantised operators and the rest have
files of their own.  Formulas are those of ONNX Runtime's documentation of contrib operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ....ir.graph import Var
from ....ir.types import f32, f64
from ..lowering import Lowering
from ..registry import onnx
from .conv import Ints, causal_conv_with_state, conv
from .linalg import gemm
from .norm import group_norm as group_norm_first
from .recurrent import ACTIVATIONS

DOMAIN = "com.microsoft"
contrib = partial(onnx, domain=DOMAIN)


# ---- products and convolutions with an activation ------------------------------------------------------------


def activated(b: Lowering, y: Var, name: str, parameters: Sequence[float | None]) -> Var:
    """An activation by ONNX's name; parameters in ONNX's order: alpha, beta, gamma, or the bounds of Clip."""
    known = name.lower()
    if known == "clip":
        low, high = (*parameters, None, None)[:2]
        return b.clip(y, low=low, high=high)  # type: ignore[no-any-return]
    names: tuple[str, ...]
    if known == "selu":
        names = ("alpha", "scale")
    elif known in ACTIVATIONS:
        known, settings = ACTIVATIONS[known]
        names = tuple(attribute for _, attribute, _ in settings)
    elif known in ("gelu", "celu"):
        names = ("alpha",) if known == "celu" else ()
    elif not name:
        return y
    else:
        raise b.refuse(f"activation {name!r}", f"known are Clip, Selu, Gelu, Celu, {', '.join(ACTIVATIONS)}")
    return getattr(b, known)(y, **{n: v for n, v in zip(names, parameters) if v is not None})  # type: ignore[no-any-return]


@contrib("FusedConv")
def fused_conv(
    b: Lowering, X: Var, W: Var, B: Var | None = None, Z: Var | None = None, *, activation: str = "",
    activation_params: tuple[float, ...] = (), auto_pad: str = "NOTSET", dilations: Ints | None = None,
    group: int = 1, kernel_shape: Ints | None = None, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """activation(Conv(X, W, B) + Z)."""
    y = conv(
        b, X, W, B, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads,
        strides=strides,
    )  # fmt: skip
    return activated(b, y if Z is None else b.add(y, Z), activation, activation_params)


@contrib("FusedGemm")
def fused_gemm(
    b: Lowering, A: Var, B: Var, C: Var | None = None, *, activation: str = "", activation_alpha: float | None = None,
    activation_beta: float | None = None, activation_gamma: float | None = None, alpha: float = 1.0, beta: float = 1.0,
    transA: int = 0, transB: int = 0,
) -> Var:  # fmt: skip
    """activation(Gemm(A, B, C)); Selu's scale is gamma."""
    second = activation_gamma if activation == "Selu" else activation_beta
    y = gemm(b, A, B, C, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return activated(b, y, activation, (activation_alpha, second))


@contrib("FusedMatMul")
def fused_matmul(
    b: Lowering, A: Var, B: Var, *, alpha: float = 1.0, transA: int = 0, transB: int = 0, transBatchA: int = 0,
    transBatchB: int = 0,
) -> Var:  # fmt: skip
    """alpha * A' @ B'.  transBatch: the matrix' rows are the first axis, in front of the batch axes."""
    left, right = _arranged(b, A, transA, transBatchA), _arranged(b, B, transB, transBatchB)
    y = b.matmul(left, right)
    return y if alpha == 1 else b.mul(y, alpha)


@contrib("TransposeMatMul")
def transpose_matmul(
    b: Lowering, A: Var, B: Var, *, alpha: float = 1.0, transA: int = 0, transB: int = 0
) -> Var:  # fmt: skip
    """FusedMatMul under its older name."""
    return fused_matmul(b, A, B, alpha=alpha, transA=transA, transB=transB)


def _arranged(b: Lowering, x: Var, swapped: int, rows_first: int) -> Var:
    rank = len(x.shape)
    if rows_first and rank > 2:
        x = b.transpose(x, perm=(*range(1, rank - 1), 0, rank - 1))
    return b.swap(x) if swapped and rank > 1 else x


@contrib("SparseToDenseMatMul")
def sparse_to_dense_matmul(
    b: Lowering, A: Var, B: Var, *, alpha: float = 1.0, transA: int = 0, transB: int = 0
) -> Var:  # fmt: skip
    """alpha * A' @ B' for a sparse A, which is dense here."""
    return gemm(b, A, B, alpha=alpha, transA=transA, transB=transB)


@contrib("CausalConvWithState")
def causal_conv(
    b: Lowering, input: Var, weight: Var, bias: Var | None = None, past_state: Var | None = None, *,
    activation: str = "none", channels_last: int = 0, dilation: int = 1, input_channel_offset: int = 0,
    input_channels: int = 0, ndim: int = 1, state_channels_last: int = -1, state_length: int = 0,
    state_update_capacity: int = 0, state_window: int = 0,
) -> tuple[Var, Var]:  # fmt: skip
    """ONNX's operator of that name; what else it can do is for programs that guess several tokens at once."""
    plain = (channels_last, dilation, input_channel_offset, input_channels, ndim, state_length) == (0, 1, 0, 0, 1, 0)
    if not plain or state_channels_last > 0 or state_update_capacity or state_window:
        raise b.refuse("other attributes than activation", "export with ONNX's CausalConvWithState")
    return causal_conv_with_state(b, input, weight, bias, past_state, activation=activation)


# ---- activations ---------------------------------------------------------------------------------------------


@contrib("Gelu")
def gelu(b: Lowering, X: Var) -> Var:
    return b.gelu(X)


@contrib("BiasGelu")
def bias_gelu(b: Lowering, A: Var, B: Var) -> Var:
    return b.gelu(b.add(A, B))


@contrib("FastGelu")
def fast_gelu(b: Lowering, X: Var, bias: Var | None = None) -> Var:
    """The approximation of gelu by tanh, of X + bias."""
    return b.gelu(X if bias is None else b.add(X, bias), approximate=True)


@contrib("GemmFastGelu")
def gemm_fast_gelu(b: Lowering, X: Var, W: Var, bias: Var | None = None) -> Var:
    return fast_gelu(b, b.matmul(X, W), bias)


@contrib("QuickGelu")
def quick_gelu(b: Lowering, X: Var, *, alpha: float = 1.702) -> Var:
    """X * sigmoid(alpha * X)."""
    return b.silu(X, beta=alpha)


@contrib("ScaledSiLU")
def scaled_silu(b: Lowering, X: Var, scale: Var | None = None, *, alpha: float = 1.0) -> Var:
    """silu(scale * X)."""
    return b.silu(b.mul(X, b.constant(alpha, dtype=X.tensor.dtype.numpy) if scale is None else b.cast_like(scale, X)))


@contrib("BiasSplitGelu")
def bias_split_gelu(b: Lowering, X: Var, bias: Var) -> Var:
    """The first half of X + bias along the last axis, times the gelu of the second."""
    half = bias.shape[0] // 2
    left, right = b.split(b.add(X, bias), axis=-1, sizes=(half, half))
    return b.mul(left, b.gelu(right))


@contrib("BiasAdd")
def bias_add(b: Lowering, X: Var, bias: Var, skip: Var) -> Var:
    return b.add(b.add(X, bias), skip)


@contrib("BiasDropout")
def bias_dropout(
    b: Lowering, data: Var, bias: Var, residual: Var | None = None, ratio: Var | None = None,
    training_mode: Var | None = None, *, seed: int | None = None,
) -> tuple[Var, ...]:  # fmt: skip
    """data + bias + residual: in inference nothing is dropped."""
    if training_mode is not None and b.known(training_mode) not in ((False,), (0,)):
        raise b.refuse("training_mode", "export the model for inference")
    if b.wants(1):
        raise b.refuse("a mask as second output", "export the model for inference")
    y = b.add(data, bias)
    return (y if residual is None else b.add(y, residual),)


@contrib("BiasSoftmax")
def bias_softmax(b: Lowering, data: Var, bias: Var, *, axis: int = 1, is_inner_broadcast: int = 0) -> Var:
    """softmax(data + bias) over all axes from `axis` on; inner broadcast: bias lacks axes just before `axis`."""
    rank = len(data.shape)
    first = axis % rank
    if is_inner_broadcast and len(bias.shape) < rank:
        bias = b.unsqueeze(bias, axes=tuple(range(first - (rank - len(bias.shape)), first)))
    whole = b.add(data, bias)
    if first == rank - 1:
        return b.softmax(whole, axis=-1)
    flat = b.reshape(whole, shape=b.mixed((*b.dims(whole)[:first], -1)))
    return b.reshape(b.softmax(flat, axis=-1), shape=b.mixed(b.dims(whole)))


# ---- normalisation -------------------------------------------------------------------------------------------


@contrib("SkipLayerNormalization")
def skip_layer_norm(
    b: Lowering, input: Var, skip: Var, gamma: Var, beta: Var | None = None, bias: Var | None = None, *,
    epsilon: float = 1e-12,
) -> tuple[Var | None, ...]:  # fmt: skip
    """The layer normalisation of input + skip + bias, statistics if asked for, and the sum."""
    total = _total(b, input, skip, bias)
    y = b.layer_norm(total, gamma, beta, axes=(-1,), epsilon=epsilon)
    mean, inverse = b.reduce_mean(total, axes=(-1,), keepdims=True) if b.wants(1) else None, None
    if b.wants(2):
        inverse = b.rsqrt(b.add(b.reduce_variance(total, axes=(-1,), keepdims=True), epsilon))
    return y, mean, inverse, total


@contrib("SkipSimplifiedLayerNormalization")
def skip_rms_norm(
    b: Lowering, input: Var, skip: Var, gamma: Var, bias: Var | None = None, *, epsilon: float = 1e-12
) -> tuple[Var | None, ...]:
    """The same with the root of the mean square in place of mean and deviation."""
    total = _total(b, input, skip, bias)
    inverse = _inverse_root(b, total, (-1,), epsilon) if b.wants(2) else None
    return b.rms_norm(total, gamma, axes=(-1,), epsilon=epsilon), None, inverse, total


def _total(b: Lowering, input: Var, skip: Var, bias: Var | None) -> Var:
    """The sum that a skip makes; bias goes to the input first, as ONNX Runtime does it."""
    return b.add(input if bias is None else b.add(input, bias), skip)  # type: ignore[no-any-return]


def _inverse_root(b: Lowering, x: Var, axes: tuple[int, ...], epsilon: float) -> Var:
    wide = x if x.tensor.dtype is f64 else b.cast(x, to=f32)
    return b.rsqrt(b.add(b.reduce_mean(b.square(wide), axes=axes, keepdims=True), epsilon))  # type: ignore[no-any-return]


@onnx("SimplifiedLayerNormalization")
def simplified_layer_norm(
    b: Lowering, X: Var, scale: Var, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Var, ...]:
    """RMSNormalization, as ONNX Runtime writes it into the default domain, with the inverse root if asked for."""
    axes = tuple(range(axis % len(X.shape), len(X.shape)))
    wide = X if X.tensor.dtype is scale.tensor.dtype else b.cast(X, to=scale.tensor.dtype)
    y = b.rms_norm(wide, scale, axes=axes, epsilon=epsilon)
    return (y, _inverse_root(b, X, axes, epsilon)) if b.wants(1) else (y,)


@contrib("EmbedLayerNormalization")
def embed_layer_norm(
    b: Lowering, input_ids: Var, segment_ids: Var | None, word_embedding: Var, position_embedding: Var,
    segment_embedding: Var | None, gamma: Var, beta: Var, mask: Var | None = None, position_ids: Var | None = None, *,
    epsilon: float = 1e-12, mask_index_type: int = 0,
) -> tuple[Var, ...]:  # fmt: skip
    """The layer normalisation of word + position + segment embeddings, the number of ones in each mask, the sum."""
    total = b.gather(word_embedding, input_ids)
    if position_ids is None:
        total = b.add(total, b.slice(position_embedding, starts=(0,), ends=b.vector([b.dim(input_ids, 1)]), axes=(0,)))
    else:
        total = b.add(total, b.gather(position_embedding, position_ids))
    if segment_ids is not None and segment_embedding is not None:
        total = b.add(total, b.gather(segment_embedding, segment_ids))
    y = b.layer_norm(total, gamma, beta, axes=(-1,), epsilon=epsilon)
    if mask is None:
        count = b.mul(b.reduce_sum(input_ids, axes=(1,)), 0)
    else:
        count = b.reduce_sum(b.cast(b.equal(mask, 1), to=mask.tensor.dtype), axes=(1,))
    return y, count, total


@contrib("GroupNorm")
def group_norm(
    b: Lowering, X: Var, gamma: Var, beta: Var, *, activation: int, channels_last: int = 1, epsilon: float = 1e-5,
    groups: int,
) -> Var:  # fmt: skip
    """Group normalisation, then silu if activation is 1."""
    gamma, beta = (b.cast_like(v, X) for v in (gamma, beta))
    if channels_last:
        y = b.group_norm(X, gamma, beta, groups=groups, axis=-1, epsilon=epsilon)
    else:
        y = group_norm_first(b, X, gamma, beta, epsilon=epsilon, num_groups=groups)
    return b.silu(y) if activation else y


@contrib("SkipGroupNorm")
def skip_group_norm(
    b: Lowering, X: Var, gamma: Var, beta: Var, skip: Var, bias: Var | None = None, *, activation: int,
    channels_last: int = 1, epsilon: float = 1e-5, groups: int,
) -> tuple[Var, Var]:  # fmt: skip
    """GroupNorm of X + skip + bias, and that sum; skip may be (N, C)."""
    if len(skip.shape) == 2:
        skip = b.unsqueeze(skip, axes=(1, 2) if channels_last else (2, 3))
    if bias is not None and not channels_last:
        bias = b.reshape(bias, shape=(-1, 1, 1))
    total = _total(b, X, skip, bias)
    attrs = {"activation": activation, "channels_last": channels_last, "epsilon": epsilon, "groups": groups}
    return group_norm(b, total, gamma, beta, **attrs), total  # type: ignore[arg-type]


@contrib("GatedRMSNorm")
def gated_rms_norm(
    b: Lowering, X: Var, scale: Var, gate: Var, *, activation: str = "silu", epsilon: float = 1e-5
) -> Var:  # fmt: skip
    """RMS normalisation over parts as long as scale, times the activation of gate."""
    if activation not in ("silu", "swish", "sigmoid"):
        raise b.refuse(f"activation {activation!r}")
    whole, size = b.dims(X), scale.shape[0]
    parts, scale, gate = b.cast(b.reshape(X, shape=(-1, size)), to=f32), b.cast(scale, to=f32), b.cast(gate, to=f32)
    y = b.reshape(b.rms_norm(parts, scale, axes=(-1,), epsilon=epsilon), shape=b.mixed(whole))
    return b.cast_like(b.mul(y, b.sigmoid(gate) if activation == "sigmoid" else b.silu(gate)), X)


@contrib("GatedAdd")
def gated_add(b: Lowering, X: Var, Y: Var, gate: Var, gate_weight: Var | None = None) -> Var:
    """X + Y * gate, gate being one number a row."""
    if gate_weight is not None:
        raise b.refuse("gate_weight")
    return b.add(X, b.mul(Y, gate))
