"""Every class of keras.applications with random weights: read from .keras, equal to Keras, at its smallest size; and
written as ONNX, where ONNX Runtime gives the same.

TENUN_APPLICATIONS=full takes the default input sizes (and much more time and memory).
"""

from __future__ import annotations

import gc
import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")
onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")

from .checks import save  # noqa: E402
from .compare import error  # noqa: E402

TOLERANCE = 1e-4
SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
USUAL = 32
FULL = os.environ.get("TENUN_APPLICATIONS") == "full"


def names() -> list[str]:
    """The classes of keras.applications."""
    found = vars(keras.applications).items()
    return [name for name, value in found if inspect.isfunction(value)]


def make(name: str) -> Any:
    """The model with random weights, such that its outputs say something."""
    function = getattr(keras.applications, name)
    size = {} if FULL else {"input_shape": (*[SMALLEST.get(name, USUAL)] * 2, 3)}
    if not FULL and name in ("NASNetLarge", "NASNetMobile"):
        size["include_top"] = False
    top = {} if size.get("include_top") is False else {"classes": 10}
    return randomise(function(weights=None, **size, **top))


def randomise(model: Any, seed: int = 0) -> Any:
    """Statistics, scales and offsets at random, kernels that keep the variance of what goes through them."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape, last = tuple(weight.shape), weight.path.split("/")[-1]
        if "float" not in str(weight.dtype):
            continue
        if len(shape) > 1:
            fan = int(np.prod(shape[:2] if "depthwise" in last else shape[:-1]))
            value = rng.normal(0, fan**-0.5, shape)
        elif last in ("gamma", "moving_variance", "variance"):
            value = rng.uniform(0.7, 1.3, shape)
        else:
            value = rng.normal(0, 0.1, shape)
        weight.assign(value.astype("float32"))
    return model


def check(name: str, folder: Path) -> None:
    model = make(name)
    x = np.random.default_rng(1).uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    save(model, folder / "model.keras")
    want = np.asarray(model(x, training=False))
    assert np.ptp(want) > 1e-3 and np.isfinite(want).all()
    del model
    keras.backend.clear_session()
    scale = float(np.abs(want).max())
    graph = tenun.load(folder / "model.keras")
    assert error(tenun.compile(graph, threads=1)(x), want, absolute=scale) <= TOLERANCE
    tenun.save(graph, folder / "model.onnx")
    del graph
    (folder / "model.keras").unlink()
    gc.collect()
    assert error(in_runtime(folder / "model.onnx", x), want, absolute=scale) <= TOLERANCE
    (folder / "model.onnx").unlink()


def in_runtime(path: Path, x: Any) -> Any:
    """What ONNX Runtime makes of a file, which its checker passes."""
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_equal(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


def test_there_are_forty() -> None:
    """A new class of a new Keras shows up here."""
    assert len(names()) == 40
