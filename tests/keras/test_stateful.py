"""Stateful layers: several calls, resetting, state as inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenun.api import compile, load
from tenun.errors import UnsupportedError

from .oracle import randomise, same, saved

LAYERS: dict[str, Callable[[Any], Any]] = {
    "simple": lambda L: L.SimpleRNN(4, stateful=True, name="r"),
    "lstm": lambda L: L.LSTM(4, stateful=True, return_sequences=True, name="r"),
    "lstm backwards": lambda L: L.LSTM(4, stateful=True, go_backwards=True, return_state=True, name="r"),
    "gru": lambda L: L.GRU(4, stateful=True, name="r"),
    "both": lambda L: L.Bidirectional(L.LSTM(4, stateful=True), name="r"),
    "both, different": lambda L: L.Bidirectional(
        L.LSTM(4, stateful=True), backward_layer=L.GRU(3, stateful=True, go_backwards=True), name="r"
    ),
    "cells": lambda L: L.RNN([L.LSTMCell(4), L.GRUCell(3)], stateful=True, name="r"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_calls_go_on_where_the_last_one_ended(keras: Any, tmp_path: Path, name: str) -> None:
    x = keras.Input((5, 3), batch_size=2)
    model = randomise(keras.Model(x, LAYERS[name](keras.layers)(x)))
    executable = compile(saved(model, tmp_path))
    values = np.random.default_rng(0).normal(size=(3, 2, 5, 3)).astype("float32")
    first = executable(values[0])
    same(keras, first, model(values[0]))
    for value in values[1:]:
        same(keras, executable(value), model(value))
    executable.reset_state()
    same(keras, executable(values[0]), first)


def test_state_is_visible(keras: Any, tmp_path: Path) -> None:
    x = keras.Input((5, 3), batch_size=2, name="x")
    graph = load(saved(keras.Model(x, LAYERS["lstm"](keras.layers)(x)), tmp_path))
    assert [v.name for v in graph.inputs] == ["x", "r.h", "r.c"]
    assert graph.output_names == ["r", "r.h", "r.c"]
    assert [(s.input.name, s.output) for s in graph.state] == [("r.h", 1), ("r.c", 2)]
    assert all(not np.any(s.first.data) for s in graph.state)


def test_masked_and_stateful(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x = keras.Input((5, 3), batch_size=2)
    model = randomise(keras.Model(x, L.LSTM(4, stateful=True)(L.Masking()(x))))
    executable = compile(saved(model, tmp_path))
    values = np.random.default_rng(0).normal(size=(3, 2, 5, 3)).astype("float32")
    values[1, 0] = 0  # a sample all of whose steps are masked: the output is zero, the state stays
    values[2, :, 2:] = 0
    for value in values:
        same(keras, executable(value), model(value))


def test_a_shared_stateful_layer_hands_its_state_on(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    a, b = keras.Input((5, 3), batch_size=2), keras.Input((4, 3), batch_size=2)
    shared = L.GRU(4, stateful=True)
    model = randomise(keras.Model([a, b], L.Concatenate()([shared(a), shared(b)])))
    executable = compile(saved(model, tmp_path))
    rng = np.random.default_rng(0)
    for _ in range(2):
        values = [rng.normal(size=s).astype("float32") for s in ((2, 5, 3), (2, 4, 3))]
        same(keras, executable(*values), model(values))


def test_no_state_inside_time_distributed(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x = keras.Input((2, 5, 3), batch_size=2)
    model = keras.Model(x, L.TimeDistributed(L.LSTM(4, stateful=True))(x))
    with pytest.raises(UnsupportedError, match="stateful=True"):
        load(saved(model, tmp_path))
