"""Winograd's convolutions against sums of products in float64: padding, edges, several axes, gradients, the error."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tenun.backends.numpy.evaluate import kernel_of
from tenun.backends.numpy.kernels.winograd import POINTS, transforms
from tenun.backends.numpy.workers import Parallel
from tenun.ir.attributes import Activation
from tenun.ir.op import lookup
from tenun.ir.ops.winograd import points
from tenun.passes.algorithms import tiles_of
from tenun.tests.kernels.harness import run_all

RELU, LINEAR = Activation("relu"), Activation()
SHAPES = ((1, (8, 8)), (3, (7, 9)), (2, (13, 5)), (5, (4, 4)))
KERNELS = (
    ((3, 3), (4, 4)), ((3, 3), (2, 2)), ((1, 3), (1, 4)), ((5, 5), (2, 2)), ((2, 2), (3, 3)), ((3, 1), (2, 1)),
    ((2, 2), (4, 4)), ((4, 4), (4, 4)), ((4, 4), (3, 3)), ((5, 5), (4, 4)), ((6, 6), (3, 3)), ((6, 6), (2, 2)),
    ((7, 7), (2, 2)), ((5, 3), (4, 4)), ((2, 6), (4, 3)), ((4, 1), (4, 1)),
)  # fmt: skip
PADDINGS = ("same", "valid", ((2, 1), (0, 3)))


def padded(x: np.ndarray, kernel: tuple[int, ...], padding: Any) -> np.ndarray:
    totals = [k - 1 for k in kernel]
    pairs = {"same": [(t // 2, t - t // 2) for t in totals], "valid": [(0, 0)] * len(kernel)}.get(str(padding), padding)
    return np.pad(x.astype(np.float64), [(0, 0), *pairs, (0, 0)])


def convolved(x: np.ndarray, w: np.ndarray, padding: Any) -> np.ndarray:
    """The sum over taps, in float64."""
    kernel = w.shape[:-2]
    x = padded(x, kernel, padding)
    places = [n - k + 1 for n, k in zip(x.shape[1:], kernel)]
    y = np.zeros((len(x), *places, w.shape[-1]))
    for tap in product(*map(range, kernel)):
        y += x[(slice(None), *(slice(t, t + n) for t, n in zip(tap, places)))] @ w[tap].astype(np.float64)
    return y


def of_weights(x: np.ndarray, g: np.ndarray, kernel: tuple[int, ...], padding: Any) -> np.ndarray:
    x = padded(x, kernel, padding)
    w = np.zeros((*kernel, x.shape[-1], g.shape[-1]))
    for tap in product(*map(range, kernel)):
        seen = x[(slice(None), *(slice(t, t + n) for t, n in zip(tap, g.shape[1:-1])))]
        w[tap] = np.tensordot(seen, g.astype(np.float64), (range(g.ndim - 1),) * 2)
    return w


def bounds(kernel: tuple[int, ...], tile: tuple[int, ...]) -> tuple[float, float]:
    """What is stated of the error, relative to the results' standard deviation: on average, and at most."""
    return (1.5e-6, 2e-5) if max(points(tile, kernel)) <= 6 else (8e-6, 1.5e-4)


def given(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def fits(x: tuple[int, ...], kernel: tuple[int, ...], padding: Any) -> bool:
    return padding != "valid" or all(n >= k for n, k in zip(x, kernel))


CASES = [
    (n, size, kernel, tile, padding)
    for (n, size), (kernel, tile), padding in product(SHAPES, KERNELS, PADDINGS)
    if fits(size, kernel, padding)
]


@pytest.mark.parametrize("n", list(POINTS))
def test_transforms_correlate(n: int) -> None:
    rng = np.random.default_rng(n)
    for r in range(1, n + 1):
        m = n - r + 1
        a, g, b = transforms(m, r)
        x, w = rng.normal(size=n), rng.normal(size=r)
        np.testing.assert_allclose(a @ ((g @ w) * (b @ x)), [x[i : i + r] @ w for i in range(m)], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("n", "size", "kernel", "tile", "padding"), CASES)
def test_conv(n: int, size: tuple[int, ...], kernel: tuple[int, ...], tile: tuple[int, ...], padding: Any) -> None:
    x, w, bias = given(0, (n, *size, 5), (*kernel, 5, 6), (6,))
    want = convolved(x, w, padding) + bias
    (residual,) = given(1, want.shape)
    (u,) = run_all("winograd_weights", w, tile=tile)
    how = {"kernel": kernel, "tile": tile, "padding": padding}
    for add, activation in product((None, residual), (LINEAR, RELU)):
        (y,) = run_all("winograd_conv", x, u, bias, add, activation=activation, **how)
        expected = want if add is None else want + add
        expected = np.maximum(expected, 0) if activation is RELU else expected
        np.testing.assert_allclose(y, expected, atol=1.5 * bounds(kernel, tile)[1] * want.std(), rtol=0)


@pytest.mark.parametrize(("n", "size", "kernel", "tile", "padding"), CASES)
def test_weight_grad(
    n: int, size: tuple[int, ...], kernel: tuple[int, ...], tile: tuple[int, ...], padding: Any
) -> None:
    x, w = given(0, (n, *size, 5), (*kernel, 5, 6))
    (g,) = given(1, convolved(x, w, padding).shape)
    (made,) = run_all("winograd_weight_grad", x, g, kernel=kernel, tile=tile, padding=padding)
    want = of_weights(x, g, kernel, padding)
    np.testing.assert_allclose(made, want, atol=1.5 * bounds(kernel, tile)[1] * max(want.std(), 1), rtol=0)


@pytest.mark.parametrize(
    ("size", "kernel", "tile"),
    [
        ((17,), (3,), (4,)),
        ((19,), (4,), (4,)),
        ((12,), (5,), (4,)),
        ((12,), (7,), (2,)),
        ((5, 6, 7), (3,) * 3, (2,) * 3),
        ((5, 6, 7), (2, 1, 4), (4, 1, 3)),
    ],
)
def test_other_ranks(size: tuple[int, ...], kernel: tuple[int, ...], tile: tuple[int, ...]) -> None:
    x, w = given(0, (2, *size, 4), (*kernel, 4, 3))
    (u,) = run_all("winograd_weights", w, tile=tile)
    (y,) = run_all("winograd_conv", x, u, kernel=kernel, tile=tile, padding="same")
    want = convolved(x, w, "same")
    np.testing.assert_allclose(y, want, atol=3e-5 * want.std(), rtol=0)


def test_flipped_weights_are_those_of_the_kernel_turned_around() -> None:
    (w,) = given(0, (3, 3, 4, 5))
    (u,) = run_all("winograd_weights", w, tile=(4, 4), flip=True)
    (v,) = run_all("winograd_weights", w[::-1, ::-1], tile=(4, 4))
    np.testing.assert_allclose(u, v, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 5, 16])
def test_branches(batch: int) -> None:
    """Enough work for several branches: of filters, of rows, of images."""
    for size, channels in ((4, 512), (24, 64)):
        x, w = given(0, (batch, size, size, channels), (3, 3, channels, 64))
        (u,) = run_all("winograd_weights", w, tile=(4, 4))
        (y,) = run_all("winograd_conv", x, u, kernel=(3, 3), tile=(4, 4), padding="same")
        want = convolved(x, w, "same")
        np.testing.assert_allclose(y, want, atol=3e-5 * want.std(), rtol=0)


def test_of_few_tiles_only_the_products_are_shared() -> None:
    x, w, out = (
        np.ones((1, 8, 8, 128), np.float32),
        np.ones((3, 3, 128, 256), np.float32),
        np.zeros((1, 8, 8, 256), "f"),
    )
    u = run_all("winograd_weights", w, tile=(2, 2))[0]
    attrs = {"kernel": (3, 3), "tile": (2, 2), "padding": ((1, 1), (1, 1)), "activation": LINEAR}
    steps = kernel_of(lookup("winograd_conv")).call(x, u, None, None, **attrs, out=out, scratch=np.empty)
    (products,) = [step for step in steps if isinstance(step, Parallel)]
    assert [len(branch) for branch in products.branches] == [1, 1] and len(steps) > 5


@pytest.mark.parametrize(("kernel", "tile"), [(k, tile) for k in range(2, 8) for tile in tiles_of((k, k))])
def test_the_error_is_as_stated(kernel: int, tile: tuple[int, int]) -> None:
    """Of every tile that a pass may choose, and of the gradient of the weights too."""
    window = (kernel, kernel)
    x, w = given(0, (1, 24, 24, 256), (*window, 256, 32))
    want = convolved(x, w, "same")
    (u,) = run_all("winograd_weights", w, tile=tile)
    (y,) = run_all("winograd_conv", x, u, kernel=window, tile=tile, padding="same")
    (g,) = given(1, want.shape)
    (grad,) = run_all("winograd_weight_grad", x, g, kernel=window, tile=tile, padding="same")
    for made, exact in ((y, want), (grad, of_weights(x, g, window, "same"))):
        error = np.abs(made - exact) / exact.std()
        average, most = bounds(window, tile)
        assert error.mean() < average
        assert error.max() < most


def test_tiles_of_three_axes_have_no_more_points_than_their_error_bears() -> None:
    assert tiles_of((5, 5, 5)) == ((2, 2, 2),)
    assert tiles_of((3, 3, 3)) == ((4, 4, 4), (2, 2, 2))
    assert tiles_of((8, 3)) == tiles_of((1, 1)) == ()
