"""Elementwise operators: functions, arithmetic, comparison, logic, casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ....errors import GraphError
from ....ir.graph import Var
from ....ir.types import DType, f32
from ..lowering import Lowering
from ..protos import elem_type
from ..registry import onnx

# ---- functions of one element --------------------------------------------------------------------------------

UNARY = {
    "Abs": "abs", "Acos": "acos", "Acosh": "acosh", "Asin": "asin", "Asinh": "asinh", "Atan": "atan",
    "Atanh": "atanh", "BitwiseNot": "bit_not", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Erf": "erf",
    "Exp": "exp", "Floor": "floor", "HardSwish": "hard_silu", "IsNaN": "is_nan", "Log": "log", "Mish": "mish",
    "Neg": "neg", "Not": "logical_not", "Reciprocal": "reciprocal", "Relu": "relu", "Round": "round",
    "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Softplus": "softplus",
    "Softsign": "softsign", "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip

SELU = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}  # the float32 numbers of the schema


def _unary(name: str) -> Callable[[Lowering, Var], Any]:
    return lambda b, X: getattr(b, name)(X)


for _name, _core in UNARY.items():
    onnx(_name)(_unary(_core))


@onnx("LeakyRelu")
def leaky_relu(b: Lowering, X: Var, *, alpha: float = 0.01) -> Var:
    return b.leaky_relu(X, negative_slope=alpha)


@onnx("Elu")
def elu(b: Lowering, X: Var, *, alpha: float = 1.0) -> Var:
    return b.elu(X, alpha=alpha)


@onnx("Selu")
def selu(b: Lowering, X: Var, *, alpha: float = SELU["alpha"], gamma: float = SELU["gamma"]) -> Var:
    return b.selu(X, alpha=alpha, scale=gamma)


@onnx("Celu", since=12)
def celu(b: Lowering, X: Var, *, alpha: float = 1.0) -> Var:
    return b.celu(X, alpha=alpha)


@onnx("HardSigmoid")
def hard_sigmoid(b: Lowering, X: Var, *, alpha: float = 0.2, beta: float = 0.5) -> Var:
    return b.hard_sigmoid(X, alpha=alpha, beta=beta)


@onnx("ThresholdedRelu")
def thresholded_relu(b: Lowering, X: Var, *, alpha: float = 1.0) -> Var:
    return b.thresholded_relu(X, theta=alpha)


@onnx("Shrink")
def shrink(b: Lowering, X: Var, *, bias: float = 0.0, lambd: float = 0.5) -> Var:
    return b.shrink(X, bias=bias, lambd=lambd)


@onnx("Gelu")
def gelu(b: Lowering, X: Var, *, approximate: str = "none") -> Var:
    if approximate not in ("none", "tanh"):
        raise b.refuse(f"approximate is {approximate!r}, expected 'none' or 'tanh'")
    return b.gelu(X, approximate=approximate == "tanh")


@onnx("Swish")
def swish(b: Lowering, X: Var, *, alpha: float = 1.0) -> Var:
    return b.silu(X, beta=alpha)


@onnx("PRelu")
def prelu_channels(b: Lowering, X: Var, slope: Var) -> Var:
    """Before opset 7: one slope, or one for each channel (axis 1)."""
    if len(slope.shape) == 1 and slope.shape[0] != 1 and len(X.shape) > 2:
        slope = b.reshape(slope, shape=(-1, *[1] * (len(X.shape) - 2)))
    return prelu(b, X, slope)


@onnx("PRelu", since=7)
def prelu(b: Lowering, X: Var, slope: Var) -> Var:
    return b.where(b.less(X, 0), b.mul(X, slope), X)


@onnx("Clip")
def clip(b: Lowering, input: Var, min: Var | None = None, max: Var | None = None) -> Var:
    if input.tensor.dtype.is_float:
        return b.clip(input, low=min, high=max)
    low = input if min is None else b.maximum(input, min)  # exact on integers
    return low if max is None else b.minimum(low, max)


@onnx("IsInf")
def is_inf(b: Lowering, X: Var, *, detect_negative: int = 1, detect_positive: int = 1) -> Var:
    return b.is_inf(X, negative=detect_negative, positive=detect_positive)


LARGEST = {"f8e4m3fn": 448.0, "f8e4m3fnuz": 240.0, "f8e5m2": 57344.0, "f8e5m2fnuz": 57344.0}


@onnx("Cast")
def cast(b: Lowering, input: Var, *, to: int, saturate: int = 1, round_mode: str = "up") -> Var:
    target = elem_type(to)
    if target.name == "f8e8m0" and target is not input.tensor.dtype:
        return _power_of_two(b, b.cast(input, to=f32), target, saturate, round_mode)
    return _cast(b, input, target, saturate)


def _power_of_two(b: Lowering, x: Var, target: DType, saturate: int, round_mode: str) -> Var:
    """The exponent of a float32 alone, which is all that f8e8m0 has; the sign is dropped, infinity becomes NaN."""
    bits = b.bit_cast(x, to="u32")
    exponent = b.bit_and(b.shift_right(bits, 23), 0xFF)
    if round_mode == "up":
        rounded = b.greater(b.bit_and(bits, 0x7FFFFF), 0)
    elif round_mode == "nearest":  # a half goes up
        beyond = b.logical_or(b.greater(b.bit_and(bits, 0x3FFFFF), 0), b.greater(exponent, 0))
        rounded = b.logical_and(b.greater(b.bit_and(bits, 0x400000), 0), beyond)
    elif round_mode == "down":
        rounded = b.constant(False)
    else:
        raise b.refuse(f"round_mode is {round_mode!r}")
    finite = b.minimum(b.add(exponent, b.cast(rounded, to="u32")), 0xFE if saturate else 0xFF)
    whole = b.where(b.equal(exponent, 0xFF), exponent, finite)
    return b.bit_cast(b.cast(whole, to="u8"), to=target)  # type: ignore[no-any-return]


def _cast(b: Lowering, x: Var, target: DType, saturate: int) -> Var:
    """saturate: what is too large for a float of 8 bits becomes its largest number, not infinite or NaN."""
    if target is x.tensor.dtype:
        return x
    if saturate and target.name.startswith("f8") and x.tensor.dtype.is_float:
        x = b.clip(x, low=-LARGEST[target.name], high=LARGEST[target.name])
    return b.cast(x, to=target)  # type: ignore[no-any-return]


@onnx("BitCast", since=26)
def bit_cast(b: Lowering, input: Var, *, to: int) -> Var:
    return b.bit_cast(input, to=elem_type(to))


@onnx("CastLike")
def cast_like(b: Lowering, input: Var, target_type: Var, *, saturate: int = 1, round_mode: str = "up") -> Var:
    return _cast(b, input, target_type.tensor.dtype, saturate)


# ---- two operands and more -----------------------------------------------------------------------------------

ARITHMETIC = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow"}
LOGIC = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}
COMPARE = {"Equal": "equal", "Greater": "greater", "Less": "less"}
BINARY = {
    "GreaterOrEqual": "greater_equal", "LessOrEqual": "less_equal",
    "BitwiseAnd": "bit_and", "BitwiseOr": "bit_or", "BitwiseXor": "bit_xor",
}  # fmt: skip


DECIDED = {"equal": np.equal, "greater": np.greater, "less": np.less, "greater_equal": np.greater_equal,
           "less_equal": np.less_equal, "logical_and": np.logical_and, "logical_or": np.logical_or}  # fmt: skip


def _binary(name: str) -> Callable[[Lowering, Var, Var], Any]:
    def lower(b: Lowering, A: Var, B: Var) -> Any:
        if name in DECIDED and (decided := _decided(b, name, A, B)) is not None:
            return decided
        return getattr(b, name)(A, B)

    return lower


def _decided(b: Lowering, name: str, A: Var, B: Var) -> Var | None:
    """A comparison of known numbers, for the conditions of `If` that exporters compute from shapes."""
    left, right = b.known(A), b.known(B)
    if left is None or right is None or len(left) != 1 or len(right) != 1:
        return None
    if not all(isinstance(v, (bool, int, float)) for v in (*left, *right)):
        return None
    result = DECIDED[name](left[0], right[0])  # type: ignore[arg-type]
    return b.constant(np.reshape(result, (1,) * max(len(A.shape), len(B.shape))))


def _aligned(name: str) -> Callable[..., Any]:
    """Before opset 7, B is broadcast only where `broadcast` is set, its first axis at `axis` of A."""

    def lower(b: Lowering, A: Var, B: Var, *, axis: int | None = None, broadcast: int = 0) -> Any:
        if broadcast and axis is not None:
            rank, own = len(A.shape), len(B.shape)
            after = rank - own - axis % rank
            if after < 0:
                raise GraphError(f"{name}: axis {axis} leaves no room for {B.type} in {A.type}")
            if after and own:
                B = b.unsqueeze(B, axes=tuple(range(own, own + after)))
        return getattr(b, name)(A, B)

    return lower


for _name, _core in (ARITHMETIC | LOGIC | COMPARE).items():
    onnx(_name, since=1)(_aligned(_core))
for _name, _core in (ARITHMETIC | LOGIC | COMPARE | BINARY).items():
    onnx(_name, since=7)(_binary(_core))


@onnx("Mod")
def mod(b: Lowering, A: Var, B: Var, *, fmod: int = 0) -> Var:
    return b.fmod(A, B) if fmod else b.mod(A, B)


@onnx("BitShift")
def bit_shift(b: Lowering, X: Var, Y: Var, *, direction: str) -> Var:
    return b.shift_left(X, Y) if direction == "LEFT" else b.shift_right(X, Y)


@onnx("Where")
def where(b: Lowering, condition: Var, X: Var, Y: Var) -> Var:
    return b.where(condition, X, Y)


def _variadic(name: str) -> Callable[..., Any]:
    return lambda b, *data: reduce(getattr(b, name), data)


for _name, _core in {"Max": "maximum", "Min": "minimum", "Sum": "add"}.items():
    onnx(_name)(_variadic(_core))


@onnx("Mean")
def mean(b: Lowering, *data: Var) -> Var:
    return b.div(reduce(b.add, data), len(data))


@onnx("Identity")
def identity(b: Lowering, input: Var) -> Var:
    return input


@onnx("Dropout", since=1)
def dropout_attribute(
    b: Lowering, data: Var, *, ratio: float = 0.5, is_test: int = 1, seed: int | None = None
) -> tuple[Var, ...]:
    """Opset 6 has `is_test`; what is loaded here is for inference, and later opsets to 11 know nothing else."""
    return dropout(b, data)


@onnx("Dropout", since=12)
def dropout(
    b: Lowering, data: Var, ratio: Var | None = None, training_mode: Var | None = None, *, seed: int | None = None
) -> tuple[Var, ...]:
    """x and a mask of nothing but true; in training, elements are dropped and the others divided by 1 - ratio."""
    if training_mode is None or b.known(training_mode) == (False,):
        return (data, b.fill(np.array(True), shape=b.vector(b.dims(data)))) if b.wants(1) else (data,)
    dtype = data.tensor.dtype
    share = b.constant(0.5, dtype=dtype.numpy) if ratio is None else _cast(b, ratio, dtype, 0)
    noise = b.random_uniform(shape=b.vector(b.dims(data)), dtype=dtype, seed=seed)
    idle = b.logical_not(training_mode)
    mask = b.logical_or(b.greater_equal(noise, share), idle)
    scale = b.where(idle, b.constant(1, dtype=dtype.numpy), b.reciprocal(b.sub(1.0, share)))
    return b.where(mask, b.mul(data, scale), b.constant(0, dtype=dtype.numpy)), mask


# ---- constants -----------------------------------------------------------------------------------------------


@onnx("Constant")
def constant(
    b: Lowering, *, value: Any = None, sparse_value: Any = None, value_float: float | None = None,
    value_floats: tuple[float, ...] | None = None, value_int: int | None = None,
    value_ints: tuple[int, ...] | None = None, value_string: str | None = None,
    value_strings: tuple[str, ...] | None = None,
) -> Var:  # fmt: skip
    """The array, number, text or list of such that one of the attributes holds."""
    forms: list[tuple[Any, Any]] = [
        (value, None), (sparse_value, None), (value_float, np.float32), (value_floats, np.float32),
        (value_int, np.int64), (value_ints, np.int64), (value_string, object), (value_strings, object),
    ]  # fmt: skip
    given = [(data, dtype) for data, dtype in forms if data is not None]
    if len(given) != 1:
        raise GraphError(f"a Constant has one value, this one has {len(given)}")
    ((data, dtype),) = given
    return b.constant(np.asarray(data, dtype), b.current.output[0])


@onnx("ConstantOfShape")
def constant_of_shape(b: Lowering, input: Var, *, value: Any = None) -> Var:
    element = np.zeros((), np.float32) if value is None else value.reshape(())
    return b.fill(b.constant(element), shape=input)


@onnx("EyeLike")
def eye_like(b: Lowering, input: Var, *, dtype: int | None = None, k: int = 0) -> Var:
    target = input.tensor.dtype if dtype is None else elem_type(dtype)
    rows, columns = b.dims(input)
    return b.eye(rows=rows, columns=columns, k=k, dtype=target)


@onnx("Range")
def range_(b: Lowering, start: Var, limit: Var, delta: Var, *, stash_type: int = 1) -> Var:
    """Numbers of 16 bits are counted in the type that stash_type names."""
    own = start.tensor.dtype
    wide = elem_type(stash_type) if own.is_float and own.bits == 16 else own
    ends = [v if own is wide else b.cast(v, to=wide) for v in (start, limit, delta)]
    y = b.range(*(b.reshape(v, shape=()) if v.shape else v for v in ends))
    return y if own is wide else b.cast(y, to=own)
