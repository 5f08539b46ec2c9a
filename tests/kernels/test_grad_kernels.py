"""conv_weight_grad, max_pool_grad, max_pool_pick, avg_pool_grad and resize_grad: adjoints of kernels tested elsewhere,
and the elements that get a gradient."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tenun.backends.numpy.kernels import pool_grad
from tenun.backends.numpy.workers import cuts
from tenun.tests.kernels.harness import layouts, random, run, run_all

CONVS = list(product([(1, 1), (3, 2)], [(1, 1), (2, 3)], [(1, 1), (2, 1)], ["valid", "same", ((1, 2), (0, 3))]))
GROUPS = [(1, 5, 7), (2, 6, 4), (5, 5, 5), (3, 3, 6), (2, 66, 4), (2, 2, 12)]


def dot(a: np.ndarray, b: np.ndarray) -> float:
    return float((a.astype(np.float64) * b.astype(np.float64)).sum())


def adjoint(forward: Any, back: Any, x: np.ndarray, g_like: np.ndarray, tol: float = 1e-4) -> None:
    """⟨forward(x), g⟩ = ⟨x, back(g)⟩ for linear kernels."""
    g = random(*g_like.shape, dtype=g_like.dtype, seed=1)
    np.testing.assert_allclose(dot(forward(x), g), dot(x, back(g)), rtol=tol, atol=tol * x.size)


@pytest.mark.parametrize("kernel, strides, dilations, padding", CONVS)
def test_conv_weight_grad(kernel: Any, strides: Any, dilations: Any, padding: Any) -> None:
    """Each element by itself: the gradient in the direction of one weight is what conv makes of that weight alone."""
    for groups, channels, filters in GROUPS:
        how = {"strides": strides, "dilations": dilations, "padding": padding, "groups": groups}
        x, w = random(3, 7, 9, channels), random(*kernel, channels // groups, filters)
        y = run("conv", x, w, **how)
        g = random(*y.shape, seed=1)
        got = run("conv_weight_grad", x, g, kernel=kernel, **how)
        places = np.random.default_rng(0).choice(w.size, min(w.size, 6), replace=False)
        for place in places:
            one = np.zeros(w.size, np.float32)
            one[place] = 1
            wanted = dot(run("conv", x, one.reshape(w.shape), **how), g)
            np.testing.assert_allclose(got.flat[place], wanted, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(dot(got, w), dot(y, g), rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("dtype, tol", [("float64", 1e-12), ("float16", 3e-2)])
@pytest.mark.parametrize("kernel, groups", [(1, 1), (3, 1), (3, 2), (3, 6)])
def test_conv_weight_grad_dtypes_and_layouts(dtype: str, tol: float, kernel: int, groups: int) -> None:
    x, g = random(2, 6, 5, 6, dtype=dtype), random(2, 6, 5, 12, dtype=dtype, low=-1, high=1)
    how = {"kernel": (kernel,) * 2, "strides": (1, 1), "dilations": (1, 1), "padding": "same", "groups": groups}
    wanted = run("conv_weight_grad", x.astype(np.float64), g.astype(np.float64), **how)
    for a, b in product(layouts(x), layouts(g)):
        given = np.array(a), np.array(b)
        np.testing.assert_array_equal(run("conv_weight_grad", a, b, **how), run("conv_weight_grad", *given, **how))
    np.testing.assert_allclose(run("conv_weight_grad", x, g, **how), wanted, rtol=tol, atol=tol * 30)


@pytest.mark.parametrize("kernel, groups", [(1, 1), (3, 1), (3, 4), (3, 64)])
def test_conv_weight_grad_of_many_blocks(kernel: int, groups: int) -> None:
    x, g = random(5, 41, 37, 64), random(5, 41, 37, 64, seed=1)
    how = {"kernel": (kernel,) * 2, "strides": (1, 1), "dilations": (1, 1), "padding": "same", "groups": groups}
    parts = [run("conv_weight_grad", x[i : i + 1].astype(float), g[i : i + 1].astype(float), **how) for i in range(5)]
    np.testing.assert_allclose(run("conv_weight_grad", x, g, **how), sum(parts), rtol=1e-3, atol=0.05)


def test_wide_depthwise_rows() -> None:
    """Rows longer than a block, the last piece of them shorter."""
    x, g = random(1, 3001, 17), random(1, 3001, 17, seed=1)
    how = {"kernel": (3,), "strides": (1,), "dilations": (1,), "padding": "same", "groups": 17}
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0))).astype(np.float64)
    wanted = np.stack([(padded[0, k : k + 3001] * g[0]).sum(0) for k in range(3)])[:, None]
    np.testing.assert_allclose(run("conv_weight_grad", x, g, **how), wanted, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("groups", [1, 2])
def test_empty(groups: int) -> None:
    how = {"strides": (1, 1), "dilations": (1, 1)}
    x = np.zeros((0, 5, 5, 4), np.float32)
    got = run("conv_weight_grad", x, x, kernel=(3, 3), padding="same", groups=groups, **how)
    assert got.shape == (3, 3, 4 // groups, 4) and not got.any()
    pool = {**how, "window": (2, 2)}
    assert run("max_pool_grad", x, x[:, 1:, 1:], x[:, 1:, 1:], **pool).size == 0
    assert run("avg_pool_grad", x[:, 1:, 1:], sizes=(5, 5), **pool).size == 0
    assert run("resize_grad", x, sizes=(3, 3), axes=(1, 2)).size == 0


POOLS = list(product([(2, 2), (3, 1)], [(1, 1), (2, 2), (3, 4)], [(1, 1), (2, 3)], ["valid", "same", ((1, 0), (1, 1))]))


def first_places(x: np.ndarray, **how: Any) -> np.ndarray:
    """Where in the flattened x the first largest element of each window stands."""
    n, *spatial, c = x.shape
    flat = run("max_pool_indices", x, **how)
    count = int(np.prod(spatial))
    return (np.arange(n).reshape(-1, 1, 1, 1) * count + flat) * c + np.arange(c)


@pytest.mark.parametrize("window, strides, dilations, padding", POOLS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_max_pool_grad(window: Any, strides: Any, dilations: Any, padding: Any, dtype: str) -> None:
    """With ties: against the op that tells where the first largest element stands."""
    how = {"window": window, "strides": strides, "dilations": dilations, "padding": padding, "ceil_mode": True}
    x = random(2, 7, 9, 3, dtype=np.int64, low=-1, high=1).astype(dtype)
    y, places = run("max_pool", x, **how), first_places(x, **how)
    g, h = random(*y.shape, dtype=np.int64, seed=1).astype(dtype), random(*x.shape, seed=2).astype(dtype)
    met = np.isfinite(y)
    wanted = np.zeros(x.size, dtype)
    np.add.at(wanted, places[met], g[met])
    np.testing.assert_array_equal(run("max_pool_grad", x, y, g, **how), wanted.reshape(x.shape))
    np.testing.assert_array_equal(run("max_pool_pick", x, y, h, **how), np.where(met, h.flat[places], 0))
    again, record = run_all("max_pool_record", x, **how)
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(run("max_pool_grad", x, y, g, record, **how), wanted.reshape(x.shape))


def test_all_ties() -> None:
    x = np.float32([[[1], [1], [0], [2], [3], [3]]])
    how = {"window": (3,), "strides": (3,), "dilations": (1,), "all_ties": True}
    y, g = np.float32([[[1], [3]]]), np.float32([[[5], [7]]])
    assert run("max_pool_grad", x, y, g, **how).ravel().tolist() == [5, 5, 0, 0, 7, 7]
    assert run("max_pool_pick", x, y, x + 1, **how).ravel().tolist() == [4, 8]


def test_a_record_of_special_numbers() -> None:
    """The first of equal ones, -inf included; none for NaN."""
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, -inf], [nan, 1], [1, nan], [inf, inf], [-0.0, 0.0], [0.0, 1.0]], np.float32).reshape(1, 12, 1)
    how = {"window": (2,), "strides": (2,), "dilations": (1,)}
    y, record = run_all("max_pool_record", x, **how)
    assert record.ravel().tolist() == [1, 0, 0, 1, 1, 2]
    g = np.arange(1, 7, dtype=np.float32).reshape(1, 6, 1)
    np.testing.assert_array_equal(run("max_pool_grad", x, y, g, record, **how), run("max_pool_grad", x, y, g, **how))
    lowest = np.full((1, 3, 1), -inf, np.float32)
    y, record = run_all("max_pool_record", lowest, **how, padding=((1, 0),))
    assert record.ravel().tolist() == [2, 1]


BESIDE = [((7, 9), (2, 2)), ((6, 8), (3, 1)), ((6, 9), (1, 3)), ((9, 9), (3, 3)), ((7,), (2,)), ((4, 5, 6), (2, 2, 3))]


@pytest.mark.parametrize("sizes, window", BESIDE)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_windows_side_by_side(sizes: Any, window: Any, dtype: str, monkeypatch: Any) -> None:
    """All taps at once, in blocks of an image and less, with ties, infinities and NaN: against argmax."""
    monkeypatch.setattr(pool_grad, "AT_ONCE_BYTES", 1 << 9)
    how = {"window": window, "strides": window, "dilations": (1,) * len(window)}
    x = random(3, *sizes, 6, dtype=np.int64, low=-1, high=2).astype(dtype)
    if x.dtype.kind == "f":
        x[0].flat[:40] = np.resize(np.array([-np.inf, np.inf, 0, np.nan, -0.0], dtype), 40)
    places = [n // k for n, k in zip(sizes, window)]
    inside = x[(slice(None), *(slice(n * k) for n, k in zip(places, window)))]
    tiles = inside.reshape(3, *(n for pair in zip(places, window) for n in pair), 6)
    axes = [2 * i + 2 for i in range(len(window))]
    taps = np.moveaxis(tiles, axes, range(len(window))).reshape(-1, 3, *places, 6)
    first = np.where((taps != taps).any(0), 0, taps.argmax(0) + 1)
    y, record = run_all("max_pool_record", x, **how)
    np.testing.assert_array_equal(y, taps.max(0))
    np.testing.assert_array_equal(record, first)
    g = random(*y.shape, dtype=np.int64, low=1, high=9, seed=1).astype(dtype)
    spread = np.where(first == np.arange(1, len(taps) + 1).reshape(-1, *(1,) * y.ndim), g, 0).astype(dtype)
    wanted = np.zeros_like(x)
    target = wanted[(slice(None), *(slice(n * k) for n, k in zip(places, window)))].reshape(tiles.shape, copy=False)
    np.moveaxis(target, axes, range(len(window)))[...] = spread.reshape(*window, *y.shape)
    np.testing.assert_array_equal(run("max_pool_grad", x, y, g, record, **how), wanted)


def test_windows_on_two_threads_have_the_same_bits() -> None:
    x, g = random(6, 64, 64, 32), random(6, 32, 32, 32, seed=1)
    how = {"window": (2, 2), "strides": (2, 2), "dilations": (1, 1)}
    assert len(cuts(len(x), pool_grad.GRAD_FLOPS * x.size, most=pool_grad.BRANCHES)) == 2
    y, record = run_all("max_pool_record", x, **how)
    whole = run("max_pool_grad", x, y, g, record, **how)
    for n in range(6):
        one, its = run_all("max_pool_record", x[n : n + 1], **how)
        np.testing.assert_array_equal([y[n : n + 1], record[n : n + 1]], [one, its])
        np.testing.assert_array_equal(
            whole[n : n + 1], run("max_pool_grad", x[n : n + 1], one, g[n : n + 1], its, **how)
        )


def test_max_pool_grad_is_exact_for_infinities_and_many_blocks() -> None:
    x, g = random(3, 64, 64, 33), random(3, 32, 32, 33, seed=1)
    g[0, 0, 0, 0], g[1, 3, 4, 5] = np.inf, np.nan
    how = {"window": (2, 2), "strides": (2, 2), "dilations": (1, 1)}
    got = run("max_pool_grad", x, run("max_pool", x, **how), g, **how)
    assert np.isinf(got).sum() == 1 and np.isnan(got).sum() == 1
    y, record = run_all("max_pool_record", x, **how)
    np.testing.assert_array_equal(run("max_pool_grad", x, y, g, record, **how), got)
    tiles = got.reshape(3, 32, 2, 32, 2, 33)
    np.testing.assert_array_equal(np.nan_to_num(tiles).sum((2, 4)), np.nan_to_num(g))
    assert ((tiles != 0).sum((2, 4)) <= 1).all()


@pytest.mark.parametrize("window, strides, dilations, padding", POOLS)
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_avg_pool_grad(window: Any, strides: Any, dilations: Any, padding: Any, count_include_pad: bool) -> None:
    how = {"window": window, "strides": strides, "dilations": dilations, "padding": padding, "ceil_mode": True}
    how["count_include_pad"] = count_include_pad
    for dtype, tol in (("float32", 1e-4), ("float64", 1e-10), ("float16", 1e-2)):
        x = random(5, 7, 9, 3, dtype=dtype)
        adjoint(
            lambda x: run("avg_pool", x, **how),
            lambda g: run("avg_pool_grad", g, sizes=(7, 9), **how),
            x, run("avg_pool", x, **how), tol,
        )  # fmt: skip


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic", "lanczos5"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"])
def test_resize_grad(mode: str, coordinates: str) -> None:
    how: dict[str, Any] = {"axes": (1, 2), "mode": mode, "coordinates": coordinates, "roi": (0.2, 0.9, 1.3, -0.2)}
    for sizes, dtype in product([(8, 12), (3, 5), (30, 2), (4, 6), (1, 1)], ("float32", "float64", "float16")):
        x = random(2, 4, 6, 3, dtype=dtype)
        adjoint(
            lambda x, sizes=sizes: run("resize", x, sizes=sizes, **how),
            lambda g: run("resize_grad", g, sizes=(4, 6), **how),
            x, run("resize", x, sizes=sizes, **how), {"float32": 1e-4, "float64": 1e-10, "float16": 1e-2}[dtype],
        )  # fmt: skip
