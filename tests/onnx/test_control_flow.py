"""If, Loop, Scan: captures, nesting, values that change their shape, sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from tenun import load

from .models import BOOL, FLOAT, INT64, check, model, node, run, tensor, value

X = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]], np.float32)


def graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], initializers: list[Any] = []) -> onnx.GraphProto:  # noqa: B006
    """A subgraph."""
    return helper.make_graph(nodes, "body", inputs, outputs, initializers)


@pytest.mark.parametrize("condition", [True, False])
def test_if_captures_inputs_and_initializers(condition: bool) -> None:
    then = graph([node("Add", "x bias", "t")], [], [value("t", [2, 3])])
    other = graph(
        [node("Mul", "x scale", "m"), node("Neg", "m", "e")], [], [value("e", [2, 3])], [tensor("scale", 3, np.float32)]
    )
    proto = model(
        [node("If", "c", "y", then_branch=then, else_branch=other)],
        [value("c", [], BOOL), value("x", [2, 3])],
        [value("y", [2, 3])],
        [tensor("bias", [1, 2, 3], np.float32)],
    )
    check(proto, np.array(condition), X)
    (body,) = [n for n in load(proto).nodes if n.op.name == "if"]
    assert [v.name for v in body.inputs] == ["c", "x"]  # the initialiser came along as a constant


@pytest.mark.parametrize("condition", [True, False])
def test_branches_of_different_shapes(condition: bool) -> None:
    then = graph([node("Identity", "x", "t")], [], [value("t", None)])
    other = graph([node("ReduceSum", "x axes", "e", keepdims=0)], [], [value("e", None)])
    proto = model(
        [node("If", "c", "y", then_branch=then, else_branch=other), node("Neg", "y", "z")],
        [value("c", [], BOOL), value("x", [2, 3])],
        [value("z", None)],
        [tensor("axes", [1], np.int64)],
    )
    check(proto, np.array(condition), X)


def test_if_with_known_condition_is_only_its_branch() -> None:
    """As exporters write it: the rank decides, and the other branch would not even fit."""
    then = graph([node("Squeeze", "x axes", "t")], [], [value("t", None)])
    other = graph([node("Identity", "x", "e")], [], [value("e", None)])
    proto = model(
        [
            node("Shape", "x", "s"),
            node("Size", "s", "r"),
            node("Equal", "r four", "c"),
            node("If", "c", "y", then_branch=then, else_branch=other),
        ],
        [value("x", [2, 3])],
        [value("y", None)],
        [tensor("axes", [3], np.int64), tensor("four", 4, np.int64)],
    )
    assert not any(n.op.name == "if" for n in load(proto).nodes)
    np.testing.assert_array_equal(run(proto, X)[0], X)


def test_nested_captures() -> None:
    """The inner branch reads from two levels out, the outer one only through it."""
    inner_then = graph([node("Mul", "x outer", "it")], [], [value("it", None)])
    inner_else = graph([node("Sub", "x outer", "ie")], [], [value("ie", None)])
    then = graph(
        [node("Exp", "x", "outer"), node("If", "d", "t", then_branch=inner_then, else_branch=inner_else)],
        [],
        [value("t", None)],
    )
    other = graph([node("Identity", "x", "e")], [], [value("e", None)])
    proto = model(
        [node("If", "c", "y", then_branch=then, else_branch=other)],
        [value("c", [], BOOL), value("d", [], BOOL), value("x", [2, 3])],
        [value("y", None)],
    )
    for c in (True, False):
        for d in (True, False):
            check(proto, np.array(c), np.array(d), X)


def loop_body(nodes: list[Any], carried: list[str], results: list[str]) -> onnx.GraphProto:
    """A body with inputs i, go and the carried values."""
    inputs = [value("i", [], INT64), value("go", [], BOOL), *(value(c, None) for c in carried)]
    return graph(nodes, inputs, [value("more", [], BOOL), *(value(r, None) for r in results)])


def test_loop_with_trip_count_and_scanned_values() -> None:
    body = loop_body(
        [
            node("Identity", "go", "more"),
            node("Add", "a step", "b"),
            node("Cast", "i", "k", to=FLOAT),
            node("Mul", "b k", "s"),
        ],
        ["a"],
        ["b", "s"],
    )
    proto = model(
        [node("Loop", "n _ x", "last all", body=body)],
        [value("n", [], INT64), value("x", [2, 3]), value("step", [3])],
        [value("last", None), value("all", None)],
    )
    check(proto, np.array(4), X, np.array([1, 2, 3], np.float32))


@pytest.mark.parametrize("limit", [None, 3, 100])
def test_loop_with_condition(limit: int | None) -> None:
    """Doubling while the sum is below 1000."""
    body = loop_body(
        [node("Add", "a a", "b"), node("ReduceSum", "b", "s", keepdims=0), node("Less", "s thousand", "more")],
        ["a"],
        ["b"],
    )
    initializers = [tensor("thousand", 1000, np.float32), tensor("yes", True)]
    if limit is not None:
        initializers.append(tensor("n", limit, np.int64))
    proto = model(
        [node("Loop", f"{'_' if limit is None else 'n'} yes x", "last", body=body)],
        [value("x", [2, 3])],
        [value("last", None)],
        initializers,
    )
    check(proto, np.abs(X))


def test_loop_with_a_counter_of_its_own() -> None:
    """A carried number that starts from a constant, as tf2onnx writes loops over time steps."""
    body = loop_body(
        [
            node("Identity", "go", "more"),
            node("Add", "k one", "next"),
            node("Gather", "x k", "row"),
            node("Add", "a row", "b"),
        ],
        ["k", "a"],
        ["next", "b", "row"],
    )
    proto = model(
        [node("Loop", "n _ zero start", "k last rows", body=body)],
        [value("x", ["rows", 3])],
        [value("k", []), value("last", None), value("rows", None)],
        [
            tensor("n", 2, np.int64),
            tensor("zero", 0, np.int32),
            tensor("one", 1, np.int32),
            tensor("start", np.zeros(3), np.float32),
        ],
    )
    for declared in (*proto.graph.output[:1], body.input[2], body.output[1]):
        declared.type.tensor_type.elem_type = onnx.TensorProto.INT32
    proto.graph.node[0].attribute[0].g.CopyFrom(body)
    check(proto, X)


def test_loop_value_that_grows() -> None:
    """A carried value whose shape changes from round to round."""
    body = loop_body([node("Identity", "go", "more"), node("Concat", "a x", "b", axis=0)], ["a"], ["b"])
    proto = model(
        [node("Loop", "n _ x", "y", body=body)], [value("n", [], INT64), value("x", [2, 3])], [value("y", None)]
    )
    for n in (0, 1, 3):
        check(proto, np.array(n), X)


def test_loop_without_rounds() -> None:
    body = loop_body([node("Identity", "go", "more"), node("Neg", "a", "b"), node("Abs", "b", "s")], ["a"], ["b", "s"])
    proto = model(
        [node("Loop", "n _ x", "last all", body=body)],
        [value("n", [], INT64), value("x", [2, 3])],
        [value("last", None), value("all", None)],
    )
    last, everything = run(proto, np.array(0), X)
    np.testing.assert_array_equal(last, X)
    assert len(everything) == 0


def test_loop_carrying_a_sequence() -> None:
    sequence = helper.make_tensor_sequence_value_info
    body = graph(
        [
            node("Identity", "go", "more"),
            node("Cast", "i", "k", to=FLOAT),
            node("Mul", "x k", "p"),
            node("SequenceInsert", "s p", "t"),
        ],
        [value("i", [], INT64), value("go", [], BOOL), sequence("s", FLOAT, None)],
        [value("more", [], BOOL), sequence("t", FLOAT, None)],
    )
    proto = model(
        [
            node("SequenceEmpty", "", "empty"),
            node("Loop", "n _ empty", "s", body=body),
            node("ConcatFromSequence", "s", "y", axis=0),
        ],
        [value("n", [], INT64), value("x", [2, 3])],
        [value("y", None)],
    )
    check(proto, np.array(3), X)


def scan_model(**attrs: Any) -> onnx.ModelProto:
    """Running sums of x along its scan axis, scaled by a captured value."""
    body = graph(
        [node("Mul", "slice factor", "m"), node("Add", "state m", "next"), node("Identity", "next", "out")],
        [value("state", None), value("slice", None)],
        [value("next", None), value("out", None)],
    )
    return model(
        [node("Scan", "start x", "last all", body=body, num_scan_inputs=1, **attrs)],
        [
            value("start", [3]),
            value("x", [4, 3] if attrs.get("scan_input_axes") != [1] else [3, 4]),
            value("factor", [1]),
        ],
        [value("last", None), value("all", None)],
    )


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"scan_input_directions": [1]},
        {"scan_output_directions": [1]},
        {"scan_output_axes": [1]},
        {"scan_output_axes": [-1]},
        {"scan_input_axes": [1]},
        {"scan_input_axes": [-2], "scan_input_directions": [1], "scan_output_directions": [1]},
    ],
    ids=str,
)
def test_scan(attrs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    shape = (3, 4) if attrs.get("scan_input_axes") == [1] else (4, 3)
    x = rng.standard_normal(shape).astype(np.float32)
    check(scan_model(**attrs), np.ones(3, np.float32), x, np.array([0.5], np.float32))


def test_scan_of_opset_8() -> None:
    """Batched: each sample on its own."""
    body = graph(
        [node("Add", "state slice", "next"), node("Identity", "next", "out")],
        [value("state", [2]), value("slice", [2])],
        [value("next", [2]), value("out", [2])],
    )
    proto = model(
        [node("Scan", "_ start x", "last all", body=body, num_scan_inputs=1)],
        [value("start", ["N", 2]), value("x", ["N", 3, 2])],
        [value("last", ["N", 2]), value("all", ["N", 3, 2])],
        opset=8,
    )
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    last, everything = run(proto, np.ones((2, 2), np.float32), x)
    np.testing.assert_array_equal(everything, 1 + x.cumsum(1))
    np.testing.assert_array_equal(last, everything[:, -1])


@pytest.mark.parametrize("directions", [[0], [1]])
def test_scan_of_opset_8_as_far_as_each_sample_goes(directions: list[int]) -> None:
    """Against ONNX Runtime; one sample is as long as the axis, one has no step at all."""
    body = graph(
        [node("Add", "state slice", "next"), node("Mul", "next outer", "out")],
        [value("state", [2]), value("slice", [2])], [value("next", [2]), value("out", [2])],
    )  # fmt: skip
    proto = model(
        [node("Scan", "lengths start x", "last all", body=body, num_scan_inputs=1, directions=directions)],
        [value("lengths", [3], INT64), value("start", [3, 2]), value("x", [3, 4, 2]), value("outer", [2])],
        [value("last", [3, 2]), value("all", [3, 4, 2])], opset=8,
    )  # fmt: skip
    given = (np.array([2, 4, 1]), np.ones((3, 2)), np.arange(24.0).reshape(3, 4, 2), np.array([1.0, -2.0]))
    arrays = [given[0], *(a.astype(np.float32) for a in given[1:])]
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, dict(zip(["lengths", "start", "x", "outer"], arrays)))
    for got, want in zip(run(proto, *arrays), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_loop_in_scan_in_if() -> None:
    """All three, the innermost reading an input of the model."""
    loop = loop_body([node("Identity", "go", "more"), node("Mul", "a factor", "b")], ["a"], ["b"])
    scan = graph(
        [node("Loop", "n _ slice", "p", body=loop), node("Add", "state p", "next"), node("Identity", "p", "out")],
        [value("state", [3]), value("slice", [3])],
        [value("next", None), value("out", None)],
    )
    then = graph(
        [node("Scan", "start x", "l a", body=scan, num_scan_inputs=1)], [], [value("l", None), value("a", None)]
    )
    other = graph([node("Neg", "start", "l2"), node("Neg", "x", "a2")], [], [value("l2", None), value("a2", None)])
    proto = model(
        [node("If", "c", "last all", then_branch=then, else_branch=other)],
        [value("c", [], BOOL), value("n", [], INT64), value("factor", [1]), value("start", [3]), value("x", [2, 3])],
        [value("last", None), value("all", None)],
    )
    given = (np.array(2), np.array([0.5], np.float32), np.ones(3, np.float32), X)
    last, everything = run(proto, np.array(True), *given)
    np.testing.assert_array_equal(last, 1 + X.sum(0) / 4)
    np.testing.assert_array_equal(everything, X / 4)
    last, everything = run(proto, np.array(False), *given)
    np.testing.assert_array_equal(everything, -X)
