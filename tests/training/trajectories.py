"""The same training in Keras and here: equal first weights, equal batches, the loss of every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tenun

Array = np.ndarray[Any, Any]
FIRST = 20  # steps in which the losses agree to 5 significant digits


@dataclass(frozen=True)
class Case:
    """A model, its data, and how it is compiled."""

    build: Callable[[Any], Any]  # keras -> model
    data: Callable[[np.random.Generator], tuple[Any, Any, Any]]  # x, y, sample weights of `batches` batches
    optimizer: Callable[[Any], Any] = lambda keras: "adam"
    loss: Any = "sparse_categorical_crossentropy"
    more: dict[str, Any] = field(default_factory=dict)
    first: float = 1e-5  # largest relative difference in the first steps, and in 200
    long: float = 1e-2


def images(n: int, size: int, channels: int, classes: int) -> Callable[..., Any]:
    """Classes that differ in their mean image."""

    def make(rng: np.random.Generator) -> tuple[Any, Any, Any]:
        y = rng.integers(0, classes, n)
        means = rng.normal(size=(classes, size, size, channels))
        return (means[y] * 0.5 + rng.normal(size=(n, size, size, channels))).astype(np.float32), y, None

    return make


def vectors(n: int, features: int, classes: int, weighted: bool = False) -> Callable[..., Any]:
    def make(rng: np.random.Generator) -> tuple[Any, Any, Any]:
        y = rng.integers(0, classes, n)
        x = rng.normal(size=(classes, features))[y] + rng.normal(size=(n, features))
        return x.astype(np.float32), y, rng.uniform(0.2, 2, n).astype(np.float32) if weighted else None

    return make


def sentences(n: int, steps: int, words: int, classes: int, padded: bool = False) -> Callable[..., Any]:
    """Words of a class are drawn from a part of the vocabulary; padded ones end in zeros."""

    def make(rng: np.random.Generator) -> tuple[Any, Any, Any]:
        y = rng.integers(0, classes, n)
        part = words // (classes + 1)
        x = rng.integers(1, 2 * part, (n, steps)) + (y * part)[:, None]
        if padded:
            x[np.arange(steps) >= rng.integers(1, steps, n)[:, None]] = 0
        return x.astype(np.int32), y, None

    return make


def _mlp(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential(
        [L.Input((64,)), L.Dense(128, "relu"), L.Dense(64, "tanh"), L.Dense(10, activation="softmax")]
    )


def _regularised(keras: Any) -> Any:
    L, R = keras.layers, keras.regularizers
    return keras.Sequential([
        L.Input((64,)), L.Dense(64, "relu", kernel_regularizer=R.L1(1e-3), activity_regularizer=R.L2(1e-3)),
        L.Dense(32, "elu", kernel_regularizer="l2", bias_regularizer=R.L1L2(1e-3, 1e-3)),
        L.Dense(10, "softmax", kernel_constraint="unit_norm"),
    ])  # fmt: skip


def _default_cnn(keras: Any, size: int = 32) -> Any:
    L = keras.layers
    return keras.Sequential([
        L.Input((size, size, 3)), L.Conv2D(32, 3, padding="same", activation="relu"), L.MaxPooling2D(),
        L.Conv2D(64, 3, padding="same", activation="relu"), L.MaxPooling2D(), L.Flatten(),
        L.Dense(64, activation="relu"), L.Dense(10, activation="softmax"),
    ])  # fmt: skip


def _final_cnn(keras: Any) -> Any:
    L = keras.layers
    layers = [L.Input((32, 32, 3))]
    for filters in (64, 128, 256):
        layers += [L.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)] + [L.MaxPooling2D()]
    return keras.Sequential([*layers, L.Flatten(), L.Dense(512, "relu"), L.Dense(10, "softmax")])


def _batch_norm(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential([
        L.Input((12, 12, 3)), L.Conv2D(16, 3, use_bias=False), L.BatchNormalization(momentum=0.9), L.ReLU(),
        L.SeparableConv2D(16, 3, strides=2, padding="same"), L.BatchNormalization(scale=False), L.Activation("gelu"),
        L.GlobalAveragePooling2D(), L.LayerNormalization(), L.Dense(10, "softmax"),
    ])  # fmt: skip


def recurrent(cell: str, both: bool = False, levels: int = 1, **embedding: Any) -> Callable[[Any], Any]:
    def build(keras: Any) -> Any:
        L = keras.layers
        layers = [L.Input((None,), dtype="int32"), L.Embedding(200, 16, **embedding)]
        for i in range(levels):
            each = getattr(L, cell)(24, return_sequences=i + 1 < levels)
            layers.append(L.Bidirectional(each) if both else each)
        return keras.Sequential([*layers, L.Dense(3, "softmax")])

    return build


def _two_outputs(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((64,))
    h = L.Dense(32, "relu")(x)
    return keras.Model(x, {"class": L.Dense(10, "softmax", name="class")(h), "size": L.Dense(1, name="size")(h)})


def _two_targets(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    x, y, _ = vectors(640, 64, 10)(rng)
    return x, {"class": y, "size": x[:, :1] * 2 + 1}, None


def _autoencoder(keras: Any) -> Any:
    L = keras.layers
    x = keras.Input((16, 16, 1))
    h = L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    h = L.Conv2DTranspose(8, 3, strides=2, padding="same", activation="selu")(h)
    return keras.Model(x, L.Add()([L.Conv2D(1, 3, padding="same")(h), x]))


def _own_input(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    x = rng.normal(size=(320, 16, 16, 1)).astype(np.float32)
    return x, x * 0.5, None


CASES: dict[str, Case] = {
    "MLP, Adam": Case(_mlp, vectors(640, 64, 10)),
    "MLP, SGD with momentum": Case(_mlp, vectors(640, 64, 10), lambda k: k.optimizers.SGD(0.05, 0.9, nesterov=True)),
    "MLP, AdamW, clipped": Case(_mlp, vectors(640, 64, 10), lambda k: k.optimizers.AdamW(0.003, global_clipnorm=0.5)),
    "MLP, RMSprop, cosine decay": Case(
        _mlp, vectors(640, 64, 10), lambda k: k.optimizers.RMSprop(k.optimizers.schedules.CosineDecay(0.002, 150))
    ),
    "MLP, sample weights": Case(_mlp, vectors(640, 64, 10, weighted=True)),
    "L1, L2, activity, constraint": Case(_regularised, vectors(640, 64, 10)),
    "two outputs": Case(
        _two_outputs, _two_targets, loss={"class": "sparse_categorical_crossentropy", "size": "mse"},
        more={"loss_weights": {"class": 1.0, "size": 0.3}},
    ),
    # Adam makes rounding grow: Keras without oneDNN is up to .13 away from Keras with it in these 200 steps
    "default CNN": Case(_default_cnn, images(320, 32, 3, 10), long=0.15),
    "BatchNorm, separable": Case(_batch_norm, images(640, 12, 3, 10)),
    "autoencoder": Case(_autoencoder, _own_input, loss="mse"),
    "SimpleRNN, 2 layers": Case(recurrent("SimpleRNN", levels=2), sentences(640, 20, 200, 3)),
    "LSTM": Case(recurrent("LSTM"), sentences(640, 20, 200, 3)),
    "GRU": Case(recurrent("GRU"), sentences(640, 20, 200, 3)),
    "BiLSTM": Case(recurrent("LSTM", both=True), sentences(640, 20, 200, 3)),
    "BiLSTM, 2 layers, masked": Case(
        recurrent("LSTM", both=True, levels=2, mask_zero=True), sentences(640, 20, 200, 3, padded=True)
    ),
    "BiGRU, masked": Case(recurrent("GRU", both=True, mask_zero=True), sentences(640, 20, 200, 3, padded=True)),
}  # fmt: skip
HEAVY: dict[str, Case] = {
    # here Keras without oneDNN is up to .0026 away from Keras with it within 20 steps, more than 1e-5 from the 5th on
    "final CNN": Case(_final_cnn, images(64, 32, 3, 10), first=5e-3),
    "final CNN, SGD": Case(_final_cnn, images(64, 32, 3, 10), lambda k: k.optimizers.SGD(0.01, 0.9), first=2e-3),
}


def run(keras: Any, case: Case, steps: int, batch: int = 32) -> tuple[list[float], list[float]]:
    """The losses of every step, ours and Keras'."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    theirs = case.build(keras)
    theirs.compile(case.optimizer(keras), case.loss, **case.more)
    ours = tenun.load_model(theirs)
    x, y, weights = case.data(rng)
    found: tuple[list[float], list[float]] = [], []
    for i in range(steps):
        at = slice(i * batch % len(x), i * batch % len(x) + batch)
        target = {k: v[at] for k, v in y.items()} if isinstance(y, dict) else y[at]
        args = (x[at], target, None if weights is None else weights[at])
        for model, losses in zip((ours, theirs), found):
            result = model.train_on_batch(*args)
            losses.append(float(result[0] if isinstance(result, (list, tuple)) else result))
    return found


def largest(ours: list[float], theirs: list[float]) -> float:
    """The largest relative difference."""
    return float(np.max(np.abs(np.subtract(ours, theirs)) / np.abs(theirs)))
