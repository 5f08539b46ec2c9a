"""The runtimes that are compared: each row makes a function from inputs to outputs out of one model's files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from .files import Files
from .measure import Array, Run, UnfitError
from .records import OURS


@dataclass(frozen=True)
class Peer:
    """How a model becomes a function; a `slow` one has few rounds, and none where a run would take seconds; one that
    is not `usual` is measured where it is asked for.
    """

    name: str
    make: Callable[[Files], Run]
    slow: bool = False
    usual: bool = True


def threads() -> int:
    """How many threads every peer is told to use; 0: its own default."""
    return int(os.environ.get("TENUN_THREADS", "0"))


def tenun_runs(files: Files, *formats: str, backend: str = "numpy") -> Run:
    """tenun on the first of the formats that there is."""
    import tenun

    return tenun.compile(files.path(*formats), backend=backend)


def keras_predict(files: Files) -> Run:
    """model.predict, as users call it."""
    predict = files.keras.predict
    return lambda x: predict(x, batch_size=len(x), verbose=0)


def keras_call(files: Files) -> Run:
    """The model called as a function, operation by operation."""
    live = files.keras
    return lambda x: np.asarray(live(x, training=False))


def keras_function(files: Files) -> Run:
    """The model inside tf.function."""
    import tensorflow as tf

    live = files.keras
    call = tf.function(lambda x: live(x, training=False))
    return lambda x: call(x).numpy()


def onnxruntime_runs(files: Files) -> Run:
    """ONNX Runtime on Keras' own export."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    path = str(files.path("onnx"))
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name, *more = [v.name for v in session.get_inputs()]
    if more:
        raise UnfitError(f"the export has {len(more)} inputs too many")
    return lambda x: session.run(None, {name: x})[0]


def onnx_reference(files: Files) -> Run:
    """onnx's reference evaluator: NumPy as well."""
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(str(files.path("onnx")))
    name = session.input_names[0]
    return lambda x: cast(list[Array], session.run(None, {name: x}))[0]


def scikit_learn(files: Files) -> Run:
    """scikit-learn's MLPClassifier with the weights put in, where the model is one."""
    from sklearn.neural_network import MLPClassifier

    layers = files.keras.layers
    kinds = {(type(layer).__name__, getattr(getattr(layer, "activation", None), "__name__", "")) for layer in layers}
    if kinds != {("Dense", "relu"), ("Dense", "softmax")}:
        raise UnfitError("no MLP")
    weights: list[list[Array]] = [layer.get_weights() for layer in layers]
    classifier = MLPClassifier([len(bias) for _, bias in weights[:-1]])
    sizes = len(weights[0][0]), len(weights[-1][1])
    classifier.partial_fit(np.zeros((1, sizes[0]), np.float32), [0], classes=range(sizes[1]))  # sets up all the rest
    classifier.coefs_, classifier.intercepts_ = (list(arrays) for arrays in zip(*weights))
    return classifier.predict_proba


PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, lambda files: tenun_runs(files, "keras", "onnx")),
        Peer("tenun numba", lambda files: tenun_runs(files, "keras", "onnx", backend="numba")),
        Peer("tenun onnx", lambda files: tenun_runs(files, "onnx"), usual=False),
        Peer("keras predict", keras_predict),
        Peer("keras call", keras_call),
        Peer("tf.function", keras_function),
        Peer("onnxruntime", onnxruntime_runs),
        Peer("onnx reference", onnx_reference, slow=True),
        Peer("scikit-learn", scikit_learn),
    )
}


def oracle(files: Files) -> Run:
    """What all answers are compared with: Keras where there is a Keras model, else ONNX Runtime."""
    return keras_call(files) if "keras" in files.paths else onnxruntime_runs(files)
