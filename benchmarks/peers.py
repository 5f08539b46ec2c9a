"""The runtimes that are compared: each row makes a function from inputs to outputs out of one saved model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Files:
    """One model: the live Keras object, its `.keras` file, and Keras' own ONNX export."""

    live: Any
    keras: Path
    onnx: Path


def tenun_runs(files: Files) -> Run:
    """tenun on the `.keras` file."""
    import tenun

    return tenun.compile(files.keras)  # type: ignore[return-value]


def tenun_runs_onnx(files: Files) -> Run:
    """tenun on the ONNX export."""
    import tenun

    return tenun.compile(files.onnx)  # type: ignore[return-value]


def keras_predict(files: Files) -> Run:
    """model.predict, as users call it."""
    return lambda x: files.live.predict(x, batch_size=len(x), verbose=0)


def keras_function(files: Files) -> Run:
    """The model inside tf.function."""
    import tensorflow as tf

    call = tf.function(lambda x: files.live(x, training=False))
    return lambda x: call(x).numpy()


def onnxruntime_runs(files: Files) -> Run:
    """ONNX Runtime on Keras' own export, default threads."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(files.onnx), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def onnx_reference(files: Files) -> Run:
    """onnx's reference evaluator: NumPy as well."""
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(str(files.onnx))
    name = session.input_names[0]
    return lambda x: session.run(None, {name: x})[0]


PEERS: dict[str, Callable[[Files], Run]] = {
    "tenun": tenun_runs,
    "tenun (onnx)": tenun_runs_onnx,
    "keras predict": keras_predict,
    "tf.function": keras_function,
    "onnxruntime": onnxruntime_runs,
    "onnx reference": onnx_reference,
}
SLOW = {"onnx reference": 3}  # peers that get fewer rounds: seconds, not milliseconds, a run
