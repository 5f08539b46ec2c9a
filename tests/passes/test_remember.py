"""The pass `remember` on text, and the same gradients with it and without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tenun
from tenun.backends.numpy.evaluate import evaluate
from tenun.errors import ShapeError, UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype, parse, symbol, verify
from tenun.ir.op import OPS, lookup
from tenun.passes.autodiff.engine import gradients
from tenun.passes.cost import flops
from tenun.passes.manager import PIPELINES, Context, optimize
from tenun.passes.remember import RECORDING

HEAD = (
    'graph "g" (%x: f32[N, 5, 3], %w: f32[1, 3, 8], %r: f32[1, 2, 8], %d: f32[N, 5, 1, 2], %p: f32[1, 6])'
    " -> ({outs}) {{\n{body}\n}}"
)
LAYER = "%y: f32[N, 5, 1, 2], %h: f32[N, 1, 2], %c: f32[N, 1, 2] = lstm(%x, %w, %r{more}) {{{attrs}}}"
GRADIENT = (
    "%{n}: f32[N, 5, 3], %{n}w: f32[1, 3, 8], %{n}r: f32[1, 2, 8], %{n}b: f32[1, 8], %{n}h: f32[N, 1, 2], "
    "%{n}c: f32[N, 1, 2], %{n}p: f32[1, 6] = lstm_grad(%x, %w, %r, _, _, _, _, {p}, {of}) {{{attrs}}}"
)
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
TWO = "%y: f32[N, 5, 1, 2], %g: f32[N, 5, 3]"


def layer(attrs: str = "", more: str = "") -> str:
    return LAYER.format(attrs=attrs, more=more)


def gradient(attrs: str = "", n: str = "g", of: str = "%d", p: str = "_") -> str:
    return GRADIENT.format(attrs=attrs, n=n, of=of, p=p)


def read(record: str = "%record", of: str = "%d") -> str:
    return f"lstm_grad(%x, %w, %r, _, _, _, _, _, {of}, _, _, {record})"


# name: (nodes, outputs, what becomes of them, attributes of no interest aside)
CASES: dict[str, tuple[list[str], str, list[str]]] = {
    "a layer and its gradient": ([layer(), gradient()], TWO, ["lstm_record(%x, %w, %r)", read()]),
    "the gradient comes first": ([gradient(), layer()], TWO, ["lstm_record(%x, %w, %r)", read()]),
    "two gradients read one record": (
        [layer(), gradient(n="g"), gradient(n="k", of="%y")], TWO + ", %k: f32[N, 5, 3]",
        ["lstm_record(%x, %w, %r)", read(), read(of="%y")],
    ),
    "no gradient": ([layer()], "%y: f32[N, 5, 1, 2]", ["lstm(%x, %w, %r)"]),
    "no layer": ([gradient()], "%g: f32[N, 5, 3]", ["lstm_grad(%x, %w, %r, _, _, _, _, _, %d)"]),
    "other attributes": (
        [layer(), gradient('direction = "reverse"')], TWO,
        ["lstm(%x, %w, %r)", "lstm_grad(%x, %w, %r, _, _, _, _, _, %d)"],
    ),
    "a peephole is not recorded": (
        [layer(more=", _, _, _, _, %p"), gradient(p="%p")], TWO,
        ["lstm(%x, %w, %r, _, _, _, _, %p)", "lstm_grad(%x, %w, %r, _, _, _, _, %p, %d)"],
    ),
    "nor another activation": (
        [layer("activation = relu"), gradient("activation = relu")], TWO,
        ["lstm(%x, %w, %r)", "lstm_grad(%x, %w, %r, _, _, _, _, _, %d)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    body, outs, expected = CASES[name]
    graph = parse(HEAD.format(outs=outs, body="\n".join(body)))
    verify(graph)
    after = optimize(graph, ("remember",), Context(evaluate), verify_each=True)
    found = [line.partition(" = ")[2].partition(" {")[0] for line in str(after).splitlines() if line.startswith("  %")]
    assert found == expected
    again = optimize(after, ("remember",), Context(evaluate), verify_each=True)
    assert str(again) == str(after)


def test_the_table_names_ops_that_fit_each_other() -> None:
    lookup("add")
    for gradient_op, (layer_op, recording) in RECORDING.items():
        assert [i.name for i in OPS[layer_op].inputs] == [i.name for i in OPS[recording].inputs]
        assert OPS[layer_op].attributes == OPS[recording].attributes
        assert OPS[layer_op].attributes.items() <= OPS[gradient_op].attributes.items()
        assert OPS[gradient_op].inputs[-1].name == "record" and OPS[gradient_op].inputs[-1].optional


def graph_with_gradients(
    name: str, kind: str, direction: str, mask: bool, states: bool, zero_masked: bool, n: Any, **attrs: Any
) -> Graph:  # fmt: skip
    """A recurrent layer between elementwise ops, and the gradients of all that goes into it."""
    b, d, gates = Builder(Graph("g")), 2 if direction == "bidirectional" else 1, GATES[name]
    shapes: dict[str, tuple[Any, ...]] = {"x": (n, 5, 3), "w": (d, 3, 4 * gates), "r": (d, 4, 4 * gates)}
    shapes["bias"] = (d, 2, 4 * gates) if name == "gru" else (d, 4 * gates)
    shapes |= dict.fromkeys(("h0", "c0") if name == "lstm" else ("h0",), (n, d, 4)) if states else {}
    inputs = {k: b.input(k, Tensor(dtype(kind), s)) for k, s in shapes.items()}
    given = dict(inputs)
    if mask:
        given["mask"] = b.input("mask", Tensor(dtype("bool"), (n, 5)))
    layer = getattr(b, name)
    y, h, *c = layer(b.sin(given.pop("x")), **given, direction=direction, zero_masked=zero_masked, **attrs)
    total = b.add(b.reduce_sum(b.sin(y)), b.reduce_sum(b.mul(b.square(h), c[0] if c else h)))
    return b.outputs(total, y, h, *c, *gradients(b, [total], list(inputs.values())))


def random_operands(graph: Graph, n: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    shapes = [(v, tuple(s if isinstance(s, int) else n for s in v.shape)) for v in graph.inputs]
    made = [rng.normal(size=s, scale=0.6) if v.name != "mask" else rng.random(s) < 0.6 for v, s in shapes]
    return [a.astype(v.tensor.dtype.numpy) for a, v in zip(made, graph.inputs)]


@pytest.mark.parametrize("name, attrs", [("lstm", {}), ("gru", {}), ("gru", {"reset_after": False}), ("rnn", {})])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("mask, states, zero_masked", [(False, False, False), (True, True, False), (True, False, True)])
@pytest.mark.parametrize("kind", ["f32", "f64", "f16"])
def test_the_same_bits_with_and_without(
    name: str, attrs: dict[str, Any], kind: str, direction: str, mask: bool, states: bool, zero_masked: bool
) -> None:  # fmt: skip
    n = 4 if direction == "reverse" else symbol("N")
    graph = graph_with_gradients(name, kind, direction, mask, states, zero_masked, n, **attrs)
    without = [name for name in PIPELINES["training"] if name != "remember"]
    a, b = tenun.compile(graph, pipeline="training"), tenun.compile(graph, pipeline=without)
    assert any(node.op.name == f"{name}_record" for node in a.optimized.nodes)
    assert not any(node.op.name == f"{name}_record" for node in b.optimized.nodes)
    assert sum(map(flops, a.optimized.nodes)) < sum(map(flops, b.optimized.nodes))
    for count in (4,) if direction == "reverse" else (1, 3):
        operands = random_operands(graph, count)
        for got, want in zip(a(*operands), b(*operands)):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("strides, padding", [(2, "valid"), (1, "same"), (3, "same")])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_maxima_are_recorded(rank: int, strides: int, padding: str) -> None:
    """The same bits; but the gradient goes to all ties in 3-D, which a record does not know."""
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(dtype("f32"), (symbol("N"), *(7, 6, 5)[:rank], 3)))
    how = {"window": (2,) * rank, "strides": (strides,) * rank, "dilations": (1,) * rank, "padding": padding}
    y = b.max_pool(b.relu(x), **how)
    total = b.reduce_sum(b.mul(b.sin(y), y))
    graph = b.outputs(total, y, *gradients(b, [total], [x]))
    without = [name for name in PIPELINES["training"] if name != "remember"]
    a, c = tenun.compile(graph, pipeline="training"), tenun.compile(graph, pipeline=without)
    recorded = {node.op.name for node in a.optimized.nodes} - {node.op.name for node in c.optimized.nodes}
    assert recorded == ({"max_pool_record"} if rank < 3 else set())
    for count in (2, 3):
        operands = [np.round(2 * o) for o in random_operands(graph, count)]
        for got, want in zip(a(*operands), c(*operands)):
            np.testing.assert_array_equal(got, want)


def test_what_the_recording_op_refuses() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(dtype("f32"), (1, 20, 20, 1)))
    with pytest.raises(UnsupportedError, match="255 elements of a window, not 256"):
        b.max_pool_record(x, window=(16, 16), strides=(1, 1), dilations=(1, 1))


def test_what_a_recurrent_recording_op_refuses() -> None:
    b = Builder(Graph("g"))
    x, w, r, p = (b.input(k, Tensor(dtype("f32"), s)) for k, s in
                  (("x", (2, 5, 3)), ("w", (1, 3, 8)), ("r", (1, 2, 8)), ("p", (1, 6))))  # fmt: skip
    for attrs in ({"clip": 1.0}, {"input_forget": True}):
        with pytest.raises(UnsupportedError, match="no peephole, no clip and no input_forget"):
            b.lstm_record(x, w, r, **attrs)
    with pytest.raises(UnsupportedError, match="no peephole"):
        b.lstm_record(x, w, r, peephole=p)
    with pytest.raises(UnsupportedError, match="knows tanh alone, not relu"):
        b.lstm_record(x, w, r, activation="relu")
    with pytest.raises(ShapeError, match="a dimension of the record"):
        b.lstm_grad(x, w, r, dy=b.lstm(x, w, r)[0], record=b.input("record", Tensor(dtype("f32"), (5, 7, 1, 2, 2))))


@pytest.mark.parametrize("name, attrs, message", [
    ("gru", {"clip": 1.0}, "gru_record knows no clip"), ("rnn", {"clip": 1.0}, "rnn_record knows no clip"),
    ("gru", {"recurrent_activation": "relu"}, "gru_record knows sigmoid alone, not relu"),
    ("rnn", {"activation": "relu"}, "rnn_record knows tanh alone, not relu"),
])  # fmt: skip
def test_what_others_refuse(name: str, attrs: dict[str, Any], message: str) -> None:
    b, columns = Builder(Graph("g")), 2 * GATES[name]
    x = b.input("x", Tensor(dtype("f32"), (2, 5, 3)))
    w, r = np.ones((1, 3, columns), np.float32), np.ones((1, 2, columns), np.float32)
    with pytest.raises(UnsupportedError, match=message):
        getattr(b, f"{name}_record")(x, w, r, **attrs)


@pytest.mark.parametrize("name", GATES)
def test_no_gradient_of_a_record(name: str) -> None:
    b, columns = Builder(Graph("g")), 2 * GATES[name]
    x = b.input("x", Tensor(dtype("f32"), (2, 5, 3)))
    w, r = np.ones((1, 3, columns), np.float32), np.ones((1, 2, columns), np.float32)
    record = getattr(b, f"{name}_record")(x, w, r)[-1]
    with pytest.raises(UnsupportedError, match=f"the record of {name} has no gradient"):
        gradients(b, [b.reduce_sum(record)], [x])
