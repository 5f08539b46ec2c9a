"""Quantised operators of ONNX Runtime (domain `com.microsoft`).

QLinear* operators are the operator on dequantised numbers, quantised again.  Products of 8-bit integers are exact, as
those of `quant`.  Weights packed into few bits are unpacked by core ops, which fold while the model is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir import dims
from ....ir.graph import Var
from ....ir.types import boolean, f32, i32, i64, u8
from ..lowering import Lowering
from .contrib import contrib
from .contrib_attention import self_attention
from .conv import Ints
from .pool import average_pool, max_pool
from .quant import _product, dequantize_linear, qlinear_conv, quantize_linear
from .recurrent import Floats, Strs, lstm

# ---- quantise and dequantise ---------------------------------------------------------------------------------


@contrib("QuantizeLinear")
def quantize(b: Lowering, x: Var, y_scale: Var, y_zero_point: Var | None = None, *, axis: int = 1) -> Var:
    return quantize_linear(b, x, y_scale, y_zero_point, axis=axis)


@contrib("DequantizeLinear")
def dequantize(b: Lowering, x: Var, x_scale: Var, x_zero_point: Var | None = None, *, axis: int = 1) -> Var:
    return dequantize_linear(b, x, x_scale, x_zero_point, axis=axis)


def _real(b: Lowering, x: Var, scale: Var, zero: Var | None) -> Var:
    return b.dequantize(x, scale, zero, to=f32)  # type: ignore[no-any-return]


def _back(b: Lowering, y: Var, scale: Var, zero: Var | None, like: Var) -> Var:
    dtype = like.tensor.dtype if zero is None else zero.tensor.dtype
    return b.quantize(y, scale, zero, to=dtype)  # type: ignore[no-any-return]


# ---- the operators on dequantised numbers --------------------------------------------------------------------


def _binary(op: str) -> Callable[..., Var]:
    def lower(
        b: Lowering, A: Var, A_scale: Var, A_zero_point: Var | None, B: Var, B_scale: Var, B_zero_point: Var | None,
        C_scale: Var, C_zero_point: Var | None = None,
    ) -> Var:  # fmt: skip
        y = getattr(b, op)(_real(b, A, A_scale, A_zero_point), _real(b, B, B_scale, B_zero_point))
        return _back(b, y, C_scale, C_zero_point, A)

    return lower


for _name, _core in {"QLinearAdd": "add", "QLinearMul": "mul"}.items():
    contrib(_name)(_binary(_core))


@contrib("QLinearSigmoid")
def qlinear_sigmoid(
    b: Lowering, X: Var, X_scale: Var, X_zero_point: Var | None, Y_scale: Var, Y_zero_point: Var | None = None
) -> Var:
    return _back(b, b.sigmoid(_real(b, X, X_scale, X_zero_point)), Y_scale, Y_zero_point, X)


@contrib("QLinearLeakyRelu")
def qlinear_leaky_relu(
    b: Lowering, X: Var, X_scale: Var, X_zero_point: Var | None, Y_scale: Var, Y_zero_point: Var | None = None, *,
    alpha: float = 0.01,
) -> Var:  # fmt: skip
    y = b.leaky_relu(_real(b, X, X_scale, X_zero_point), negative_slope=alpha)
    return _back(b, y, Y_scale, Y_zero_point, X)


@contrib("QLinearSoftmax")
def qlinear_softmax(
    b: Lowering, X: Var, X_scale: Var, x_zero_point: Var | None, y_scale: Var, y_zero_point: Var, *, axis: int = -1,
    opset: int,
) -> Var:  # fmt: skip
    """opset: that of the Softmax which was quantised; before 13, it is over all axes from `axis` on."""
    x = _real(b, X, X_scale, x_zero_point)
    first = axis % len(X.shape)
    if opset >= 13 or first == len(X.shape) - 1:
        return _back(b, b.softmax(x, axis=axis), y_scale, y_zero_point, X)
    flat = b.softmax(b.reshape(x, shape=b.mixed((*b.dims(X)[:first], -1))), axis=-1)
    return _back(b, b.reshape(flat, shape=b.mixed(b.dims(X))), y_scale, y_zero_point, X)


@contrib("QLinearConcat")
def qlinear_concat(b: Lowering, Y_scale: Var, Y_zero_point: Var, *inputs: Var, axis: int) -> Var:
    """inputs: tensor, scale and zero point, one after another."""
    if len(inputs) % 3:
        raise b.refuse(f"{len(inputs)} inputs, expected a tensor, a scale and a zero point each")
    parts = [_real(b, *inputs[i : i + 3]) for i in range(0, len(inputs), 3)]
    return _back(b, b.concat(*parts, axis=axis), Y_scale, Y_zero_point, Y_zero_point)


@contrib("QLinearWhere")
def qlinear_where(
    b: Lowering, condition: Var, X: Var, x_scale: Var, x_zero_point: Var, Y: Var, y_scale: Var, y_zero_point: Var,
    z_scale: Var, z_zero_point: Var,
) -> Var:  # fmt: skip
    x, y = _real(b, X, x_scale, x_zero_point), _real(b, Y, y_scale, y_zero_point)
    return _back(b, b.where(b.cast(condition, to=boolean), x, y), z_scale, z_zero_point, X)


@contrib("QLinearReduceMean")
def qlinear_reduce_mean(
    b: Lowering, data: Var, data_scale: Var, data_zero_point: Var | None, reduced_scale: Var,
    reduced_zero_point: Var | None = None, *, axes: Ints | None = None, keepdims: int = 1,
) -> Var:  # fmt: skip
    y = b.reduce_mean(_real(b, data, data_scale, data_zero_point), axes=axes, keepdims=keepdims)
    return _back(b, y, reduced_scale, reduced_zero_point, data)


@contrib("QLinearAveragePool")
def qlinear_average_pool(
    b: Lowering, X: Var, x_scale: Var, x_zero_point: Var | None, y_scale: Var, y_zero_point: Var | None = None, *,
    auto_pad: str = "NOTSET", ceil_mode: int = 0, channels_last: int = 0, count_include_pad: int = 0,
    kernel_shape: Ints, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    x = _real(b, X, x_scale, x_zero_point)
    y = average_pool(
        b, b.to_first(x) if channels_last else x, auto_pad=auto_pad, ceil_mode=ceil_mode, kernel_shape=kernel_shape,
        count_include_pad=count_include_pad, pads=pads, strides=strides,
    )  # fmt: skip
    return _back(b, b.to_last(y) if channels_last else y, y_scale, y_zero_point, X)


@contrib("QLinearGlobalAveragePool")
def qlinear_global_average_pool(
    b: Lowering, X: Var, x_scale: Var, x_zero_point: Var, y_scale: Var, y_zero_point: Var, *, channels_last: int = 0
) -> Var:
    axes = tuple(range(1, len(X.shape) - 1) if channels_last else range(2, len(X.shape)))
    y = b.reduce_mean(_real(b, X, x_scale, x_zero_point), axes=axes, keepdims=True)
    return _back(b, y, y_scale, y_zero_point, X)


@contrib("NhwcMaxPool")
def nhwc_max_pool(
    b: Lowering, x: Var, *, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Ints | None = None,
    kernel_shape: Ints, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """MaxPool with the channels last."""
    (y,) = max_pool(
        b, b.to_first(x), auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, kernel_shape=kernel_shape,
        pads=pads, strides=strides,
    )  # fmt: skip
    return b.to_last(y)


@contrib("QLinearConv")
def qlinear_conv_nhwc(
    b: Lowering, x: Var, x_scale: Var, x_zero_point: Var, w: Var, w_scale: Var, w_zero_point: Var, y_scale: Var,
    y_zero_point: Var, B: Var | None = None, *, auto_pad: str = "NOTSET", channels_last: int = 0,
    dilations: Ints | None = None, group: int = 1, kernel_shape: Ints | None = None, pads: Ints | None = None,
    strides: Ints | None = None,
) -> Var:  # fmt: skip
    """QLinearConv, perhaps with the channels of x and of the result last."""
    attrs: dict[str, Any] = {"auto_pad": auto_pad, "dilations": dilations, "group": group,
                             "kernel_shape": kernel_shape, "pads": pads, "strides": strides}  # fmt: skip
    given = b.to_first(x) if channels_last else x
    y = qlinear_conv(b, given, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B, **attrs)
    return b.to_last(y) if channels_last else y


# ---- products of integers ------------------------------------------------------------------------------------


def _scaled(b: Lowering, x: Var, w: Var, x_zero: Var | None, w_zero: Var | None, *scales: Var) -> Var:
    """(x - x_zero) @ (w - w_zero), exact, times the scales, in f32."""
    sums, _ = _product(b, x, w, x_zero, w_zero)
    factor = scales[0] if len(scales) == 1 else b.mul(*scales)
    return b.cast(b.mul(sums, b.cast_like(factor, sums)), to=f32)  # type: ignore[no-any-return]


def _dynamic(b: Lowering, x: Var) -> tuple[Var, Var, Var]:
    """x as u8 in the range that it has (DynamicQuantizeLinear), its scale and zero point."""
    low, high = b.minimum(b.reduce_min(x), 0.0), b.maximum(b.reduce_max(x), 0.0)
    scale = b.div(b.sub(high, low), 255.0)
    scale = b.where(b.equal(scale, 0.0), b.constant(1, dtype=np.float32), scale)
    zero = b.cast(b.clip(b.round(b.div(b.neg(low), scale)), low=0.0, high=255.0), to=u8)
    return b.quantize(x, scale, zero, to=u8), scale, zero


@contrib("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(
    b: Lowering, A: Var, B: Var, b_scale: Var, b_zero_point: Var | None = None, bias: Var | None = None
) -> Var:
    """A, quantised in its own range, @ B, in floats."""
    x, scale, zero = _dynamic(b, A)
    y = _scaled(b, x, B, zero, b_zero_point, scale, b_scale)
    return y if bias is None else b.add(y, bias)


@contrib("MatMulIntegerToFloat")
def matmul_integer_to_float(
    b: Lowering, A: Var, B: Var, a_scale: Var, b_scale: Var, a_zero_point: Var | None = None,
    b_zero_point: Var | None = None, bias: Var | None = None,
) -> Var:  # fmt: skip
    scales = (b.cast(s, to=f32) for s in (a_scale, b_scale))
    y = b.cast_like(_scaled(b, A, B, a_zero_point, b_zero_point, *scales), a_scale)
    return y if bias is None else b.add(y, bias)


@contrib("MatMulInteger16")
def matmul_integer_16(b: Lowering, A: Var, B: Var) -> Var:
    """A @ B in 32-bit integers, which wrap around."""
    sums, _ = _product(b, A, B, None, None)
    unsigned = "uint" in (A.tensor.dtype.kind, B.tensor.dtype.kind) and A.tensor.dtype is B.tensor.dtype
    return b.cast(b.cast(sums, to=i64), to="u32" if unsigned else i32)


@contrib("QGemm")
def qgemm(
    b: Lowering, A: Var, a_scale: Var, a_zero_point: Var, B: Var, b_scale: Var, b_zero_point: Var,
    C: Var | None = None, y_scale: Var | None = None, y_zero_point: Var | None = None, *, alpha: float = 1.0,
    transA: int = 0, transB: int = 0,
) -> Var:  # fmt: skip
    """alpha * A' @ B' + C, dequantised, quantised again if there is a scale; C has the scale of the product."""
    left, right = b.swap(A) if transA else A, b.swap(B) if transB else B
    sums, _ = _product(b, left, right, a_zero_point, b_zero_point)
    factor = b.cast_like(b.mul(b.mul(a_scale, b_scale), alpha), sums)
    if C is not None:
        sums = b.add(sums, b.cast_like(C, sums))
    y = b.cast(b.mul(sums, factor), to=f32)
    return y if y_scale is None else _back(b, y, y_scale, y_zero_point, A)


@contrib("QAttention")
def qattention(
    b: Lowering, input: Var, weight: Var, bias: Var, input_scale: Var, weight_scale: Var,
    mask_index: Var | None = None, input_zero_point: Var | None = None, weight_zero_point: Var | None = None,
    past: Var | None = None, *, do_rotary: int = 0, mask_filter_value: float | None = None, num_heads: int,
    past_present_share_buffer: int = 0, scale: float | None = None, unidirectional: int = 0,
) -> tuple[Var, ...]:  # fmt: skip
    """Attention whose projection is one of integers."""
    if do_rotary or past_present_share_buffer:
        raise b.refuse("do_rotary or past_present_share_buffer")
    projected = _scaled(b, input, weight, input_zero_point, weight_zero_point, input_scale, weight_scale)
    return self_attention(
        b, b.add(projected, bias), (weight.shape[1] // 3,) * 3, mask_index, past, None, heads=num_heads, scale=scale,
        causal=bool(unidirectional), filter_value=mask_filter_value,
    )  # fmt: skip


# ---- weights of few bits -------------------------------------------------------------------------------------


def unpacked(b: Lowering, x: Var, bits: int) -> Var:
    """Numbers of a few bits, several in a byte along the last axis, the lowest bits first."""
    if bits == 8:
        return x
    if bits not in (1, 2, 4):
        raise b.refuse(f"{bits} bits", "known are 2, 4 and 8")
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    spread = b.shift_right(b.unsqueeze(x, axes=(-1,)), shifts)
    numbers = b.bit_and(spread, np.uint8((1 << bits) - 1))
    return b.reshape(numbers, shape=b.mixed((*b.dims(x)[:-1], x.shape[-1] * (8 // bits))))  # type: ignore[no-any-return]


def _zero_points(b: Lowering, zeros: Var | None, bits: int, rows: Any, blocks: int) -> Var:
    """(rows, blocks), in f32: packed along the blocks, each row being filled up to a byte; by default the middle."""
    if zeros is None:
        return b.constant(float(1 << (bits - 1)), dtype=np.float32)
    if zeros.tensor.dtype is not u8:
        return b.reshape(b.cast(zeros, to=f32), shape=(rows, blocks))  # type: ignore[no-any-return]
    numbers = unpacked(b, b.reshape(zeros, shape=(rows, -1)), bits)
    return b.cast(b.slice(numbers, starts=(0,), ends=(blocks,), axes=(1,)), to=f32)  # type: ignore[no-any-return]


@contrib("MatMulNBits")
def matmul_nbits(
    b: Lowering, A: Var, B: Var, scales: Var, zero_points: Var | None = None, g_idx: Var | None = None,
    bias: Var | None = None, *, K: int, N: int, accuracy_level: int = 0, bits: int = 4, block_size: int,
    weight_prepacked: int = 0,
) -> Var:  # fmt: skip
    """A @ Wᵀ + bias; W (N, K) in blocks along K, B (N, blocks, bytes), with a scale and a zero point each.

    The numbers are those of accuracy_level 0 and 1, whatever it says: A is never rounded.
    """
    if weight_prepacked:
        raise b.refuse("weight_prepacked", "export the weights unpacked")
    blocks = -(-K // block_size)
    numbers = b.cast(unpacked(b, b.reshape(B, shape=(N, blocks, -1)), bits), to=f32)
    zeros, factors = _zero_points(b, zero_points, bits, N, blocks), b.reshape(scales, shape=(N, blocks, 1))
    if g_idx is not None:
        return _add_bias(b, _grouped(b, A, numbers, zeros, factors, g_idx, K, N), bias)
    shifted = b.sub(numbers, zeros if not zeros.shape else b.unsqueeze(zeros, axes=(2,)))
    weights = b.reshape(b.mul(shifted, b.cast(factors, to=f32)), shape=(N, -1))
    weights = b.slice(weights, starts=(0,), ends=(K,), axes=(1,))
    return _add_bias(b, b.matmul(A, b.cast_like(b.swap(weights), A)), bias)


def _grouped(b: Lowering, A: Var, numbers: Var, zeros: Var, factors: Var, group: Var, K: int, N: int) -> Var:
    """The product where each column of W says which block's scale and zero point it has."""
    flat = b.slice(b.reshape(numbers, shape=(N, -1)), starts=(0,), ends=(K,), axes=(1,))
    chosen = b.slice(group, starts=(0,), ends=(K,), axes=(0,))
    each = zeros if not zeros.shape else b.gather(zeros, chosen, axis=1)
    scale = b.gather(b.cast(b.squeeze(factors, axes=(2,)), to=f32), chosen, axis=1)
    return b.matmul(A, b.cast_like(b.swap(b.mul(b.sub(flat, each), scale)), A))  # type: ignore[no-any-return]


def _add_bias(b: Lowering, y: Var, bias: Var | None) -> Var:
    return y if bias is None else b.add(y, bias)  # type: ignore[no-any-return]


# 4-bit floats of bitsandbytes (Dettmers et al. 2023): FP4, and quantiles of the normal distribution
FOUR_BITS = (
    (0, 0.0052083333, 2 / 3, 1, 1 / 3, 0.5, 1 / 6, 0.25, 0, -0.0052083333, -2 / 3, -1, -1 / 3, -0.5, -1 / 6, -0.25),
    (-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
     -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1),
)  # fmt: skip


@contrib("MatMulBnb4")
def matmul_bnb4(
    b: Lowering, A: Var, B: Var, absmax: Var, *, K: int, N: int, block_size: int, quant_type: int,
    training_mode: int = 0, transB: int = 1,
) -> Var:  # fmt: skip
    """A @ Wᵀ; W (N, K) flattened, two 4-bit floats in a byte, the first in the high bits, absmax for each block."""
    if quant_type not in (0, 1) or not transB:
        raise b.refuse(f"quant_type {quant_type}, transB {transB}")
    halves = b.shift_right(B, np.uint8(4)), b.bit_and(B, np.uint8(15))
    pairs = b.concat(*(b.unsqueeze(v, axes=(1,)) for v in halves), axis=1)
    table = b.constant(np.array(FOUR_BITS[quant_type], np.float32))
    values = b.gather(table, b.cast(b.reshape(pairs, shape=(-1,)), to=i32))
    blocks = -(-N * K // block_size)
    scale = b.slice(b.repeat(b.cast(absmax, to=f32), repeats=block_size, axis=0), starts=(0,), ends=(N * K,))
    if blocks != absmax.shape[0] and dims.is_number(absmax.shape):
        raise b.refuse(f"absmax has {absmax.shape[0]} numbers for {blocks} blocks")
    weights = b.reshape(b.mul(b.slice(values, starts=(0,), ends=(N * K,)), scale), shape=(N, K))
    return b.matmul(A, b.cast_like(b.swap(weights), A))


@contrib("GatherBlockQuantized")
def gather_block_quantized(
    b: Lowering, data: Var, indices: Var, scales: Var, zero_points: Var | None = None, *, bits: int = 4,
    block_size: int = 128, gather_axis: int = 0, quantize_axis: int = 1,
) -> Var:  # fmt: skip
    """Gather from weights in blocks along another axis, dequantised; bytes hold several numbers, the lowest first."""
    if data.tensor.dtype.kind not in ("int", "uint"):
        raise b.refuse(f"data of {data.tensor.dtype}")
    rank = len(data.shape)
    along, taken = quantize_axis % rank, gather_axis % rank
    zeros = zero_points
    packed = data.tensor.dtype is u8
    if packed:
        if along != rank - 1:
            raise b.refuse("packed numbers along another axis than the last")
        data, zeros = unpacked(b, data, bits), None if zeros is None else unpacked(b, zeros, bits)
        if zeros is not None:
            zeros = b.slice(zeros, starts=(0,), ends=(scales.shape[along],), axes=(along,))
    sizes = data.shape[along]
    rows = [b.gather(v, indices, axis=taken) for v in (data, scales) if v is not None]
    numbers, factors = b.cast(rows[0], to=f32), b.cast(rows[1], to=f32)
    place = along if along < taken else along + len(indices.shape) - 1

    def spread(v: Var) -> Var:
        return b.slice(b.repeat(v, repeats=block_size, axis=place), starts=(0,), ends=(sizes,), axes=(place,))  # type: ignore[no-any-return]

    if zeros is not None:
        numbers = b.sub(numbers, spread(b.cast(b.gather(zeros, indices, axis=taken), to=f32)))
    elif packed:
        numbers = b.sub(numbers, float(1 << (bits - 1)))
    return b.cast_like(b.mul(numbers, spread(factors)), scales)


# ---- LSTM ----------------------------------------------------------------------------------------------------


@contrib("DynamicQuantizeLSTM")
def dynamic_quantize_lstm(
    b: Lowering, X: Var, W: Var, R: Var, B: Var | None, sequence_lens: Var | None, initial_h: Var | None,
    initial_c: Var | None, P: Var | None, W_scale: Var, W_zero_point: Var, R_scale: Var, R_zero_point: Var, *,
    activation_alpha: Floats = (), activation_beta: Floats = (), activations: Strs | None = None,
    clip: float | None = None, direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0,
) -> Any:  # fmt: skip
    """The LSTM with its weights, (D, K, 4 H) in integers, dequantised.

    X and h stay floats: ONNX Runtime rounds them to 8 bits at every step, to gain time, and so differs by that.
    """

    def real(w: Var, scale: Var, zero: Var) -> Var:
        scale, zero = (b.reshape(v, shape=(v.shape[0], 1, -1)) for v in (scale, zero))
        wide = b.mul(b.sub(b.cast(w, to=f32), b.cast(zero, to=f32)), scale)
        return b.transpose(wide, perm=(0, 2, 1))  # type: ignore[no-any-return]

    weights = real(W, W_scale, W_zero_point), real(R, R_scale, R_zero_point)
    return lstm(
        b, X, *weights, B, sequence_lens, initial_h, initial_c, P,
        activation_alpha=activation_alpha, activation_beta=activation_beta, activations=activations, clip=clip,
        direction=direction, input_forget=input_forget,
    )  # fmt: skip
