"""The calls that the tests of kernels make, each written to ONNX as a graph of one node.

    python -m pytest tests/kernels -p tenun.tests.onnx.sweep        records them into the file $TENUN_SWEEP

`replay` reads the file: what is written passes ONNX's checker, means the same when it is read back, and to ONNX Runtime
where that has the operator for the dtype.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tenun.api import compile
from tenun.backends.base import backend
from tenun.errors import TenunError, UnsupportedError
from tenun.frontends.onnx.writer import proto_of_graph
from tenun.ir import Graph
from tenun.ir.builder import Builder
from tenun.ir.op import lookup
from tenun.ir.types import map_dims, type_of
from tenun.tests.kernels import harness

FILE = "TENUN_SWEEP"
PER_OP = 24  # calls kept of an op, the first that differ in shapes, dtypes or attributes
OPSETS = (17, 23)
NOT_THERE = (
    "NOT_IMPLEMENTED", "Could not find an implementation", "is invalid", "not a registered function", "opset",
    "No corresponding Numpy type", "quantize_linear.cc", "nn/lrn.", "stoull", "pool_attributes.h",
    "string_normalizer.cc", "does not support double",
)  # fmt: skip

_calls: dict[Any, tuple[str, tuple[Any, ...], dict[str, Any]]] = {}
_kept: Counter[str] = Counter()


def _signature(x: Any) -> Any:
    return (x.shape, str(x.dtype)) if isinstance(x, np.ndarray) else repr(x)


def _recording(run_all: Any) -> Any:
    def recorded(name: str, *operands: Any, **attrs: Any) -> Any:
        result = run_all(name, *operands, **attrs)
        plain = all(v is None or isinstance(v, (np.ndarray, np.generic)) for v in operands)
        key = (name, tuple(_signature(v) for v in operands), repr(sorted(attrs.items(), key=str)))
        if plain and not lookup(name).graphs and key not in _calls and _kept[name] < PER_OP:
            _kept[name] += 1
            _calls[key] = (name, tuple(None if v is None else np.array(v) for v in operands), attrs)
        return result

    return recorded


if FILE in os.environ:
    harness.run_all = _recording(harness.run_all)


def pytest_sessionfinish() -> None:
    """Leave the calls in the file."""
    if FILE in os.environ:
        Path(os.environ[FILE]).write_bytes(pickle.dumps(list(_calls.values())))


# ---- replaying -----------------------------------------------------------------------------------------------


def graph_of(name: str, operands: Any, attrs: dict[str, Any], constants: bool) -> tuple[Graph, dict[str, Any]]:
    """One node on inputs; with `constants` all operands but the first are constants."""
    b = Builder(Graph(name))
    given: dict[str, Any] = {}
    inputs: list[Any] = []
    for i, array in enumerate(operands):
        if array is None or (constants and i):
            inputs.append(array)
            continue
        given[f"x{i}"] = array
        inputs.append(b.input(f"x{i}", map_dims(type_of(array), lambda d: d)))
    node = b.node(lookup(name), inputs, attrs)
    return b.outputs(*node.outputs, names=[f"y{i}" for i in range(len(node.outputs))]), given


def replay(name: str, operands: Any, attrs: dict[str, Any], constants: bool) -> str:
    """What became of a call: `equal`, or why it could not be compared; AssertionError where results differ."""
    try:
        graph, given = graph_of(name, operands, attrs, constants)
        want = compile(graph, pipeline="none").run(given)
    except TenunError:
        return "refused by the op"
    verdict = "refused"
    for opset in (*OPSETS, onnx.defs.onnx_opset_version()):
        try:
            proto = proto_of_graph(graph, opset=opset, evaluate=backend("numpy").evaluate)
        except UnsupportedError:
            continue
        onnx.checker.check_model(proto, full_check=True)
        back = compile(proto, pipeline="none").run(given)
        if not lookup(name).has("random"):
            _compare(back, want, f"read back, opset {opset}")
        verdict = "written" if verdict == "refused" else verdict
        empty = any(v is not None and not v.size for v in operands)  # a Scan over nothing ends ONNX Runtime's process
        if opset in OPSETS and not empty and _in_runtime(proto, given, want):
            verdict = "equal in ONNX Runtime"
    return verdict


def _in_runtime(proto: Any, given: dict[str, Any], want: dict[str, Any]) -> bool:
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        got = session.run(None, given)
    except Exception as error:
        if any(text in str(error) for text in NOT_THERE):
            return False
        raise AssertionError(f"ONNX Runtime: {error}") from None
    name = proto.graph.name
    # Random numbers are its own; the place of a number without axes it counts as one; numbers as text are its own too.
    alone = name == "nonzero" and not proto.graph.input[0].type.tensor_type.shape.dim
    text = name == "cast" and any(np.asarray(v).dtype == object for v in (*given.values(), *want.values()))
    if not (lookup(name).has("random") or alone or text):
        _compare(dict(zip(want, got)), want, "ONNX Runtime")
    return True


def _compare(got: dict[str, Any], want: dict[str, Any], where: str) -> None:
    for name, expected in want.items():
        found = got[name]
        if expected is None:
            assert found is None, where
            continue
        if isinstance(expected, list):
            assert len(found) == len(expected), where
            continue
        if np.asarray(found).dtype == np.uint8 and expected.dtype.kind == "V":  # as ONNX Runtime gives small floats
            found = np.asarray(found).view(expected.dtype)
        assert np.asarray(found).dtype == expected.dtype, (where, name, np.asarray(found).dtype, expected.dtype)
        if expected.dtype == object:
            assert np.asarray(found).tolist() == expected.tolist(), where
            continue
        wide = np.complex128 if expected.dtype.kind == "c" else np.float64
        half = expected.dtype.itemsize == 2 and expected.dtype.kind not in "iu"
        tolerance = 5e-2 if half else 2e-5
        np.testing.assert_allclose(
            np.asarray(found).astype(wide), expected.astype(wide), tolerance, tolerance, err_msg=f"{where}: {name}"
        )
