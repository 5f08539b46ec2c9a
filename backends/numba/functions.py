"""Functions of one element, on vectors of float32, without branches.

Each is within one or two units in the last place of the exact one, unless it says something else.  Polynomials are
minimax (fitted by reweighted least squares to the relative error of the result).
"""

from __future__ import annotations

from typing import Any

from .compiler import inlined
from .vectors import (
    absolute,
    at_least,
    at_most,
    copysign,
    exponent,
    fma,
    power_of_two,
    scaled_down,
    sqrt,
    where,
)

WHOLE = 12582912.0  # 1.5 · 2^23: a float32 below 2^22 that is added to it is rounded to a whole number
LOG2_E, LN2 = 1.4426950408889634, 0.6931471805599453
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440054690583e-4  # high has 9 bits: its product with a small integer is exact


@inlined
def _exp_rest(r: Any) -> Any:
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    q = fma(r, 0.0013950602240308007, 0.008368953517011835)
    q = fma(q, r, 0.04166620413943713)
    q = fma(q, r, 0.16666518305970854)
    q = fma(q, r, 0.5000000095700711)
    return fma(q, r * r, r)


@inlined
def expm1_small(x: Any) -> Any:
    """exp(x) - 1 for -87 <= x <= 87: 2^n (exp(r) - 1) + (2^n - 1), where x = n ln 2 + r."""
    moved = fma(x, LOG2_E, WHOLE)
    r = fma(moved - WHOLE, -LN2, x)
    scale = power_of_two(moved)
    return fma(_exp_rest(r), scale, scale - 1.0)


@inlined
def exp_small(x: Any) -> Any:
    """exp(x) for -87 <= x <= 87; ln 2 as one float32 costs another unit in the last place from |x| = 20 on."""
    moved = fma(x, LOG2_E, WHOLE)
    r = fma(moved - WHOLE, -LN2, x)
    scale = power_of_two(moved)
    return fma(_exp_rest(r), scale, scale)


@inlined
def exp_of_negative(x: Any) -> Any:
    """exp(-x), x being bounded to ±87."""
    x = at_least(at_most(x, 87.0), -87.0)
    moved = fma(x, -LOG2_E, WHOLE)
    r = fma(moved - WHOLE, LN2, x)
    q = fma(r, 0.0013950602240308007, -0.008368953517011835)
    q = fma(q, r, 0.04166620413943713)
    q = fma(q, r, -0.16666518305970854)
    q = fma(q, r, 0.5000000095700711)
    scale = power_of_two(moved)
    return fma(fma(q, r * r, -r), scale, scale)


@inlined
def exp_falling(x: Any) -> Any:
    """exp(x) for x <= 80; 0 below -87."""
    return where(x < -87.0, 0.0, exp_small(at_least(x, -87.0)))


@inlined
def exp(x: Any) -> Any:
    """e^x, subnormal and infinite results too: scaled by 2^(n/2) twice."""
    x = at_least(at_most(x, 89.0), -104.0)
    half = fma(x, 0.5 * LOG2_E, WHOLE)
    n = half - WHOLE
    r = fma(n, -2.0 * LN2_LOW, fma(n, -2.0 * LN2_HIGH, x))  # |r| <= ln 2
    part = _exp_rest(r * 0.5)
    part = fma(part, part, part + part)  # (1 + p)^2 - 1
    scale = power_of_two(half)
    return fma(part, scale, scale) * scale


@inlined
def expm1(x: Any) -> Any:
    """e^x - 1."""
    return where(x > 20.0, exp(x), expm1_small(at_least(at_most(x, 20.0), -80.0)))


@inlined
def tanh(x: Any) -> Any:
    """-m / (m + 2) with m = exp(-2 |x|) - 1, and the sign of x."""
    m = expm1_small(at_least(absolute(x) * -2.0, -40.0))
    return copysign(m / (m + 2.0), x)


@inlined
def bounded_sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); below -87 it stays at 1.6e-38: for factors of numbers that are not large."""
    return 1.0 / (1.0 + exp_of_negative(x))


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); 0 below -87."""
    return where(x < -87.0, 0.0, bounded_sigmoid(x))


@inlined
def log(x: Any) -> Any:
    """Of positive numbers, subnormal ones too; as IEEE says of others."""
    tiny = x < 1.1754943508222875e-38
    normal = where(tiny, x * 16777216.0, x)
    n = exponent(normal)
    f = scaled_down(normal, n) - 1.0
    n = where(tiny, n - 24.0, n)
    p = fma(f, 0.06927639049229332, -0.1180838687545459)
    p = fma(p, f, 0.11877347581195158)
    p = fma(p, f, -0.12381673213728038)
    p = fma(p, f, 0.14217783905888237)
    p = fma(p, f, -0.1666936733160321)
    p = fma(p, f, 0.20002269482193075)
    p = fma(p, f, -0.24999985073383615)
    p = fma(p, f, 0.33333309886245477)
    square = f * f
    result = fma(n, LN2_HIGH, fma(square * f, p, fma(square, -0.5, fma(n, LN2_LOW, f))))
    result = where(x == 0.0, float("-inf"), result)
    return where(x < 0.0, float("nan"), where(x == float("inf"), x, where(x != x, x, result)))


@inlined
def log1p(x: Any) -> Any:
    """log(u) x / (u - 1) with u = 1 + x rounded (Kahan): x where u is 1."""
    u = 1.0 + x
    exact = u == 1.0
    inner = log(u) * (x / where(exact, 1.0, u - 1.0))
    return where(exact, x, where(u == float("inf"), u, inner))


@inlined
def log1p_exp(x: Any) -> Any:
    """log(1 + exp(-|x|))."""
    return log1p(exp_small(at_least(-absolute(x), -87.0)))


# ---- the ops by name -----------------------------------------------------------------------------------------
# Each takes a vector and the attributes of its op, in the order in which they are declared.


@inlined
def relu(x: Any) -> Any:
    return at_least(x, 0.0)


@inlined
def softplus(x: Any) -> Any:
    return at_least(x, 0.0) + log1p_exp(x)


@inlined
def log_sigmoid(x: Any) -> Any:
    return at_most(x, 0.0) - log1p_exp(x)


@inlined
def softsign(x: Any) -> Any:
    return x / (absolute(x) + 1.0)


@inlined
def leaky_relu(x: Any, negative_slope: float) -> Any:
    return where(x >= 0.0, x, x * negative_slope)


@inlined
def elu(x: Any, alpha: float) -> Any:
    return where(x > 0.0, x, expm1_small(at_least(at_most(x, 0.0), -80.0)) * alpha)


@inlined
def selu(x: Any, alpha: float, scale: float) -> Any:
    return where(x > 0.0, x * scale, expm1_small(at_least(at_most(x, 0.0), -80.0)) * (alpha * scale))


@inlined
def celu(x: Any, alpha: float) -> Any:
    return at_least(x, 0.0) + expm1_small(at_least(at_most(x, 0.0) / alpha, -80.0)) * alpha


@inlined
def erf(x: Any) -> Any:
    """tanh of a polynomial, as the NumPy backend has it (see there): within 2e-7."""
    x = at_least(at_most(x, 4.0), -4.0)
    square = x * x
    p = fma(square, 1.589614350992602e-07, -5.985734271848834e-06)
    p = fma(p, square, 8.971293281446746e-05)
    p = fma(p, square, -0.0006257205933355214)
    p = fma(p, square, -0.00018438248084000242)
    p = fma(p, square, 0.1027654809380592)
    p = fma(p, square, 1.1283797055226137)
    return tanh(p * x)


@inlined
def gelu_exact(x: Any) -> Any:
    return x * ((erf(x * 0.7071067811865476) + 1.0) * 0.5)


@inlined
def gelu_tanh(x: Any) -> Any:
    return x * ((tanh(((x * x) * 0.044715 + 1.0) * x * 0.7978845608028654) + 1.0) * 0.5)


@inlined
def silu(x: Any, beta: float) -> Any:
    return x * sigmoid(x * beta)


@inlined
def mish(x: Any) -> Any:
    """x n / (n + 2) with n = e (e + 2), e = exp(x): that is tanh(log(1 + e)); it is 1 from x = 20 on."""
    e = exp_falling(at_most(x, 20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


@inlined
def hard_sigmoid(x: Any, alpha: float, beta: float) -> Any:
    return at_least(at_most(x * alpha + beta, 1.0), 0.0)


@inlined
def affine(x: Any, alpha: float, beta: float) -> Any:
    return x * alpha + beta


@inlined
def scaled_tanh(x: Any, alpha: float, beta: float) -> Any:
    return tanh(x * beta) * alpha


@inlined
def hard_silu(x: Any) -> Any:
    return x * hard_sigmoid(x, 0.16666666666666666, 0.5)


@inlined
def thresholded_relu(x: Any, theta: float) -> Any:
    return where(x > theta, x, 0.0)


@inlined
def clip(x: Any, low: float, high: float) -> Any:
    return at_most(at_least(x, low), high)


@inlined
def tanh_shrink(x: Any) -> Any:
    return x - tanh(x)


@inlined
def squareplus(x: Any, b: float) -> Any:
    return (x + sqrt(x * x + b)) * 0.5


@inlined
def sparse_sigmoid(x: Any) -> Any:
    return hard_sigmoid(x, 0.5, 0.5)


@inlined
def sparse_plus(x: Any) -> Any:
    half = sparse_sigmoid(x)
    return half * half + (at_least(x, 1.0) - 1.0)


@inlined
def hard_shrink(x: Any, threshold: float) -> Any:
    return where(absolute(x) > threshold, x, 0.0)


@inlined
def soft_shrink(x: Any, threshold: float) -> Any:
    return copysign(at_least(absolute(x) - threshold, 0.0), x)


@inlined
def sign(x: Any) -> Any:
    return where(x > 0.0, 1.0, where(x < 0.0, -1.0, x))


@inlined
def square(x: Any) -> Any:
    return x * x


@inlined
def reciprocal(x: Any) -> Any:
    return 1.0 / x


@inlined
def rsqrt(x: Any) -> Any:
    return 1.0 / sqrt(x)


@inlined
def linear(x: Any) -> Any:
    return x
