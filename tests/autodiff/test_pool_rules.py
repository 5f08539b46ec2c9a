"""Gradients of pooling and resizing against central differences and tf.GradientTape, ties included."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.ir import Builder, Graph, Tensor, dtype, symbol
from tenun.passes.autodiff.engine import gradients
from tenun.passes.batch import batch_symbol
from tenun.tests.autodiff.checks import check, check_tape
from tenun.tests.kernels.harness import random

PADDINGS = ["valid", "same", "same_lower", ((1, 0), (1, 2))]
STEPS = [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 3), (2, 1)), ((3, 2), (2, 3))]
RESIZES = [
    *product(("nearest", "linear", "cubic"), ("half_pixel", "align_corners", "asymmetric")),
    ("linear", "pytorch_half_pixel"), ("cubic", "half_pixel_symmetric"), ("lanczos3", "half_pixel"),
    ("nearest", "tf_crop_and_resize"), ("linear", "tf_crop_and_resize"),
]  # fmt: skip


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("strides, dilations", STEPS)
def test_pooling(padding: Any, strides: Any, dilations: Any) -> None:
    for window, ceil_mode in product([(2, 2), (3, 1)], [False, True]):
        how = {"window": window, "strides": strides, "dilations": dilations, "padding": padding, "ceil_mode": ceil_mode}
        check(lambda b, x, how=how: b.max_pool(x, **how), (2, 7, 9, 3), order=2)
        check(lambda b, x, how=how: b.max_pool_record(x, **how)[0], (2, 7, 9, 3), order=2)
        for count in (False, True):
            check(
                lambda b, x, how=how, count=count: b.avg_pool(x, count_include_pad=count, **how), (2, 7, 9, 3), order=2
            )


@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
@pytest.mark.parametrize("spatial", [1, 3])
def test_other_ranks_and_orders(op: str, spatial: int) -> None:
    for stride in (1, 2):
        steps = {"strides": (stride,) * spatial, "dilations": (1,) * spatial}
        how = {**steps, "window": (2, 3, 2)[:spatial], "padding": "same"}
        check(lambda b, x, how=how: getattr(b, op)(x, **how), (2, *(4, 5, 3)[:spatial], 2), order=3)


@pytest.mark.parametrize("mode, coordinates", RESIZES)
def test_resize(mode: str, coordinates: str) -> None:
    how: dict[str, Any] = {"axes": (1, -2), "mode": mode, "coordinates": coordinates}
    if coordinates == "tf_crop_and_resize":
        how |= {"roi": (0.1, 0.9, 0.8, -0.2), "extrapolation": 2.0}
    for sizes, antialias in product([(8, 12), (3, 5), (30, 2), (4, 6)], (False, True)):
        given = {**how, "sizes": sizes, "antialias": antialias}
        check(lambda b, x, given=given: b.resize(x, **given), (2, 4, 6, 3), order=2)
    check(lambda b, x: b.resize(x, sizes=(9, 4), scales=(2.3, 0.7), **how), (2, 4, 6, 3), order=2)


def test_symbolic_sizes() -> None:
    """A gradient made once, for symbols, is that of the sizes which come."""
    pool = {"window": (3, 2), "strides": (2, 2), "dilations": (1, 1), "padding": "same"}

    def made(sizes: tuple[Any, ...]) -> Any:
        b = Builder(Graph("g"))
        x = b.input("x", Tensor(dtype("f64"), (*sizes, 3)))
        y = b.resize(x, sizes=(x.shape[1] * 2, x.shape[2] + 1), axes=(1, 2), mode="linear")
        total = b.reduce_sum(b.square(b.avg_pool(b.max_pool(y, **pool), **pool)))
        (dx,) = gradients(b, [total], [x])
        assert dx.type == x.type
        return tenun.compile(b.outputs(dx))

    general = made(tuple(map(symbol, "NHW")))
    for sizes in ((2, 5, 8), (3, 4, 6)):
        x = random(*sizes, 3, dtype=np.float64)
        np.testing.assert_allclose(general(x), made(sizes)(x), rtol=1e-12)


def test_samples_stay_apart() -> None:
    """Gradients of samples do not meet, so that a large batch may be cut; those of weights do."""
    steps = {"strides": (2, 2), "dilations": (1, 1), "padding": "same"}
    b = Builder(Graph("g"))
    x, g = (b.input(n, Tensor(dtype("f32"), (symbol("N"), s, s, 4))) for n, s in (("x", 32), ("g", 8)))
    w = b.constant(random(3, 3, 4, 4))
    y = b.max_pool(b.conv(x, w, **steps), window=(3, 3), **steps)
    y = b.resize(b.avg_pool(y, window=(2, 2), **steps), sizes=(8, 8), axes=(1, 2), mode="linear")
    dx, dw = gradients(b, [y], [x, w], [g])
    assert batch_symbol(tenun.compile(b.outputs(dx, dw)).optimized) is None
    f = tenun.compile(b.outputs(dx), threads=2)
    assert batch_symbol(f.optimized) == "N"
    given = random(300, 32, 32, 4), random(300, 8, 8, 4)
    np.testing.assert_allclose(f(*given)[-7:], f(*(a[-7:] for a in given)), rtol=1e-5, atol=1e-5)


def test_indices_have_no_gradient() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(dtype("f32"), (1, 4, 1)))
    how = {"window": (2,), "strides": (2,), "dilations": (1,)}
    y = b.cast(b.max_pool_indices(x, **how), to="f32")
    (dx,) = gradients(b, [b.reduce_sum(b.add(y, b.max_pool(x, **how)))], [x])
    np.testing.assert_array_equal(
        tenun.compile(b.outputs(dx))(np.float32([[[1], [3], [2], [2]]])), [[[0], [1], [1], [0]]]
    )


class TestTensorFlow:
    @pytest.fixture(autouse=True)
    def tensorflow(self) -> None:
        pytest.importorskip("tensorflow")

    @pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
    @pytest.mark.parametrize("spatial", [1, 2, 3])
    @pytest.mark.parametrize("padding", ["valid", "same"])
    @pytest.mark.parametrize("window, stride", [(2, 2), (3, 2), (3, 1), (2, 3)])
    def test_pooling(self, op: str, spatial: int, padding: str, window: int, stride: int) -> None:
        """Of small integers, most of them ties: the first of a window gets the gradient, in 3-D each of them."""
        import tensorflow as tf

        shape = (2, *(5, 8, 4)[:spatial], 3)
        x = random(*shape, dtype=np.int64, low=-1, high=1).astype(np.float32)
        steps = {"strides": (stride,) * spatial, "dilations": (1,) * spatial, "window": (window,) * spatial}
        theirs = getattr(tf.nn, f"{op}{spatial}d")
        check_tape(
            lambda b, x: getattr(b, op)(x, padding=padding, **steps),
            lambda x: theirs(x, window, stride, padding.upper()),
            x,
        )

    @pytest.mark.parametrize("sizes", [(8, 12), (3, 5), (7, 4)])
    @pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
    def test_resize(self, mode: str, sizes: Any) -> None:
        import tensorflow as tf

        from tenun.layers.reshape import INTERPOLATIONS

        how = {**INTERPOLATIONS, "nearest": {"nearest": "round_prefer_ceil"}}[mode]
        check_tape(
            lambda b, x: b.resize(x, sizes=sizes, axes=(1, 2), coordinates="half_pixel", **how),
            lambda x: tf.image.resize(x, sizes, mode),
            random(2, 4, 6, 3),
        )
