"""The reader: initialisers of every kind, external data, functions, names, symbols, order, opset variants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tenun
from tenun.frontends.onnx.backend import TenunBackend
from tenun.frontends.onnx.protos import PLAIN, array_of

from .models import FLOAT, INT64, check, model, node, run, tensor, value

X = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]], np.float32)


# ---- initialisers --------------------------------------------------------------------------------------------

DTYPES: list[Any] = [
    np.bool_,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.float16,
    np.float32,
    np.float64,
    np.complex64,
    np.complex128,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e4m3fnuz,
    ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e5m2fnuz,
    ml_dtypes.int4,
    ml_dtypes.uint4,
    ml_dtypes.float4_e2m1fn,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("outside", [False, True], ids=["inside", "external"])
def test_initializer_of_every_dtype(dtype: Any, outside: bool, tmp_path: Path) -> None:
    """An odd number of elements, so that packed ones do not fill their last byte."""
    data = np.array([[0, 1, 1], [0, 1, 0], [1, 1, 1]]).astype(dtype)
    w = numpy_helper.from_array(data, "w")
    if outside:
        (tmp_path / "w.bin").write_bytes(b"abcd" + w.raw_data)
        onnx.external_data_helper.set_external_data(w, "w.bin", offset=4, length=len(w.raw_data))
        w.ClearField("raw_data")
        w.data_location = TensorProto.EXTERNAL
    path = tmp_path / "m.onnx"
    path.write_bytes(model([node("Identity", "w", "y")], [], ["y"], [w]).SerializeToString())
    (out,) = tenun.load(path).outputs
    assert out.data is not None and out.data.dtype == data.dtype
    np.testing.assert_array_equal(out.data.astype(np.complex128), data.astype(np.complex128))
    assert not out.data.flags.writeable


def test_strings() -> None:
    w = helper.make_tensor("w", TensorProto.STRING, [2], ["ä".encode(), b"b"])
    (y,) = run(model([node("Identity", "w", "y")], [], ["y"], [w]))
    assert y.tolist() == ["ä", "b"]


def test_typed_fields() -> None:
    """Elements not as bytes but as numbers, one by one."""
    for code, data in (
        (FLOAT, [1.5, 2.0]),
        (INT64, [1, 2]),
        (TensorProto.FLOAT16, [1.5, 2.0]),
        (TensorProto.UINT8, [1, 255]),
    ):
        w = helper.make_tensor("w", code, [2], data)
        (y,) = run(model([node("Identity", "w", "y")], [], ["y"], [w]))
        np.testing.assert_array_equal(y, np.array(data, y.dtype))


def test_a_sparse_initializer_of_texts() -> None:
    """What is not told is the empty text."""
    proto = model([node("Identity", "w", "y")], [], ["y"])
    values, places = tensor("w", np.array(["a"], object), object), tensor("w_i", [1], np.int64)
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [3]))
    assert run(proto)[0].tolist() == ["", "a", ""]


@pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]], ids=["flat", "coordinates"])
def test_sparse_initializer(indices: list[Any]) -> None:
    proto = model([node("Add", "x w", "y")], [value("x", [2, 3])], ["y"])
    values, places = tensor("w", [7.0, 8.0], np.float32), tensor("", indices, np.int64)
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2, 3]))
    want = X.copy()
    want[0, 1] += 7
    want[1, 2] += 8
    np.testing.assert_array_equal(run(proto, X)[0], want)


def test_external_data_is_mapped(tmp_path: Path) -> None:
    """By onnx's own writer, several tensors in one file, with the model elsewhere than the current folder."""
    arrays = {f"w{i}": np.full((64, 64), i, np.float32) for i in range(3)}
    nodes = [node("Add", "x w0", "a"), node("Add", "a w1", "b"), node("Add", "b w2", "y")]
    proto = model(nodes, [value("x", [64, 64])], ["y"], [tensor(n, a) for n, a in arrays.items()])
    path = tmp_path / "sub" / "m.onnx"
    path.parent.mkdir()
    onnx.save(proto, path, save_as_external_data=True, location="all.bin", size_threshold=0)
    graph = tenun.load(path)
    assert all(isinstance(_root(v.data), np.memmap) for v in graph.constants)
    np.testing.assert_array_equal(tenun.compile(graph)(np.zeros((64, 64), np.float32)), np.full((64, 64), 3))


def _root(array: Any) -> Any:
    while not isinstance(array, np.memmap) and isinstance(array.base, np.ndarray):
        array = array.base
    return array


def test_initializers_among_the_inputs_are_constants() -> None:
    """As IR version 3 lists them."""
    proto = model(
        [node("Add", "x w", "y")], [value("x", [3]), value("w", [3])], ["y"], [tensor("w", [1, 2, 3], np.float32)]
    )
    assert [v.name for v in tenun.load(proto).inputs] == ["x"]


FORMS: list[tuple[dict[str, Any], Any]] = [
    ({"value": tensor("", [1, 2], np.int32)}, np.array([1, 2], np.int32)),
    ({"value_float": 1.5}, np.array(1.5, np.float32)),
    ({"value_floats": [1.5, 2.0]}, np.array([1.5, 2.0], np.float32)),
    ({"value_int": 3}, np.array(3)),
    ({"value_ints": [3, 4]}, np.array([3, 4])),
    ({"value_string": "a"}, np.array("a", object)),
    ({"value_strings": ["a", "b"]}, np.array(["a", "b"], object)),
    (
        {"sparse_value": helper.make_sparse_tensor(tensor("v", [5.0], np.float32), tensor("i", [1], np.int64), [3])},
        np.array([0, 5, 0], np.float32),
    ),
]


@pytest.mark.parametrize(("attrs", "want"), FORMS, ids=[next(iter(f[0])) for f in FORMS])
def test_constant_node(attrs: dict[str, Any], want: Any) -> None:
    (y,) = run(model([node("Constant", "", "y", **attrs)], [], ["y"]))
    assert y.dtype == want.dtype and y.shape == want.shape
    np.testing.assert_array_equal(y, want)


# ---- names, symbols, order -----------------------------------------------------------------------------------


def test_names_and_sources() -> None:
    nodes = [helper.make_node("Relu", ["/in put:0"], ["/a/b.c"], name="/enc/relu"), node("Neg", "/a/b.c", "out-1")]
    graph = tenun.load(model(nodes, [value("/in put:0", [3])], ["out-1"]))
    assert [v.name for v in graph.inputs] == ["/in put:0"] and graph.output_names == ["out-1"]
    assert [n.source for n in graph.nodes] == ["/enc/relu", "Neg:out-1"]
    assert [n.output.name for n in graph.nodes] == ["/a/b.c", "out-1"]


def test_symbols() -> None:
    """dim_params become identifiers, equal ones equal symbols, different ones different."""
    inputs = [value("a", ["batch size", "d+1", 3]), value("b", ["batch size", "d-1", None])]
    proto = model([node("Concat", "a b", "y", axis=1)], inputs, ["y"])
    a, b = (v.shape for v in tenun.load(proto).inputs)
    assert a[0] == b[0] and a[1] != b[1] and str(a[0]).isidentifier() and str(a[1]).isidentifier()
    run(proto, np.zeros((2, 4, 3), np.float32), np.zeros((2, 5, 3), np.float32))


def test_unsorted_nodes() -> None:
    """Nodes in no order, one of them read only inside of a subgraph."""
    then = helper.make_graph([node("Identity", "late", "t")], "b", [], [value("t", None)])
    other = helper.make_graph([node("Identity", "x", "e")], "b", [], [value("e", None)])
    nodes = [
        node("Add", "i m", "y"),
        node("If", "c", "i", then_branch=then, else_branch=other),
        node("Mul", "late x", "m"),
        node("Neg", "x", "late"),
    ]
    proto = model(nodes, [value("c", [], TensorProto.BOOL), value("x", [2, 3])], ["y"])
    np.testing.assert_array_equal(run(proto, np.array(True), X)[0], -X - X * X)


def test_output_that_is_an_input_or_a_constant_or_given_twice() -> None:
    proto = model(
        [node("Relu", "x", "r"), node("Identity", "r", "s")],
        [value("x", [2, 3])],
        ["x", "w", "r", "s"],
        [tensor("w", [1, 2], np.int64)],
    )
    x, w, r, s = run(proto, X)
    np.testing.assert_array_equal(x, X)
    assert w.tolist() == [1, 2]
    np.testing.assert_array_equal(r, s)


def test_unused_output_and_optional_input() -> None:
    proto = model(
        [node("Clip", "x _ high", "y"), node("MaxPool", "y", "v _", kernel_shape=[2])],
        [value("x", [1, 2, 3])],
        ["v"],
        [tensor("high", 2, np.float32)],
    )
    check(proto, X[None])


def test_models_by_path_bytes_and_object(tmp_path: Path) -> None:
    proto = model([node("Relu", "x", "y")], [value("x", [2, 3])], ["y"])
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    for given in (path, str(path), proto, proto.SerializeToString(), bytearray(proto.SerializeToString())):
        np.testing.assert_array_equal(tenun.compile_and_run(given, X), np.maximum(X, 0))


# ---- functions -----------------------------------------------------------------------------------------------


def function(name: str, inputs: list[str], outputs: list[str], nodes: list[Any], **more: Any) -> onnx.FunctionProto:
    """A function of domain "f"."""
    return helper.make_function(
        "f", name, inputs, outputs, nodes, [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)], **more
    )


def call(name: str, inputs: str, outputs: str, **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(
        name, [i if i != "_" else "" for i in inputs.split()], outputs.split(), domain="f", name=name.lower(), **attrs
    )


def referring(op: str, inputs: str, outputs: str, attribute: str, refers: str, kind: int) -> onnx.NodeProto:
    """A node with an attribute that refers to one of the enclosing function."""
    made = node(op, inputs, outputs)
    made.attribute.append(onnx.AttributeProto(name=attribute, ref_attr_name=refers, type=kind))
    return made


def test_function_with_attributes_inside_of_another() -> None:
    """References through two levels, a default, and names that both bodies and the model use."""
    leaky = referring("LeakyRelu", "x", "y", "alpha", "slope", onnx.AttributeProto.FLOAT)
    inner = function("Inner", ["x"], ["y"], [leaky], attribute_protos=[helper.make_attribute("slope", 0.5)])
    passed = call("Inner", "x", "t")
    passed.attribute.append(onnx.AttributeProto(name="slope", ref_attr_name="a", type=onnx.AttributeProto.FLOAT))
    outer = function(
        "Outer", ["x", "y"], ["z"], [passed, call("Inner", "y", "u"), node("Add", "t u", "z")], attributes=["a"]
    )
    proto = model(
        [call("Outer", "x w", "y", a=0.25), node("Neg", "y", "z")],
        [value("x", [2, 3])],
        ["z"],
        [tensor("w", X)],
        functions=[inner, outer],
        domains={"f": 1},
    )
    want = np.where(X < 0, X * 0.25, X) + np.where(X < 0, X * 0.5, X)
    np.testing.assert_allclose(run(proto, X)[0], -want)
    sources = {n.source for n in tenun.load(proto).nodes}
    assert "outer/inner/LeakyRelu:y" in sources


def test_function_with_optional_input_and_several_outputs() -> None:
    body = [node("Clip", "x low", "y"), node("Neg", "x", "z")]
    made = function("F", ["x", "low"], ["y", "z"], body)
    proto = model(
        [call("F", "x", "a b"), call("F", "x zero", "c d")],
        [value("x", [2, 3])],
        ["a", "b", "c"],
        [tensor("zero", 0, np.float32)],
        functions=[made],
        domains={"f": 1},
    )
    a, b, c = run(proto, X)
    np.testing.assert_array_equal(a, X)
    np.testing.assert_array_equal(b, -X)
    np.testing.assert_array_equal(c, np.maximum(X, 0))


def test_function_with_a_subgraph_that_captures_its_values() -> None:
    then = helper.make_graph([node("Add", "x t", "r")], "b", [], [value("r", None)])
    other = helper.make_graph(
        [referring("LeakyRelu", "x", "r2", "alpha", "slope", onnx.AttributeProto.FLOAT)], "b", [], [value("r2", None)]
    )
    body = [node("Exp", "x", "t"), node("If", "c", "y", then_branch=then, else_branch=other)]
    made = function("F", ["x", "c"], ["y"], body, attributes=["slope"])
    proto = model(
        [call("F", "a c", "y", slope=0.5)],
        [value("a", [2, 3]), value("c", [], TensorProto.BOOL)],
        ["y"],
        functions=[made],
        domains={"f": 1},
    )
    np.testing.assert_allclose(run(proto, X, np.array(True))[0], X + np.exp(X), rtol=1e-6)
    np.testing.assert_allclose(run(proto, X, np.array(False))[0], np.where(X < 0, X / 2, X))


def test_model_function_in_the_place_of_an_operator() -> None:
    """An operator that tenun does not know, given as a function by the model itself."""
    magic = helper.make_function(
        "com.acme", "Magic", ["x"], ["y"], [node("Abs", "x", "y")], [helper.make_opsetid("", 17)]
    )
    proto = model(
        [helper.make_node("Magic", ["x"], ["y"], domain="com.acme")],
        [value("x", [2, 3])],
        ["y"],
        functions=[magic],
        domains={"com.acme": 1},
    )
    np.testing.assert_array_equal(run(proto, X)[0], np.abs(X))


def test_operator_that_onnx_defines_by_others() -> None:
    """MeanVarianceNormalization has no row; its body is in the schema."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    check(
        model([node("MeanVarianceNormalization", "x", "y", axes=[0, 2])], [value("x", [2, 3, 4, 5])], ["y"], opset=13),
        x,
        rtol=1e-4,
    )


# ---- opset variants ------------------------------------------------------------------------------------------

R = np.random.default_rng(0)
IMAGE = R.standard_normal((2, 3, 7, 5)).astype(np.float32)
SCALES = tensor("s", [1, 1, 2, 3], np.float32)
noise = R.standard_normal


def ints(name: str, data: Any) -> TensorProto:
    return tensor(name, data, np.int64)


def floats(name: str, data: Any) -> TensorProto:
    return tensor(name, data, np.float32)


# name: opset, node, initialisers; the input is IMAGE
VARIANTS: dict[str, tuple[int, onnx.NodeProto, list[Any]]] = {
    "softmax 11": (11, node("Softmax", "x", "y", axis=1), []),
    "softmax 13": (13, node("Softmax", "x", "y", axis=1), []),
    "log softmax 11": (11, node("LogSoftmax", "x", "y", axis=-2), []),
    "hardmax 11": (11, node("Hardmax", "x", "y", axis=2), []),
    "squeeze 11": (11, node("Unsqueeze", "x", "y", axes=[0, -1]), []),
    "squeeze 13": (13, node("Unsqueeze", "x a", "y"), [ints("a", [0, -1])]),
    "reduce sum 11": (11, node("ReduceSum", "x", "y", axes=[1, -1], keepdims=0), []),
    "reduce sum 13": (13, node("ReduceSum", "x a", "y"), [ints("a", [1, -1])]),
    "reduce sum of nothing": (13, node("ReduceSum", "x", "y", noop_with_empty_axes=1), []),
    "reduce max 13": (13, node("ReduceMax", "x", "y", axes=[2]), []),
    "reduce max 18": (18, node("ReduceMax", "x a", "y", keepdims=0), [ints("a", [2])]),
    "slice 9": (9, node("Slice", "x", "y", axes=[2, 3], starts=[1, -3], ends=[100, -1]), []),
    "slice 13": (
        13,
        node("Slice", "x s e a t", "y"),
        [ints("s", [-1, 0]), ints("e", [-(2**62), 4]), ints("a", [2, 1]), ints("t", [-2, 2])],
    ),
    "split 11": (11, node("Split", "x", "y z", axis=2, split=[3, 4]), []),
    "split 13": (13, node("Split", "x n", "y z", axis=2), [ints("n", [3, 4])]),
    "split 18": (18, node("Split", "x", "y z", axis=2, num_outputs=2), []),
    "pad 10": (10, node("Pad", "x", "y", pads=[0, 0, 1, 2, 0, 0, 3, 0], value=1.5), []),
    "pad 11": (11, node("Pad", "x p v", "y"), [ints("p", [0, 0, 1, 2, 0, 0, 3, 0]), floats("v", 1.5)]),
    "pad negative": (13, node("Pad", "x p", "y"), [ints("p", [0, 0, -1, 2, 0, 0, 3, -1])]),
    "pad 18 reflect": (18, node("Pad", "x p _ a", "y", mode="reflect"), [ints("p", [1, 2, 2, 1]), ints("a", [-1, 2])]),
    "pad wrap": (19, node("Pad", "x p", "y", mode="wrap"), [ints("p", [0, 0, 1, 2, 0, 0, 3, 2])]),
    "clip 6": (6, node("Clip", "x", "y", min=-0.5, max=0.25), []),
    "clip 12": (12, node("Clip", "x lo", "y"), [floats("lo", 0.1)]),
    "upsample 8": (8, node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0]), []),
    "upsample 9": (9, node("Upsample", "x s", "y", mode="linear"), [SCALES]),
    "resize 10": (10, node("Resize", "x s", "y"), [SCALES]),
    "resize 11": (11, node("Resize", "x r s", "y", mode="linear"), [SCALES, floats("r", [])]),
    "resize 13 sizes": (13, node("Resize", "x _ _ z", "y", mode="cubic"), [ints("z", [2, 3, 11, 4])]),
    "resize 18 axes": (18, node("Resize", "x _ s", "y", axes=[3, 2], mode="linear"), [floats("s", [2.5, 0.6])]),
    "resize align": (
        13,
        node("Resize", "x _ s", "y", mode="linear", coordinate_transformation_mode="align_corners"),
        [SCALES],
    ),
    "resize ratio": (
        18,
        node("Resize", "x _ _ z", "y", axes=[2, 3], keep_aspect_ratio_policy="not_larger"),
        [ints("z", [9, 9])],
    ),
    "batch norm 7": (
        7,
        node("BatchNormalization", "x c c c v", "y", epsilon=1e-3),
        [floats("c", [1, 2, 3]), floats("v", [1, 2, 3])],
    ),
    "batch norm 15": (
        15,
        node("BatchNormalization", "x c c c v", "y"),
        [floats("c", [1, 2, 3]), floats("v", [1, 2, 3])],
    ),
    "dropout 10": (10, node("Dropout", "x", "y", ratio=0.3), []),
    "dropout 13": (13, node("Dropout", "x", "y m"), []),
    "top k 9": (9, node("TopK", "x", "y i", k=2, axis=2), []),
    "top k 11": (11, node("TopK", "x k", "y i", axis=1, largest=0), [ints("k", [2])]),
    "cumsum": (14, node("CumSum", "x a", "y", exclusive=1, reverse=1), [ints("a", -2)]),
    "flatten 0": (13, node("Flatten", "x", "y", axis=0), []),
    "flatten -1": (13, node("Flatten", "x", "y", axis=-1), []),
    "flatten 4": (13, node("Flatten", "x", "y", axis=4), []),
    "reshape 0": (13, node("Reshape", "x s", "y"), [ints("s", [0, -1, 5])]),
    "max pool": (
        12,
        node("MaxPool", "x", "y i", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 0, 1], dilations=[2, 1]),
        [],
    ),
    "max pool same": (12, node("MaxPool", "x", "y", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER"), []),
    "max pool ceil": (12, node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), []),
    "max pool columns": (12, node("MaxPool", "x", "y i", kernel_shape=[2, 2], storage_order=1), []),
    "average pool": (
        11,
        node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        [],
    ),
    "average pool ceil": (11, node("AveragePool", "x", "y", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1), []),
    "lp pool": (18, node("LpPool", "x", "y", kernel_shape=[2, 3], p=3, pads=[1, 0, 0, 1]), []),
    "global lp pool": (13, node("GlobalLpPool", "x", "y", p=3), []),
    "lrn": (13, node("LRN", "x", "y", size=3, alpha=0.1), []),
    "lp norm": (13, node("LpNormalization", "x", "y", axis=1, p=1), []),
    "instance norm": (13, node("InstanceNormalization", "x c c", "y"), [floats("c", [1, 2, 3])]),
    "layer norm": (17, node("LayerNormalization", "x c", "y m d", axis=2), [floats("c", noise((7, 5)))]),
    "shape 15": (15, node("Shape", "x", "y", start=-3, end=-1), []),
    "size": (13, node("Size", "x", "y"), []),
    "space to depth": (13, node("SpaceToDepth", "z", "y", blocksize=2), [floats("z", noise((2, 3, 4, 6)))]),
    "depth to space crd": (
        13,
        node("DepthToSpace", "z", "y", blocksize=2, mode="CRD"),
        [floats("z", noise((2, 8, 3, 5)))],
    ),
    "one hot": (
        11,
        node("OneHot", "i d v", "y", axis=1),
        [ints("i", [[0, 4, -1]]), floats("d", 5.0), floats("v", [2, 3])],
    ),
    "gemm": (
        13,
        node("Gemm", "a b c", "y", alpha=0.5, beta=2.0, transA=1, transB=1),
        [tensor(n, noise(s), np.float32) for n, s in (("a", (4, 3)), ("b", (5, 4)), ("c", (3, 1)))],
    ),
    "einsum": (13, node("Einsum", "x x", "y", equation="nchw,ndhw->ncd"), []),
    "mod": (13, node("Mod", "i j", "y"), [ints("i", [-7, 7, -7, 7]), ints("j", [3, 3, -3, -3])]),
    "fmod": (13, node("Mod", "i j", "y", fmod=1), [floats("i", [-7.5, 7.5]), floats("j", [3, -3])]),
    "arg max": (13, node("ArgMax", "x", "y", axis=-1, keepdims=0, select_last_index=1), []),
    "trilu": (14, node("Trilu", "x k", "y", upper=0), [ints("k", -1)]),
    "eye like": (9, node("EyeLike", "e", "y", k=1, dtype=FLOAT), [floats("e", np.zeros((3, 4)))]),
    "reverse sequence": (
        10,
        node("ReverseSequence", "q l", "y"),
        [floats("q", noise((4, 3, 2))), ints("l", [1, 4, 2])],
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_opset_variant(name: str) -> None:
    opset, n, initializers = VARIANTS[name]
    check(model([n], [value("x", IMAGE.shape)], list(n.output), initializers, opset=opset), IMAGE)


@pytest.mark.parametrize("name", [k for k, v in VARIANTS.items() if "x" in v[1].input])
def test_opset_variant_with_symbols(name: str) -> None:
    """The same where nothing but the channels is known while reading."""
    opset, n, initializers = VARIANTS[name]
    proto = model([n], [value("x", ["N", 3, "H", "W"])], list(n.output), initializers, opset=opset)
    check(proto, IMAGE)


CONVS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ("Conv", (2, 4, 9, 7), (6, 4, 3, 2), {}),
    "1d": ("Conv", (2, 4, 9), (6, 4, 3), {"strides": [2], "pads": [1, 2]}),
    "3d": ("Conv", (1, 2, 5, 6, 4), (3, 2, 2, 3, 2), {"pads": [1, 0, 1, 0, 1, 0]}),
    "groups": ("Conv", (2, 4, 9, 7), (6, 2, 3, 3), {"group": 2, "dilations": [2, 1]}),
    "depthwise": ("Conv", (2, 4, 9, 7), (4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "same upper": ("Conv", (2, 4, 9, 7), (6, 4, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "same lower": ("Conv", (2, 4, 9, 7), (6, 4, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    "valid": ("Conv", (2, 4, 9, 7), (6, 4, 4, 3), {"auto_pad": "VALID"}),
    "transpose": ("ConvTranspose", (2, 4, 5, 3), (4, 6, 3, 2), {"strides": [2, 3], "pads": [1, 0, 0, 1]}),
    "transpose 1d": ("ConvTranspose", (2, 4, 5), (4, 6, 3), {"strides": [2], "output_padding": [1]}),
    "transpose groups": ("ConvTranspose", (2, 4, 5, 3), (4, 3, 3, 2), {"group": 2, "dilations": [2, 1]}),
    "transpose output shape": (
        "ConvTranspose",
        (2, 4, 5, 3),
        (4, 6, 3, 3),
        {"strides": [3, 2], "output_shape": [14, 8]},
    ),
    "transpose same upper": (
        "ConvTranspose",
        (2, 4, 5, 3),
        (4, 6, 4, 3),
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    "transpose same lower": (
        "ConvTranspose",
        (2, 4, 5, 3),
        (4, 6, 4, 3),
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", CONVS)
def test_convolution(name: str, bias: bool) -> None:
    op, x, w, attrs = CONVS[name]
    filters = w[0] if op == "Conv" else w[1] * attrs.get("group", 1)
    weights = [tensor("w", R.standard_normal(w), np.float32), tensor("b", R.standard_normal(filters), np.float32)]
    n = node(op, "x w b" if bias else "x w", "y", kernel_shape=w[2:], **attrs)
    check(model([n], [value("x", ["N", *x[1:]])], ["y"], weights), R.standard_normal(x).astype(np.float32), atol=1e-5)


# ---- the backend class ---------------------------------------------------------------------------------------


def test_backend() -> None:
    proto = model([node("Relu", "x", "y"), node("Neg", "x", "z")], [value("x", [2, 3])], ["y", "z"])
    y, z = TenunBackend.prepare(proto).run([X])
    np.testing.assert_array_equal(y, np.maximum(X, 0))
    np.testing.assert_array_equal(TenunBackend.run_model(proto, {"x": X})[1], z)
    (total,) = TenunBackend.run_node(node("Add", "a b", "c"), [X, X])
    np.testing.assert_array_equal(total, 2 * X)
    assert TenunBackend.supports_device("CPU") and not TenunBackend.supports_device("CUDA")
    with pytest.raises(tenun.RunError, match="expected 1 inputs"):
        TenunBackend.prepare(proto).run([X, X])


# ---- without the package onnx --------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["onnx", "tenun.frontends.onnx.messages"])
def test_messages_are_those_of_onnx(first: str) -> None:
    """Whichever is imported first, a ModelProto is a ModelProto."""
    code = (
        f"import {first}; import onnx; from tenun.frontends.onnx import messages as ours;"
        "assert all(getattr(onnx, n) is getattr(ours, n) for n in ours.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("code", PLAIN)
def test_elements_are_those_that_onnx_reads(code: int) -> None:
    assert np.dtype(PLAIN[code]) == helper.tensor_dtype_to_np_dtype(code)
    array = np.array(["a", ""] if code == TensorProto.STRING else [[0, 1, 2]]).astype(PLAIN[code])
    given = numpy_helper.from_array(array)
    read, theirs = array_of(given, None), numpy_helper.to_array(given)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == theirs.dtype and read.shape == theirs.shape
