"""Dropout in recurrent layers: with the same masks as Keras; statistics of the masks; nothing at inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.ir.graph import State
from tenun.layers import Lowering, recurrent
from tenun.layers.whole import lower_model

from .oracle import randomise

Array = np.ndarray[Any, Any]
BATCH, STEPS, FEATURES, UNITS, RATE = 3, 5, 4, 6, 0.4
BOTH = {"dropout": 0.3, "recurrent_dropout": RATE}

LAYERS: dict[str, Callable[[Any], Any]] = {
    "simple": lambda L: L.SimpleRNN(UNITS, **BOTH),
    "lstm": lambda L: L.LSTM(UNITS, **BOTH, return_sequences=True, return_state=True),
    "lstm, only h": lambda L: L.LSTM(UNITS, recurrent_dropout=RATE, go_backwards=True, return_sequences=True),
    "lstm, only x": lambda L: L.LSTM(UNITS, dropout=RATE),
    "lstm without bias": lambda L: L.LSTM(UNITS, **BOTH, use_bias=False, activation="relu"),
    "lstm, stateful": lambda L: L.LSTM(UNITS, **BOTH, stateful=True),
    "gru": lambda L: L.GRU(UNITS, **BOTH, return_sequences=True),
    "gru, reset before": lambda L: L.GRU(UNITS, **BOTH, reset_after=False, unroll=True),
    "gru, zeros": lambda L: L.GRU(UNITS, recurrent_dropout=RATE, return_sequences=True, zero_output_for_mask=True),
    "all of x": lambda L: L.SimpleRNN(UNITS, dropout=1.0, recurrent_dropout=RATE),
    "rate 1 means 0": lambda L: L.GRU(UNITS, dropout=0.3, recurrent_dropout=1.0),
    "cell": lambda L: L.RNN(L.GRUCell(UNITS, **BOTH), return_sequences=True),
    "cells": lambda L: L.RNN([L.LSTMCell(UNITS, **BOTH), L.GRUCell(FEATURES, **BOTH), L.SimpleRNNCell(UNITS, **BOTH)]),
    "two ways": lambda L: L.Bidirectional(L.LSTM(UNITS, **BOTH)),
    "two ways, only x": lambda L: L.Bidirectional(L.GRU(UNITS, dropout=RATE, return_sequences=True), merge_mode="sum"),
    "two ways, cells": lambda L: L.Bidirectional(L.RNN([L.LSTMCell(UNITS, **BOTH), L.GRUCell(UNITS, **BOTH)])),
}
OPS = {"simple": "rnn", "lstm": "lstm", "gru": "gru", "two ways": "lstm"}


def theirs(keras: Any, name: str, masked: bool = False, batch: int | None = BATCH, steps: int | None = STEPS) -> Any:
    x = keras.Input((steps, FEATURES), batch_size=batch)
    y = keras.layers.Masking()(x) if masked else x
    return randomise(keras.Model(x, LAYERS[name](keras.layers)(y)))


def values(masked: bool) -> Array:
    x = np.random.default_rng(1).normal(size=(BATCH, STEPS, FEATURES)).astype(np.float32)
    if masked:
        x[0, 2:4] = x[1, :2] = x[2, 3:] = 0
    return x


def cells(layer: Any) -> Iterator[Any]:
    """The Keras cells of a layer in the order in which they draw."""
    if hasattr(layer, "forward_layer"):
        yield from cells(layer.forward_layer)
        yield from cells(layer.backward_layer)
    else:
        yield from getattr(layer.cell, "cells", [layer.cell])


class Forced:
    """Masks that Keras' cells and ours have in common."""

    def __init__(self, layer: Any) -> None:
        self.masks: list[tuple[Any, str, int, Array]] = []
        rng = np.random.default_rng(2)
        for cell in cells(layer):
            gates = getattr(cell, "dropout_mask_count", 1)
            for key, size in (("dropout", cell.kernel.shape[0]), ("recurrent_dropout", cell.units)):
                rate = getattr(cell, key)
                if rate and (rate < 1 or gates == 1):
                    kept = rng.random((BATCH, gates * size)) >= rate
                    self.masks.append((cell, key, gates, (kept / max(1 - rate, 0.1)).astype(np.float32)))

    def set(self) -> None:
        """Hand them to Keras, for one call."""
        for cell, key, _, mask in self.masks:
            count = getattr(cell, "dropout_mask_count", None)
            setattr(cell, f"_{key}_mask", np.split(mask, count, axis=1) if count else mask)

    def draw(self, b: Any, x: Any, rate: float, shape: Any, seed: Any) -> Any:
        """In the place of `dropout`, the next one of them."""
        _, key, _, mask = self.masks[self.drawn]
        self.drawn += 1
        return b.mul(b.constant(mask.reshape(shape)), x)

    drawn = 0


def training_graph(model: tenun.Model) -> tenun.Graph:
    lowering = Lowering()
    graph = lower_model(model.definition, lowering, training=True).graph()
    lowering.fill()
    return graph


def total(graph: tenun.Graph, seeds: list[Array]) -> tenun.Graph:
    """The graph with the sum of its outputs times seeds in their place."""
    b = tenun.ir.Builder(graph)
    parts = [b.reduce_sum(b.mul(v, seed)) for v, seed in zip(graph.outputs, seeds)]
    for part in parts[1:]:
        parts[0] = b.add(parts[0], part)
    kept = [graph.outputs[s.output] for s in graph.state]
    graph.state = [State(s.input, i, s.first) for i, s in enumerate(graph.state, 1)]
    graph.metadata.pop("output_structure", None)
    return b.outputs(parts[0], *kept, names=["total", *(f"state {i}" for i in range(len(kept)))])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_those_of_keras(keras: Any, monkeypatch: Any, name: str, masked: bool) -> None:
    import tensorflow as tf

    model, x = theirs(keras, name, masked), values(masked)
    ours, forced = tenun.load_model(model), Forced(model.layers[-1])
    own = [p.name for p in ours.trainable_weights]
    monkeypatch.setattr(recurrent, "dropout", forced.draw)
    graph = training_graph(ours)
    assert forced.drawn == len(forced.masks)

    given = tf.constant(x)
    weights = model.trainable_weights
    forced.set()
    with tf.GradientTape() as tape:
        tape.watch(given)
        want = keras.tree.flatten(model(given, training=True))
        rng = np.random.default_rng(3)
        seeds = [rng.normal(size=v.shape).astype(np.float32) for v in want]
        loss = sum(tf.reduce_sum(v * seed) for v, seed in zip(want, seeds))
    gradients = [np.asarray(g) for g in tape.gradient(loss, [given, *(w.value for w in weights)])]

    outputs = tenun.compile(graph)(x)
    for got, expected in zip(keras.tree.flatten(outputs), want):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    found = tenun.compile(tenun.grad(total(graph, seeds), wrt=[graph.inputs[0].name, *own]))
    for name_, g, expected in zip(["x", *own], keras.tree.flatten(found(x)), gradients, strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-4, atol=1e-5, err_msg=name_)


@pytest.mark.parametrize("name", OPS)
def test_at_inference_nothing_is_dropped(keras: Any, name: str) -> None:
    model, x = theirs(keras, name), values(False)
    graph = tenun.load(model)
    assert [n.op.name for n in graph.nodes if n.op.name in (*OPS.values(), "scan")] == [OPS[name]]
    got = keras.tree.flatten(tenun.compile(graph)(x))
    for a, want in zip(got, keras.tree.flatten(model(x))):
        np.testing.assert_allclose(a, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["simple", "lstm", "gru", "two ways", "two ways, only x"])
def test_masks_are_drawn_anew_and_for_every_gate(keras: Any, monkeypatch: Any, name: str) -> None:
    seen: list[Any] = []
    draw = recurrent.dropout

    def watched(*args: Any) -> Any:
        seen.append((args[2], draw(*args)))
        return seen[-1][1]

    ours, lowering = tenun.load_model(theirs(keras, name, batch=None)), Lowering()
    monkeypatch.setattr(recurrent, "dropout", watched)
    lower_model(ours.definition, lowering, training=True)
    graph = lowering.finish([v for _, v in seen], [f"mask {i}" for i in range(len(seen))])
    lowering.fill()
    graph.metadata.pop("output_structure", None)
    executable = tenun.compile(graph)
    x = np.ones((2000, STEPS, FEATURES), np.float32)  # a mask of x itself is that of ones
    first, second = list(executable(x)), list(executable(x))
    columns = []
    for (rate, _), a, again in zip(seen, first, second):
        assert np.all((a == 0) | np.isclose(a, 1 / (1 - rate)))
        assert abs(np.mean(a == 0) - rate) < 4 * np.sqrt(rate * (1 - rate) / a[..., :1, :].size)
        assert np.mean((a == 0) == (again == 0)) < 0.7
        if a.shape == x.shape:
            assert np.array_equal(a[:, :1].repeat(STEPS, axis=1), a)
            a = a[:, 0]
        columns.append((a == 0).reshape(2000, -1))
    expected = {"simple": 10, "lstm": 40, "gru": 30, "two ways": 80, "two ways, only x": 8}[name]
    together = np.concatenate(columns, axis=1).astype(float)
    assert together.shape[1] == expected
    off = np.corrcoef(together.T) - np.eye(expected)
    assert np.abs(off).max() < 5 / np.sqrt(2000)


def test_a_model_learns(keras: Any) -> None:
    L = tenun.layers
    model = tenun.Sequential([
        tenun.Input((None, 4)), L.Masking(),
        L.Bidirectional(L.LSTM(8, return_sequences=True, dropout=0.1, recurrent_dropout=0.2)),
        L.GRU(8, recurrent_dropout=0.2), L.Dense(1),
    ])  # fmt: skip
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype(np.float32)
    x[:16, 4:] = 0
    y = x[:, :, :1].mean(axis=1)
    before = model.evaluate(x, y, verbose=0)
    history = model.fit(x, y, epochs=15, batch_size=16, verbose=0).history["loss"]
    assert model.evaluate(x, y, verbose=0) < 0.7 * before
    assert history[-1] < history[0]
    assert model.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
