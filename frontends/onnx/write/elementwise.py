"""Elementwise ops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.types import DType, boolean, dtype, f32
from ..emitter import Emitter, Item
from ..protos import elem_code
from . import export, export_all

Write = Callable[..., Any]


def _same(op_type: str, **renamed: str) -> Write:
    """A node of ONNX that means the same; attributes under other names."""

    def write(w: Emitter, *operands: Item, **attrs: Any) -> Item:
        given = {renamed.get(k, k): v for k, v in attrs.items()}
        return w.emit(op_type, *operands, **given)  # type: ignore[no-any-return]

    return write


# ---- one operand ---------------------------------------------------------------------------------------------

SAME = {
    "abs": "Abs", "sign": "Sign", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "exp": "Exp", "log": "Log",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh",
    "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh",
    "erf": "Erf", "sigmoid": "Sigmoid", "tanh": "Tanh", "softplus": "Softplus",
    "softsign": "Softsign", "elu": "Elu", "hard_sigmoid": "HardSigmoid", "shrink": "Shrink",
}  # fmt: skip


def _of_floats(op_type: str) -> Write:
    """What leaves integers as they are."""
    return lambda w, x: w.emit(op_type, x) if x.dtype.is_float else x


def _neg(w: Emitter, x: Item) -> Item:
    return w.Sub(w.number(0, x), x) if x.dtype.kind == "uint" else w.Neg(x)  # type: ignore[no-any-return]


def _relu(w: Emitter, x: Item) -> Item:
    return x if x.dtype.kind == "uint" else w.Relu(x)


def _expm1(w: Emitter, x: Item) -> Item:
    """Near 0, where e^x - 1 cancels, 2 t / (1 - t) with t = tanh(x / 2)."""
    t = w.Tanh(w.Mul(x, 0.5))
    near = w.Div(w.Mul(t, 2), w.Sub(w.number(1, x), t))
    return w.Where(w.Less(w.Abs(x), 0.5, result=boolean), near, w.Sub(w.Exp(x), 1), result=x.dtype)  # type: ignore[no-any-return]


def _log1p(w: Emitter, x: Item) -> Item:
    """log(u) x / (u - 1) with u = 1 + x, whose rounding cancels; x itself where u is 1 (Kahan)."""
    u = w.Add(x, 1)
    same = w.Equal(u, 1, result=boolean)
    near = w.Where(same, w.number(1, x), w.Sub(u, 1), result=x.dtype)
    ratio = w.Div(x, near)
    infinite = w.Equal(u, w.number(np.inf, x), result=boolean)
    exact = w.Where(infinite, w.Log(u), w.Mul(w.Log(u), ratio), result=x.dtype)
    return w.Where(same, x, exact, result=x.dtype)  # type: ignore[no-any-return]


def _gelu(w: Emitter, x: Item, *, approximate: bool) -> Item:
    if w.opset >= 20:
        return w.Gelu(x, approximate="tanh" if approximate else "none")  # type: ignore[no-any-return]
    if approximate:
        inner = w.Mul(w.Add(x, w.Mul(w.Mul(w.Mul(x, x), x), 0.044715)), math.sqrt(2 / math.pi))
        return w.Mul(w.Mul(x, 0.5), w.Add(w.Tanh(inner), 1))  # type: ignore[no-any-return]
    return w.Mul(w.Mul(x, 0.5), w.Add(w.Erf(w.Mul(x, math.sqrt(0.5))), 1))  # type: ignore[no-any-return]


def _mish(w: Emitter, x: Item) -> Item:
    return w.Mish(x) if w.opset >= 18 else w.Mul(x, w.Tanh(w.Softplus(x)))  # type: ignore[no-any-return]


def _celu(w: Emitter, x: Item, *, alpha: float) -> Item:
    """ONNX has it for 32 bits."""
    if x.dtype is f32:
        return w.Celu(x, alpha=alpha)  # type: ignore[no-any-return]
    curve = w.Mul(w.Sub(w.Exp(w.Div(x, alpha)), 1), alpha)
    return w.Add(w.Relu(x), w.Min(curve, w.number(0, x)))  # type: ignore[no-any-return]


def _hard_silu(w: Emitter, x: Item) -> Item:
    if w.opset >= 14:
        return w.HardSwish(x)  # type: ignore[no-any-return]
    return w.Mul(x, w.HardSigmoid(x, alpha=1 / 6, beta=0.5))  # type: ignore[no-any-return]


def _clip(w: Emitter, x: Item, *, low: Any, high: Any, open_low: bool = False, open_high: bool = False) -> Item:
    """Whether bounds are open concerns derivatives alone."""
    return w.Clip(x, _bound(w, low, x, math.ceil), _bound(w, high, x, math.floor))  # type: ignore[no-any-return]


def _bound(w: Emitter, bound: Any, x: Item, whole: Callable[[float], int]) -> Item | None:
    """A bound in the dtype of x; of integers one that they can have."""
    if isinstance(bound, Item):
        return w.scalar(w.cast(bound, x.dtype))
    if bound is None or x.dtype.is_float:
        return None if bound is None else w.number(bound, x)
    limits = np.iinfo(x.dtype.numpy)
    return w.number(whole(min(max(bound, limits.min), limits.max)), x)


def _sparse_plus(w: Emitter, x: Item) -> Item:
    """((x + 1) / 2)^2 with x bounded to [-1, 1], and what is beyond 1."""
    half = w.Mul(w.Add(w.Clip(x, w.number(-1, x), w.number(1, x)), 1), 0.5)
    return w.Add(w.Mul(half, half), w.Relu(w.Sub(x, 1)))  # type: ignore[no-any-return]


def _squareplus(w: Emitter, x: Item, *, b: float) -> Item:
    return w.Mul(w.Add(x, w.Sqrt(w.Add(w.Mul(x, x), b))), 0.5)  # type: ignore[no-any-return]


def _silu(w: Emitter, x: Item, *, beta: float) -> Item:
    return w.Mul(x, w.Sigmoid(x if beta == 1 else w.Mul(x, beta)))  # type: ignore[no-any-return]


export_all({
    **{name: _same(op_type) for name, op_type in SAME.items()},
    "floor": _of_floats("Floor"), "ceil": _of_floats("Ceil"), "round": _of_floats("Round"),
    "neg": _neg, "relu": _relu, "leaky_relu": _same("LeakyRelu", negative_slope="alpha"),
    "selu": _same("Selu", scale="gamma"),
    "thresholded_relu": _same("ThresholdedRelu", theta="alpha"),
    "square": lambda w, x: w.Mul(x, x),
    "rsqrt": lambda w, x: w.Reciprocal(w.Sqrt(x)),
    "affine": lambda w, x, *, alpha, beta: w.Add(w.Mul(x, alpha), beta),
    "scaled_tanh": lambda w, x, *, alpha, beta: w.Mul(w.Tanh(w.Mul(x, beta)), alpha),
    "log_sigmoid": lambda w, x: w.Neg(w.Softplus(w.Neg(x))),
    "soft_shrink": lambda w, x, *, threshold: w.Shrink(x, bias=threshold, lambd=threshold),
    "hard_shrink": lambda w, x, *, threshold: w.Shrink(x, bias=0.0, lambd=threshold),
    "tanh_shrink": lambda w, x: w.Sub(x, w.Tanh(x)),
    "sparse_sigmoid": lambda w, x: w.Clip(w.Mul(w.Add(x, 1), 0.5), w.number(0, x), w.number(1, x)),
    "expm1": _expm1, "log1p": _log1p, "gelu": _gelu, "silu": _silu, "mish": _mish, "celu": _celu,
    "hard_silu": _hard_silu, "sparse_plus": _sparse_plus, "squareplus": _squareplus,
})  # fmt: skip
export("clip", dynamic=("low", "high"))(_clip)

# ---- two operands --------------------------------------------------------------------------------------------


def _binary(op_type: str, to: DType | None = None) -> Write:
    return lambda w, x, y: w.emit(op_type, x, y, result=to)


def _bitwise(op_type: str) -> Write:
    def write(w: Emitter, *operands: Item) -> Item:
        w.need(18, op_type)
        return w.emit(op_type, *operands)  # type: ignore[no-any-return]

    return write


def _floor_div(w: Emitter, x: Item, y: Item) -> Item:
    if x.dtype.is_float:
        return w.Floor(w.Div(x, y))  # type: ignore[no-any-return]
    return w.Div(w.Sub(x, w.Mod(x, y)), y)  # type: ignore[no-any-return]


def _mod(w: Emitter, x: Item, y: Item) -> Item:
    """The sign of y; ONNX has that for integers only, so the remainder of a float is moved where signs differ."""
    if not x.dtype.is_float:
        return w.Mod(x, y)  # type: ignore[no-any-return]
    rest = w.Mod(x, y, fmod=1)
    zero = w.number(0, x)
    differ = w.Xor(w.Less(rest, zero, result=boolean), w.Less(y, zero, result=boolean))
    moved = w.And(differ, w.Not(w.Equal(rest, zero, result=boolean)))
    return w.Where(moved, w.Add(rest, y), rest, result=x.dtype)  # type: ignore[no-any-return]


SIGNED_SHIFT = 28


def _shift(direction: str) -> Write:
    """Before opset 28 unsigned integers alone: of a negative x, ~(~x >> y) is x >> y."""

    def write(w: Emitter, x: Item, y: Item) -> Item:
        if x.dtype.kind == "uint" or w.opset >= SIGNED_SHIFT:
            return w.BitShift(x, y, direction=direction)  # type: ignore[no-any-return]
        unsigned, by = dtype(f"u{x.dtype.bits}"), w.cast(y, dtype(f"u{x.dtype.bits}"))
        if direction == "LEFT":
            return w.cast(w.BitShift(w.cast(x, unsigned), by, direction=direction), x.dtype)
        negative = w.Less(x, w.number(0, x), result=boolean)
        positive = w.Where(negative, w.Sub(w.number(-1, x), x), x, result=x.dtype)
        moved = w.cast(w.BitShift(w.cast(positive, unsigned), by, direction=direction), x.dtype)
        return w.Where(negative, w.Sub(w.number(-1, x), moved), moved, result=x.dtype)  # type: ignore[no-any-return]

    return write


def _atan2(w: Emitter, y: Item, x: Item) -> Item:
    """atan(y / x), turned by half a circle where x is negative; the axes on their own."""
    zero, half = w.number(0, x), math.pi / 2
    left, below = w.Less(x, zero, result=boolean), w.Less(y, zero, result=boolean)
    upright = w.Equal(x, zero, result=boolean)
    plain = w.Atan(w.Div(y, w.Where(upright, w.number(1, x), x, result=x.dtype)))
    turn = w.Where(below, w.number(-math.pi, x), w.number(math.pi, x), result=x.dtype)
    turned = w.Where(left, w.Add(plain, turn), plain, result=x.dtype)
    return w.Where(upright, w.Mul(w.Sign(y), half), turned, result=x.dtype)  # type: ignore[no-any-return]


export_all({
    "add": _binary("Add"), "sub": _binary("Sub"), "mul": _binary("Mul"), "div": _binary("Div"),
    "maximum": _binary("Max"), "minimum": _binary("Min"), "pow": _binary("Pow"),
    "logical_and": _binary("And"), "logical_or": _binary("Or"), "logical_xor": _binary("Xor"),
    "equal": _binary("Equal", boolean), "less": _binary("Less", boolean), "greater": _binary("Greater", boolean),
    "less_equal": _binary("LessOrEqual", boolean), "greater_equal": _binary("GreaterOrEqual", boolean),
    "not_equal": lambda w, x, y: w.Not(w.Equal(x, y, result=boolean)),
    "fmod": lambda w, x, y: w.Mod(x, y, fmod=1),
    "floor_div": _floor_div, "mod": _mod, "atan2": _atan2,
    "bit_and": _bitwise("BitwiseAnd"), "bit_or": _bitwise("BitwiseOr"), "bit_xor": _bitwise("BitwiseXor"),
    "bit_not": _bitwise("BitwiseNot"), "shift_left": _shift("LEFT"), "shift_right": _shift("RIGHT"),
})  # fmt: skip

# ---- the others ----------------------------------------------------------------------------------------------

export_all({
    "where": lambda w, condition, x, y: w.Where(condition, x, y, result=x.dtype),
    "logical_not": _same("Not"),
    "is_nan": lambda w, x: w.IsNaN(x, result=boolean),
    "identity": lambda w, x: x,
    "stop_gradient": lambda w, x: x,
})  # fmt: skip


@export()
def cast(w: Emitter, x: Item, *, to: DType) -> Item:
    """Floats of 8 bits are not saturated: what a frontend wants saturated it has clipped."""
    if to.name.startswith("f8"):
        w.need(19, str(to))
    return w.Cast(x, to=elem_code(to), saturate=0 if to.name.startswith("f8") else None)  # type: ignore[no-any-return]


@export()
def bit_cast(w: Emitter, x: Item, *, to: DType) -> Item:
    """Between integers of one width a cast wraps around, which is the same bits."""
    if x.dtype.is_integer and to.is_integer and x.dtype.bits == to.bits:
        return w.cast(x, to)
    w.need(26, "BitCast")
    return w.BitCast(x, to=elem_code(to))  # type: ignore[no-any-return]


@export()
def is_inf(w: Emitter, x: Item, *, positive: bool, negative: bool) -> Item:
    """Before opset 20 for 32 and 64 bits alone."""
    x = x if x.dtype.bits >= 32 else w.cast(x, f32)
    return w.IsInf(x, detect_positive=int(positive), detect_negative=int(negative), result=boolean)  # type: ignore[no-any-return]
