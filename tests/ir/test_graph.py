"""The graph's mutators, the verifier and the builder's checks."""

from __future__ import annotations

import numpy as np
import pytest

from tenun.errors import GraphError, ShapeError
from tenun.ir import Builder, Graph, Tensor, symbol, verify
from tenun.ir.rebuild import bind_symbols, rebuild
from tenun.ir.types import f32, f64, i32, i64

N = symbol("N")


def chain() -> tuple[Builder, Graph]:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N, 4)))
    y = b.add(b.relu(x), x)
    return b, b.outputs(b.mul(y, y))


def test_uses_follow_the_mutators() -> None:
    b, graph = chain()
    x = graph.inputs[0]
    relu, add, mul = graph.nodes
    assert [u.node for u in x.uses] == [relu, add] and relu.output.users == (add,)
    graph.replace(relu.output, x)
    assert add.inputs == (x, x) and graph.is_unused(relu.output)
    graph.erase(relu)
    verify(graph)
    assert len(graph) == 2
    with pytest.raises(GraphError, match="still used"):
        graph.erase(add)


@pytest.mark.broken_graphs
def test_the_verifier_finds_what_is_broken() -> None:
    _, graph = chain()
    relu, add, _ = graph.nodes
    relu.outputs[0].type = Tensor(f32, (N, 5))
    with pytest.raises(GraphError, match="the rule says"):
        verify(graph)
    _, graph = chain()
    relu, add, _ = graph.nodes
    add.inputs = (add.outputs[0], add.inputs[1])
    with pytest.raises(GraphError, match="before it is defined"):
        verify(graph)
    _, graph = chain()
    relu, add, _ = graph.nodes
    graph.inputs[0]._uses.clear()
    with pytest.raises(GraphError, match="use list"):
        verify(graph)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b, x: b.add(x, np.zeros((3,), np.float32)), "do not broadcast"),
        (lambda b, x: b.add(x, np.zeros((4,), np.float64)), "dtypes differ"),
        (lambda b, x: b.matmul(x, np.zeros((5, 2), np.float32)), "inner dimensions"),
        (lambda b, x: b.softmax(x, axis=2), "out of range"),
        (lambda b, x: b.softmax(x, axes=2), "no attribute 'axes'"),
        (lambda b, x: b.softmax(x, axis="last"), "is no int"),
        (lambda b, x: b.concat(x, axis=None), "is no int"),
        (lambda b, x: b.transpose(x), "needs attribute 'perm'"),
        (lambda b, x: b.relu(), "needs operand 'x'"),
        (lambda b, x: b.relu(x, x), "takes 1 operands"),
        (lambda b, x: b.reshape(np.zeros((2, 3)), shape=(4,)), "do not fit"),
        (lambda b, x: b.cast(x, to="f33"), "is no DType|unknown dtype"),
    ],
)
def test_the_builder_names_op_and_layer(make, message: str) -> None:  # type: ignore[no-untyped-def]
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N, 4)))
    with b.at("outer/inner"), pytest.raises(ShapeError, match=message) as caught:
        make(b, x)
    assert "outer/inner" in str(caught.value) and caught.value.op


def test_exact_shapes_through_symbols() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N, 32, 32, 3)))
    w = np.zeros((3, 3, 3, 8), np.float32)
    y = b.conv(x, w, strides=(2, 2), dilations=(1, 1), padding="same")
    y = b.max_pool(y, window=(3, 3), strides=(2, 2), dilations=(1, 1))
    flat = b.reshape(y, shape=(-1, 7 * 7 * 8))
    assert str(y.type) == "f32[N, 7, 7, 8]" and str(flat.type) == "f32[N, 392]"
    assert str(b.concat(flat, flat, axis=1).type) == "f32[N, 784]"
    h = b.input("h", Tensor(f32, (N, symbol("H"), 5, 3)))
    z = b.conv(h, w, strides=(2, 2), dilations=(1, 1), padding="valid")
    assert str(z.type) == "f32[N, ((H - 3)//2) + 1, 2, 8]"
    # shape arithmetic as exporters write it
    batch = b.gather(b.shape(x), np.array([0]), axis=0)
    again = b.reshape(x, shape=b.concat(batch, np.array([-1]), axis=0))
    assert str(again.type) == "f32[N, 3072]" and again.producer.dynamic == ()


def test_narrower_inputs_give_the_symbols_in_attributes() -> None:
    """As in a subgraph, whose inputs take the types of the operands."""
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N, 4)))
    graph = b.outputs(b.fill(b.constant(np.float32(0)), shape=b.shape(x)))
    assert str(graph.outputs[0].type) == "f32[N, 4]"
    assert str(rebuild(graph, {"x": Tensor(f32, (7, 4))}).outputs[0].type) == "f32[7, 4]"


def test_rebuild_binds_symbols_and_checks_inputs() -> None:
    _, graph = chain()
    assert bind_symbols(graph, {"x": Tensor(f32, (7, 4))}) == {"N": 7}
    assert str(rebuild(graph, symbols={"N": 7}).outputs[0].type) == "f32[7, 4]"
    for wrong in (Tensor(f32, (7, 5)), Tensor(f32, (7,)), Tensor(f64, (7, 4))):
        with pytest.raises(ShapeError, match=r"expected f32\[N, 4\], got"):
            bind_symbols(graph, {"x": wrong})


def test_copies_infer_again_where_something_is_known_of_the_inputs_only() -> None:
    b = Builder(Graph("g"))
    x, n = b.input("x", Tensor(f32, (1, 3))), b.input("n", Tensor(i64, (2,)))
    b.outputs(b.expand(x, shape=n), b.relu(x))
    expand, relu = b.graph.copy().nodes
    assert expand.inferred_from == (x.type, n.type) and relu.output.type is b.graph.outputs[1].type
    known = rebuild(b.graph, {"n": Tensor(i64, (2,), (4, 3))})  # an equal type, of which more is known
    assert [str(v.type) for v in known.outputs] == ["f32[4, 3]", "f32[1, 3]"]
    verify(known)


def test_python_numbers_take_the_dtype_beside_them() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f64, (3,)))
    i = b.input("i", Tensor(i32, (3,)))
    assert b.mul(x, 2).tensor.dtype is f64 and b.add(i, 1).tensor.dtype is i32
    assert b.shape(x).tensor.dtype is i64


def test_two_inputs_of_one_name_are_refused() -> None:
    b = Builder(Graph("g"))
    b.input("x", Tensor(f32, (3,)))
    with pytest.raises(GraphError, match="two inputs"):
        b.input("x", Tensor(f32, (3,)))
