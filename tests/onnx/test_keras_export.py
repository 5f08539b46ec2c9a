"""Keras models that Keras itself exports as ONNX (through tf2onnx): loops over time steps, masks, layouts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.ir import verify

pytestmark = pytest.mark.slow

IMAGE, SERIES = (17, 15, 3), (7, 5)

# name: shape of a sample, layers
MODELS: dict[str, tuple[tuple[Any, ...], Callable[[Any], list[Any]]]] = {
    "lstm": (SERIES, lambda L: [L.LSTM(6, return_sequences=True), L.LSTM(4)]),
    "lstm of any length": ((None, 5), lambda L: [L.LSTM(6), L.Dense(3)]),
    "gru": (SERIES, lambda L: [L.GRU(6, return_sequences=True), L.GRU(4, reset_after=False)]),
    "rnn": (SERIES, lambda L: [L.SimpleRNN(6, return_sequences=True), L.SimpleRNN(4)]),
    "bidirectional": (SERIES, lambda L: [L.Bidirectional(L.LSTM(6, return_sequences=True)), L.Bidirectional(L.GRU(4))]),
    "masked": ((7,), lambda L: [L.Embedding(20, 5, mask_zero=True), L.LSTM(6), L.Dense(3, activation="softmax")]),
    "convolutions": (
        IMAGE,
        lambda L: [
            L.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            L.BatchNormalization(),
            L.DepthwiseConv2D(3, padding="same"),
            L.SeparableConv2D(6, 3),
            L.MaxPooling2D(),
            L.Flatten(),
            L.Dense(4),
        ],
    ),
    "resampling": (
        IMAGE,
        lambda L: [
            L.Conv2DTranspose(4, 3, strides=2, padding="same"),
            L.UpSampling2D(2, interpolation="bilinear"),
            L.ZeroPadding2D((1, 2)),
            L.Cropping2D(1),
            L.AveragePooling2D(2, padding="same"),
            L.GlobalMaxPooling2D(),
        ],
    ),
    "norms and activations": (
        (6, 8),
        lambda L: [
            L.LayerNormalization(),
            L.GroupNormalization(4),
            L.Dense(8, activation="silu"),
            L.PReLU(),
            L.ELU(),
            L.Activation("mish"),
            L.Softmax(axis=1),
        ],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_export(name: str, tmp_path: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras, _ = pytest.importorskip("keras"), pytest.importorskip("tf2onnx")
    shape, layers = MODELS[name]
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    words = name == "masked"
    sample = (3, *(d or 9 for d in shape))
    x = rng.integers(0, 20, sample).astype("int32") if words else rng.standard_normal(sample).astype("float32")
    model = keras.Sequential([keras.Input(shape, dtype=x.dtype), *layers(keras.layers)])
    want = np.asarray(model(x))
    path = tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    graph = tenun.load(path)
    verify(graph)
    np.testing.assert_allclose(tenun.compile(graph)(x), want, rtol=1e-4, atol=2e-6)
