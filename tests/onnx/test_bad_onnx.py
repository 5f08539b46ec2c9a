"""Bad models: every one is a TenunError that names the file and the node, never a raw traceback."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tenun
from tenun.errors import GraphError, LoadError, ShapeError, TenunError, UnsupportedError

from .models import FLOAT, INT64, model, node, tensor, value

pytestmark = pytest.mark.broken_graphs


def relu(**attrs: Any) -> onnx.ModelProto:
    """A model without fault."""
    return model([node("Relu", "x", "y", **attrs)], [value("x", [2, 3])], [value("y", [2, 3])])


def saved(proto: onnx.ModelProto, folder: Path, name: str = "bad.onnx") -> Path:
    """The model in a file, as it is."""
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def refused(proto: onnx.ModelProto, error: type[TenunError], *words: str, folder: Path | None = None) -> TenunError:
    """Loading raises the error, whose text holds all the words (and the file's name, if there is one)."""
    given = proto if folder is None else saved(proto, folder)
    with pytest.raises(error) as caught:
        tenun.load(given)
    for word in (*words, *((str(given),) if folder is not None else ())):
        assert word in str(caught.value), f"{word!r} is not in {caught.value}"
    return caught.value


# ---- files ---------------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="does not exist"):
        tenun.load(tmp_path / "none.onnx")


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.write_bytes(b"")
    with pytest.raises(LoadError, match="empty"):
        tenun.load(path)


@pytest.mark.parametrize("data", [b"this is no model", b"\x00" * 64, b"\xff" * 64, b"\x08\x0a"])
def test_no_protobuf(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "garbage.onnx"
    path.write_bytes(data)
    with pytest.raises(LoadError, match="not an ONNX model"):
        tenun.load(path)
    with pytest.raises(LoadError, match="not an ONNX model"):
        tenun.load(data)


def test_every_truncation(tmp_path: Path) -> None:
    """A model cut anywhere is refused, or is a shorter model that says the same."""
    whole = model([node("Add", "x w", "y")], [value("x", [3])], [value("y", [3])], [tensor("w", [1, 2, 3], np.float32)])
    data = whole.SerializeToString()
    for length in range(1, len(data)):
        try:
            graph = tenun.load(data[:length])
        except TenunError:
            continue
        assert graph.output_names == ["y"], length


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bytes(seed: int) -> None:
    """Random damage is a TenunError or a model."""
    rng = np.random.default_rng(seed)
    whole = model(
        [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r"), node("Reshape", "r s", "y")],
        [value("x", [1, 2, 5, 5])],
        [value("y", None)],
        [tensor("w", np.ones((3, 2, 3, 3)), np.float32), tensor("s", [1, -1], np.int64)],
    )
    data = bytearray(whole.SerializeToString())
    for place in rng.integers(0, len(data), 3):
        data[place] = rng.integers(0, 256)
    with contextlib.suppress(TenunError):
        tenun.load(bytes(data))


def test_model_without_opset() -> None:
    proto = relu()
    del proto.opset_import[:]
    refused(proto, LoadError, "opset")


# ---- names and edges -----------------------------------------------------------------------------------------


def test_missing_initializer(tmp_path: Path) -> None:
    proto = model([helper.make_node("Add", ["x", "w"], ["y"], name="plus")], [value("x", [3])], [value("y", [3])])
    assert refused(proto, GraphError, "'w'", folder=tmp_path).node == "plus"


def test_undeclared_input_in_a_subgraph() -> None:
    body = helper.make_graph([node("Add", "x nowhere", "t")], "b", [], [value("t", None)])
    proto = model(
        [node("If", "c", "y", then_branch=body, else_branch=body)],
        [value("c", [], TensorProto.BOOL), value("x", [3])],
        [value("y", None)],
    )
    refused(proto, GraphError, "'nowhere'")


def test_undefined_output() -> None:
    proto = relu()
    proto.graph.output[0].name = "z"
    refused(proto, GraphError, "'z'")


def test_name_defined_twice() -> None:
    proto = model([node("Relu", "x", "y"), node("Neg", "x", "y")], [value("x", [3])], [value("y", [3])])
    refused(proto, GraphError, "'y'", "twice")


def test_output_named_as_an_input() -> None:
    proto = model([node("Relu", "x", "x")], [value("x", [3])], [value("x", [3])])
    refused(proto, GraphError, "'x'", "twice")


def test_input_declared_twice() -> None:
    proto = model([node("Relu", "x", "y")], [value("x", [3]), value("x", [3])], [value("y", [3])])
    refused(proto, GraphError, "'x'")


def test_cycle(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Neg", ["a"], ["b"], name="second"),
    ]
    refused(model(nodes, [value("x", [3])], [value("a", [3])]), GraphError, "cycle", "first", "second", folder=tmp_path)


def test_node_that_reads_itself() -> None:
    refused(model([node("Add", "x y", "y")], [value("x", [3])], [value("y", [3])]), GraphError, "cycle")


# ---- operators -----------------------------------------------------------------------------------------------


def test_all_unknown_operators_in_one_error(tmp_path: Path) -> None:
    """Those in subgraphs too."""
    body = helper.make_graph([node("Frobnicate", "x", "t")], "b", [], [value("t", None)])
    proto = model(
        [
            node("If", "c", "y", then_branch=body, else_branch=body),
            helper.make_node("Magic", ["x"], ["z"], domain="com.acme", name="wand"),
        ],
        [value("c", [], TensorProto.BOOL), value("x", [3])],
        ["y", "z"],
        domains={"com.acme": 2},
    )
    refused(proto, UnsupportedError, "Frobnicate", "com.acme.Magic", "wand", "hint", folder=tmp_path)


def test_domain_without_opset() -> None:
    proto = model([helper.make_node("Magic", ["x"], ["y"], domain="com.acme")], [value("x", [3])], ["y"])
    refused(proto, GraphError, "com.acme", "opset")


def test_unknown_attribute() -> None:
    error = refused(relu(steepness=2.0), UnsupportedError, "steepness", "Relu", "hint")
    assert error.node == "Relu:y"


def test_attribute_of_the_wrong_kind() -> None:
    proto = model([node("Concat", "x x", "y", axis="first")], [value("x", [3])], ["y"])
    refused(proto, TenunError, "axis")


def test_missing_attribute() -> None:
    refused(model([node("Concat", "x x", "y")], [value("x", [3])], ["y"]), GraphError, "axis")


@pytest.mark.parametrize("inputs", ["x", "x x x"])
def test_wrong_number_of_inputs(inputs: str) -> None:
    refused(model([node("Mul", inputs, "y")], [value("x", [3])], ["y"]), GraphError, "Mul")


def test_opset_newer_than_known() -> None:
    refused(model([node("Relu", "x", "y")], [value("x", [3])], ["y"], opset=1000), UnsupportedError, "1000")


def test_function_that_calls_itself() -> None:
    inner = helper.make_node("Loopy", ["a"], ["b"], domain="f")
    function = helper.make_function("f", "Loopy", ["a"], ["b"], [inner], [helper.make_opsetid("f", 1)])
    proto = model(
        [helper.make_node("Loopy", ["x"], ["y"], domain="f")],
        [value("x", [3])],
        ["y"],
        functions=[function],
        domains={"f": 1},
    )
    refused(proto, GraphError, "calls itself")


def test_subgraphs_nested_too_deep() -> None:
    """Made in place: a file of such a model is refused by protobuf itself."""
    proto = relu()
    inner = proto.graph
    for _ in range(200):
        inner = (
            inner.node.add(op_type="If", input=["x"], output=["t"])
            .attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
            .g
        )
    refused(proto, GraphError, "nested")


# ---- types and shapes ----------------------------------------------------------------------------------------


def test_shapes_that_contradict(tmp_path: Path) -> None:
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        [value("x", [2, 3])],
        ["y"],
        [tensor("w", np.ones((4, 5)), np.float32)],
    )
    error = refused(proto, ShapeError, "(2, 3)", "(4, 5)", folder=tmp_path)
    assert error.node == "product"


def test_dtypes_that_contradict() -> None:
    proto = model([node("Add", "x w", "y")], [value("x", [3])], ["y"], [tensor("w", [1, 2, 3], np.int64)])
    refused(proto, ShapeError, "f32", "i64")


def test_declared_output_type() -> None:
    proto = model([node("Relu", "x", "y")], [value("x", [2, 3])], [value("y", [2, 3], INT64)])
    refused(proto, ShapeError, "i64[2, 3]", "f32[2, 3]")


@pytest.mark.parametrize("shape", [[2, 4], [2], [2, 3, 1]])
def test_declared_output_shape(shape: list[int]) -> None:
    refused(model([node("Relu", "x", "y")], [value("x", [2, 3])], [value("y", shape)]), ShapeError, "'y'")


def test_weights_that_do_not_fit_their_shape() -> None:
    bad = TensorProto(name="w", data_type=FLOAT, dims=[2, 3], raw_data=b"\0" * 20)
    refused(model([node("Add", "x w", "y")], [value("x", [2, 3])], ["y"], [bad]), LoadError, "'w'", "20 bytes")
    bad = TensorProto(name="w", data_type=FLOAT, dims=[2, 3], float_data=[1, 2, 3])
    refused(model([node("Add", "x w", "y")], [value("x", [2, 3])], ["y"], [bad]), LoadError, "'w'")


def test_huge_declared_shape() -> None:
    """No memory is taken before the bytes are counted."""
    bad = TensorProto(name="w", data_type=FLOAT, dims=[1 << 40, 1 << 20], raw_data=b"\0" * 4)
    refused(model([node("Add", "x w", "y")], [value("x", [2, 3])], ["y"], [bad]), LoadError, "'w'")


def test_unknown_element_type() -> None:
    bad = TensorProto(name="w", data_type=99, dims=[1], raw_data=b"\0" * 4)
    refused(model([node("Add", "x w", "y")], [value("x", [2, 3])], ["y"], [bad]), LoadError, "99")


@pytest.mark.parametrize("indices", [[9], [-1], [0, 1]])
def test_sparse_initializer_with_bad_indices(indices: list[int]) -> None:
    sparse = helper.make_sparse_tensor(tensor("w", [1.0], np.float32), tensor("w_i", indices, np.int64), [3])
    proto = model([node("Add", "x w", "y")], [value("x", [3])], ["y"])
    proto.graph.sparse_initializer.append(sparse)
    refused(proto, LoadError, "'w'")


def test_rank_not_known() -> None:
    refused(model([node("Flatten", "x", "y")], [value("x", None)], ["y"]), UnsupportedError, "rank", "Flatten")


# ---- external data -------------------------------------------------------------------------------------------


def external(location: str, **entries: int) -> onnx.ModelProto:
    """A model whose weight w: f32[3] lies in a file."""
    w = TensorProto(name="w", data_type=FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, entry in {"location": location, **entries}.items():
        w.external_data.add(key=key, value=str(entry))
    return model([node("Add", "x w", "y")], [value("x", [3])], [value("y", [3])], [w])


@pytest.mark.parametrize("location", ["/etc/hostname", "../w.bin", "sub/../../w.bin", "C:\\w.bin", "..\\w.bin", ""])
def test_external_data_outside_of_the_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(np.ones(3, np.float32).tobytes())
    refused(external(location), LoadError, "outside", folder=folder)


@pytest.mark.parametrize("through_folder", [False, True])
def test_external_data_through_a_link(tmp_path: Path, through_folder: bool) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret"
    folder.mkdir()
    secret.mkdir()
    (secret / "w.bin").write_bytes(np.ones(3, np.float32).tobytes())
    if through_folder:
        os.symlink(secret, folder / "sub")
    else:
        os.symlink(secret / "w.bin", folder / "w.bin")
    refused(external("sub/w.bin" if through_folder else "w.bin"), LoadError, "outside", folder=folder)


def test_external_data_missing_or_short(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="does not exist"):
        tenun.load(saved(external("w.bin"), tmp_path))
    (tmp_path / "w.bin").write_bytes(b"\0" * 11)
    for proto in (
        external("w.bin"),
        external("w.bin", offset=8),
        external("w.bin", length=1 << 40),
        external("w.bin", offset=-4),
    ):
        with pytest.raises(LoadError, match="needs 12 bytes"):
            tenun.load(saved(proto, tmp_path))


def test_external_data_without_a_folder() -> None:
    refused(external("w.bin"), LoadError, "no folder", "hint")
