"""Train the demo models that come with tenun, with real Keras, on scikit-learn's handwritten digits.

    python train_demo.py --out DIR

Writes `digits_cnn.keras`, `digits_bilstm.keras`, `digits_test.npz` (the held-out test set) and `demo.json` (what each
model is, how to feed it, and what Keras measured on the test set).  The saved models carry no optimizer state.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import describe, figures, prepare, start_keras, write_json
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 2025
TEST_SAMPLES = 540
SANITY_ROWS = 3


def digits() -> list[np.ndarray]:
    """The digits as uint8 (n, 8, 8), values 0 to 16, split by class: x_train, x_test, y_train, y_test."""
    data = load_digits()
    images, labels = data.images.astype(np.uint8), data.target.astype(np.uint8)
    split: list[np.ndarray] = train_test_split(
        images, labels, test_size=TEST_SAMPLES, stratify=labels, random_state=SEED
    )
    return split


def digits_cnn(keras: Any) -> Any:
    """Two convolutions and two dense layers, with BatchNormalization and Dropout for the passes to fold."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", use_bias=False, name="conv_1"),
            layers.BatchNormalization(name="norm_1"),
            layers.ReLU(name="relu_1"),
            layers.MaxPooling2D(2, name="pool_1"),
            layers.Conv2D(64, 3, padding="same", name="conv_2"),
            layers.BatchNormalization(name="norm_2"),
            layers.ReLU(name="relu_2"),
            layers.MaxPooling2D(2, name="pool_2"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.3, name="drop_1"),
            layers.Dense(48, activation="relu", name="dense"),
            layers.Dropout(0.3, name="drop_2"),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits_cnn",
    )


def digits_bilstm(keras: Any) -> Any:
    """An image read as a sequence of its 8 rows, top down and bottom up, by two bidirectional LSTMs."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8), name="rows"),
            layers.Bidirectional(layers.LSTM(32, return_sequences=True), name="bilstm_1"),
            layers.Bidirectional(layers.LSTM(16), name="bilstm_2"),
            layers.Dropout(0.2, name="drop"),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits_bilstm",
    )


MODELS = (
    (digits_cnn, "CNN on 8x8 handwritten digits", [8, 8, 1], 30),
    (digits_bilstm, "Bidirectional LSTM on the rows of 8x8 handwritten digits", [8, 8], 60),
)


def main() -> None:
    """Train both models and write them with the test set and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the models, the test set and demo.json")
    parser.add_argument("--threads", type=int, default=0, help="TensorFlow's threads (0: it chooses)")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    x_train, x_test, y_train, y_test = digits()
    np.savez_compressed(out / "digits_test.npz", x_test=x_test, y_test=y_test)

    keras = start_keras(SEED, arguments.threads)
    records = []
    for build, title, shape, epochs in MODELS:
        inputs = {
            "file": "digits_test.npz",
            "samples": "x_test",
            "labels": "y_test",
            "dtype": "float32",
            "divide_by": 16,
            "shape": shape,
        }
        keras.utils.set_random_seed(SEED)
        model = build(keras)
        model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(prepare(inputs, x_train), y_train, epochs=epochs, batch_size=64, verbose=2)

        path = out / f"{model.name}.keras"
        bare = build(keras)  # never compiled: saved without Adam's two moments of each weight
        bare.set_weights(model.get_weights())
        bare.save(path)
        saved = keras.models.load_model(path)
        probabilities = saved.predict(prepare(inputs, x_test), batch_size=256, verbose=0)
        record = describe(
            keras, path, title, [str(digit) for digit in range(10)], inputs, figures(y_test, probabilities)
        )
        record["parameters"] = saved.count_params()
        record["probabilities"] = probabilities[:SANITY_ROWS].tolist()
        records.append(record)
        print(path.name, saved.count_params(), "parameters", record["keras"])
    write_json(out / "demo.json", {"models": records})


if __name__ == "__main__":
    main()
