"""Run the trained models with tenun and put its figures beside those that Keras measured.

    python compare_with_keras.py --models DIR [--data DIR]

Every model is taken whose JSON record lies in or below `--models`: what the training scripts wrote, or the demo
folder.  `--data` is the folder with test samples that do not lie beside the model (`cifar10_subset.npz`).  Neither
Keras nor TensorFlow is needed.  The exit status is 1 when a macro F1 differs in the fourth decimal.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import figures, prepare

import tenun

COLUMNS = ("model", "samples", "F1 tenun", "F1 Keras", "acc. tenun", "acc. Keras", "max |diff|", "other class", "")
ROW = "{:<24} {:>7} {:>9} {:>9} {:>10} {:>10} {:>11} {:>12} {}"


def records(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder and the record of every model described by a JSON file in or below `folder`."""
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for record in content.get("models", [content]):
            if "file" in record and "keras" in record:
                yield path.parent, record


def test_set(record: dict[str, Any], folder: Path, data: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """The prepared test samples and their labels, from beside the model or from the data folder."""
    inputs = record["inputs"]
    places = [folder, *([data] if data else [])]
    for place in places:
        if (place / inputs["file"]).is_file():
            with np.load(place / inputs["file"]) as stored:
                return prepare(inputs, stored[inputs["samples"]]), stored[inputs["labels"]].ravel()
    searched = " or ".join(str(place) for place in places)
    raise FileNotFoundError(f"{inputs['file']} for {record['file']} is not in {searched}: name its folder with --data")


def keras_probabilities(record: dict[str, Any], folder: Path) -> np.ndarray:
    """Keras' probabilities of the first test samples: of all where they were saved, of a few in the demo."""
    if "outputs" in record:
        with np.load(folder / record["outputs"]) as stored:
            probabilities: np.ndarray = stored["probabilities"]
        return probabilities
    return np.array(record["probabilities"], dtype=np.float32)


def main() -> int:
    """Compare all models; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder with trained models and their JSON records")
    parser.add_argument("--data", type=Path, help="folder with test samples that are not beside the models")
    arguments = parser.parse_args()

    compared = differing = 0
    print(ROW.format(*COLUMNS).rstrip())
    for folder, record in records(arguments.models):
        x, labels = test_set(record, folder, arguments.data)
        executable = tenun.compile(str(folder / record["file"]))
        probabilities = np.asarray(executable.predict(x, batch_size=256))
        own, reference = figures(labels, probabilities), record["keras"]
        expected = keras_probabilities(record, folder)
        known = probabilities[: len(expected)]
        difference = float(np.abs(known - expected).max())
        disagreements = int((known.argmax(axis=-1) != expected.argmax(axis=-1)).sum())
        equal = f"{own['macro_f1']:.4f}" == f"{reference['macro_f1']:.4f}"
        compared += 1
        differing += not equal
        print(
            ROW.format(
                record["file"],
                len(x),
                f"{own['macro_f1']:.4f}",
                f"{reference['macro_f1']:.4f}",
                f"{own['accuracy']:.4f}",
                f"{reference['accuracy']:.4f}",
                f"{difference:.1e}",
                f"{disagreements} of {len(expected)}",
                "equal" if equal else "DIFFERS",
            )
        )
    if not compared:
        parser.error(f"no model with a JSON record in {arguments.models}")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
