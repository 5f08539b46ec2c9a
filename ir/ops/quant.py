"""Quantisation: numbers as small integers (or small floats) with a scale and a zero point."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import dims
from ..attributes import DType
from ..op import axis_of, op, require, require_dim, same_dtype, shape_text
from ..types import Tensor


def _mixes(rank: int, *, axis: int, block_size: int, **_: Any) -> Iterable[int]:
    """Rows keep their own scales only where the scale has none for each row."""
    return range(rank) if block_size or not rank else (axis % rank,)


def _check_parameter(parameter: Tensor | None, x: Tensor, axis: int, block_size: int, what: str) -> None:
    """A scale or zero point is one number, one a place of the axis, or one a block of places along it."""
    if parameter is None or parameter.shape is None or x.shape is None or parameter.shape in ((), (1,)):
        return
    a = axis_of(axis, x.rank)
    if not block_size:
        require(parameter.rank == 1, f"{what} has shape {shape_text(parameter.shape)}, expected one axis or none")
        require_dim(parameter.dims[0], x.dims[a], f"the size of {what}")
        return
    require(block_size > 0, f"block_size is {block_size}")
    require(parameter.rank == x.rank, f"{what} has rank {parameter.rank}, expected {x.rank}")
    for i, (given, size) in enumerate(zip(parameter.dims, x.dims)):
        require_dim(given, dims.ceil_div(size, block_size) if i == a else size, f"axis {i} of {what}")


@op(mixes=_mixes)
def quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    to: DType,
    axis: int = 1,
    block_size: int = 0,
    saturate: bool = True,
    precision: DType | None = None,
) -> Tensor:
    """saturate(round(x / scale) + zero_point) in the dtype `to`, halves rounded to even (ONNX QuantizeLinear).

    The division is done in `precision`, by default in the dtype of the scale.  Small floats have no zero point but 0:
    x / scale is rounded to the nearest; too large ones become the largest, or with saturate = false what the dtype
    has beyond it.  Scale and zero point: one number, one for each place of the axis, or (block_size) one for each
    block of places.
    """
    require(scale.dtype.is_float, f"scale is {scale.dtype}, expected floats")
    require(zero_point is None or zero_point.dtype is to, f"zero_point is not {to}, as the result")
    _check_parameter(scale, x, axis, block_size, "scale")
    _check_parameter(zero_point, x, axis, block_size, "zero_point")
    return Tensor(to, x.shape)


@op(mixes=_mixes)
def dequantize(
    x: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, to: DType, axis: int = 1, block_size: int = 0
) -> Tensor:
    """(x - zero_point) * scale, computed in float32 at least (ONNX DequantizeLinear); see `quantize`."""
    require(scale.dtype.is_float, f"scale is {scale.dtype}, expected floats")
    require(zero_point is None or zero_point.dtype is x.dtype, f"zero_point is not {x.dtype}, as x")
    _check_parameter(scale, x, axis, block_size, "scale")
    _check_parameter(zero_point, x, axis, block_size, "zero_point")
    return Tensor(to, x.shape)


@op()
def straight_through(x: Tensor, via: Tensor) -> Tensor:
    """x, of which the gradient is that of `via`, of the same type: the straight-through estimator.

    For what has no derivative of its own, such as rounded numbers (Bengio et al. 2013).
    """
    same_dtype(x, via)
    for given, size in zip(via.dims, x.dims):
        require_dim(given, size, "a dimension of via")
    require(via.rank == x.rank, f"via has rank {via.rank}, expected {x.rank}")
    return Tensor(x.dtype, x.shape)


@op()
def round_gradient(x: Tensor, scale: Tensor, *, to: DType) -> Tensor:
    """x, of which the gradient g is rounded: g / scale as a small float of the dtype `to`, saturated, times scale."""
    require(scale.dims == (), f"scale is {scale}, expected a number")
    require(to.is_float, f"gradients are floats, {to} is none")
    return Tensor(x.dtype, x.shape)
