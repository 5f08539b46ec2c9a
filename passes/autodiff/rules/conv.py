"""Gradients of convolutions.

A convolution is linear in each of its operands, and the adjoints are convolutions again: `conv_transpose` for the
input, `conv_weight_grad` for the weights.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ....errors import UnsupportedError
from ....ir import dims
from ....ir.attributes import Activation, Ints, Padding
from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.ops.conv import effective, explicit_padding
from ....ir.ops.shape import BIG
from ..emit import shape_of
from . import rule

WINDOWS = ("strides", "dilations", "padding", "groups")


@partial(rule, keywords=(*WINDOWS, "activation"))
def conv(
    b: Builder, x: Var, w: Var, bias: Var | None, residual: Var | None, g: Var, *, activation: Activation,
    **windows: Any,
) -> tuple[Any, ...]:  # fmt: skip
    """y = x ∗ w + bias + residual: dx = g ∗ᵀ w, dw = Σ x g over all places, d bias = Σ g, d residual = g."""
    _linear(activation, "conv")
    dw = b.conv_weight_grad(x, g, kernel=w.shape[:-2], **windows)
    return _adjoint(b, x, w, g, **windows), dw, bias and _sum(b, g), residual and g


@partial(rule, keywords=WINDOWS)
def conv_weight_grad(b: Builder, x: Var, g: Var, h: Var, **windows: Any) -> tuple[Var, Var]:
    """w = Σ x g over all places, linear in both: dx = g ∗ᵀ h, dg = x ∗ h."""
    return _adjoint(b, x, h, g, **windows), b.conv(x, h, **windows)


@rule
def conv_transpose(
    b: Builder, x: Var, w: Var, bias: Var | None, g: Var, *, strides: Ints, dilations: Ints, padding: Padding,
    output_padding: Ints, groups: int, activation: Activation,
) -> tuple[Any, ...]:  # fmt: skip
    """y = x ∗ᵀ w + bias: dx = g ∗ w, dw = Σ g x over all places, d bias = Σ g.

    The windows of g begin `before` in front of it and end where the last element of x put something: what lies
    behind (output_padding) gets nothing from x.
    """
    _linear(activation, "conv_transpose")
    pairs = ((0, 0),) * len(strides) if padding == "valid" else padding
    reach = [(before, after - extra) for (before, after), extra in zip(pairs, output_padding)]
    seen = g
    if any(size < 0 for pair in reach for size in pair):
        starts, ends = zip(*((max(-before, 0), min(after, 0) or BIG) for before, after in reach))
        seen = b.slice(g, starts=starts, ends=ends, axes=tuple(range(1, len(reach) + 1)))
    windows = tuple((max(before, 0), max(after, 0)) for before, after in reach)
    how = {"strides": strides, "dilations": dilations, "groups": groups, "padding": windows}
    dw = b.conv_weight_grad(seen, x, kernel=w.shape[:-2], **how)
    return b.conv(seen, b.swap(w), **how), b.swap(dw), bias and _sum(b, g)


def _adjoint(
    b: Builder, x: Var, w: Var, g: Var, *, strides: Ints, dilations: Ints, padding: Padding, groups: int
) -> Var:
    """g ∗ᵀ w in the shape of x, where g belongs to x ∗ w.

    output_padding is what no window reached.  Where it is not a number yet, more is made and x's part cut out.
    """
    sizes, kernel = x.shape[1:-1], tuple(int(k) for k in w.shape[:-2])
    pairs = explicit_padding(padding, sizes, kernel, strides, dilations)
    rest = tuple(
        size + before + after - (place - 1) * stride - effective(k, dilation)
        for size, place, stride, k, dilation, (before, after) in zip(
            sizes, g.shape[1:-1], strides, kernel, dilations, pairs
        )
    )
    how = {"strides": strides, "dilations": dilations, "groups": groups}
    if dims.is_number(rest) and all(map(dims.is_number, pairs)):
        return b.conv_transpose(g, b.swap(w), padding=pairs, output_padding=rest, **how)  # type: ignore[no-any-return]
    wide = b.conv_transpose(g, b.swap(w), output_padding=tuple(stride - 1 for stride in strides), **how)
    starts = tuple(before for before, _ in pairs)
    ends = tuple(before + size for before, size in zip(starts, sizes))
    cut = b.slice(wide, starts=starts, ends=ends, axes=tuple(range(1, len(sizes) + 1)))
    return b.reshape(cut, shape=shape_of(b, x))  # type: ignore[no-any-return]


def _sum(b: Builder, g: Var) -> Var:
    """The gradient of a bias."""
    return b.reduce_sum(g, axes=tuple(range(len(g.shape) - 1)))  # type: ignore[no-any-return]


def _linear(activation: Activation, op: str) -> None:
    if activation:
        raise UnsupportedError(f"the gradient of a fused {activation}", op=op, hint="differentiate before fusing")
