"""Regularisers and their gradients against Keras on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
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


# ---- of outputs, in the loss ------------------------------------------------------------------------------------


def distributed(k: Any, penalty: Any, *around: Any) -> Any:
    """A model with a regularised output, once for each step."""
    inner = k.Sequential([k.Input((4,)), k.layers.Dense(3, activation="tanh", activity_regularizer=penalty)])
    layer = k.layers.TimeDistributed(inner)
    return k.layers.TimeDistributed(k.Sequential([k.Input((5, 4)), layer])) if around else layer


OUTPUTS: dict[str, tuple[Callable[[Any], Any], tuple[int | None, ...]]] = {
    "both directions": (lambda k: k.layers.Bidirectional(k.layers.LSTM(3, activity_regularizer="l2")), (5, 4)),
    "sequences": (
        lambda k: k.layers.Bidirectional(
            k.layers.GRU(3, return_sequences=True, activity_regularizer=k.regularizers.L1(0.2)),
            backward_layer=k.layers.RNN(k.layers.GRUCell(3), return_sequences=True, go_backwards=True),
            activity_regularizer="l2", merge_mode="mul",
        ),
        (None, 4),
    ),
    "in training two ops": (
        lambda k: k.layers.Bidirectional(
            k.layers.LSTM(3, dropout=1e-9, activity_regularizer=k.regularizers.OrthogonalRegularizer(0.3, "columns"))
        ),
        (5, 4),
    ),
    "of RNN": (lambda k: k.layers.RNN(k.layers.LSTMCell(3), activity_regularizer="l1"), (5, 4)),
    "of the layer at each step": (
        lambda k: k.layers.TimeDistributed(k.layers.Dense(3, activity_regularizer="l2")), (5, 4)
    ),
    "at each step": (lambda k: distributed(k, k.regularizers.L1L2(0.1, 0.2)), (5, 4)),
    "at unknown steps": (lambda k: distributed(k, "l2"), (None, 4)),
    "at steps of steps": (lambda k: distributed(k, "l1", "again"), (6, 5, 4)),
    "at each step for itself": (lambda k: distributed(k, k.regularizers.OrthogonalRegularizer(0.3, "columns")), (5, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_of_inner_layers_count(keras: Any, name: str) -> None:
    """evaluate, and a step with its effect, on models from Keras."""
    build, shape = OUTPUTS[name]
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input(shape), build(keras)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    own = tenun.load_model(model)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(8, *(d or 7 for d in shape))).astype(np.float32)
    y = rng.normal(size=model(x).shape).astype(np.float32)
    plain = float(np.mean((np.asarray(model(x)) - y) ** 2))
    before = model.evaluate(x, y, verbose=0, batch_size=8)
    assert (before > plain + 1e-4) == (name != "of the layer at each step")
    np.testing.assert_allclose(own.evaluate(x, y, verbose=0, batch_size=8), before, rtol=1e-5)
    np.testing.assert_allclose(own.train_on_batch(x, y), model.train_on_batch(x, y), rtol=1e-5)
    for got, want in zip(own.get_weights(), model.get_weights()):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_outputs_that_cannot_be_had(keras: Any) -> None:
    """Those of cells at each step: refused where there is a loss; steps of unknown number that do not add up."""
    models = {
        "cell": keras.layers.RNN(keras.layers.GRUCell(3, activity_regularizer="l2", name="mine")),
        "steps": distributed(keras, keras.regularizers.OrthogonalRegularizer(mode="columns")),
    }
    words = {"cell": "'mine'.*activity_regularizer", "steps": "activity_regularizer.*TimeDistributed"}
    for name, layer in models.items():
        own = tenun.load_model(keras.Sequential([keras.Input((None, 4)), layer]))
        own.compile("sgd", "mse")
        x = np.zeros((2, 5, 4), np.float32)
        y = own.predict(x, verbose=0)
        with pytest.raises(UnsupportedError, match=f"(?s){words[name]}"):
            own.evaluate(x, y, verbose=0)
