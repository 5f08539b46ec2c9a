"""Models that ONNX Runtime's optimiser has rewritten with its own operators give the same results here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import tenun
from tenun.ir import verify

onnxruntime.set_default_logger_severity(4)
Level = onnxruntime.GraphOptimizationLevel
SERIES, IMAGE = (7, 16), (18, 18, 3)


def optimised(path: Path, level: Any = Level.ORT_ENABLE_EXTENDED) -> Path:
    """The model as ONNX Runtime has optimised it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    result = path.with_suffix(f".{level.name}.onnx")
    options.optimized_model_filepath = str(result)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return result


def contrib_operators(path: Path) -> set[str]:
    return {n.op_type for n in onnx.load(path).graph.node if n.domain == "com.microsoft"}


def check(path: Path, x: Any, operators: set[str], rtol: float = 1e-4, atol: float = 2e-6) -> None:
    """The optimised model has these operators, and gives what ONNX Runtime gives for the plain one."""
    better = optimised(path)
    assert contrib_operators(better) >= operators, contrib_operators(better)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (want,) = session.run(None, {session.get_inputs()[0].name: x})
    graph = tenun.load(better)
    verify(graph)
    np.testing.assert_allclose(tenun.compile(graph)(x), want, rtol=rtol, atol=atol)


def data(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)


def encoder(L: Any, x: Any) -> Any:
    """One block of a Transformer's encoder."""
    attended = L.MultiHeadAttention(2, 8)(x, x)
    x = L.LayerNormalization(epsilon=1e-5)(L.Add()([x, attended]))
    wide = L.Dense(32, activation="silu")(x)
    return L.LayerNormalization(epsilon=1e-5)(L.Add()([x, L.Dense(16)(wide)]))


def network(L: Any, x: Any) -> Any:
    """Convolutions with activations and a residual."""
    x = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    y = L.Conv2D(8, 3, padding="same")(x)
    x = L.ReLU()(L.Add()([x, y]))
    x = L.LeakyReLU(negative_slope=0.1)(L.Conv2D(8, 3, strides=2)(x))
    return L.Dense(4, activation="softmax")(L.GlobalAveragePooling2D()(x))


def recurrent(L: Any, x: Any) -> Any:
    return L.Dense(3, activation="tanh")(L.LSTM(6)(L.LSTM(6, return_sequences=True)(x)))


# name: shape of a sample, layers, contrib operators expected
MODELS: dict[str, tuple[tuple[int, ...], Callable[[Any, Any], Any], set[str]]] = {
    "encoder": (SERIES, encoder, {"FusedMatMul", "SkipLayerNormalization"}),
    "network": (IMAGE, network, {"FusedConv"}),
    "recurrent": (SERIES, recurrent, {"FusedGemm"}),
}


def written(name: str, folder: Path) -> Path:
    shape, layers, _ = MODELS[name]
    x = tenun.Input(shape)
    tenun.save(tenun.Model(x, layers(tenun.layers, x)), folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize("name", MODELS)
def test_models_that_tenun_wrote(name: str, tmp_path: Path) -> None:
    shape, _, operators = MODELS[name]
    check(written(name, tmp_path), data(shape), operators)


# ---- quantised by ONNX Runtime's tools -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "operators"), [("encoder", {"DynamicQuantizeMatMul"}), ("recurrent", {"DynamicQuantizeLSTM"})]
)
def test_quantised_dynamically(name: str, operators: set[str], tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    path = tmp_path / "q.onnx"
    quantization.quantize_dynamic(written(name, tmp_path), path)
    check(path, data(MODELS[name][0]), operators, *((3e-2, 3e-2) if name == "recurrent" else (2e-3, 2e-3)))


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("name", ["network", "encoder"])
def test_quantised_statically(name: str, form: str, tmp_path: Path) -> None:
    """A few results of a layer fall to the other side of a rounding."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    plain, path = written(name, tmp_path), tmp_path / "q.onnx"
    x = data(MODELS[name][0])
    key = onnxruntime.InferenceSession(str(plain)).get_inputs()[0].name

    class Samples(quantization.CalibrationDataReader):  # type: ignore[name-defined, misc]
        left = [{key: x}, {key: -x}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    quantization.quantize_static(plain, path, Samples(), quant_format=getattr(quantization.QuantFormat, form))
    check(path, x, set(), 5e-2, 1e-1)


def test_weights_of_four_bits(tmp_path: Path) -> None:
    quantizer = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    made = quantizer.MatMulNBitsQuantizer(onnx.load(written("encoder", tmp_path)), block_size=16)
    made.process()
    made.model.save_model_to_file(str(tmp_path / "q.onnx"))
    check(tmp_path / "q.onnx", data(SERIES), {"MatMulNBits"})


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_that_keras_exported(name: str, tmp_path: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras, _ = pytest.importorskip("keras"), pytest.importorskip("tf2onnx")
    shape, layers, operators = MODELS[name]
    keras.utils.set_random_seed(0)
    x = keras.Input(shape)
    model = keras.Model(x, layers(keras.layers, x))
    model(data(shape))  # Keras exports what has been called
    model.export(tmp_path / "m.onnx", format="onnx", verbose=False)
    check(tmp_path / "m.onnx", data(shape), operators & {"FusedConv"})
