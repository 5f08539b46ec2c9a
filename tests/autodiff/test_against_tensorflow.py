"""The sub-gradients that TensorFlow and Keras choose, and gradients of layers, against tf.GradientTape."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.ir import Builder, Graph, Tensor, dtype, symbol
from tenun.layers.activation import ELEMENTWISE
from tenun.passes.autodiff.engine import gradients

tf = pytest.importorskip("tensorflow")
F32 = dtype("f32")
ACTIVATIONS = tf.keras.activations


def slopes(body: Callable[..., Any], *xs: np.ndarray) -> list[np.ndarray]:
    """Our gradients of the weighted sum of body(builder, *xs)."""
    b = Builder(Graph("g"))
    inputs = [b.input(f"x{i}", Tensor(F32, x.shape)) for i, x in enumerate(xs)]
    y = body(b, *inputs)
    seed = b.constant(weights(tuple(y.shape)))
    found = tenun.compile(b.outputs(*gradients(b, [y], inputs, [seed])), pipeline=[], threads=1)(*xs)
    return [found] if len(xs) == 1 else list(found)


def tape(body: Callable[..., Any], *xs: np.ndarray) -> list[np.ndarray]:
    """TensorFlow's; None is zeros."""
    variables = [tf.constant(x) for x in xs]
    with tf.GradientTape() as t:
        t.watch(variables)
        y = body(*variables)
        total = tf.reduce_sum(y * weights(tuple(y.shape)))
    found = zip(xs, t.gradient(total, variables))
    return [np.zeros_like(x) if g is None else np.asarray(tf.convert_to_tensor(g)) for x, g in found]


def weights(shape: tuple[int, ...]) -> np.ndarray:
    return np.cos(np.arange(np.prod(shape, dtype=int), dtype=np.float32)).reshape(shape)


# At the edges of the pieces, and between: name -> (ours, TensorFlow's or Keras').
EDGES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "relu": (lambda b, x: b.relu(x), tf.nn.relu),
    "abs": (lambda b, x: b.abs(x), tf.abs),
    "sign": (lambda b, x: b.sign(x), tf.sign),
    "floor": (lambda b, x: b.floor(x), tf.floor),
    "leaky_relu": (lambda b, x: b.leaky_relu(x, negative_slope=0.2), lambda x: tf.nn.leaky_relu(x, 0.2)),
    "elu": (lambda b, x: b.elu(x), tf.nn.elu),
    "elu alpha": (lambda b, x: b.elu(x, alpha=0.7), lambda x: ACTIVATIONS.elu(x, 0.7)),
    "selu": (lambda b, x: b.selu(x), tf.nn.selu),
    "softsign": (lambda b, x: b.softsign(x), tf.nn.softsign),
    "softplus": (lambda b, x: b.softplus(b.mul(x, 40)), lambda x: tf.nn.softplus(x * 40)),
    "gelu": (lambda b, x: b.gelu(x), lambda x: ACTIVATIONS.gelu(x)),
    "gelu tanh": (lambda b, x: b.gelu(x, approximate=True), lambda x: ACTIVATIONS.gelu(x, approximate=True)),
    "silu": (lambda b, x: b.silu(x), ACTIVATIONS.silu),
    "mish": (lambda b, x: b.mish(x), ACTIVATIONS.mish),
    "hard_sigmoid": (lambda b, x: b.hard_sigmoid(x, alpha=1 / 6), ACTIVATIONS.hard_sigmoid),
    "hard_silu": (lambda b, x: b.hard_silu(x), ACTIVATIONS.hard_silu),
    "soft_shrink": (lambda b, x: b.soft_shrink(x), ACTIVATIONS.soft_shrink),
    "hard_shrink": (lambda b, x: b.hard_shrink(x), ACTIVATIONS.hard_shrink),
    "tanh_shrink": (lambda b, x: b.tanh_shrink(x), ACTIVATIONS.tanh_shrink),
    "sparse_plus": (lambda b, x: b.sparse_plus(x), ACTIVATIONS.sparse_plus),
    "sparse_sigmoid": (lambda b, x: b.sparse_sigmoid(x), ACTIVATIONS.sparse_sigmoid),
    "squareplus": (lambda b, x: b.squareplus(x), ACTIVATIONS.squareplus),
    "thresholded_relu": (lambda b, x: b.thresholded_relu(x), lambda x: ACTIVATIONS.relu(x, threshold=1.0)),
    "log_sigmoid": (lambda b, x: b.log_sigmoid(b.mul(x, 40)), lambda x: ACTIVATIONS.log_sigmoid(x * 40)),
    "clip": (lambda b, x: b.clip(x, low=-1, high=0.5), lambda x: tf.clip_by_value(x, -1, 0.5)),
    "sqrt": (lambda b, x: b.sqrt(b.abs(x)), lambda x: tf.sqrt(tf.abs(x))),
    "rsqrt": (lambda b, x: b.minimum(b.rsqrt(b.abs(x)), 2), lambda x: tf.minimum(tf.math.rsqrt(tf.abs(x)), 2)),
    "reciprocal": (lambda b, x: b.clip(b.reciprocal(x), high=9), lambda x: tf.minimum(tf.math.reciprocal(x), 9)),
    "erf": (lambda b, x: b.erf(x), tf.math.erf),
    "max": (lambda b, x: b.reduce_max(b.abs(x), axes=(0,)), lambda x: tf.reduce_max(tf.abs(x), 0)),
    "min": (lambda b, x: b.reduce_min(b.abs(x), axes=(0,)), lambda x: tf.reduce_min(tf.abs(x), 0)),
    "prod": (lambda b, x: b.reduce_prod(x, axes=(0, 1)), lambda x: tf.reduce_prod(x, [0, 1])),
    "l2": (lambda b, x: b.reduce_l2(x, axes=(1,)), lambda x: tf.math.reduce_euclidean_norm(x, 1)),
    "max of all": (lambda b, x: b.reduce_max(b.abs(x)), lambda x: tf.reduce_max(tf.abs(x))),
    "sort": (lambda b, x: b.top_k(b.abs(x), k=4, largest=False)[0], lambda x: tf.sort(tf.abs(x))),
    "top_k": (lambda b, x: b.top_k(b.abs(x), k=2)[0], lambda x: tf.math.top_k(tf.abs(x), 2)[0]),
    "cumsum": (lambda b, x: b.cumsum(x, axis=1, exclusive=True), lambda x: tf.cumsum(x, 1, exclusive=True)),
    "softmax": (lambda b, x: b.softmax(x), tf.nn.softmax),
    "log_softmax": (lambda b, x: b.log_softmax(x), tf.nn.log_softmax),
    "where": (lambda b, x: b.where(b.greater(x, 0), x, b.square(x)), lambda x: tf.where(x > 0, x, x * x)),
    "lrn": (
        lambda b, x: b.lrn(x, size=3, alpha=0.6, beta=0.5, bias=1.0),
        lambda x: tf.nn.local_response_normalization(x[None, None], 1, 1.0, 0.2, 0.5)[0, 0],
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str) -> None:
    x = np.float32([[-3, -1, -0.5, 0], [0.5, 1, 3, 1], [0, 0, 2, -2]])
    ours, theirs = EDGES[name]
    np.testing.assert_allclose(slopes(ours, x)[0], tape(theirs, x)[0], rtol=2e-5, atol=2e-6)


# Layers and activations at the ends of their pieces, by Keras' names.
KINKS = np.float32([[-6, -3, -2, -1, -0.7, -0.5, -0.3, -0.0, 0, 0.3, 0.4, 0.5, 0.7, 1, 2, 3, 6, 7]])
LAYERS = tf.keras.layers
RELUS: list[dict[str, float]] = [
    {"max_value": 6}, {"max_value": 3}, {"max_value": 0.7}, {"max_value": 0}, {"negative_slope": 0.2},
    {"threshold": 0.4}, {"threshold": 1}, {"max_value": 6, "negative_slope": 0.2}, {"max_value": 6, "threshold": 1},
    {"max_value": 3, "negative_slope": 0.2}, {"max_value": 3, "threshold": 1, "negative_slope": 0.5},
]  # fmt: skip


def steps(x: Any) -> Any:
    """Six steps of three features, at most 0: the largest ones are all 0."""
    return LAYERS.Reshape((6, 3))(LAYERS.Rescaling(-1.0)(LAYERS.ReLU()(x)))


PIECES: dict[str, Callable[[], Any]] = {
    **{n: lambda n=n: LAYERS.Activation(n) for n in ELEMENTWISE if not n.startswith("keras2")},  # type: ignore[misc]
    **{f"ReLU {config}": lambda config=config: LAYERS.ReLU(**config) for config in RELUS},  # type: ignore[misc]
    "LeakyReLU": LAYERS.LeakyReLU,
    "LeakyReLU 0": lambda: LAYERS.LeakyReLU(negative_slope=0.0),
    "ELU": LAYERS.ELU,
    "ELU 0.3": lambda: LAYERS.ELU(alpha=0.3),
    "PReLU": lambda: LAYERS.PReLU(alpha_initializer=tf.keras.initializers.Constant(0.3)),
    "ops.relu6": lambda: tf.keras.ops.relu6,
    "ops.clip": lambda: lambda x: tf.keras.ops.clip(x, -1.0, 0.5),
    "GlobalMaxPooling": lambda: lambda x: LAYERS.GlobalMaxPooling1D()(steps(x)),
    "MaxPooling": lambda: lambda x: LAYERS.MaxPooling1D(2)(steps(x)),
    "Maximum": lambda: lambda x: LAYERS.Maximum()([x, LAYERS.ReLU()(x)]),
    "Minimum": lambda: lambda x: LAYERS.Minimum()([x, LAYERS.ReLU()(x), LAYERS.LeakyReLU()(x)]),
}


@pytest.mark.parametrize("name", PIECES)
def test_keras_at_the_ends_of_pieces(name: str) -> None:
    x = tf.keras.Input((KINKS.shape[1],))
    model = tf.keras.Model(x, PIECES[name]()(x))
    graph = tenun.load(model)
    weighted = tape(model, KINKS)[0]
    b = Builder(graph)
    seed = b.constant(weights(tuple(model(KINKS).shape)))
    (dx,) = gradients(b, [graph.outputs[0]], [graph.inputs[0]], [seed])
    graph.metadata.pop("output_structure", None)
    np.testing.assert_allclose(tenun.compile(b.outputs(dx), threads=1)(KINKS), weighted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("activation", ["relu6", "celu", "hard_tanh", "relu"])
def test_recurrent_layers_at_the_ends_of_pieces(activation: str) -> None:
    """Gradient ops of recurrent layers have derivatives of their own."""
    x = tf.keras.Input((2, 3))
    layer = LAYERS.SimpleRNN(3, activation=activation, return_sequences=True)
    model = tf.keras.Model(x, layer(x))
    layer.set_weights([np.eye(3, dtype=np.float32), np.zeros((3, 3), np.float32), np.zeros(3, np.float32)])
    given = np.float32([[[0, 6, -1], [1, 3, 7]], [[-0.0, 0, 1], [6, -3, 0]]])
    b = Builder(graph := tenun.load(model))
    seed = b.constant(weights((2, 2, 3)))
    (dx,) = gradients(b, [graph.outputs[0]], [graph.inputs[0]], [seed])
    graph.metadata.pop("output_structure", None)
    np.testing.assert_allclose(tenun.compile(b.outputs(dx), threads=1)(given), tape(model, given)[0], rtol=1e-5)


PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "maximum": (lambda b, x, y: b.maximum(x, y), tf.maximum),
    "minimum": (lambda b, x, y: b.minimum(x, y), tf.minimum),
    "pow": (lambda b, x, y: b.pow(x, b.abs(y)), lambda x, y: tf.pow(x, tf.abs(y))),
    "mod": (lambda b, x, y: b.mod(x, b.add(y, 4)), lambda x, y: tf.math.floormod(x, y + 4)),
    "atan2": (lambda b, x, y: b.atan2(x, b.add(y, 4)), lambda x, y: tf.atan2(x, y + 4)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_ties(name: str) -> None:
    """All pairs of some numbers; with a negative base only whole exponents; not 0 to the power of 0."""
    numbers = [-2, -1, 0, 0.5, 1, 2]
    pairs = [p for p in itertools.product(numbers, numbers) if name != "pow" or not (p[0] <= 0 and p[1] in (0, 0.5))]
    x, y = (np.float32(v) for v in zip(*pairs))
    ours, theirs = PAIRS[name]
    for a, b in zip(slopes(ours, x, y), tape(theirs, x, y)):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_scatter_and_gather() -> None:
    """An embedding with repeated rows; scatter max with ties."""
    x = np.float32([[1, 2], [3, 4], [5, 6]])
    places = np.int64([[2, 0, 2], [1, 2, 0]])
    ours = slopes(lambda b, x: b.gather(x, places), x)
    theirs = tape(lambda x: tf.gather(x, places), x)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    u, at = np.float32([[1, 9], [5, 1], [1, 9]]), np.int64([[0], [2], [0]])
    ours = slopes(lambda b, x, u: b.scatter_nd(x, at, u, reduction="max"), x, u)
    for a, b in zip(ours, tape(lambda x, u: tf.tensor_scatter_nd_max(x, at, u), x, u)):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# ---- models --------------------------------------------------------------------------------------------------

MODELS: dict[str, tuple[tuple[int, ...], Callable[[], list[Any]]]] = {
    "mlp": ((6,), lambda: [LAYERS.Dense(8, "relu"), LAYERS.Dense(5, "tanh"), LAYERS.Dense(3, "softmax")]),
    "normalised": ((4, 6), lambda: [
        LAYERS.Dense(8, "gelu"), LAYERS.LayerNormalization(), LAYERS.BatchNormalization(), LAYERS.Dense(5, "elu"),
        LAYERS.GroupNormalization(1), LAYERS.Flatten(), LAYERS.Dense(3, "softmax")]),
    "embedding": ((5,), lambda: [
        LAYERS.Embedding(7, 4), LAYERS.Permute((2, 1)), LAYERS.ZeroPadding1D((1, 2)), LAYERS.UpSampling1D(2),
        LAYERS.Flatten(), LAYERS.UnitNormalization(), LAYERS.Dense(3)]),
    "activations": ((6,), lambda: [
        LAYERS.Dense(6), LAYERS.PReLU(), LAYERS.Dense(6, "selu"), LAYERS.Dense(6, "mish"), LAYERS.Dense(6, "silu"),
        LAYERS.LeakyReLU(), LAYERS.RepeatVector(2), LAYERS.Dense(3),
        LAYERS.ReLU(max_value=1, negative_slope=0.1), LAYERS.Softmax()]),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_all_weights(name: str, tmp_path: Path) -> None:
    """A Keras model, saved and loaded: the gradients of a loss in all weights, and in the input."""
    shape, layers = MODELS[name]
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential([tf.keras.Input(shape), *layers()])
    rng = np.random.default_rng(0)
    for v in model.weights:
        v.assign(
            rng.uniform(0.5, 1.5, v.shape) if "var" in v.name or "gamma" in v.name else rng.normal(0, 0.5, v.shape)
        )
    model.save(tmp_path / "m.keras")
    x = rng.integers(0, 7, (4, *shape)) if name == "embedding" else rng.standard_normal((4, *shape))
    x = x.astype(np.float32)
    graph = tenun.load(tmp_path / "m.keras")
    names = [".".join(v.path.split("/")[-2:]) for v in model.weights]
    assert set(names) <= set(graph.weights)
    wrt = [*([] if name == "embedding" else [graph.inputs[0].name]), *names]
    found = tenun.compile(squared(graph, wrt))(x)
    with tf.GradientTape() as t:
        given = tf.constant(x)
        variables = [*([] if name == "embedding" else [given]), *(v.value for v in model.weights)]
        t.watch(variables)
        loss = tf.reduce_sum(tf.square(model(given, training=False)) * [1.0, -2.0, 3.0])
    for n, ours, theirs in zip(wrt, found, t.gradient(loss, variables)):
        theirs = np.asarray(tf.convert_to_tensor(theirs))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * abs(theirs).max() + 1e-7, err_msg=n)


def squared(graph: Graph, wrt: list[str]) -> Graph:
    """The gradient graph of a loss of the graph's output."""
    graph = graph.copy()
    b = Builder(graph)
    b.outputs(b.reduce_sum(b.mul(b.square(graph.outputs[0]), np.float32([1, -2, 3]))), names=["loss"])
    graph.metadata.pop("output_structure", None)
    return tenun.grad(graph, wrt=wrt)


def test_symbolic_batch_of_a_saved_model(tmp_path: Path) -> None:
    """One gradient graph for every batch size, zero among them."""
    model = tf.keras.Sequential([tf.keras.Input((3,)), LAYERS.Dense(2, "tanh")])
    model.save(tmp_path / "m.keras")
    graph = tenun.load(tmp_path / "m.keras")
    assert graph.inputs[0].shape[0] == symbol("N")
    kernel = next(n for n in graph.weights if n.endswith("kernel"))
    d = tenun.compile(tenun.grad(graph, wrt=[kernel, graph.inputs[0].name]))
    for size in (5, 1, 0):
        dw, dx = d(np.ones((size, 3), np.float32))
        assert dw.shape == (3, 2) and dx.shape == (size, 3)
