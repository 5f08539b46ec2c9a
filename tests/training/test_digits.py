"""A whole training from scratch: digits of scikit-learn, learnt as well as by Keras, which then takes the model."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun

Array = np.ndarray[Any, Any]

SEEDS = (1, 2, 3)
LEAST = 0.015  # what three seeds may differ by where they happen to agree with each other


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array, Array, Array]:
    """Images 8×8 and classes to train on, then to test on."""
    x, y = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32).reshape(-1, 8, 8, 1), y[order]
    return x[:1300], y[:1300], x[1300:], y[1300:]


def trained(engine: Any, seed: int, x: Array, y: Array) -> Any:
    """A small CNN, by the names that Keras and tenun share; first weights and orders are the engine's own."""
    set_seed = engine.set_random_seed if engine is tenun else engine.utils.set_random_seed
    set_seed(seed)
    L = engine.layers
    model = engine.Sequential(
        [
            engine.Input((8, 8, 1)),
            L.Conv2D(16, 3, padding="same", activation="relu"),
            L.MaxPooling2D(),
            L.Flatten(),
            L.Dropout(0.3),
            L.Dense(64, activation="relu"),
            L.Dropout(0.3),
            L.Dense(10, activation="softmax"),
        ]
    )
    model.compile(engine.optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=8, verbose=0)
    return model


@pytest.fixture(scope="module")
def models(keras: Any, digits: tuple[Array, ...]) -> dict[str, list[Any]]:
    """One model a seed, of both engines."""
    return {name: [trained(e, s, *digits[:2]) for s in SEEDS] for name, e in (("tenun", tenun), ("keras", keras))}


def test_accuracy_is_that_of_keras(models: dict[str, list[Any]], digits: tuple[Array, ...]) -> None:
    found = {
        name: np.array([m.evaluate(*digits[2:], verbose=0, return_dict=True)["accuracy"] for m in made])
        for name, made in models.items()
    }
    print(*(f"{name}: {a.mean():.4f} ({', '.join(f'{v:.4f}' for v in a)})" for name, a in found.items()), sep="\n")
    first = [m.get_weights()[0] for m in models["tenun"]]
    assert not any(np.allclose(a, b) for a, b in pairwise(first))
    spread = max(LEAST, *(float(np.ptp(a)) for a in found.values()))
    assert found["keras"].mean() > 0.95
    assert abs(found["tenun"].mean() - found["keras"].mean()) <= spread


@pytest.mark.parametrize("index", range(len(SEEDS)))
def test_keras_predicts_the_same_with_it(
    keras: Any, models: dict[str, list[Any]], digits: tuple[Array, ...], tmp_path: Path, index: int
) -> None:
    own = models["tenun"][index]
    own.save(tmp_path / "digits.keras")
    theirs = keras.models.load_model(tmp_path / "digits.keras")
    got, want = (model.predict(digits[2], verbose=0) for model in (own, theirs))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    accuracy = [model.evaluate(*digits[2:], verbose=0, return_dict=True)["accuracy"] for model in (own, theirs)]
    assert accuracy[0] == pytest.approx(accuracy[1], abs=1e-6)
