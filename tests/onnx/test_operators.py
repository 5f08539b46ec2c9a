"""Every operator of the onnx package: at every opset version, in every dtype; and the page that says so.

The node suite's own cases are the inputs: each is run at older versions of its operator that take it as it is, and
with its tensors cast to every dtype that the schema allows.  ONNX Runtime says what is right, or else ONNX's reference
implementation.  Older forms that no such case fits have a row in OLDER.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx.defs
import onnxruntime
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

import tenun
from tenun.frontends.onnx.functions import schema_with_function
from tenun.frontends.onnx.registry import ROWS, find
from tenun.tests.onnx import contrib_cases, coverage
from tenun.tests.onnx.models import FLOAT, INT64, model, node, tensor, value

onnxruntime.set_default_logger_severity(4)
SCHEMAS: dict[tuple[str, str], list[Any]] = defaultdict(list)
for _schema in sorted(onnx.defs.get_all_schemas_with_history(), key=lambda s: s.since_version):
    SCHEMAS[_schema.domain, _schema.name].append(_schema)
RANDOM = {
    "Bernoulli",
    "Dropout",
    "Multinomial",
    *(f"Random{a}{b}" for a in ("Normal", "Uniform") for b in ("", "Like")),
}
X = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)


# ---- the table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(SCHEMAS), ids=".".join)
def test_every_version_is_served(key: tuple[str, str]) -> None:
    """By a row, upgrades being done, or by ONNX's own definition with other operators; inputs and attributes fit."""
    for schema in SCHEMAS[key]:
        row = find(*key, schema.since_version)
        if row is None:
            assert schema_with_function(*key, schema.since_version) is not None, schema.since_version
        elif schema.since_version == SCHEMAS[key][-1].since_version:
            assert set(row.attributes) >= set(schema.attributes), set(schema.attributes) - set(row.attributes)
            assert row.most is None or row.most >= schema.max_input or schema.max_input > 1000


def test_no_row_is_unknown_to_onnx() -> None:
    """Operators that only ONNX Runtime has in the default domain: test_contrib compares them."""
    rows = {key for key in ROWS if key[0] in ("", "ai.onnx.ml", "ai.onnx.preview.training")}
    assert rows - {("", case.op) for case in contrib_cases.CASES if not case.domain} <= set(SCHEMAS)


# ---- running -------------------------------------------------------------------------------------------------


@cache
def cases() -> list[tuple[str, ModelProto, dict[str, Any]]]:
    """The cases of the node suite that are one node on tensors, with their inputs."""
    found = []
    for case in load_model_tests(kind="node"):
        graph = case.model.graph
        graphs = [a for n in graph.node for a in n.attribute if a.type == AttributeProto.GRAPH]
        if len(graph.node) != 1 or graphs or graph.node[0].op_type in RANDOM or case.name.endswith("_expanded"):
            continue
        if graph.node[0].domain not in ("", "ai.onnx.ml"):
            continue
        arrays = [numpy_helper.to_array(v) if isinstance(v, TensorProto) else v for v in case.data_sets[0][0]]
        if all(hasattr(a, "dtype") for a in arrays):
            found.append((case.name, case.model, dict(zip([i.name for i in graph.input], arrays))))
    return found


def type_text(array: Any) -> str:
    kind = TensorProto.STRING if array.dtype == object else helper.np_dtype_to_tensor_dtype(array.dtype)
    return f"tensor({TensorProto.DataType.Name(kind).lower()})"


def formal(schema: Any, i: int) -> Any:
    return schema.inputs[min(i, len(schema.inputs) - 1)]


def takes(schema: Any, proto: ModelProto, arrays: dict[str, Any]) -> bool:
    """Whether a version of an operator takes the node as it is."""
    given = proto.graph.node[0]
    attributes = {a.name: a for a in given.attribute}
    known = all(n in schema.attributes and schema.attributes[n].type.value == a.type for n, a in attributes.items())
    needed = all(n in attributes for n, a in schema.attributes.items() if a.required)
    counts = (schema.min_input <= len(given.input) <= schema.max_input,
              schema.min_output <= len(given.output) <= schema.max_output)  # fmt: skip
    if schema.deprecated or not (known and needed and all(counts)):
        return False
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    bound: dict[str, str] = {}
    for i, name in enumerate(given.input):
        parameter = formal(schema, i)
        if not name:
            if parameter.option != onnx.defs.OpSchema.FormalParameterOption.Optional:
                return False
            continue
        text = type_text(arrays[name])
        if text not in allowed.get(parameter.type_str, {parameter.type_str}):
            return False
        if parameter.is_homogeneous and bound.setdefault(parameter.type_str, text) != text:
            return False
    return True


def oracle(proto: ModelProto, arrays: dict[str, Any]) -> list[Any] | None:
    """ONNX Runtime's results, or else those of ONNX's reference implementation."""
    try:
        typed = onnx.shape_inference.infer_shapes(proto).SerializeToString()
        return onnxruntime.InferenceSession(typed, providers=["CPUExecutionProvider"]).run(None, arrays)
    except Exception:
        pass
    try:
        with np.errstate(all="ignore"):
            return ReferenceEvaluator(proto).run(None, arrays)
    except Exception:
        return None


TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2}


def difference(proto: ModelProto, arrays: dict[str, Any], expected: list[Any]) -> str | None:
    """What tenun does otherwise, in one line."""
    try:
        got = tenun.compile(proto).run(arrays).values()
        for e, g in zip(expected, got, strict=True):
            if isinstance(e, list):
                continue
            e = np.asarray(e)
            assert e.shape == g.shape and e.dtype == g.dtype, f"{g.dtype}{g.shape}, expected {e.dtype}{e.shape}"
            if e.dtype == object:
                np.testing.assert_array_equal(g, e)
                continue
            tolerance = TOLERANCE.get(e.dtype.name, 1e-4)
            wide = np.complex128 if e.dtype.kind == "c" else np.float64
            np.testing.assert_allclose(g.astype(wide), e.astype(wide), rtol=tolerance, atol=tolerance)
    except Exception as error:
        return " ".join(str(error).split())[:300]
    return None


def anonymous(proto: ModelProto, **opsets: int) -> ModelProto:
    """A copy without declared types of outputs, at another opset."""
    copy = ModelProto.FromString(proto.SerializeToString())
    for output in copy.graph.output:
        output.ClearField("type")
    for domain, version in opsets.items():
        del copy.opset_import[:]
        copy.opset_import.append(helper.make_opsetid("" if domain == "main" else domain, version))
    copy.ir_version = min(copy.ir_version, 13)
    return copy


# ---- older versions ------------------------------------------------------------------------------------------

EACH = 3  # cases for each version of an operator
# What the oracles do otherwise: (operator, case) -> why tenun's answer stands
OTHERWISE = {
    ("AveragePool", "precomputed_pads"): "opset 1 has no count_include_pad; ONNX's converter takes it as opset 7 does",
    ("AveragePool", "precomputed_same_upper"): "as above",
    ("AveragePool", "same_upper"): "as above",
    ("AveragePool", "same_lower"): "as above",
    ("AveragePool", "pads"): "as above",
    ("MaxUnpool", "output_shape"): "the places count in output_shape: ONNX's own expected answer is ours",
    ("PRelu", "broadcast"): "before opset 7 a slope is one number or one for each channel",
}


@pytest.mark.slow
def test_older_versions() -> None:
    done: Counter[Any] = Counter()
    wrong = []
    for name, proto, arrays in cases():
        op, domain = proto.graph.node[0].op_type, proto.graph.node[0].domain
        if any(op == o and part in name for o, part in OTHERWISE):
            continue
        own = onnx.defs.get_schema(op, proto.opset_import[0].version, domain).since_version
        for schema in SCHEMAS[domain, op]:
            key = (domain, op, schema.since_version)
            if schema.since_version >= own or done[key] >= EACH or not takes(schema, proto, arrays):
                continue
            older = anonymous(proto, **{domain or "main": schema.since_version})
            older.ir_version = 9
            expected = oracle(older, arrays)
            if expected is None:
                continue
            done[key] += 1
            if (text := difference(older, arrays, expected)) is not None:
                wrong.append(f"{key} {name}: {text}")
    assert not wrong, "\n".join(wrong)
    assert len(done) >= 300


NHWC = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
# operator, opset, node (inputs by name: x is the input, the others are initialisers), arrays, expected answer
OLDER: list[tuple[str, int, Any, dict[str, Any], Any]] = [
    ("Abs", 1, node("Abs", "x", "y", consumed_inputs=[0]), {"x": X}, np.abs(X)),
    ("Cast", 1, node("Cast", "x", "y", to="INT32"), {"x": X}, X.astype(np.int32)),
    ("Clip", 1, node("Clip", "x", "y", min=-0.5, max=0.5, consumed_inputs=[0]), {"x": X}, X.clip(-0.5, 0.5)),
    ("Clip", 6, node("Clip", "x", "y", max=0.5), {"x": X}, X.clip(None, 0.5)),
    ("Concat", 1, node("Concat", "x x", "y"), {"x": X}, np.concatenate([X, X], 1)),
    ("Dropout", 1, node("Dropout", "x", "y", consumed_inputs=[0], is_test=1), {"x": X}, X),
    ("Dropout", 7, node("Dropout", "x", "y", ratio=0.3), {"x": X}, X),
    ("Elu", 1, node("Elu", "x", "y", alpha=2.0), {"x": X}, np.where(X > 0, X, 2 * np.expm1(X))),
    ("Gemm", 1, node("Gemm", "x w c", "y", broadcast=1, alpha=2.0, transB=1),
     {"x": X[0, 0], "w": X[0, 1], "c": X[0, 0, 0]}, 2 * X[0, 0] @ X[0, 1].T + X[0, 0, 0]),
    ("GlobalLpPool", 1, node("GlobalLpPool", "x", "y", p=2.0), {"x": X}, np.sqrt((X**2).sum((2, 3), keepdims=True))),
    ("LpPool", 1, node("LpPool", "x", "y", p=1.0, kernel_shape=[4, 4]), {"x": X}, np.abs(X).sum((2, 3), keepdims=True)),
    ("Pad", 1, node("Pad", "x", "y", paddings=[0, 0, 1, 0, 0, 0, 0, 2], value=7.0), {"x": X},
     np.pad(X, ((0, 0), (0, 0), (1, 0), (0, 2)), constant_values=7)),
    ("Pad", 2, node("Pad", "x", "y", pads=[0, 0, 1, 0, 0, 0, 0, 2], mode="edge"), {"x": X},
     np.pad(X, ((0, 0), (0, 0), (1, 0), (0, 2)), "edge")),
    ("PRelu", 6, node("PRelu", "x s", "y"), {"x": X, "s": X[0, :, 0, 0]}, np.where(X < 0, X * X[0, :, :1, :1], X)),
    *((f"Reduce{name}", version, node(f"Reduce{name}", "x", "y", axes=[1, -1 if version > 1 else 3], keepdims=0),
       {"x": np.abs(X)}, f(np.abs(X).astype(np.float64)).astype(np.float32))
      for version in (1, 11) for name, f in {
          "L1": lambda x: x.sum((1, 3)), "L2": lambda x: np.sqrt((x**2).sum((1, 3))), "Sum": lambda x: x.sum((1, 3)),
          "LogSum": lambda x: np.log(x.sum((1, 3))), "LogSumExp": lambda x: np.log(np.exp(x).sum((1, 3))),
          "Mean": lambda x: x.mean((1, 3)), "SumSquare": lambda x: (x**2).sum((1, 3)), "Max": lambda x: x.max((1, 3)),
          "Min": lambda x: x.min((1, 3)), "Prod": lambda x: x.prod((1, 3)),
      }.items()),
    ("Reshape", 1, node("Reshape", "x", "y", shape=[0, -1], consumed_inputs=[0]), {"x": X}, X.reshape(2, -1)),
    ("Selu", 1, node("Selu", "x", "y"), {"x": X}, 1.0507 * np.where(X > 0, X, 1.6732 * np.expm1(X))),
    ("Slice", 1, node("Slice", "x", "y", starts=[1, -3], ends=[9, -1], axes=[1, 3]), {"x": X}, X[:, 1:9, :, -3:-1]),
    ("Split", 1, node("Split", "x", "y z", axis=1, split=[1, 2]), {"x": X}, X[:, :1]),
    ("Split", 1, node("Split", "x s", "y z", axis=1), {"x": X, "s": np.float32([1, 2])}, X[:, :1]),
    ("Split", 2, node("Split", "x", "y z"), {"x": X}, X[:1]),
    ("Squeeze", 1, node("Squeeze", "x", "y", axes=[0]), {"x": X[:1]}, X[0]),
    ("Sum", 1, node("Sum", "x x x", "y", consumed_inputs=[0, 0, 0]), {"x": X}, 3 * X),
    ("Add", 1, node("Add", "x b", "y", broadcast=1, axis=1, consumed_inputs=[0, 0]), {"x": X, "b": X[0, :, 0, 0]},
     X + X[0, :, :1, :1]),
    ("Tile", 1, node("Tile", "x n a", "y"), {"x": X, "n": np.float32(2), "a": np.float32(1)}, np.tile(X, (1, 2, 1, 1))),
    ("TopK", 1, node("TopK", "x", "y i", k=2, axis=1), {"x": X}, -np.sort(-X, 1)[:, :2]),
    ("Unsqueeze", 1, node("Unsqueeze", "x", "y", axes=[0, 2]), {"x": X[0, 0]}, X[0, 0][None, :, None]),
    ("Upsample", 1, node("Upsample", "x", "y", height_scale=2.0, width_scale=3.0), {"x": X},
     X.repeat(2, 2).repeat(3, 3)),
    ("Upsample", 7, node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0]), {"x": X},
     X.repeat(2, 2).repeat(3, 3)),
    ("MeanVarianceNormalization", 9, node("MeanVarianceNormalization", "x", "y", axes=[1]), {"x": X},
     (X - X.mean(1, keepdims=True)) / (X.std(1, keepdims=True) + 1e-9)),
]  # fmt: skip


@pytest.mark.parametrize("case", OLDER, ids=lambda c: f"{c[0]}-{c[1]}")
def test_older_forms(case: Any) -> None:
    op, opset, given, arrays, expected = case
    kinds = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}
    x = arrays["x"]
    others = [tensor(n, a) for n, a in arrays.items() if n != "x"]
    proto = model([given], [value("x", x.shape, kinds[x.dtype])], list(given.output), others, opset=opset)
    got = next(iter(tenun.compile(proto).run({"x": x}).values()))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_recurrent_forms_of_opset_1() -> None:
    """output_sequence, and the direction's default as that schema misspells it."""
    rng = np.random.default_rng(1)
    x, r = rng.standard_normal((3, 2, 4)).astype(np.float32), {}
    for op, gates in {"RNN": 1, "GRU": 3, "LSTM": 4}.items():
        w, r = (tensor(n, rng.standard_normal((1, gates * 5, k)), np.float32) for n, k in (("w", 4), ("r", 5)))
        results = []
        for opset, attrs in ((1, {"output_sequence": 1, "direction": "foward"}), (7, {})):
            proto = model([node(op, "x w r", "y", hidden_size=5, **attrs)], [value("x", x.shape)], ["y"], [w, r],
                          opset=opset)  # fmt: skip
            results.append(tenun.compile(proto)(x))
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("opset", [1, 22])
def test_max_roi_pool(opset: int) -> None:
    x = np.random.default_rng(2).standard_normal((2, 3, 9, 8)).astype(np.float32)
    rois = np.float32([[0, 0, 0, 7, 8], [1, 2, 3, 6, 7], [1, 1, 1, 1, 1], [0, 5, 5, 12, 20], [1, 3, 2, 4, 4]])
    proto = model([node("MaxRoiPool", "x r", "y", pooled_shape=[3, 2], spatial_scale=0.9)], [value("x", x.shape),
                  value("r", rois.shape)], ["y"], opset=opset)  # fmt: skip
    plain = anonymous(proto, main=1)
    plain.ir_version = 9
    expected = oracle(plain, {"x": x, "r": rois})
    assert expected is not None
    np.testing.assert_array_equal(tenun.compile(proto)(x, rois), expected[0])


def test_multinomial() -> None:
    logits = np.log(np.float32([[0.1, 0.2, 0.7], [0.5, 0.5, 1e-30]]))
    proto = model(
        [node("Multinomial", "x", "y", sample_size=20_000, seed=1.0, dtype=INT64)], [value("x", [2, 3])], ["y"]
    )
    drawn = tenun.compile(proto)(logits)
    assert drawn.shape == (2, 20_000) and drawn.dtype == np.int64
    for row, chances in zip(drawn, np.exp(logits)):
        np.testing.assert_allclose(np.bincount(row, minlength=3) / 20_000, chances, atol=0.015)


# ---- dtypes --------------------------------------------------------------------------------------------------

# What differs from the oracle or is refused: (operator, type parameter, dtype) -> why
DTYPES_OTHERWISE = {
    ("Attention", "T1"): "ONNX's own definition multiplies by V in the dtype of Q: they have to be alike",
    ("Attention", "T2"): "as above",
    ("AffineGrid", "T1"): "the reference gives float32 for bfloat16",
    ("Col2Im", "T"): "strings have no sum; the schema lists every dtype",
    ("GridSample", "T1"): "strings cannot be interpolated; the schema lists every dtype",
    ("GridSample", "T2"): "the reference computes places in bfloat16",
    ("DequantizeLinear", "T1"): "the reference leaves out zero points of 4 bits",
    ("Det", "T"): "the reference gives float64 for bfloat16",
    ("DFT", "T1"): "ours is nearer to the exact transform",
    ("Gather", "T"): "ONNX Runtime garbles strings",
    ("LayerNormalization", "T"): "the reference gives statistics of bfloat16 in bfloat16",
    ("QLinearMatMul", "T1"): "numbers above the largest one of 8 bits are NaN",
    ("QLinearMatMul", "T2"): "as above",
    ("QuantizeLinear", "T3"): "zero points of floats are 0",
    ("ReduceSumSquare", "T"): "the reference gives uint64 for uint32",
    ("Resize", "T2"): "the reference computes places in float16",
    ("TfIdfVectorizer", "T"): "text needs a pool of words",
}


def cast(array: Any, to: str) -> Any:
    """A case's tensor in another dtype: integers small enough for it."""
    if to == "string":
        return np.array([str(v) for v in array.reshape(-1)], object).reshape(array.shape)
    if array.dtype == object:
        return None
    kind = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, to.upper()))
    wide = array if array.dtype.kind == "c" else array.astype(np.float64)
    if "uint" in kind.name:
        wide = np.abs(wide)
    if "int" in kind.name:
        limits = {"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15)}
        wide = np.clip(np.round(wide), *limits.get(kind.name, (-100, 100)))
    return wide.astype(kind)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_dtype() -> None:
    """Each operator's first case in each dtype that its newest version allows for each of its type parameters."""
    seen: set[Any] = set()
    wrong, compared = [], 0
    for name, proto, arrays in cases():
        given = proto.graph.node[0]
        if given.op_type in ("Cast", "CastLike", "BitCast", "ImageDecoder"):
            continue
        schema = onnx.defs.get_schema(given.op_type, proto.opset_import[0].version, given.domain)
        for constraint in schema.type_constraints:
            parameter = constraint.type_param_str
            inputs = {n for i, n in enumerate(given.input) if n and formal(schema, i).type_str == parameter}
            for text in constraint.allowed_type_strs:
                key = (given.op_type, parameter, text)
                if not inputs or not text.startswith("tensor(") or key in seen:
                    continue
                changed = {n: cast(a, text[7:-1]) if n in inputs else a for n, a in arrays.items()}
                if any(a is None for a in changed.values()):
                    continue
                seen.add(key)
                if key[:2] in DTYPES_OTHERWISE:
                    continue
                copy = anonymous(proto)
                for i in copy.graph.input:
                    if i.name in inputs:
                        i.type.tensor_type.elem_type = getattr(TensorProto, text[7:-1].upper())
                expected = oracle(copy, changed)
                if expected is None:
                    tenun.compile(copy).run(changed)
                elif (reason := difference(copy, changed, expected)) is not None:
                    wrong.append(f"{key} {name}: {reason}")
                compared += expected is not None
    assert not wrong, "\n".join(wrong)
    assert compared >= 1400


# ---- the page ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_coverage_page_is_current() -> None:
    assert coverage.PAGE.read_text() == coverage.page(), "run python -m tenun.tests.onnx.coverage"
