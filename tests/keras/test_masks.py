"""Masks as Keras passes them: Masking and Embedding(mask_zero) into whatever consumes or hands them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenun.api import compile

from .oracle import randomise, same, saved

T = 6
# which steps of each sample are there: all, padded right, padded left, holes, none
PRESENT = np.array(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool
)

LAYERS: dict[str, Callable[[Any], Any]] = {
    "simple": lambda L: L.SimpleRNN(4),
    "lstm": lambda L: L.LSTM(4),
    "lstm sequences": lambda L: L.LSTM(4, return_sequences=True),
    "lstm sequences and state": lambda L: L.LSTM(4, return_sequences=True, return_state=True),
    "lstm backwards": lambda L: L.LSTM(4, go_backwards=True),
    "lstm backwards sequences": lambda L: L.LSTM(4, go_backwards=True, return_sequences=True, return_state=True),
    "lstm zeros": lambda L: L.LSTM(4, return_sequences=True, zero_output_for_mask=True),
    "lstm zeros, last": lambda L: L.LSTM(4, zero_output_for_mask=True, return_state=True),
    "lstm zeros, backwards": lambda L: L.LSTM(4, zero_output_for_mask=True, go_backwards=True),
    "lstm unrolled": lambda L: L.LSTM(4, return_sequences=True, unroll=True),
    "gru": lambda L: L.GRU(4, return_state=True),
    "gru before": lambda L: L.GRU(4, reset_after=False, return_sequences=True),
    "cells": lambda L: L.RNN([L.LSTMCell(4), L.GRUCell(3)], return_sequences=True, return_state=True),
    "cells backwards": lambda L: L.RNN([L.LSTMCell(4), L.GRUCell(3)], go_backwards=True),
    "both": lambda L: L.Bidirectional(L.LSTM(4)),
    "both, sum": lambda L: L.Bidirectional(L.GRU(4), merge_mode="sum"),
    "both sequences": lambda L: L.Bidirectional(L.LSTM(4, return_sequences=True, return_state=True)),
    "both sequences, none": lambda L: L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode=None),
    "both, different": lambda L: L.Bidirectional(
        L.LSTM(4, return_sequences=True), backward_layer=L.GRU(4, go_backwards=True, return_sequences=True)
    ),
    "softmax": lambda L: L.Softmax(axis=1),
}


def _inputs(features: int = 3) -> np.ndarray[Any, Any]:
    x = np.random.default_rng(0).normal(size=(len(PRESENT), T, features)).astype("float32")
    return x * PRESENT[:, :, None]


def _check(keras: Any, model: Any, x: Any, folder: Path, tolerance: float = 1e-5) -> None:
    randomise(model)
    want = model(x)
    for source in (saved(model, folder), model):
        same(keras, compile(source)(x), want, tolerance)


@pytest.mark.parametrize("name", [n for n in LAYERS if n != "softmax"])
def test_masked_sequences(keras: Any, tmp_path: Path, name: str) -> None:
    x = keras.Input((T, 3))
    _check(keras, keras.Model(x, LAYERS[name](keras.layers)(keras.layers.Masking()(x))), _inputs(), tmp_path)


def test_softmax_under_a_mask(keras: Any, tmp_path: Path) -> None:
    """The mask has to have the rank of x: that of an embedding does, of what it looks up does not."""
    x, m = keras.Input((T,)), keras.Input((T,), dtype="bool")
    model = keras.Model([x, m], keras.layers.Softmax()(x, mask=m))
    values = np.random.default_rng(0).normal(size=PRESENT.shape).astype("float32")
    same(keras, compile(saved(model, tmp_path))(values, PRESENT), model([values, PRESENT]))


@pytest.mark.parametrize("sequential", [True, False])
def test_embedding_mask_through_a_stack(keras: Any, tmp_path: Path, sequential: bool) -> None:
    """Embedding, dropout, dense, normalisation, two recurrent layers, a pooling that leaves masked steps out."""
    L = keras.layers
    stack = [
        L.Embedding(9, 4, mask_zero=True), L.SpatialDropout1D(0.3), L.Dense(4, activation="tanh"),
        L.LayerNormalization(), L.BatchNormalization(), L.Activation("relu"),
        L.Bidirectional(L.LSTM(5, return_sequences=True)), L.Dropout(0.2),
        L.TimeDistributed(L.Dense(4)), L.GRU(4, return_sequences=True), L.GlobalAveragePooling1D(), L.Dense(2),
    ]  # fmt: skip
    x = keras.Input((T,), dtype="int32")
    if sequential:
        model = keras.Sequential([x, *stack])
    else:
        y = x
        for layer in stack:
            y = layer(y)
        model = keras.Model(x, y)
    tokens = np.random.default_rng(0).integers(1, 9, PRESENT.shape).astype("int32") * PRESENT
    _check(keras, model, tokens[:-1], tmp_path)  # a sample without any step is 0 / 0 in the pooling


@pytest.mark.parametrize("merge", ["Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate"])
@pytest.mark.parametrize("both", [True, False])
def test_masks_meet_in_a_merge(keras: Any, tmp_path: Path, merge: str, both: bool) -> None:
    L = keras.layers
    x = keras.Input((T, 3))
    masked = L.Masking()(x)
    other = L.Masking(mask_value=1.0)(L.Dense(3)(x)) if both else L.Dense(3)(x)
    y = getattr(L, merge)()([masked, other])
    _check(keras, keras.Model(x, [y, L.LSTM(3, return_sequences=True)(y)]), _inputs(), tmp_path)


def test_concatenated_steps_keep_their_masks(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x = keras.Input((T, 3))
    y = L.Concatenate(axis=1)([L.Masking()(x), L.Dense(3)(x)])
    _check(keras, keras.Model(x, L.GRU(3)(y)), _inputs(), tmp_path)


def test_mask_with_initial_state(keras: Any, tmp_path: Path) -> None:
    """With a second tensor argument, Keras does not fill in the mask by itself; given by hand it counts."""
    L = keras.layers
    x, h = keras.Input((T, 3)), keras.Input((4,))
    m = L.Masking()(x)
    mask = keras.ops.any(keras.ops.not_equal(x, 0.0), axis=-1)
    without = L.GRU(4)(m, initial_state=h)
    given = L.GRU(4, return_state=True)(m, initial_state=h, mask=mask)
    backwards = L.LSTM(4, go_backwards=True)(m, initial_state=[h, h], mask=mask)
    both = L.Bidirectional(L.LSTM(4))(m, initial_state=[h, h, h, h], mask=mask)
    model = randomise(keras.Model([x, h], [without, *given, backwards, both]))
    values = [_inputs(), np.random.default_rng(1).normal(size=(len(PRESENT), 4)).astype("float32")]
    same(keras, compile(saved(model, tmp_path))(*values), model(values))


def test_mask_into_a_nested_model(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    i = keras.Input((T, 3))
    inner = keras.Model(i, L.LSTM(4, return_sequences=True)(L.Dense(3)(i)))
    x = keras.Input((T, 3))
    _check(keras, keras.Model(x, L.GRU(2)(inner(L.Masking()(x)))), _inputs(), tmp_path)


def test_layers_that_end_a_mask(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x = keras.Input((T, 3))
    _check(keras, keras.Model(x, L.LSTM(4)(L.Conv1D(3, 3, padding="same")(L.Masking()(x)))), _inputs(), tmp_path)


def test_time_distributed_over_masked_sequences(keras: Any, tmp_path: Path) -> None:
    """The mask of the inner steps goes to the inner layer."""
    L = keras.layers
    x = keras.Input((2, T, 3))
    model = keras.Model(x, L.TimeDistributed(L.LSTM(4))(L.Masking()(x)))
    values = np.stack([_inputs(), _inputs()[::-1]], axis=1)
    _check(keras, model, values, tmp_path)
