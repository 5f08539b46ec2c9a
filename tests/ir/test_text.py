"""Printing and parsing."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tenun.errors import GraphError
from tenun.ir import Builder, Graph, Tensor, parse, symbol, verify
from tenun.ir.types import dtype, f32, i64

N = symbol("N")

TEXT = """\
graph "demo" (%x: f32[N, 32, 32, 3]) -> ("probs" = %softmax: f32[N, 10]) {
  @kernel: f32[3, 3, 3, 8] = sha256:0ed9e26c3f1435e4
  @bias: f32[8] = [0.0, 1.0, -2.5, 3.0, nan, inf, -inf, 1e-07]
  @w: f32[2048, 10] = sha256:6fd1ff7ea4ab9a6b
  %conv: f32[N, 32, 32, 8] = conv(%x, @kernel, @bias) {strides = (1, 1), dilations = (1, 1), padding = "same", activation = leaky_relu(negative_slope = 0.2)}  // outer/conv
  %max_pool: f32[N, 16, 16, 8] = max_pool(%conv) {window = (2, 2), strides = (2, 2), dilations = (1, 1)}
  %reshape: f32[N, 2048] = reshape(%max_pool) {shape = (dim N, 2048)}
  %matmul: f32[N, 10] = matmul(%reshape, @w)
  %softmax: f32[N, 10] = softmax(%matmul)  // head
}"""  # noqa: E501


def build() -> Graph:
    b = Builder(Graph("demo"))
    x = b.input("x", Tensor(f32, (N, 32, 32, 3)))
    bias = np.array([0, 1, -2.5, 3, np.nan, np.inf, -np.inf, 1e-7], np.float32)
    with b.at("outer/conv"):
        y = b.conv(
            x, b.constant(np.zeros((3, 3, 3, 8), np.float32), "kernel"), b.constant(bias, "bias"), strides=(1, 1),
            dilations=(1, 1), padding="same", activation=parse_activation("leaky_relu(negative_slope = 0.2)"),
        )  # fmt: skip
    y = b.max_pool(y, window=(2, 2), strides=(2, 2), dilations=(1, 1))
    y = b.reshape(y, shape=(N, -1))
    y = b.matmul(y, b.constant(np.ones((2048, 10), np.float32), "w"))
    with b.at("head"):
        y = b.softmax(y)
    return b.outputs(y, names=["probs"])


def parse_activation(text: str):  # type: ignore[no-untyped-def]
    from tenun.ir.text import Parser

    return Parser(text, {}).value()


def test_the_dump_is_this_text() -> None:
    assert str(build()).replace(build().constants[2].constant.digest, "6fd1ff7ea4ab9a6b") == TEXT  # type: ignore[union-attr]


def test_text_with_and_without_weights() -> None:
    graph = build()
    verify(graph)
    assert parse(str(graph), graph.weights) == graph
    bare = parse(str(graph))
    assert bare == graph and bare.constants[0].data is None
    assert pickle.loads(pickle.dumps(graph)) == graph


@pytest.mark.parametrize("name", ["bool", "i8", "u16", "i64", "f16", "bf16", "f32", "f64", "str", "f8e4m3fn", "i4"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2), (5, 7)])
def test_constants_of_every_dtype(name: str, shape: tuple[int, ...]) -> None:
    kind = dtype(name)
    data = np.random.default_rng(0).integers(0, 2, shape)
    array = np.asarray(data.astype(str), object) if kind.kind == "string" else data.astype(kind.numpy)
    b = Builder(Graph("g"))
    graph = b.outputs(b.identity(b.constant(array, "c")))
    again = parse(str(graph), graph.weights)
    assert again == graph
    np.testing.assert_array_equal(again.constants[0].data, array)


def test_odd_names_and_sources_survive() -> None:
    b = Builder(Graph('a "quoted" graph'))
    x = b.input("input:0 é", Tensor(f32, (N,)))
    for source in ('"quoted"', "two\nlines", " blanks ", "a/b:0"):
        with b.at(source):
            x = b.relu(x)
            x.name = "strange name"
    graph = b.outputs(x, x, names=["first output", "second"])
    assert parse(str(graph)) == graph


def test_subgraphs_dynamic_attributes_and_missing_operands() -> None:
    from tenun.ir.ops.control import control_node, trace

    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N, 3)))
    s = b.input("s", Tensor(i64, (2,)))
    y = b.reshape(x, shape=s)
    body = trace("body", lambda b, i, c, v: [c, b.mul(v, 2.0)], [
        ("i", Tensor(i64, ())), ("c", Tensor(dtype("bool"), ())), ("v", x.tensor),
    ])  # fmt: skip
    node = control_node(b, "loop", [b.constant(np.array(3)), None, x], {"carried": 1}, {"body": body})
    graph = b.outputs(y, node.output)
    text = str(graph)
    assert "{shape = %s}" in text and "loop(@c, _, %x)" in text and "body: graph" in text
    verify(graph)
    assert parse(text, graph.weights) == graph


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("graph", "string"),
        ('graph "g" (%x: f32[2]) -> (%y: f32[2]) {\n  %y: f32[2] = nonsense(%x)\n}', "unknown op 'nonsense'"),
        ('graph "g" (%x: f32[2]) -> (%y: f32[2]) {\n  %y: f32[2] = relu(%z)\n}', "line 2.*%z is not defined"),
        ('graph "g" (%x: f32[2]) -> (%y: f32[3]) {\n  %y: f32[3] = relu(%x)\n}', "the text says otherwise"),
        ('graph "g" (%x: f32[2]) -> (%y: f32[2]) {\n  %y: f32[2] = relu(%x) {slope = 1}\n}', "no attribute 'slope'"),
        ('graph "g" (%x: q32[2]) -> () {\n}', "unknown dtype"),
        ('graph "g" () -> () {\n} more', "text after the graph"),
        ('graph "g" (%x: f32[2]) -> (%y: f32[2]) {\n  %y: f32[2] = relu(%x', "expected"),
    ],
)
def test_bad_text_says_where(bad: str, message: str) -> None:
    with pytest.raises(GraphError, match=f"(?s){message}"):
        parse(bad)
