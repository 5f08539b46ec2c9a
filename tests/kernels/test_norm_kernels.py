"""Normalisation and softmax against float64 formulas."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special as sp

from tenun.tests.kernels.harness import constant, layouts, random, run, run_in_place

AXES = [-1, 1, 0, 2]
DTYPES = [(np.float32, 2e-5, 2e-6), (np.float64, 1e-11, 1e-12), (np.float16, 5e-3, 5e-3)]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("dtype, rtol, atol", DTYPES)
def test_softmax(axis, dtype, rtol, atol):
    x = (random(4, 5, 6) * 10).astype(dtype)
    for layout in layouts(x):
        wide = layout.astype(np.float64)
        np.testing.assert_allclose(run("softmax", layout, axis=axis), sp.softmax(wide, axis), rtol, atol)
        np.testing.assert_allclose(run("log_softmax", layout, axis=axis), sp.log_softmax(wide, axis), rtol, atol)
    for name in ("softmax", "log_softmax"):
        np.testing.assert_array_equal(run_in_place(name, 0, x, axis=axis), run(name, x, axis=axis))


def test_softmax_of_many_rows_and_of_large_numbers():
    x = random(3000, 40)
    np.testing.assert_allclose(run("softmax", x), sp.softmax(x.astype(np.float64), -1), 1e-5, 1e-7)
    np.testing.assert_allclose(run("softmax", np.float32([[1e30, -1e30], [-np.inf, 3]])), [[1, 0], [0, 1]])
    assert run("softmax", np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert run("softmax", np.zeros((3, 0), np.float32)).shape == (3, 0)


def batch_norm(x, scale, bias, mean, variance, axis, epsilon):
    shape = [1] * x.ndim
    shape[axis] = -1
    scale, bias, mean, variance = (None if p is None else p.reshape(shape) for p in (scale, bias, mean, variance))
    return (x - mean) / np.sqrt(variance + epsilon) * (1 if scale is None else scale) + (0 if bias is None else bias)


@pytest.mark.parametrize("axis", [-1, 1, 0])
@pytest.mark.parametrize("dtype, rtol, atol", DTYPES)
@pytest.mark.parametrize("make", [np.array, constant])
def test_batch_norm(axis, dtype, rtol, atol, make):
    x = random(4, 5, 6, dtype=dtype)
    c = x.shape[axis]
    parts = [make(random(c, seed=i, low=0.5).astype(dtype)) for i in range(4)]
    for scale, bias in ((parts[0], parts[1]), (None, None), (parts[0], None)):
        for layout in layouts(x):
            wide = [None if p is None else p.astype(np.float64) for p in (layout, scale, bias, *parts[2:])]
            want = batch_norm(*wide, axis, 1e-3)
            got = run("batch_norm", layout, scale, bias, *parts[2:], axis=axis, epsilon=1e-3)
            np.testing.assert_allclose(got, want, rtol, atol)
    empty = np.zeros((0, 5), np.float32)
    p = np.ones(5, np.float32)
    assert run("batch_norm", empty, p, p, p, p, axis=-1, epsilon=1e-3).shape == (0, 5)
    large = random(700, 100)
    p = random(100, low=0.5)
    want = batch_norm(large, p, p, p, p, -1, 1e-3)
    np.testing.assert_allclose(run("batch_norm", large, p, p, p, p, epsilon=1e-3), want, 1e-4, 1e-5)


def layer_norm(x, axes, epsilon, center=True):
    mean = x.mean(axes, keepdims=True) if center else 0
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize("axes", [(-1,), (1,), (1, 2), (0, 2), (2, 1), (0, 1, 2)])
@pytest.mark.parametrize("dtype, rtol, atol", DTYPES)
@pytest.mark.parametrize("make", [np.array, constant])
def test_layer_norm(axes, dtype, rtol, atol, make):
    x = random(4, 5, 6, dtype=dtype)
    for shape in ((6,), (5, 6), (1, 5, 1), (4, 5, 6), (1,), ()):
        scale, bias = make(random(*shape).astype(dtype)), make(random(*shape, seed=1).astype(dtype))
        for layout in layouts(x):
            wide = layout.astype(np.float64)
            want = layer_norm(wide, axes, 1e-3)
            np.testing.assert_allclose(run("layer_norm", layout, axes=axes, epsilon=1e-3), want, rtol, atol)
            got = run("layer_norm", layout, scale, bias, axes=axes, epsilon=1e-3)
            np.testing.assert_allclose(got, want * scale.astype(float) + bias.astype(float), rtol, 4 * atol)
            want = layer_norm(wide, axes, 1e-3, center=False) * scale.astype(float)
            np.testing.assert_allclose(run("rms_norm", layout, scale, axes=axes, epsilon=1e-3), want, rtol, atol)


def test_norms_of_many_rows_and_of_rows_far_from_zero():
    """More rows than a block, and rows whose mean square says nothing of their variance."""
    x = random(5000, 96)
    for shift in (0, 1, 100, 3000):
        far = x + np.float32(shift) * (np.arange(5000) % 3 == 0).astype("f")[:, None]
        want = layer_norm(far.astype(np.float64), (1,), 1e-5)
        np.testing.assert_allclose(run("layer_norm", far, axes=(1,), epsilon=1e-5), want, 1e-5, 5e-6)
    assert run("layer_norm", np.zeros((0, 3), np.float32), axes=(1,), epsilon=1e-5).shape == (0, 3)
    for width in (20000, 1 << 15):  # longer than BLAS is let add up
        x = random(3, width) + np.float32(1)
        want = layer_norm(x.astype(np.float64), (1,), 1e-5)
        np.testing.assert_allclose(run("layer_norm", x, axes=(1,), epsilon=1e-5), want, 1e-5, 1e-5)
        want = layer_norm(x.astype(np.float64), (1,), 1e-5, center=False)
        np.testing.assert_allclose(run("rms_norm", x, axes=(1,), epsilon=1e-5), want, 1e-5, 1e-5)
    same = np.full((2, 8), 7, np.float32)
    np.testing.assert_allclose(run("layer_norm", same, axes=(1,), epsilon=1e-5), np.zeros((2, 8)), atol=1e-3)


@pytest.mark.parametrize("width", [1, 10, 128, 5000])
def test_softmax_of_small_and_large_exponents(width):
    """Rows below and above what is safe without the maximum, infinities and NaN, in place and not."""
    scales = np.float32([1, 30, 300, 3000] * 50)[:, None]
    for rows in (random(200, width), random(200, width) * scales, random(200, width) - 500):
        wide = rows.astype(np.float64)
        for name, want in (("softmax", sp.softmax(wide, -1)), ("log_softmax", sp.log_softmax(wide, -1))):
            np.testing.assert_allclose(run(name, rows), want, 2e-5, 2e-6)
            np.testing.assert_array_equal(run_in_place(name, 0, rows), run(name, rows))
    odd = np.float32([[0, -np.inf], [np.nan, 1], [5, 5]])
    np.testing.assert_allclose(run("softmax", odd), [[1, 0], [np.nan, np.nan], [0.5, 0.5]])


def group_norm(x, groups, epsilon):
    """channels last"""
    shape = x.shape
    x = x.reshape(shape[0], -1, groups, shape[-1] // groups)
    return layer_norm(x, (1, 3), epsilon).reshape(shape)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("dtype, rtol, atol", DTYPES)
def test_group_norm(groups, axis, dtype, rtol, atol):
    x = random(3, 4, 5, 6, dtype=dtype)
    scale, bias = random(6).astype(dtype), random(6, seed=1).astype(dtype)
    moved = np.moveaxis(x, -1, axis)
    want = group_norm(x.astype(np.float64), groups, 1e-3)
    for s, b in ((None, None), (scale, bias), (scale, None)):
        expected = want * (1 if s is None else s.astype(float)) + (0 if b is None else b.astype(float))
        got = run("group_norm", moved, s, b, groups=groups, axis=axis, epsilon=1e-3)
        np.testing.assert_allclose(np.moveaxis(got, axis, -1), expected, rtol, 4 * atol)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 20])
@pytest.mark.parametrize("axis", [-1, 1])
def test_lrn(size, axis):
    x = random(2, 7, 3)
    along = np.moveaxis(x.astype(np.float64), axis, -1)
    want = np.empty_like(along)
    for c in range(along.shape[-1]):
        near = along[..., max(0, c - (size - 1) // 2) : c + size // 2 + 1]
        want[..., c] = along[..., c] / (1.5 + 0.2 / size * (near**2).sum(-1)) ** 0.75
    for layout in layouts(x)[:1]:
        got = run("lrn", layout, size=size, alpha=0.2, beta=0.75, bias=1.5, axis=axis)
        np.testing.assert_allclose(got, np.moveaxis(want, -1, axis), 1e-5)


def test_lp_norm():
    x = random(3, 4)
    for p in (1, 2):
        want = x / np.linalg.norm(x.astype(np.float64), p, axis=1, keepdims=True)
        np.testing.assert_allclose(run("lp_norm", x, axis=1, p=p), want, 1e-6)
    assert run("lp_norm", np.zeros((2, 3), np.float32)).tolist() == [[0] * 3] * 2
    np.testing.assert_allclose(run("lp_norm", np.float32([[0.1, 0]]), epsilon=1.0), [[0.1, 0]])


@pytest.mark.parametrize("axis", [-1, 0])
def test_hardmax_and_sparsemax(axis):
    x = np.float32([[1, 3, 3], [5, 2, 1]])
    want = [[0, 1, 0], [1, 0, 0]] if axis == -1 else [[0, 1, 1], [1, 0, 0]]
    assert run("hardmax", x, axis=axis).tolist() == want
    x = random(4, 5)
    y = run("sparsemax", x, axis=axis)
    np.testing.assert_allclose(y.sum(axis), 1, 1e-5)
    # the projection: x - y is the same (the threshold) wherever y is positive, and smaller elsewhere
    for a, b in zip(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)):
        threshold = (a - b)[b > 0]
        np.testing.assert_allclose(threshold, threshold[0], atol=1e-5)
        assert (a[b == 0] <= threshold[0] + 1e-5).all()
