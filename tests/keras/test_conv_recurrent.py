"""ConvLSTM layers and wrappers of anything: masks, states, training, gradients, files, against Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.api import compile, load, load_model
from tenun.layers import Lowering
from tenun.layers.whole import lower_model

from .oracle import check, data, randomise, same, saved

SIZES: dict[int, tuple[int, ...]] = {1: (7,), 2: (5, 4), 3: (3, 4, 5)}

# a mask of the steps of three samples: at the end, in between, all
PRESENT = np.array([[1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool)

MASKED: dict[str, dict[str, Any]] = {
    "last": {},
    "sequence": {"return_sequences": True, "return_state": True},
    "backwards": {"return_sequences": True, "go_backwards": True},
    "zeroed": {"return_sequences": True, "zero_output_for_mask": True},
    "last zeroed": {"zero_output_for_mask": True, "go_backwards": True},
    "channels first": {"data_format": "channels_first", "return_state": True},
}


def _layer(keras: Any, rank: int, **config: Any) -> Any:
    return getattr(keras.layers, f"ConvLSTM{rank}D")(**{"filters": 3, "kernel_size": 2, **config})


def _input(rank: int, config: dict[str, Any]) -> tuple[int, ...]:
    first = config.get("data_format") == "channels_first"
    return (4, 2, *SIZES[rank]) if first else (4, *SIZES[rank], 2)


@pytest.mark.parametrize("name", MASKED)
def test_masks(keras: Any, tmp_path: Path, name: str) -> None:
    rank, config = 2, MASKED[name]
    x, mask = keras.Input(_input(rank, config)), keras.Input((4,), dtype="bool")
    model = randomise(keras.Model([x, mask], _layer(keras, rank, **config)(x, mask=mask)))
    feed = [np.random.default_rng(0).normal(size=(3, *_input(rank, config))).astype("float32"), PRESENT]
    for source in (saved(model, tmp_path), model):
        same(keras, compile(load(source))(feed), model(feed))


@pytest.mark.parametrize("config", [{}, {"data_format": "channels_first"}])
def test_initial_states(keras: Any, tmp_path: Path, config: dict[str, Any]) -> None:
    """Given ones, and those of another layer."""
    x = keras.Input(_input(1, config))
    _, *states = _layer(keras, 1, return_state=True, padding="same", **config)(x)
    y = _layer(keras, 1, return_sequences=True, return_state=True, padding="same", **config)(x, initial_state=states)
    check(keras, randomise(keras.Model(x, y)), tmp_path, kinds=(".keras", ".h5", "live"))


@pytest.mark.parametrize("config", [{}, {"return_sequences": True, "data_format": "channels_first"}])
def test_states_are_kept(keras: Any, tmp_path: Path, config: dict[str, Any]) -> None:
    x = keras.Input(batch_shape=(2, *_input(1, config)))
    model = randomise(keras.Model(x, _layer(keras, 1, stateful=True, **config)(x)))
    run = compile(load(saved(model, tmp_path)))
    for seed in range(3):
        (value,) = data(model, seed=seed)
        same(keras, run(value), model(value))


def test_both_ways_with_a_mask(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x, mask = keras.Input(_input(1, {})), keras.Input((4,), dtype="bool")
    y = L.Bidirectional(_layer(keras, 1, return_sequences=True), merge_mode="ave")(x, mask=mask)
    model = randomise(keras.Model([x, mask], y))
    feed = [np.random.default_rng(0).normal(size=(3, *_input(1, {}))).astype("float32"), PRESENT]
    same(keras, compile(load(saved(model, tmp_path)))(feed), model(feed))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtypes(keras: Any, tmp_path: Path, policy: str) -> None:
    x = keras.Input(_input(2, {}))
    model = randomise(keras.Model(x, _layer(keras, 2, dtype=policy, return_sequences=True)(x)))
    check(keras, model, tmp_path, tolerance={"float64": 1e-9, "mixed_float16": 5e-3}.get(policy, 3e-2))


@pytest.mark.parametrize("rank", [1, 2])
def test_dropout_in_training(keras: Any, rank: int) -> None:
    """Something is dropped, in training only."""
    x = tenun.Input(_input(rank, {}))
    layer = getattr(tenun.layers, f"ConvLSTM{rank}D")
    models = [
        tenun.Model(x, layer(2, 2, dropout=rate, recurrent_dropout=rate, seed=3, activation="linear")(x))
        for rate in (0.0, 0.4)
    ]
    models[1].set_weights(models[0].get_weights())
    value = np.random.default_rng(0).normal(size=(64, *_input(rank, {}))).astype("float32")

    def run(model: Any, training: bool) -> Any:
        lowered = lower_model(model.definition, Lowering(), training)
        lowered.lowering.fill()
        return np.asarray(compile(lowered.graph())(value))

    plain, dropped, inferred = run(models[0], True), run(models[1], True), run(models[1], False)
    assert np.abs(plain - dropped).max() > 1e-3
    np.testing.assert_allclose(inferred, plain, atol=1e-6)


# ---- training step by step against Keras ------------------------------------------------------------------------


def _spectral(L: Any) -> list[Any]:
    return [L.SpectralNormalization(L.Dense(5, activation="tanh"), power_iterations=2), L.Dense(1)]


TRAINED: dict[str, tuple[Callable[[Any], list[Any]], tuple[int, ...]]] = {
    "convolutional": (lambda L: [L.ConvLSTM1D(3, 2), L.Flatten(), L.Dense(1)], (3, 6, 2)),
    "spectral": (_spectral, (4,)),
    "spectral of a convolution": (lambda L: [L.SpectralNormalization(L.Conv1D(3, 2)), L.Flatten(), L.Dense(1)], (5, 2)),
    "each step normalised": (lambda L: [L.TimeDistributed(L.BatchNormalization()), L.Flatten(), L.Dense(1)], (3, 4)),
    "each step, spectral": (
        lambda L: [L.TimeDistributed(L.SpectralNormalization(L.Dense(3))), L.Flatten(), L.Dense(1)],
        (3, 4),
    ),
    "einsum": (lambda L: [L.EinsumDense("abc,cd->abd", (3, 3), bias_axes="d"), L.Flatten(), L.Dense(1)], (3, 4)),
    "adaptive": (lambda L: [L.AdaptiveAveragePooling1D(3), L.Dense(2), L.AdaptiveMaxPooling1D(2), L.Flatten(),
                            L.Dense(1)], (7, 4)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRAINED)
def test_training_is_that_of_keras(keras: Any, tmp_path: Path, name: str) -> None:
    """The same losses, step by step, and the same variables afterwards, in a file that Keras reads."""
    layers, shape = TRAINED[name]
    model = randomise(keras.Sequential([keras.Input(shape), *layers(keras.layers)]))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    ours = load_model(saved(model, tmp_path))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, *shape)).astype("float32"), rng.normal(size=(8, 1)).astype("float32")
    want = [float(model.train_on_batch(x, y)) for _ in range(4)]
    got = [float(ours.train_on_batch(x, y)) for _ in range(4)]
    np.testing.assert_allclose(got, np.ravel(want), rtol=1e-4)
    tenun.save(ours, tmp_path / "trained.keras")
    again = keras.models.load_model(tmp_path / "trained.keras")
    for mine, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(theirs), rtol=1e-3, atol=1e-4, err_msg=theirs.path)
