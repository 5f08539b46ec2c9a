"""The models that are measured, built with Keras (random weights, fixed seed), one function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A model to measure: how to build it, and inputs for a batch."""

    name: str
    build: Callable[[], Any]
    inputs: Callable[[int], np.ndarray[Any, Any]]


def final_cnn() -> Any:
    """The final CNN of the report: 2×Conv64, pool, 2×Conv128, pool, 2×Conv256, pool, Dense512, Dense10."""
    import keras
    from keras import layers

    parts: list[Any] = [keras.Input((32, 32, 3))]
    for filters in (64, 128, 256):
        parts += [layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)]
        parts.append(layers.MaxPooling2D())
    parts += [layers.Flatten(), layers.Dense(512, activation="relu"), layers.Dense(10, activation="softmax")]
    return keras.Sequential(parts)


def default_cnn() -> Any:
    """The report's default CNN: Conv32, pool, Conv64, pool, Dense64, Dense10."""
    import keras
    from keras import layers

    parts: list[Any] = [keras.Input((32, 32, 3))]
    for filters in (32, 64):
        parts += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    parts += [layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")]
    return keras.Sequential(parts)


def mlp() -> Any:
    """784-512-512-10."""
    import keras
    from keras import layers

    hidden = [layers.Dense(512, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(10, activation="softmax")])


def _on_tokens(recurrent: Any) -> Any:
    """Embedding, a recurrent layer over 100 steps, Dense."""
    import keras
    from keras import layers

    source = keras.Input((100,), dtype="int32")
    return keras.Sequential([source, layers.Embedding(5000, 100), recurrent, layers.Dense(3, activation="softmax")])


def bilstm() -> Any:
    """Embedding, bidirectional LSTM of 32 units over 100 steps, Dense."""
    from keras import layers

    return _on_tokens(layers.Bidirectional(layers.LSTM(32)))


def gru() -> Any:
    """Embedding, GRU of 32 units over 100 steps, Dense."""
    from keras import layers

    return _on_tokens(layers.GRU(32))


def _images(batch: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).random((batch, 32, 32, 3), np.float32)


def _digits(batch: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).random((batch, 784), np.float32)


def _tokens(batch: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 5000, (batch, 100)).astype(np.int32)


CASES = {
    case.name: case
    for case in (
        Case("final_cnn", final_cnn, _images),
        Case("bilstm32", bilstm, _tokens),
    )
}

# what is trained: a case, its batch sizes, its number of classes
TRAINED = {
    case.name: (case, batches, classes)
    for case, batches, classes in (
        (CASES["final_cnn"], (32, 64), 10),
        (Case("default_cnn", default_cnn, _images), (64,), 10),
        (CASES["bilstm32"], (32, 64), 3),
        (Case("gru32", gru, _tokens), (32, 64), 3),
        (Case("mlp", mlp, _digits), (128,), 10),
    )
}
