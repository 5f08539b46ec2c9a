"""Quantisation."""

from __future__ import annotations

import numpy as np

from ....ir.op import axis_of
from ....ir.types import DType, dtype
from ..emitter import Emitter, Item
from ..protos import elem_code
from . import export, refuse

# the opset that has a dtype, where it is not the oldest
SINCE = {
    **dict.fromkeys(("f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz"), 19),
    **dict.fromkeys(("i4", "u4", "i16", "u16"), 21), "f4e2m1": 23, "i2": 25, "u2": 25,
}  # fmt: skip


@export()
def quantize(
    w: Emitter, x: Item, scale: Item, zero_point: Item | None = None, *, to: DType, axis: int, block_size: int,
    saturate: bool, precision: DType | None,
) -> Item:  # fmt: skip
    """The dtype is that of the zero point, u8 without one; opset 21 can say it, and knows blocks."""
    if block_size:
        w.need(21, "a scale for each block")
    w.need(SINCE.get(to.name, 13), f"a result of {to}")
    for operand in (x, scale):
        if operand.dtype.bits > 32:
            raise w.refuse(f"it does not quantise {operand.dtype}", "cast to f32 before")
        if operand.dtype.bits < 32:
            w.need(19, f"an operand of {operand.dtype}")
    if precision is not None:
        w.need(23, "a precision of its own")
    attrs: dict[str, int | None] = {"block_size": block_size or None, "saturate": None if saturate else 0}
    attrs["precision"] = None if precision is None else elem_code(precision)
    if zero_point is None and to is not dtype("u8"):
        if w.opset >= 21:
            attrs["output_dtype"] = elem_code(to)
        elif scale.tensor.is_static:
            zero_point = w.constant(np.zeros(scale.tensor.static, to.numpy), "zero_point")
        else:
            raise w.refuse(f"a result of {to} without zero point needs opset 21", "write opset 21")
    return w.QuantizeLinear(x, scale, zero_point, axis=axis if x.rank else 0, result=to, **attrs)  # type: ignore[no-any-return]


@export()
def dequantize(
    w: Emitter, x: Item, scale: Item, zero_point: Item | None = None, *, to: DType, axis: int, block_size: int
) -> Item:
    """Integers of 64 bits, and unsigned ones of 32, are not among ONNX's: (x - zero point) * scale, written out."""
    if block_size:
        w.need(21, "a scale for each block")
    w.need(SINCE.get(x.dtype.name, 13), f"an operand of {x.dtype}")
    axis = axis_of(axis, x.rank) if x.rank and scale.rank else 0
    if x.dtype.is_integer and (x.dtype.bits > 32 or x.dtype is dtype("u32")) and not block_size:
        return _written_out(w, x, scale, zero_point, to, axis)
    y: Item = w.DequantizeLinear(x, scale, zero_point, axis=axis, block_size=block_size or None, result=scale.dtype)
    return w.cast(y, to)


def _written_out(w: Emitter, x: Item, scale: Item, zero_point: Item | None, to: DType, axis: int) -> Item:
    wide = w.cast(x, to)
    if zero_point is not None:
        wide = w.Sub(wide, _along(w, w.cast(zero_point, to), x.rank, axis))
    return w.Mul(wide, _along(w, w.cast(scale, to), x.rank, axis))  # type: ignore[no-any-return]


def _along(w: Emitter, v: Item, rank: int, axis: int) -> Item:
    """A number as it is, a vector such that it broadcasts along an axis."""
    if v.tensor.shape in ((), (1,)):
        return v
    return w.Reshape(v, w.ints([-1 if i == axis else 1 for i in range(rank)]))  # type: ignore[no-any-return]


refuse("it belongs to training", "straight_through", "round_gradient")
