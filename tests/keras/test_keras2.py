"""Files that Keras 2 itself writes (the package tf_keras is Keras 2): whole-model `.h5` and `.keras`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun

keras = pytest.importorskip("tf_keras")
L = keras.layers


def masked_recurrent() -> Any:
    tokens = keras.Input((7,), name="tokens")
    x = L.Embedding(11, 5, mask_zero=True)(tokens)
    x = L.Bidirectional(L.LSTM(4, return_sequences=True))(x)
    return keras.Model(tokens, L.Dense(2, activation="softmax")(L.GRU(3)(x)))


def convolutional() -> Any:
    """Shared tensors, a nested Sequential, a dict of outputs."""
    image = keras.Input((8, 8, 3), name="image")
    x = L.Activation("relu")(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(image)))
    x = L.Add()([x, L.DepthwiseConv2D(3, padding="same")(x)])
    x = L.GlobalAveragePooling2D()(L.SeparableConv2D(5, 3, strides=2, padding="same")(x))
    inner = keras.Sequential([keras.Input((5,)), L.Dense(6, activation="hard_sigmoid"), L.LeakyReLU()])
    return keras.Model(image, {"a": inner(x), "b": L.Dense(3)(x)})


def stack(shape: tuple[int, ...], *layers: Any) -> Any:
    return keras.Sequential([keras.Input(shape), *layers])


MODELS = {
    "masked recurrent": masked_recurrent,
    "convolutional": convolutional,
    "GRU without reset_after": lambda: stack(
        (5, 4), L.GRU(3, reset_after=False, return_sequences=True), L.SimpleRNN(2, go_backwards=True)
    ),
    "old hard_sigmoid": lambda: stack((5, 4), L.LSTM(3, recurrent_activation="hard_sigmoid")),
    "resampling": lambda: stack(
        (4, 5, 2), L.UpSampling2D(2, interpolation="bilinear"), L.Conv2DTranspose(3, 3, strides=2), L.MaxPooling2D(),
        L.Flatten(), L.Dense(2),
    ),
    "wrappers and activations": lambda: stack(
        (4, 6), L.TimeDistributed(L.Dense(3)), L.LayerNormalization(), L.ELU(), L.Softmax(), L.PReLU()
    ),
}  # fmt: skip


def randomised(model: Any, rng: np.random.Generator) -> Any:
    """The model with random weights, variances positive."""
    weights = []
    for w in model.weights:
        values = rng.standard_normal(w.shape) * 0.3
        weights.append(np.abs(values) + 0.5 if "variance" in w.name else values)
    model.set_weights(weights)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_files_of_keras_2(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = randomised(MODELS[name](), rng)
    shape = (3, *model.inputs[0].shape[1:])
    x = rng.integers(0, 11, shape) if name == "masked recurrent" else rng.standard_normal(shape).astype(np.float32)
    want = model(x)
    for suffix in (".h5", ".keras"):
        path = tmp_path / f"model{suffix}"
        model.save(path)
        got = tenun.compile(path)(x)
        for key in want if isinstance(want, dict) else [None]:
            a, b = (got, want) if key is None else (got[key], want[key])
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
