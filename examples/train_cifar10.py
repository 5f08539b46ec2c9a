"""Train a small CNN on CIFAR-10 with real Keras, for tenun to be compared with.

    python train_cifar10.py --data DIR --out DIR [--epochs 5] [--batch-size 64]

`--data` holds `cifar10_subset.npz` (`x_train y_train x_test y_test`, images uint8 (n, 32, 32, 3)); the full set
saved in the same way does too.  Writes `cifar10_cnn.keras`, `cifar10_cnn.json` (what Keras measured on the whole test
set) and `cifar10_cnn.npz` (Keras' probabilities on it, and the labels).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import describe, figures, prepare, start_keras, write_json

SEED = 2025
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
INPUTS = {
    "file": "cifar10_subset.npz",
    "samples": "x_test",
    "labels": "y_test",
    "dtype": "float32",
    "divide_by": 255,
    "shape": [32, 32, 3],
}


def cifar10_cnn(keras: Any) -> Any:
    """Conv32 - pool - Conv64 - pool - Flatten - Dense64 - Dense10."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="cifar10_cnn",
    )


def main() -> None:
    """Train, save, reload, measure on the whole test set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10_subset.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and the figures")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="TensorFlow's threads (0: it chooses)")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    with np.load(arguments.data / str(INPUTS["file"])) as stored:
        x_train, x_test = prepare(INPUTS, stored["x_train"]), prepare(INPUTS, stored["x_test"])
        y_train, y_test = stored["y_train"].ravel(), stored["y_test"].ravel()

    keras = start_keras(SEED, arguments.threads)
    model = cifar10_cnn(keras)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=arguments.epochs, batch_size=arguments.batch_size, verbose=2)

    path = out / "cifar10_cnn.keras"
    model.save(path)
    probabilities = keras.models.load_model(path).predict(x_test, batch_size=256, verbose=0)
    np.savez_compressed(path.with_suffix(".npz"), probabilities=probabilities, y_test=y_test)
    record = describe(keras, path, "CNN on CIFAR-10", CLASSES, INPUTS, figures(y_test, probabilities))
    record["outputs"] = path.with_suffix(".npz").name
    record["training"] = {"samples": len(x_train), "epochs": arguments.epochs, "batch_size": arguments.batch_size}
    write_json(path.with_suffix(".json"), record)
    print(path.name, record["keras"])


if __name__ == "__main__":
    main()
