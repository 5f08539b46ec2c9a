"""Live Keras models, on each backend: by their configuration, or where they have none through Keras' export to ONNX."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import TenunError

from .oracle import same

CODE = """
import warnings

import keras
import numpy as np

import tenun

L = keras.layers


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.a, self.rnn, self.b = L.Dense(8, activation="relu"), L.LSTM(4), L.Dense(3)

    def call(self, x):
        return self.b(self.rnn(self.a(x)))


class Sine(L.Layer):
    def call(self, x):
        return keras.ops.sin(x)


def functional():
    return keras.Sequential([keras.Input((5, 6)), L.Bidirectional(L.GRU(4, return_sequences=True)),
                             L.BatchNormalization(), L.Conv1D(3, 2)])


def with_a_layer_of_its_own():
    x = keras.Input((5, 6))
    return keras.Model(x, L.Dense(2)(Sine()(x)))


def check(model, through_onnx):
    x = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")
    if not model.built:
        model(x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = tenun.load(model)
    told = [w for w in caught if "was read through Keras\\' export to ONNX" in str(w.message)]
    assert bool(told) == through_onnx, caught
    assert graph.metadata.get("read_through") == ("onnx" if through_onnx else None)
    want = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_allclose(tenun.compile(graph)(x), want, rtol=1e-5, atol=1e-5)
"""
MODELS = {"functional()": False, "Own()": True, "with_a_layer_of_its_own()": True}
EXPORTERS = {"tensorflow": "tf2onnx", "jax": "jax2onnx", "torch": "onnxscript"}


@pytest.mark.parametrize("model", MODELS)
def test_tensorflow(keras: Any, model: str) -> None:
    if MODELS[model]:
        pytest.importorskip("tf2onnx")
    exec(f"{CODE}\ncheck({model}, {MODELS[model]})", {})  # the same text as the other backends' processes run


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend: str) -> None:
    """In a process of its own: Keras has one backend a process."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    has_exporter = importlib.util.find_spec(EXPORTERS[backend]) is not None
    calls = "\n".join(f"check({m}, {onnx})" for m, onnx in MODELS.items() if has_exporter or not onnx)
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", f"{CODE}\n{calls}"], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_models_of_tf_keras() -> None:
    """Keras 2 alive: its meaning of hard_sigmoid, its GRU."""
    K = pytest.importorskip("tf_keras")
    model = K.Sequential([K.Input((5, 6)), K.layers.GRU(4), K.layers.Dense(3, activation="hard_sigmoid")])
    x = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(tenun.compile(model)(x), model(x), rtol=1e-5, atol=1e-6)


def test_what_can_be_neither_read_nor_exported(keras: Any) -> None:
    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(TenunError, match="Own(.|\n)*export to ONNX failed too(.|\n)*call the model on data once"):
        tenun.load(Own())


def test_weights_of_a_live_model_go_into_ours(keras: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.LayerNormalization()])
    ours = tenun.Sequential([tenun.Input((4,)), tenun.layers.Dense(3), tenun.layers.LayerNormalization()])
    ours.load_weights(model)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    same(keras, ours.predict(x), model(x))
