"""Operators of ONNX Runtime (domain `com.microsoft`) for shapes, places, images, texts and mixtures of experts.

Below them: operators that ONNX itself had before its opset 1 became stable, and ONNX Runtime still reads; and those of
ONNX Runtime that are not known here, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import helper
from onnx.defs import onnx_opset_version

from ....ir.graph import Var
from ....ir.types import f32
from ..functions import schema_with_function
from ..lowering import Lowering
from ..registry import onnx, refuse
from .contrib import DOMAIN, contrib
from .conv import Ints, conv_transpose
from .index import gather_nd as gather_nd_first
from .index import trilu as trilu_first
from .shape import pad as pad_first
from .vision import grid_sample as grid_sample_first

# ---- older names of what ONNX has ----------------------------------------------------------------------------


@contrib("Inverse")
def inverse(b: Lowering, X: Var) -> Var:
    return b.inverse(X)


@contrib("Pad")
def pad(b: Lowering, data: Var, pads: Var, value: Var | None = None, *, mode: str = "constant") -> Var:
    return pad_first(b, data, b.reshape(pads, shape=(-1,)), value, mode=mode)


@contrib("Range")
def range_(b: Lowering, start: Var, limit: Var, delta: Var | None = None) -> Var:
    step = b.constant(1, dtype=start.tensor.dtype.numpy) if delta is None else delta
    return b.range(*(b.reshape(v, shape=()) if v.shape else v for v in (start, limit, step)))


@contrib("Trilu")
def trilu(b: Lowering, X: Var, k: Var | None = None, *, upper: int = 1) -> Var:
    return trilu_first(b, X, k, upper=upper)


@contrib("GatherND")
def gather_nd(b: Lowering, data: Var, indices: Var) -> Var:
    return gather_nd_first(b, data, indices)


@contrib("GridSample")
def grid_sample(
    b: Lowering, X: Var, Grid: Var, *, align_corners: int = 0, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Var:
    return grid_sample_first(b, X, Grid, align_corners=align_corners, mode=mode, padding_mode=padding_mode)


@contrib("ExpandDims")
def expand_dims(b: Lowering, X: Var, axis: Var) -> Var:
    return b.unsqueeze(X, axes=tuple(b.numbers(axis, "the axis")))


@contrib("Unique")
def unique(b: Lowering, x: Var) -> tuple[Var, ...]:
    """Distinct elements as they first appear, which of them each element is, and how many of each."""
    values, _, inverse, counts = b.unique(x, sorted=False)
    return values, inverse, counts


@contrib("SampleOp")
def sample_op(b: Lowering, X: Var) -> Var:
    return b.identity(X)


@contrib("MulInteger")
def mul_integer(
    b: Lowering, A: Var, A_zero_point: Var | None, B: Var, B_zero_point: Var | None = None
) -> Var:  # fmt: skip
    """(A - A_zero_point) * (B - B_zero_point) in 32-bit integers."""
    wide = [
        b.cast(x, to="i32") if zero is None else b.sub(b.cast(x, to="i32"), b.cast(zero, to="i32"))
        for x, zero in ((A, A_zero_point), (B, B_zero_point))
    ]
    return b.mul(*wide)


@contrib("ConvTransposeWithDynamicPads")
def conv_transpose_with_pads(
    b: Lowering, X: Var, W: Var, Pads: Var | None = None, B: Var | None = None, *, auto_pad: str = "NOTSET",
    dilations: Ints | None = None, group: int = 1, kernel_shape: Ints | None = None,
    output_padding: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """ConvTranspose, its pads being an input, which has to be known before the run."""
    return conv_transpose(
        b, X, W, B, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape,
        output_padding=output_padding, strides=strides,
        pads=None if Pads is None else tuple(b.numbers(Pads, "the pads")),
    )  # fmt: skip


# ---- places and distances ------------------------------------------------------------------------------------


@contrib("CDist")
def cdist(b: Lowering, A: Var, B: Var, *, metric: str = "sqeuclidean") -> Var:
    """The distances of all rows of A to all rows of B."""
    if metric not in ("sqeuclidean", "euclidean"):
        raise b.refuse(f"metric {metric!r}", "known are sqeuclidean and euclidean")
    left, right = (b.reduce_sum_square(v, axes=(1,), keepdims=True) for v in (A, B))
    squares = b.sub(b.add(left, b.swap(right)), b.mul(b.matmul(A, b.swap(B)), 2.0))
    squares = b.maximum(squares, 0.0)
    return squares if metric == "sqeuclidean" else b.sqrt(squares)


@contrib("UnfoldTensor")
def unfold_tensor(b: Lowering, input: Var, *, dim: int = -1, size: int, step: int = 1) -> Var:
    """All windows of a size along an axis, as a new last axis (torch.Tensor.unfold)."""
    axis = dim % len(input.shape)
    length = b.count(b.dim(input, axis))
    starts = b.range(np.int64(0), b.sub(length, size - 1), np.int64(step))
    windows = b.gather(input, b.add(b.unsqueeze(starts, axes=(1,)), np.arange(size)), axis=axis)
    rank = len(input.shape) + 1
    return b.transpose(windows, perm=(*(i for i in range(rank) if i != axis + 1), axis + 1))


@contrib("NGramRepeatBlock")
def ngram_repeat_block(b: Lowering, input_ids: Var, scores: Var, *, ngram_size: int) -> Var:
    """-infinity for the tokens that would repeat n tokens which came before: input_ids (B, S), scores (B, V)."""
    length = b.gather(b.shape(input_ids), np.int64(1))
    starts = b.unsqueeze(b.range(np.int64(0), b.sub(length, ngram_size - 1), np.int64(1)), axes=(1,))
    windows = b.gather(input_ids, b.add(starts, np.arange(ngram_size)), axis=1)  # (B, windows, n)
    before, after = b.split(windows, axis=2, sizes=(ngram_size - 1, 1))
    ends = b.slice(
        input_ids, starts=(-(ngram_size - 1),) if ngram_size > 1 else (2**31 - 1,), ends=(2**31 - 1,), axes=(1,)
    )
    same = b.reduce_all(b.equal(before, b.unsqueeze(ends, axes=(1,))), axes=(2,))
    limit = b.where(same, b.constant(-np.inf, dtype=np.float32), b.constant(np.inf, dtype=np.float32))
    return b.scatter_elements(scores, b.squeeze(after, axes=(2,)), limit, axis=1, reduction="min")


@contrib("CropAndResize")
def crop_and_resize(
    b: Lowering, X: Var, rois: Var, batch_indices: Var, crop_size: Var, *, extrapolation_value: float = 0.0,
    mode: str = "bilinear",
) -> Var:  # fmt: skip
    """Regions (y1, x1, y2, x2), as parts of the image, sampled to one size, corners being pixels' centres."""
    if mode not in ("bilinear", "nearest"):
        raise b.refuse(f"mode {mode!r}")
    edges = b.split(b.cast_like(rois, X), axis=1, sizes=(1, 1, 1, 1))
    axes = []
    for i, count in enumerate(map(int, b.numbers(crop_size, "crop_size"))):
        low, high = edges[i], edges[i + 2]
        last = b.cast_like(b.sub(b.gather(b.shape(X), np.int64(i + 2)), 1), X)
        parts = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
        axes.append((b.mul(b.add(low, b.mul(b.sub(high, low), _like(b, parts, X))), last), last, count))
    (y, bottom, high), (x, right, wide) = axes
    shape = b.mixed((b.dim(rois, 0), high, wide, 1))
    places = [
        b.expand(v, shape=shape) for v in (b.unsqueeze(x, axes=(1, 3)), b.unsqueeze(y, axes=(2, 3)))
    ]  # (R, h, w, 1)
    if mode == "nearest":
        places = [b.floor(b.add(p, 0.5)) for p in places]
    images = b.gather(X, batch_indices, axis=0)
    sampled = b.grid_sample(images, b.concat(*places, axis=3), mode="linear", padding="border", align="pixels")
    inside = b.logical_and(
        _between(b, b.unsqueeze(y, axes=(1, 3)), bottom), _between(b, b.unsqueeze(x, axes=(1, 2)), right)
    )
    return b.where(inside, sampled, b.constant(extrapolation_value, dtype=X.tensor.dtype.numpy))


def _like(b: Lowering, numbers: Any, x: Var) -> Var:
    return b.constant(np.asarray(numbers, x.tensor.dtype.numpy))


def _between(b: Lowering, place: Var, last: Var) -> Var:
    return b.logical_and(b.greater_equal(place, 0.0), b.less_equal(place, last))  # type: ignore[no-any-return]


# ---- hashes --------------------------------------------------------------------------------------------------


@contrib("MurmurHash3")
def murmur_hash(b: Lowering, X: Var, *, positive: int = 1, seed: int = 0) -> Var:
    """MurmurHash3 (32 bits, Appleby 2011) of the bytes of each number or text."""
    dtype = X.tensor.dtype
    if dtype.kind == "string":
        short = b.cast(b.string_hash(X, key=(seed,)), to="u32")
        return short if positive else b.bit_cast(short, to="i32")
    if dtype.bits not in (32, 64):
        raise b.refuse(f"hashes of {dtype}", "known are texts and numbers of 32 and 64 bits")
    bits = b.bit_cast(X, to="u32" if dtype.bits == 32 else "u64")
    words = [bits]
    if dtype.bits == 64:
        words = [
            b.cast(b.bit_and(bits, np.uint64(0xFFFFFFFF)), to="u32"),
            b.cast(b.shift_right(bits, np.uint64(32)), to="u32"),
        ]
    h: Any = b.constant(seed & 0xFFFFFFFF, dtype=np.uint32)
    for word in words:
        k = b.mul(_turned(b, b.mul(word, np.uint32(0xCC9E2D51)), 15), np.uint32(0x1B873593))
        h = b.add(b.mul(_turned(b, b.bit_xor(k, h), 13), np.uint32(5)), np.uint32(0xE6546B64))
    h = b.bit_xor(h, np.uint32(dtype.bits // 8))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = b.mul(b.bit_xor(h, b.shift_right(h, np.uint32(shift))), np.uint32(factor))
    return h if positive else b.bit_cast(h, to="i32")


def _turned(b: Lowering, x: Var, by: int) -> Var:
    return b.bit_or(b.shift_left(x, np.uint32(by)), b.shift_right(x, np.uint32(32 - by)))  # type: ignore[no-any-return]


# ---- Fourier transforms, complex numbers as pairs ------------------------------------------------------------


@contrib("Rfft")
def rfft(b: Lowering, X: Var, *, normalized: int = 0, onesided: int = 1, signal_ndim: int) -> Var:
    """The transform along the last axis: (..., n) -> (..., n / 2 + 1, 2)."""
    _check_transform(b, normalized, onesided, signal_ndim)
    y = b.dft(b.unsqueeze(X, axes=(-1,)), axis=len(X.shape) - 1, onesided=True)
    return y


@contrib("Irfft")
def irfft(b: Lowering, X: Var, *, normalized: int = 0, onesided: int = 1, signal_ndim: int) -> Var:
    """The inverse of Rfft, for a signal of even length: (..., n / 2 + 1, 2) -> (..., n)."""
    _check_transform(b, normalized, onesided, signal_ndim)
    y = b.dft(X, axis=len(X.shape) - 2, inverse=True, onesided=True)
    return b.squeeze(y, axes=(-1,))


def _check_transform(b: Lowering, normalized: int, onesided: int, axes: int) -> None:
    if normalized or not onesided or axes != 1:
        raise b.refuse("a transform that is normalized, two-sided or of several axes")


# ---- mixtures of experts -------------------------------------------------------------------------------------


@contrib("MoE")
def mixture_of_experts(
    b: Lowering, input: Var, router_probs: Var, fc1_experts_weights: Var, fc1_experts_bias: Var | None,
    fc2_experts_weights: Var, fc2_experts_bias: Var | None = None, fc3_experts_weights: Var | None = None,
    fc3_experts_bias: Var | None = None, *, activation_alpha: float = 1.0, activation_beta: float = 0.0,
    activation_type: str = "relu", k: int = 1, normalize_routing_weights: int = 0, swiglu_fusion: int = 0,
    swiglu_limit: float | None = None, swiglu_limit_after_activation: int = 0, use_sparse_mixer: int = 0,
) -> Var:  # fmt: skip
    """Each token's result is that of its k best experts, weighed; here, all experts compute, the others count 0.

    Weights are (experts, out, in), router_probs (tokens, experts) are scores before softmax.  fc3: the gate is fc1,
    what passes through it fc3, as in Mixtral (Jiang et al. 2024).
    """
    if use_sparse_mixer or swiglu_limit_after_activation:
        raise b.refuse(
            "use_sparse_mixer or swiglu_limit_after_activation", "export without: on a CPU nothing follows them"
        )
    width, experts = input.shape[-1], fc1_experts_weights.shape[0]
    tokens = b.reshape(input, shape=(1, -1, width))
    hidden = _expert_layer(b, tokens, fc1_experts_weights, fc1_experts_bias)
    linear = None if fc3_experts_weights is None else _expert_layer(b, tokens, fc3_experts_weights, fc3_experts_bias)
    if activation_type == "swiglu":
        gate, linear = _halves(b, hidden, swiglu_fusion) if linear is None else (hidden, linear)
        hidden, linear = _swiglu(b, gate, linear, activation_alpha, activation_beta, swiglu_limit), None
    elif activation_type == "gelu":
        hidden = b.gelu(hidden, approximate=True)
    elif activation_type in ("relu", "silu"):
        hidden = getattr(b, activation_type)(hidden)
    elif activation_type != "identity":
        raise b.refuse(f"activation_type {activation_type!r}")
    hidden = hidden if linear is None else b.mul(hidden, linear)
    results = _expert_layer(b, hidden, fc2_experts_weights, fc2_experts_bias)  # (experts, tokens, width)
    shares = _routed(b, router_probs, experts, k, bool(normalize_routing_weights))
    weighed = b.mul(results, b.unsqueeze(b.transpose(shares, perm=(1, 0)), axes=(2,)))
    return b.reshape(b.reduce_sum(weighed, axes=(0,)), shape=b.mixed(b.dims(input)))


def _routed(b: Lowering, scores: Var, experts: Any, k: int, normalize: bool) -> Var:
    """(tokens, experts): the shares of the k best, 0 for the others."""
    shares, chosen = b.top_k(b.softmax(scores, axis=-1), k=k, axis=-1)
    if normalize:
        shares = b.div(shares, b.reduce_sum(shares, axes=(1,), keepdims=True))
    hits = b.one_hot(chosen, _like(b, 1, scores), _like(b, 0, scores), depth=experts, axis=-1)
    return b.reduce_sum(b.mul(hits, b.unsqueeze(shares, axes=(2,))), axes=(1,))  # type: ignore[no-any-return]


def _expert_layer(b: Lowering, x: Var, weights: Var, bias: Var | None) -> Var:
    y = b.matmul(x, b.swap(weights))
    return y if bias is None else b.add(y, b.unsqueeze(bias, axes=(1,)))  # type: ignore[no-any-return]


def _halves(b: Lowering, x: Var, fusion: int) -> Sequence[Var]:
    """Gate and linear part, being interleaved (1) or halves (2)."""
    half = x.shape[-1] // 2
    if fusion == 1:
        return [b.slice(x, starts=(i,), ends=(2 * half,), axes=(2,), steps=(2,)) for i in (0, 1)]
    if fusion == 2:
        return b.split(x, axis=2, sizes=(half, half))  # type: ignore[no-any-return]
    raise b.refuse("swiglu_fusion 0 without fc3")


def _swiglu(b: Lowering, gate: Var, linear: Var, alpha: float, beta: float, limit: float | None) -> Var:
    """silu(alpha gate) / alpha * (linear + beta)."""
    if limit is not None:
        gate, linear = b.clip(gate, high=limit), b.clip(linear, low=-limit, high=limit)
    return b.mul(b.silu(gate, beta=alpha), b.add(linear, beta))  # type: ignore[no-any-return]


@contrib("LinearAttentionGate")
def linear_attention_gate(
    b: Lowering, a: Var, dt_bias: Var, decay_scale: Var, b_: Var | None = None
) -> tuple[Var, ...]:  # fmt: skip
    """decay_scale * softplus(a + dt_bias), and sigmoid(b)."""
    wide = b.softplus(b.add(b.cast(a, to=f32), dt_bias))
    decay = b.cast_like(b.mul(wide, decay_scale), a)
    return (decay,) if b_ is None else (decay, b.sigmoid(b_))


@contrib("LinearAttention")
def linear_attention(
    b: Lowering, query: Var, key: Var, value: Var, past_state: Var | None = None, decay: Var | None = None,
    beta: Var | None = None, *, chunk_size: int = 64, kv_num_heads: int, q_num_heads: int, scale: float = 0.0,
    state_window: int = 0, update_rule: str = "gated_delta",
) -> Any:  # fmt: skip
    """ONNX's operator of that name, by its definition."""
    schema = schema_with_function("", "LinearAttention", onnx_opset_version())
    if state_window or schema is None:
        raise b.refuse("state_window, or an onnx before 1.22", "export with ONNX's LinearAttention")
    given: dict[str, Any] = {"kv_num_heads": kv_num_heads, "q_num_heads": q_num_heads, "scale": scale,
                             "update_rule": update_rule}  # fmt: skip
    attributes = {k: helper.make_attribute(k, v) for k, v in given.items()}
    operands = [query, key, value, past_state, decay, beta]
    while operands[-1] is None:
        operands.pop()
    return b.by_definition(schema, onnx_opset_version(), operands, attributes)


# ---- before ONNX was stable ----------------------------------------------------------------------------------


@onnx("Affine")
def affine(b: Lowering, X: Var, *, alpha: float = 1.0, beta: float = 0.0) -> Var:
    return b.affine(X, alpha=alpha, beta=beta)


@onnx("Scale")
def scale(b: Lowering, input: Var, *, scale: float = 1.0) -> Var:
    return b.mul(input, scale)


@onnx("ScaledTanh")
def scaled_tanh(b: Lowering, input: Var, *, alpha: float = 1.0, beta: float = 1.0) -> Var:
    return b.scaled_tanh(input, alpha=alpha, beta=beta)


@onnx("ParametricSoftplus")
def parametric_softplus(b: Lowering, X: Var, *, alpha: float = 1.0, beta: float = 1.0) -> Var:
    """alpha * softplus(beta * X)."""
    return b.mul(b.softplus(b.mul(X, beta)), alpha)


@onnx("ImageScaler")
def image_scaler(b: Lowering, input: Var, *, bias: tuple[float, ...], scale: float = 1.0) -> Var:
    """scale * input + bias, one bias a channel."""
    return b.add(b.mul(input, scale), b.reshape(_like(b, bias, input), shape=(-1, 1, 1)))


@onnx("Crop")
def crop(b: Lowering, input: Var, *, border: tuple[int, ...] = (), scale: tuple[int, ...] = ()) -> Var:
    """Images without border (left, top, right, bottom), or from (left, top) on as large as scale (height, width)."""
    left, top, right, bottom = border
    ends = tuple(s + o for s, o in zip(scale, (top, left))) or tuple(-e if e else 2**31 - 1 for e in (bottom, right))
    return b.slice(input, starts=(top, left), ends=ends, axes=(2, 3))


@onnx("DynamicSlice")
def dynamic_slice(b: Lowering, data: Var, starts: Var, ends: Var, axes: Var | None = None) -> Var:
    return b.slice(data, starts=starts, ends=ends, axes=axes)


# ---- not known, and why --------------------------------------------------------------------------------------

GENERATION = "a whole loop of text generation in one node: run the decoder, and choose the tokens, by the program"
CACHES = "it works in buffers which the program shares with it: export the attention without them"
REQUESTS = "it serves several requests packed into one: export the model for one batch"
NOT_FOUND = "no exporter was found that writes it: export with ONNX's own operators"
REASONS: dict[str, Sequence[str]] = {
    GENERATION: ("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch", "BifurcationDetector",
                 "DynamicTimeWarping"),
    CACHES: ("DecoderMaskedMultiHeadAttention", "SparseAttention"),
    REQUESTS: ("VarlenCausalConvWithState", "VarlenNGramHashMapping", "MRotaryEmbedding"),
    NOT_FOUND: ("AttnLSTM", "BranchwiseRMSNorm", "EngramGate", "GatedDeltaNet", "GatherPacked",
                "HyperConnectionPostMix", "HyperConnectionPreMix", "MoEGroupRouter", "NGramHashMapping",
                "WordConvEmbedding"),
    "for internal use, as its documentation says": ("MaxpoolWithMask",),
    "its packed blocks are laid out for one processor: export weights for MatMulNBits": ("MatMulFpQ4", "QMoE"),
    "made by a tool of old, whose models can be quantised again": ("QEmbedLayerNormalization",),
}  # fmt: skip
for _reason, _names in REASONS.items():
    refuse(DOMAIN, _names, _reason)
