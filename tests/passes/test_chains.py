# ruff: noqa: E501 - the texts of graphs are wide
"""Chains: the pass on text, and the kernel against NumPy or the same nodes one by one, in blocks of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenun.backends.base import Options
from tenun.backends.numpy import kernels
from tenun.backends.numpy.evaluate import evaluate
from tenun.backends.numpy.program import Program
from tenun.backends.numpy.registry import KERNELS
from tenun.backends.numpy.shards import ShardedProgram
from tenun.errors import ShapeError
from tenun.ir import Builder, Graph, Tensor, Var, dtype, parse, symbol, verify
from tenun.ir.op import OPS, lookup
from tenun.ir.ops.control import trace
from tenun.ir.ops.elementwise import UNARY
from tenun.ir.states import States
from tenun.passes import chains as chains_pass
from tenun.passes.batch import batch_symbol
from tenun.passes.cost import total_flops
from tenun.passes.manager import Context, optimize
from tenun.tests.autodiff.checks import check

F32, F64, I32 = dtype("f32"), dtype("f64"), dtype("i32")
N = symbol("N")
Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains of all tensors but scalars, in blocks of a few elements."""
    monkeypatch.setattr(chains_pass, "LEAST", 2)
    monkeypatch.setattr(kernels.chains, "BLOCK_BYTES", 200)


def chained(graph: Graph) -> Graph:
    verify(graph)
    return optimize(graph, ("chains",), Context(evaluate), verify_each=True)


def rows(graph: Graph) -> list[str]:
    """The nodes without types and sources, the bodies of chains in brackets."""
    found = []
    for node in graph.nodes:
        line = str(node).partition("  //")[0]
        results, _, computed = line.partition(" = ")
        names = ", ".join(r.partition(":")[0] for r in results.split("], "))
        found.append(f"{names} = {computed}" + "".join(f" {rows(body)}" for body in node.graphs.values()))
    return found


# ---- the pass ------------------------------------------------------------------------------------------------

HEAD = 'graph "g" (%x: f32[N, 3], %y: f32[N, 3], %c: f32[3], %s: f32[], %q: f32[?, 3]) -> ({outs}) {{\n{body}\n}}'
# name: (nodes, outputs, what becomes of the nodes)
CASES: dict[str, tuple[str, str, list[str]]] = {
    "two nodes": (
        "%a: f32[N, 3] = mul(%x, %c)\n%b: f32[N, 3] = tanh(%a)",
        "%b: f32[N, 3]",
        ["%b = chain(%x, %c) ['%a = mul(%x, %c)', '%b = tanh(%a)']"],
    ),
    "one node stays": ("%a: f32[N, 3] = mul(%x, %c)", "%a: f32[N, 3]", ["%a = mul(%x, %c)"]),
    "what is read outside is an output": (
        "%a: f32[N, 3] = exp(%x)\n%b: f32[N, 3] = neg(%a)\n%r: f32[] = reduce_sum(%a)",
        "%b: f32[N, 3], %r: f32[]",
        ["%a, %b = chain(%x) ['%a = exp(%x)', '%b = neg(%a)']", "%r = reduce_sum(%a)"],
    ),
    "graph outputs stay": (
        "%a: f32[N, 3] = exp(%x)\n%b: f32[N, 3] = neg(%a)",
        "%a: f32[N, 3], %b: f32[N, 3]",
        ["%a, %b = chain(%x) ['%a = exp(%x)', '%b = neg(%a)']"],
    ),
    "scalars and vectors are computed before": (
        "%k: f32[] = exp(%s)\n%l: f32[] = neg(%k)\n%a: f32[N, 3] = mul(%x, %l)\n%d: f32[3] = exp(%c)\n%b: f32[N, 3] = add(%a, %d)",
        "%b: f32[N, 3]",
        ["%k = exp(%s)", "%l = neg(%k)", "%d = exp(%c)", "%b = chain(%x, %l, %d) ['%a = mul(%x, %l)', '%b = add(%a, %d)']"],
    ),
    "no way out and back in": (
        "%a: f32[N, 3] = exp(%x)\n%m: f32[N, 1] = reduce_sum(%a) {axes = (1,), keepdims = true}\n%b: f32[N, 3] = div(%a, %m)\n%d: f32[N, 3] = neg(%b)",
        "%d: f32[N, 3]",
        ["%a = exp(%x)", "%m = reduce_sum(%a) {axes = (1,), keepdims = true}", "%d = chain(%a, %m) ['%b = div(%a, %m)', '%d = neg(%b)']"],
    ),
    "what only a later node reads is made there": (
        "%a: f32[N, 3] = tanh(%x)\n%z: f32[N, 3] = square(%a)\n%w: f32[N, 3] = cumsum(%a) {axis = 0}\n%b: f32[N, 3] = mul(%w, %z)",
        "%b: f32[N, 3]",
        ["%a = tanh(%x)", "%w = cumsum(%a) {axis = 0}", "%b = chain(%a, %w) ['%z = square(%a)', '%b = mul(%w, %z)']"],
    ),
    "nodes between move": (
        "%a: f32[N, 3] = exp(%x)\n%r: f32[] = reduce_sum(%a)\n%u: f32[] = neg(%r)\n%t: f32[N, 3] = cumsum(%y) {axis = 0}\n%b: f32[N, 3] = mul(%a, %t)",
        "%b: f32[N, 3], %u: f32[]",
        ["%t = cumsum(%y) {axis = 0}", "%a, %b = chain(%x, %t) ['%a = exp(%x)', '%b = mul(%a, %t)']", "%r = reduce_sum(%a)", "%u = neg(%r)"],
    ),
    "two that have nothing in common": (
        "%a: f32[N, 3] = exp(%x)\n%d: f32[N, 3] = exp(%y)\n%b: f32[N, 3] = neg(%a)\n%e: f32[N, 3] = neg(%d)",
        "%b: f32[N, 3], %e: f32[N, 3]",
        ["%b = chain(%x) ['%a = exp(%x)', '%b = neg(%a)']", "%e = chain(%y) ['%d = exp(%y)', '%e = neg(%d)']"],
    ),
    "each in turn waits for the other": (  # two chains of either pair would wait for one another
        "%a: f32[N, 3] = exp(%x)\n%b: f32[3, N] = transpose(%a) {perm = (1, 0)}\n%d: f32[3, N] = neg(%b)\n"
        "%e: f32[3, N] = transpose(%y) {perm = (1, 0)}\n%f: f32[3, N] = exp(%e)\n%h: f32[3, N] = mul(%d, %f)\n"
        "%i: f32[N, 3] = transpose(%f) {perm = (1, 0)}\n%j: f32[N, 3] = mul(%a, %i)",
        "%h: f32[3, N], %j: f32[N, 3]",
        ["%e = transpose(%y) {perm = (1, 0)}", "%f = exp(%e)", "%i = transpose(%f) {perm = (1, 0)}",
         "%a, %j = chain(%x, %i) ['%a = exp(%x)', '%j = mul(%a, %i)']", "%b = transpose(%a) {perm = (1, 0)}",
         "%h = chain(%b, %f) ['%d = neg(%b)', '%h = mul(%d, %f)']"],
    ),
    "unknown shapes stay": (
        "%a: f32[?, 3] = exp(%q)\n%b: f32[?, 3] = neg(%a)", "%b: f32[?, 3]", ["%a = exp(%q)", "%b = neg(%a)"],
    ),
    "other dtypes": (
        "%a: bool[N, 3] = less(%x, %c)\n%b: f32[N, 3] = where(%a, %x, %s)\n%d: i32[N, 3] = cast(%b) {to = i32}\n%e: f32[N, 3] = clip(%x) {low = 0.0}",
        "%d: i32[N, 3], %e: f32[N, 3]",
        ["%d = chain(%c, %x, %s) ['%a = less(%x, %c)', '%b = where(%a, %x, %s)', '%d = cast(%b) {to = i32}']", "%e = clip(%x) {low = 0.0}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    body, outs, expected = CASES[name]
    graph = parse(HEAD.format(body=body, outs=outs))
    after = chained(graph)
    assert rows(after) == expected
    assert chained(after) == after
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(0.5, 1.5, s).astype(np.float32) for s in ((5, 3), (5, 3), (3,), (), (4, 3))]
    for got, want in zip(Program(after)(*inputs), Program(graph)(*inputs)):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_small_tensors_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = parse(HEAD.format(body=CASES["two nodes"][0], outs="%b: f32[N, 3]"))
    monkeypatch.setattr(chains_pass, "LEAST", 1 << 12)
    assert chained(graph) == graph


def test_strings_stay() -> None:
    text = 'graph "g" (%x: i32[9]) -> (%b: i32[9]) {\n%a: str[9] = cast(%x) {to = str}\n%b: i32[9] = cast(%a) {to = i32}\n}'
    assert chained(parse(text)) == parse(text)


def test_layers_are_merged_and_constants_are_operands() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(F32, (N, 3)))
    row = b.constant(np.ones(3, np.float32), "row")
    with b.at("first"):
        y = b.add(x, row)
    with b.at("second"):
        y = b.mul(y, 2.0)
    after = chained(b.outputs(y))
    (node,) = after.nodes
    assert node.source == "first + second"
    assert [v.source for v in node.graphs["body"].nodes] == ["first", "second"]
    assert [v.constant is not None for v in node.operands if v is not None] == [False, True, True]
    assert not node.graphs["body"].constants and set(after.weights) == {"row", "c"}


def test_inside_a_loop() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(F32, (N, 3)))

    def body(inner: Builder, i: Var, go: Var, v: Var) -> list[Var]:
        return [inner.identity(go), inner.mul(inner.tanh(v), 2.0)]

    types = [("i", Tensor(dtype("i64"), ())), ("go", Tensor(dtype("bool"), ())), ("v", x.type)]
    out = b.node(
        lookup("loop"), [b.constant(np.int64(3)), None, x], {"carried": 1}, graphs={"body": trace("b", body, types)}
    )
    graph = b.outputs(*out.outputs)
    after = chained(graph)
    (loop,) = after.nodes
    assert [n.op.name for n in loop.graphs["body"].nodes] == ["identity", "chain"]
    value = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    want = value
    for _ in range(3):
        want = np.tanh(want) * 2
    np.testing.assert_allclose(Program(after)(value)[0], want, rtol=1e-6)


# ---- the op --------------------------------------------------------------------------------------------------

WRONG = {
    "elementwise": "%y: f32[N, 3] = cumsum(%v) {axis = 0}",
    "shapes": "%a: f32[3] = neg(%w)\n%y: f32[N, 3] = mul(%v, %a)",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_body_that_is_no_chain_is_refused(what: str) -> None:
    body = parse(f'graph "b" (%v: f32[N, 3], %w: f32[3]) -> (%y: f32[N, 3]) {{\n{WRONG[what]}\n}}')
    b = Builder(Graph("g"))
    x, w = b.input("x", Tensor(F32, (N, 3))), b.input("w", Tensor(F32, (3,)))
    with pytest.raises(ShapeError, match=what):
        b.chain(x, w, body=body)
    with pytest.raises(ShapeError, match="body takes 2 values, given are 1"):
        b.chain(x, body=body)


def test_cost_and_batch() -> None:
    """A chain costs what its nodes cost, and its samples stay apart if theirs do."""
    graph = parse(HEAD.format(body=CASES["scalars and vectors are computed before"][0], outs="%b: f32[N, 3]"))
    assert total_flops(chained(graph)) == total_flops(graph)
    x, row = np.random.default_rng(0).standard_normal((2, 6, 40)).astype(np.float32)
    b = Builder(Graph("g"))
    after = chained(b.outputs(b.tanh(b.mul(b.input("x", Tensor(F32, (N, 40))), row[0]))))
    assert batch_symbol(after) == "N" and [n.op.name for n in after.nodes] == ["chain"]
    program = ShardedProgram(after, Options(2))
    program._shard, program._least = 2, 1
    np.testing.assert_allclose(program(x)[0], np.tanh(x * row[0]), rtol=1e-6)
    square = "%a: f32[N, N] = mul(%x, %y)\n%b: f32[N, N] = tanh(%a)"
    mixed = parse(f'graph "g" (%x: f32[N, 1], %y: f32[1, N]) -> (%b: f32[N, N]) {{\n{square}\n}}')
    assert batch_symbol(chained(mixed)) is None


def test_gradient() -> None:
    """Through both outputs, one of which another node reads; second order too."""

    def body(inner: Builder, x: Var, y: Var) -> list[Var]:
        t = inner.mul(inner.sigmoid(x), y)
        return [inner.add(t, x), inner.square(t)]

    def build(b: Builder, x: Var, y: Var) -> Var:
        first, second = b.chain(x, y, body=trace("chain", body, [("x", x.type), ("y", y.type)]))
        return b.add(first, b.reduce_sum(second, axes=(0,), keepdims=True))

    check(build, (4, 3), (3,), order=2)


# ---- the kernel ----------------------------------------------------------------------------------------------


def test_every_elementwise_op_is_bound() -> None:
    """The kernel of a chain binds the kernels of its nodes."""
    assert {KERNELS[name].form for name, op in OPS.items() if op.has("elementwise")} == {"kernel"}


@pytest.mark.parametrize("kind", ["f32", "f64", "f16", "bf16", "i32"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_function_in_blocks(kind: str, order: str) -> None:
    """Each function between two others, whose values come and go in blocks."""
    t = dtype(kind)
    x = np.array(np.linspace(0.05, 0.9, 7 * 30).reshape(30, 7) * (1 if t.is_float else 5), t.numpy)
    for name in UNARY:
        b = Builder(Graph(name))
        v = b.input("x", Tensor(t, (7, N)))
        if order == "F":
            v = b.transpose(b.input("y", Tensor(t, (N, 7))), perm=(1, 0))
            b.graph.inputs = b.graph.inputs[1:]
        made = getattr(b, name)(b.add(v, v))
        graph = b.outputs(made, b.sub(b.cast(b.greater(made, v), to=t), made))
        after = chained(graph)
        given = [x if order == "F" else np.ascontiguousarray(x.T)]
        for got, want in zip(Program(after)(*given), Program(graph)(*given)):
            np.testing.assert_array_equal(got.astype(np.float64), want.astype(np.float64), err_msg=name)
        assert [n.op.name for n in after.nodes][-1] == "chain"


def adam(shape: tuple[Any, ...]) -> Graph:
    """An update of p and its moments from a gradient, as Keras computes it."""
    b = Builder(Graph("adam"))
    states = States(b)
    g = b.input("g", Tensor(F32, shape))
    p, m, v = (states.read(n, np.full(shape, i, np.float32)) for n, i in (("p", 1), ("m", 0), ("v", 0)))
    count = b.add(states.read("count", np.float32(0)), 1.0)
    one = b.constant(np.float32(1))
    root = b.sqrt(b.sub(one, b.pow(b.constant(np.float32(0.999)), count)))
    alpha = b.mul(b.div(root, b.sub(one, b.pow(b.constant(np.float32(0.9)), count))), 0.01)
    m = b.add(m, b.mul(b.sub(g, m), 0.1))
    v = b.add(v, b.mul(b.sub(b.square(g), v), 0.001))
    p = b.sub(p, b.div(b.mul(m, alpha), b.add(b.sqrt(v), 1e-7)))
    for name, value in (("p", p), ("m", m), ("v", v), ("count", count)):
        states.write(name, value)
    return states.finish([b.reduce_sum(p)], ["total"])


def test_adam_is_one_chain_that_changes_its_states_in_place() -> None:
    graph = optimize(adam((6, 50)), "training", Context(evaluate), verify_each=True)
    assert [n.op.name for n in graph.nodes if any(v.shape for v in (*n.inputs, *n.outputs) if v)] == [
        "chain",
        "reduce_sum",
    ]
    resident = {s.input.name: np.array(s.first.data) for s in graph.state}
    program = Program(graph, resident=resident)
    p, m, v = np.ones((6, 50)), np.zeros((6, 50)), np.zeros((6, 50))
    rng = np.random.default_rng(0)
    for t in range(1, 6):
        g = rng.standard_normal((6, 50)).astype(np.float32)
        (total,) = program(g)
        m, v = m + 0.1 * (g - m), v + 0.001 * (g * g - v)
        p = p - 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        for name, want in (("p", p), ("m", m), ("v", v)):
            np.testing.assert_allclose(resident[name], want, rtol=2e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(total, p.sum(), rtol=1e-5)
    assert not program.plan([g])._moves


# Outputs may have the arrays of operands: of two results, of an operand that another node reads later, of one another.
SHARED = {
    "read later": ("%a: f32[40] = add(%x, %y)\n%b: f32[40] = mul(%x, %y)\n%d: f32[40] = sub(%b, %x)", "%a: f32[40], %b: f32[40], %d: f32[40]",
                   lambda x, y: (x + y, x * y, x * y - x)),
    "swapped": ("%a: f32[40] = neg(%y)\n%b: f32[40] = neg(%x)", "%a: f32[40], %b: f32[40]", lambda x, y: (-y, -x)),
    "operands": ("%z: f32[40] = neg(%x)", '"a" = %y: f32[40], "b" = %x: f32[40], "d" = %y: f32[40]', lambda x, y: (y, x, y)),
    "twice": ("%a: f32[40] = add(%x, %x)\n%b: f32[40] = exp(%a)", '"a" = %a: f32[40], "b" = %b: f32[40], "d" = %a: f32[40]',
              lambda x, y: (2 * x, np.exp(2 * x), 2 * x)),
    "in the place of an output": ("%e: f32[40] = exp(%x)\n%f: f32[40] = mul(%e, %y)\n%a: f32[40] = sub(%f, %e)\n%b: f32[40] = tanh(%f)",
                                  "%b: f32[40], %a: f32[40]", lambda x, y: (np.tanh(np.exp(x) * y), np.exp(x) * y - np.exp(x))),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("arrays", ["own", "0", "1", "01", "10"])
def test_outputs_in_the_place_of_operands(name: str, arrays: str) -> None:
    """The first outputs have the arrays of the operands with these numbers."""
    text, outs, formula = SHARED[name]
    body = parse(f'graph "b" (%x: f32[40], %y: f32[40]) -> ({outs}) {{\n{text}\n}}')
    values = np.random.default_rng(0).standard_normal((2, 40)).astype(np.float32)
    args = [v.copy() for v in values]
    want = formula(*values)
    out = [np.empty(40, np.float32) for _ in want]
    for i, number in enumerate(arrays if arrays != "own" else ""):
        out[i] = args[int(number)]
    for step in KERNELS["chain"].call(*args, body=body, out=tuple(out), scratch=np.empty):
        step()
    for got, wanted in zip(out, want):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_outputs_that_nobody_needs_and_empty_tensors() -> None:
    body = parse('graph "b" (%x: f32[N]) -> (%a: f32[N], %b: f32[N]) {\n%a: f32[N] = exp(%x)\n%b: f32[N] = neg(%x)\n}')
    x, y = np.ones(5, np.float32), np.empty(5, np.float32)
    steps = KERNELS["chain"].call(x, body=body, out=(None, y), scratch=np.empty)
    assert len(steps) == 1
    steps[0]()
    np.testing.assert_array_equal(y, -x)
    assert KERNELS["chain"].call(x, body=body, out=(None, None), scratch=np.empty) == []
    assert KERNELS["chain"].call(x[:0], body=body, out=(y[:0], None), scratch=np.empty) == []


def test_one_block_is_one_step_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.chains, "BLOCK_BYTES", 1 << 20)
    graph = adam((6, 50))
    g = np.ones((6, 50), np.float32)
    alone, together = (
        Program(made).plan([g, *(s.first.data for s in graph.state)]) for made in (graph, chained(graph))
    )
    assert len(together.steps) == len(alone.steps)


def test_shapes_that_depend_on_data() -> None:
    """Where the plan knows no arrays, the body is computed as any graph is."""
    text = """graph "g" (%x: f32[N]) -> (%b: f32[?], %d: f32[?]) {
      %i: i64[1, ?] = nonzero(%x)
      %j: i64[?] = reshape(%i) {shape = (-1,)}
      %v: f32[?] = gather(%x, %j)
      %b: f32[?], %d: f32[?] = chain(%v) [
        body: graph "chain" (%v: f32[?]) -> (%b: f32[?], %d: f32[?]) {
          %b: f32[?] = exp(%v)
          %d: f32[?] = neg(%b)
        }
      ]
    }"""
    x = np.array([0, 2, 0, -1, 3], np.float32)
    found = Program(parse(text))(x)
    np.testing.assert_allclose(found[0], np.exp(x[x != 0]), rtol=1e-6)
    np.testing.assert_allclose(found[1], -np.exp(x[x != 0]), rtol=1e-6)


# ---- random graphs -------------------------------------------------------------------------------------------

SHAPES = [(N, 5, 4), (N, 5, 4), (N, 5, 4), (5, 4), (4,), (N, 1, 1), (N, 5, 1), (1, 5, 1), ()]
MOVES = ["relu", "tanh", "leaky_relu", "gelu", "neg", "square", "clip", "round", "add", "sub", "mul", "maximum", "where",
         "less", "scalar", "pow", "cast", "mean", "flip", "merge", "double", "write"]  # fmt: skip


def random_graph(moves: list[str], seed: int, states: bool) -> Graph:
    """Elementwise nodes of several shapes and dtypes between others, with states that some of them write."""
    rng = np.random.default_rng(seed)
    b = Builder(Graph("random"))
    held = States(b)
    values = [b.input(f"x{i}", Tensor(F32, s)) for i, s in enumerate(SHAPES)]
    values += [held.read(f"s{i}", np.full((5, 4), 0.1 * i, np.float32)) for i in range(3)] if states else []

    def some(like: Var | None = None) -> Var:
        fitting = [v for v in values if like is None or v.type == like.type]
        return fitting[-1 - min(int(rng.exponential(3)), len(fitting) - 1)]

    def made(move: str, x: Var) -> Var:
        if move in ("add", "sub", "mul", "maximum"):
            return getattr(b, move)(x, some())  # type: ignore[no-any-return]
        options = {
            "where": lambda: b.where(b.greater(some(), x), x, some()),
            "less": lambda: b.cast(b.less(x, some()), to=F32),
            "scalar": lambda: b.mul(x, 0.5),
            "pow": lambda: b.pow(x, np.float32(2)),
            "cast": lambda: b.cast(b.cast(b.clip(x, low=-9.0, high=9.0), to=I32), to=F32),
            "mean": lambda: b.reduce_mean(x, axes=(-1,), keepdims=True) if x.shape else x,
            "flip": lambda: b.transpose(b.transpose(x, perm=(0, 2, 1)), perm=(0, 2, 1)) if len(x.shape) == 3 else x,
            "merge": lambda: b.exp(b.neg(b.reshape(b.square(x), shape=x.shape))),
            "double": lambda: b.sub(b.sigmoid(x), x),
        }
        attrs = {"leaky_relu": {"negative_slope": 0.3}, "clip": {"low": -1.0, "high": 2.0}}.get(move, {})
        return options[move]() if move in options else getattr(b, move)(x, **attrs)  # type: ignore[no-any-return]

    for move in moves:
        x = some()
        if move == "write":
            fitting = [v for v in values if v.type == Tensor(F32, (5, 4))]
            if states and fitting:
                held.write(f"s{int(rng.integers(3))}", fitting[int(rng.integers(len(fitting)))])
        elif len((y := made(move, x)).shape) <= 3 and "?" not in str(y.type):
            values.append(b.clip(y, low=-50.0, high=50.0) if rng.random() < 0.2 else y)
    outputs = list(dict.fromkeys([values[-1], some(), some()]))
    return held.finish(outputs, [f"o{i}" for i in range(len(outputs))])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(st.sampled_from(MOVES), max_size=25), seed=st.integers(0, 2**16), states=st.booleans(),
    block=st.sampled_from([40, 300, 4000, 1 << 20]), batch=st.integers(1, 4),
)  # fmt: skip
def test_outputs_and_states_stay(
    moves: list[str], seed: int, states: bool, block: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = random_graph(moves, seed, states)
    monkeypatch.setattr(kernels.chains, "BLOCK_BYTES", block)
    after = chained(graph)
    assert parse(str(after), after.weights) == after
    names = [s.input.name for s in graph.state]
    held = {name: np.array(s.first.data) for name, s in zip(names, graph.state)}
    resident = {name: a.copy() for name, a in held.items()}
    plain, program = Program(graph), Program(after, resident=resident)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        shapes = [tuple(batch if d is N else d for d in v.shape) for v in graph.inputs if v.name not in names]
        inputs = [rng.standard_normal(s).astype(np.float32) for s in shapes]
        want = plain(*inputs, *held.values())
        for got, wanted in zip(program(*inputs), want):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
        held = {s.input.name: want[s.output] for s in graph.state}
        for name, wanted in held.items():
            np.testing.assert_allclose(resident[name], wanted, rtol=1e-5, atol=1e-5)


def test_random_graphs_have_chains() -> None:
    counts = [sum(n.op.name == "chain" for n in chained(random_graph(MOVES, seed, True)).nodes) for seed in range(20)]
    assert sum(counts) > 40
