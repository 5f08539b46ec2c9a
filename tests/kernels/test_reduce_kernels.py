"""Reductions, places of extremes and running sums against float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import scipy.special as sp
from hypothesis import given
from hypothesis import strategies as st

from tenun.ir.ops.reduce import REDUCTIONS
from tenun.tests.kernels.harness import layouts, random, run

ORACLES = {
    "reduce_sum": np.sum,
    "reduce_mean": np.mean,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_variance": np.var,
    "reduce_l1": lambda x, **k: np.sum(np.abs(x), **k),
    "reduce_l2": lambda x, **k: np.sqrt(np.sum(x * x, **k)),
    "reduce_sum_square": lambda x, **k: np.sum(x * x, **k),
    "reduce_log_sum": lambda x, **k: np.log(np.sum(x, **k)),
    "reduce_log_sum_exp": sp.logsumexp,
    "reduce_any": np.any,
    "reduce_all": np.all,
}
NUMERIC = [n for n in ORACLES if n not in ("reduce_any", "reduce_all")]


def test_every_reduction_is_tested():
    assert set(ORACLES) == set(REDUCTIONS)


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("axes", [None, (0,), (-1,), (0, 2), (1, 2), (2, 1), (0, 1, 2)])
def test_reductions(name, axes):
    x = random(3, 4, 5, low=0.1)
    axis = axes if axes is None else tuple(axes)
    for dtype, rtol in ((np.float32, 1e-5), (np.float64, 1e-12), (np.float16, 3e-3), (ml_dtypes.bfloat16, 2e-2)):
        for layout in layouts(x.astype(dtype)):
            for keepdims in (False, True):
                want = ORACLES[name](layout.astype(np.float64), axis=axis, keepdims=keepdims)
                got = run(name, layout, axes=axes, keepdims=keepdims)
                np.testing.assert_allclose(got.astype(np.float64), want.astype(dtype).astype(float), rtol, rtol)


@pytest.mark.parametrize("name", NUMERIC)
def test_no_axes_and_scalars(name):
    x = random(3, 4, low=0.1)
    want = ORACLES[name](x.astype(np.float64)[..., None], axis=-1)
    np.testing.assert_allclose(run(name, x, axes=()), want, 1e-5)
    np.testing.assert_allclose(run(name, x[0, 0]), want[0, 0], 1e-5)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
def test_integers_stay_integers(dtype):
    x = random(3, 4, dtype=dtype, low=-9, high=9)
    for name in ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_l1", "reduce_sum_square"):
        with np.errstate(all="ignore"):
            want = ORACLES[name](x.astype(np.int64), axis=1).astype(dtype)
            np.testing.assert_array_equal(run(name, x, axes=(1,)), want)
    np.testing.assert_array_equal(run("reduce_mean", x, axes=(1,)), np.trunc(x.mean(1)).astype(dtype))


def test_booleans():
    x = np.array([[True, False], [True, True]])
    assert run("reduce_any", x, axes=(1,)).tolist() == [True, True]
    assert run("reduce_all", x, axes=(1,)).tolist() == [False, True]
    assert run("reduce_max", x, axes=(1,)).tolist() == [True, True]


def test_empty_reductions():
    x = np.zeros((2, 0, 4), np.float32)
    for name, want in (
        ("reduce_sum", 0), ("reduce_prod", 1), ("reduce_max", -np.inf), ("reduce_min", np.inf), ("reduce_mean", np.nan),
        ("reduce_l1", 0), ("reduce_l2", 0), ("reduce_log_sum", -np.inf), ("reduce_log_sum_exp", -np.inf),
    ):  # fmt: skip
        np.testing.assert_array_equal(run(name, x, axes=(1,)), np.full((2, 4), want))
        assert run(name, x, axes=(0,)).shape == (0, 4)
    assert run("reduce_max", np.zeros((0,), np.int32)).tolist() == np.iinfo(np.int32).min
    assert run("reduce_min", np.zeros((0,), np.uint8)).tolist() == 255
    assert run("reduce_max", np.zeros((0,), np.bool_)).tolist() is False


def test_extreme_values():
    assert np.isnan(run("reduce_max", np.float32([1, np.nan])))
    np.testing.assert_allclose(run("reduce_log_sum_exp", np.float32([1000, 1000])), 1000 + np.log(2), 1e-6)
    assert run("reduce_log_sum_exp", np.float32([-np.inf, -np.inf])) == -np.inf
    assert run("reduce_log_sum_exp", np.float32([np.inf, 1])) == np.inf
    np.testing.assert_allclose(run("reduce_variance", np.float32([1e4, 1e4 + 1])), 0.25, 1e-3)


@pytest.mark.parametrize("name, numpy", [("argmax", np.argmax), ("argmin", np.argmin)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_places_of_extremes(name, numpy, axis):
    for dtype in (np.float32, np.int32, ml_dtypes.bfloat16, np.bool_):
        x = random(4, 5, 6, dtype=np.int32, low=-2, high=2).astype(dtype)
        for layout in layouts(x):
            wide = layout.astype(np.float32)
            np.testing.assert_array_equal(run(name, layout, axis=axis), numpy(wide, axis))
            np.testing.assert_array_equal(run(name, layout, axis=axis, keepdims=True), numpy(wide, axis, keepdims=True))
            last = layout.shape[axis] - 1 - numpy(np.flip(wide, axis), axis)
            np.testing.assert_array_equal(run(name, layout, axis=axis, last=True), last)


AXES, NAMES = st.sampled_from([0, 1, -1]), st.sampled_from(["cumsum", "cumprod"])


@given(AXES, st.booleans(), st.booleans(), NAMES, st.integers(0, 4))
def test_running(axis, exclusive, reverse, name, size):
    identity = 0 if name == "cumsum" else 1
    for dtype, tolerance in ((np.float32, 1e-5), (np.int32, 0), (np.float16, 1e-2)):
        x = random(2, size, 3, dtype=dtype)
        along = np.moveaxis(x.astype(np.float64), axis, 0)
        along = along[::-1] if reverse else along
        want = getattr(np, name)(along, axis=0)
        if exclusive:
            want = np.concatenate([np.full_like(want[:1], identity), want[:-1]])
        want = np.moveaxis(want[::-1] if reverse else want, 0, axis)
        got = run(name, x, axis=axis, exclusive=exclusive, reverse=reverse)
        np.testing.assert_allclose(got.astype(float), want, tolerance, tolerance)


def test_running_of_a_scalar():
    assert run("cumsum", np.float32(3), axis=0) == 3 and run("cumprod", np.float32(3), axis=0, exclusive=True) == 1
