"""Elementwise ops: functions of one element, arithmetic with broadcasting, comparison, logic, choice, casts."""

from __future__ import annotations

from typing import Any

from ..attributes import Attribute
from ..dims import UNKNOWN
from ..op import broadcast_type, declare_op, op, require, same_dtype
from ..types import DType, Tensor, boolean

# ---- one operand, same dtype ---------------------------------------------------------------------------------
# name: (formula and source, {attribute: default});  all of them may serve as `activation` of another op.
UNARY: dict[str, tuple[str, dict[str, Any]]] = {
    "neg": ("-x", {}),
    "abs": ("|x|", {}),
    "sign": ("-1, 0 or 1, as x is below, at or above 0; NaN stays", {}),
    "sqrt": ("x^(1/2)", {}),
    "rsqrt": ("x^(-1/2)", {}),
    "reciprocal": ("1 / x", {}),
    "square": ("x^2", {}),
    "exp": ("e^x", {}),
    "expm1": ("e^x - 1", {}),
    "log": ("natural logarithm of x", {}),
    "log1p": ("log(1 + x)", {}),
    "sin": ("sine of x in radians", {}),
    "cos": ("cosine of x in radians", {}),
    "tan": ("tangent of x in radians", {}),
    "asin": ("arc sine", {}),
    "acos": ("arc cosine", {}),
    "atan": ("arc tangent", {}),
    "sinh": ("hyperbolic sine", {}),
    "cosh": ("hyperbolic cosine", {}),
    "asinh": ("inverse hyperbolic sine", {}),
    "acosh": ("inverse hyperbolic cosine", {}),
    "atanh": ("inverse hyperbolic tangent", {}),
    "floor": ("the largest integer <= x", {}),
    "ceil": ("the smallest integer >= x", {}),
    "round": ("the nearest integer, halves to even", {}),
    "erf": ("the error function 2/sqrt(pi) * integral from 0 to x of exp(-t^2)", {}),
    "relu": ("max(x, 0)", {}),
    "sigmoid": ("1 / (1 + exp(-x))", {}),
    "tanh": ("hyperbolic tangent", {}),
    "softplus": ("log(1 + exp(x))", {}),
    "softsign": ("x / (1 + |x|)", {}),
    "leaky_relu": ("x if x >= 0 else negative_slope * x", {"negative_slope": 0.01}),
    "elu": ("x if x > 0 else alpha * (exp(x) - 1)", {"alpha": 1.0}),
    "selu": (
        "scale * (x if x > 0 else alpha * (exp(x) - 1)); Klambauer et al. 2017",
        {"alpha": 1.6732632423543772, "scale": 1.0507009873554805},
    ),
    "celu": ("max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))", {"alpha": 1.0}),
    "gelu": (
        "x * Phi(x), Phi the normal distribution; approximate: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
        {"approximate": False},
    ),
    "silu": ("x * sigmoid(beta * x); beta = 1 is SiLU, other values Swish", {"beta": 1.0}),
    "mish": ("x * tanh(softplus(x))", {}),
    "hard_sigmoid": ("max(0, min(1, alpha * x + beta))", {"alpha": 0.2, "beta": 0.5}),
    "affine": ("alpha * x + beta", {"alpha": 1.0, "beta": 0.0}),
    "scaled_tanh": ("alpha * tanh(beta * x)", {"alpha": 1.0, "beta": 1.0}),
    "hard_silu": ("x * max(0, min(1, x / 6 + 1/2))", {}),
    "thresholded_relu": ("x if x > theta else 0", {"theta": 1.0}),
    "clip": (
        "min(max(x, low), high); a bound that is none does not bind; at an open bound the derivative is 0, else 1",
        {"low": None, "high": None, "open_low": False, "open_high": False},
    ),
    "log_sigmoid": ("log(sigmoid(x)) = -softplus(-x)", {}),
    "soft_shrink": ("sign(x) * max(|x| - threshold, 0)", {"threshold": 0.5}),
    "hard_shrink": ("x if |x| > threshold else 0", {"threshold": 0.5}),
    "shrink": ("x + bias if x < -lambd, x - bias if x > lambd, else 0 (ONNX Shrink)", {"bias": 0.0, "lambd": 0.5}),
    "tanh_shrink": ("x - tanh(x)", {}),
    "squareplus": ("(x + sqrt(x^2 + b)) / 2", {"b": 4.0}),
    "sparse_plus": ("0 if x <= -1, ((x + 1) / 2)^2 if x < 1, else x", {}),
    "sparse_sigmoid": ("0 if x <= -1, (x + 1) / 2 if x < 1, else 1", {}),
}


def _same(x: Tensor) -> Tensor:
    return Tensor(x.dtype, x.shape)


def _unary_rule(x: Tensor, **attrs: Any) -> Tensor:
    return Tensor(x.dtype, x.shape)


for _name, (_formula, _attrs) in UNARY.items():
    _extra = {k: Attribute(k, "bool" if isinstance(v, bool) else "float", v is None, v) for k, v in _attrs.items()}
    _unary_rule.__annotations__ = {"x": "Tensor", "return": "Tensor"}
    declare_op(
        _unary_rule, _name, frozenset({"elementwise", "activation"}), extra=_extra, doc=f"{_name}(x) = {_formula}."
    )

# ---- two operands --------------------------------------------------------------------------------------------
# name: (formula, traits)
BINARY: dict[str, tuple[str, tuple[str, ...]]] = {
    "add": ("x + y", ("commutes",)),
    "sub": ("x - y", ()),
    "mul": ("x * y", ("commutes",)),
    "div": ("x / y; integers are divided towards zero", ()),
    "floor_div": ("the largest integer <= x / y", ()),
    "mod": ("x - y * floor(x / y): the sign of y", ()),
    "fmod": ("x - y * trunc(x / y): the sign of x", ()),
    "maximum": ("the larger of x and y; NaN if either is", ("commutes",)),
    "minimum": ("the smaller of x and y; NaN if either is", ("commutes",)),
    "atan2": ("the angle of the point (y, x), x being the first operand's height", ()),
    "bit_and": ("x & y on integers", ("commutes",)),
    "bit_or": ("x | y on integers", ("commutes",)),
    "bit_xor": ("x ^ y on integers", ("commutes",)),
    "shift_left": ("x << y on integers", ()),
    "shift_right": ("x >> y on integers", ()),
    "logical_and": ("x and y on booleans", ("commutes",)),
    "logical_or": ("x or y on booleans", ("commutes",)),
    "logical_xor": ("x != y on booleans", ("commutes",)),
}
COMPARE: dict[str, tuple[str, tuple[str, ...]]] = {
    "equal": ("x == y", ("commutes",)),
    "not_equal": ("x != y", ("commutes",)),
    "less": ("x < y", ()),
    "less_equal": ("x <= y", ()),
    "greater": ("x > y", ()),
    "greater_equal": ("x >= y", ()),
}

# What shape arithmetic needs of the table: how values known in symbols combine.
_VALUE_RULES: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floor_div": lambda a, b: a // b,
    "div": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "maximum": lambda a, b: a if a == b else max(a, b) if isinstance(a, int) and isinstance(b, int) else UNKNOWN,
    "minimum": lambda a, b: a if a == b else min(a, b) if isinstance(a, int) and isinstance(b, int) else UNKNOWN,
}


def _values(x: Tensor, y: Tensor, rule: Any) -> tuple[Any, ...] | None:
    """The known elements of a binary op on small integer tensors."""
    if rule is None or x.value is None or y.value is None or not x.dtype.is_integer:
        return None
    if len(x.value) != len(y.value) and 1 not in (len(x.value), len(y.value)):
        return None
    n = max(len(x.value), len(y.value)) if x.value and y.value else 0
    left, right = (v * n if len(v) == 1 else v for v in (x.value, y.value))
    try:
        return tuple(rule(a, b) for a, b in zip(left, right))
    except ZeroDivisionError:
        return None


def _declare_binary(name: str, formula: str, traits: tuple[str, ...], dtype: DType | None) -> None:
    values = _VALUE_RULES.get(name)

    def rule(x: Tensor, y: Tensor) -> Tensor:
        same_dtype(x, y)
        t = broadcast_type(x, y, dtype=dtype or x.dtype)
        return Tensor(t.dtype, t.shape, _values(x, y, values))

    declare_op(
        rule, name, frozenset({"elementwise", *traits}), doc=f"{name}(x, y) = {formula}; shapes broadcast as NumPy's."
    )


for _name, (_formula, _traits) in BINARY.items():
    _declare_binary(_name, _formula, _traits, None)
for _name, (_formula, _traits) in COMPARE.items():
    _declare_binary(_name, _formula, _traits, boolean)


# ---- the others ----------------------------------------------------------------------------------------------


@op("elementwise")
def pow(x: Tensor, y: Tensor) -> Tensor:
    """x ** y in the dtype of x; the exponent may have another dtype.  Shapes broadcast."""
    return broadcast_type(x, y, dtype=x.dtype)


@op("elementwise")
def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """x where the condition (boolean) holds, else y; shapes broadcast."""
    require(condition.dtype is boolean, f"condition is {condition.dtype}, expected bool")
    return broadcast_type(condition, x, y, dtype=same_dtype(x, y))


@op("elementwise")
def cast(x: Tensor, *, to: DType) -> Tensor:
    """x in another dtype; floats are cut towards zero when they become integers, anything non-zero is true."""
    return Tensor(to, x.shape, x.value if to.is_integer else None)


@op("elementwise")
def bit_cast(x: Tensor, *, to: DType) -> Tensor:
    """The bits of x read as another dtype of the same size."""
    require(x.dtype.bits == to.bits and "string" not in (x.dtype.kind, to.kind), f"{x.dtype} has not the size of {to}")
    return Tensor(to, x.shape)


@op("elementwise")
def logical_not(x: Tensor) -> Tensor:
    """not x on booleans."""
    require(x.dtype is boolean, f"operand is {x.dtype}, expected bool")
    return _same(x)


@op("elementwise")
def bit_not(x: Tensor) -> Tensor:
    """~x on integers."""
    return _same(x)


@op("elementwise")
def is_nan(x: Tensor) -> Tensor:
    """Whether x is not a number."""
    return Tensor(boolean, x.shape)


@op("elementwise")
def is_inf(x: Tensor, *, positive: bool = True, negative: bool = True) -> Tensor:
    """Whether x is infinite, with the sign(s) asked for."""
    return Tensor(boolean, x.shape)


@op("view")
def identity(x: Type) -> Type:  # type: ignore[name-defined]  # noqa: F821
    """x itself."""
    return x


@op()
def stop_gradient(x: Tensor) -> Tensor:
    """x, through which no gradient flows."""
    return _same(x)
