# ruff: noqa: E501 - the texts of graphs are wide
"""Every pass on text: the graph before, the nodes after, and the same outputs."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tenun.backends.numpy.evaluate import evaluate
from tenun.errors import GraphError
from tenun.executable import Executable, random_inputs
from tenun.ir import Builder, Graph, Tensor, parse, verify
from tenun.ir.op import OPS
from tenun.ir.types import f32, i64
from tenun.passes import load_all
from tenun.passes.manager import PASSES, PIPELINES, Context, PassManager, optimize
from tenun.passes.rewrite import Rule

HEAD = 'graph "g" (%x: f32[N, 4, 6, 3], %s: f32[N, 6], %t: f32[N, 3, 4, 6]) -> (%y: {out}) {{\n{body}\n}}'


def graph_of(body: str, out: str) -> Graph:
    """A graph with three inputs from its lines."""
    constants = {
        "@w": "f32[3, 3, 3, 5]", "@w1": "f32[1, 1, 3, 5]", "@m": "f32[6, 5]", "@flat": "f32[72, 5]", "@b": "f32[5]",
        "@b3": "f32[3]", "@scale": "f32[5]", "@mean": "f32[5]", "@var": "f32[5]", "@col": "f32[3, 1, 1]",
        "@scale3": "f32[3]", "@mean3": "f32[3]", "@var3": "f32[3]",
    }  # fmt: skip
    generator = np.random.default_rng(0)
    weights, lines = {}, []
    for name, t in constants.items():
        if f"{name}," in body or f"{name})" in body or f"{name} " in body:
            shape = tuple(int(d) for d in t[4:-1].split(","))
            weights[name[1:]] = generator.uniform(0.5, 1.5, shape).astype(np.float32)
            lines.append(f"  {name}: {t} = sha256:0")
    return parse(
        HEAD.format(out=out, body="\n".join(lines + ["  " + b.strip() for b in body.strip().splitlines()])), weights
    )


def optimized(graph: Graph, *passes: str) -> Graph:
    return optimize(graph, passes, Context(evaluate), verify_each=True)


def lines(graph: Graph) -> list[str]:
    """The nodes without names of results and types: what is computed."""
    return [line.partition(" = ")[2].partition("  //")[0] for line in str(graph).splitlines() if line.startswith("  %")]


def same_outputs(graph: Graph, passes: tuple[str, ...], tolerance: float = 1e-5) -> None:
    inputs = random_inputs(graph, batch=3, seed=1)
    before = Executable(graph, passes="none").run(inputs)
    after = Executable(graph, passes=passes, verify=True).run(inputs)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=tolerance, atol=tolerance)


CONV = "strides = (1, 1), dilations = (1, 1)"
NORM = "{axis = -1, epsilon = 0.001}"

CASES = {
    "dce": (("dce",), "%a: f32[N, 6] = exp(%s)\n%y: f32[N, 6] = relu(%s)", "f32[N, 6]", ["relu(%s)"]),
    "cse": (
        ("cse", "dce"),
        "%a: f32[N, 6] = exp(%s)\n%b: f32[N, 6] = exp(%s)\n%c: f32[N, 6] = add(%a, %s)\n%d: f32[N, 6] = add(%s, %b)\n"
        "%y: f32[N, 6] = mul(%c, %d)",
        "f32[N, 6]",
        ["exp(%s)", "add(%a, %s)", "mul(%c, %c)"],
    ),
    "fold": (
        ("fold", "dce"),
        "%a: f32[6, 5] = exp(@m)\n%y: f32[N, 5] = matmul(%s, %a)",
        "f32[N, 5]",
        ["matmul(%s, @m)"],
    ),
    "shape arithmetic": (
        ("fold", "dce"),
        "@z: i64[1] = [0]\n@o: i64[1] = [-1]\n%a: i64[4] = shape(%x)\n%b: i64[1] = gather(%a, @z)\n"
        "%c: i64[2] = concat(%b, @o) {axis = 0}\n%y: f32[N, 72] = reshape(%x) {shape = %c}",
        "f32[N, 72]",
        ["reshape(%x) {shape = (dim N, 72)}"],
    ),
    "simplify": (
        ("simplify", "dce"),
        "@one: f32[] = 1.0\n%a: f32[N, 6] = mul(%s, @one)\n%b: f32[N, 6] = neg(%a)\n%c: f32[N, 6] = neg(%b)\n"
        "%d: f32[N, 6] = relu(%c)\n%e: f32[N, 6] = relu(%d)\n%f: f32[N, 6] = cast(%e) {to = f32}\n"
        "%g: f32[N, 1, 6] = unsqueeze(%f) {axes = (1,)}\n%y: f32[N, 6] = squeeze(%g) {axes = (1,)}",
        "f32[N, 6]",
        ["relu(%s)"],
    ),
    "adding zero is not nothing": (
        ("simplify",), "@zero: f32[] = 0.0\n%y: f32[N, 6] = add(%s, @zero)", "f32[N, 6]", ["add(%s, @zero)"],
    ),
    "multiplying by a wider one is not nothing": (
        ("simplify",), "@b: f32[2, 1, 6] = [[[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]]\n"
        "%y: f32[2, N, 6] = mul(%s, @b)", "f32[2, N, 6]", ["mul(%s, @b)"],
    ),
    "norm after conv": (
        ("batchnorm", "fold", "dce"),
        f"%c: f32[N, 4, 6, 5] = conv(%x, @w, @b) {{{CONV}, padding = \"same\"}}\n"
        f"%y: f32[N, 4, 6, 5] = batch_norm(%c, @scale, _, @mean, @var) {NORM}",
        "f32[N, 4, 6, 5]",
        [f'conv(%x, @w, @b) {{{CONV}, padding = "same"}}'],
    ),
    "norm before conv": (
        ("batchnorm", "fold", "dce"),
        f"%c: f32[N, 4, 6, 3] = batch_norm(%x, @scale3, @b3, @mean3, @var3) {NORM}\n"
        f"%y: f32[N, 2, 4, 5] = conv(%c, @w, @b) {{{CONV}}}",
        "f32[N, 2, 4, 5]",
        [f"conv(%x, @w, @b) {{{CONV}}}"],
    ),
    "norm before a padded conv stays": (
        ("batchnorm",),
        f"%c: f32[N, 4, 6, 3] = batch_norm(%x, @scale3, @b3, @mean3, @var3) {NORM}\n"
        f"%y: f32[N, 4, 6, 5] = conv(%c, @w, @b) {{{CONV}, padding = \"same\"}}",
        "f32[N, 4, 6, 5]",
        ["batch_norm(%x, @scale3, @b3, @mean3, @var3) {epsilon = 0.001}", f'conv(%c, @w, @b) {{{CONV}, padding = "same"}}'],
    ),
    "factor and addend after a norm": (
        ("batchnorm", "fold", "dce"),
        f"%c: f32[N, 4, 6, 3] = batch_norm(%x, _, @b3, @mean3, @var3) {NORM}\n"
        "%d: f32[N, 4, 6, 3] = mul(%c, @scale3)\n%y: f32[N, 4, 6, 3] = add(@mean3, %d)",
        "f32[N, 4, 6, 3]",
        ["batch_norm(%x, @scale3, @b3, @mean3, @var3) {epsilon = 0.001}"],
    ),
    "factor after conv": (
        ("batchnorm", "fold", "dce"),
        f"%c: f32[N, 2, 4, 5] = conv(%x, @w, @b) {{{CONV}}}\n%y: f32[N, 2, 4, 5] = mul(%c, @scale)",
        "f32[N, 2, 4, 5]",
        [f"conv(%x, @w, @b) {{{CONV}}}"],
    ),
    "padding before conv": (
        ("padding", "dce"),
        f"%p: f32[N, 7, 6, 3] = pad(%x) {{pads = ((0, 0), (1, 2), (0, 0), (0, 0))}}\n"
        f"%y: f32[N, 7, 6, 5] = conv(%p, @w, @b) {{{CONV}, padding = ((1, 1), (1, 1))}}",
        "f32[N, 7, 6, 5]",
        [f"conv(%x, @w, @b) {{{CONV}, padding = ((2, 3), (1, 1))}}"],
    ),
    "padding of channels, or with ones, stays": (
        ("padding",),
        "%p: f32[N, 4, 6, 3] = pad(%x) {pads = ((0, 0), (0, 0), (0, 0), (1, -1))}\n@one: f32[] = 1.0\n"
        "%q: f32[N, 6, 8, 3] = pad(%p, @one) {pads = ((0, 0), (1, 1), (1, 1), (0, 0))}\n"
        f"%y: f32[N, 4, 6, 5] = conv(%q, @w) {{{CONV}}}",
        "f32[N, 4, 6, 5]",
        [
            "pad(%x) {pads = ((0, 0), (0, 0), (0, 0), (1, -1))}",
            "pad(%p, @one) {pads = ((0, 0), (1, 1), (1, 1), (0, 0))}",
            f"conv(%q, @w) {{{CONV}}}",
        ],
    ),
    "norm after an activation stays": (
        ("batchnorm",),
        f"%c: f32[N, 5] = matmul(%s, @m) {{activation = relu}}\n%y: f32[N, 5] = batch_norm(%c, _, _, @mean, @var) {NORM}",
        "f32[N, 5]",
        ["matmul(%s, @m) {activation = relu}", "batch_norm(%c, _, _, @mean, @var) {epsilon = 0.001}"],
    ),
    "bias, residual, activation": (
        ("fuse", "fold", "dce"),
        f"%c: f32[N, 4, 6, 5] = conv(%x, @w) {{{CONV}, padding = \"same\"}}\n"
        f"%r: f32[N, 4, 6, 5] = conv(%x, @w1) {{{CONV}}}\n%d: f32[N, 4, 6, 5] = add(%c, @b)\n"
        "%e: f32[N, 4, 6, 5] = add(%r, %d)\n%y: f32[N, 4, 6, 5] = leaky_relu(%e) {negative_slope = 0.3}",
        "f32[N, 4, 6, 5]",
        [
            f'conv(%x, @w, @b) {{{CONV}, padding = "same"}}',
            f"conv(%x, @w1, _, %d) {{{CONV}, activation = leaky_relu(negative_slope = 0.3)}}",
        ],
    ),
    "a result used twice is not fused": (
        ("fuse",),
        "%c: f32[N, 5] = matmul(%s, @m)\n%d: f32[N, 5] = relu(%c)\n%y: f32[N, 5] = add(%c, %d)",
        "f32[N, 5]",
        ["matmul(%s, @m)", "relu(%c)", "add(%c, %d)"],
    ),
    "layout": (
        ("layout", "fold", "fuse", "fold", "dce"),
        f"%a: f32[N, 4, 6, 3] = transpose(%t) {{perm = (0, 2, 3, 1)}}\n"
        f"%b: f32[N, 4, 6, 5] = conv(%a, @w) {{{CONV}, padding = \"same\"}}\n"
        "%c: f32[N, 5, 4, 6] = transpose(%b) {perm = (0, 3, 1, 2)}\n%d: f32[N, 5, 4, 6] = relu(%c)\n"
        "%e: f32[N, 10, 4, 6] = concat(%d, %d) {axis = 1}\n%f: f32[N, 10, 1, 1] = reduce_mean(%e) {axes = (2, 3), keepdims = true}\n"
        "%y: f32[N, 10] = reshape(%f) {shape = (dim N, 10)}",
        "f32[N, 10]",
        [
            "transpose(%t) {perm = (0, 2, 3, 1)}",
            f'conv(%a, @w) {{{CONV}, padding = "same", activation = relu}}',
            "concat(%d, %d) {axis = 3}",
            "reduce_mean(%e) {axes = (1, 2), keepdims = true}",
            "reshape(%f) {shape = (dim N, 10)}",
        ],
    ),
    "flatten of a transpose": (
        ("layout", "fold", "dce"),
        "%a: f32[N, 3, 4, 6] = transpose(%x) {perm = (0, 3, 1, 2)}\n%b: f32[N, 72] = reshape(%a) {shape = (dim N, -1)}\n"
        "%y: f32[N, 5] = matmul(%b, @flat, @b)",
        "f32[N, 5]",
        ["reshape(%x) {shape = (dim N, 72)}", "matmul(%b, @flat, @b)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    passes, body, out, expected = CASES[name]
    graph = graph_of(body, out)
    verify(graph)
    after = optimized(graph, *passes)
    found = [canonical(line) for line in lines(after)]
    assert len(found) == len(expected), "\n".join(lines(after))
    for got, want in zip(found, expected):
        assert got.partition("(")[0] == want.partition("(")[0] and attrs_of(got) == attrs_of(want), f"{got}\n{want}"
    same_outputs(graph, passes)


def canonical(line: str) -> str:
    return line.strip()


def attrs_of(line: str) -> str:
    return line.partition(") {")[2]


def test_every_pass_is_in_a_pipeline_and_has_a_doc() -> None:
    load_all()
    used = {name for names in PIPELINES.values() for name in names}
    assert used == set(PASSES)
    assert all(info.doc for info in PASSES.values())


def test_if_with_a_constant_condition_is_inlined() -> None:
    body = """@c: bool[] = true
    %y: f32[N, 6] = if(@c, %s) [
      then: graph "a" (%v: f32[N, 6]) -> (%o: f32[N, 6]) {
        %o: f32[N, 6] = exp(%v)
      }
      orelse: graph "b" (%v: f32[N, 6]) -> (%o: f32[N, 6]) {
        %o: f32[N, 6] = neg(%v)
      }
    ]"""
    graph = graph_of(body, "f32[N, 6]")
    assert lines(optimized(graph, "fold", "dce")) == ["exp(%s)"]
    same_outputs(graph, ("fold", "dce"))


def test_what_a_rewrite_makes_known_reaches_all_that_follows() -> None:
    """The value chosen is a constant, so the size of the result is known, and so says its text."""
    b = Builder(Graph("g"))
    x, n = b.input("x", Tensor(f32, (1, 3))), b.input("n", Tensor(i64, (1,)))
    size = b.where(np.array([True]), np.array([4]), n)
    b.outputs(b.relu(b.expand(x, shape=b.concat(size, np.array([3]), axis=0))))
    assert not b.graph.outputs[0].tensor.is_static
    after = optimized(b.graph, "simplify")
    verify(after)
    assert after.outputs[0].type == Tensor(f32, (4, 3))
    assert parse(str(after), after.weights) == after


def test_a_failing_pass_is_named() -> None:
    graph = graph_of("%y: f32[N, 6] = relu(%s)", "f32[N, 6]")
    with pytest.raises(GraphError, match="no pass is called 'nonsense'"):
        PassManager(["dce", "nonsense"]).run(graph)


def test_rules_that_alternate_are_named() -> None:
    from tenun.passes.rewrite import apply_rules, rule

    graph = graph_of("%y: f32[N, 6] = relu(%s)", "f32[N, 6]")
    rules = [rule("to exp", "%y = relu(%x)", "%y = exp(%x)"), rule("to relu", "%y = exp(%x)", "%y = relu(%x)")]
    with pytest.raises(GraphError, match="'to exp', 'to relu'|'to relu'|'to exp'"):
        apply_rules(graph, rules)


def test_all_rules_can_be_read() -> None:
    """They are read when a graph has an op like their roots: here all of them are, and asked for every op."""
    load_all()
    modules = [module for name, module in sys.modules.items() if name.startswith("tenun.passes.")]
    lists = [value for module in modules for value in vars(module).values() if isinstance(value, list)]
    rules = {id(rule): rule for each in lists for rule in each if isinstance(rule, Rule)}
    assert len(rules) > 200
    for rule in rules.values():
        assert rule.pattern and rule.replacement, rule.name
        assert {op for op in OPS.values() if rule.is_rooted_at(op)} == {
            op for op in OPS.values() if rule.root.is_op(op)
        }


def test_no_transpose_is_left_inside_a_convolutional_onnx_model() -> None:
    """ResNet and its like come with a transpose around every op; one stays, at the input."""
    onnx_data = pytest.importorskip("onnx.backend.test.data", reason="bundled models")
    import os

    for name in ("resnet50", "squeezenet", "densenet121"):
        path = os.path.join(next(iter(onnx_data.__path__)), "light", f"light_{name}.onnx")
        import tenun

        found = [node.op.name for node in tenun.compile(path).optimized.nodes]
        assert found.count("transpose") == 1 and found[0] == "transpose", name
        assert "add" not in found or name == "densenet121"
