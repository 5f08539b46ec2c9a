"""Attention against the formula in float64, in blocks of all sizes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import tenun.backends.numpy.kernels.attention as kernels
from tenun.backends.numpy.workers import several
from tenun.tests.kernels.harness import constant, layouts, run

GENERATOR = np.random.default_rng(0)


def attention(q, k, v, mask=None, bias=None, scale=1.0, causal=False, soft_cap=None):
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    s = scale * q @ k.swapaxes(-1, -2)
    s = s if soft_cap is None else soft_cap * np.tanh(s / soft_cap)
    s = s if bias is None else s + bias
    kept = np.tri(*s.shape[-2:], dtype=bool) if causal else True
    s = np.where(kept if mask is None else kept & mask, s, -1e300)
    weights = np.exp(s - s.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def normal(*shape, dtype=np.float32):
    return GENERATOR.normal(size=shape).astype(dtype)


SHAPES = [  # leading axes, rows, keys, columns of q and k, columns of v
    ((2, 3), 5, 7, 4, 6), ((), 3, 3, 2, 2), ((1,), 40, 33, 8, 8), ((2, 1, 2), 70, 128, 16, 8), ((2,), 130, 300, 8, 1),
]  # fmt: skip
SMALL = {"MOST_KEYS": 8, "CHUNK_KEYS": 16, "SCORES": 256, "LEAST_ROWS": 4}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("limits", [{}, {"SCORES": 512, "LEAST_ROWS": 2}, SMALL], ids=["usual", "blocks", "chunks"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(monkeypatch, shape, limits, causal):
    """Also with masks that leave nothing to some rows, biases, and scores that are too large for exp."""
    for name, value in limits.items():
        monkeypatch.setattr(kernels, name, value)
    lead, rows, keys, width, columns = shape
    q, k, v = normal(*lead, rows, width), normal(*lead, keys, width), normal(*lead, keys, columns)
    some = GENERATOR.random((*lead, rows, keys)) < 0.3
    masks = [None, some, some[..., :1, :], constant(some[..., 0, :] if not lead else some.reshape(-1, keys)[0])]
    biases = [None, normal(rows, keys), (-200 * some[..., :1, :]).astype(np.float32)]
    for mask, bias, cap, scale in product([*masks, np.zeros((rows, 1), bool)], biases, (None, 2.0), (0.3, 30.0)):
        how = {"scale": scale, "causal": causal, "soft_cap": cap}
        want = attention(q, k, v, mask, bias, **how)
        got = run("attention", q, k, v, mask, bias, **how)
        np.testing.assert_allclose(got, want, rtol=2e-5 * (1 + scale), atol=2e-5 * (1 + scale))


def test_layouts_and_broadcasting():
    q, k, v = normal(2, 3, 5, 4), normal(2, 1, 6, 4), normal(3, 6, 2)
    want = attention(q, k, v, scale=0.5)
    for a, b, c in zip(layouts(q), layouts(k), layouts(v)):
        np.testing.assert_allclose(run("attention", a, b, c, scale=0.5), want, rtol=1e-5, atol=1e-6)
    heads_last = normal(2, 5, 3, 4).transpose(0, 2, 1, 3)
    want = attention(heads_last, heads_last, heads_last)
    np.testing.assert_allclose(
        run("attention", heads_last, heads_last, heads_last, scale=1.0), want, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float16, 3e-3)])
def test_dtypes(dtype, tolerance):
    q, k, v, bias = (normal(2, 4, 3, dtype=dtype) for _ in range(3)), None, None, None
    q, k, v = q
    bias = normal(4, 4, dtype=dtype)
    got = run("attention", q, k, v, None, bias, scale=0.7, causal=True)
    np.testing.assert_allclose(got, attention(q, k, v, None, bias, 0.7, True), rtol=tolerance, atol=tolerance)


def test_extremes():
    """Nothing to attend to, infinite biases, NaN where there is one."""
    assert (run("attention", normal(2, 3, 4), normal(2, 0, 4), normal(2, 0, 5), scale=1.0) == 0).all()
    assert run("attention", normal(0, 3, 4), normal(0, 3, 4), normal(0, 3, 4), scale=1.0).shape == (0, 3, 4)
    q, k, v = normal(4, 3), normal(5, 3), normal(5, 2)
    bias = np.float32([[0, -np.inf, 0, -np.inf, -1e9]])
    want = attention(q, k[[0, 2]], v[[0, 2]])
    np.testing.assert_allclose(run("attention", q, k, v, None, bias, scale=1.0), want, rtol=1e-5, atol=1e-6)
    assert np.isnan(run("attention", q, k, v, None, np.full((1, 5), -np.inf, np.float32), scale=1.0)).all()
    q[1, 0] = np.nan
    assert np.isnan(run("attention", q, k, v, scale=1.0)).any(1).tolist() == [False, True, False, False]


def test_the_same_bits_on_any_number_of_threads():
    q, k, v = (normal(2, 8, 200, 32) for _ in "qkv")
    with several(1):
        alone = run("attention", q, k, v, scale=0.2, causal=True)
    for threads in (2, 3):
        with several(threads):
            np.testing.assert_array_equal(run("attention", q, k, v, scale=0.2, causal=True), alone)
