"""MultiHeadAttention and GroupQueryAttention against Keras: masks of all kinds, weights asked for, files, gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.api import compile, load

from .oracle import randomise, same, saved
from .test_writer import compare, rewritten

T, S = 5, 7  # rows of queries, and of keys
CAUSAL = {"use_causal_mask": True}

# name: (class, config, call arguments); "key": with a key of its own, "mask": with an attention mask of so many axes
LAYERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "self": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, {"alone": True}),
    "cross": ("MultiHeadAttention", {"num_heads": 3, "key_dim": 4, "value_dim": 2}, {}),
    "key": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, {"key": True}),
    "without bias": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "use_bias": False, "output_shape": 9}, {}),
    "shape": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "output_shape": (2, 3)}, {}),
    "gate": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "value_dim": 5, "use_gate": True}, {}),
    "causal": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, {"alone": True, **CAUSAL}),
    "causal cross": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, CAUSAL),
    "window": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "sliding_window": 2}, CAUSAL),
    "mask": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, {"mask": 3}),
    "mask of heads": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, {"mask": 4}),
    "mask and causal": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, {"mask": 3, **CAUSAL}),
    "dropout": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "dropout": 0.3}, {"mask": 3, **CAUSAL}),
    "dropout and causal": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "dropout": 0.3, "seed": 1}, CAUSAL),
    "weights": ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3},
                {"return_attention_scores": True, "mask": 3, "alone": True}),
    "groups": ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, {}),
    "groups of one": ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 2, "num_key_value_heads": 2}, CAUSAL),
    "one group": ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 1,
                                          "use_gate": True, "use_bias": False}, {"mask": 3, "key": True}),
    "groups and mask of heads": ("GroupQueryAttention",
                                 {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, {"mask": 4}),
    "groups and window": ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2,
                                                  "sliding_window": 3, "dropout": 0.2}, CAUSAL),
    "groups and weights": ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
                           {"return_attention_scores": True, "mask": 3}),
}  # fmt: skip


def built(keras: Any, name: str) -> tuple[Any, list[np.ndarray[Any, Any]]]:
    """A model of the layer, and inputs."""
    cls, config, call = LAYERS[name]
    call, rng = dict(call), np.random.default_rng(0)
    alone, key, axes = call.pop("alone", False), call.pop("key", False), call.pop("mask", 0)
    width = 6
    inputs = [keras.Input((T, width)), *([] if alone else [keras.Input((S, width))])]
    values = [rng.normal(size=(3, *x.shape[1:])).astype("float32") for x in inputs]
    if key:
        inputs.append(keras.Input((S, width)))
        values.append(rng.normal(size=(3, S, width)).astype("float32"))
        call["key"] = inputs[-1]
    if axes:
        heads = (config.get("num_heads") or config.get("num_query_heads"),) if axes == 4 else ()
        inputs.append(keras.Input((*heads, T, T if alone else S), dtype="bool"))
        values.append(rng.random((3, *inputs[-1].shape[1:])) < 0.6)
        values[-1][0, ..., 1, :] = False  # a row that sees nothing
        call["attention_mask"] = inputs[-1]
    y = getattr(keras.layers, cls)(**config)(inputs[0], inputs[0 if alone else 1], **call)
    return randomise(keras.Model(inputs, y)), values


@pytest.mark.parametrize("name", LAYERS)
def test_layer(keras: Any, tmp_path: Path, name: str) -> None:
    """From files of both kinds and alive; written, Keras reads the same."""
    model, values = built(keras, name)
    feed = values if len(values) > 1 else values[0]
    for source in (saved(model, tmp_path), saved(model, tmp_path, ".h5"), model):
        executable = compile(load(source))
        same(keras, executable(*values), model(feed, training=False))
    compare(keras, model, rewritten(keras, model, tmp_path), feed, tmp_path)


def sequences(keras: Any) -> dict[str, Callable[[Any, Any], Any]]:
    """What may be made of two masked sequences of three features."""
    L = keras.layers
    return {
        "self": lambda x, y: L.MultiHeadAttention(2, 3)(x, x),
        "cross": lambda x, y: L.MultiHeadAttention(2, 3)(x, y),
        "key": lambda x, y: L.MultiHeadAttention(2, 3)(x, y, key=y),
        "causal": lambda x, y: L.MultiHeadAttention(2, 3, dropout=0.1)(x, y, use_causal_mask=True),
        "into a sequence": lambda x, y: L.LSTM(3)(L.MultiHeadAttention(2, 3)(x, y)),
        "groups": lambda x, y: L.LSTM(3)(L.GroupQueryAttention(3, 4, 2)(x, y)),
        "attention": lambda x, y: L.LSTM(3)(L.Attention()([x, y])),
        "causal attention": lambda x, y: L.Attention(use_scale=True)([x, y], use_causal_mask=True),
        "attention with weights": lambda x, y: L.Attention()([x, y], return_attention_scores=True),
        "concat": lambda x, y: L.Attention(score_mode="concat")([x, y], use_causal_mask=True),
        "additive": lambda x, y: L.LSTM(3)(L.AdditiveAttention()([x, y])),
        "only of values": lambda x, y: L.Attention()([L.Dense(3)(L.Conv1D(3, 1)(x)), y]),
    }


NAMES = ("self", "cross", "key", "causal", "into a sequence", "groups", "attention", "causal attention",
         "attention with weights", "concat", "additive", "only of values")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_masked_sequences(keras: Any, tmp_path: Path, name: str) -> None:
    """Masks that are attached to inputs reach the layer, and that of the query what follows it."""
    x, y = keras.Input((T, 3)), keras.Input((S, 3))
    L = keras.layers
    model = randomise(keras.Model([x, y], sequences(keras)[name](L.Masking()(x), L.Masking()(y))))
    values = [np.random.default_rng(i).normal(size=(3, n, 3)).astype("float32") for i, n in enumerate((T, S))]
    values[0][0, 3:], values[0][1, 0], values[1][1, :4], values[1][2, 6:] = 0, 0, 0, 0
    same(keras, compile(saved(model, tmp_path))(*values), model(values, training=False))


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2), (-2,)])
@pytest.mark.parametrize("masked", [False, True])
def test_several_axes(keras: Any, tmp_path: Path, axes: tuple[int, ...], masked: bool) -> None:
    x = keras.Input((3, 4, 6))
    places = [x.shape[a] for a in axes]
    inputs, call = [x], {}
    if masked:
        between = [] if len(axes) == 2 else [x.shape[2 if 1 in axes else 1], 1]
        inputs.append(keras.Input((*between, *places, *places), dtype="bool"))
        call["attention_mask"] = inputs[-1]
    y = keras.layers.MultiHeadAttention(2, 3, attention_axes=axes)(x, x, **call)
    model = randomise(keras.Model(inputs, y))
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(2, 3, 4, 6)).astype("float32")]
    if masked:
        values.append(rng.random((2, *inputs[1].shape[1:])) < 0.6)
    same(keras, compile(saved(model, tmp_path))(*values), model(values if masked else values[0]))


def test_gradients_are_those_of_the_tape(keras: Any, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    from ..autodiff.test_layers_against_tensorflow import named, weighted

    for name in ("cross", "mask and causal", "gate", "groups"):
        model, values = built(keras, name)
        given = [tf.constant(v) for v in values]
        with tf.GradientTape() as tape:
            tape.watch(given[:2])
            y = model(given)
            seed = np.random.default_rng(1).normal(size=y.shape).astype("float32")
            total = tf.reduce_sum(y * seed)
        theirs = tape.gradient(total, [*given[:2], *(v.value for v in model.trainable_weights)])
        graph = load(model)
        names = [*(v.name for v in graph.inputs[:2]), *(named(graph, v) for v in model.trainable_weights)]
        ours = tenun.compile(tenun.grad(weighted(graph, [seed]), ["total"], names), threads=1)(*values)
        for which, got, want in zip(names, ours, theirs, strict=True):
            want = np.asarray(tf.convert_to_tensor(want))
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * max(1, np.abs(want).max()), err_msg=which)


def test_training_with_dropout() -> None:
    """Weights are dropped in training only, other ones in each step."""
    x = tenun.Input((T, 6))
    y = tenun.layers.MultiHeadAttention(2, 3, dropout=0.5, seed=3)(x, x)
    y = tenun.layers.Attention(dropout=0.5, seed=4)([y, y])
    model = tenun.Model(x, tenun.layers.Dense(1)(tenun.layers.Flatten()(y)))
    model.compile("sgd", "mse")
    values = np.random.default_rng(0).normal(size=(8, T, 6)).astype("float32")
    before = model.predict(values)
    np.testing.assert_array_equal(before, model.predict(values))
    losses = [float(np.ravel(model.train_on_batch(values, np.zeros((8, 1), "float32")))[0]) for _ in range(40)]
    assert np.isfinite(losses).all() and len(set(losses)) == len(losses)
    assert np.square(model.predict(values)).mean() < np.square(before).mean() / 2


def test_initial_weights_count_all_inputs_and_outputs() -> None:
    """The bound of Glorot's uniform numbers is sqrt(6 / (inputs + outputs)), heads being outputs, or inputs."""
    x = tenun.Input((T, 30))
    model = tenun.Model(x, tenun.layers.MultiHeadAttention(6, 10)(x, x))
    query, *_, output, _ = model.get_weights()
    assert query.shape == (30, 6, 10) and output.shape == (6, 10, 30)
    for kernel in (query, output):
        bound = np.sqrt(6 / 90)
        assert 0.97 * bound < np.abs(kernel).max() <= bound


def test_refused_by_name() -> None:
    x = tenun.Input((2, T, 6))
    with pytest.raises(tenun.UnsupportedError, match="use_causal_mask"):
        tenun.layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    with pytest.raises(tenun.UnsupportedError, match="3 heads share 2"):
        tenun.layers.GroupQueryAttention(2, 3, 2)
    with pytest.raises(tenun.UnsupportedError, match="score_mode='sum'"):
        tenun.layers.Attention(score_mode="sum")
