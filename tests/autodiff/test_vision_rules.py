"""Gradients of grid_sample, roi_align and col2im against central differences in float64.

The forms from which they come compute what the kernels do.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.ir import Builder, Graph, Tensor, dtype, symbol
from tenun.passes.autodiff.engine import gradients
from tenun.passes.autodiff.rules import vision
from tenun.tests.autodiff.checks import check
from tenun.tests.kernels.harness import random

F64 = dtype("f64")
ALIGN = ("corners", "centers", "pixels")
SAMPLES = [*product(("nearest", "linear", "cubic"), ("zeros", "border", "reflection"))]
# x, y, x, y: inside, beyond the edges, small, empty, the wrong way around
REGIONS = np.array([[0.3, 0.6, 4.1, 3.7], [-3.2, -1.1, 6.53, 5.27], [2.1, 2.2, 2.6, 2.4], [1.2, 1.3, 1.2, 1.3],
                    [4.3, 4.2, 1.1, 0.4]])  # fmt: skip
IMAGES = np.array([0, 1, 1, 0, 1])


def form_and_kernel(op: str, *operands: Any, **attrs: Any) -> None:
    """The form of an op gives what its kernel gives."""
    b = Builder(Graph("g"))
    xs = [b.input(f"x{i}", Tensor(dtype(a), a.shape)) for i, a in enumerate(operands)]
    f = tenun.compile(b.outputs(getattr(vision, op)(b, *xs, **attrs), getattr(b, op)(*xs, **attrs)), pipeline=[])
    ours, want = f(*operands)
    np.testing.assert_allclose(ours, want, rtol=1e-5, atol=1e-5)
    assert ours.dtype == want.dtype


@pytest.mark.parametrize("align", ALIGN)
@pytest.mark.parametrize("mode, padding", SAMPLES)
def test_grid_sample(mode: str, padding: str, align: str) -> None:
    """Places up to twice as far as the edges; whole ones, NaN and infinity in the comparison with the kernel."""
    how = {"mode": mode, "padding": padding, "align": align}
    wide = 2.0 if align != "pixels" else 8.0
    x, grid = random(2, 3, 4, 5, dtype=np.float64), random(2, 2, 3, 2, dtype=np.float64, low=-wide, high=wide)
    edges = np.array([[[[0, 1], [-1, 1], [np.nan, 0]], [[np.inf, 2], [-40, 3], [2, 2]]]] * 2)
    for places in (grid, edges, grid.astype(np.float32)):
        form_and_kernel("grid_sample", x, places, **how)
    form_and_kernel("grid_sample", x.astype(np.float16), grid.astype(np.float16), **how)
    check(lambda b, x: b.grid_sample(x, grid, **how), x.shape)
    if mode != "nearest":
        order = 2 if align == "centers" else 1
        check(lambda b, x, g: b.grid_sample(x, b.mul(g, wide), **how), x.shape, grid.shape, order=order)


@pytest.mark.parametrize("sizes", [(5,), (3, 2, 4), (1, 4)])
def test_grid_sample_of_other_ranks(sizes: tuple[int, ...]) -> None:
    """One and three axes, and one of a single pixel."""
    rank = len(sizes)
    for align, padding in (("corners", "zeros"), ("centers", "reflection")):
        how = {"align": align, "padding": padding, "mode": "linear"}
        form_and_kernel("grid_sample", random(2, 3, *sizes), random(2, *(2,) * rank, rank), **how)
        check(lambda b, x, g, how=how: b.grid_sample(x, g, **how), (2, 3, *sizes), (2, *(2,) * rank, rank))


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("samples", [0, 1, 2])
@pytest.mark.parametrize("half_pixel", [True, False])
def test_roi_align(mode: str, samples: int, half_pixel: bool) -> None:
    """In both the images and the regions."""
    for order, scale, size in ((2, 1.0, (2, 3)), (1, 0.7, (3, 1))):
        how = {"mode": mode, "samples": samples, "half_pixel": half_pixel, "scale": scale, "size": size}
        x = random(2, 3, 5, 6, dtype=np.float64)
        for regions in (REGIONS, REGIONS[3:], REGIONS.astype(np.float32)):
            form_and_kernel("roi_align", x, regions, IMAGES[-len(regions) :], **how)
        check(
            lambda b, x, d, how=how: b.roi_align(x, b.add(REGIONS, b.mul(b.tanh(d), 0.01)), IMAGES, **how),
            x.shape, REGIONS.shape, order=order,
        )  # fmt: skip


@pytest.mark.parametrize("image, block, strides, dilations, padding", [
    ((5, 6), (2, 3), (1, 2), (2, 1), ((1, 1), (0, 1))), ((4,), (2,), (1,), (1,), ((0, 0),)),
    ((3, 4, 3), (2, 1, 2), (1, 2, 1), (1, 1, 1), ((0, 0), (1, 0), (0, 1))),
])  # fmt: skip
def test_col2im(image: Any, block: Any, strides: Any, dilations: Any, padding: Any) -> None:
    padded = [n + sum(p) for n, p in zip(image, padding)]
    places = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(padded, block, dilations, strides)]
    how = {"image": image, "block": block, "strides": strides, "dilations": dilations, "padding": padding}
    check(lambda b, x: b.col2im(x, **how), (2, 3 * int(np.prod(block)), int(np.prod(places))), order=2)


def test_symbolic_sizes() -> None:
    """Gradients made once, for symbols, are those of the sizes which come."""

    def made(n: Any, h: Any, q: Any) -> Any:
        b = Builder(Graph("g"))
        x, grid = b.input("x", Tensor(F64, (n, 3, h, 5))), b.input("grid", Tensor(F64, (n, q, 2)))
        rois = b.input("rois", Tensor(F64, (q, 4)))
        batches = b.fill(b.constant(np.int64(0)), shape=(q,))
        y = b.grid_sample(x, b.unsqueeze(grid, axes=(2,)), padding="reflection")
        z = b.roi_align(x, rois, batches, size=(2, 2))
        total = b.add(b.reduce_sum(b.square(y)), b.reduce_sum(b.square(z)))
        return tenun.compile(b.outputs(*gradients(b, [total], [x, grid, rois])))

    general = made(*map(symbol, "NHQ"))
    for n, h, q in ((2, 4, 3), (1, 6, 5)):
        given = random(n, 3, h, 5, dtype=np.float64), random(n, q, 2, dtype=np.float64), np.resize(REGIONS, (q, 4))
        for ours, want in zip(general(*given), made(n, h, q)(*given)):
            np.testing.assert_allclose(ours, want, rtol=1e-12, atol=1e-12)
