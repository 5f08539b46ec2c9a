"""Elementwise kernels: functions of one element, arithmetic with broadcasting, comparison, logic, choice, casts.

A function of one element is a row of UNARY: a ufunc, or a function on arrays
f(x, out, *temporaries, **attributes) where `out` may be `x` itself.  The same row serves the op and, by `activate`,
the `activation` of other ops.  Functions of several passes go over long arrays block by block, so that all passes
but the first find their block in cache.

NumPy facts behind the formulas: a pass costs about .15 ns an element in cache, exp and tanh about .4 ns; maximum with
a scalar is four times slower than the ufunc `clip` with two; masked assignment is the slowest of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy._core.umath import clip as clip_ufunc  # type: ignore[attr-defined]  # np.clip adds 3 µs

from ....ir.attributes import Activation
from ....ir.ops.elementwise import UNARY as DECLARED
from ....ir.records import record
from ..registry import Array, Scratch, Step, is_constant, kernel, view
from .rows import BLOCK, converted

# ---- functions of one element --------------------------------------------------------------------------------


@record
class Unary:
    """A function of one element: what computes it and how many temporaries, like x, that takes.

    `integers`: it is exact on integers, others are computed in float64 and cut.  `once`: it passes over memory
    once, as ufuncs do.
    """

    call: Callable[..., Any]
    temporaries: int = 0
    integers: bool = False
    once: bool = False

    @property
    def single(self) -> bool:
        """Whether it is one pass over memory, which blocks would not help."""
        return self.once or isinstance(self.call, np.ufunc)


def _copy(x: Array, out: Array) -> None:
    if out is not x:
        np.copyto(out, x)


def _rsqrt(x: Array, out: Array) -> None:
    np.sqrt(x, out)
    np.reciprocal(out, out)


def _relu(x: Array, out: Array) -> None:
    _clip(x, out, low=0.0)


def _clip(
    x: Array, out: Array, *, low: float | None = None, high: float | None = None, open_low: bool = False,
    open_high: bool = False,
) -> None:  # fmt: skip
    """Open or closed bounds differ in their derivatives only."""
    if x.dtype.kind in "iub":
        clip_ufunc(x, *_integer_bounds(low, high, x.dtype), out)
    else:
        clip_ufunc(x, -math.inf if low is None else low, math.inf if high is None else high, out)


def _integer_bounds(low: float | None, high: float | None, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Bounds for integers: the integers in [low, high] that the dtype has."""
    info = np.iinfo(dtype) if dtype.kind != "b" else np.iinfo(np.uint8)
    least = info.min if low is None or low <= info.min else math.ceil(min(low, info.max))
    most = info.max if high is None or high >= info.max else math.floor(max(high, info.min))
    return dtype.type(least), dtype.type(most)


def _sigmoid(x: Array, out: Array) -> None:
    """1 / (1 + exp(-x)): exact to the last digits also for very negative x, unlike (1 + tanh(x/2)) / 2, and as fast."""
    np.negative(x, out)
    np.exp(out, out)
    np.add(out, 1, out)
    np.reciprocal(out, out)


def _log1p_exp(x: Array, out: Array) -> None:
    """log(1 + exp(-|x|)), which never overflows."""
    np.absolute(x, out)
    np.negative(out, out)
    np.exp(out, out)
    np.log1p(out, out)


def _softplus(x: Array, out: Array, t: Array) -> None:
    """max(x, 0) + log(1 + exp(-|x|))."""
    _log1p_exp(x, t)
    _relu(x, out)
    np.add(out, t, out)


def _log_sigmoid(x: Array, out: Array, t: Array) -> None:
    """min(x, 0) - log(1 + exp(-|x|))."""
    _log1p_exp(x, t)
    _clip(x, out, high=0.0)
    np.subtract(out, t, out)


def _softsign(x: Array, out: Array, t: Array) -> None:
    np.absolute(x, t)
    np.add(t, 1, t)
    np.divide(x, t, out)


def _leaky_relu(x: Array, out: Array, t: Array, *, negative_slope: float) -> None:
    """max(x, slope x) where 0 < slope <= 1, otherwise max(x, 0) + slope min(x, 0)."""
    if 0 < negative_slope <= 1:
        np.multiply(x, negative_slope, t)
        np.maximum(x, t, out=out)
    elif negative_slope == 0:
        _relu(x, out)
    else:
        _clip(x, t, high=0.0)
        np.multiply(t, negative_slope, t)
        _relu(x, out)
        np.add(out, t, out)


def _elu(x: Array, out: Array, t: Array, *, alpha: float, scale: float = 1.0) -> None:
    """scale (max(x, 0) + alpha (exp(min(x, 0)) - 1))."""
    _clip(x, t, high=0.0)
    np.expm1(t, t)
    np.multiply(t, alpha * scale, t)
    _relu(x, out)
    if scale != 1:
        np.multiply(out, scale, out)
    np.add(out, t, out)


def _celu(x: Array, out: Array, t: Array, *, alpha: float) -> None:
    """max(x, 0) + alpha (exp(min(x, 0) / alpha) - 1)."""
    _clip(x, t, high=0.0)
    np.divide(t, alpha, t)
    np.expm1(t, t)
    np.multiply(t, alpha, t)
    _relu(x, out)
    np.add(out, t, out)


def _gelu(x: Array, out: Array, t: Array, u: Array, v: Array, *, approximate: bool) -> None:
    """x Phi(x) = x (1 + erf(x / sqrt 2)) / 2, or as x sigmoid(x p(x²)): (1 + tanh(y)) / 2 = sigmoid(2 y)."""
    if not approximate and x.dtype == np.float64:
        np.multiply(x, math.sqrt(0.5), t)
        _erf(t, t, u, v)
        np.add(t, 1, t)
        np.multiply(t, 0.5, t)
        np.multiply(x, t, out)
        return
    np.multiply(x, x, u)
    _polynomial(_GELU_TANH if approximate else _GELU_SIGMOID, u, t)
    np.multiply(t, x, t)
    np.exp(t, t)
    np.add(t, 1, t)
    np.divide(x, t, out)


def _silu(x: Array, out: Array, t: Array, *, beta: float) -> None:
    """x / (1 + exp(-beta x))."""
    np.multiply(x, -beta, t)
    np.exp(t, t)
    np.add(t, 1, t)
    np.divide(x, t, out)


def _mish(x: Array, out: Array, t: Array, u: Array) -> None:
    """x n / (n + 2) with n = e (e + 2), e = exp(x): that is tanh(log(1 + e)); it is 1 from x = 20 on."""
    _clip(x, t, high=20.0)
    np.exp(t, t)
    np.add(t, 2, u)
    np.multiply(t, u, t)
    np.add(t, 2, u)
    np.divide(t, u, t)
    np.multiply(x, t, out)


def _hard_sigmoid(x: Array, out: Array, *, alpha: float, beta: float) -> None:
    np.multiply(x, alpha, out)
    np.add(out, beta, out)
    clip_ufunc(out, 0, 1, out)


def _affine(x: Array, out: Array, *, alpha: float, beta: float) -> None:
    np.multiply(x, alpha, out)
    np.add(out, beta, out)


def _scaled_tanh(x: Array, out: Array, *, alpha: float, beta: float) -> None:
    np.multiply(x, beta, out)
    np.tanh(out, out)
    np.multiply(out, alpha, out)


def _hard_silu(x: Array, out: Array, t: Array) -> None:
    _hard_sigmoid(x, t, alpha=1 / 6, beta=0.5)
    np.multiply(x, t, out)


def _thresholded_relu(x: Array, out: Array, *, theta: float) -> None:
    keep = x > theta
    _copy(x, out)
    np.putmask(out, ~keep, 0)


def _soft_shrink(x: Array, out: Array, t: Array, *, threshold: float) -> None:
    np.absolute(x, t)
    np.subtract(t, threshold, t)
    _relu(t, t)
    np.sign(x, out)
    np.multiply(out, t, out)


def _hard_shrink(x: Array, out: Array, t: Array, *, threshold: float) -> None:
    np.absolute(x, t)
    keep = t > threshold
    _copy(x, out)
    np.putmask(out, ~keep, 0)


def _shrink(x: Array, out: Array, *, bias: float, lambd: float) -> None:
    low, high = x < -lambd, x > lambd
    shift = np.where(low, x.dtype.type(bias), x.dtype.type(-bias))
    np.add(x, shift, out)
    np.putmask(out, ~(low | high), 0)


def _tanh_shrink(x: Array, out: Array, t: Array) -> None:
    np.tanh(x, t)
    np.subtract(x, t, out)


def _squareplus(x: Array, out: Array, t: Array, *, b: float) -> None:
    np.multiply(x, x, t)
    np.add(t, b, t)
    np.sqrt(t, t)
    np.add(x, t, out)
    np.multiply(out, 0.5, out)


def _sparse_sigmoid(x: Array, out: Array) -> None:
    """min(max((x + 1) / 2, 0), 1)."""
    _hard_sigmoid(x, out, alpha=0.5, beta=0.5)


def _sparse_plus(x: Array, out: Array, t: Array) -> None:
    """sparse_sigmoid(x)^2 + max(x, 1) - 1."""
    _sparse_sigmoid(x, t)
    np.multiply(t, t, t)
    _clip(x, out, low=1.0)
    np.subtract(out, 1, out)
    np.add(out, t, out)


# ---- the error function --------------------------------------------------------------------------------------

# float32, polynomials in x² from the highest power down, found by reweighted least squares (Lawson 1961):
# erf(x) = tanh(x p(x²)), where p fits atanh(erf(x)) / x for |x| < 4 with the least largest relative error of erf, 1e-7;
# with rounding it is four units in the last place at most, 0.6 on average.  Phi(x) = 1 / (1 + exp(x p(x²))), where p
# fits -logit(Phi(x)) / x for |x| < 6.2 with the least largest error of x Phi(x), 7e-8.  Beyond these bounds p goes on
# growing, to infinity: no clipping.
_ERF_TANH = (
    1.418520662547039e-07, -5.668473231033624e-06, 8.763731542673283e-05, -0.0006197846350801626,
    -0.00019183081973522134, 0.10276905579538445, 1.128379274306491,
)  # fmt: skip
_GELU_SIGMOID = (
    -3.6112316173767356e-09, 2.668927646759556e-07, -7.93821804252932e-06, 0.00011048031055476405,
    6.626000870757217e-05, -0.0726685670560768, -1.595768432223272,
)  # fmt: skip
_GELU_TANH = (-0.044715 * math.sqrt(8 / math.pi), -math.sqrt(8 / math.pi))

# float64: W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969), from the
# highest power down.  |x| <= 0.46875: erf(x) = x P(x^2) / Q(x^2); above: erfc(x) = exp(-x^2) P(x) / Q(x).
_CODY_SMALL = (
    (
        1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
        3.77485237685302021e2, 3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_CODY_LARGE = (
    (
        2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
        2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
        3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
    ),
)  # fmt: skip


def _polynomial(coefficients: tuple[float, ...], x: Array, out: Array) -> None:
    """out = the polynomial at x, by Horner's rule; coefficients, two at least, from the highest power down."""
    first, second, *others = coefficients
    np.multiply(x, first, out)
    np.add(out, second, out)
    for c in others:
        np.multiply(out, x, out)
        np.add(out, c, out)


def _erf(x: Array, out: Array, t: Array, u: Array) -> None:
    if x.dtype == np.float64:
        np.copyto(out, _erf_double(x))
        return
    np.multiply(x, x, u)
    _polynomial(_ERF_TANH, u, t)
    np.multiply(t, x, t)
    np.tanh(t, out)


def _erf_double(x: Array) -> Array:
    size = np.minimum(np.abs(x), 6)  # erf(6) rounds to 1
    square = size * size
    above, below, result = (np.empty_like(size) for _ in range(3))
    _polynomial(_CODY_LARGE[0], size, above)
    _polynomial(_CODY_LARGE[1], size, below)
    large = 1 - np.exp(-square) * above / below
    _polynomial(_CODY_SMALL[0], square, above)
    _polynomial(_CODY_SMALL[1], square, below)
    np.divide(size * above, below, result)
    np.copyto(result, large, where=size > 0.46875)
    return np.copysign(result, x)


# ---- the table -----------------------------------------------------------------------------------------------

UNARY: dict[str, Unary] = {
    "neg": Unary(np.negative, integers=True),
    "abs": Unary(np.absolute, integers=True),
    "sign": Unary(np.sign, integers=True),
    "sqrt": Unary(np.sqrt),
    "rsqrt": Unary(_rsqrt),
    "reciprocal": Unary(np.reciprocal),
    "square": Unary(np.square, integers=True),
    "exp": Unary(np.exp),
    "expm1": Unary(np.expm1),
    "log": Unary(np.log),
    "log1p": Unary(np.log1p),
    "sin": Unary(np.sin),
    "cos": Unary(np.cos),
    "tan": Unary(np.tan),
    "asin": Unary(np.arcsin),
    "acos": Unary(np.arccos),
    "atan": Unary(np.arctan),
    "sinh": Unary(np.sinh),
    "cosh": Unary(np.cosh),
    "asinh": Unary(np.arcsinh),
    "acosh": Unary(np.arccosh),
    "atanh": Unary(np.arctanh),
    "floor": Unary(np.floor, integers=True),
    "ceil": Unary(np.ceil, integers=True),
    "round": Unary(np.rint),
    "erf": Unary(_erf, 2),
    "relu": Unary(_relu, integers=True, once=True),
    "sigmoid": Unary(_sigmoid),
    "tanh": Unary(np.tanh),
    "softplus": Unary(_softplus, 1),
    "softsign": Unary(_softsign, 1),
    "leaky_relu": Unary(_leaky_relu, 1),
    "elu": Unary(_elu, 1),
    "selu": Unary(_elu, 1),
    "celu": Unary(_celu, 1),
    "gelu": Unary(_gelu, 3),
    "silu": Unary(_silu, 1),
    "mish": Unary(_mish, 2),
    "hard_sigmoid": Unary(_hard_sigmoid),
    "affine": Unary(_affine),
    "scaled_tanh": Unary(_scaled_tanh),
    "hard_silu": Unary(_hard_silu, 1),
    "thresholded_relu": Unary(_thresholded_relu),
    "clip": Unary(_clip, integers=True, once=True),
    "log_sigmoid": Unary(_log_sigmoid, 1),
    "soft_shrink": Unary(_soft_shrink, 1),
    "hard_shrink": Unary(_hard_shrink, 1),
    "shrink": Unary(_shrink),
    "tanh_shrink": Unary(_tanh_shrink, 1),
    "squareplus": Unary(_squareplus, 1),
    "sparse_plus": Unary(_sparse_plus, 1),
    "sparse_sigmoid": Unary(_sparse_sigmoid),
}


def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which functions of numbers of `dtype` are computed: at least float32; integers in float64."""
    if dtype.kind in "fc" and dtype.itemsize >= 4:
        return dtype
    return np.dtype(np.float64 if dtype.kind in "iub" else np.float32)  # float16, and ml_dtypes' kinds


def _blocks(size: int) -> Iterator[slice]:
    return (slice(i, min(i + BLOCK, size)) for i in range(0, size, BLOCK))


def activate(activation: Activation) -> Callable[[Array], None] | None:
    """A function that applies an activation to an array in place; None if it is none at all."""
    if not activation:
        return None
    row = UNARY[activation.name]
    attrs = {**DECLARED[activation.name][1], **dict(activation.attrs)}
    if isinstance(row.call, np.ufunc):
        return partial(_in_place_ufunc, row.call)
    call = partial(row.call, **attrs) if attrs else row.call

    def apply(x: Array) -> None:
        if x.dtype != compute_dtype(x.dtype) and not (row.integers and x.dtype.kind in "iu"):
            wide = x.astype(compute_dtype(x.dtype))
            apply(wide)
            np.copyto(x, wide, casting="unsafe")
        elif x.size <= BLOCK or row.single or not x.flags.c_contiguous:
            call(x, x, *(np.empty(x.shape, x.dtype) for _ in range(row.temporaries)))
        else:
            flat = x.reshape(-1)
            temporaries = [np.empty(BLOCK, x.dtype) for _ in range(row.temporaries)]
            for block in _blocks(flat.size):
                part = flat[block]
                call(part, part, *(t[: part.size] for t in temporaries))

    return apply


def _in_place_ufunc(ufunc: np.ufunc, x: Array) -> None:
    if x.dtype == compute_dtype(x.dtype):
        ufunc(x, out=x)
    else:
        np.copyto(x, ufunc(x.astype(compute_dtype(x.dtype))), casting="unsafe")


def _bind_unary(row: Unary, x: Array, *, out: Array, scratch: Scratch, **attrs: Any) -> Step | list[Step]:
    call = partial(row.call, **attrs) if attrs else row.call
    if x.dtype.kind in "iub" and row.integers:
        return partial(call, x, out)
    wide = compute_dtype(x.dtype)
    if x.dtype != wide:
        return _through(row, call, x, wide, out, scratch)
    if row.single:
        return partial(call, x, out)
    if not out.flags.c_contiguous:
        return partial(call, x, out, *(scratch(out.shape, wide) for _ in range(row.temporaries)))
    steps: list[Step] = []
    if not x.flags.c_contiguous:
        steps.append(partial(np.copyto, out, x))
        x = out
    flat, target = x.reshape(-1), out.reshape(-1)
    temporaries = [scratch(min(BLOCK, flat.size), wide) for _ in range(row.temporaries)]
    for block in _blocks(flat.size):
        part = target[block] if x is out else flat[block]
        steps.append(partial(call, part, target[block], *(t[: part.size] for t in temporaries)))
    return steps


def _through(
    row: Unary, call: Callable[..., Any], x: Array, wide: np.dtype[Any], out: Array, scratch: Scratch
) -> list[Step]:
    """Compute in a wider dtype, block by block where the arrays are contiguous."""
    plain = x.flags.c_contiguous and out.flags.c_contiguous
    flat, target = (x.reshape(-1), out.reshape(-1)) if plain else (x, out)
    temporaries = [scratch(min(BLOCK, x.size) if plain else x.shape, wide) for _ in range(row.temporaries + 1)]
    steps: list[Step] = []
    for block in _blocks(x.size) if plain else [...]:
        source, place = flat[block], target[block]
        first, *rest = (t[: source.size] for t in temporaries) if plain else temporaries
        steps.append(partial(np.copyto, first, source, casting="unsafe"))
        steps.append(partial(call, first, first, *rest))
        steps.append(partial(np.copyto, place, first, casting="unsafe"))
    return steps


for _name, _row in UNARY.items():
    kernel(partial(_bind_unary, _row), _name, strided=_row.single)


# ---- two operands --------------------------------------------------------------------------------------------

BINARY: dict[str, np.ufunc] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "floor_div": np.floor_divide,
    "mod": np.remainder,
    "fmod": np.fmod,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "atan2": np.arctan2,
    "bit_and": np.bitwise_and,
    "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor,
    "shift_left": np.left_shift,
    "shift_right": np.right_shift,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}


def _bind_binary(ufunc: np.ufunc, x: Array, y: Array, *, out: Array, scratch: Scratch) -> Step:
    return partial(ufunc, x, y, out=out)


for _name, _ufunc in BINARY.items():
    kernel(partial(_bind_binary, _ufunc), _name, strided=True)


@kernel
def div(x: Array, y: Array, *, out: Array, scratch: Scratch) -> Step | list[Step]:
    """x / y; signed integers are cut towards zero: (x - fmod(x, y)) // y, which divides evenly."""
    if out.dtype.kind not in "iub":
        return partial(np.divide, x, y, out=out)
    if out.dtype.kind != "i":
        return partial(np.floor_divide, x, y, out=out)
    even = scratch(out.shape, out.dtype)
    return [
        partial(np.fmod, x, y, out=even),
        partial(np.subtract, x, even, out=even),
        partial(np.floor_divide, even, y, out=out),
    ]


# Exponents for which there is something faster than np.power (whose results they share but for a last digit).
_POWERS: dict[float, Callable[..., Any]] = {
    2.0: np.square, 0.5: np.sqrt, -1.0: np.reciprocal, 1.0: np.positive, -0.5: _rsqrt,
}  # fmt: skip


@kernel
def pow(x: Array, y: Array, *, out: Array, scratch: Scratch) -> Step | list[Step]:
    """x ** y in the dtype of x; float16 and the like, and integers to a float, are computed in a wider dtype."""
    if x.dtype.kind in "iub" and y.dtype.kind in "iub":
        return partial(_integer_power, x, y, out)
    wide = np.result_type(compute_dtype(x.dtype), np.float32)
    if x.dtype == wide and x.shape == out.shape and y.size == 1 and is_constant(y) and float(y.reshape(())) in _POWERS:
        return partial(_POWERS[float(y.reshape(()))], x, out)
    steps: list[Step] = []
    x, y = (converted(a, wide, steps, scratch) for a in (x, y))
    if out.dtype == wide:
        return [*steps, partial(np.power, x, y, out=out)]
    result = scratch(out.shape, wide)
    return [*steps, partial(np.power, x, y, out=result), partial(np.copyto, out, result, casting="unsafe")]


def _integer_power(x: Array, y: Array, out: Array) -> None:
    """Powers of integers; to a negative exponent they are 1 / x^|y| cut towards zero, 0 unless x is 1 or -1."""
    if y.dtype.kind == "i" and y.size and y.min() < 0:
        powers = np.power(x, np.abs(y).astype(y.dtype), dtype=out.dtype, casting="unsafe")
        unit = np.abs(x) == 1
        np.copyto(out, np.where((y < 0) & ~unit, out.dtype.type(0), powers))
    else:
        np.power(x, y, out=out, casting="unsafe", dtype=out.dtype)


# ---- choice, casts and the others ----------------------------------------------------------------------------

_BITS: dict[int, np.dtype[Any]] = {n: np.dtype(f"i{n}") for n in (1, 2, 4, 8)}


@kernel
def where(condition: Array, x: Array, y: Array, *, out: Array, scratch: Scratch) -> list[Step]:
    """x where the condition holds, else y, without a branch: y ^ ((x ^ y) & mask), three times np.copyto(where=).

    The mask, all ones or all zeros, is -condition as an integer.  If y is the constant 0, that is x & mask, or
    x * condition, both as integers.
    """
    if out.dtype.hasobject or out.dtype.itemsize not in _BITS:
        return [partial(_where_objects, condition, x, y, out)]
    bits = _BITS[out.dtype.itemsize]
    places, a, b = out.view(bits), x.view(bits), y.view(bits)
    steps: list[Step] = []
    room, small, masked = _block_shape(out), condition.size < out.size, is_constant(b) and not b.any()
    if masked and not small:
        numbers, result = (array.view(f"u{out.itemsize}") for array in (x, out))
        return [partial(np.multiply, numbers, condition.view(np.uint8), out=result)]
    work = scratch((0,) if masked else room, bits)
    mask = scratch(condition.shape if small else room, bits)
    if small:
        steps += _mask_steps(condition, mask)
    for block in _outer_blocks(out):
        place, t = places[block], work[: len(places[block])] if out.ndim else work
        here = _cut(mask, block, out.ndim) if small else mask[: len(place)] if out.ndim else mask
        if not small:
            steps += _mask_steps(_cut(condition, block, out.ndim), here)
        left, right = _cut(a, block, out.ndim), _cut(b, block, out.ndim)
        if masked:
            steps.append(partial(np.bitwise_and, left, here, out=place))
            continue
        steps += [
            partial(np.bitwise_xor, left, right, out=t),
            partial(np.bitwise_and, t, here, out=t),
            partial(np.bitwise_xor, t, right, out=place),
        ]
    return steps


def _mask_steps(condition: Array, mask: Array) -> list[Step]:
    return [partial(np.negative, condition.view(np.int8), out=mask)]


def _where_objects(condition: Array, x: Array, y: Array, out: Array) -> None:
    np.copyto(out, np.where(condition, x, y))


def _block_shape(out: Array) -> tuple[int, ...]:
    rows = _block_rows(out)
    return (min(rows, out.shape[0]), *out.shape[1:]) if out.ndim else ()


def _block_rows(out: Array) -> int:
    return max(1, BLOCK // max(1, math.prod(out.shape[1:])))


def _outer_blocks(out: Array) -> Iterator[Any]:
    """Slices of the first axis that hold about BLOCK elements."""
    if not out.ndim:
        return iter([...])
    rows = _block_rows(out)
    return (slice(i, min(i + rows, out.shape[0])) for i in range(0, out.shape[0], rows))


def _cut(x: Array, block: Any, rank: int) -> Array:
    """The part of an operand that broadcasts to a block of the result."""
    return x[block] if x.ndim == rank and rank and x.shape[0] != 1 else x


@kernel
def logical_not(x: Array, *, out: Array, scratch: Scratch) -> Step:
    return partial(np.logical_not, x, out=out)


@kernel
def bit_not(x: Array, *, out: Array, scratch: Scratch) -> Step:
    return partial(np.invert, x, out=out)


@kernel
def is_nan(x: Array, *, out: Array, scratch: Scratch) -> Step:
    return partial(np.isnan, x, out=out)


@kernel
def is_inf(x: Array, *, positive: bool, negative: bool, out: Array, scratch: Scratch) -> Step | list[Step]:
    """Whether x is infinite, with the sign(s) asked for."""
    if positive and negative:
        return partial(np.isinf, x, out=out)
    if not positive and not negative:
        return partial(out.fill, False)
    sign = scratch(out.shape, np.bool_)
    compare = np.greater if positive else np.less
    return [
        partial(compare, x, x.dtype.type(0), out=sign),
        partial(np.isinf, x, out=out),
        partial(np.logical_and, out, sign, out=out),
    ]


@view
def identity(x: Any) -> Any:
    """x itself."""
    return x


@kernel
def stop_gradient(x: Array, *, out: Array, scratch: Scratch) -> Step:
    """A copy of x."""
    return partial(np.copyto, out, x)
