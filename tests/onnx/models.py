"""Small ONNX models for the tests, and ONNX Runtime beside tenun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tenun
from tenun.ir import verify
from tenun.ir.text import parse
from tenun.ir.verify import difference

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name: str, shape: Sequence[Any] | None, element: int = FLOAT) -> onnx.ValueInfoProto:
    """A declared tensor."""
    return helper.make_tensor_value_info(name, element, shape)


def tensor(name: str, data: Any, dtype: Any = None) -> TensorProto:
    """An initialiser."""
    return numpy_helper.from_array(np.asarray(data, dtype), name)


def node(op: str, inputs: str, outputs: str, **attrs: Any) -> onnx.NodeProto:
    """A node; names are separated by blanks, `_` is a left out one."""
    read = ["" if n == "_" else n for n in inputs.split()]
    return helper.make_node(op, read, ["" if n == "_" else n for n in outputs.split()], **attrs)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    initializers: Sequence[Any] = (),
    *,
    opset: int = 17,
    functions: Sequence[Any] = (),
    domains: Mapping[str, int] | None = None,
    **graph: Any,
) -> onnx.ModelProto:
    """A model; outputs given by name have no declared type."""
    declared = [helper.make_empty_tensor_value_info(o) if isinstance(o, str) else o for o in outputs]
    made = helper.make_graph(list(nodes), "test", list(inputs), declared, list(initializers), **graph)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in (domains or {}).items())]
    return helper.make_model(made, opset_imports=opsets, functions=list(functions), ir_version=10)


def run(proto: onnx.ModelProto, *arrays: Any, **options: Any) -> list[Any]:
    """Outputs of tenun, the graph being verified and printed and parsed on the way."""
    graph = tenun.load(proto)
    verify(graph)
    again = parse(str(graph), graph.weights)
    assert difference(graph, again) is None
    executable = tenun.compile(graph, verify=True, **options)
    names = [v.name for v in executable.inputs]
    return list(executable.run(dict(zip(names, arrays))).values())


def reference(proto: onnx.ModelProto, *arrays: Any) -> list[Any]:
    """Outputs of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays)))


def check(proto: onnx.ModelProto, *arrays: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """tenun and ONNX Runtime agree."""
    for got, want in zip(run(proto, *arrays), reference(proto, *arrays), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
