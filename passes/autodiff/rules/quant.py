"""Gradients of quantised numbers: those of the scales, and of small floats."""

from __future__ import annotations

from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.types import DType, f32, f64
from ..emit import dim, numbered
from . import form, rule


@form
def dequantize(b: Builder, x: Var, scale: Var, zero_point: Var | None, *, to: DType, axis: int, block_size: int) -> Var:
    """(x - zero_point) * scale, in float32 at least."""
    wide = f64 if scale.tensor.dtype is f64 else f32

    def along(v: Var) -> Var:
        return _along(b, b.cast(v, to=wide), x, axis, block_size)

    numbers = b.cast(x, to=wide)
    if zero_point is not None:
        numbers = b.sub(numbers, along(zero_point))
    return b.cast(b.mul(numbers, along(scale)), to=to)  # type: ignore[no-any-return]


def _along(b: Builder, parameter: Var, x: Var, axis: int, block_size: int) -> Var:
    """A scale or zero point as a tensor that broadcasts to x: one number, one a place of the axis, or one a block."""
    if parameter.shape in ((), (1,)):
        return b.reshape(parameter, shape=())  # type: ignore[no-any-return]
    a = axis % len(x.shape)
    if not block_size:
        behind = tuple(range(1, len(x.shape) - a))
        return b.unsqueeze(parameter, axes=behind) if behind else parameter  # type: ignore[no-any-return]
    return b.gather(parameter, b.floor_div(numbered(b, dim(b, x, a)), block_size), axis=a)  # type: ignore[no-any-return]


@rule
def straight_through(b: Builder, x: Var, via: Var, g: Var) -> tuple[Var | None, Var]:
    return None, g


@rule
def round_gradient(b: Builder, x: Var, scale: Var, g: Var, *, to: DType) -> tuple[Var, None]:
    """g as the small floats have it."""
    import ml_dtypes

    high = float(ml_dtypes.finfo(to.numpy).max)  # type: ignore[no-untyped-call]
    scale = b.cast_like(scale, g)
    small = b.cast(b.clip(b.div(g, scale), low=-high, high=high), to=to)
    return b.mul(b.cast_like(small, g), scale), None
