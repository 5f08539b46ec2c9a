"""Regularisers and their gradients against Keras on TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import ShapeError, UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype, symbol
from tenun.passes.autodiff.engine import gradients
from tenun.training import regularizers
from tenun.training.regularizers import REGULARIZERS

from .tables import gaps, round_trip

CASES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("L1", {}, (3, 4)),
    ("L1", {"l1": 0.3}, (5,)),
    ("L2", {}, (3, 4)),
    ("L2", {"l2": 0.2}, (2, 3, 4)),
    ("L1L2", {}, (3, 4)),
    ("L1L2", {"l1": 0.3}, (3, 4)),
    ("L1L2", {"l2": 0.3}, (3, 4)),
    ("L1L2", {"l1": 0.1, "l2": 0.2}, (3, 4)),
    ("OrthogonalRegularizer", {}, (3, 4)),
    ("OrthogonalRegularizer", {"factor": 0.5, "mode": "columns"}, (5, 3)),
    ("OrthogonalRegularizer", {"factor": 0.5, "mode": "rows"}, (5, 3)),
]


def test_every_regularizer_of_keras(keras: Any) -> None:
    assert gaps(keras, REGULARIZERS, "regularizers", "Regularizer") == {}
    assert set(REGULARIZERS.classes) == {name for name, *_ in CASES}


# Keras multiplies a float32 factor and float64 products in OrthogonalRegularizer, which TensorFlow refuses
@pytest.mark.parametrize(
    ("cls", "config", "shape", "name"),
    [(*c, name) for c in CASES for name in ("float32", "float64") if name == "float32" or c[0].startswith("L")],
)
def test_value_and_gradient(keras: Any, cls: str, config: dict[str, Any], shape: tuple[int, ...], name: str) -> None:
    tf = pytest.importorskip("tensorflow")
    value = np.random.default_rng(0).normal(size=shape).astype(name)
    theirs, x = getattr(keras.regularizers, cls)(**config), tf.Variable(value)
    with tf.GradientTape() as tape:
        want = theirs(x)
    slope = tape.gradient(want, x)
    b = Builder(Graph("penalty"))
    var = b.input("x", Tensor(dtype(name), shape))
    loss = REGULARIZERS.classes[cls](**config)(b, var)
    b.graph.set_outputs([loss, *gradients(b, [loss], [var])], ["loss", "gradient"])
    got, gradient = tenun.compile(b.graph)(value)
    tolerance = 1e-6 if name == "float32" else 1e-7  # Keras' factors are float32 on their way
    assert got.shape == () and got.dtype == name
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    expected = np.zeros(shape) if slope is None else np.asarray(slope)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5 if name == "float32" else tolerance, atol=tolerance)


def test_zero_rows_and_symbolic_batch(keras: Any) -> None:
    """A row of zeros has no direction; activities (N, units) have any batch."""
    value = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    value[1] = 0
    b = Builder(Graph("penalty"))
    var = b.input("x", Tensor(dtype("float32"), (symbol("N"), 3)))
    columns = regularizers.OrthogonalRegularizer(0.5, "columns")
    b.graph.set_outputs([columns(b, var), regularizers.L1(0.1)(b, var)], ["columns", "l1"])
    got = tenun.compile(b.graph)(value)
    k = keras.regularizers
    want = [k.OrthogonalRegularizer(0.5, "columns"), k.L1(0.1)]
    np.testing.assert_allclose(got, [float(f(keras.ops.convert_to_tensor(value))) for f in want], rtol=1e-6)
    b = Builder(Graph("penalty"))
    var = b.input("x", Tensor(dtype("float32"), (4, 3)))
    b.graph.set_outputs([regularizers.OrthogonalRegularizer()(b, var)], ["rows"])
    want = k.OrthogonalRegularizer()(keras.ops.convert_to_tensor(value))
    np.testing.assert_allclose(tenun.compile(b.graph)(value), want, rtol=1e-6)


@pytest.mark.parametrize(("cls", "config", "shape"), CASES)
def test_serialized(keras: Any, cls: str, config: dict[str, Any], shape: tuple[int, ...]) -> None:
    round_trip(keras, REGULARIZERS, "regularizers", REGULARIZERS.classes[cls](**config))


def test_names() -> None:
    """The defaults of the names; functions; nothing."""
    found = {n: REGULARIZERS.get(n) for n in ("l1", "l2", "l1_l2", "l1l2", "orthogonal", "orthogonal_regularizer")}
    assert found["l1"].l1 == np.float32(0.01) and found["l2"].l2 == 0.01
    assert (found["l1_l2"].l1, found["l1_l2"].l2) == (0.01, 0.01)
    assert (found["l1l2"].l1, found["l1l2"].l2) == (0.0, 0.0)
    assert found["orthogonal"].mode == found["orthogonal_regularizer"].mode == "rows"
    own: Any = lambda b, x: b.reduce_max(x)  # noqa: E731
    assert regularizers.get(own) is own and regularizers.get(None) is None
    assert isinstance(regularizers.get(regularizers.L1), regularizers.L1)


def test_refused() -> None:
    with pytest.raises(UnsupportedError, match="l3"):
        REGULARIZERS.get("l3")
    with pytest.raises(UnsupportedError, match="L1: l1=-1"):
        regularizers.L1(-1)
    with pytest.raises(UnsupportedError, match="mode='both'"):
        regularizers.OrthogonalRegularizer(mode="both")
    b = Builder(Graph("penalty"))
    for shape in ((2, 3, 4), (symbol("N"), 3)):
        var = b.input(f"x{len(shape)}", Tensor(dtype("float32"), shape))
        with pytest.raises(ShapeError, match="OrthogonalRegularizer"):
            regularizers.OrthogonalRegularizer()(b, var)
