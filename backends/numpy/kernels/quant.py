"""Quantisation: division, rounding and saturation in float32 (or wider), which is exact for integers of 16 bits."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy._core.umath import clip as clip_ufunc  # type: ignore[attr-defined]  # np.clip adds 3 µs

from ....ir.types import DType
from ..registry import Array, Scratch, Step, is_constant, kernel
from .rows import converted, wide_dtype


def _along(value: Array, x: Array, axis: int, block_size: int, steps: list[Step], scratch: Scratch) -> Array:
    """A scale or zero point as an array that broadcasts to x."""
    if value.size == 1 and value.ndim <= 1:
        return value.reshape(())
    axis %= x.ndim
    if not block_size:
        return value.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    wide = scratch(x.shape, value.dtype)
    steps.append(partial(_repeat_blocks, value, block_size, axis, wide))
    return wide


def _repeat_blocks(value: Array, block_size: int, axis: int, out: Array) -> None:
    """Every entry once for each place of its block; the last block may be shorter."""
    places = np.arange(out.shape[axis]) // block_size
    np.take(value, places, axis=axis, out=out)


def limits(dtype: DType) -> tuple[float, float]:
    """The smallest and the largest number of a dtype."""
    if dtype.is_integer:
        low = -(1 << (dtype.bits - 1)) if dtype.kind == "int" else 0
        return low, low + (1 << dtype.bits) - 1
    import ml_dtypes

    info = ml_dtypes.finfo(dtype.numpy)  # type: ignore[no-untyped-call]
    return float(info.min), float(info.max)


@kernel
def quantize(
    x: Array, scale: Array, zero_point: Array | None, *, to: DType, axis: int, block_size: int, saturate: bool,
    precision: DType | None, out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    steps: list[Step] = []
    numbers = _ratio(x, scale, precision, axis, block_size, steps, scratch)
    if to.is_integer:
        steps.append(partial(np.rint, numbers, numbers))
    if zero_point is not None and (to.is_integer or to.bits == 4):
        added = converted(_along(zero_point, x, axis, block_size, steps, scratch), numbers.dtype, steps, scratch)
        steps.append(partial(np.add, numbers, added, numbers))
    if to.is_integer or saturate:
        steps.append(partial(clip_ufunc, numbers, *limits(to), numbers))
    return [*steps, partial(np.copyto, out, numbers, casting="unsafe")]


def _ratio(
    x: Array, scale: Array, precision: DType | None, axis: int, block_size: int, steps: list[Step], scratch: Scratch
) -> Array:
    """x / scale, rounded to the precision, in an array of a dtype in which to go on."""
    narrow = scale.dtype if precision is None else precision.numpy
    wide = wide_dtype(narrow)
    numbers = scratch(x.shape, wide)
    if is_constant(scale) and bool(np.all(scale == 1)):
        steps.append(partial(np.copyto, numbers, x, casting="unsafe"))
        return numbers
    divisor = converted(_along(scale, x, axis, block_size, steps, scratch), narrow, steps, scratch)
    quotient = numbers if narrow == wide else scratch(x.shape, narrow)
    steps.append(partial(np.divide, converted(x, narrow, steps, scratch), divisor, quotient))
    if quotient is not numbers:
        steps.append(partial(np.copyto, numbers, quotient))
    return numbers


@kernel
def dequantize(
    x: Array, scale: Array, zero_point: Array | None, *, to: DType, axis: int, block_size: int, out: Array,
    scratch: Scratch,
) -> list[Step]:  # fmt: skip
    steps: list[Step] = []
    wide: np.dtype[Any] = np.result_type(np.float32, wide_dtype(scale.dtype))
    numbers = out if out.dtype == wide else scratch(x.shape, wide)
    steps.append(partial(np.copyto, numbers, x, casting="unsafe"))
    if zero_point is not None:
        taken = converted(_along(zero_point, x, axis, block_size, steps, scratch), wide, steps, scratch)
        steps.append(partial(np.subtract, numbers, taken, numbers))
    factor = converted(_along(scale, x, axis, block_size, steps, scratch), wide, steps, scratch)
    steps.append(partial(np.multiply, numbers, factor, numbers))
    return steps if numbers is out else [*steps, partial(np.copyto, out, numbers, casting="unsafe")]


@kernel
def straight_through(x: Array, via: Array, *, out: Array, scratch: Scratch) -> Step:
    """A copy of x."""
    return partial(np.copyto, out, x)


@kernel
def round_gradient(x: Array, scale: Array, *, to: DType, out: Array, scratch: Scratch) -> Step:
    """A copy of x."""
    return partial(np.copyto, out, x)
