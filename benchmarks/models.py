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


def bilstm() -> Any:
    """Embedding, bidirectional LSTM of 32 units over 100 steps, Dense."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((100,), dtype="int32"),
            layers.Embedding(5000, 100),
            layers.Bidirectional(layers.LSTM(32)),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _images(batch: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).random((batch, 32, 32, 3), np.float32)


def _tokens(batch: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 5000, (batch, 100)).astype(np.int32)


CASES = {
    case.name: case
    for case in (
        Case("final_cnn", final_cnn, _images),
        Case("bilstm32", bilstm, _tokens),
    )
}
