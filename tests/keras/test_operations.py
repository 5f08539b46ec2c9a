"""Every operation of keras.ops that a file can hold: from a `.keras` file, and written back, it gives Keras' numbers.

The classes are listed from Keras itself, so that those of a new release are gaps with a name.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tenun.api import compile, load
from tenun.errors import UnsupportedError
from tenun.frontends.keras.reader import read_model
from tenun.frontends.keras.writer import write
from tenun.ir import Builder
from tenun.ir.verify import verify
from tenun.layers.operations import FAMILIES, OPERATIONS, REFUSED
from tenun.layers.operations.promotion import ABOVE, WEAK, result_type
from tenun.passes.autodiff.engine import gradients

from .operation_cases import CASES, Case

MODULES = ("numpy", "nn", "math", "linalg", "image", "core")
ABSTRACT = {"SegmentReduction"}  # the base of the segment operations


def classes(keras: Any) -> Iterator[tuple[str, str]]:
    """The names of all classes of operations, with their modules."""
    base = keras.Operation
    for module in MODULES:
        for name, found in vars(importlib.import_module(f"keras.src.ops.{module}")).items():
            if inspect.isclass(found) and issubclass(found, base) and found.__module__.endswith(f"ops.{module}"):
                yield name, module


def test_no_operation_of_keras_is_missing(keras: Any) -> None:
    found = {name: module for name, module in classes(keras) if name not in ABSTRACT}
    assert found.keys() == FAMILIES.keys() | REFUSED.keys()
    assert {name: found[name] for name in FAMILIES} == FAMILIES
    assert not OPERATIONS.keys() & REFUSED.keys()


def test_every_operation_has_cases() -> None:
    assert set(CASES) == set(OPERATIONS)


def test_promotion_is_that_of_keras(keras: Any) -> None:
    """All pairs and some triples, Python numbers included."""
    from keras.src.backend.common.dtypes import result_type as expected

    python = {"int": int, "float": float}
    names = [*ABOVE]
    for x in names:
        for y in names:
            for more in ((), ("float",), ("int", "float16")):
                given = (x, y, *more)
                want = expected(*(python.get(n, n) for n in given))
                assert result_type(*given) == want, given
    for one in names:
        assert result_type(one) == expected(python.get(one, one)) or one in WEAK
    with pytest.raises(TypeError, match="no common dtype"):
        result_type("float8_e4m3fn", "float32")


class Built(NamedTuple):
    model: Any
    inputs: list[Any]
    wanted: list[Any]


def build(keras: Any, case: Case) -> Built:
    inputs = [keras.Input(batch_shape=spec.shape, dtype=spec.dtype) for spec in case.inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ys = keras.tree.flatten(case.call(keras.ops, *inputs))
        model = keras.Model(inputs, ys)
    arrays = [spec.array(i) for i, spec in enumerate(case.inputs)]
    if case.oracle is not None:
        return Built(model, arrays, [np.asarray(y) for y in keras.tree.flatten(case.oracle(*arrays))])
    given = [keras.ops.convert_to_tensor(a) for a in arrays]
    return Built(model, arrays, flat(keras, case.call(keras.ops, *given) if case.eager else model(given)))


def flat(keras: Any, results: Any) -> list[Any]:
    """All results as arrays."""
    return [y.numpy() if hasattr(y, "numpy") else np.asarray(y) for y in keras.tree.flatten(results)]


def compare(got: Any, wanted: list[Any], case: Case) -> None:
    got = list(got) if isinstance(got, (list, tuple)) else [got]
    assert len(got) == len(wanted)
    for number, (g, w) in enumerate(zip(got, wanted)):
        g = np.asarray(g)
        assert (g.dtype, g.shape) == (w.dtype, w.shape), number
        if case.unique:
            close = case.tolerance or {"float16": 2e-3, "bfloat16": 1e-2}.get(w.dtype.name, 1e-5)
            kind = np.complex128 if w.dtype.kind == "c" else np.float64
            np.testing.assert_allclose(g.astype(kind), w.astype(kind), rtol=close, atol=close, err_msg=str(number))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_operation(keras: Any, tmp_path: Path, name: str) -> None:
    check(keras, CASES[name][0], tmp_path, written=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_all_inputs(keras: Any, tmp_path: Path, name: str) -> None:
    for case in CASES[name]:
        check(keras, case, tmp_path)


# one of each module is written in the quick tests, too
WRITTEN = list({FAMILIES[name]: name for name in CASES}.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITTEN)
def test_written(keras: Any, tmp_path: Path, name: str) -> None:
    check(keras, CASES[name][0], tmp_path)


def check(keras: Any, case: Case, folder: Path, written: bool = True) -> None:
    """Save, load, run; write, and let Keras load that and run it."""
    built = build(keras, case)
    path = folder / "model.keras"
    built.model.save(path)
    graph = load(path)
    verify(graph)
    executable = compile(graph)
    compare(executable(*built.inputs), built.wanted, case)
    if written:
        write(read_model(path).model, lambda layer: [], folder / "again.keras")
    if written and not case.eager and case.oracle is None:
        again = keras.saving.load_model(folder / "again.keras")
        compare(flat(keras, again(built.inputs)), built.wanted, case)
    if case.check is not None:
        case.check(built.inputs, flat(keras, executable(*built.inputs)))


# ---- what no file of Keras has ---------------------------------------------------------------------------------


def test_functions_are_refused_by_name(keras: Any, tmp_path: Path) -> None:
    x = keras.Input((4,))
    keras.Model(x, keras.ops.relu(x)).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["config.json"] = members["config.json"].replace(b'"Relu"', b'"WhileLoop"')
    with zipfile.ZipFile(tmp_path / "changed.keras", "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    with pytest.raises(UnsupportedError, match="WhileLoop.*takes Python functions"):
        load(tmp_path / "changed.keras")


# ---- gradients -------------------------------------------------------------------------------------------------

# operations as they are in CASES, of which the first result is differentiated
DIFFERENTIABLE = [
    "Logaddexp",
    "Hypot",
    "Sinc",
    "Cbrt",
    "I0",
    "Exp2",
    "Cumprod",
    "Std",
    "Median",
    "Quantile",
    "Sort",
    "Trapezoid",
    "Average",
    "Matmul",
    "Tensordot",
    "Einsum",
    "Kron",
    "Cross",
    "Pad",
    "Roll",
    "Tile",
    "TakeAlongAxis",
    "Where",
    "GetItem",
    "Correlate",
    "Vander",
    "Linspace",
    "Erfinv",
    "Logsumexp",
    "CDist",
    "STFT",
    "ISTFT",
    "IRFFT",
    "SegmentSum",
    "Conv",
    "DepthwiseConv",
    "AveragePool",
    "BatchNorm",
    "LayerNorm",
    "RMSNorm",
    "Normalize",
    "DotProductAttention",
    "CTCLoss",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "PSNR",
    "Unfold",
    "Fold",
    "Cholesky",
    "Det",
    "Inv",
    "Solve",
    "SolveTriangular",
    "Logdet",
    "Norm",
    "GaussianBlur",
    "SSIM",
    "SobelEdges",
    "ExtractPatches",
    "ScaleAndTranslate",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient(keras: Any, tmp_path: Path, name: str) -> None:
    """Of the sum of sines of the first result, against TensorFlow's tape."""
    import tensorflow as tf

    case = CASES[name][0]
    built = build(keras, case)
    model = keras.Model(built.model.inputs, built.model.outputs[0])
    given = [tf.convert_to_tensor(a) for a in built.inputs]
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = tf.reduce_sum(tf.sin(tf.cast(model(given), "float32")))
    wanted = tape.gradient(loss, given)
    model.save(tmp_path / "model.keras")
    graph = load(tmp_path / "model.keras")
    b = Builder(graph)
    result = b.reduce_sum(b.sin(b.cast(graph.outputs[0], to="f32")))
    places = [i for i, w in enumerate(wanted) if w is not None and graph.inputs[i].tensor.dtype.is_float]
    assert places
    found = compile(grad_of(b, result, [graph.inputs[i] for i in places]))(*built.inputs)
    for i, got in zip(places, found if isinstance(found, (list, tuple)) else [found]):
        want = tf.convert_to_tensor(wanted[i]).numpy().astype(float)
        size = max(np.abs(want).max(), 1.0)
        np.testing.assert_allclose(got / size, want / size, rtol=2e-4, atol=2e-4, err_msg=str(i))


def grad_of(b: Builder, result: Any, wrt: list[Any]) -> Any:
    """The graph with the gradients as its outputs."""
    b.graph.metadata.clear()  # the structure of the outputs that it had
    return b.outputs(*gradients(b, [result], wrt))
