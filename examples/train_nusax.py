"""Train a bidirectional LSTM on NusaX sentiment (Indonesian) with real Keras, for tenun to be compared with.

    python train_nusax.py --data DIR --out DIR [--epochs 10] [--batch-size 32] [--no-mask-zero]

`--data` holds `nusax/{train,valid,test}.csv` with the columns id, text, label.  Writes `nusax_bilstm.keras`,
`nusax_bilstm.json` (what Keras measured on the test set), `nusax_bilstm.npz` (the test set's token ids, its labels
and Keras' probabilities) and `nusax_vocabulary.json` (the tokenizer).
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import describe, figures, start_keras, write_json

SEED = 2025
CLASSES = ["negative", "neutral", "positive"]
LENGTH = 100


@dataclass(frozen=True)
class Tokenizer:
    """Words to numbers: 0 is padding, 1 an unknown word, 2 the most frequent word, 3 the next, and so on.

    A text is put in lower case and cut into the matches of `pattern`.
    """

    words: tuple[str, ...]
    pattern: str = r"\w+"

    PADDING = 0
    UNKNOWN = 1
    FIRST = 2

    @classmethod
    def fit(cls, texts: Iterable[str], size: int) -> Tokenizer:
        """The words of `texts` by falling frequency (ties by first appearance), at most `size` ids in all."""
        counts = Counter(word for text in texts for word in re.findall(cls.pattern, text.lower()))
        return cls(tuple(word for word, _ in counts.most_common(size - cls.FIRST)))

    @property
    def size(self) -> int:
        """The number of ids, those of padding and of unknown words included."""
        return len(self.words) + self.FIRST

    def encode(self, texts: Iterable[str], length: int) -> np.ndarray:
        """Token ids (n, length) as int32: longer texts lose their end, shorter ones end in padding."""
        ids = {word: number for number, word in enumerate(self.words, self.FIRST)}
        rows = []
        for text in texts:
            row = [ids.get(word, self.UNKNOWN) for word in re.findall(self.pattern, text.lower())[:length]]
            rows.append(row + [self.PADDING] * (length - len(row)))
        return np.array(rows, dtype=np.int32)

    def to_json(self) -> dict[str, Any]:
        """All that is needed to encode a text elsewhere."""
        return {
            "lower_case": True,
            "pattern": self.pattern,
            "padding": self.PADDING,
            "unknown": self.UNKNOWN,
            "first": self.FIRST,
            "words": list(self.words),
        }


def read(path: Path) -> tuple[list[str], np.ndarray]:
    """The texts and the labels (as numbers of `CLASSES`) of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], np.array([CLASSES.index(row["label"]) for row in rows])


def nusax_bilstm(keras: Any, vocabulary: int, mask_zero: bool) -> Any:
    """Embedding - Bidirectional(LSTM64) - Dropout - Dense3."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(vocabulary, 64, mask_zero=mask_zero),
            layers.Bidirectional(layers.LSTM(64)),
            layers.Dropout(0.5),
            layers.Dense(len(CLASSES), activation="softmax"),
        ],
        name="nusax_bilstm",
    )


def main() -> None:
    """Train, save, reload, measure on the test set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with nusax/{train,valid,test}.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and the figures")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=3000, help="the most token ids (3000)")
    parser.add_argument(
        "--mask-zero",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether the Embedding masks padding, so that the LSTM skips it",
    )
    parser.add_argument("--threads", type=int, default=0, help="TensorFlow's threads (0: it chooses)")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    texts, y_train = read(arguments.data / "nusax" / "train.csv")
    valid_texts, y_valid = read(arguments.data / "nusax" / "valid.csv")
    test_texts, y_test = read(arguments.data / "nusax" / "test.csv")
    tokenizer = Tokenizer.fit(texts, arguments.vocabulary)
    write_json(out / "nusax_vocabulary.json", tokenizer.to_json())
    x_train, x_valid, x_test = (tokenizer.encode(part, LENGTH) for part in (texts, valid_texts, test_texts))

    keras = start_keras(SEED, arguments.threads)
    model = nusax_bilstm(keras, tokenizer.size, arguments.mask_zero)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        x_train,
        y_train,
        validation_data=(x_valid, y_valid),
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        verbose=2,
    )

    path = out / "nusax_bilstm.keras"
    model.save(path)
    probabilities = keras.models.load_model(path).predict(x_test, batch_size=256, verbose=0)
    outputs = path.with_suffix(".npz")
    np.savez_compressed(outputs, x_test=x_test, y_test=y_test, probabilities=probabilities)
    inputs = {"file": outputs.name, "samples": "x_test", "labels": "y_test", "dtype": "int32", "shape": [LENGTH]}
    record = describe(
        keras, path, "Bidirectional LSTM on NusaX sentiment", CLASSES, inputs, figures(y_test, probabilities)
    )
    record["outputs"] = outputs.name
    record["vocabulary"] = "nusax_vocabulary.json"
    record["training"] = {
        "samples": len(x_train),
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "mask_zero": arguments.mask_zero,
    }
    write_json(path.with_suffix(".json"), record)
    print(path.name, record["keras"])


if __name__ == "__main__":
    main()
