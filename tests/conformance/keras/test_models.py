"""Models as Keras' documentation builds them: read, run, trained a few steps beside Keras, and written back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from .checks import save  # noqa: E402
from .compare import arrays, error, fed  # noqa: E402

STEPS, SAMPLES = 4, 6
TOLERANCE, LEARNED = 1e-5, 1e-4
L, ops = keras.layers, keras.ops
Made = tuple[Any, list[Any], Any]  # the model, compiled; its inputs; its targets
MODELS: dict[str, Callable[[np.random.Generator], Made]] = {}


def model(build: Callable[[np.random.Generator], Made]) -> Callable[[np.random.Generator], Made]:
    MODELS[build.__name__] = build
    return build


def compiled(found: Any, loss: Any, optimizer: str = "adam", **more: Any) -> Any:
    found.compile(optimizer, loss, **more)
    return found


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return rng.normal(size=(SAMPLES, *shape)).astype("float32")


@model
def autoencoder(rng: np.random.Generator) -> Made:
    """Convolutions down, transposed convolutions up."""
    x = keras.Input((12, 12, 1))
    y = x
    for filters in (8, 4):
        y = L.MaxPooling2D(2, padding="same")(L.Conv2D(filters, 3, activation="relu", padding="same")(y))
    for filters in (4, 8):
        y = L.Conv2DTranspose(filters, 3, strides=2, activation="relu", padding="same")(y)
    y = L.Conv2D(1, 3, activation="sigmoid", padding="same")(y)
    picture = rng.random((SAMPLES, 12, 12, 1)).astype("float32")
    return compiled(keras.Model(x, y), "binary_crossentropy"), [picture], picture


@model
def sequence_to_sequence(rng: np.random.Generator) -> Made:
    """The decoder starts with the encoder's last states and is fed the target, one step late."""
    source, target = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    _, *states = L.LSTM(8, return_state=True)(L.Embedding(12, 6, mask_zero=True)(source))
    decoded, _, _ = L.LSTM(8, return_sequences=True, return_state=True)(
        L.Embedding(10, 6)(target), initial_state=states
    )
    made = keras.Model([source, target], L.Dense(10, activation="softmax")(decoded))
    said = rng.integers(0, 12, (SAMPLES, 7)).astype("int32")
    answer = rng.integers(0, 10, (SAMPLES, 5)).astype("int32")
    late = np.pad(answer[:, :-1], ((0, 0), (1, 0)))
    return compiled(made, "sparse_categorical_crossentropy"), [said, late], answer


@model
def siamese(rng: np.random.Generator) -> Made:
    """One tower for both pictures, and their Euclidean distance."""
    tower = keras.Sequential(
        [keras.Input((10, 10, 1)), L.Conv2D(4, 5, activation="tanh"), L.AveragePooling2D(2), L.Flatten(),
         L.BatchNormalization(), L.Dense(6, activation="tanh")], name="tower",
    )  # fmt: skip
    a, b = keras.Input((10, 10, 1)), keras.Input((10, 10, 1))
    squares = ops.sum(ops.square(tower(a) - tower(b)), axis=1, keepdims=True)
    distance = L.BatchNormalization()(ops.sqrt(ops.maximum(squares, 1e-7)))
    made = keras.Model([a, b], L.Dense(1, activation="sigmoid")(distance))
    same = rng.integers(0, 2, (SAMPLES, 1)).astype("float32")
    return compiled(made, "binary_crossentropy", "rmsprop"), [normal(rng, 10, 10, 1), normal(rng, 10, 10, 1)], same


def transformer_block(steps: int, width: int, heads: int) -> Any:
    """Attention and a small network, each with a residual and a normalisation, as a model of its own."""
    x = keras.Input((steps, width))
    attended = L.LayerNormalization(epsilon=1e-6)(x + L.Dropout(0.0)(L.MultiHeadAttention(heads, width // heads)(x, x)))
    network = keras.Sequential(
        [keras.Input((steps, width)), L.Dense(16, activation="gelu"), L.Dense(width)], name="ffn"
    )
    return keras.Model(x, L.LayerNormalization(epsilon=1e-6)(attended + network(attended)), name="block")


@model
def transformer(rng: np.random.Generator) -> Made:
    """Tokens and positions, a nested block with nested parts, and what is made of the mean."""
    tokens = keras.Input((7,), dtype="int32")
    x = L.Embedding(11, 8)(tokens) + L.Embedding(7, 8)(ops.arange(7))
    x = transformer_block(7, 8, 2)(x)
    made = keras.Model(tokens, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(x)))
    return (
        compiled(made, "sparse_categorical_crossentropy"),
        [rng.integers(0, 11, (SAMPLES, 7)).astype("int32")], rng.integers(0, 3, SAMPLES),
    )  # fmt: skip


@model
def wavenet(rng: np.random.Generator) -> Made:
    """Dilated causal convolutions with gates, residuals and skips."""
    x = keras.Input((None, 2))
    y, skips = L.Conv1D(6, 1)(x), []
    for dilation in (1, 2, 4):
        gates = [L.Conv1D(6, 2, padding="causal", dilation_rate=dilation, activation=a)(y) for a in ("tanh", "sigmoid")]
        gated = L.Multiply()(gates)
        skips.append(L.Conv1D(5, 1)(gated))
        y = L.Add()([y, L.Conv1D(6, 1)(gated)])
    made = keras.Model(x, L.Conv1D(2, 1)(L.Activation("relu")(L.Add()(skips))))
    return compiled(made, "mse"), [normal(rng, 17, 2)], normal(rng, 17, 2)


@model
def u_net(rng: np.random.Generator) -> Made:
    """Down, up, and across by concatenation."""

    def twice(x: Any, filters: int) -> Any:
        for _ in range(2):
            x = L.Activation("relu")(L.BatchNormalization()(L.Conv2D(filters, 3, padding="same", use_bias=False)(x)))
        return x

    x = keras.Input((16, 16, 3))
    across, y = [], x
    for filters in (4, 8):
        across.append(twice(y, filters))
        y = L.MaxPooling2D()(across[-1])
    y = twice(y, 16)
    for filters in (8, 4):
        y = L.Concatenate()([L.Conv2DTranspose(filters, 2, strides=2)(y), across.pop()])
        y = twice(y, filters)
    made = keras.Model(x, L.Conv2D(2, 1, activation="softmax")(y))
    return (
        compiled(made, "sparse_categorical_crossentropy", "sgd"),
        [normal(rng, 16, 16, 3)], rng.integers(0, 2, (SAMPLES, 16, 16)),
    )  # fmt: skip


@model
def variational_autoencoder(rng: np.random.Generator) -> Made:
    """Without the sampling: what is reconstructed from the mean, and the divergence as an output of its own."""
    x = keras.Input((20,))
    hidden = L.Dense(12, activation="relu")(x)
    mean, log_variance = L.Dense(3, name="mean")(hidden), L.Dense(3, name="log_variance")(hidden)
    decoder = keras.Sequential([keras.Input((3,)), L.Dense(12, activation="relu"), L.Dense(20)], name="decoder")
    divergence = -0.5 * ops.sum(1 + log_variance - ops.square(mean) - ops.exp(log_variance), axis=-1, keepdims=True)
    made = keras.Model(x, [decoder(mean), divergence])
    values = normal(rng, 20)
    return (
        compiled(made, ["mse", "mae"], loss_weights=[1.0, 0.1]),
        [values],
        [values, np.zeros((SAMPLES, 1), "float32")],
    )


@model
def tagger(rng: np.random.Generator) -> Made:
    """Padded sentences: what is masked has no part in the loss either."""
    words = keras.Input((None,), dtype="int32")
    x = L.Embedding(15, 6, mask_zero=True)(words)
    x = L.Bidirectional(L.LSTM(5, return_sequences=True))(x)
    made = keras.Model(words, L.TimeDistributed(L.Dense(4, activation="softmax"))(x))
    sentence = rng.integers(1, 15, (SAMPLES, 8)).astype("int32")
    for i in range(SAMPLES):
        sentence[i, 8 - i :] = 0
    return compiled(made, "sparse_categorical_crossentropy"), [sentence], rng.integers(0, 4, (SAMPLES, 8))


@model
def tabular(rng: np.random.Generator) -> Made:
    """Columns of several kinds, each through preprocessing of its own."""
    age, rooms = rng.uniform(18, 80, (SAMPLES, 1)).astype("float32"), rng.integers(0, 9, (SAMPLES, 1)).astype("int32")
    town = np.asarray(rng.choice(["Ulm", "Bonn", "Kiel", "Jena"], (SAMPLES, 1)), object)
    inputs = [keras.Input((1,)), keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="string")]
    normalization = L.Normalization()
    normalization.adapt(age)
    columns = [
        normalization(inputs[0]),
        L.CategoryEncoding(num_tokens=6, output_mode="one_hot")(L.Discretization([20.0, 40.0, 60.0])(inputs[0])),
        L.IntegerLookup(vocabulary=[1, 2, 5, 7], output_mode="one_hot")(inputs[1]),
        L.StringLookup(vocabulary=["Bonn", "Ulm", "Jena"], output_mode="one_hot")(inputs[2]),
        L.HashedCrossing(8, output_mode="one_hot")([inputs[1], inputs[2]]),
        L.Flatten()(L.Embedding(5, 3)(L.Hashing(5)(inputs[2]))),
    ]
    x = L.Concatenate()(columns)
    made = keras.Model(inputs, L.Dense(1)(L.Dense(8, activation="relu")(x)))
    return compiled(made, "mse"), [age, rooms, town], normal(rng, 1)


@pytest.mark.parametrize("name", MODELS)
def test_model(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    built, inputs, targets = MODELS[name](np.random.default_rng(0))
    save(built, tmp_path / "model.keras")
    built.run_eagerly = True  # compiling costs more than a few steps
    ours = tenun.load_model(tmp_path / "model.keras")
    feed = inputs if len(inputs) > 1 else inputs[0]

    def compare(theirs: Any, tolerance: float) -> None:
        want = arrays(theirs(fed(inputs), training=False))
        assert error(tenun.compile(ours, threads=1)(*inputs), want) <= tolerance

    compare(built, TOLERANCE)
    losses = [[float(np.ravel(m.train_on_batch(x, targets))[0]) for _ in range(STEPS)]
              for m, x in ((built, fed(inputs)), (ours, feed))]  # fmt: skip
    np.testing.assert_allclose(losses[1], losses[0], rtol=LEARNED)
    assert len(set(losses[1])) == STEPS
    compare(built, LEARNED)
    ours.save(tmp_path / "written.keras")
    compare(keras.models.load_model(tmp_path / "written.keras"), TOLERANCE)
