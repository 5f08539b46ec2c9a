"""Gradients of convolutions, first and second order, against central differences and tf.GradientTape."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.ir import Builder, Graph, Tensor, dtype, symbol
from tenun.passes.autodiff.engine import gradients
from tenun.tests.autodiff.checks import built, check, check_tape
from tenun.tests.kernels.harness import random

PADDINGS = ["valid", "same", "same_lower", "causal", ((1, 2), (0, 3))]
STEPS = [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 2), (2, 3)), ((3, 4), (2, 1))]
GROUPS = [(1, 3, 4), (2, 4, 6), (4, 4, 4), (3, 3, 6)]  # groups, channels, filters


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("strides, dilations", STEPS)
def test_conv(padding: Any, strides: Any, dilations: Any) -> None:
    for groups, channels, filters in GROUPS:
        how = {"strides": strides, "dilations": dilations, "padding": padding, "groups": groups}
        shapes = (2, 7, 10, channels), (3, 2, channels // groups, filters), (filters,)
        check(lambda b, x, w, bias, how=how: b.conv(x, w, bias, **how), *shapes, order=2)


@pytest.mark.parametrize("spatial", [1, 3])
@pytest.mark.parametrize("padding", ["same", "causal", (1, 0)], ids=str)
def test_conv_of_other_ranks(spatial: int, padding: Any) -> None:
    pairs = padding if isinstance(padding, str) else (padding,) * spatial
    for stride, groups in product((1, 2), (1, 2, 4)):
        steps = {"strides": (stride,) * spatial, "dilations": (1,) * spatial}
        how = {**steps, "padding": pairs, "groups": groups}
        kernel, sizes = (2, 1, 3)[-spatial:], (4, 3, 5)[-spatial:]
        shapes = (2, *sizes, 4), (*kernel, 4 // groups, 4)
        check(lambda b, x, w, how=how: b.conv(x, w, **how), *shapes, order=2)
        if not isinstance(padding, str):
            how["output_padding"] = (stride - 1,) * spatial
            shapes = (2, *sizes, 4), (*kernel, 4, 3)
            check(lambda b, x, w, how=how: b.conv_transpose(x, w, **how), *shapes, order=2)


def test_residual() -> None:
    how = {"strides": (1, 1), "dilations": (1, 1), "padding": "same"}
    shapes = (2, 4, 5, 3), (3, 3, 3, 2), (2,), (2, 4, 5, 2)
    check(lambda b, *xs: b.conv(*xs, **how), *shapes, order=2)


@pytest.mark.parametrize("padding", ["valid", ((1, 2), (0, 1))], ids=str)
@pytest.mark.parametrize("strides, dilations", STEPS)
def test_conv_transpose(padding: Any, strides: Any, dilations: Any) -> None:
    """output_padding below the strides, as frameworks have it, and beyond what the padding cuts off."""
    for (groups, channels, outs), rest in product([(1, 3, 4), (2, 4, 3), (4, 4, 1)], [(0, 0), (1, 1), (3, 5)]):
        how = {"strides": strides, "dilations": dilations, "padding": padding, "groups": groups, "output_padding": rest}
        shapes = (2, 4, 3, channels), (3, 2, channels, outs), (outs * groups,)
        check(lambda b, x, w, bias, how=how: b.conv_transpose(x, w, bias, **how), *shapes, order=2)


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_symbolic_sizes(padding: Any, strides: Any) -> None:
    """A gradient made once, for symbols, is that of the sizes which come."""
    how = {"strides": strides, "dilations": (1, 1), "padding": padding}
    kernel, f64 = (3, 2, 3, 2), dtype("f64")

    def made(sizes: tuple[Any, ...]) -> Any:
        b = Builder(Graph("g"))
        x, w = b.input("x", Tensor(f64, (*sizes, 3))), b.input("w", Tensor(f64, kernel))
        y = b.conv(x, w, **how)
        first = gradients(b, [b.reduce_sum(b.square(y))], [x, w])
        assert [v.type for v in first] == [x.type, w.type]
        again = gradients(b, [b.reduce_sum(b.square(first[0]))], [x, w])
        return tenun.compile(b.outputs(*first, *again))

    general = made(tuple(map(symbol, "NHW")))
    for sizes in ((2, 5, 8), (3, 4, 6)):
        x, w = random(*sizes, 3, dtype=np.float64), random(*kernel, dtype=np.float64)
        for ours, wanted in zip(general(x, w), made(sizes)(x, w)):
            np.testing.assert_allclose(ours, wanted, rtol=1e-9)


def test_symbolic_batch_of_any_size() -> None:
    how = {"strides": (2, 1), "dilations": (1, 1), "padding": "same", "groups": 3}
    types = [Tensor(dtype("f64"), s) for s in ((symbol("N"), 6, 5, 3), (3, 3, 1, 6))]
    f = tenun.compile(built(lambda b, x, w: b.conv(x, w, **how), *types, shape=(1, 3, 5, 6)))
    x, w = random(4, 6, 5, 3, dtype=np.float64), random(3, 3, 1, 6, dtype=np.float64)
    _, dx, dw = f(x, w)
    parts = [f(x[i : i + 1], w) for i in range(4)]
    np.testing.assert_allclose(dx, np.concatenate([p[1] for p in parts]), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(dw, sum(p[2] for p in parts), rtol=1e-9, atol=1e-9)


class TestTensorFlow:
    @pytest.fixture(autouse=True)
    def tensorflow(self) -> None:
        pytest.importorskip("tensorflow")

    @pytest.mark.parametrize("spatial", [1, 2, 3])
    @pytest.mark.parametrize("padding", ["valid", "same"])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_conv(self, spatial: int, padding: str, stride: int) -> None:
        import tensorflow as tf

        order = (None, "NWC", "NHWC", "NDHWC")[spatial]
        how = {"strides": (stride,) * spatial, "dilations": (1,) * spatial, "padding": padding}
        x, w, bias = random(2, *(6, 7, 5)[:spatial], 3), random(*(3, 2, 3)[:spatial], 3, 4, high=1, low=-1), random(4)
        check_tape(
            lambda b, x, w, bias: b.conv(x, w, bias, **how),
            lambda x, w, bias: tf.nn.convolution(x, w, stride, padding.upper(), order) + bias,
            x, w, bias,
        )  # fmt: skip

    @pytest.mark.parametrize("padding", ["valid", "same", "causal"])
    @pytest.mark.parametrize("dilation", [1, 2])
    def test_keras_conv1d(self, padding: str, dilation: int) -> None:
        keras = pytest.importorskip("keras")
        layer = keras.layers.Conv1D(4, 3, padding=padding, dilation_rate=dilation)
        layer.build((2, 9, 3))
        how = {"strides": (1,), "dilations": (dilation,), "padding": padding}
        check_tape(
            lambda b, x, w, bias: b.conv(x, w, bias, **how),
            lambda x, w, bias: layer.stateless_call([w, bias], [], x)[0],
            random(2, 9, 3), random(3, 3, 4), random(4),
        )  # fmt: skip

    @pytest.mark.parametrize("padding", ["valid", "same"])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_depthwise(self, padding: str, stride: int) -> None:
        import tensorflow as tf

        how = {"strides": (stride, stride), "dilations": (1, 1), "padding": padding, "groups": 3}
        check_tape(
            lambda b, x, w: b.conv(x, b.reshape(w, shape=(3, 2, 1, 6)), **how),
            lambda x, w: tf.nn.depthwise_conv2d(x, w, [1, stride, stride, 1], padding.upper()),
            random(2, 7, 6, 3), random(3, 2, 3, 2),
        )  # fmt: skip

    @pytest.mark.parametrize("stride", [1, 2, 3])
    def test_transpose(self, stride: int) -> None:
        import tensorflow as tf

        how = {"strides": (stride, stride), "dilations": (1, 1), "output_padding": (0, 0)}
        shape = (2, 3 * stride + 3, 4 * stride + 2, 3)
        check_tape(
            lambda b, x, w: b.conv_transpose(x, w, **how),
            lambda x, w: tf.nn.conv2d_transpose(x, tf.transpose(w, (0, 1, 3, 2)), shape, stride, "VALID"),
            random(2, 4, 5, 4), random(3, 2, 4, 3),
        )  # fmt: skip
