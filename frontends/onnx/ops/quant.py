"""Quantised operators.  Products of 8-bit integers are computed in floats that hold every partial sum exactly:
float32 where the sum of their sizes proves that it stays within 2^24, float64 otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from ....ir import dims
from ....ir.graph import Var
from ....ir.types import DType, f32, f64, i32, i64, u8
from ..lowering import Lowering
from ..protos import elem_type
from ..registry import onnx
from .conv import Ints, conv

Parameter = TypeVar("Parameter", Var, "Var | None")
EXACT = {f32: 2**24, f64: 2**53}  # integers up to here are exact


@onnx("QuantizeLinear", since=10)
def quantize_linear(
    b: Lowering, x: Var, y_scale: Var, y_zero_point: Var | None = None, *, axis: int = 1, block_size: int = 0,
    output_dtype: int = 0, precision: int = 0, saturate: int = 1,
) -> Var:  # fmt: skip
    target = elem_type(output_dtype) if output_dtype else u8
    y_scale, y_zero_point = _of_all(b, x, axis, y_scale), _of_all(b, x, axis, y_zero_point)
    if y_scale.tensor.dtype.is_integer or y_scale.tensor.dtype.bits == 8:  # which quotients do not fit
        y_scale = b.cast(y_scale, to=f32)
    return b.quantize(
        x,
        y_scale,
        y_zero_point,
        to=target if y_zero_point is None else y_zero_point.tensor.dtype,
        axis=axis,
        block_size=block_size,
        saturate=saturate,
        precision=elem_type(precision) if precision else None,
    )


@onnx("DequantizeLinear", since=10)
def dequantize_linear(
    b: Lowering, x: Var, x_scale: Var, x_zero_point: Var | None = None, *, axis: int = 1, block_size: int = 0,
    output_dtype: int = 0,
) -> Var:  # fmt: skip
    target = elem_type(output_dtype) if output_dtype else x_scale.tensor.dtype
    x_scale, x_zero_point = _of_all(b, x, axis, x_scale), _of_all(b, x, axis, x_zero_point)
    return b.dequantize(x, x_scale, x_zero_point, to=target, axis=axis, block_size=block_size)


def _of_all(b: Lowering, x: Var, axis: int, parameter: Parameter) -> Parameter:
    """A list of scales or zero points of open length as one number, where x has no such axis."""
    if parameter is None or x.tensor.shape is None or parameter.tensor.shape is None:
        return parameter
    alone = len(parameter.shape) == 1 and not -len(x.shape) <= axis < len(x.shape)
    return b.reshape(parameter, shape=()) if alone else parameter


# ---- exact products ------------------------------------------------------------------------------------------


def _largest(b: Lowering, x: Var, zero: Var | None) -> int:
    """A bound of |x - zero|, from the dtype and what is known of the zero point."""
    dtype = x.tensor.dtype
    low = -(1 << (dtype.bits - 1)) if dtype.kind == "int" else 0
    high = low + (1 << dtype.bits) - 1
    zeros = (0,) if zero is None else b.known(zero)
    if zeros is None:
        return high - low
    return max(max(abs(low - int(z)), abs(high - int(z))) for z in zeros)  # type: ignore[call-overload]


def _sum_bound(b: Lowering, w: Var, zero: Var | None, axes: tuple[int, ...]) -> float:
    """A bound of the sum of |w - zero| along axes: exact for constants, from dtype and sizes otherwise."""
    if w.data is not None and (zero is None or (zero.data is not None and zero.data.size == 1)):
        shift = 0 if zero is None or zero.data is None else int(zero.data.reshape(-1)[0])
        return float(np.abs(w.data.astype(np.int64) - shift).sum(axis=axes).max(initial=0))
    terms = dims.product(tuple(w.shape[a] for a in axes))
    return float(terms * _largest(b, w, zero)) if isinstance(terms, int) else float("inf")


def _exact_dtype(bound: float) -> DType:
    return f32 if bound <= EXACT[f32] else f64


def _shifted(b: Lowering, x: Var, zero: Var | None, dtype: DType) -> Var:
    """x - zero in a dtype that holds it."""
    wide: Var = b.cast(x, to=dtype)
    known = None if zero is None else b.known(zero)
    if zero is None or (known is not None and all(z == 0 for z in known)):
        return wide
    return b.sub(wide, b.cast(zero, to=dtype))  # type: ignore[no-any-return]


def _as_i32(b: Lowering, sums: Var, bound: float) -> Var:
    """Exact sums as 32-bit integers, which wrap around where the sums are larger."""
    return b.cast(sums if bound < 2**31 else b.cast(sums, to=i64), to=i32)  # type: ignore[no-any-return]


def _column(b: Lowering, v: Var | None) -> Var | None:
    """A parameter for each row of a matrix (rank 1) as a column; others as they are."""
    return b.unsqueeze(v, axes=(-1,)) if v is not None and len(v.shape) == 1 and v.shape != (1,) else v


def _product(b: Lowering, x: Var, y: Var, x_zero: Var | None, y_zero: Var | None) -> tuple[Var, float]:
    """(x - x_zero) @ (y - y_zero), exact, and a bound of its elements."""
    axis = len(y.shape) - 2 if len(y.shape) > 1 else 0
    bound = _largest(b, x, x_zero) * _sum_bound(b, y, y_zero, (axis,))
    dtype = _exact_dtype(bound)
    return b.matmul(_shifted(b, x, _column(b, x_zero), dtype), _shifted(b, y, y_zero, dtype)), bound


@onnx("MatMulInteger", since=10)
def matmul_integer(
    b: Lowering, A: Var, B: Var, a_zero_point: Var | None = None, b_zero_point: Var | None = None
) -> Var:
    """(A - a_zero_point) @ (B - b_zero_point) in 32-bit integers; zero points: one, or one a row of A, column of B."""
    return _as_i32(b, *_product(b, A, B, a_zero_point, b_zero_point))


def _rescaled(b: Lowering, sums: Var, scales: Sequence[Var], zero: Var, axis: int) -> Var:
    """saturate(round(sums * (scales[0] * scales[1] / scales[2])) + zero)."""
    left, right, result = (b.cast(s, to=f32) for s in scales)
    factor = b.cast(b.div(b.mul(left, right), result), to=sums.tensor.dtype)
    one = b.constant(1, dtype=sums.tensor.dtype.numpy)
    return b.quantize(b.mul(sums, factor), one, zero, to=zero.tensor.dtype, axis=axis)  # type: ignore[no-any-return]


@onnx("QLinearMatMul", since=10)
def qlinear_matmul(
    b: Lowering, a: Var, a_scale: Var, a_zero_point: Var, b_: Var, b_scale: Var, b_zero_point: Var, y_scale: Var,
    y_zero_point: Var,
) -> Var:  # fmt: skip
    """The product of the dequantised matrices, quantised."""
    sums, _ = _product(b, a, b_, a_zero_point, b_zero_point)
    scales = (_column(b, a_scale), b_scale, _column(b, y_scale))
    return _rescaled(b, sums, scales, y_zero_point, len(sums.shape) - 2)  # type: ignore[arg-type]


def _channels(b: Lowering, v: Var | None, rank: int) -> Var | None:
    """A parameter for each filter (rank 1), to broadcast with filters first; others as they are."""
    return b.reshape(v, shape=(-1, *[1] * (rank - 1))) if v is not None and v.shape not in ((), (1,)) else v


def _convolution(
    b: Lowering, x: Var, w: Var, x_zero: Var | None, w_zero: Var | None, bias: Var | None, attrs: dict[str, Any]
) -> tuple[Var, float]:
    """The convolution of x - x_zero and w - w_zero, plus bias: exact, and a bound of its elements."""
    rank = len(w.shape)
    bound = _largest(b, x, x_zero) * _sum_bound(b, w, w_zero, tuple(range(1, rank)))
    if bias is not None:
        bound += float("inf") if bias.data is None else float(np.abs(bias.data.astype(np.int64)).max(initial=0))
    dtype = _exact_dtype(bound)
    added = None if bias is None else b.cast(bias, to=dtype)
    weights = _shifted(b, w, _channels(b, w_zero, rank), dtype)
    return conv(b, _shifted(b, x, x_zero, dtype), weights, added, **attrs), bound


@onnx("ConvInteger", since=10)
def conv_integer(
    b: Lowering, x: Var, w: Var, x_zero_point: Var | None = None, w_zero_point: Var | None = None, *,
    auto_pad: str = "NOTSET", dilations: Ints | None = None, group: int = 1, kernel_shape: Ints | None = None,
    pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """The convolution of x - x_zero_point and w - w_zero_point in 32-bit integers."""
    attrs = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "kernel_shape": kernel_shape, "pads": pads,
             "strides": strides}  # fmt: skip
    return _as_i32(b, *_convolution(b, x, w, x_zero_point, w_zero_point, None, attrs))


@onnx("QLinearConv", since=10)
def qlinear_conv(
    b: Lowering, x: Var, x_scale: Var, x_zero_point: Var, w: Var, w_scale: Var, w_zero_point: Var, y_scale: Var,
    y_zero_point: Var, B: Var | None = None, *, auto_pad: str = "NOTSET", dilations: Ints | None = None,
    group: int = 1, kernel_shape: Ints | None = None, pads: Ints | None = None, strides: Ints | None = None,
) -> Var:  # fmt: skip
    """The convolution of the dequantised operands, quantised; the bias has the scale x_scale * w_scale."""
    attrs = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "kernel_shape": kernel_shape, "pads": pads,
             "strides": strides}  # fmt: skip
    sums, _ = _convolution(b, x, w, x_zero_point, w_zero_point, B, attrs)
    scales = (x_scale, _channels(b, w_scale, len(w.shape) - 1), y_scale)
    return _rescaled(b, sums, scales, y_zero_point, 1)  # type: ignore[arg-type]
