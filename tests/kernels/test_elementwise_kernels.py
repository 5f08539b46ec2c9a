"""Elementwise kernels against scipy and float64 formulas."""

from __future__ import annotations

import itertools

import hypothesis.extra.numpy as hnp
import ml_dtypes
import numpy as np
import pytest
import scipy.special as sp
from hypothesis import given
from hypothesis import strategies as st

from tenun.backends.numpy.kernels.elementwise import UNARY, activate
from tenun.ir.attributes import Activation
from tenun.ir.ops.elementwise import BINARY, COMPARE
from tenun.ir.ops.elementwise import UNARY as DECLARED
from tenun.tests.kernels.harness import constant, layouts, random, run, run_in_place

SELU = (1.6732632423543772, 1.0507009873554805)


def softplus(x):
    return np.logaddexp(x, 0)


ORACLES = {
    "neg": lambda x: -x,
    "abs": np.abs,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "square": lambda x: x * x,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "erf": sp.erf,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sp.expit,
    "tanh": np.tanh,
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "leaky_relu": lambda x, negative_slope=0.01: np.where(x >= 0, x, negative_slope * x),
    "elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "selu": lambda x, alpha=SELU[0], scale=SELU[1]: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "celu": lambda x, alpha=1.0: np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha)),
    "gelu": lambda x, approximate=False: (
        0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) if approximate else x * sp.ndtr(x)
    ),
    "silu": lambda x, beta=1.0: x * sp.expit(beta * x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "hard_sigmoid": lambda x, alpha=0.2, beta=0.5: np.clip(alpha * x + beta, 0, 1),
    "affine": lambda x, alpha=1.0, beta=0.0: alpha * x + beta,
    "scaled_tanh": lambda x, alpha=1.0, beta=1.0: alpha * np.tanh(beta * x),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "thresholded_relu": lambda x, theta=1.0: np.where(x > theta, x, 0),
    "clip": lambda x, low=None, high=None: np.clip(x, low, high),
    "log_sigmoid": lambda x: -softplus(-x),
    "soft_shrink": lambda x, threshold=0.5: np.sign(x) * np.maximum(np.abs(x) - threshold, 0),
    "hard_shrink": lambda x, threshold=0.5: np.where(np.abs(x) > threshold, x, 0),
    "shrink": lambda x, bias=0.0, lambd=0.5: np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "squareplus": lambda x, b=4.0: (x + np.sqrt(x * x + b)) / 2,
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x < 1, ((x + 1) / 2) ** 2, x)),
    "sparse_sigmoid": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) / 2, 1)),
}
ATTRIBUTES = {
    "leaky_relu": [{"negative_slope": s} for s in (0.0, 0.3, 1.0, 2.0, -0.5)],
    "elu": [{"alpha": 0.5}],
    "selu": [{"alpha": 1.5, "scale": 2.0}],
    "celu": [{"alpha": 2.0}],
    "gelu": [{"approximate": True}],
    "silu": [{"beta": 1.7}],
    "hard_sigmoid": [{"alpha": 1 / 6, "beta": 0.4}],
    "thresholded_relu": [{"theta": 0.0}, {"theta": -1.0}],
    "clip": [{"low": -1.0}, {"high": 2.0}, {"low": 0.5, "high": 1.5}],
    "soft_shrink": [{"threshold": 1.2}],
    "hard_shrink": [{"threshold": 1.2}],
    "shrink": [{"bias": 0.3, "lambd": 1.0}],
    "squareplus": [{"b": 1.0}],
}
CASES = [(name, attrs) for name in ORACLES for attrs in ({}, *ATTRIBUTES.get(name, ()))]


def test_every_unary_op_has_an_oracle():
    assert set(ORACLES) == set(DECLARED) == set(UNARY)


@pytest.mark.parametrize("name, attrs", CASES)
def test_unary(name, attrs):
    x = np.concatenate([random(40), [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -30.0, 30.0]]).reshape(7, 7)
    with np.errstate(all="ignore"):
        for dtype, rtol, atol in ((np.float32, 3e-6, 1e-6), (np.float64, 1e-12, 1e-14), (np.float16, 2e-3, 1e-3)):
            y = x.astype(dtype)
            want = ORACLES[name](y.astype(np.float64), **attrs)
            if dtype == np.float16:
                want = want.astype(np.float16)
            for layout in layouts(y):
                got = run(name, layout, **attrs)
                expected = want if layout.base is None or np.array_equal(layout, y) else ORACLES[name](layout, **attrs)
                np.testing.assert_allclose(got, expected, rtol, atol)
            np.testing.assert_array_equal(run_in_place(name, 0, y, **attrs), run(name, y, **attrs))
            chunk = y.copy()
            activate(Activation(name, tuple(attrs.items())))(chunk)
            np.testing.assert_allclose(chunk, want, rtol, atol)


@pytest.mark.parametrize("name", ["gelu", "erf", "softplus", "relu", "mish", "tanh", "clip"])
def test_long_arrays_go_block_by_block(name):
    x = random(70001)
    for dtype in (np.float32, np.float16):
        y = x.astype(dtype)
        want = ORACLES[name](y.astype(np.float64)).astype(dtype)
        rtol, atol = (2e-3, 1e-3) if dtype == np.float16 else (3e-6, 1e-6)
        np.testing.assert_allclose(run(name, y), want, rtol, atol)
        np.testing.assert_array_equal(run_in_place(name, 0, y), run(name, y))
        chunk = y.copy()
        activate(Activation(name))(chunk)
        np.testing.assert_array_equal(chunk, run(name, y))


KEEP_NAN = ("relu", "sign", "clip", "sigmoid", "tanh", "gelu", "leaky_relu", "softplus", "erf", "exp", "mish")


@pytest.mark.parametrize("name", KEEP_NAN)
def test_nan_stays(name):
    x = np.array([np.nan, 1, np.nan], np.float32)
    assert np.isnan(run(name, x)).tolist() == [True, False, True]


def test_functions_do_not_overflow():
    x = np.array([-1e30, -1000, -100, 100, 1000, 1e30], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        for name in ("softplus", "log_sigmoid", "tanh", "elu", "selu", "mish", "relu"):
            assert np.isfinite(activate_copy(name, x)).all()
    np.testing.assert_allclose(activate_copy("softplus", x), [0, 0, 0, 100, 1000, 1e30], atol=1e-6)
    with np.errstate(all="ignore"):
        assert activate_copy("sigmoid", x).tolist()[3:] == [1, 1, 1]
        assert activate_copy("erf", x).tolist() == [-1, -1, -1, 1, 1, 1]
        assert activate_copy("gelu", x).tolist() == [0, 0, 0, 100, 1000, np.float32(1e30)]
        np.testing.assert_allclose(activate_copy("sigmoid", np.float32([-80.0])), np.exp(-80.0), rtol=1e-5)


def activate_copy(name, x):
    y = x.copy()
    activate(Activation(name))(y)
    return y


def test_no_activation_is_none():
    assert activate(Activation()) is None


def test_erf_accuracy():
    x = np.linspace(-7, 7, 200001)
    assert np.abs(run("erf", x) - sp.erf(x)).max() < 5e-16
    y = x.astype(np.float32)
    error = np.abs(run("erf", y) - sp.erf(y.astype(np.float64)))
    assert error.max() < 1.8e-7
    assert (error / np.spacing(np.abs(run("erf", y)) + 1e-30)).max() < 4
    small = np.float32([1e-20, -1e-10, 1e-5])
    np.testing.assert_allclose(run("erf", small), sp.erf(small), rtol=2e-7)


def test_gelu_accuracy():
    x = np.linspace(-7, 7, 200001)
    want = x * sp.ndtr(x)
    np.testing.assert_allclose(run("gelu", x), want, rtol=1e-13, atol=1e-15)
    y = x.astype(np.float32)
    np.testing.assert_allclose(run("gelu", y), y * sp.ndtr(y.astype(np.float64)), rtol=3e-7, atol=1.5e-7)
    want = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(run("gelu", x, approximate=True), want, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(run("gelu", y, approximate=True), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
def test_integers(dtype):
    x = np.array([0, 1, 5, 100, -7, -128], np.int64).astype(dtype)
    for name in ("neg", "abs", "sign", "square", "relu", "floor", "ceil"):
        np.testing.assert_array_equal(run(name, x), ORACLES[name](x).astype(dtype))
    np.testing.assert_array_equal(run("clip", x, low=-5.5, high=3.5), np.clip(x.astype(float), -5, 3))
    np.testing.assert_array_equal(run("clip", x, low=-1e30, high=1e30), x)
    np.testing.assert_array_equal(run("round", x), x)


def test_large_integers_are_exact():
    x = np.array([2**62 + 1, -(2**62) - 1], np.int64)
    np.testing.assert_array_equal(run("relu", x), np.maximum(x, 0))
    np.testing.assert_array_equal(run("clip", x, low=0.0), np.maximum(x, 0))


def test_bfloat16_rounds_once():
    x = random(1000).astype(ml_dtypes.bfloat16)
    for name in ("exp", "gelu", "tanh", "relu"):
        want = ORACLES[name](x.astype(np.float64)).astype(np.float32).astype(ml_dtypes.bfloat16)
        np.testing.assert_allclose(run(name, x).astype(np.float32), want.astype(np.float32), rtol=8e-3)


# ---- two operands --------------------------------------------------------------------------------------------

NUMPY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "floor_div": np.floor_divide,
    "mod": np.mod, "fmod": np.fmod, "maximum": np.maximum, "minimum": np.minimum, "atan2": np.arctan2,
    "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal,
    "greater": np.greater, "greater_equal": np.greater_equal, "bit_and": np.bitwise_and, "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor, "shift_left": np.left_shift, "shift_right": np.right_shift,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
}  # fmt: skip
SHAPES = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((0, 4), (4,)), ((2, 1, 3), (5, 1))]


def test_every_binary_op_is_tested():
    assert set(NUMPY) == set(BINARY) | set(COMPARE)


@pytest.mark.parametrize("name", NUMPY)
def test_binary(name):
    dtypes = [np.float32, np.float64] if not name.startswith(("bit", "shift", "logical")) else []
    dtypes += [np.bool_] if name.startswith("logical") else [np.int32, np.int64]
    for dtype, (a, b) in itertools.product(dtypes, SHAPES):
        x, y = random(*a, dtype=dtype), random(*b, dtype=dtype, seed=5)
        if name in ("div", "floor_div", "mod", "fmod"):
            y = np.where(y == 0, 1, y).astype(dtype)
        if name.startswith("shift"):
            x, y = np.abs(x), np.abs(y)
        if name == "atan2" and np.dtype(dtype).kind == "i":
            continue
        want = np.trunc(x / y).astype(dtype) if name == "div" and np.dtype(dtype).kind == "i" else NUMPY[name](x, y)
        np.testing.assert_array_equal(run(name, x, y), want)
        if x.shape == want.shape and want.dtype == x.dtype:
            np.testing.assert_array_equal(run_in_place(name, 0, x, y), want)
        if y.shape == want.shape and want.dtype == y.dtype:
            np.testing.assert_array_equal(run_in_place(name, 1, x, y), want)


@given(st.data())
def test_broadcasting(data):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=4, min_side=0))
    a, b, c = (random(*s, seed=i) for i, s in enumerate(shapes.input_shapes))
    np.testing.assert_array_equal(run("add", a, b), a + b)
    np.testing.assert_array_equal(run("where", c > 0, a, b), np.where(c > 0, a, b))


def test_minimum_and_maximum_keep_nan():
    x, y = np.float32([np.nan, 1]), np.float32([1, np.nan])
    assert np.isnan(run("maximum", x, y)).all() and np.isnan(run("minimum", x, y)).all()


def test_integer_division_is_cut_towards_zero():
    x, y = np.int32([7, -7, 7, -7, 6, -6]), np.int32([2, 2, -2, -2, 3, 3])
    assert run("div", x, y).tolist() == [3, -3, -3, 3, 2, -2]
    big = np.int64([2**62 + 1])
    assert run("div", big, np.int64([1])).tolist() == [2**62 + 1]


@pytest.mark.parametrize("exponent", [2.0, 0.5, -1.0, 1.0, 3.0, -0.5, 2.5])
def test_pow_of_constant(exponent):
    x = random(3, 4, low=0.1)
    for e in (constant(np.float32(exponent)), np.float32([exponent]), np.float64(exponent).reshape(())):
        np.testing.assert_allclose(run("pow", x, e), x.astype(np.float64) ** exponent, rtol=1e-6)
        assert run("pow", x, e).dtype == np.float32


def test_pow_mixes_dtypes():
    assert run("pow", np.int32([2, 3]), np.float32([2, 0.5])).tolist() == [4, 1]
    np.testing.assert_allclose(run("pow", np.float32([2, 3]), np.int64([3, -1])), [8, 1 / 3], rtol=1e-6)
    assert run("pow", np.int64([2, 1, -1, -1, 3]), np.int64([-1, -5, -1, -2, 30])).tolist() == [0, 1, -1, 1, 3**30]
    assert run("pow", np.float16([2]), np.float16([3])).tolist() == [8]
    np.testing.assert_array_equal(run_in_place("pow", 0, np.float32([2, 3]), np.float32([2, 2])), [4, 9])
    np.testing.assert_array_equal(run_in_place("pow", 1, np.float32([2, 3]), np.float32([3, 2])), [8, 9])


# ---- choice, casts and the others ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.float16, np.float32, np.float64, np.int64, np.complex128])
@pytest.mark.parametrize("shapes", [((5, 6), (5, 6), (5, 6)), ((6,), (5, 6), ()), ((5, 1), (), (6,)), ((), (), ()),
                                    ((2, 1, 300), (300, 300), (2, 300, 300))])  # fmt: skip
def test_where(dtype, shapes):
    condition = random(*shapes[0], dtype=np.bool_)
    x, y = random(*shapes[1]).astype(dtype), random(*shapes[2], seed=9).astype(dtype)
    want = np.where(condition, x, y)
    np.testing.assert_array_equal(run("where", condition, x, y), want)
    for place, operand in enumerate((condition, x, y)):
        if operand.shape == want.shape and operand.dtype == want.dtype:
            np.testing.assert_array_equal(run_in_place("where", place, condition, x, y), want)


@pytest.mark.parametrize("shapes", [((), (), ()), ((7, 40), (7, 40), ()), ((40,), (7, 40), (1,)), ((64,), (64,), ())])
def test_where_or_nothing(shapes):
    """With a constant 0 or -0."""
    condition, x = random(*shapes[0]) > 0, random(*shapes[1], seed=1)
    for zero in (0.0, -0.0):
        y = constant(np.full(shapes[2], zero, np.float32))
        got, want = run("where", condition, x, y), np.where(condition, x, y)
        np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


def test_where_and_equal_on_strings():
    x, y = np.array(["a", "b"], object), np.array(["c", "b"], object)
    assert run("where", np.array([True, False]), x, y).tolist() == ["a", "b"]
    assert run("equal", x, y).tolist() == [False, True]


def test_cast():
    x = np.float32([1.9, -1.9, 0, 208])
    assert run("cast", x, to="i32").tolist() == [1, -1, 0, 208]
    assert run("cast", x, to="bool").tolist() == [True, True, False, True]
    assert run("cast", np.float32([np.nan]), to="bool").tolist() == [True]
    assert run("cast", np.array([True, False]), to="f32").tolist() == [1, 0]
    assert run("cast", x, to="bf16").astype(np.float32).tolist() == [1.8984375, -1.8984375, 0, 208]
    assert run("cast", x, to="f8e4m3fn").astype(np.float32).tolist() == [1.875, -1.875, 0, 208]


def test_cast_of_strings():
    numbers = np.array(["1.5", "NaN", "INF", "-INF", "1e3"], object)
    np.testing.assert_array_equal(run("cast", numbers, to="f32"), np.float32([1.5, np.nan, np.inf, -np.inf, 1000]))
    assert run("cast", np.array(["12", "3.7"], object), to="i64").tolist() == [12, 3]
    assert run("cast", np.array(["1", "0", "True"], object), to="bool").tolist() == [True, False, True]
    x = np.float32([0.1, np.nan, np.inf, -np.inf, 2])
    assert run("cast", x, to="str").tolist() == ["0.1", "NaN", "INF", "-INF", "2.0"]
    assert run("cast", np.int64([3, -4]), to="str").tolist() == ["3", "-4"]


def test_infinities():
    x = np.float32([np.inf, -np.inf, np.nan, 1])
    assert run("is_inf", x).tolist() == [True, True, False, False]
    assert run("is_inf", x, negative=False).tolist() == [True, False, False, False]
    assert run("is_inf", x, positive=False).tolist() == [False, True, False, False]
    assert run("is_inf", x, positive=False, negative=False).tolist() == [False] * 4
    assert run("is_nan", x).tolist() == [False, False, True, False]


def test_bits_and_logic():
    assert run("bit_not", np.int8([0, 5])).tolist() == [-1, -6]
    assert run("logical_not", np.array([True, False])).tolist() == [False, True]
    assert run("shift_right", np.uint8([255]), np.uint8([7])).tolist() == [1]


def test_copies():
    x = random(3, 4)
    assert run("identity", x) is x
    np.testing.assert_array_equal(run("stop_gradient", x), x)
    np.testing.assert_array_equal(run("straight_through", x, random(3, 4)), x)
    np.testing.assert_array_equal(run("round_gradient", x, np.float32(3), to="f8e5m2"), x)
