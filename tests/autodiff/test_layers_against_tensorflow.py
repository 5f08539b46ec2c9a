"""Every layer of the table of Keras cases: gradients in its inputs and trainable weights against tf.GradientTape.

The function is the sum of the outputs, each element with a random weight.  What has no gradient in TensorFlow is not
compared: integers, and weights which the outputs do not depend on.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.ir import Builder, Graph
from tenun.ir.graph import State
from tenun.tests.keras.cases import FAMILIES, Ints
from tenun.tests.keras.oracle import data, one_layer, randomise

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
Array = np.ndarray[Any, Any]
RECURRENT = ("recurrent", "wrappers")  # families of which all cases are tried with a mask, of the others the first


def rows(masked: bool) -> list[Any]:
    """(class name, config, input); masked: those that may stand behind Masking."""
    found = []
    for family, table in FAMILIES.items():
        for name, cases in table.items():
            for i, (config, shape) in enumerate(cases):
                usual = not masked or family in RECURRENT or i == 0
                if usual and (not masked or (isinstance(shape, tuple) and len(shape) == 2 and supports_masks(name))):
                    found.append(pytest.param(name, config, shape, id=f"{name}-{i}"))
    return found


def supports_masks(name: str) -> bool:
    """Whether a layer hands masks on, or has a use for them."""
    layer = getattr(keras.layers, name)
    if name == "Softmax":  # wants a mask of the rank of its input
        return False
    return "mask" in layer.call.__code__.co_varnames or name in ("Activation", "TimeDistributed", "Add", "Dropout")


def masked_layer(name: str, config: dict[str, Any], shape: tuple[Any, ...]) -> Any:
    """The layer behind Masking."""
    x = keras.Input(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = {k: v(keras.layers) if callable(v) else v for k, v in config.items()}
        return randomise(keras.Model(x, getattr(keras.layers, name)(**given)(keras.layers.Masking()(x))))


def weighted(graph: Graph, seeds: list[Array]) -> Graph:
    """The graph with the sum of its outputs times seeds in their place."""
    graph = graph.copy()
    b = Builder(graph)
    states = {s.output for s in graph.state}
    outputs = [v for i, v in enumerate(graph.outputs) if i not in states and v.tensor.dtype.is_float]
    total = b.constant(np.float32(0))
    for v, seed in zip(outputs, seeds, strict=True):
        total = b.add(total, b.reduce_sum(b.mul(v, seed)))
    kept = [graph.outputs[s.output] for s in graph.state]
    graph.state = [State(s.input, i, s.first) for i, s in enumerate(graph.state, 1)]
    graph.metadata.pop("output_structure", None)
    return b.outputs(total, *kept, names=["total", *(f"state {i}" for i in range(len(kept)))])


def named(graph: Graph, variable: Any) -> str:
    """The name of the constant that is a Keras variable."""
    value, last = np.asarray(variable), variable.path.split("/")[-1]
    return next(n for n, a in graph.weights.items() if n.split(".")[-1] == last and np.array_equal(a, value))


def check(model: Any, shape: Any) -> None:
    """Our gradients are those of the tape."""
    inputs = data(model, shape)
    floats = [i for i, x in enumerate(inputs) if x.dtype.kind == "f"]
    given = [tf.constant(x) for x in inputs]
    sources = [*(given[i] for i in floats), *(v.value for v in model.trainable_weights)]
    with tf.GradientTape() as tape:
        tape.watch([given[i] for i in floats])
        results = [y for y in keras.tree.flatten(model(given if len(given) > 1 else given[0], training=False))
                   if y.dtype.is_floating]  # fmt: skip
        seeds = [np.random.default_rng(i).normal(size=tuple(y.shape)).astype("float32") for i, y in enumerate(results)]
        total = tf.add_n([tf.reduce_sum(y * seed) for y, seed in zip(results, seeds)])
    theirs = tape.gradient(total, sources)
    graph = tenun.load(model)
    names = [*(graph.inputs[i].name for i in floats), *(named(graph, v) for v in model.trainable_weights)]
    compared = {n: np.asarray(tf.convert_to_tensor(g)) for n, g in zip(names, theirs) if g is not None}
    if not compared:
        pytest.skip("there is no gradient in TensorFlow")
    found = tenun.compile(tenun.grad(weighted(graph, seeds), ["total"], [*compared]), threads=1)(*inputs)
    for (name, want), ours in zip(compared.items(), found if len(compared) > 1 else [found], strict=True):
        np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-4 * max(1, np.abs(want).max()), err_msg=name)


@pytest.mark.parametrize(("name", "config", "shape"), rows(masked=False))
def test_layer(name: str, config: dict[str, Any], shape: Any) -> None:
    check(one_layer(keras, name, config, shape), shape)


@pytest.mark.parametrize(("name", "config", "shape"), rows(masked=True))
def test_masked(name: str, config: dict[str, Any], shape: Any) -> None:
    """The first step of each sequence is masked."""
    check(masked_layer(name, config, shape), shape)


def test_softmax_with_a_mask() -> None:
    x = keras.Input((5,))
    mask = keras.ops.greater(x, 0.0)
    check(keras.Model(x, keras.layers.Softmax()(x, mask=mask)), None)


def test_masked_tokens() -> None:
    """An embedding with a mask into layers that use it and hand it on."""
    L = keras.layers
    stack = [
        L.Embedding(9, 4, mask_zero=True), L.Dense(4, activation="tanh"), L.LayerNormalization(),
        L.Bidirectional(L.LSTM(5, return_sequences=True)), L.TimeDistributed(L.Dense(4)),
        L.GRU(4, return_sequences=True), L.GlobalAveragePooling1D(), L.Dense(2),
    ]  # fmt: skip
    check(randomise(keras.Sequential([keras.Input((6,), dtype="int32"), *stack])), Ints((6,), 9))
