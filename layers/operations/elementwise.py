"""The elementwise operations of keras.ops.numpy, and complex numbers.

Formulas and dtypes: keras/src/backend/tensorflow/numpy.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...ir import Builder, Tensor, Var, dtype
from ...ir.ops.control import control_node, trace
from ...ir.types import boolean, i64
from ..base import as_dtype
from .common import (
    Function,
    Term,
    floating,
    formula,
    inexact,
    is_complex,
    kind_of,
    row,
    rows,
    tensor,
    together,
    where,
)  # fmt: skip
from .promotion import result_type

FAMILY = "numpy"
operation = partial(row, FAMILY)


# ---- one operand ----------------------------------------------------------------------------------------------


def _unary(op: str, convert: Callable[..., Var] = tensor) -> Function:
    return lambda b, x: getattr(b, op)(convert(b, x))


def _without_bool(b: Builder, x: Any) -> Var:
    """Booleans as int32."""
    return tensor(b, x, "int32" if kind_of(x) == "bool" else None)


def _widened(b: Builder, x: Any, *more: str) -> Var:
    """Integers in float32, int64 in float64."""
    name = result_type(kind_of(x), *more)
    return tensor(b, x, "float64" if name == "int64" else name if dtype(name).is_float else "float32")


FLOATING = {  # op names by Keras' name; computed in the operand's floating-point dtype
    "Arccos": "acos", "Arccosh": "acosh", "Arcsin": "asin", "Arcsinh": "asinh", "Arctan": "atan", "Arctanh": "atanh",
    "Ceil": "ceil", "Floor": "floor", "Cos": "cos", "Cosh": "cosh", "Sin": "sin", "Sinh": "sinh", "Tan": "tan",
    "Tanh": "tanh", "Log": "log", "Log1p": "log1p", "Sqrt": "sqrt",
}  # fmt: skip

rows(FAMILY, {name: _unary(op, floating) for name, op in FLOATING.items()})
rows(FAMILY, {
    "Exp": _unary("exp", inexact), "Expm1": _unary("expm1", inexact), "Fabs": _unary("abs", inexact),
    "Square": _unary("square", _without_bool), "Negative": _unary("neg"), "Reciprocal": _unary("reciprocal"),
    "BitwiseInvert": _unary("bit_not"), "BitwiseNot": _unary("bit_not"), "Copy": lambda b, x: tensor(b, x),
    "LogicalNot": lambda b, x: b.logical_not(tensor(b, x, "bool")),
    "Exp2": formula(inexact, lambda x: _power_of(2.0, x)),
    "Log10": formula(floating, lambda x: x.log() / math.log(10)),
    "Log2": formula(floating, lambda x: x.log() / math.log(2)),
    "Deg2rad": formula(_widened, lambda x: x * (math.pi / 180)),
    "Rad2deg": formula(_widened, lambda x: x * (180 / math.pi)),
    "Cbrt": formula(_widened, lambda x: x.sign() * x.abs().pow(1 / 3)),
})  # fmt: skip


def _power_of(base: float, x: Term) -> Term:
    return Term(x.b, x.same(base)).pow(x)  # type: ignore[no-any-return]


@operation("Absolute", "Abs")
def absolute(b: Builder, x: Any) -> Any:
    x = tensor(b, x)
    if is_complex(x):
        return (Term(b, real(b, x)).square() + Term(b, imag(b, x)).square()).sqrt()
    return b.abs(x) if x.tensor.dtype.kind in ("int", "float") else x


@operation("Sign")
def sign(b: Builder, x: Any) -> Var:
    x = tensor(b, x)
    unsigned = x.tensor.dtype.kind == "uint"
    return as_dtype(b, b.sign(as_dtype(b, x, "int32")), x.tensor.dtype) if unsigned else b.sign(x)


@operation("Sinc")
def sinc(b: Builder, x: Any) -> Any:
    t = Term(b, floating(b, x)) * math.pi
    return where(t.equal(0), 1.0, t.sin() / t)


@operation("Round")
def round_(b: Builder, x: Any, decimals: int = 0) -> Any:
    x = tensor(b, x)
    whole = not x.tensor.dtype.is_float
    if decimals == 0 or (whole and decimals > 0):
        return x if whole else b.round(x)
    factor = 10.0**decimals
    scaled = (Term(b, tensor(b, x, "float32") if whole else x) * factor).round() / factor
    return scaled.to(x.tensor.dtype)


@operation("Trunc")
def trunc(b: Builder, x: Any) -> Any:
    t = Term(b, tensor(b, x))
    return where(t < 0, t.ceil(), t.floor()) if t.var.tensor.dtype.is_float else t


@operation("Signbit")
def signbit(b: Builder, x: Any) -> Any:
    x = tensor(b, x)
    if x.tensor.dtype.is_float:
        return b.less(b.bit_cast(as_dtype(b, x, "float32"), to="i32"), 0)
    return b.less(_without_bool(b, x), 0)


@operation("NanToNum")
def nan_to_num(b: Builder, x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    t = Term(b, tensor(b, x))
    if not t.var.tensor.dtype.is_float:
        return t
    largest = _largest(t.dtype)
    t = where(t.is_nan(), nan, t)
    t = where(t.is_inf(positive=True, negative=False), largest if posinf is None else posinf, t)
    return where(t.is_inf(positive=False, negative=True), -largest if neginf is None else neginf, t)


def _largest(name: str) -> float:
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype(name).numpy).max)  # type: ignore[no-untyped-call]


def _test(positive: bool | None = None, negative: bool | None = None) -> Function:
    """Whether elements are infinite (of a sign), or NaN; never, for integers."""

    def call(b: Builder, x: Any) -> Any:
        x = tensor(b, x)
        if not x.tensor.dtype.is_float:
            return b.expand(b.constant(False), shape=x.shape)
        return b.is_nan(x) if positive is None else b.is_inf(x, positive=positive, negative=negative)

    return call


@operation("Isfinite")
def isfinite(b: Builder, x: Any) -> Any:
    x = tensor(b, x)
    if not x.tensor.dtype.is_float:
        return b.expand(b.constant(True), shape=x.shape)
    return b.logical_not(b.logical_or(b.is_nan(x), b.is_inf(x)))


rows(FAMILY, {
    "Isnan": _test(), "Isinf": _test(True, True), "Isposinf": _test(True, False), "Isneginf": _test(False, True),
})  # fmt: skip


# Chebyshev series of exp(-x) I0(x) for x <= 8, in x/2 - 2, and of exp(-x) sqrt(x) I0(x) above, in 32/x - 2
# (Clenshaw 1962, as in the Cephes library)
_I0_BELOW = (
    -4.41534164647933937950e-18, 3.33079451882223809783e-17, -2.43127984654795469359e-16, 1.71539128555513303061e-15,
    -1.16853328779934516808e-14, 7.67618549860493561688e-14, -4.85644678311192946090e-13, 2.95505266312963983461e-12,
    -1.72682629144155570723e-11, 9.67580903537323691224e-11, -5.18979560163526290666e-10, 2.65982372468238665035e-9,
    -1.30002500998624804212e-8, 6.04699502254191894932e-8, -2.67079385394061173391e-7, 1.11738753912010371815e-6,
    -4.41673835845875056359e-6, 1.64484480707288970893e-5, -5.75419501008210370398e-5, 1.88502885095841655729e-4,
    -5.76375574538582365885e-4, 1.63947561694133579842e-3, -4.32430999505057594430e-3, 1.05464603945949983183e-2,
    -2.37374148058994688156e-2, 4.93052842396707084878e-2, -9.49010970480476444210e-2, 1.71620901522208775349e-1,
    -3.04682672343198398683e-1, 6.76795274409476084995e-1,
)  # fmt: skip
_I0_ABOVE = (
    -7.23318048787475395456e-18, -4.83050448594418207126e-18, 4.46562142029675999901e-17, 3.46122286769746109310e-17,
    -2.82762398051658348494e-16, -3.42548561967721913462e-16, 1.77256013305652638360e-15, 3.81168066935262242075e-15,
    -9.55484669882830764870e-15, -4.15056934728722208663e-14, 1.54008621752140982691e-14, 3.85277838274214270114e-13,
    7.18012445138366623367e-13, -1.79417853150680611778e-12, -1.32158118404477131188e-11, -3.14991652796324136454e-11,
    1.18891471078464383424e-11, 4.94060238822496958910e-10, 3.39623202570838634515e-9, 2.26666899049817806459e-8,
    2.04891858946906374183e-7, 2.89137052083475648297e-6, 6.88975834691682398426e-5, 3.36911647825569408990e-3,
    8.04490411014108831608e-1,
)  # fmt: skip


def _chebyshev(x: Term, coefficients: tuple[float, ...]) -> Any:
    """By Clenshaw's recurrence."""
    after: Any = 0.0
    last: Any = 0.0
    value: Any = coefficients[0]
    for c in coefficients[1:]:
        after, last = last, value
        value = x * last - after + c
    return (value - after) * 0.5


@operation("I0")
def bessel_i0(b: Builder, x: Any) -> Any:
    """The modified Bessel function of the first kind and order 0."""
    t = Term(b, tensor(b, x)).to(_i0_dtype(kind_of(x)))
    size = t.abs()
    below = _chebyshev(size * 0.5 - 2.0, _I0_BELOW)
    large = size.maximum(8.0)
    above = _chebyshev(32.0 / large - 2.0, _I0_ABOVE) * large.rsqrt()
    return size.exp() * where(size <= 8.0, below, above)


def _i0_dtype(kind: str) -> str:
    return "float64" if kind in ("int64", "float64") else kind if kind in ("bfloat16", "float16") else "float32"


# ---- two operands ---------------------------------------------------------------------------------------------


def _binary(op: str, weak: bool = True, beside: tuple[str, ...] = ()) -> Function:
    """Operands meet in one dtype (and `beside`); `weak` says whether Python numbers give way to tensors."""
    return lambda b, x, y: getattr(b, op)(*together(b, x, y, weak=weak, beside=beside))


def _logical(op: str) -> Function:
    return lambda b, x, y: getattr(b, op)(tensor(b, x, "bool"), tensor(b, y, "bool"))


def _shift(op: str) -> Function:
    """A Python number takes the tensor's dtype."""

    def call(b: Builder, x: Any, y: Any) -> Var:
        x = tensor(b, x)
        pair = (x, tensor(b, y, x.tensor.dtype)) if isinstance(y, int) else together(b, x, y)
        return getattr(b, op)(*pair)  # type: ignore[no-any-return]

    return call


def _terms(body: Callable[..., Any], convert: Callable[..., list[Var]]) -> Function:
    def call(b: Builder, x: Any, y: Any, **config: Any) -> Any:
        return body(*(Term(b, v) for v in convert(b, x, y)), **config)

    return call


def _floats(b: Builder, *xs: Any) -> list[Var]:
    """In a common floating-point dtype, Python numbers as tensors of 32 bits."""
    return together(b, *xs, weak=False, beside=("float",))


def _wide_floats(b: Builder, *xs: Any) -> list[Var]:
    """As `_widened`, in a common dtype."""
    name = result_type(*(kind_of(tensor(b, x)) for x in xs))
    name = "float64" if name == "int64" else name if dtype(name).is_float else "float32"
    return [tensor(b, x, name) for x in xs]


rows(FAMILY, {
    "Add": lambda b, x, y: add(b, x, y), "Multiply": lambda b, x, y: multiply(b, x, y), "Subtract": _binary("sub"),
    "Divide": _binary("div", beside=("float",)), "TrueDivide": _binary("div", beside=("float",)),
    "Maximum": lambda b, x, y: _extreme(b, x, y, "maximum", "logical_or"),
    "Minimum": lambda b, x, y: _extreme(b, x, y, "minimum", "logical_and"),
    "FloorDivide": _binary("floor_div"),
    "LogicalAnd": _logical("logical_and"), "LogicalOr": _logical("logical_or"), "LogicalXor": _logical("logical_xor"),
    "LeftShift": _shift("shift_left"), "BitwiseLeftShift": _shift("shift_left"),
    "RightShift": _shift("shift_right"), "BitwiseRightShift": _shift("shift_right"),
    **{name: _binary(op, weak=False) for name, op in {
        "Equal": "equal", "NotEqual": "not_equal", "Less": "less", "LessEqual": "less_equal", "Greater": "greater",
        "GreaterEqual": "greater_equal", "BitwiseAnd": "bit_and", "BitwiseOr": "bit_or", "BitwiseXor": "bit_xor",
    }.items()},
    "Arctan2": _binary("atan2", weak=False, beside=("float",)),
})  # fmt: skip


def add(b: Builder, x: Any, y: Any) -> Var:
    """The sum; of booleans, whether any is true."""
    x, y = together(b, x, y)
    return b.logical_or(x, y) if kind_of(x) == "bool" else b.add(x, y)  # type: ignore[no-any-return]


def multiply(b: Builder, x: Any, y: Any) -> Var:
    """The product; of booleans, whether all are true."""
    x, y = together(b, x, y)
    return b.logical_and(x, y) if kind_of(x) == "bool" else b.mul(x, y)  # type: ignore[no-any-return]


def _extreme(b: Builder, x: Any, y: Any, op: str, logical: str) -> Var:
    x, y = together(b, x, y)
    return getattr(b, logical if kind_of(x) == "bool" else op)(x, y)  # type: ignore[no-any-return]


@operation("Power")
def power(b: Builder, x: Any, y: Any) -> Var:
    """Of unsigned integers in int32, as Keras does."""
    x, y = together(b, x, y)
    if x.tensor.dtype.kind == "uint":
        return as_dtype(b, b.pow(as_dtype(b, x, "int32"), as_dtype(b, y, "int32")), x.tensor.dtype)
    return b.pow(x, y)  # type: ignore[no-any-return]


@operation("DivideNoNan")
def divide_no_nan(b: Builder, x: Any, y: Any) -> Any:
    return _safe_quotient(*(Term(b, v) for v in together(b, x, y, beside=("float",))))


def _safe_quotient(x: Term, y: Term) -> Any:
    """x / y, 0 where y is."""
    none = y.equal(0)
    return where(none, 0.0, x / where(none, 1.0, y))


def _fold_nan(op: str) -> Function:
    """The extreme of two, one that is NaN not counting."""

    def call(b: Builder, x: Any, y: Any) -> Any:
        s, t = (Term(b, v) for v in together(b, x, y))
        found = getattr(s, op)(t)
        if not s.var.tensor.dtype.is_float:
            return _extreme(b, x, y, op, {"maximum": "logical_or", "minimum": "logical_and"}[op])
        return where(s.is_nan(), t, where(t.is_nan(), s, found))

    return call


rows(FAMILY, {"Fmax": _fold_nan("maximum"), "Fmin": _fold_nan("minimum")})


def _integers(b: Builder, x: Any, y: Any) -> list[Var]:
    return [_without_bool(b, v) for v in together(b, x, y, weak=False)]


@operation("Mod")
def mod(b: Builder, x: Any, y: Any) -> Var:
    return b.mod(*_integers(b, x, y))  # type: ignore[no-any-return]


@operation("Fmod")
def fmod(b: Builder, x: Any, y: Any) -> Any:
    """sign(x) · (|x| mod |y|)."""
    s, t = (Term(b, v) for v in _integers(b, x, y))
    if s.var.tensor.dtype.kind == "uint":
        return s % t
    return s.sign() * (s.abs() % t.abs())


def _heaviside(x: Term, y: Term) -> Any:
    return where(x < 0, 0.0, where(x > 0, 1.0, y))


def _hypot(x: Term, y: Term) -> Any:
    """max · sqrt(1 + (min / max)²), which does not overflow."""
    x, y = x.abs(), y.abs()
    largest = x.maximum(y)
    return largest * (_safe_quotient(x.minimum(y), largest).square() + 1.0).sqrt()


def _logaddexp(x: Term, y: Term, base: float = math.e) -> Any:
    """log(base^x + base^y) in that base."""
    delta, log = x - y, math.log(base)
    above = x.maximum(y) + ((-delta.abs()) * log).exp().log1p() / log
    return where(delta.is_nan(), x + y, above)


def _ldexp(b: Builder, x: Any, y: Any) -> Any:
    if not dtype(kind_of(y)).is_integer if kind_of(y) != "int" else False:
        raise TypeError(f"the exponent is {kind_of(y)}, expected integers")
    s, t = (Term(b, v) for v in _floats(b, x, y))
    return where(s.is_inf() | s.equal(0), s, s * _power_of(2.0, t))


def _close(x: Term, y: Term, rtol: float, atol: float, equal_nan: bool) -> Any:
    if not x.var.tensor.dtype.is_float:
        return x.equal(y)
    near = (x - y).abs() <= y.abs() * rtol + atol
    return near | (x.is_nan() & y.is_nan()) if equal_nan else near


@operation("Isclose")
def isclose(b: Builder, x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    s, t = (Term(b, v) for v in together(b, x, y, weak=False))
    return _close(s, t, rtol, atol, equal_nan)


@operation("AllClose")
def allclose(b: Builder, x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    s, t = (Term(b, v) for v in together(b, x, y, weak=False))
    near = _close(s, t, rtol, atol, equal_nan)
    if s.var.tensor.dtype.is_float:
        near = (near & ~(s.is_inf() | t.is_inf())) | s.equal(t)
    return near.reduce_all()


def _nextafter(b: Builder, x: Any, y: Any) -> Any:
    """The neighbour of x in float64 on the way to y, in the common dtype (as Keras has it).

    Of numbers of one sign, neighbours are so as integers too.
    """
    name = result_type(*(kind_of(tensor(b, v)) for v in (x, y)), "float")
    s, t = (Term(b, tensor(b, v, "float64")) for v in (x, y))
    outwards = ((t > s).equal(s > 0)).cast(to="i64") * 2 - 1
    moved = (s.bit_cast(to="i64") + outwards).bit_cast(to="f64")
    tiny = t.sign() * 5e-324
    moved = where(s.equal(0), tiny, moved)
    return where(s.equal(t) | t.is_nan(), t, where(s.is_nan(), s, moved)).to(name)


rows(FAMILY, {
    "Heaviside": _terms(_heaviside, _wide_floats), "Hypot": _terms(_hypot, _wide_floats), "Ldexp": _ldexp,
    "Logaddexp": _terms(_logaddexp, _floats), "Logaddexp2": _terms(partial(_logaddexp, base=2.0), _floats),
    "Nextafter": _nextafter,
})  # fmt: skip


def _euclid(b: Builder, number: Var, condition: Var, x: Var, y: Var) -> list[Var]:
    """One step of all elements: (y, x mod y) where y is not 0; whether some y is still not."""
    s, t = Term(b, x), Term(b, y)
    none = t.equal(0)
    rest = where(none, 0, s % where(none, 1, t))
    return [(~rest.equal(0)).reduce_any().var, where(none, s, t).var, rest.var]


def common_divisor(b: Builder, x: Any, y: Any) -> Var:
    """The greatest common divisor, not negative; 0 of two zeros."""
    s, t = (Term(b, v).abs() for v in together(b, x, y, weak=False))
    if not s.var.tensor.dtype.is_integer:
        raise TypeError(f"operands are {s.dtype}, expected integers")
    shape = (s + t).shape
    operands = [v.expand(shape=shape).var for v in (s, t)]
    counters = [("number", Tensor(i64, ())), ("condition", Tensor(boolean, ()))]
    given = [*counters, ("x", operands[0].type), ("y", operands[1].type)]
    body = trace("euclid", _euclid, given, b.source)
    inputs: list[Any] = [None, b.constant(True), *operands]
    return control_node(b, "loop", inputs, {"carried": 2}, {"body": body}).outputs[0]


@operation("Lcm")
def common_multiple(b: Builder, x: Any, y: Any) -> Any:
    divisor = Term(b, common_divisor(b, x, y))
    s, t = (Term(b, v).abs() for v in together(b, x, y, weak=False))
    none = divisor.equal(0)
    return where(none, 0, s * (t // where(none, 1, divisor)))


rows(FAMILY, {"Gcd": common_divisor})


# ---- complex numbers ------------------------------------------------------------------------------------------


def real(b: Builder, x: Var) -> Var:
    """The real part, in the dtype of the parts."""
    return as_dtype(b, x, {"c64": "f32", "c128": "f64"}.get(x.tensor.dtype.name, x.tensor.dtype))


def imag(b: Builder, x: Var) -> Var:
    """The imaginary part: that of x is the real part of -ix."""
    if not is_complex(x):
        return b.expand(b.constant(np.zeros((), x.tensor.dtype.numpy)), shape=x.shape)  # type: ignore[no-any-return]
    return real(b, b.mul(x, b.constant(np.array(-1j, x.tensor.dtype.numpy))))


def as_complex(b: Builder, re: Var, im: Var) -> Var:
    """re + i im."""
    name = "complex128" if re.tensor.dtype.name == "f64" else "complex64"
    turned = b.mul(as_dtype(b, im, name), b.constant(np.array(1j, dtype(name).numpy)))
    return b.add(as_dtype(b, re, name), turned)  # type: ignore[no-any-return]


def conjugate(b: Builder, x: Any) -> Var:
    x = tensor(b, x)
    return as_complex(b, real(b, x), b.neg(imag(b, x))) if is_complex(x) else x


@operation("Angle")
def angle(b: Builder, x: Any) -> Any:
    x = floating(b, x)
    if is_complex(x):
        return b.atan2(imag(b, x), real(b, x))
    t = Term(b, x)
    return where(t < 0, t.same(math.pi), 0.0 * t)


rows(FAMILY, {
    "Conj": conjugate, "Conjugate": conjugate,
    "Real": lambda b, x: real(b, tensor(b, x)), "Imag": lambda b, x: imag(b, tensor(b, x)),
    "Isreal": lambda b, x: b.equal(imag(b, tensor(b, x)), 0),
})  # fmt: skip
