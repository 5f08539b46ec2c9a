"""All cases of the tests of Keras, written as ONNX: ONNX Runtime gives Keras' own results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

import tenun
from tenun.backends.base import backend
from tenun.errors import UnsupportedError
from tenun.frontends.onnx.writer import proto_of_graph
from tenun.ir import Graph

from .sweep import NOT_THERE

pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from tenun.tests.conformance.keras.checks import CUSTOM
from tenun.tests.conformance.keras.compare import DifferentError, error

from .keras_models import FAMILIES, subjects

if TYPE_CHECKING:
    from .keras_models import Subject

onnxruntime.set_default_logger_severity(4)
OPSETS = (17, 23)
RECURRENT = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
PARTS = {"operations": 4}

# why something is not written; whatever says "needs opset" is there from that opset on
REFUSED = (
    "needs opset", "ONNX has no such operator", "no complex numbers", "no casts to complex numbers",
    "ONNX can test whether a string matches", "no operator of ONNX gives the bytes of a string",
    "ONNX lowers all letters there are",
)  # fmt: skip


def verdict(subject: Subject, opset: int) -> str:
    """How a subject was compared, or the reason for which it is not written; an error where it is wrong."""
    graph = tenun.load(subject.path, custom_objects=CUSTOM)
    try:
        proto = proto_of_graph(graph, opset=opset, evaluate=backend("numpy").evaluate)
    except UnsupportedError as refusal:
        return f"refused: {refusal.message}"
    onnx.checker.check_model(proto, full_check=True)
    _has_recurrent_nodes(graph, proto)
    inputs = dict(zip((v.name for v in proto.graph.input), subject.inputs))
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        got = session.run(None, {k: _fed(v) for k, v in inputs.items()})
    except Exception as refusal:
        if not any(text in str(refusal) for text in NOT_THERE):
            raise
        got, how = list(tenun.compile(proto).run(inputs).values()), "read back"
    else:
        how = "ONNX Runtime"
    if subject.unique:
        _compare(got, subject)
    return how


def _fed(array: Any) -> Any:
    """bfloat16 has no NumPy dtype that ONNX Runtime knows."""
    if array.dtype.name == "bfloat16":
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), onnx.TensorProto.BFLOAT16)
    return array


def _compare(got: list[Any], subject: Subject) -> None:
    """Results beyond Keras' own are states."""
    got = [g.view(w.dtype) if w.dtype.name == "bfloat16" and g.dtype != w.dtype else g
           for g, w in zip(map(np.asarray, got), subject.wanted)]  # fmt: skip
    off = error(got, subject.wanted)
    if not off <= subject.tolerance:
        raise DifferentError(f"off by {off:.3g}")


def _has_recurrent_nodes(graph: Graph, proto: Any) -> None:
    """A recurrent op is one node, and nothing is a loop that was none."""
    ops, nodes = Counter(n.op.name for n in graph.nodes), Counter(n.op_type for n in proto.graph.node)
    for op, name in RECURRENT.items():
        if ops[op] and not _strange(graph, op):
            assert nodes[name] == ops[op], (ops[op], nodes)
    if any(ops[op] for op in RECURRENT) and not any(_strange(graph, op) for op in RECURRENT):
        assert not nodes["Loop"] and nodes["Scan"] == ops["scan"], nodes


# what the operators of ONNX do not have among their activations
KNOWN = {"linear", "relu", "tanh", "sigmoid", "hard_sigmoid", "elu", "softsign", "softplus", "leaky_relu"}


def _strange(graph: Graph, op: str) -> bool:
    names = ("activation", "recurrent_activation", "output_activation")
    found = [n.attrs.get(name) for n in graph.nodes if n.op.name == op for name in names]
    return any(a and a.name not in KNOWN for a in found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "part"), [(f, i) for f in FAMILIES for i in range(PARTS.get(f, 1))])
def test_written(family: str, part: int, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    wrong = []
    for subject in subjects(family, tmp_path, part, PARTS.get(family, 1)):
        for opset in OPSETS:
            try:
                found = verdict(subject, opset)
                counts[found] += 1
                assert not found.startswith("refused") or any(why in found for why in REFUSED), found
            except Exception as e:
                wrong.append(f"{subject.name}, opset {opset}: {type(e).__name__}: {str(e).strip()[:300]}")
    print(f"{family}: {dict(counts)}, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
