"""Writing ONNX: the table is whole, what is written is small, and it means the same to ONNX Runtime."""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import tenun
from tenun.api import compile, load, save
from tenun.backends.base import backend
from tenun.cli import main
from tenun.errors import LoadError, UnsupportedError
from tenun.frontends.onnx import write
from tenun.frontends.onnx.writer import proto_of_graph
from tenun.ir import Graph, Tensor, dtype
from tenun.ir.builder import Builder
from tenun.ir.dims import symbol
from tenun.ir.op import OPS, lookup
from tenun.ir.ops.control import control_node, trace

from . import models
from .sweep import replay

onnxruntime.set_default_logger_severity(4)
NEWEST = onnx.defs.onnx_opset_version()
F32, I64, BOOL = dtype("f32"), dtype("i64"), dtype("bool")


def written(graph: Graph, opset: int = 17, checked: bool = True) -> Any:
    """The graph as a checked ModelProto."""
    proto = proto_of_graph(graph, opset=opset, evaluate=backend("numpy").evaluate)
    if checked:
        onnx.checker.check_model(proto, full_check=True)
    return proto


def counts(proto: Any) -> dict[str, int]:
    return dict(Counter(n.op_type for n in proto.graph.node))


def runtime(proto: Any, given: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, given)


def same(graph: Graph, given: dict[str, Any], opset: int = 17) -> Any:
    """Write, and compare tenun's results with those of ONNX Runtime, and of tenun for what it reads back."""
    proto = written(graph, opset)
    want = compile(graph).run(given)
    for got in (runtime(proto, given), compile(proto).run(given).values()):
        for a, b in zip(got, want.values()):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, 1e-5, 1e-5)
    return proto


def builder(**inputs: Any) -> tuple[Builder, list[Any]]:
    """A builder and its inputs: shapes, symbols given by letters; f32 unless a dtype stands first."""
    b = Builder(Graph("test"))
    made = []
    for name, shape in inputs.items():
        kind = dtype(shape[0]) if shape and isinstance(shape[0], str) and shape[0] in ("i64", "bool") else F32
        dims = shape[1:] if kind is not F32 else shape
        made.append(b.input(name, Tensor(kind, tuple(symbol(d) if isinstance(d, str) else d for d in dims))))
    return b, made


def rand(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# ---- the table -----------------------------------------------------------------------------------------------


def test_every_op_is_written_or_has_a_reason() -> None:
    lookup("add")
    write.load()
    assert set(write.ROWS).isdisjoint(write.REASONS)
    assert set(write.ROWS) | set(write.REASONS) == set(OPS)
    assert all(len(reason) > 10 for reason in write.REASONS.values())


def test_rows_take_what_their_ops_have() -> None:
    write.load()
    for name, row in write.ROWS.items():
        op, signature = lookup(name), inspect.signature(row.write)
        if op.graphs:
            continue
        operands = [object()] * (op.slots + 2 * op.variadic)
        attrs = {k: None for k in op.attributes if not (k == "activation" and op.has("epilogue"))}
        signature.bind(object(), *operands, **attrs)
        assert set(row.dynamic) <= {k for k, a in op.attributes.items() if a.dynamic}, name
        assert set(row.first) <= {i.name for i in op.inputs}, name


# ---- layout --------------------------------------------------------------------------------------------------


def test_one_transpose_at_each_end_of_a_network_of_convolutions() -> None:
    b, (x,) = builder(x=("N", 9, 8, 3))
    y = b.conv(x, rand(3, 3, 3, 4), rand(4), strides=(1, 1), dilations=(1, 1), padding="same", activation="relu")
    z = b.batch_norm(y, rand(4), rand(4), rand(4), abs(rand(4)), epsilon=1e-3)
    y = b.add(b.max_pool(z, window=(2, 2), strides=(2, 2), dilations=(1, 1)), np.float32([1, 2, 3, 4]))
    y = b.concat(y, b.silu(y), axis=-1)
    y = b.conv(y, rand(1, 1, 8, 5), strides=(1, 1), dilations=(1, 1))
    proto = same(b.outputs(y, names=["y"]), {"x": rand(2, 9, 8, 3)})
    assert counts(proto)["Transpose"] == 2
    mean = b.reduce_mean(y, axes=(1, 2))
    assert counts(same(b.outputs(mean, names=["m"]), {"x": rand(2, 9, 8, 3)}))["Transpose"] == 1


@pytest.mark.parametrize("opset", [13, 17, 18, NEWEST - 5])
def test_a_model_of_onnx_comes_back_as_it_was(opset: int) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : {opset}], producer_name: "somebody">
    net (float[N, 3, 8, 8] image) => (float[N, 5] scores) <float[4, 3, 3, 3] W, float[4] B, float[64, 5] M> {{
        [first] c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, W, B)
        [second] r = Relu (c)
        [third] p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        [fourth] f = Flatten (p)
        [fifth] scores = MatMul (f, M)
    }}"""
    model = onnx.parser.parse_model(text)
    for name, array in (("W", rand(4, 3, 3, 3)), ("B", rand(4)), ("M", rand(64, 5))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model.metadata_props.add(key="author", value="me")
    model.doc_string, model.domain, model.model_version = "What it is for.", "org.example", 3
    proto = written(load(model), opset)
    assert [n.op_type for n in proto.graph.node] == ["Conv", "Relu", "MaxPool", "Reshape", "MatMul"]
    assert [n.name for n in proto.graph.node] == ["first", "second", "third", "fourth", "fifth"]
    assert [n.output[0] for n in proto.graph.node] == ["c", "r", "p", "f", "scores"]
    assert {t.name for t in proto.graph.initializer} >= {"W", "B", "M"}
    assert [i.name for i in proto.graph.input] == ["image"] and [o.name for o in proto.graph.output] == ["scores"]
    assert {p.key: p.value for p in proto.metadata_props} == {"author": "me", "producer_name": "somebody"}
    assert (proto.doc_string, proto.domain, proto.model_version) == ("What it is for.", "org.example", 3)
    assert (proto.graph.name, proto.producer_name) == ("net", "tenun")
    assert proto.graph.input[0] == model.graph.input[0] and proto.graph.output[0] == model.graph.output[0]
    assert {o.domain: o.version for o in proto.opset_import} == {"": opset}
    assert load(proto).metadata == load(model).metadata
    x = {"image": rand(2, 3, 8, 8)}
    np.testing.assert_allclose(runtime(proto, x)[0], runtime(model, x)[0], 1e-5, 1e-5)


# ---- sizes ---------------------------------------------------------------------------------------------------


def test_sizes_are_computed_in_the_file() -> None:
    b, (x,) = builder(x=("N", "T", 6))
    n, t = symbol("N"), symbol("T")
    flat = b.reshape(x, shape=(n * t, 6))
    pairs = b.reshape(x, shape=(n, t * 2, 3))
    wide = b.expand(b.constant(np.float32(1)), shape=(n, t + 1, (t + 3) // 2))
    part = b.slice(x, starts=(t // 2,), ends=(t,), axes=(1,))
    graph = b.outputs(flat, pairs, wide, part, names=["flat", "pairs", "wide", "part"])
    for shape in ((2, 5, 6), (1, 8, 6), (3, 1, 6)):
        same(graph, {"x": rand(*shape)})


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("start, end", [(-4, -8), (-9, -9), (-9, 2), (4, -8), (9, -9), (-2, -4)])
def test_steps_back_from_before_the_axis(size: int, start: int, end: int) -> None:
    """NumPy begins there with nothing, ONNX with the first place."""
    b, (x,) = builder(x=(2, size))
    b.outputs(b.slice(x, starts=(start,), ends=(end,), axes=(-1,), steps=(-1,)), names=["y"])
    same(b.graph, {"x": rand(2, size)})


@pytest.mark.parametrize("pads", [((0, 0), (5, 4)), ((1, 9), (0, 9)), ((0, 3), (2, 2))])
def test_a_pad_that_reflects_more_than_once(pads: tuple[tuple[int, int], ...]) -> None:
    b, (x,) = builder(x=(2, 3))
    b.outputs(b.pad(x, pads=pads, mode="reflect"), names=["y"])
    assert ("Gather" in counts(same(b.graph, {"x": rand(2, 3)}))) == (max(map(max, pads)) > 2)


def test_an_empty_batch() -> None:
    b, (x,) = builder(x=("N", 2, 3))
    proto = written(b.outputs(b.reshape(x, shape=(symbol("N"), 6)), names=["y"]))
    assert runtime(proto, {"x": rand(0, 2, 3)})[0].shape == (0, 6)


# ---- recurrent layers ----------------------------------------------------------------------------------------


def lstm(b: Builder, x: Any, mask: Any = None, directions: int = 2, **attrs: Any) -> Any:
    direction = "bidirectional" if directions == 2 else attrs.pop("direction", "forward")
    weights = rand(directions, 3, 16), rand(directions, 4, 16, seed=1), rand(directions, 16)
    return b.lstm(x, *weights, mask, direction=direction, **attrs)


@pytest.mark.parametrize("opset", [14, 17, NEWEST - 5])
def test_a_bidirectional_lstm_is_one_node(opset: int) -> None:
    b, (x,) = builder(x=("N", "T", 3))
    sequence, h, c = lstm(b, x)
    graph = b.outputs(sequence, h, c, names=["sequence", "h", "c"])
    assert counts(same(graph, {"x": rand(2, 5, 3)}, opset)) == {"LSTM": 1, "Transpose": 4}


MASKS = [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("zero_masked", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_any_mask(zero_masked: bool, direction: str) -> None:
    b, (x, mask) = builder(x=("N", 5, 3), mask=("bool", "N", 5))
    count = 2 if direction == "bidirectional" else 1
    results = lstm(b, x, mask, count, zero_masked=zero_masked, **({} if count == 2 else {"direction": direction}))
    graph = b.outputs(*results, names=["sequence", "h", "c"])
    proto = same(graph, {"x": rand(5, 5, 3), "mask": np.array(MASKS, bool)})
    assert counts(proto)["LSTM"] == 1 and not {"Loop", "Scan"} & set(counts(proto))


def test_lengths_stay_lengths() -> None:
    b, (x, lengths) = builder(x=("N", 5, 3), lengths=("i64", "N"))
    mask = b.less(b.constant(np.arange(5)[None]), b.unsqueeze(lengths, axes=(1,)))
    graph = b.outputs(lstm(b, x, mask, zero_masked=True)[0], names=["y"])
    proto = same(graph, {"x": rand(3, 5, 3), "lengths": np.int64([2, 5, 1])})
    assert "TopK" not in counts(proto)


def test_other_activations() -> None:
    b, (x,) = builder(x=("N", 5, 3))
    y = lstm(b, x, activation="relu", recurrent_activation="hard_sigmoid", output_activation="linear")[0]
    proto = same(b.outputs(y, names=["y"]), {"x": rand(2, 5, 3)})
    (node,) = [n for n in proto.graph.node if n.op_type == "LSTM"]
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert given["activations"] == [b"HardSigmoid", b"Relu", b"Affine"] * 2
    np.testing.assert_allclose(given["activation_alpha"], [0.2, 1, 0.2, 1], 1e-6)
    b, (x,) = builder(x=("N", 5, 3))
    y = lstm(b, x, activation="gelu")[0]  # no activation of ONNX's operator
    assert "Scan" in counts(same(b.outputs(y, names=["y"]), {"x": rand(2, 5, 3)}))


def test_states_are_inputs_and_outputs() -> None:
    pytest.importorskip("keras")
    import keras

    i = keras.Input(batch_shape=(2, 4, 3))
    model = keras.Model(i, keras.layers.LSTM(5, stateful=True, name="memory")(i))
    proto = written(load(model))
    assert [v.name for v in proto.graph.input] == ["keras_tensor", "memory.h", "memory.c"] or len(
        proto.graph.input
    ) == 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    kept: dict[str, Any] = {}
    ours = compile(proto)
    for step in range(3):
        x = rand(2, 4, 3, seed=step)
        y, h, c = session.run(None, {proto.graph.input[0].name: x, **kept})
        kept = dict(zip((v.name for v in proto.graph.input[1:]), (h, c)))
        np.testing.assert_allclose(y, np.asarray(model(x)), 1e-5, 1e-6)
        np.testing.assert_allclose(ours(x), y, 1e-5, 1e-6)  # keeps the states by itself


# ---- control flow --------------------------------------------------------------------------------------------


def test_control_flow() -> None:
    b, (x, flag) = builder(x=(3, 4), flag=("bool",))
    types = [("x", x.type)]
    branches = {
        "then": trace("then", lambda b, x: [b.mul(x, 2.0)], types),
        "orelse": trace("orelse", lambda b, x: [b.add(x, rand(3, 4))], types),
    }
    chosen = control_node(b, "if", [flag, x], {}, branches).output
    body = trace("body", lambda b, i, go, v, w: [b.identity(go), b.add(v, w), b.reduce_sum(v)],
                 [("i", Tensor(I64, ())), ("go", Tensor(BOOL, ())), ("v", x.type), ("w", x.type)])  # fmt: skip
    args = [b.constant(np.int64(3)), b.constant(np.array(True)), chosen, x]
    end, sums = control_node(b, "loop", args, {"carried": 1}, {"body": body}).outputs
    graph = b.outputs(chosen, end, sums, names=["chosen", "end", "sums"])
    for flag_value in (True, False):
        proto = same(graph, {"x": rand(3, 4), "flag": np.array(flag_value)})
    assert counts(proto)["If"] == 1 and counts(proto)["Loop"] == 1


# ---- what is written out in other operators ----------------------------------------------------------------------


def text(*words: str) -> Any:
    return np.array(words, object)


PAIRS = np.random.default_rng(3).uniform(0.1, 0.9, (5, 4, 4))
FOREST: dict[str, Any] = {  # a tree of two branches, and one that is a leaf
    "roots": np.int64([0, 4]), "features": np.int64([1, 0]), "thresholds": np.float32([0.1, -0.3]),
    "modes": np.uint8([0, 3]), "missing": np.array([False, True]), "children": np.int64([[1, 2], [3, 2]]),
    "weights": np.float32([[1, 2], [3, -4], [0.5, 6]]),
}  # fmt: skip
WRITTEN_OUT: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("cumprod", (rand(2, 5, 3),), {"axis": -2, "exclusive": True, "reverse": True}),
    ("scatter_rows", (rand(3, 2, 4, 5), np.int32([[0, -1, 2, 1], [2, 3, 0, 0]])), {"size": 6, "axis": 1}),
    ("find", (text("a", "b", "q"), text("b", "a", "b")), {}),
    ("find", (np.float32([1, np.nan, 5]), np.float32([5, np.nan])), {}),
    ("find", (np.int32([[7, 1]]), np.int32([7, 1, 1])), {"strict": True}),
    ("zip_map", (rand(2, 3),), {"words": ("a", "b", "c")}),
    *(("tree_ensemble", (rand(7, 2), *FOREST.values()), {"aggregate": a}) for a in ("sum", "average", "min", "max")),
    ("couple_probabilities", (PAIRS / (PAIRS + PAIRS.swapaxes(1, 2)),), {}),
    ("string_ngrams", (text("a", "b", "c", "d").reshape(2, 2), np.int64([2, 1])), {"widths": (2, 1, 5)}),
    ("resize", (rand(2, 7, 6, 3),), {"sizes": (4, 9), "axes": (1, 2), "mode": "cubic", "fraction_steps": 1024}),
    ("resize", (rand(2, 7, 6, 3),), {"sizes": (4, 9), "axes": (0, 3), "mode": "lanczos3", "antialias": True}),
    ("resize", (rand(7, 6),), {"sizes": (4, 9), "axes": (0, 1), "mode": "area"}),
    ("bit_cast", (np.int64([-1, 5]),), {"to": dtype("u64")}),
]


@pytest.mark.parametrize("case", range(len(WRITTEN_OUT)))
def test_written_out(case: int) -> None:
    """At several opsets, read back and by ONNX Runtime; all but the first operand are constants."""
    name, operands, attrs = WRITTEN_OUT[case]
    assert replay(name, operands, attrs, True) == "equal in ONNX Runtime"


def test_complex_numbers_are_refused() -> None:
    b = Builder(Graph("test"))
    x = b.input("x", Tensor(dtype("c64"), (3,)))
    with pytest.raises(UnsupportedError, match="Mul of ONNX takes no complex numbers"):
        written(b.outputs(b.mul(x, x), names=["y"]))


def test_half_precision_that_an_opset_lacks() -> None:
    """Elu takes bfloat16 from opset 22 on; before, it is computed in float32."""
    b = Builder(Graph("test"))
    graph = b.outputs(b.elu(b.input("x", Tensor(dtype("bf16"), (3,)))), names=["y"])
    assert counts(written(graph, 17)) == {"Cast": 2, "Elu": 1} and counts(written(graph, 22)) == {"Elu": 1}


# ---- files ---------------------------------------------------------------------------------------------------


def small() -> Graph:
    b, (x,) = builder(x=("N", 4))
    return b.outputs(b.matmul(x, b.constant(rand(4, 300), "kernel"), b.constant(rand(300), "bias")), names=["y"])


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(small(), path)
    onnx.checker.check_model(str(path), full_check=True)
    x = rand(2, 4)
    np.testing.assert_array_equal(compile(path)(x), compile(small())(x))
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_weights_beside(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(small(), path, external_data=True)
    assert {p.name for p in tmp_path.iterdir()} == {"m.onnx", "m.onnx.data"}
    assert path.stat().st_size < 1500
    x = rand(2, 4)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], compile(small())(x), 1e-5, 1e-6)
    np.testing.assert_array_equal(compile(path)(x), compile(small())(x))


def test_nothing_half_written(tmp_path: Path) -> None:
    b, (x,) = builder(x=("N", 4))
    bad = b.outputs(b.sum_like(x, b.constant(rand(4))), names=["y"])
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(UnsupportedError, match="sum_like cannot be written to ONNX: it belongs to a gradient") as error:
        save(bad, path)
    assert error.value.op == "sum_like" and error.value.file == str(path)
    assert path.read_bytes() == b"old"
    with pytest.raises(UnsupportedError, match="cannot write opset 3"):
        save(small(), path, opset=3)
    with pytest.raises(LoadError, match="folder does not exist"):
        save(small(), tmp_path / "none" / "m.onnx")
    with pytest.raises(UnsupportedError, match=r"has no opset"):
        save(small(), tmp_path / "m.tenun", opset=17)
    with pytest.raises(UnsupportedError, match=r"cannot write '.txt' files"):
        save(small(), tmp_path / "m.txt")


def test_a_property_that_lies(tmp_path: Path) -> None:
    proto = written(small())
    proto.metadata_props.add(key="tenun.state", value='{"kernel": "nowhere"}')
    with pytest.raises(LoadError, match="names states that the graph does not have: kernel"):
        load(proto)
    proto.metadata_props[-1].value = "[1"
    with pytest.raises(LoadError, match="is no JSON object of names"):
        load(proto)


def test_export_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    b, (x,) = builder(x=("N", 8, 8, 3))
    y = b.conv(x, rand(3, 3, 3, 4), strides=(1, 1), dilations=(1, 1))
    y = b.batch_norm(y, rand(4), rand(4), rand(4), abs(rand(4)), epsilon=1e-3)
    source, plain, simple = tmp_path / "m.tenun", tmp_path / "plain.onnx", tmp_path / "simple.onnx"
    save(b.outputs(b.relu(b.identity(y)), names=["y"]), source)
    for path, extra in ((plain, []), (simple, ["--optimize", "--opset", "18"])):
        with pytest.raises(SystemExit) as ended:
            main(["export", str(source), str(path), *extra])
        assert ended.value.code == 0, capsys.readouterr().err
        assert f"wrote {path}" in capsys.readouterr().out.replace("\n", "")
    assert counts(onnx.load(plain))["BatchNormalization"] == 1
    assert "BatchNormalization" not in counts(onnx.load(simple))
    assert onnx.load(simple).opset_import[0].version == 18
    x = rand(2, 8, 8, 3)
    np.testing.assert_allclose(tenun.compile(simple)(x), tenun.compile(plain)(x), 1e-5, 1e-5)


@pytest.mark.parametrize(("policy", "sizes", "size"), [("not_smaller", (5, 3), (5, 8)), ("not_larger", (1, 3), (1, 2))])
def test_sizes_of_a_kept_ratio_are_rounded(policy: str, sizes: tuple[int, ...], size: tuple[int, ...]) -> None:
    """Where scales, whose sizes ONNX cuts, would give others."""
    resized = models.node("Resize", "x r s n", "y", mode="nearest", axes=[2, 3], keep_aspect_ratio_policy=policy)
    resized.input[1] = resized.input[2] = ""
    fixed = [models.tensor("n", np.array(sizes), np.int64)]
    x = np.arange(24, dtype=np.float32).reshape(1, 1, 4, 6)
    proto = models.model([resized], [models.value("x", [1, 1, 4, 6])], ["y"], fixed, opset=19)
    (want,), (got,) = runtime(proto, {"x": x}), runtime(written(load(proto), 19), {"x": x})
    assert got.shape == (1, 1, *size)
    np.testing.assert_array_equal(got, want)
