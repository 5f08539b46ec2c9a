"""What the training scripts share: starting Keras, the figures, and the JSON record that goes with each model.

Keras and TensorFlow are imported by `start_keras` only, so that `compare_with_keras.py` runs without them.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score


def start_keras(seed: int, threads: int = 0) -> Any:
    """Import Keras on TensorFlow with fixed seeds, deterministic ops and so many threads (0: TensorFlow chooses)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.experimental.enable_op_determinism()
    keras = importlib.import_module("keras")
    keras.utils.set_random_seed(seed)
    return keras


def figures(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1, in full precision, of the most probable classes."""
    predicted = probabilities.argmax(axis=-1)
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro")),
    }


def prepare(inputs: dict[str, Any], stored: np.ndarray) -> np.ndarray:
    """The array that a model is fed, from the stored one and a record's `inputs` entry.

    That is: `stored` as `dtype`, over `divide_by` where it is given, each sample reshaped to `shape`.
    """
    array = stored.astype(inputs["dtype"]).reshape(len(stored), *inputs["shape"])
    if "divide_by" in inputs:
        array /= np.asarray(inputs["divide_by"], dtype=array.dtype)
    return array


def describe(
    keras: Any, path: Path, title: str, classes: list[str], inputs: dict[str, Any], measured: dict[str, float]
) -> dict[str, Any]:
    """The record of one saved model: its file, its classes, how to feed it, and what Keras measured.

    `inputs` names the file and key of the stored test samples and the labels, and what `prepare` needs.
    """
    return {
        "file": path.name,
        "title": title,
        "classes": classes,
        "inputs": inputs,
        "keras": {
            **measured,
            "version": keras.__version__,
            "date": datetime.date.today().isoformat(),
        },
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as indented UTF-8 JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
